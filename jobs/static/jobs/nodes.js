// The use of the nodes: a table, the least used node first, and the roofline.
import { COLOURS, dress, element, theme, withUnit } from "./figures.js";

const section = document.getElementById("use-of-nodes");
const FIRST = 16; // rows before "all nodes"

const cell = (statistics, { unit, prefix }) => {
  const [min, average, max] = (statistics ?? [null, null, null]).map((value) => withUnit(value, unit, prefix));
  const made = element("td", average, "number");
  if (statistics) made.title = `minimum ${min}, maximum ${max}`;
  return made;
};

const table = ({ hosts, units: metrics }) => {
  const made = element("table");
  made.append(element("caption", "Average of each node, the least used one first", "quiet small"));
  const head = made.createTHead().insertRow();
  for (const [name, style] of [["Host", ""], ...metrics.map(({ name }) => [name, "number"])]) {
    const title = element("th", name, style);
    title.scope = "col";
    head.append(title);
  }
  const body = made.createTBody();
  const fill = (some) => {
    for (const { name, statistics } of some) {
      const row = body.insertRow();
      const title = element("th", name);
      title.scope = "row";
      row.append(title, ...statistics.map((each, place) => cell(each, metrics[place])));
    }
  };
  fill(hosts.slice(0, FIRST));
  const scrolled = element("div", undefined, "scrolled");
  scrolled.tabIndex = 0;
  scrolled.setAttribute("role", "region");
  scrolled.setAttribute("aria-label", "Use of the nodes");
  scrolled.append(made);
  if (hosts.length <= FIRST) return [scrolled];
  const button = element("button", `All ${hosts.length} nodes`, "button");
  button.type = "button";
  button.addEventListener("click", () => {
    fill(hosts.slice(FIRST));
    button.remove();
  });
  return [scrolled, button];
};

// Ceilings: performance is at most min(peak, intensity x bandwidth), a diagonal up to a horizontal line.
const ceiling = (figure, peak, bandwidth, [low, high], colour, dash) => {
  if (!peak) return;
  const ridge = bandwidth ? Math.min(Math.max(peak / bandwidth, low), high) : low;
  const source = new Bokeh.ColumnDataSource({
    data: { x: [low, ridge, high], y: [bandwidth ? Math.min(low * bandwidth, peak) : peak, peak, peak] },
  });
  figure.line({ x: { field: "x" }, y: { field: "y" }, source, line_color: colour, line_dash: dash, line_width: 1.5 });
};

const giga = (value) => value / 1e9;

const roofline = async (job) => {
  const { intensity, bandwidth, ...rates } = job.roofline; // rates in Gflops/s, for short labels
  const [rate, scalar, simd, slope] = [rates.rate.map(giga), giga(rates.scalar), giga(rates.simd), giga(bandwidth)];
  const colours = theme();
  const x = [Math.min(...intensity, 0.01), Math.max(...intensity, slope ? (2 * simd) / slope : 0, 10)];
  const top = Math.max(...rate, simd, scalar);
  const figure = Bokeh.Plotting.figure({
    height: 300,
    sizing_mode: "stretch_width",
    x_axis_type: "log",
    y_axis_type: "log",
    x_range: new Bokeh.Range1d({ start: x[0] / 1.5, end: x[1] * 1.5 }),
    y_range: new Bokeh.Range1d({ start: Math.min(...rate) / 2, end: top * 2 }),
    toolbar_location: null,
    tools: [],
    background_fill_alpha: 0,
    border_fill_alpha: 0,
    outline_line_color: colours.border,
    x_axis_label: "flops per byte",
    y_axis_label: "GF/s per node",
  });
  dress(figure, colours);
  ceiling(figure, simd, slope, x, colours.quiet, []);
  ceiling(figure, scalar, slope, x, colours.quiet, [5, 3]);
  const source = new Bokeh.ColumnDataSource({ data: { x: Float64Array.from(intensity), y: Float64Array.from(rate) } });
  figure.scatter({ x: { field: "x" }, y: { field: "y" }, source, size: 5, color: COLOURS[colours.name][0], alpha: 0.6 });
  const made = element("figure", undefined, "plot roofline");
  const caption = element("figcaption");
  caption.append(element("strong", "Roofline"), element("span", "mean of all nodes; lines: peak, and dashed without SIMD", "quiet"));
  const canvas = element("div", undefined, "roofline-canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute(
    "aria-label",
    `Roofline: ${rate.length} points, at most ${withUnit(Math.max(...rates.rate), "F/s")} of a peak of ${withUnit(rates.simd, "F/s")} per node`,
  );
  made.append(caption, canvas);
  section.append(made);
  await Bokeh.Plotting.show(figure, canvas);
};

document.addEventListener("jobs:samples", async ({ detail: { job } }) => {
  section.replaceChildren(section.firstElementChild);
  section.hidden = !job.hosts.length;
  if (job.hosts.length) section.append(...table(job));
  if (job.roofline) await roofline(job);
});
