// The big chart: demand over the capacity that carries it, what had been forecast, and from now on the fan of what is forecast.

import { attribute, el, text } from "./dom.js";
import { duration, level, number } from "./format.js";

/** What can be switched on and off; the colour is a custom property of the style sheet. */
const LAYERS = [
  { id: "demand", label: "Demand", colour: "--demand", mark: "line" },
  { id: "forecast", label: "Forecast", colour: "--forecast", mark: "band" },
  { id: "active", label: "Active capacity", colour: "--active", mark: "area" },
  { id: "standby", label: "Standby capacity", colour: "--standby", mark: "hatch" },
];

const RANGES = [["2 min", 120_000], ["15 min", 900_000], ["1 h", 3_600_000], ["6 h", 21_600_000], ["24 h", 86_400_000], ["7 d", 604_800_000]];
/** The range chosen for a workload shows about so many steps. */
const STEPS_SHOWN = 120;
/** Share of the shown past that is shown of the future, unless lead times need more. */
const AHEAD_SHARE = 0.2;

/** The range that suits a step length when nobody has chosen one. */
export function rangeFor(stepMs) {
  return (RANGES.find(([, range]) => range >= stepMs * STEPS_SHOWN) ?? RANGES.at(-1))[1];
}

/** Most steps of forecast asked for at once. */
const AHEAD_STEPS_MAX = 1000;

/** How far ahead the chart looks: enough to see a cold start pay off. */
export function aheadFor(rangeMs, detail) {
  const { step_ms: step } = detail.policy;
  const lead = Math.max(2.5 * detail.lead_times.cold_ms, 4 * step);
  return Math.min(Math.max(AHEAD_SHARE * rangeMs, lead), 0.6 * rangeMs, AHEAD_STEPS_MAX * step);
}

/** Buttons for the ranges; returns a function that marks the one in force. */
export function rangeButtons(parent, choose) {
  const buttons = RANGES.map(([label, range]) => {
    const button = el("button", { type: "button", class: "chip", "aria-pressed": "false" }, label);
    button.addEventListener("click", () => choose(range));
    parent.append(button);
    return button;
  });
  return (range) => buttons.forEach((button, at) => attribute(button, "aria-pressed", RANGES[at][1] === range ? "true" : "false"));
}

export class Chart {
  constructor({ box, legend, empty, follow }) {
    this.box = box;
    this.empty = empty;
    this.follow = follow;
    this.hidden = new Set();
    /** The range of time that somebody zoomed to; null while the chart follows the clock. */
    this.zoomed = null;
    this.view = null;
    this.plotted = false;
    this.legend = LAYERS.map((layer) => this.legendButton(legend, layer));
    follow.addEventListener("click", () => this.zoom(null));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    // Also tells when the box gets its first size.
    new ResizeObserver(() => this.draw()).observe(box);
  }

  legendButton(parent, layer) {
    const button = el("button", { type: "button", class: "chip legend-item", "aria-pressed": "true", "data-mark": layer.mark }, el("i", { class: `mark ${layer.id}` }), layer.label);
    button.addEventListener("click", () => {
      if (!this.hidden.delete(layer.id)) this.hidden.add(layer.id);
      attribute(button, "aria-pressed", this.hidden.has(layer.id) ? "false" : "true");
      this.draw();
    });
    parent.append(button);
  }

  /** Shows `{ series, forecast, detail, rangeMs, aheadMs, now }`; series and forecast may be null. */
  update(view) {
    this.view = view;
    this.draw();
  }

  /** Forgets the zoom, for another workload or range. */
  reset() {
    this.zoomed = null;
  }

  zoom(range) {
    this.zoomed = range;
    this.draw();
  }

