// The row of tiles: what matters now, one number each, with a short line of context and, where it says something, a spark line.

import { attribute, el, svg, text } from "./dom.js";
import { DASH, count, duration, number, percent } from "./format.js";

const SPARK_POINTS = 90;
const SPARK_WIDTH = 100;
const SPARK_HEIGHT = 26;

/** Each tile: id, label, and what it shows of `{ detail, series }`. */
const TILES = [
  { id: "demand", label: "Demand now", show: demand },
  { id: "active", label: "Active", show: active },
  { id: "standby", label: "Standby", show: standby },
  { id: "missed", label: "Missed", show: missed },
  { id: "latency", label: "Latency p99", show: latency },
  { id: "lead", label: "Promotion", show: lead },
  { id: "forecast", label: "Forecast", show: forecast },
];

export class Tiles {
  constructor(parent) {
    this.tiles = TILES.map((tile) => {
      const value = el("span", { class: "value" }, DASH);
      const unit = el("span", { class: "unit" });
      const note = el("p", { class: "note" });
      const line = svg("polyline", { fill: "none", "vector-effect": "non-scaling-stroke" });
      const spark = svg("svg", { class: "spark", viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, line);
      const meter = el("span", { class: "meter", "aria-hidden": "true", hidden: true }, el("i"));
      const node = el("article", { class: "tile", "data-tile": tile.id }, el("h3", {}, tile.label), el("p", { class: "figure" }, value, unit), note, spark, meter);
      parent.append(node);
      return { ...tile, node, value, unit, note, line, meter };
    });
  }

  update(view) {
    for (const tile of this.tiles) {
      const shown = tile.show(view);
      text(tile.value, shown.value);
      text(tile.unit, shown.unit ?? "");
      text(tile.note, shown.note ?? "");
      attribute(tile.note, "title", shown.note);
      attribute(tile.node, "data-tone", shown.tone ?? null);
      attribute(tile.line, "points", shown.spark ? points(shown.spark) : "");
      attribute(tile.meter, "hidden", shown.meter === undefined);
      if (shown.meter !== undefined) tile.meter.firstChild.style.width = `${Math.round(100 * Math.min(1, Math.max(0, shown.meter)))}%`;
    }
  }
}

function demand({ detail, series }) {
  const peak = detail.plan?.inputs.forecast_active;
  const note = Number.isFinite(peak) ? `peak ahead ${number(peak)}` : "no forecast yet";
  return { value: number(detail.summary.demand_now), unit: detail.summary.unit, note, spark: series?.demand };
}

function active({ detail }) {
  const { counts, active_wanted: wanted } = detail.summary;
  const moving = [
    counts.starting > 0 ? `${counts.starting} starting` : null,
    counts.draining > 0 ? `${counts.draining} draining` : null,
  ].filter(Boolean);
  const note = [`serves ${number(detail.capacity.active)}`, ...moving].join(", ");
  return { value: number(counts.active), unit: `of ${wanted} wanted`, note, tone: counts.active < wanted ? "wait" : null };
}

function standby({ detail }) {
  const { counts, standby_wanted: wanted } = detail.summary;
  const note = `${counts.parked} parked, ${number(detail.capacity.standby)} in reserve`;
  return { value: number(counts.standby), unit: `of ${wanted} wanted`, note };
}

function missed({ detail }) {
  const { allowed, missed_share: share, remaining } = detail.budget;
  const left = Number.isFinite(remaining) ? (remaining >= 0 ? `${percent(remaining)} left` : "overdrawn") : "nothing measured yet";
  const used = Number.isFinite(share) && allowed > 0 ? share / allowed : 0;
  const tone = used > 1 ? "bad" : used > 0.75 ? "wait" : null;
  return { value: percent(share), note: `budget ${percent(allowed)}, ${left}`, meter: used, tone };
}

function latency({ detail, series }) {
  const { p50, p99 } = detail.latency_ms;
  const bound = detail.policy.latency_bound_ms;
  const note = [`p50 ${duration(p50)}`, Number.isFinite(bound) ? `bound ${duration(bound)}` : null].filter(Boolean).join(", ");
  const [value, unit] = split(duration(p99));
  return { value, unit, note, spark: series?.latency_p99_ms, tone: Number.isFinite(bound) && p99 > bound ? "bad" : null };
}

function lead({ detail }) {
  const measured = detail.promotion_ms.count > 0;
  const [value, unit] = split(duration(measured ? detail.promotion_ms.p50 : detail.lead_times.promote_ms));
  const cold = detail.cold_start_ms.count > 0 ? detail.cold_start_ms.p50 : detail.lead_times.cold_ms;
  const many = measured ? `, ${count(detail.promotion_ms.count, "promotion")}` : ", assumed";
  return { value, unit, note: `cold start ${duration(cold)}${many}` };
}

function forecast({ detail }) {
  const { trusted, sentence } = detail.summary.trust;
  return { value: trusted ? "Trusted" : "Not trusted", note: sentence.replace(/^(un)?trusted: /i, ""), tone: trusted ? "good" : "wait" };
}

/** "61 ms" as number and unit. */
function split(shown) {
  const at = shown.lastIndexOf(" ");
  return at < 0 ? [shown, ""] : [shown.slice(0, at), shown.slice(at + 1)];
}

function points(column) {
  const recent = column.slice(-SPARK_POINTS);
  const known = recent.filter(Number.isFinite);
  if (known.length < 2) return "";
  const low = Math.min(...known, 0);
  const high = Math.max(...known);
  const scale = high > low ? (SPARK_HEIGHT - 3) / (high - low) : 0;
  return recent
    .map((value, at) => [value, at])
    .filter(([value]) => Number.isFinite(value))
    .map(([value, at]) => `${((at / (recent.length - 1)) * SPARK_WIDTH).toFixed(1)},${(SPARK_HEIGHT - 1.5 - (value - low) * scale).toFixed(1)}`)
    .join(" ");
}
