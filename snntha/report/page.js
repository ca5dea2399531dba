"use strict";

// A number where the cell holds one; what is unknown is last in both directions.
function compare(a, b, sign) {
  const [x, y] = [a, b].map((cell) => cell.textContent.trim());
  if (x === "-" || y === "-") return (x === "-") - (y === "-");
  if ("value" in a.dataset && "value" in b.dataset) return sign * (a.dataset.value - b.dataset.value);
  return sign * x.localeCompare(y, undefined, { numeric: true });
}

function sortBy(header) {
  const direction = header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const body = header.closest("table").tBodies[0];
  const cell = (row) => row.cells[header.cellIndex];
  const sign = direction === "ascending" ? 1 : -1;
  body.append(...[...body.rows].sort((a, b) => compare(cell(a), cell(b), sign)));
}

for (const button of document.querySelectorAll("th button"))
  button.addEventListener("click", () => sortBy(button.parentElement));

// A field hides the elements of its selector that lack one of its words.
for (const input of document.querySelectorAll("[data-filters]")) {
  const items = document.querySelectorAll(input.dataset.filters);
  const output = input.closest(".tools").querySelector("output");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of items) {
      const text = (item.querySelector("summary") ?? item).textContent.toLowerCase();
      const keep = words.every((word) => text.includes(word));
      item.classList.toggle("hidden", !keep);
      shown += keep;
    }
    output.textContent = words.length ? `${shown} of ${items.length} shown` : `${items.length} in all`;
  });
}

const isOpen = (element) => element.checkVisibility();
let figures = [];
const dataOf = (plot) => structuredClone(figures[plot.dataset.figure]); // plotly writes into what it is given

// Plotly draws a figure when it first has a place: a closed run has none.
const drawing = new IntersectionObserver((entries) => {
  for (const { target } of entries.filter((entry) => entry.isIntersecting && isOpen(entry.target))) {
    drawing.unobserve(target);
    const { data, layout } = dataOf(target);
    Plotly.newPlot(target, data, layout, { responsive: true, displayModeBar: false });
  }
}, { rootMargin: "100000px" });

// The mean curves of the runs that are ticked, one colour a run, one dash a layer; of training and selection the latter.
const boxes = [...document.querySelectorAll("#overlay + .tools input")];
const quantity = document.getElementById("quantity");
const chosen = document.querySelector("#chosen .plot");
function overlay() {
  const traces = [];
  let layout = dataOf(chosen).layout;
  for (const [place, box] of boxes.entries()) {
    const figure = document.querySelector(`#${box.value} figure[data-caption="${quantity.value}"] .plot`);
    if (!box.checked || !figure) continue;
    const { data, layout: own } = dataOf(figure);
    const means = data.filter((trace) => trace.meta === "mean");
    const shown = means.filter((trace) => trace.name !== "training" || means.length === 1);
    layout = { ...layout, xaxis: own.xaxis, yaxis: own.yaxis };
    const color = COLOURS[place % COLOURS.length];
    for (const trace of shown) {
      const several = shown.length > 1;
      const name = box.parentElement.textContent.trim() + (several ? `, ${trace.name}` : "");
      const line = { color, dash: several ? trace.line.dash : "solid" };
      traces.push({ ...trace, name: name.replace(/</g, "&lt;"), legendgroup: name, line });
    }
  }
  Plotly.react(chosen, traces, layout, { responsive: true, displayModeBar: false });
}
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C8C8C", "#A36A00", "#3A7FBF", "#B23A8E"];

async function unpack(element) {
  const packed = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const content = await new Response(stream).json();
  const script = document.createElement("script");
  script.textContent = content.plotly;
  document.head.append(script);
  figures = content.figures;
}
unpack(document.getElementById("pack")).then(() => {
  for (const plot of document.querySelectorAll(".plot")) if (plot !== chosen) drawing.observe(plot);
  const captions = [...document.querySelectorAll(".run figure[data-caption]")].map((figure) => figure.dataset.caption);
  for (const caption of new Set(captions)) if (!caption.startsWith("Confusion")) quantity.append(new Option(caption));
  quantity.value = captions.includes("Accuracy") ? "Accuracy" : quantity.value;
  for (const control of [quantity, ...boxes]) control.addEventListener("change", overlay);
  if (boxes.length) overlay();
});

const runs = document.querySelectorAll(".run");
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  const closed = target?.closest("details");
  if (closed) closed.open = true;
  target?.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
if (runs.length === 1) runs[0].open = true;