  draw() {
    if (this.view === null) return;
    const { series, detail } = this.view;
    if (window.Plotly === undefined) return this.say("The chart needs /assets/plotly.min.js, which did not load.");
    const known = (series?.demand ?? []).some(Number.isFinite);
    this.say(known ? null : `Waiting for the first step of demand (${duration(detail.policy.step_ms)} long).`);
    this.follow.hidden = this.zoomed === null;
    const colours = palette();
    const traces = this.traces(colours);
    window.Plotly.react(this.box, traces, this.layout(colours, traces), CONFIG);
    if (!this.plotted) {
      this.plotted = true;
      this.box.on("plotly_relayout", (change) => this.relayouted(change));
      this.box.on("plotly_doubleclick", () => this.zoom(null));
    }
    attribute(this.box, "aria-label", spoken(this.view));
  }

  /** Words in place of a curve, or none. */
  say(words) {
    this.empty.hidden = words === null;
    text(this.empty, words ?? "");
  }

  relayouted(change) {
    const from = change["xaxis.range[0]"];
    const to = change["xaxis.range[1]"];
    if (from !== undefined && to !== undefined) this.zoom([from, to]);
  }

  traces(colours) {
    const { series, forecast, detail, now } = this.view;
    const past = series ?? { timestamps_ms: [], demand: [] };
    const x = past.timestamps_ms.map(local);
    const unit = detail.summary.unit;
    const capacity = capacityColumns(past, detail, now);
    const seen = (id) => !this.hidden.has(id);
    const value = (what) => `${what} <b>%{y:,.4~g}</b> ${plain(unit)}<extra></extra>`;
    const line = { type: "scatter", mode: "lines", connectgaps: false };

    const step = { ...line, x: capacity.x };
    const base = capacity.active.map((active) => (seen("active") ? active ?? 0 : 0));
    const top = capacity.standby.map((standby, at) => (Number.isFinite(standby) ? base[at] + standby : null));
    const areas = [
      area({ x: capacity.x, low: capacity.active.map(() => 0), high: capacity.active, stepped: true, visible: seen("active"), fillcolor: colours.activeFill }),
      { ...area({ x: capacity.x, low: base, high: top, stepped: true, visible: seen("standby"), fillcolor: colours.standbyFill }), fillpattern: { shape: "/", size: 6, solidity: 0.18, fgcolor: colours.standby, bgcolor: colours.standbyFill } },
      { ...step, y: top, customdata: capacity.standby, visible: seen("standby"), line: { color: colours.standby, width: 1, shape: "hv" }, hovertemplate: `Standby <b>%{customdata:,.4~g}</b> ${plain(unit)}<extra></extra>` },
      { ...step, y: capacity.active, visible: seen("active"), line: { color: colours.active, width: 1.2, shape: "hv" }, hovertemplate: value("Active") },
    ];
    const was = [
      area({ x, low: past.forecast_low ?? [], high: past.forecast_high ?? [], visible: seen("forecast"), fillcolor: colours.pastBand }),
      { ...line, x, y: past.forecast_p50, visible: seen("forecast"), line: { color: colours.forecast, width: 1, dash: "dot" }, hovertemplate: value("Had been forecast") },
    ];
    const demand = { ...line, x, y: past.demand, visible: seen("demand"), line: { color: colours.demand, width: 2 }, hovertemplate: value("Demand") };
    return [...areas, ...was, ...fan(forecast, past, colours, seen("forecast"), unit), demand, missed(past, x, colours, seen("demand"), unit), anomalies(detail, past, colours, seen("demand"))];
  }

  layout(colours, traces) {
    const { detail, rangeMs, aheadMs, now } = this.view;
    const narrow = window.matchMedia("(max-width: 720px)").matches;
    const at = local(now);
    const axis = { gridcolor: colours.grid, linecolor: colours.grid, tickcolor: colours.grid, zeroline: false, fixedrange: false, tickfont: { size: 11, color: colours.muted } };
    return {
      width: this.box.clientWidth,
      height: this.box.clientHeight,
      margin: { l: narrow ? 38 : 52, r: 10, t: 8, b: 28 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, color: colours.ink, size: 12 },
      showlegend: false,
      hovermode: "x unified",
      hoverdistance: 30,
      hoverlabel: { bgcolor: colours.panel, bordercolor: colours.grid, font: { size: 12, color: colours.ink } },
      // A drag must scroll the page on a touch screen.
      dragmode: window.matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, type: "date", range: this.zoomed ?? [at - rangeMs, at + aheadMs], showgrid: false, nticks: narrow ? 5 : 10, tickformatstops: TIME_FORMATS, hoverformat: "%b %-d, %H:%M:%S", showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: colours.muted },
      yaxis: { ...axis, range: [0, ceiling(traces)], fixedrange: true, nticks: 6, title: narrow ? undefined : { text: plain(detail.summary.unit), font: { size: 11, color: colours.muted }, standoff: 6 } },
      shapes: [{ type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, line: { color: colours.muted, width: 1, dash: "dot" } }],
      annotations: [{ x: at, y: 1, yref: "paper", yanchor: "top", xanchor: "left", xshift: 4, text: "now", showarrow: false, font: { size: 11, color: colours.muted } }],
    };
  }
}

