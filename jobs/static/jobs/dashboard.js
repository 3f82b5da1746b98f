// The charts of the overview: jobs and node hours per hour, from the data in the page, drawn with Bokeh.
(() => {
  "use strict";

  const chart = JSON.parse(document.getElementById("chart-data").textContent);
  const section = document.getElementById("chart");
  const root = document.documentElement;
  const HOUR = 3600 * 1000;
  const OUTCOMES = { completed: "--bar-good", failed: "--bar-bad", other: "--bar-warn", running: "--bar-run" };
  const CLUSTERS = ["--bar-1", "--bar-2", "--bar-3", "--bar-4", "--bar-5", "--bar-6"];

  let drawing = 0; // incremented to abort a drawing in old colours
  let views = [];

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  const element = (name, text) => {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  };

  // The axis does not support time zones, so local times are passed as if they were UTC.
  const lefts = chart.begins.map((begin) => (begin + chart.offset) * 1000);
  const clock = (milliseconds) => new Date(milliseconds).toISOString().slice(0, 16).replace("T", " ");
  const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 1 });

  const PLOTS = {
    jobs: {
      series: Object.entries(chart.jobs).map(([name, values]) => ({ name, values, variable: OUTCOMES[name] })),
    },
    nodeHours: {
      series: Object.entries(chart.nodeHours).map(([name, values], place) => ({
        name, values, variable: CLUSTERS[place % CLUSTERS.length],
      })),
    },
  };

  const tooltip = (place, series) => {
    const table = document.createElement("table");
    table.style.cssText = "border-collapse: collapse; font-size: 12px; color: #222;";
    const rows = [[`${clock(lefts[place])} to ${clock(lefts[place] + HOUR).slice(11)}`, ""]];
    for (const { name, values } of series) rows.push([name, number(values[place])]);
    for (const [label, value] of rows) {
      const row = table.insertRow();
      row.append(element("th", label), element("td", value));
      row.firstChild.style.cssText = "text-align: left; font-weight: normal; padding-right: 8px; color: #555;";
      row.lastChild.style.textAlign = "right";
    }
    return table;
  };

  const figureOf = (series) => {
    const totals = lefts.map((_, place) => series.reduce((sum, { values }) => sum + values[place], 0));
    const figure = Bokeh.Plotting.figure({
      height: 190,
      sizing_mode: "stretch_width",
      x_axis_type: "datetime",
      x_range: new Bokeh.Range1d({ start: lefts[0], end: lefts[lefts.length - 1] + HOUR }),
      y_range: new Bokeh.Range1d({ start: 0, end: Math.max(...totals) * 1.06 || 1 }),
      toolbar_location: null,
      tools: [],
      background_fill_alpha: 0,
      border_fill_alpha: 0,
      outline_line_color: colour("--border-color"),
      min_border_right: 12,
    });
    for (const axis of figure.axes) {
      axis.axis_line_color = axis.major_tick_line_color = colour("--border-color");
      axis.minor_tick_line_color = null;
      axis.major_label_text_color = colour("--body-quiet-color");
      axis.major_label_text_font = colour("--font-family-primary") || "sans-serif";
      axis.major_label_text_font_size = "11px";
    }
    for (const axis of figure.xaxes) axis.formatter = new Bokeh.DatetimeTickFormatter({ days: "%a %d %b", hours: "%H:%M" });
    for (const axis of figure.yaxes) axis.formatter = new Bokeh.NumeralTickFormatter({ format: "0,0[.]0" });
    for (const lines of figure.grids) lines.grid_line_color = colour("--hairline-color");
    let bottoms = lefts.map(() => 0);
    for (const { values, variable } of series) {
      const tops = bottoms.map((bottom, place) => bottom + values[place]);
      const source = new Bokeh.ColumnDataSource({
        data: { left: lefts, right: lefts.map((left) => left + HOUR * 0.9), bottom: bottoms, top: tops },
      });
      figure.quad({
        left: { field: "left" }, right: { field: "right" }, bottom: { field: "bottom" }, top: { field: "top" },
        source, fill_color: colour(variable), line_color: null,
      });
      bottoms = tops;
    }
    // Invisible bars of full height, so that hovering anywhere over an hour shows its numbers.
    const hovered = figure.quad({
      left: { field: "left" }, right: { field: "right" }, bottom: 0, top: Math.max(...totals) * 1.06 || 1,
      source: new Bokeh.ColumnDataSource({ data: { left: lefts, right: lefts.map((left) => left + HOUR) } }),
      fill_alpha: 0, line_color: null,
    });
    const tooltips = (_, vars) => tooltip(vars.index, series);
    figure.add_tools(new Bokeh.HoverTool({ renderers: [hovered], mode: "mouse", point_policy: "follow_mouse", tooltips }));
    return figure;
  };

  const showKey = (key, series) => {
    key.replaceChildren(...series.map(({ name, variable }) => {
      const entry = element("span", name);
      const swatch = document.createElement("i");
      swatch.style.background = `var(${variable})`;
      entry.prepend(swatch);
      return entry;
    }));
  };

  const draw = async () => {
    const mine = ++drawing;
    delete section.dataset.drawn;
    for (const view of views) view.remove();
    views = [];
    for (const [name, { series }] of Object.entries(PLOTS)) {
      const place = document.querySelector(`[data-plot="${name}"]`);
      showKey(document.querySelector(`[data-key="${name}"]`), series);
      place.replaceChildren();
      const view = await Bokeh.Plotting.show(figureOf(series), place);
      if (mine !== drawing) {
        view.remove();
        return;
      }
      views.push(view);
    }
    section.dataset.drawn = String(views.length);
  };

  draw();
  new MutationObserver(draw).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
