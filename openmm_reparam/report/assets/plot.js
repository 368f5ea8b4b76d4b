const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 76, right: 12, top: 12, bottom: 40 };
// Share of the energies, the highest, that may leave the top of a plot: starts clash.
const CLIPPED_SHARE = 0.02;
// Colours of curves in style.css; further curves begin again.
const CURVE_COLOURS = 6;

function svgElement(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function formatNumber(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return String(value);
  if (size >= 1e7 || (size < 1e-3 && size > 0)) return value.toExponential(2);
  if (size >= 100) return value.toFixed(1);
  return size >= 1 ? value.toFixed(2) : Number(value.toPrecision(3)).toString();
}

function formatTick(value) {
  const size = Math.abs(value);
  if (size >= 1e5 || (size < 1e-3 && size > 0)) return value.toExponential(0).replace("e+", "e");
  return Number(value.toPrecision(6)).toString();
}

function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(k * step);
  return ticks;
}

function logTicks(low, high, count) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const every = Math.max(1, Math.ceil((last - first) / count));
  const factors = last - first <= 2 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let k = first; k <= last; k += every)
    for (const factor of factors) ticks.push(factor * 10 ** k);
  return ticks.filter((tick) => tick >= low && tick <= high);
}

// A scale from values to pixels, linear or logarithmic.
function makeScale([low, high], [from, to], log, count) {
  const map = log ? Math.log10 : (value) => value;
  const span = map(high) - map(low) || 1;
  const scale = (value) => from + ((map(value) - map(low)) / span) * (to - from);
  scale.ticks = high > low ? (log ? logTicks : linearTicks)(low, high, count) : [low];
  return scale;
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

// The range of some values; the highest few may be cut off, and a logarithm needs those above zero.
function valueRange(values, { log = false, clip = 0 } = {}) {
  const usable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (!usable.length) return log ? [1, 10] : [0, 1];
  const low = usable.reduce((a, b) => Math.min(a, b));
  let high = usable.reduce((a, b) => Math.max(a, b));
  if (clip && !log) high = Math.max(quantile(usable, 1 - clip), low);
  if (log) return high > low ? [low / 1.3, high * 1.3] : [low / 10, high * 10];
  const margin = 0.05 * (high - low) || Math.abs(low) * 0.05 || 1;
  return [low - margin, high + margin];
}

function pathOf(series, x, y) {
  let path = "";
  let pen = "M";
  series.x.forEach((value, k) => {
    const [px, py] = [x(value), series.y[k] === null ? NaN : y(series.y[k])];
    if (Number.isFinite(px) && Number.isFinite(py)) {
      path += `${pen}${px.toFixed(1)} ${py.toFixed(1)}`;
      pen = "L";
    } else {
      pen = "M";
    }
  });
  return path;
}

function drawAxes(svg, x, y, size, { xLabel, yLabel }) {
  const [bottom, right] = [size.height - MARGIN.bottom, size.width - MARGIN.right];
  for (const tick of y.ticks) {
    const at = y(tick);
    svg.append(svgElement("line", { x1: MARGIN.left, x2: right, y1: at, y2: at, class: "grid" }));
    const place = { x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" };
    svg.append(svgElement("text", place, formatTick(tick)));
  }
  for (const tick of x.ticks) {
    const at = x(tick);
    svg.append(svgElement("line", { x1: at, x2: at, y1: MARGIN.top, y2: bottom, class: "grid" }));
    const place = { x: at, y: bottom + 16, "text-anchor": "middle" };
    svg.append(svgElement("text", place, formatTick(tick)));
  }
  const middle = (MARGIN.left + right) / 2;
  const below = { x: middle, y: size.height - 6, "text-anchor": "middle", class: "label" };
  svg.append(svgElement("text", below, xLabel));
  const turn = `translate(14 ${(MARGIN.top + bottom) / 2}) rotate(-90)`;
  svg.append(
    svgElement("text", { transform: turn, "text-anchor": "middle", class: "label" }, yLabel),
  );
}

function drawSeries(svg, series, x, y) {
  const colour = `var(--curve-${series.colour % CURVE_COLOURS})`;
  if (!series.dots) {
    const look = { d: pathOf(series, x, y), class: "curve", stroke: colour };
    svg.append(svgElement("path", look));
  }
  series.x.forEach((value, k) => {
    const last = k === series.x.length - 1;
    if (series.y[k] === null || !(series.dots || last)) return;
    const [cx, cy] = [x(value), y(series.y[k])];
    if (!Number.isFinite(cx) || !Number.isFinite(cy)) return;
    const look = { cx, cy, r: last && !series.dots ? 4 : 2.5, fill: colour };
    svg.append(svgElement("circle", { ...look, "fill-opacity": series.dots ? 0.75 : 1 }));
  });
}

function drawTolerance(svg, tolerance, y, width) {
  const at = y(tolerance);
  const line = { x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at, class: "tolerance" };
  svg.append(svgElement("line", line));
  const place = { x: MARGIN.left + 4, y: at - 4, class: "label" };
  svg.append(svgElement("text", place, `tolerance ${formatTick(tolerance)}`));
}

// Draws curves into a figure and reads them out under the pointer, or by the arrow keys.
function drawPlot(figure, allSeries, options) {
  const svg = figure.querySelector("svg");
  const readout = figure.querySelector("output");
  const size = { width: Math.max(280, figure.clientWidth), height: options.height };
  svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  svg.replaceChildren(svgElement("title", {}, options.title));
  const across = [MARGIN.left, size.width - MARGIN.right];
  const down = [size.height - MARGIN.bottom, MARGIN.top];
  const every = (key) => allSeries.flatMap((series) => series[key]);
  const xs = every("x").concat(options.logX ? [] : [0]);
  const ys = every("y").filter((value) => value !== null);
  const extra = options.tolerance ? [options.tolerance] : [];
  const [lowX, highX] = valueRange(xs, { log: options.logX });
  const x = makeScale([options.logX ? lowX : 0, highX], across, options.logX, size.width / 90);
  const range = valueRange(ys.concat(extra), { log: options.logY, clip: options.clip });
  const y = makeScale(range, down, options.logY, size.height / 45);
  drawAxes(svg, x, y, size, options);
  const clipping = svgElement("clipPath", { id: `${figure.id}-area` });
  const [width, height] = [across[1] - across[0] + 6, down[0] - down[1] + 3];
  clipping.append(svgElement("rect", { x: across[0] - 1, y: down[1] - 3, width, height }));
  const area = svgElement("g", { "clip-path": `url(#${figure.id}-area)` });
  svg.append(clipping, area);
  for (const series of [...allSeries].reverse()) drawSeries(area, series, x, y);
  if (options.tolerance) drawTolerance(svg, options.tolerance, y, size.width);
  const cursor = svgElement("line", { y1: down[1], y2: down[0], class: "cursor" });
  svg.append(cursor);
  connectReadout(svg, readout, cursor, allSeries, x, options);
}

function connectReadout(svg, readout, cursor, allSeries, x, options) {
  const main = allSeries[0];
  let place = main.x.length - 1;
  const show = (k) => {
    place = Math.min(main.x.length - 1, Math.max(0, k));
    const at = x(main.x[place]);
    if (!Number.isFinite(at)) return;
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.classList.add("shown");
    const value = `${formatNumber(main.y[place])} ${options.unit}`;
    readout.textContent = `${main.label}, evaluation ${main.x[place]}: ${value}`;
  };
  svg.onpointermove = (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let nearest = 0;
    main.x.forEach((value, k) => {
      if (Math.abs(x(value) - at) < Math.abs(x(main.x[nearest]) - at)) nearest = k;
    });
    show(nearest);
  };
  svg.onpointerleave = () => cursor.classList.remove("shown");
  svg.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show(Math.min(main.x.length, Math.max(-1, place + step)));
  };
}
