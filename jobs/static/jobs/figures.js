// A plot of the job page, drawn with Bokeh: colours, numbers and tooltips.

// Eight colours, distinguishable with any colour vision and with a contrast of at least 3:1; then the same, dashed.
export const COLOURS = {
  light: ["#0072b2", "#c65102", "#00795a", "#b0408c", "#8a6d00", "#332288", "#5f6368", "#7a3b10"],
  dark: ["#56b4e9", "#f08a3c", "#2fc99a", "#e39ac6", "#f0e442", "#a79bf0", "#b8bdc2", "#d9a679"],
};
// Different from the colours of lines, and told apart by their dashes as well.
export const THRESHOLDS = {
  normal: { light: "#333333", dark: "#eeeeee", dash: [8, 4], css: "dashed" },
  caution: { light: "#333333", dark: "#eeeeee", dash: [2, 3], css: "dotted" },
  alert: { light: "#c0001a", dark: "#ff6b6b", dash: [], css: "solid" },
};

export const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

const isDark = () => {
  const theme = document.documentElement.dataset.theme;
  return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
};

export const theme = () => {
  const css = getComputedStyle(document.documentElement);
  const value = (name) => css.getPropertyValue(name).trim();
  return {
    name: isDark() ? "dark" : "light",
    quiet: value("--body-quiet-color"),
    line: value("--hairline-color"),
    border: value("--border-color"),
    font: value("--font-family-primary") || "sans-serif",
  };
};

const number = (value) => {
  if (value === null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e15)) return value.toExponential(2);
  const decimals = size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
  return value.toLocaleString("en-US", { maximumFractionDigits: decimals });
};

// As accounts/formatting.py: units of these bases are shown with the SI prefix that fits.
const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];
const SCALED = new Set(["B", "B/s", "F/s", "Flops/s", "W", "J", "Wh", "Hz", "bit/s"]);

// The power of 1000 that a prefix stands for; -1 if it is none.
export const powerOf = (prefix) => PREFIXES.indexOf(prefix === "K" ? "k" : prefix);

const scaleOf = (value, unit, prefix) => {
  const base = unit.slice(prefix.length);
  let power = powerOf(prefix);
  if (power < 0 || !SCALED.has(base) || !Number.isFinite(value)) return { factor: 1, unit };
  const before = power;
  let size = Math.abs(value);
  for (; size >= 999.5 && power < PREFIXES.length - 1; size /= 1000) power++;
  for (; size && size < 0.9995 && power > 0; size *= 1000) power--;
  return { factor: 1000 ** (before - power), unit: `${PREFIXES[power]}${base}` };
};

const clock = (milliseconds) => {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? "–" : date.toISOString().slice(0, 19).replace("T", " ");
};

// The metric in the unit that suits its greatest value.
export const rescaled = (metric) => {
  const { factor, unit } = scaleOf(metric.statistics.max, metric.unit, metric.prefix);
  if (factor === 1) return metric;
  const times = (value) => (value === null ? null : value * factor);
  const all = (values) => values.map(times);
  const each = (table) => Object.fromEntries(Object.entries(table).map(([name, value]) => [name, times(value)]));
  const { min, mean, max, ...rest } = metric.band ?? {};
  return {
    ...metric,
    unit,
    prefix: PREFIXES.find((prefix) => prefix && unit.startsWith(prefix)) ?? "",
    statistics: each(metric.statistics),
    thresholds: each(metric.thresholds),
    lines: metric.lines.map((line) => ({ ...line, values: all(line.values) })),
    band: metric.band && { ...rest, min: all(min), mean: all(mean), max: all(max) },
  };
};

export const withUnit = (value, unit, prefix = "") => {
  if (value === null || !Number.isFinite(value)) return "–";
  const scale = scaleOf(value, unit, prefix);
  return `${number(value * scale.factor)} ${scale.unit}`.trim();
};

// Some archives have an id for the only series of a node.
export const nameOf = (line, metric) =>
  line.id === null || metric.scope === "node" ? line.host : `${line.host} ${metric.scope} ${line.id}`;

export const look = (place, name) => ({
  colour: COLOURS[name][place % COLOURS[name].length],
  dash: Math.floor(place / COLOURS[name].length) % 2 ? [5, 3] : [],
});

