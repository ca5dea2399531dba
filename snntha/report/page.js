"use strict";

// ---- tables: filter and sort ----

const cellValue = (row, column) => {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
};

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sortBy(header) {
  const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const body = header.closest("table").tBodies[0];
  const sign = direction === "ascending" ? 1 : -1;
  const unknown = (row) => (cellValue(row, header.cellIndex) === "-" ? 1 : 0); // last in both directions
  const rows = [...body.rows].sort((a, b) =>
    unknown(a) - unknown(b) || sign * compare(cellValue(a, header.cellIndex), cellValue(b, header.cellIndex)));
  body.append(...rows);
}

// Every word of the filter must occur.
function filter(input, output, items, textOf) {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const item of items) {
    const text = textOf(item).toLowerCase();
    const keep = words.every((word) => text.includes(word));
    item.classList.toggle("hidden", !keep);
    shown += keep;
  }
  output.textContent = words.length ? `${shown} of ${items.length} shown` : `${items.length} in all`;
}

for (const button of document.querySelectorAll("th button"))
  button.addEventListener("click", () => sortBy(button.parentElement));
for (const input of document.querySelectorAll("[data-filters]")) {
  const name = input.dataset.filters;
  const rows = document.getElementById(name).tBodies[0].rows;
  const output = document.querySelector(`[data-count="${name}"]`);
  input.addEventListener("input", () => filter(input, output, rows, (row) => row.textContent));
}
const runs = document.querySelectorAll(".run");
const runFilter = document.getElementById("run-filter");
runFilter.addEventListener("input", () =>
  filter(runFilter, document.getElementById("run-count"), runs, (run) => run.querySelector("summary").textContent));

// ---- plots: drawn by plotly, whose text becomes a script when the first plot is wanted ----

const drawn = new Map(); // plot element -> its figure, to draw again when the colours change

function loadPlotly() {
  if (window.Plotly) return;
  const script = document.createElement("script");
  script.textContent = document.getElementById("plotly-source").textContent;
  document.head.append(script);
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const series = (number) => color(`series-${(number % 5) + 1}`);
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

const axis = (title) => ({
  title: { text: title }, gridcolor: color("line"), linecolor: color("line"), zeroline: false, automargin: true,
});

function layout(x, y, extra) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("ink"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 48, r: 12, t: 8, b: 40 }, hovermode: "closest",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    xaxis: axis(x), yaxis: axis(y), ...extra,
  };
}

// A figure: caption, what a screen reader says instead, and a function of the present colours.
function addPlot(parent, { caption, detail, description, traces, x, y, extra, height }) {
  const figure = document.createElement("figure");
  const title = document.createElement("figcaption");
  title.textContent = caption;
  if (detail) title.append(Object.assign(document.createElement("small"), { textContent: detail }));
  const plot = Object.assign(document.createElement("div"), { className: "plot" });
  if (height) plot.style.height = `${height}px`;
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", `${caption}. ${description}`);
  figure.append(title, plot);
  parent.append(figure);
  const draw = () => Plotly.react(plot, traces(), layout(x, y, extra?.()), { responsive: true, displayModeBar: false });
  drawn.set(plot, draw);
  draw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((draw) => draw()));

const told = (value) => (value === null || value === undefined ? "unknown" : Number(value.toPrecision(4)).toString());
const isKnown = (values) => values.some((value) => value !== null);

// Lines over x: each [name, values]; those without any value are left out.
function addLines(parent, caption, x, y, abscissa, lines, detail) {
  const known = lines.filter(([, values]) => isKnown(values));
  if (!known.length) return;
  const mode = abscissa.length > 60 ? "lines" : "lines+markers";
  const values = known.flatMap(([, values]) => values).filter((value) => value !== null);
  const logarithmic = Math.min(...values) > 0 && Math.max(...values) > 100 * Math.min(...values);
  addPlot(parent, {
    caption, x, y,
    detail: [detail, logarithmic ? "Logarithmic scale" : ""].filter(Boolean).join(". "),
    extra: () => ({ ...(logarithmic && { yaxis: { ...axis(y), type: "log" } }),
      ...(abscissa.length <= 10 && { xaxis: { ...axis(x), dtick: 1 } }) }),
    description: known.map(([name, values]) => `${name}: from ${told(values[0])} to ${told(values.at(-1))}`).join("; "),
    traces: () => known.map(([name, values], number) => ({
      x: abscissa, y: values, name, mode, marker: { size: 5 },
      line: { color: series(number), dash: DASHES[number % 5], width: 2 }, showlegend: known.length > 1,
    })),
  });
}