const CONFIG = { displayModeBar: false, doubleClick: false, scrollZoom: false, showTips: false };

/** Labels of the time axis on one line, by the distance of its ticks. */
const TIME_FORMATS = [
  { dtickrange: [null, 1_000], value: "%H:%M:%S.%L" },
  { dtickrange: [1_000, 60_000], value: "%H:%M:%S" },
  { dtickrange: [60_000, 86_400_000], value: "%H:%M" },
  { dtickrange: [86_400_000, null], value: "%b %-d" },
];

/** Capacity as columns, carried on to now with what is known this second. */
function capacityColumns(past, detail, now) {
  const times = [...past.timestamps_ms, now];
  const active = [...(past.active_capacity ?? []), detail.capacity.active];
  const standby = [...(past.standby_capacity ?? []), detail.capacity.standby];
  return { x: times.map(local), active, standby };
}

/**
 * The area between two columns, one polygon for each run without gaps: filling between two lines, as the plotting library offers it, draws
 * across gaps. `stepped` columns hold their value until the next.
 */
function area({ x, low, high, stepped = false, visible, fillcolor }) {
  const outline = { x: [], y: [] };
  let run = [];
  const close = () => {
    if (run.length > 1) {
      const edge = (column) => run.flatMap((at, place) => (stepped && place > 0 ? [[x[at], column[at - 1]], [x[at], column[at]]] : [[x[at], column[at]]]));
      for (const [px, py] of [...edge(low), ...edge(high).reverse()]) {
        outline.x.push(px);
        outline.y.push(py);
      }
      outline.x.push(null);
      outline.y.push(null);
    }
    run = [];
  };
  for (let at = 0; at < x.length; at += 1) {
    if (Number.isFinite(low[at]) && Number.isFinite(high[at])) run.push(at);
    else close();
  }
  close();
  return { type: "scatter", mode: "lines", ...outline, visible, hoverinfo: "skip", line: { width: 0 }, fill: "toself", fillcolor };
}

/** From now on: one band for each pair of quantiles around the median, the outermost first, then the median. */
function fan(forecast, past, colours, visible, unit) {
  if (!forecast || forecast.timestamps_ms.length === 0) return [];
  const { quantiles, columns } = forecast;
  const middle = nearest(quantiles, 0.5);
  const last = past.demand.findLastIndex(Number.isFinite);
  // The fan opens at the last observation.
  const joined = last >= 0 && past.timestamps_ms[last] < forecast.timestamps_ms[0];
  const x = [...(joined ? [past.timestamps_ms[last]] : []), ...forecast.timestamps_ms].map(local);
  const column = (q) => [...(joined ? [past.demand[last]] : []), ...columns[q]];
  const bands = [];
  for (let low = 0, high = quantiles.length - 1; low < middle && high > middle; low += 1, high -= 1) {
    bands.push(area({ x, low: column(low), high: column(high), visible, fillcolor: colours.band }));
  }
  const [low, high] = [0, quantiles.length - 1];
  const between = column(low).map((value, at) => `${number(value)} to ${number(column(high)[at])}`);
  const spread = low < middle && high > middle ? `, ${level(quantiles[high] - quantiles[low])} within %{customdata}` : "";
  const median = { type: "scatter", mode: "lines", x, y: column(middle), customdata: between, visible, line: { color: colours.forecast, width: 2, dash: "dash" }, hovertemplate: `Forecast <b>%{y:,.4~g}</b> ${plain(unit)}${spread}<extra></extra>` };
  return [...bands, median];
}

