// Numbers, durations and times as people read them. Pure functions; `null` and `undefined` become a dash.

export const DASH = "–";

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A quantity with about three significant digits: 0.42, 7.1, 183, 12,400. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  if (size >= 100 || Number.isInteger(value)) return grouped.format(value);
  if (size >= 10) return trim(value.toFixed(1));
  if (size >= 0.1) return trim(value.toFixed(2));
  return value.toPrecision(2);
}

/** A share as a percentage with as many digits as it needs: 0.04 %, 1.2 %, 38 %. */
export function percent(share) {
  if (share === null || share === undefined || !Number.isFinite(share)) return DASH;
  const value = share * 100;
  const size = Math.abs(value);
  if (size === 0) return "0 %";
  if (size >= 10) return `${trim(value.toFixed(1))} %`;
  if (size >= 1) return `${trim(value.toFixed(2))} %`;
  if (size < 0.0001) return "< 0.0001 %";
  return `${trim(value.toPrecision(2))} %`;
}

/** A quantile level: 97.5 %, 99.95 %. */
export function level(share) {
  return Number.isFinite(share) ? `${trim((share * 100).toFixed(3))} %` : DASH;
}

/** Milliseconds as a short duration: 2.4 ms, 61 ms, 3.4 s, 12 min, 5 h, 3 d. */
export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return DASH;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const secs = ms / 1000;
  if (secs < 10) return `${trim(secs.toFixed(1))} s`;
  if (secs < 90) return `${Math.round(secs)} s`;
  if (secs < 5400) return `${Math.round(secs / 60)} min`;
  if (secs < 129600) return `${trim((secs / 3600).toFixed(1))} h`;
  return `${Math.round(secs / 86400)} d`;
}

/** How long ago, in whole units, so that it does not flicker: 4 s, 12 min. */
export function age(ms) {
  const secs = Math.max(0, Math.floor(ms / 1000));
  if (secs < 120) return `${secs} s`;
  if (secs < 7200) return `${Math.floor(secs / 60)} min`;
  if (secs < 172800) return `${Math.floor(secs / 3600)} h`;
  return `${Math.floor(secs / 86400)} d`;
}

export function bytes(count) {
  if (count === null || count === undefined || !Number.isFinite(count)) return DASH;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** Time of day; with the day when it was not within the last twelve hours. */
export function time(ms, now) {
  const at = new Date(ms);
  return Math.abs(now - ms) < 43_200_000 ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}

/** `instance_ready` as `instance ready`. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}

/** One and many: count(1, "instance") is `1 instance`. */
export function count(n, noun) {
  return `${grouped.format(n)} ${noun}${n === 1 ? "" : "s"}`;
}

function trim(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