const byLayer = (layers, factor = 1) =>
  layers.map((values, number) => [`layer ${number + 1}`, values.map((value) => (value === null ? null : value * factor))]);

function addPhase(parent, trial) {
  const layers = trial.thresholds.map((thresholds, number) => [thresholds, trial.firing_rate[number] ?? []]);
  if (!layers.some(([, rates]) => isKnown(rates))) return;
  addPlot(parent, {
    caption: "Firing rate against threshold", detail: "One point an epoch", x: "threshold", y: "spikes / neuron / step",
    description: layers.map(([thresholds, rates], number) =>
      `layer ${number + 1}: rate ${told(rates[0])} at threshold ${told(thresholds[0])}, ` +
      `${told(rates.at(-1))} at ${told(thresholds.at(-1))} at the end`).join("; "),
    traces: () => layers.map(([thresholds, rates], number) => ({
      x: thresholds, y: rates, text: trial.epoch.map((epoch) => `epoch ${epoch}`), name: `layer ${number + 1}`,
      mode: "lines+markers", marker: { size: trial.epoch.length > 60 ? 3 : 6, symbol: number }, line: { color: series(number), width: 1 },
      showlegend: layers.length > 1,
    })),
  });
}

function addRaster(parent, raster, label) {
  const of = label === null ? "" : ` of a sample of class ${label}`;
  if (raster.image) {
    addPlot(parent, {
      caption: `Input${of}`, x: "", y: "", description: `Image of ${raster.image.length} rows.`,
      traces: () => [{ z: raster.image, type: "heatmap", colorscale: "Greys", showscale: false }],
      extra: () => ({ yaxis: { autorange: "reversed", scaleanchor: "x", visible: false }, xaxis: { visible: false } }),
    });
    return;
  }
  const neurons = `${raster.neurons} ${raster.neurons === 1 ? "neuron" : "neurons"}`;
  const rows = raster.every > 1 ? `one in ${raster.every} of ${neurons}` : neurons;
  addPlot(parent, {
    caption: `Spikes of ${raster.name}${of}`, detail: `${rows}, ${raster.step.length} spikes`,
    x: "time step", y: "neuron", description: `${raster.step.length} spikes in ${raster.steps} steps, ${rows}.`,
    traces: () => [{
      x: raster.step, y: raster.neuron, mode: "markers", type: "scatter", hoverinfo: "x+y",
      marker: { color: color("ink"), size: 3, symbol: "square" },
    }],
    extra: () => ({
      xaxis: { ...axis("time step"), range: [-0.5, raster.steps - 0.5] },
      yaxis: { ...axis("neuron"), range: [-0.5, raster.neurons - 0.5], ...(raster.neurons <= 10 && { dtick: 1 }) },
    }),
  });
}

function addConfusion(parent, confusion) {
  const right = confusion.reduce((sum, row, number) => sum + row[number], 0);
  const dtick = confusion.length > 12 ? 5 : 1;
  const all = confusion.flat().reduce((sum, value) => sum + value, 0);
  addPlot(parent, {
    caption: "Confusion on the test set", detail: `${right} of ${all} samples right`, x: "predicted class", y: "class",
    description: `${right} of ${all} samples are on the diagonal.`,
    traces: () => [{ z: confusion, type: "heatmap", colorscale: [[0, color("card")], [1, color("series-1")]], showscale: false,
      hovertemplate: "class %{y}, predicted %{x}: %{z}<extra></extra>" }],
    extra: () => ({ yaxis: { ...axis("class"), autorange: "reversed", dtick }, xaxis: { ...axis("predicted class"), dtick } }),
  });
}

