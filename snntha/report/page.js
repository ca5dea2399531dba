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

// Plotly draws a figure when it first has a place: a closed run or seed has none.
const drawing = new IntersectionObserver((entries) => {
  for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
    drawing.unobserve(target);
    const { data, layout } = JSON.parse(target.nextElementSibling.textContent);
    Plotly.newPlot(target, data, layout, { responsive: true, displayModeBar: false });
  }
}, { rootMargin: "100000px" });
for (const plot of document.querySelectorAll(".plot")) drawing.observe(plot);

const runs = document.querySelectorAll(".run");
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
