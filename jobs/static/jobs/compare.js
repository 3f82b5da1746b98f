// The plots of compared jobs: a line per job, the mean of its nodes over the time since its start.
import { dress, element, look, nearest, powerOf, theme, tooltip, rescaled, withUnit } from "./figures.js";

const section = document.getElementById("compare-plots");
const status = section.querySelector(".plot-status");
const key = section.querySelector(".plot-key");
const grid = section.querySelector(".plot-grid");
const names = section.dataset.names.split(" ").map((name) => `Job ${name}`);
const INTERVALS = 400; // of the longest job

let views = [];
let jobs = [];

const load = async (address) => {
  try {
    const response = await fetch(address, { headers: { Accept: "application/json" } });
    if (!response.ok || response.redirected) return { metrics: [], reason: `the server answered ${response.status}` };
    return await response.json();
  } catch (error) {
    return { metrics: [], reason: error.message };
  }
};

// The mean over all series in intervals of `width` seconds since the start, as { x: seconds, y }.
const meanOf = (metric, width) => {
  const sums = new Map();
  const series = metric.band
    ? [{ at: metric.band.at, values: metric.band.mean }]
    : metric.lines.map(({ at, values }) => ({ at, values }));
  for (const { at, values } of series) {
    values.forEach((value, place) => {
      if (value === null) return;
      const interval = Math.floor(((at ? at[place] : place) * metric.timestep) / width);
      const [sum, count] = sums.get(interval) ?? [0, 0];
      sums.set(interval, [sum + value, count + 1]);
    });
  }
  const places = [...sums.keys()].sort((one, other) => one - other);
  return {
    x: Float64Array.from(places, (place) => place * width),
    y: Float64Array.from(places, (place) => sums.get(place)[0] / sums.get(place)[1]),
  };
};

const since = (exact) => {
  const seconds = Math.round(exact);
  const two = (value) => String(value).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
};

const draw = async () => {
  for (const view of views) view.remove();
  views = [];
  const colours = theme();
  const longest = Math.max(...jobs.map(({ start, end }) => (end ?? 0) - (start ?? 0)), 1);
  const metrics = new Map();
  jobs.forEach((job, place) => {
    for (const metric of job.metrics) {
      if (!metrics.has(metric.name)) metrics.set(metric.name, []);
      metrics.get(metric.name).push({ place, metric });
    }
  });
  key.replaceChildren(...names.map((name, place) => {
    const sample = element("span", undefined, "plot-sample");
    sample.style.borderTopColor = look(place, colours.name).colour;
    const item = element("li");
    item.append(sample, name);
    return item;
  }));
  key.hidden = !metrics.size;
  grid.replaceChildren();
  for (const [name, parts] of metrics) {
    // All in the unit that suits the greatest value of all; clusters may have different ones.
    const most = Math.max(...parts.map(({ metric }) => metric.statistics.max * 1000 ** powerOf(metric.prefix)));
    const shown = parts.map(({ place, metric }) => ({
      place,
      metric: rescaled({
        ...metric, statistics: { ...metric.statistics, max: most / 1000 ** powerOf(metric.prefix) },
      }),
    }));
    const { unit, prefix } = shown[0].metric;
    const figure = Bokeh.Plotting.figure({
      height: 210, sizing_mode: "stretch_width", toolbar_location: null, tools: [],
      x_range: new Bokeh.Range1d({ start: 0, end: longest }),
      background_fill_alpha: 0, border_fill_alpha: 0, outline_line_color: colours.border, min_border_right: 12,
    });
    dress(figure, colours);
    const width = Math.max(longest / INTERVALS, ...shown.map(({ metric }) => metric.timestep));
    const lines = shown.map(({ place, metric }) => ({ place, ...meanOf(metric, width) }));
    for (const { place, x, y } of lines) {
      const source = new Bokeh.ColumnDataSource({ data: { x, y } });
      figure.line({ x: { field: "x" }, y: { field: "y" }, source, line_color: look(place, colours.name).colour, line_width: 1.5 });
    }
    const times = Float64Array.from(new Set(lines.flatMap(({ x }) => [...x]))).sort();
    const guide = new Bokeh.ColumnDataSource({ data: { x: times, y: new Float64Array(times.length) } });
    const renderers = [figure.line({ x: { field: "x" }, y: { field: "y" }, source: guide, line_alpha: 0 })];
    const tooltips = ({ data }, { index }) => tooltip([
      ["Since the start", since(data.x[index])],
      ...lines.map(({ place, x, y }) => {
        const at = nearest(x, data.x[index]);
        const there = Math.abs(x[at] - data.x[index]) < width * 1.5;
        return [names[place], there ? withUnit(y[at], unit, prefix) : "–"];
      }),
    ]);
    figure.add_tools(new Bokeh.HoverTool({ renderers, mode: "vline", tooltips, line_policy: "nearest", point_policy: "follow_mouse" }));
    // No clock: after 24 h the hours go on.
    const mantissas = longest > 3600 ? [1, 2, 3, 4, 6, 12, 24, 30, 48] : [1, 2, 5, 10, 15, 20, 30];
    const ticker = new Bokeh.AdaptiveTicker({ base: 60, mantissas, desired_num_ticks: 5, num_minor_ticks: 0 });
    figure.xaxes[0].ticker = ticker;
    figure.xgrids[0].ticker = ticker;
    figure.xaxes[0].formatter = new Bokeh.NumeralTickFormatter({ format: "00:00:00" });
    const cell = element("figure", undefined, "plot");
    const caption = element("figcaption");
    caption.append(element("strong", name), element("span", unit, "quiet"));
    const canvas = element("div", undefined, "plot-canvas");
    canvas.setAttribute("role", "img");
    const averages = shown.map(({ place, metric }) => `${names[place]} ${withUnit(metric.statistics.avg, unit, prefix)}`);
    canvas.setAttribute("aria-label", `${name}, averages: ${averages.join(", ")}`);
    cell.append(caption, canvas);
    grid.append(cell);
    views.push(await Bokeh.Plotting.show(figure, canvas));
  }
  section.dataset.drawn = String(metrics.size);
};

const begin = async () => {
  Bokeh.set_log_level("warn");
  jobs = await Promise.all(section.dataset.jobs.split(" ").map(load));
  const missing = jobs.flatMap(({ reason }, place) => (reason ? [`${names[place]}: ${reason}`] : []));
  status.textContent = missing.join(" ");
  status.hidden = !missing.length;
  await draw();
  const redraw = () => draw();
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
};

if (window.Bokeh) begin();
else status.textContent = "The plots cannot be drawn: Bokeh's files could not be loaded from this server.";
