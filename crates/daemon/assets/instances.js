// The table of instances. Rows are kept by instance, so that a second's update changes cells and never moves what the eye rests on.

import { attribute, el, reconcile, text } from "./dom.js";
import { DASH, age, bytes, count, duration, number, time, words } from "./format.js";

const FULL_SHARE = 1000;
/** Columns in the order of the head of the table in index.html. */
const COLUMNS = ["name", "phase", "role", "weight", "shift", "for", "in-flight", "p50", "p99", "cpu", "memory", "address"];
const NUMERIC = new Set(["for", "in-flight", "p50", "p99", "cpu", "memory"]);
const WIDE = new Set(["cpu", "memory", "address"]);
const STEPS_SHOWN = 8;
/** Those in traffic first, then those that may soon be, then the rest. */
const ORDER = ["active", "draining", "standby", "parked", "starting", "halting", "halted", "stopping", "failed", "stopped"];

export function showInstances(parent, meta, instances, now) {
  const sorted = [...instances].sort((a, b) => ORDER.indexOf(state(a)) - ORDER.indexOf(state(b)) || a.id - b.id);
  reconcile(parent, sorted.length > 0 ? sorted : [null], {
    key: (instance) => instance?.id ?? "none",
    make: (instance) => (instance === null ? nothing() : row()),
    update: (node, instance) => instance !== null && fill(node, instance, now),
  });
  text(meta, instances.length > 0 ? count(instances.length, "instance") : "");
}

/** One word for phase, role and parked together. */
function state(instance) {
  if (instance.phase !== "ready") return instance.phase;
  if (instance.role === "active") return "active";
  return instance.parked ? "parked" : "standby";
}

function nothing() {
  return el("tr", {}, el("td", { colspan: COLUMNS.length, class: "empty" }, "No instances."));
}

function row() {
  const cells = COLUMNS.map((column) => {
    const classes = [NUMERIC.has(column) ? "num" : null, WIDE.has(column) ? "wide" : null].filter(Boolean).join(" ");
    if (column === "name") return el("th", { scope: "row" });
    if (column === "phase") return el("td", {}, el("span", { class: "phase" }, el("i", { class: "dot" }), el("span")));
    if (column === "weight") return el("td", {}, el("span", { class: "weight" }, el("span", { class: "bar" }, el("i")), el("span", { class: "share" })));
    if (column === "shift") return el("td", {}, el("ol", { class: "steps" }));
    return el("td", { class: classes || null });
  });
  return el("tr", {}, ...cells);
}

function fill(node, instance, now) {
  const cell = Object.fromEntries(COLUMNS.map((column, at) => [column, node.children[at]]));
  const is = state(instance);
  const routed = is === "active" || is === "draining";
  attribute(node, "data-state", is);
  text(cell.name, instance.name);
  attribute(cell.name, "title", instance.pid === null || instance.pid === undefined ? null : `pid ${instance.pid}`);
  const sick = routed && instance.healthy === false;
  attribute(node, "data-sick", sick);
  text(cell.phase.firstChild.lastChild, sick ? `${words(instance.phase)}, unhealthy` : words(instance.phase));
  text(cell.role, instance.parked ? "standby, parked" : instance.role);
  const share = Math.min(1, instance.weight / FULL_SHARE);
  const [bar, label] = cell.weight.firstChild.children;
  bar.firstChild.style.width = `${Math.round(share * 100)}%`;
  text(label, instance.weight > 0 ? `${Math.round((instance.weight / FULL_SHARE) * 100)} %` : DASH);
  showShift(cell.shift.firstChild, instance.shift ?? [], now);
  text(cell.for, age(now - instance.since_ms));
  text(cell["in-flight"], routed ? number(instance.in_flight) : DASH);
  text(cell.p50, routed ? duration(instance.latency_p50_ms) : DASH);
  text(cell.p99, routed ? duration(instance.latency_p99_ms) : DASH);
  text(cell.cpu, Number.isFinite(instance.cpu_cores) ? instance.cpu_cores.toFixed(2) : DASH);
  text(cell.memory, bytes(instance.memory_bytes));
  const address = instance.address ?? DASH;
  text(cell.address, instance.node ? `${address} on ${instance.node}` : address);
}

/** The steps by which it came to its share, each with its reason at hover, and to screen readers. */
function showShift(list, steps, now) {
  reconcile(list, steps.slice(-STEPS_SHOWN), {
    key: (step) => `${step.at_ms} ${step.turn}`,
    make: (step) => {
      const share = `${Math.round(step.to * 100)} %`;
      const sign = { halted: " held", taken_back: " back", all_at_once: " at once" }[step.turn] ?? "";
      return el("li", { "data-turn": step.turn }, el("span", {}, share + sign), el("span", { class: "spoken" }));
    },
    update: (item, step) => {
      const why = `${time(step.at_ms, now)}: ${step.sentence}`;
      attribute(item, "title", why);
      text(item.lastChild, why);
    },
  });
}