// Milliseconds on the axis are local times, with the UTC offset at the start of the job.
const times = (job, at, count, timestep) => {
  const first = (job.start + job.offset) * 1000;
  return Float64Array.from({ length: count }, (_, place) => first + (at ? at[place] : place) * timestep * 1000);
};

const floats = (values) => Float64Array.from(values, (value) => (value === null ? NaN : value));

// Bokeh fills areas across missing values, so each stretch without any becomes a separate patch.
const patches = (x, low, high) => {
  const xs = [];
  const ys = [];
  let begin = null;
  for (let place = 0; place <= x.length; place++) {
    const there = place < x.length && !Number.isNaN(low[place]);
    if (there && begin === null) begin = place;
    if (there || begin === null) continue;
    const along = Array.from(x.subarray(begin, place));
    const below = Array.from(low.subarray(begin, place));
    const above = Array.from(high.subarray(begin, place));
    xs.push([...along, ...along.reverse()]);
    ys.push([...below, ...above.reverse()]);
    begin = null;
  }
  return { xs, ys };
};

// A point without neighbours has no line and becomes a dot.
const lonePlaces = (y) => {
  const there = (place) => place >= 0 && place < y.length && !Number.isNaN(y[place]);
  return Array.from(y.keys()).filter((place) => there(place) && !there(place - 1) && !there(place + 1));
};

export const tooltip = (rows) => {
  const table = element("table");
  table.style.cssText = "border-collapse: collapse; font-size: 12px; color: #222;";
  for (const [label, value] of rows) {
    const row = table.insertRow();
    row.append(element("th", label), element("td", value));
    row.firstChild.style.cssText = "text-align: left; font-weight: normal; padding-right: 8px; color: #555;";
  }
  return table;
};

const whenRows = (job, milliseconds) => [
  ...(job.offset ? [[job.zone, clock(milliseconds)]] : []),
  ["UTC", clock(milliseconds - job.offset * 1000)],
];

// These fill a figure and return the parts of its tooltip, and a function to show other points of the same series.
const addBand = (figure, job, metric, colours) => {
  const colour = COLOURS[colours.name][0];
  const [area, source, lone] = [new Bokeh.ColumnDataSource(), new Bokeh.ColumnDataSource(), new Bokeh.ColumnDataSource()];
  const update = ({ band, timestep }) => {
    const [low, mean, high] = [floats(band.min), floats(band.mean), floats(band.max)];
    const x = times(job, band.at, mean.length, timestep);
    area.data = patches(x, low, high);
    source.data = { x, low, mean, high };
    const places = lonePlaces(mean);
    lone.data = Object.fromEntries(
      Object.entries(source.data).map(([name, column]) => [name, places.map((place) => column[place])]),
    );
  };
  update(metric);
  const [x, y] = [{ field: "x" }, { field: "mean" }];
  figure.patches({
    xs: { field: "xs" }, ys: { field: "ys" }, source: area,
    fill_color: colour, fill_alpha: 0.25, line_color: colour, line_alpha: 0.4,
  });
  const renderers = [figure.line({ x, y, source, line_color: colour, line_width: 1.5 })];
  figure.scatter({ x, y, source: lone, size: 5, color: colour });
  const rows = (data, place) => [
    ["Maximum", withUnit(data.high[place], metric.unit, metric.prefix)],
    ["Mean", withUnit(data.mean[place], metric.unit, metric.prefix)],
    ["Minimum", withUnit(data.low[place], metric.unit, metric.prefix)],
    ["Series", String(metric.series)],
  ];
  return { renderers, rows, update };
};

