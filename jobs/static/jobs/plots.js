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
  let updates = new Map(); // metric's name to what shows other points of it

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
  const times = (at, count, timestep) => {
    const first = (shown.start + shown.offset) * 1000;
    return Float64Array.from({ length: count }, (_, place) => first + (at ? at[place] : place) * timestep * 1000);
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

  // A point without neighbours is no line; it becomes a dot.
  const lonePlaces = (y) => {
    const there = (place) => place >= 0 && place < y.length && !Number.isNaN(y[place]);
    return Array.from(y.keys()).filter((place) => there(place) && !there(place - 1) && !there(place + 1));
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

  // Each fills a figure and returns what hovering needs, and how to show other points of the same series.
  const addBand = (figure, metric, colours) => {
    const colour = COLOURS[colours.name][0];
    const [area, source, lone] = [new Bokeh.ColumnDataSource(), new Bokeh.ColumnDataSource(), new Bokeh.ColumnDataSource()];
    const update = ({ band, timestep }) => {
      const [low, mean, high] = [floats(band.min), floats(band.mean), floats(band.max)];
      const x = times(band.at, mean.length, timestep);
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
    const renderers = [
      figure.line({ x, y, source, line_color: colour, line_width: 1.5 }),
      figure.scatter({ x, y, source: lone, size: 5, color: colour }),
    ];
    const rows = (data, place) => [
      ["Maximum", withUnit(data.high[place], metric.unit)],
      ["Mean", withUnit(data.mean[place], metric.unit)],
      ["Minimum", withUnit(data.low[place], metric.unit)],
      ["Series", String(metric.series)],
    ];
    return { renderers, mode: "vline", rows, update };
  };

  const addLines = (figure, metric, colours, places) => {
    const line_width = metric.lines.length > 8 ? 1 : 1.5;
    const names = metric.lines.map((line) => nameOf(line, metric));
    const looks = names.map((name) => look(places.get(name), colours.name));
    const sources = names.map(() => new Bokeh.ColumnDataSource());
    const lone = new Bokeh.ColumnDataSource();
    const update = ({ lines, timestep }) => {
      const dots = { x: [], y: [], series: [], colour: [] };
      lines.forEach((line, number) => {
        const y = floats(line.values);
        const x = times(line.at, y.length, timestep);
        sources[number].data = { x, y, series: new Int32Array(y.length).fill(number) };
        for (const place of lonePlaces(y)) {
          dots.x.push(x[place]);
          dots.y.push(y[place]);
          dots.series.push(number);
          dots.colour.push(looks[number].colour);
        }
      });
      lone.data = dots;
    };
    update(metric);
    const [x, y] = [{ field: "x" }, { field: "y" }];
    const renderers = sources.map((source, number) => {
      const { colour, dash } = looks[number];
      return figure.line({ x, y, source, line_color: colour, line_dash: dash, line_width });
    });
    renderers.push(figure.scatter({ x, y, source: lone, size: 5, color: { field: "colour" } }));
    const rows = (data, place) => [[names[data.series[place]], withUnit(data.y[place], metric.unit)]];
    return { renderers, mode: metric.lines.length > 4 ? "mouse" : "vline", rows, update };
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
    });
    for (const lines of figure.grids) lines.grid_line_color = colours.line;
    for (const [word, value] of Object.entries(metric.thresholds)) {
      const { dash, [colours.name]: line_color } = THRESHOLDS[word];
      figure.add_layout(new Bokeh.Span({ location: value, dimension: "width", line_color, line_dash: dash, line_width: 1.5 }));
    }
    const { renderers, mode, rows, update } = metric.band
      ? addBand(figure, metric, colours)
      : addLines(figure, metric, colours, places);
    const tooltips = (source, vars) => {
      const data = source.data;
      return tooltip([...whenRows(data.x[vars.index]), ...rows(data, vars.index)]);
    };
    figure.add_tools(
      new Bokeh.HoverTool({ renderers, mode, tooltips, line_policy: "nearest", point_policy: "snap_to_data" }),
      new Bokeh.BoxZoomTool({ dimensions: "width" }),
    );
    follow(x_range);
    updates.set(metric.name, update);
    return figure;
  };

  // --- all plots show the same time ---

  let following = false;
  let refining = 0; // the timer of `refine`

  const zoom = (start, end) => {
    following = true;
    for (const range of ranges) range.setv({ start, end });
    following = false;
    clearTimeout(refining);
    refining = setTimeout(refine, 300);
    const all = ranges.every((range) => range.start <= range.bounds[0] && range.end >= range.bounds[1]);
    for (const button of [whole, part("earlier"), part("later")]) button.hidden = all;
  };

  // For those who do not drag: half of the time in view, or half a view aside, within the job's time.
  const step = (factor, aside) => {
    const { start, end, bounds } = ranges[0];
    const width = (end - start) * factor;
    const wanted = (start + end) / 2 + aside * width - width / 2;
    const begin = Math.min(Math.max(wanted, bounds[0]), bounds[1] - width);
    zoom(begin, begin + width);
  };

  // A part of the time has more points than the whole shows; archived samples are quickly had again.
  const refine = async () => {
    const { start, end } = ranges[0];
    const reduced = shown.metrics.some(({ band, lines }) => [band, ...lines].some((points) => points?.at));
    if (!shown.archived || !reduced) return;
    const mine = drawing;
    const seconds = (milliseconds) => Math.max(0, Math.round(milliseconds / 1000) - shown.offset);
    try {
      const { metrics } = whole.hidden ? shown : await answer({ from: seconds(start), to: seconds(end) });
      if (mine !== drawing || ranges[0].start !== start || ranges[0].end !== end) return;
      for (const metric of metrics) updates.get(metric.name)?.(metric);
      section.dataset.refined = `${start} ${end}`;
    } catch (error) {
      say(`The part of the time is shown with fewer points: ${error.message}`, "quiet");
    }
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
    const bands = metrics.filter((metric) => metric.band);
    if (bands.length) {
      const series = bands.every((metric) => metric.scope === "node") ? "nodes" : "series";
      key.append(entry(`mean, in the band from minimum to maximum of all ${series}`, COLOURS[colours.name][0], "solid"));
    }
    for (const [word, { css, [colours.name]: colour }] of Object.entries(THRESHOLDS)) {
      if (metrics.some((metric) => word in metric.thresholds)) key.append(entry(word, colour, css));
    }
    key.hidden = !metrics.length;
  };

  const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

  const draw = async () => {
    const mine = ++drawing;
    const kept = ranges[0] ? [ranges[0].start, ranges[0].end] : null;
    for (const view of views) view.remove();
    views = [];
    ranges = [];
    updates = new Map();
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

  const answer = async (part = {}) => {
    const query = new URLSearchParams({ scope: scope.querySelector("select").value || "node", ...part });
    const response = await fetch(`${section.dataset.address}?${query}`, { headers: { Accept: "application/json" } });
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
    refresh.disabled = true;
    let again = "running" in section.dataset;
    try {
      shown = await answer();
      again ||= shown.failed;
      offerScopes();
      part("axis").textContent = shown.metrics.length
        ? `Times in ${zoneText()}. Drag across a plot to see a part of the time in all of them.`
        : "";
      say(shown.reason, shown.failed ? "errornote" : "quiet");
      part("time").hidden = !shown.metrics.length;
      controls.hidden = !again && !shown.metrics.length;
      await draw();
    } catch (error) {
      again = true;
      controls.hidden = false;
      say(error instanceof TypeError ? `The server cannot be reached (${error.message}).` : error.message, "errornote");
    } finally {
      section.setAttribute("aria-busy", "false");
      refresh.disabled = false;
      refresh.hidden = !again;
      refresh.textContent = "running" in section.dataset ? "Refresh" : "Try again";
    }
  };

  const redraw = () => {
    if (shown) draw();
  };

  Bokeh.set_log_level("warn");
  scope.addEventListener("change", load);
  whole.addEventListener("click", () => zoom(...ranges[0].bounds));
  part("in").addEventListener("click", () => step(0.5, 0));
  part("earlier").addEventListener("click", () => step(1, -0.5));
  part("later").addEventListener("click", () => step(1, 0.5));
  refresh.addEventListener("click", load);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  load();
})();