function missed(past, x, colours, visible, unit) {
  const at = (past.missed ?? []).flatMap((value, index) => (value > 0 && Number.isFinite(past.demand[index]) ? [index] : []));
  return { type: "scatter", mode: "markers", x: at.map((index) => x[index]), y: at.map((index) => past.demand[index]), customdata: at.map((index) => past.missed[index]), visible, marker: { color: colours.bad, size: 7, symbol: "x-thin", line: { color: colours.bad, width: 2 } }, hovertemplate: `Missed <b>%{customdata:,.3~g}</b> ${plain(unit)}<extra></extra>` };
}

/** Values of another kind than those before, ringed, with what was expected of them. */
function anomalies(detail, past, colours, visible) {
  const from = past.timestamps_ms[0] ?? Infinity;
  const shown = (detail.anomalies ?? []).filter((anomaly) => anomaly.at_ms >= from);
  return { type: "scatter", mode: "markers", x: shown.map((anomaly) => local(anomaly.at_ms)), y: shown.map((anomaly) => anomaly.value), customdata: shown.map((anomaly) => `${number(anomaly.nearest)}, ${Number.isFinite(anomaly.p_value) ? `p ${anomaly.p_value < 1e-9 ? "< 1e-9" : `= ${anomaly.p_value.toExponential(0)}`}` : "far beyond all before"}`), visible, marker: { color: colours.bad, size: 12, symbol: "circle-open", line: { width: 2 } }, hovertemplate: "Anomaly: nearest to it would have been %{customdata}<extra></extra>" };
}

/** The top of the axis: a round number above all that is shown, so that it moves rarely. Far quantiles alone do not stretch it. */
function ceiling(traces) {
  const top = (which) => traces.filter((trace) => trace.visible !== false && which(trace)).flatMap((trace) => trace.y ?? []).reduce((most, value) => (Number.isFinite(value) && value > most ? value : most), 0);
  const solid = top((trace) => trace.hoverinfo !== "skip");
  const most = Math.min(top(() => true), solid * 1.25 || Infinity) * 1.06;
  if (most <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(most / 4));
  const step = unit * [1, 2, 2.5, 5, 10].find((factor) => factor * unit * 4 >= most * 0.999 || factor === 10);
  return Math.ceil(most / (step / 2)) * (step / 2);
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    ink: read("--ink"), muted: read("--muted"), grid: read("--grid"), panel: read("--panel"), bad: read("--bad"),
    demand: read("--demand"), forecast: read("--forecast"), band: read("--band"), pastBand: read("--past-band"),
    active: read("--active"), activeFill: read("--active-fill"), standby: read("--standby"), standbyFill: read("--standby-fill"),
  };
}

/** The plotting library knows no time zones and shows UTC: shift, so that it shows the viewer's clock. */
function local(ms) {
  return ms - new Date(ms).getTimezoneOffset() * 60_000;
}

function nearest(levels, wanted) {
  return levels.reduce((best, value, at) => (Math.abs(value - wanted) < Math.abs(levels[best] - wanted) ? at : best), 0);
}

/** Text of others inside a label of the plotting library, which reads a little markup. */
function plain(words) {
  return String(words).replace(/[<>&%{}]/g, " ");
}

function spoken({ detail, forecast }) {
  const { summary, capacity } = detail;
  const now = `Demand ${number(summary.demand_now)} ${summary.unit}; active capacity ${number(capacity.active)}, standby ${number(capacity.standby)}.`;
  if (!forecast || forecast.timestamps_ms.length === 0) return `${now} No forecast yet.`;
  const median = forecast.columns[nearest(forecast.quantiles, 0.5)];
  return `${now} Forecast median at most ${number(Math.max(...median))} in the next ${duration(forecast.timestamps_ms.length * forecast.step_ms)}.`;
}