// One tooltip tells the values of all lines at a time: an invisible line through all times is what the mouse finds.
const addLines = (figure, job, metric, colours, places) => {
  const line_width = metric.lines.length > 8 ? 1 : 1.5;
  const names = metric.lines.map((line) => nameOf(line, metric));
  const looks = names.map((name) => look(places.get(name), colours.name));
  const sources = names.map(() => new Bokeh.ColumnDataSource());
  const [lone, guide] = [new Bokeh.ColumnDataSource(), new Bokeh.ColumnDataSource()];
  const update = ({ lines, timestep }) => {
    const dots = { x: [], y: [], colour: [] };
    const all = new Set();
    lines.forEach((line, number) => {
      const y = floats(line.values);
      const x = times(job, line.at, y.length, timestep);
      sources[number].data = { x, y };
      for (const at of x) all.add(at);
      for (const place of lonePlaces(y)) {
        dots.x.push(x[place]);
        dots.y.push(y[place]);
        dots.colour.push(looks[number].colour);
      }
    });
    lone.data = dots;
    const x = Float64Array.from(all).sort();
    guide.data = { x, y: new Float64Array(x.length) };
  };
  update(metric);
  const [x, y] = [{ field: "x" }, { field: "y" }];
  sources.forEach((source, number) => {
    const { colour, dash } = looks[number];
    figure.line({ x, y, source, line_color: colour, line_dash: dash, line_width });
  });
  figure.scatter({ x, y, source: lone, size: 5, color: { field: "colour" } });
  const renderers = [figure.line({ x, y, source: guide, line_alpha: 0 })];
  const rows = ({ x: when }, place) => names.map((name, number) => {
    const { data } = sources[number];
    return [name, withUnit(data.y[nearest(data.x, when[place])] ?? null, metric.unit, metric.prefix)];
  });
  return { renderers, rows, update };
};

// The place of the number closest to `wanted` in an ascending array.
export const nearest = (ascending, wanted) => {
  let [low, high] = [0, ascending.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low > 0 && wanted - ascending[low - 1] < ascending[low] - wanted ? low - 1 : low;
};

// A threshold far above all samples would flatten them: it is left out of the plot and named in the caption.
export const isFar = (metric, value) => metric.statistics.max > 0 && value > 10 * metric.statistics.max;

const highest = (metric) => {
  const near = Object.values(metric.thresholds).filter((value) => !isFar(metric, value));
  return Math.max(metric.statistics.max, ...near);
};

export const dress = (figure, colours) => {
  for (const axis of figure.axes) {
    axis.axis_line_color = axis.major_tick_line_color = colours.border;
    axis.minor_tick_line_color = null;
    axis.major_label_text_color = colours.quiet;
    axis.major_label_text_font = colours.font;
    axis.major_label_text_font_size = "11px";
  }
  for (const lines of figure.grids) lines.grid_line_color = colours.line;
};

const showTimes = (figure) => {
  const [day, minutes, seconds] = ["%d %b", "%H:%M", "%H:%M:%S"];
  figure.xaxes[0].formatter = new Bokeh.DatetimeTickFormatter({
    milliseconds: seconds, seconds, minsec: seconds, minutes, hourmin: minutes, hours: minutes, days: day, months: day,
  });
};

// Returns the figure, its time range, and a function to show other points. `job` is the response of the server.
export const figureOf = (job, metric, colours, places) => {
  const [low, high] = [Math.min(0, metric.statistics.min), highest(metric)];
  const room = (high - low || 1) * 0.06;
  const first = (job.start + job.offset) * 1000;
  const last = Math.max((job.end + job.offset) * 1000, first + metric.timestep * 1000);
  const x_range = new Bokeh.Range1d({ start: first, end: last, bounds: [first, last] });
  const figure = Bokeh.Plotting.figure({
    height: 210,
    sizing_mode: "stretch_width",
    x_axis_type: "datetime",
    x_range,
    y_range: new Bokeh.Range1d({ start: low === 0 ? 0 : low - room, end: high + room }),
    toolbar_location: null,
    tools: [],
    background_fill_alpha: 0,
    border_fill_alpha: 0,
    outline_line_color: colours.border,
    min_border_right: 12,
    lod_threshold: null,
  });
  dress(figure, colours);
  showTimes(figure);
  for (const [word, value] of Object.entries(metric.thresholds)) {
    const { dash, [colours.name]: line_color } = THRESHOLDS[word];
    figure.add_layout(new Bokeh.Span({ location: value, dimension: "width", line_color, line_dash: dash, line_width: 1.5 }));
  }
  const { renderers, rows, update } = metric.band
    ? addBand(figure, job, metric, colours)
    : addLines(figure, job, metric, colours, places);
  const tooltips = (source, vars) => {
    const data = source.data;
    return tooltip([...whenRows(job, data.x[vars.index]), ...rows(data, vars.index)]);
  };
  figure.add_tools(
    new Bokeh.HoverTool({ renderers, mode: "vline", tooltips, line_policy: "nearest", point_policy: "follow_mouse" }),
    new Bokeh.BoxZoomTool({ dimensions: "width" }),
  );
  return { figure, x_range, update };
};
