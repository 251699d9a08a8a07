// The dashboard's entry: what is selected, what is known, and one round of questions each second.

import { Poller, Refused, get, workload } from "./api.js";
import { Chart, aheadFor, rangeButtons, rangeFor } from "./chart.js";
import { text } from "./dom.js";
import { age } from "./format.js";
import { showInstances } from "./instances.js";
import { showNodes } from "./nodes.js";
import { say, showEvents, showHeader, showLink, showOutage, showPlan, showProblems, showTabs, showTraining } from "./panels.js";
import { Tiles } from "./tiles.js";

const EVENTS_SHOWN = 60;
/** A thinned-out series cannot be extended by its end alone; it is read anew at this pace at most. */
const COARSE_SERIES_PAUSE_MS = 5_000;

const id = (name) => document.getElementById(name);

const state = {
  selected: fromAddress(),
  /** Shown length of the past; null until chosen or fitted to the step. */
  rangeMs: null,
  rangeChosen: false,
  series: null,
  seriesReadAt: 0,
  /** How far the daemon's clock is ahead of ours. */
  clockAheadMs: 0,
  lastGoodAt: null,
  outage: null,
};

const tiles = new Tiles(id("tiles"));
const chart = new Chart({ box: id("chart"), legend: id("legend"), empty: id("chart-empty"), follow: id("follow") });
const markRange = rangeButtons(id("ranges"), (range) => {
  state.rangeMs = range;
  state.rangeChosen = true;
  forgetSeries();
  poller.now();
});
const poller = new Poller({ poll, failed, recovered });

window.addEventListener("hashchange", () => select(fromAddress()));
id("retry").addEventListener("click", () => poller.now());
setInterval(tickOutage, 500);
showLink("connecting", "connecting");
poller.now();

/** One round: everything the page shows, from answers of the same second. */
async function poll() {
  const status = await get("/status");
  state.clockAheadMs = status.now_ms - Date.now();
  const names = status.workloads.map((summary) => summary.name);
  if (!names.includes(state.selected)) {
    state.selected = names[0] ?? null;
    forgetSeries();
  }
  showTabs(status.workloads, state.selected, select);
  showProblems(status.problems, status.now_ms);
  showTraining(status.training);
  showNodes(id("nodes-panel"), id("nodes"), id("nodes-meta"), status.nodes);
  text(id("about"), `foreshadow ${status.version}, running for ${age(status.now_ms - status.started_at_ms)}; proxy ${status.proxy.connected ? `connected, route table ${status.proxy.generation}` : "not connected"}; history ${status.history.state}`);
  if (state.selected !== null) await pollWorkload(state.selected);
  else showNothing();
  state.lastGoodAt = Date.now();
  id("main").removeAttribute("aria-busy");
  showLink("live", "live");
}

async function pollWorkload(name) {
  const now = Date.now() + state.clockAheadMs;
  let detail;
  try {
    detail = await get(workload(name));
  } catch (error) {
    // Gone between two answers: the next round picks another.
    if (error instanceof Refused && error.status === 404) return;
    throw error;
  }
  if (!state.rangeChosen) state.rangeMs = rangeFor(detail.policy.step_ms);
  const aheadMs = aheadFor(state.rangeMs, detail);
  const horizon = `${Math.ceil(aheadMs / 1000)}s`;
  const [series, forecast, events, levels] = await Promise.all([
    readSeries(name, now, detail.policy.step_ms),
    optional(get(workload(name, "/forecast"), { horizon })),
    optional(get("/events", { workload: name, limit: EVENTS_SHOWN })),
    optional(get(workload(name, "/levels"), { horizon })),
  ]);
  if (name !== state.selected) return;
  markRange(state.rangeMs);
  showHeader(detail.summary);
  tiles.update({ detail, series });
  chart.update({ series, forecast, detail, rangeMs: state.rangeMs, aheadMs, now });
  showPlan(detail, levels, now);
  showInstances(id("instances"), id("instances-meta"), detail.instances, now);
  if (events !== null) showEvents(events.events, now);
}

/** What a sensible server may not have (yet) is left out; being unreachable is not that. */
function optional(request) {
  return request.catch((error) => {
    if (error instanceof Refused) return null;
    throw error;
  });
}

/** The series of the shown range: whole at first, then only its end. */
async function readSeries(name, now, stepMs) {
  const from = Math.floor(now - state.rangeMs);
  const known = state.series;
  const thinned = known !== null && known.step_ms !== stepMs;
  if (thinned && Date.now() - state.seriesReadAt < COARSE_SERIES_PAUSE_MS) return known;
  const extend = known !== null && !thinned && known.timestamps_ms.length > 2;
  // The last two steps again: they may have been incomplete.
  const since = extend ? known.timestamps_ms.at(-2) : from;
  const answer = await optional(get(workload(name, "/series"), { from: since, to: Math.ceil(now) }));
  if (name !== state.selected || answer === null) return known;
  if (extend && answer.timestamps_ms.length === 0) return known;
  state.series = extend && answer.step_ms === known.step_ms ? joined(known, answer, since, from) : answer;
  state.seriesReadAt = Date.now();
  return state.series;
}

/** `known` up to `since`, then `fresh`; without what is before `from`. */
function joined(known, fresh, since, from) {
  const first = known.timestamps_ms.findIndex((at) => at >= from);
  const cut = known.timestamps_ms.findIndex((at) => at >= since);
  const result = { ...fresh };
  for (const [name, column] of Object.entries(known)) {
    if (Array.isArray(column)) result[name] = column.slice(Math.max(first, 0), cut).concat(fresh[name] ?? []);
  }
  return result;
}

function forgetSeries() {
  state.series = null;
  state.seriesReadAt = 0;
  chart.reset();
}

function select(name) {
  if (name === null || name === state.selected) return;
  state.selected = name;
  state.rangeMs = state.rangeChosen ? state.rangeMs : null;
  forgetSeries();
  const address = `#${encodeURIComponent(name)}`;
  if (window.location.hash !== address) window.history.replaceState(null, "", address);
  say(`Showing ${name}`);
  poller.now();
}

function fromAddress() {
  try {
    return decodeURIComponent(window.location.hash.slice(1)) || null;
  } catch {
    return null;
  }
}

function showNothing() {
  chart.say("No workload is configured.");
}

function failed(error, next) {
  if (state.outage === null) say("Control plane unreachable");
  state.outage = { since: state.lastGoodAt, next };
  showLink("stale", "no answer");
  id("link").title = error.message;
  tickOutage();
}

function recovered() {
  state.outage = null;
  id("link").removeAttribute("title");
  showOutage(null);
  say("Control plane reachable again");
}

function tickOutage() {
  if (state.outage !== null) showOutage(state.outage);
}
