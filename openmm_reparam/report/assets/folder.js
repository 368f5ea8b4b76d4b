const page = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
// Rows are added as they are scrolled to: ten thousand at once would hold the browser up.
const CHUNK = 200;
const BINS = 24;
const STATE_MARKS = { converged: "✓", "not converged": "!", failed: "✗" };

// The columns of a row are name, state, values, message; `report` comes after them.
const NAME = 0;
const STATE = 1;
const MESSAGE = page.columns.length + 2;
const REPORT = MESSAGE + 1;

function makeCell(text, className) {
  const cell = document.createElement("td");
  cell.textContent = text;
  if (className) cell.className = className;
  return cell;
}

function makeRow(row) {
  const line = document.createElement("tr");
  line.className = row[STATE].replace(" ", "-");
  const name = document.createElement("th");
  name.scope = "row";
  if (row[REPORT]) {
    const link = document.createElement("a");
    link.href = row[REPORT];
    link.textContent = row[NAME];
    name.append(link);
  } else {
    name.textContent = row[NAME];
  }
  const state = makeCell(`${STATE_MARKS[row[STATE]]} ${row[STATE]}`, "state");
  const values = row.slice(STATE + 1, MESSAGE);
  const cells = values.map((value) =>
    makeCell(formatNumber(value), typeof value === "number" ? "number" : ""),
  );
  line.append(name, state, ...cells, makeCell(row[MESSAGE], "message"));
  return line;
}

function startTable() {
  const body = byId("rows");
  const count = byId("count");
  const headings = [...byId("structures").tHead.rows[0].cells];
  let ordered = page.rows;
  let shown = ordered;
  let drawn = 0;
  const drawMore = () => {
    const next = shown.slice(drawn, drawn + CHUNK);
    body.append(...next.map(makeRow));
    drawn += next.length;
    byId("more").hidden = drawn >= shown.length;
  };
  const redraw = () => {
    const wanted = byId("filter").value.toLowerCase();
    const state = byId("state").value;
    shown = ordered.filter(
      (row) => row[NAME].toLowerCase().includes(wanted) && (!state || row[STATE] === state),
    );
    body.replaceChildren();
    drawn = 0;
    drawMore();
    count.textContent = `${shown.length} of ${page.rows.length} structures`;
  };
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const descending = turnHeading(headings, heading);
      ordered = [...ordered].sort((a, b) => compareCells(a[column], b[column], descending));
      redraw();
    });
  });
  byId("filter").addEventListener("input", redraw);
  byId("state").addEventListener("change", redraw);
  byId("more").addEventListener("click", drawMore);
  const near = new IntersectionObserver(
    (entries) => entries.some((entry) => entry.isIntersecting) && drawMore(),
    { rootMargin: "600px" },
  );
  near.observe(byId("more"));
  redraw();
}

// Counts of equally wide bins, equally wide in the logarithm where values span three decades.
function binned(values) {
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const whole = values.every(Number.isInteger);
  const log = low > 0 && high / low > 1000;
  const map = log ? Math.log10 : (value) => value;
  const inverse = log ? (value) => 10 ** value : (value) => value;
  const bins = whole && !log ? Math.min(BINS, high - low + 1) : BINS;
  const width = (map(high) - map(low)) / bins || 1;
  const counts = new Array(high > low ? bins : 1).fill(0);
  for (const value of values)
    counts[Math.min(counts.length - 1, Math.floor((map(value) - map(low)) / width))]++;
  return counts.map((count, k) => ({
    count,
    from: inverse(map(low) + k * width),
    to: k === counts.length - 1 ? high : inverse(map(low) + (k + 1) * width),
  }));
}

function drawHistogram(figure) {
  const column = page.columns.indexOf(figure.dataset.column) + STATE + 1;
  const values = page.rows.map((row) => row[column]).filter(Number.isFinite);
  if (!values.length) {
    figure.hidden = true;
    return;
  }
  const bins = binned(values);
  const size = { width: Math.max(280, figure.clientWidth), height: 190 };
  const most = bins.reduce((a, bin) => Math.max(a, bin.count), 1);
  const svg = figure.querySelector("svg");
  svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  const title = `Histogram of ${figure.dataset.column} of ${values.length} structures`;
  svg.replaceChildren(svgElement("title", {}, title));
  const [bottom, left, right] = [size.height - 36, 44, size.width - 8];
  const wide = (right - left) / bins.length;
  for (const tick of linearTicks(0, most, 3).filter(Number.isInteger)) {
    const at = bottom - (tick / most) * (bottom - 10);
    svg.append(svgElement("line", { x1: left, x2: right, y1: at, y2: at, class: "grid" }));
    const place = { x: left - 6, y: at + 4, "text-anchor": "end" };
    svg.append(svgElement("text", place, String(tick)));
  }
  bins.forEach((bin, k) => {
    const height = (bin.count / most) * (bottom - 10);
    const place = { x: left + k * wide + 1, width: Math.max(1, wide - 2), y: bottom - height };
    const bar = svgElement("rect", { ...place, height, class: "bar" });
    const range = `${formatNumber(bin.from)} to ${formatNumber(bin.to)}`;
    bar.append(svgElement("title", {}, `${range}: ${bin.count}`));
    svg.append(bar);
  });
  const ends = { y: bottom + 16, class: "label" };
  svg.append(svgElement("text", { ...ends, x: left }, formatNumber(bins[0].from)));
  const last = formatNumber(bins[bins.length - 1].to);
  svg.append(svgElement("text", { ...ends, x: right, "text-anchor": "end" }, last));
  const middle = { x: (left + right) / 2, y: size.height - 4, "text-anchor": "middle" };
  svg.append(svgElement("text", { ...middle, class: "label" }, figure.dataset.column));
}

function startHistograms() {
  const figures = [...document.querySelectorAll("figure.histogram")];
  const draw = () => figures.forEach(drawHistogram);
  draw();
  if (figures.length) new ResizeObserver(draw).observe(byId("histograms"));
}

startTable();
startHistograms();