function drawTrial(parent, selection, trial) {
  for (const plot of parent.querySelectorAll(".plot")) {
    drawn.delete(plot);
    Plotly.purge(plot);
  }
  parent.replaceChildren();
  const over = (caption, y, lines, detail) => addLines(parent, caption, "epoch", y, trial.epoch, lines, detail);
  over("Loss", "loss", [["training", trial.train_loss], [selection, trial.validation_loss]], trial.loss_note);
  over("Accuracy", "percent", [["training", trial.train_accuracy], [selection, trial.validation_accuracy]]);
  over("Thresholds", "threshold", byLayer(trial.thresholds));
  over("Firing rate", "spikes / neuron / step", byLayer(trial.firing_rate), `On the ${selection} samples`);
  over("Dead neurons", "percent of the layer", byLayer(trial.dead_fraction, 100), "Without a spike in the whole pass");
  over("Silenced by the last threshold step", "percent of the layer", byLayer(trial.silenced_by_threshold, 100));
  addPhase(parent, trial);
  if (trial.membranes.length) {
    const steps = trial.membranes[0].values.map((_, step) => step);
    const lines = trial.membranes.map(({ epoch, values }) => [`epoch ${epoch}`, values]);
    addLines(parent, "Membrane of the output neuron", "time step", "membrane", steps, lines);
  }
  for (const raster of trial.rasters) addRaster(parent, raster, trial.label ?? null);
  if (trial.confusion) addConfusion(parent, trial.confusion);
}

function drawRun(run) {
  const place = run.querySelector(".drawings");
  if (place.childElementCount) return;
  const data = JSON.parse(run.querySelector(".run-data").textContent);
  const trials = data.trials.filter((trial) => trial.epoch.length || trial.rasters.length);
  if (!trials.length) return;
  loadPlotly();
  const plots = Object.assign(document.createElement("div"), { className: "plots" });
  if (trials.length > 1) {
    const label = Object.assign(document.createElement("label"), { textContent: "Plots of trial " });
    const select = document.createElement("select");
    for (const trial of trials) select.add(new Option(trial.number));
    select.addEventListener("change", () => drawTrial(plots, data.selection, trials[select.selectedIndex]));
    label.append(select);
    const tools = Object.assign(document.createElement("div"), { className: "tools" });
    tools.append(label);
    place.append(tools);
  }
  place.append(plots);
  drawTrial(plots, data.selection, trials[0]);
}

for (const run of runs) run.addEventListener("toggle", () => run.open && drawRun(run));

function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.matches(".run")) {
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", openTarget);
openTarget();
if (runs.length === 1) runs[0].open = true;

// ---- the picture above the tables ----

const MOST_BARS = 40;
const results = JSON.parse(document.getElementById("results-data").textContent);
if (results.length) requestAnimationFrame(() => setTimeout(() => {
  loadPlotly();
  const bars = results.slice(0, MOST_BARS);
  const plain = bars.map((row) => `${row.dataset} ${row.mode}`);
  const repeated = (name) => plain.indexOf(name) !== plain.lastIndexOf(name); // rows of one name would share a place
  const names = plain.map((name, number) => (repeated(name) ? `${name} (${number + 1})` : name));
  const trace = (name, mean, sigma, number, symbol) => ({
    y: names.map((name) => `${name} `), x: bars.map((row) => row[mean]), name, mode: "markers", type: "scatter",
    marker: { color: series(number), size: 11, symbol },
    error_x: { type: "data", array: bars.map((row) => row[sigma] ?? 0), color: series(number) },
  });
  addPlot(document.getElementById("overview"), {
    caption: "Test accuracy: mean and sigma over seeds",
    detail: "Selection, epochs and seeds of each row are in the table below: look there before comparing." +
      (results.length > MOST_BARS ? ` The first ${MOST_BARS} of ${results.length} rows.` : ""),
    x: "percent", y: "", height: 110 + 24 * bars.length,
    description: bars.map((row, number) => `${names[number]}: ours ${told(row.mean)}, published ${told(row.published_mean)}`).join("; "),
    traces: () => [
      trace("ours", "mean", "sigma", 0, "circle"),
      trace("published", "published_mean", "published_sigma", 1, "diamond-open"),
    ].filter(({ x }) => isKnown(x)),
    extra: () => ({ yaxis: { ...axis(""), autorange: "reversed", dtick: 1 }, showlegend: true }),
  });
}, 0));
