// The panels made of words: header, problems, the last plan with its reasons, events, and the notice of an outage.

import { attribute, el, reconcile, text } from "./dom.js";
import { age, count, duration, level, number, percent, time, words } from "./format.js";

const id = (name) => document.getElementById(name);

/** Mode, trust, and the title of the page. */
export function showHeader(summary) {
  const mode = id("mode");
  mode.hidden = false;
  text(mode, summary.mode === "observe" ? "observing only" : "acting");
  attribute(mode, "data-tone", summary.mode === "observe" ? "wait" : null);
  attribute(mode, "title", summary.mode === "observe" ? "Plans are made and shown, not carried out." : "Plans are carried out.");
  const trust = id("trust");
  trust.hidden = false;
  const silent = Number.isFinite(summary.outage_since_ms);
  text(trust, silent ? "outage suspected" : summary.trust.trusted ? "forecast trusted" : "forecast not trusted");
  attribute(trust, "data-tone", silent ? "bad" : summary.trust.trusted ? "good" : "wait");
  attribute(trust, "title", summary.trust.sentence);
  document.title = `${summary.name} · foreshadow`;
}

/** Whether the training of models waits, of all workloads together. */
export function showTraining(training) {
  const paused = training?.paused ?? null;
  id("training").hidden = paused === null;
  const title = paused && `Since ${new Date(paused.since_ms).toISOString()} by ${paused.author}: ${paused.reason}`;
  attribute(id("training"), "title", title);
}

/** The state of the connection: "live", "stale" or "connecting". */
export function showLink(state, words) {
  attribute(id("link"), "data-state", state);
  text(id("link-text"), words);
}

/** One tab for each workload; `choose(name)` is called for the one that is picked. */
export function showTabs(workloads, selected, choose) {
  const tabs = id("tabs");
  reconcile(tabs, workloads, {
    key: (workload) => workload.name,
    make: (workload) => {
      const tab = el("button", { type: "button", role: "tab", class: "tab", "aria-controls": "main" }, el("span", { class: "tab-name" }), el("span", { class: "tab-count" }));
      tab.addEventListener("click", () => choose(workload.name));
      tab.addEventListener("keydown", (event) => moveBetweenTabs(tabs, tab, event));
      return tab;
    },
    update: (tab, workload) => {
      const chosen = workload.name === selected;
      attribute(tab, "aria-selected", chosen ? "true" : "false");
      attribute(tab, "tabindex", chosen ? "0" : "-1");
      attribute(tab, "data-trusted", workload.trust.trusted ? "true" : "false");
      text(tab.children[0], workload.name);
      text(tab.children[1], `${workload.counts.active}+${workload.counts.standby}`);
      attribute(tab, "title", `${count(workload.counts.active, "active instance")}, ${workload.counts.standby} standing by`);
    },
  });
}

function moveBetweenTabs(tabs, tab, event) {
  const all = [...tabs.children];
  const at = all.indexOf(tab);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const next = all[(to + all.length) % all.length];
  next.focus();
  next.click();
}

export function showProblems(problems, now) {
  reconcile(id("problems"), problems, {
    key: (problem) => `${problem.kind} ${problem.since_ms}`,
    make: () => el("p", { class: "problem", role: "alert" }, el("strong"), el("span"), el("small")),
    update: (node, problem) => {
      text(node.children[0], problem.message);
      text(node.children[1], problem.hint);
      text(node.children[2], `for ${age(now - problem.since_ms)}`);
    },
  });
}

export function showPlan(detail, levels, now) {
  const { plan, decision_override: override } = detail;
  text(id("plan-meta"), plan ? `#${plan.generation}, ${age(now - plan.at_ms)} ago` : "");
  const items = [override ? { kind: "override", override } : null, plan ? { kind: "plan", plan } : { kind: "none" }].filter(Boolean);
  reconcile(id("plan"), items, { key: (item) => item.kind, make: makePlanPart, update: (node, item) => fillPlanPart(node, item, detail, levels, now) });
}

function makePlanPart({ kind }) {
  if (kind === "override") return el("p", { class: "override" });
  if (kind === "none") return el("p", { class: "empty" }, "No plan yet: the first one follows the first observation.");
  const wanted = el("p", { class: "wanted" }, el("strong"), " active", el("span", { class: "plus" }, "+"), el("strong"), " standby", el("span", { class: "pill trigger" }));
  return el("div", {}, wanted, el("ol", { class: "reasons" }), el("dl", { class: "inputs" }));
}

