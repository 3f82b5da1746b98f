// The plots of the job page: load the samples, which the server has reduced, and draw one plot after the other.
import { COLOURS, THRESHOLDS, element, figureOf, isFar, look, nameOf, rescaled, theme, withUnit } from "./figures.js";

const section = document.getElementById("plots");
const part = (role) => section.querySelector(`[data-role="${role}"]`);
const controls = section.querySelector(".plot-controls");
const status = section.querySelector(".plot-status");
const key = section.querySelector(".plot-key");
const grid = section.querySelector(".plot-grid");
const scope = part("scope");
const whole = part("whole");
const refresh = part("refresh");

let shown = null; // the last response of the server
let drawing = 0; // incremented to abort the drawing of an older response
let ranges = []; // the time ranges of the plots, kept in sync
let views = [];
let updates = new Map(); // by metric, a function to show other points

const zoneText = () => {
  if (!shown.offset) return shown.zone;
  const minutes = Math.round(Math.abs(shown.offset) / 60);
  const two = (value) => String(value).padStart(2, "0");
  const hours = `${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
  return `${shown.zone} (UTC${shown.offset < 0 ? "−" : "+"}${hours})`;
};

// --- all plots show the same time ---

let following = false;
let refining = 0; // the timer for `refine`

const zoom = (start, end) => {
  following = true;
  for (const range of ranges) range.setv({ start, end });
  following = false;
  clearTimeout(refining);
  refining = setTimeout(refine, 300);
  const all = ranges.every((range) => range.start <= range.bounds[0] && range.end >= range.bounds[1]);
  for (const button of [whole, part("earlier"), part("later")]) button.hidden = all;
};

// Zoom and pan with buttons: to half of the visible time, or half a view aside, within the time of the job.
const step = (factor, aside) => {
  const { start, end, bounds } = ranges[0];
  const width = (end - start) * factor;
  const wanted = (start + end) / 2 + aside * width - width / 2;
  const begin = Math.min(Math.max(wanted, bounds[0]), bounds[1] - width);
  zoom(begin, begin + width);
};

// Load more points for a part of the time, if the job is archived, which makes this fast.
const refine = async () => {
  if (!ranges.length) return;
  const { start, end } = ranges[0];
  const reduced = shown.metrics.some(({ band, lines }) => [band, ...lines].some((points) => points?.at));
  if (!shown.archived || !reduced) return;
  const mine = drawing;
  const seconds = (milliseconds) => Math.max(0, Math.round(milliseconds / 1000) - shown.offset);
  try {
    const { metrics } = whole.hidden ? shown : await answer({ from: seconds(start), to: seconds(end) });
    if (mine !== drawing || ranges[0].start !== start || ranges[0].end !== end) return;
    for (const metric of metrics) updates.get(metric.name)?.(metric);
    section.dataset.refined = `${seconds(start)} ${seconds(end)}`;
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

// --- all plots ---

const describe = (metric) => {
  const { min, avg, max } = metric.statistics;
  const many = metric.series === 1 ? "one series" : `${metric.series} series`;
  const lines = Object.entries(metric.thresholds).map(([word, value]) => `${word} ${withUnit(value, metric.unit, metric.prefix)}`);
  return [
    `${metric.name} over time, ${metric.scope} scope, ${many}`,
    `minimum ${withUnit(min, metric.unit, metric.prefix)}, average ${withUnit(avg, metric.unit, metric.prefix)}, maximum ${withUnit(max, metric.unit, metric.prefix)}`,
    ...(lines.length ? [`lines at ${lines.join(", ")}`] : []),
  ].join("; ");
};

const cellOf = (metric) => {
  const cell = element("figure", undefined, "plot");
  cell.dataset.metric = metric.name;
  const caption = element("figcaption");
  caption.append(element("strong", metric.name));
  caption.append(element("span", [metric.unit, metric.scope === "node" ? "" : metric.scope].filter(Boolean).join(" · "), "quiet"));
  const far = Object.entries(metric.thresholds).filter(([, value]) => isFar(metric, value));
  const above = far.map(([word, value]) => `${word} at ${withUnit(value, metric.unit, metric.prefix)}`).join(", ");
  if (above) caption.append(element("span", `${above}, above the picture`, "quiet small"));
  const canvas = element("div", undefined, "plot-canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", describe(metric));
  cell.append(caption, canvas);
  return { cell, canvas, metric };
};

// The index of the colour of each line, the same in all plots.
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
    const { figure, x_range, update } = figureOf(shown, metric, colours, places);
    follow(x_range);
    updates.set(metric.name, update);
    const view = await Bokeh.Plotting.show(figure, canvas);
    if (mine !== drawing) {
      view.remove();
      return;
    }
    view.canvas.events_el.removeAttribute("tabindex"); // an image, without keyboard interaction
    views.push(view);
    await turn(); // keep the page responsive between two plots
  }
  if (kept && !whole.hidden) zoom(...kept);
  section.dataset.drawn = String(cells.length);
};

// Scroll to the plot of a finding and zoom to its time.
const show = ({ metric, begin, end }) => {
  const cell = [...grid.children].find((each) => each.dataset.metric === metric);
  if (!cell || !ranges.length) return;
  zoom((begin + shown.offset) * 1000, (end + shown.offset) * 1000);
  cell.scrollIntoView({ block: "center" });
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
  const options = { headers: { Accept: "application/json" } };
  const response = await fetch(`${section.dataset.address}?${query}`, options).catch((error) => {
    throw new Error(`The server cannot be reached: ${error.message}.`);
  });
  if (response.redirected) throw new Error("You are logged out. Load the page again to log in.");
  if (!(response.headers.get("Content-Type") ?? "").startsWith("application/json")) {
    throw new Error(`The server answered ${response.status} ${response.statusText}.`);
  }
  const found = await response.json();
  if (!response.ok) throw new Error(found.reason);
  // `hosts` has the values as they were sent, in the units as they were sent.
  const units = found.metrics.map(({ name, unit, prefix }) => ({ name, unit, prefix }));
  return { ...found, units, metrics: found.metrics.map(rescaled) };
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
      ? `Times in ${zoneText()}. Drag across a plot to zoom all plots.`
      : "";
    say(shown.reason, shown.failed ? "errornote" : "quiet");
    part("time").hidden = !shown.metrics.length;
    controls.hidden = !again && !shown.metrics.length;
    // For the other parts of the page: the findings above, the use of the nodes below.
    document.dispatchEvent(new CustomEvent("jobs:samples", { detail: { job: shown, findings: shown.findings, show } }));
    await draw();
  } catch (error) {
    again = true;
    controls.hidden = false;
    say(error.message, "errornote");
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

const begin = () => {
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
};

if (window.Bokeh) begin();
else say("The plots cannot be drawn: Bokeh's files could not be loaded from this server.", "errornote");
