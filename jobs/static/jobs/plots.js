// The plots of a job's page: loads the samples, already reduced by the server, and draws them with Bokeh.
(() => {
  "use strict";

  const section = document.getElementById("plots");
  const part = (role) => section.querySelector(`[data-role="${role}"]`);
  const controls = section.querySelector(".plot-controls");
  const status = section.querySelector(".plot-status");
  const key = section.querySelector(".plot-key");
  const grid = section.querySelector(".plot-grid");
  const scope = part("scope");
  const whole = part("whole");
  const refresh = part("refresh");

  // Eight colours that people with any kind of colour vision tell apart, at least 3:1 on the page; then the same dashed.
  const COLOURS = {
    light: ["#0072b2", "#c65102", "#00795a", "#b0408c", "#8a6d00", "#332288", "#5f6368", "#7a3b10"],
    dark: ["#56b4e9", "#f08a3c", "#2fc99a", "#e39ac6", "#f0e442", "#a79bf0", "#b8bdc2", "#d9a679"],
  };
  // Not the colours of lines; apart by their dashes too.
  const THRESHOLDS = {
    normal: { light: "#333333", dark: "#eeeeee", dash: [8, 4], css: "dashed" },
    caution: { light: "#333333", dark: "#eeeeee", dash: [2, 3], css: "dotted" },
    alert: { light: "#c0001a", dark: "#ff6b6b", dash: [], css: "solid" },
  };

  let shown = null; // the server's last answer
  let drawing = 0; // counts up, so that what was begun for an older answer stops
  let ranges = []; // of time, one per plot, kept in step
  let views = [];

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const isDark = () => {
    const theme = document.documentElement.dataset.theme;
    return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  };

  const theme = () => {
    const css = getComputedStyle(document.documentElement);
    const value = (name) => css.getPropertyValue(name).trim();
    return {
      name: isDark() ? "dark" : "light",
      text: value("--body-fg"),
      quiet: value("--body-quiet-color"),
      line: value("--hairline-color"),
      border: value("--border-color"),
      font: value("--font-family-primary") || "sans-serif",
    };
  };

  const number = (value) => {
    if (value === null || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.01 || size >= 1e9)) return value.toExponential(3);
    return value.toLocaleString("en-US", { maximumFractionDigits: 2 });
  };

  const clock = (milliseconds) => {
    const date = new Date(milliseconds);
    return Number.isNaN(date.getTime()) ? "–" : date.toISOString().slice(0, 19).replace("T", " ");
  };

  const zoneText = () => {
    if (!shown.offset) return shown.zone;
    const minutes = Math.round(Math.abs(shown.offset) / 60);
    const two = (value) => String(value).padStart(2, "0");
    const hours = `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
    return `${shown.zone} (UTC${shown.offset < 0 ? "−" : "+"}${hours})`;
  };

  const withUnit = (value, unit) => (unit ? `${number(value)} ${unit}` : number(value));

  const nameOf = (line, metric) => (line.id === null ? line.host : `${line.host} ${metric.scope} ${line.id}`);

  const look = (place, name) => ({
    colour: COLOURS[name][place % COLOURS[name].length],
    dash: Math.floor(place / COLOURS[name].length) % 2 ? [5, 3] : [],
  });

  // --- one plot ---

  // Milliseconds on the axis are those of the site's zone, at the offset that it had when the job started.
  const times = (at, count, metric) => {
    const first = (shown.start + shown.offset) * 1000;
    const step = metric.timestep * 1000;
    return Float64Array.from({ length: count }, (_, place) => first + (at ? at[place] : place) * step);
  };

  const floats = (values) => Float64Array.from(values, (value) => (value === null ? NaN : value));

  // Bokeh fills an area across missing values: each stretch without one becomes a patch of its own.
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

  const tooltip = (rows) => {
    const table = element("table");
    table.style.cssText = "border-collapse: collapse; font-size: 12px; color: #222;";
    for (const [label, value] of rows) {
      const row = table.insertRow();
      row.append(element("th", label), element("td", value));
      row.firstChild.style.cssText = "text-align: left; font-weight: normal; padding-right: 8px; color: #555;";
    }
    return table;
  };

  const whenRows = (milliseconds) => [
    ...(shown.offset ? [[shown.zone, clock(milliseconds)]] : []),
    ["UTC", clock(milliseconds - shown.offset * 1000)],
  ];

  const addBand = (figure, metric, colours) => {
    const { at, ...values } = metric.band;
    const [low, mean, high] = [floats(values.min), floats(values.mean), floats(values.max)];
    const x = times(at, mean.length, metric);
    const colour = COLOURS[colours.name][0];
    const area = patches(x, low, high);
    figure.patches({ xs: area.xs, ys: area.ys, fill_color: colour, fill_alpha: 0.25, line_color: colour, line_alpha: 0.4 });
    const source = new Bokeh.ColumnDataSource({ data: { x, low, mean, high } });
    const line = figure.line({
      x: { field: "x" }, y: { field: "mean" }, source, line_color: colour, line_width: 1.5, line_cap: "round",
    });
    return { renderers: [line], mode: "vline", rows: (data, place) => [
      ["Maximum", withUnit(data.high[place], metric.unit)],
      ["Mean", withUnit(data.mean[place], metric.unit)],
      ["Minimum", withUnit(data.low[place], metric.unit)],
      ["Series", String(metric.series)],
    ] };
  };

  const addLines = (figure, metric, colours, places) => {
    const line_width = metric.lines.length > 8 ? 1 : 1.5;
    const renderers = metric.lines.map((line) => {
      const values = floats(line.values);
      const name = nameOf(line, metric);
      const { colour, dash } = look(places.get(name), colours.name);
      const source = new Bokeh.ColumnDataSource({ data: { x: times(line.at, values.length, metric), y: values }, name });
      return figure.line({
        x: { field: "x" }, y: { field: "y" }, source,
        line_color: colour, line_dash: dash, line_width, line_cap: "round",
      });
    });
    const mode = metric.lines.length > 4 ? "mouse" : "vline";
    return { renderers, mode, rows: (data, place, name) => [[name, withUnit(data.y[place], metric.unit)]] };
  };

  // What stands at a place may be one point alone, which is no line.
  const nearest = (data, vars) => {
    const place = vars.index ?? 0;
    const next = Math.min(place + 1, data.x.length - 1);
    return Math.abs(data.x[next] - vars.x) < Math.abs(data.x[place] - vars.x) ? next : place;
  };

  const highest = (metric) => {
    const numbers = [metric.statistics.max, ...Object.values(metric.thresholds)].filter(Number.isFinite);
    return Math.max(...numbers);
  };

  const figureOf = (metric, colours, places) => {
    const [low, high] = [Math.min(0, metric.statistics.min), highest(metric)];
    const room = (high - low || 1) * 0.06;
    const first = (shown.start + shown.offset) * 1000;
    const last = Math.max((shown.end + shown.offset) * 1000, first + metric.timestep * 1000);
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
    for (const axis of figure.axes) {
      axis.axis_line_color = axis.major_tick_line_color = colours.border;
      axis.minor_tick_line_color = null;
      axis.major_label_text_color = colours.quiet;
      axis.major_label_text_font = colours.font;
      axis.major_label_text_font_size = "11px";
    }
    const [day, minutes, seconds] = ["%d %b", "%H:%M", "%H:%M:%S"];
    figure.xaxes[0].formatter = new Bokeh.DatetimeTickFormatter({
      milliseconds: seconds, seconds, minsec: seconds, minutes, hourmin: minutes, hours: minutes, days: day, months: day,
      context: new Bokeh.DatetimeTickFormatter({
        milliseconds: day, seconds: day, minsec: day, minutes: day, hourmin: day, hours: day, days: "%Y", months: "%Y",
        hide_repeats: true,
      }),
      context_which: "all",
    });
    for (const lines of figure.grids) lines.grid_line_color = colours.line;
    for (const [word, value] of Object.entries(metric.thresholds)) {
      const { dash, [colours.name]: line_color } = THRESHOLDS[word];
      figure.add_layout(new Bokeh.Span({ location: value, dimension: "width", line_color, line_dash: dash, line_width: 1.5 }));
    }
    const { renderers, mode, rows } = metric.band
      ? addBand(figure, metric, colours)
      : addLines(figure, metric, colours, places);
    const tooltips = (source, vars) => {
      const data = source.data;
      const place = nearest(data, vars);
      return tooltip([...whenRows(data.x[place]), ...rows(data, place, source.name)]);
    };
    figure.add_tools(
      new Bokeh.HoverTool({ renderers, mode, tooltips, line_policy: "nearest", point_policy: "snap_to_data" }),
      new Bokeh.BoxZoomTool({ dimensions: "width" }),
    );
    follow(x_range);
    return figure;
  };

  // --- all plots show the same time ---

  let following = false;

  const zoom = (start, end) => {
    following = true;
    for (const range of ranges) range.setv({ start, end });
    following = false;
    whole.hidden = ranges.every((range) => range.start <= range.bounds[0] && range.end >= range.bounds[1]);
  };

  const follow = (range) => {
    const now = ranges[0];
    if (now) range.setv({ start: now.start, end: now.end });
    ranges.push(range);
    range.change.connect(() => {
      if (!following) zoom(range.start, range.end);
    });
  };

  // --- all of them ---

  const describe = (metric) => {
    const { min, avg, max } = metric.statistics;
    const many = metric.series === 1 ? "one series" : `${metric.series} series`;
    const lines = Object.entries(metric.thresholds).map(([word, value]) => `${word} ${withUnit(value, metric.unit)}`);
    return [
      `${metric.name} over time, ${metric.scope} scope, ${many}`,
      `minimum ${withUnit(min, metric.unit)}, average ${withUnit(avg, metric.unit)}, maximum ${withUnit(max, metric.unit)}`,
      ...(lines.length ? [`lines at ${lines.join(", ")}`] : []),
    ].join("; ");
  };

  const cellOf = (metric) => {
    const cell = element("figure", undefined, "plot");
    const caption = element("figcaption");
    caption.append(element("strong", metric.name));
    caption.append(element("span", [metric.unit, metric.scope === "node" ? "" : metric.scope].filter(Boolean).join(" · "), "quiet"));
    const canvas = element("div", undefined, "plot-canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", describe(metric));
    cell.append(caption, canvas);
    return { cell, canvas, metric };
  };

  // Which colour a line has in all plots.
  const placesOf = (metrics) => {
    const places = new Map();
    const counts = {};
    for (const metric of metrics) {
      for (const line of metric.lines) {
        const name = nameOf(line, metric);
        if (!places.has(name)) places.set(name, counts[metric.scope] = (counts[metric.scope] ?? -1) + 1);
      }
    }
    return places;
  };

  const showKey = (metrics, places, colours) => {
    const entry = (text, colour, style) => {
      const sample = element("span", undefined, "plot-sample");
      sample.style.borderTopColor = colour;
      sample.style.borderTopStyle = style;
      const item = element("li");
      item.append(sample, text);
      return item;
    };
    key.replaceChildren();
    for (const [name, place] of places) {
      const { colour, dash } = look(place, colours.name);
      key.append(entry(name, colour, dash.length ? "dashed" : "solid"));
    }
    if (metrics.some((metric) => metric.band)) {
      key.append(entry("mean, in the band from minimum to maximum of all series", COLOURS[colours.name][0], "solid"));
    }
    for (const [word, { css, [colours.name]: colour }] of Object.entries(THRESHOLDS)) {
      if (metrics.some((metric) => word in metric.thresholds)) key.append(entry(word, colour, css));
    }
    key.hidden = false;
  };

  const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

  const draw = async () => {
    const mine = ++drawing;
    const kept = ranges[0] ? [ranges[0].start, ranges[0].end] : null;
    for (const view of views) view.remove();
    views = [];
    ranges = [];
    const colours = theme();
    const places = placesOf(shown.metrics);
    const cells = shown.metrics.map(cellOf);
    grid.replaceChildren(...cells.map(({ cell }) => cell));
    showKey(shown.metrics, places, colours);
    section.dataset.drawn = "";
    for (const { canvas, metric } of cells) {
      const view = await Bokeh.Plotting.show(figureOf(metric, colours, places), canvas);
      if (mine !== drawing) {
        view.remove();
        return;
      }
      view.canvas.events_el.removeAttribute("tabindex"); // a picture: nothing for the keyboard to do there
      views.push(view);
      await turn(); // the page answers between two plots
    }
    if (kept && !whole.hidden) zoom(...kept);
    section.dataset.drawn = String(cells.length);
  };

  const say = (text, className) => {
    status.textContent = text;
    status.className = `plot-status ${className}`;
    status.hidden = !text;
  };

  const offerScopes = () => {
    const select = scope.querySelector("select");
    select.replaceChildren(...shown.scopes.map((name) => {
      const option = element("option", name === "node" ? "node" : `${name}, where there are samples of it`);
      option.value = name;
      option.selected = name === shown.scope;
      return option;
    }));
    scope.hidden = shown.scopes.length < 2;
  };

  const answer = async () => {
    const wanted = scope.querySelector("select").value || "node";
    const response = await fetch(`${section.dataset.address}?scope=${encodeURIComponent(wanted)}`, {
      headers: { Accept: "application/json" },
    });
    if (response.redirected) throw new Error("You are logged out. Load the page again to log in.");
    if (!(response.headers.get("Content-Type") ?? "").startsWith("application/json")) {
      throw new Error(`The server answered ${response.status} ${response.statusText}.`);
    }
    const found = await response.json();
    if (!response.ok) throw new Error(found.reason);
    return found;
  };

  const load = async () => {
    say("Loading samples …", "quiet");
    section.setAttribute("aria-busy", "true");
    if (refresh) refresh.disabled = true;
    try {
      shown = await answer();
      controls.hidden = !refresh && !shown.metrics.length;
      offerScopes();
      part("axis").textContent = shown.metrics.length
        ? `Times in ${zoneText()}. Drag across a plot to see a part of the time in all.`
        : "";
      say(shown.reason, shown.failed ? "errornote" : "quiet");
      if (shown.metrics.length) await draw();
      else grid.replaceChildren(), key.hidden = true;
    } catch (error) {
      controls.hidden = !refresh;
      say(error instanceof TypeError ? `The server cannot be reached (${error.message}).` : error.message, "errornote");
    } finally {
      section.setAttribute("aria-busy", "false");
      if (refresh) refresh.disabled = false;
    }
  };

  const redraw = () => {
    if (shown && shown.metrics.length) draw();
  };

  Bokeh.set_log_level("warn");
  scope.addEventListener("change", load);
  whole.addEventListener("click", () => zoom(...ranges[0].bounds));
  if (refresh) refresh.addEventListener("click", load);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  load();
})();