function fillPlanPart(node, { kind, plan, override }, detail, levels, now) {
  if (kind === "override") {
    const pins = [pin(override.active, "active"), pin(override.standby, "standby")].filter(Boolean).join(" and ");
    const until = Number.isFinite(override.expires_at_ms) ? ` Ends in ${age(override.expires_at_ms - now)}.` : "";
    text(node, `Overridden by ${override.author}: ${pins || "nothing pinned"}. ${override.reason}${/[.!?]$/.test(override.reason) ? "" : "."}${until}`);
  }
  if (kind !== "plan") return;
  const [wanted, reasons, inputs] = node.children;
  const [activeCount, , standbyCount, trigger] = wanted.children;
  text(activeCount, plan.active_wanted);
  text(standbyCount, plan.standby_wanted);
  text(trigger, `trigger: ${words(plan.trigger)}`);
  reconcile(reasons, plan.reasons.map((reason, at) => ({ ...reason, at })), {
    key: (reason) => `${reason.at} ${reason.rule}`,
    make: (reason) => el("li", { title: words(reason.rule) }),
    update: (item, reason) => text(item, reason.sentence),
  });
  reconcile(inputs, [...planInputs(plan.inputs, detail), ...levelInputs(levels, detail, now)], {
    key: ([name]) => name,
    make: ([name]) => el("div", {}, el("dt", {}, name), el("dd")),
    update: (pair, [, value]) => text(pair.children[1], value),
  });
}

/** The next levels at which one more instance is needed: how likely they are crossed, and when. */
function levelInputs(levels, detail, now) {
  if (!levels || levels.timestamps_ms.length === 0) return [];
  const within = duration(levels.timestamps_ms.length * levels.step_ms);
  const beyond = levels.levels.filter((item) => item.instances > detail.summary.active_wanted).slice(0, LEVELS_SHOWN);
  return beyond.map((item) => {
    const chance = `${percent(Math.round(item.crossed.at(-1) * 1000) / 1000)} in ${within}`;
    const when = Number.isFinite(item.likely_at_ms) ? `, likely ${time(item.likely_at_ms, now)}` : Number.isFinite(item.possible_at_ms) ? `, possibly ${time(item.possible_at_ms, now)}` : "";
    return [`Over ${number(item.demand)} needs ${item.instances}`, chance + when];
  });
}

const LEVELS_SHOWN = 2;

function pin(count, role) {
  return count === null || count === undefined ? null : `${count} ${role}`;
}

function planInputs(inputs, detail) {
  const { unit } = detail.summary;
  const step = detail.policy.step_ms;
  return [
    ["Demand", `${number(inputs.demand_now)} ${unit}`],
    ["Reactive floor", `${number(inputs.floor)} ${unit}`],
    [`Peak in ${duration(inputs.window_active_steps * step)}`, `${number(inputs.forecast_active)} at ${level(inputs.q_active)}`],
    [`Peak in ${duration(inputs.window_standby_steps * step)}`, `${number(inputs.forecast_total)} at ${level(inputs.q_standby)}`],
    ["One instance serves", `${number(inputs.capacity)} ${unit}${detail.capacity.learned ? ", learned" : ""}`],
  ];
}

export function showEvents(events, now) {
  const repeats = new Map();
  const keyed = events.map((event) => {
    const base = `${event.at_ms} ${event.kind} ${event.instance ?? ""} ${event.message}`;
    const repeat = repeats.get(base) ?? 0;
    repeats.set(base, repeat + 1);
    return { ...event, key: `${base} ${repeat}` };
  });
  text(id("events-meta"), events.length > 0 ? "newest first" : "");
  const list = id("events");
  attribute(list, "data-empty", events.length === 0);
  reconcile(list, keyed, {
    key: (event) => event.key,
    make: (event) => {
      const took = Number.isFinite(event.took_ms) ? el("span", { class: "took" }, duration(event.took_ms)) : el("span");
      return el("li", { "data-tone": tone(event) }, el("time", { datetime: new Date(event.at_ms).toISOString() }), el("span", { class: "what", title: words(event.kind) }, event.message), took);
    },
    update: (item, event) => text(item.firstChild, time(event.at_ms, now)),
  });
}

/** Events are told apart by the words in their stable names, so that new kinds fall into place. */
function tone({ kind, shift }) {
  if (shift) return shift.turn === "taken_back" ? "bad" : shift.turn === "halted" ? "wait" : "promote";
  if (/fail|exit|unhealthy|unreachable|full|refused|dropped|anomaly|outage_began/.test(kind)) return "bad";
  if (/promot|deploy|adapts|trained|new_normal/.test(kind)) return "promote";
  if (/ready|adopt|healthy|recover|restored|outage_ended/.test(kind)) return "good";
  if (/park|drain|stop|override/.test(kind)) return "quiet";
  return null;
}

/** Shows or hides the notice of an outage; the rest of the page keeps the last that was known. */
export function showOutage(outage) {
  const notice = id("outage");
  notice.hidden = outage === null;
  document.body.classList.toggle("stale", outage !== null);
  if (outage === null) return;
  const left = Math.max(0, Math.ceil((outage.next - Date.now()) / 1000));
  const shown = outage.since === null ? "" : ` What you see is from ${time(outage.since, Date.now())}.`;
  text(id("outage-text"), `The proxy keeps serving with its last route table.${shown} Trying again ${left > 0 ? `in ${left} s` : "now"}.`);
}

/** Says something to screen readers, rarely: only when it differs from what was said last. */
export function say(words) {
  text(id("spoken"), words);
}
