// Talks to the control plane: one request at a time per resource, a deadline on each, and a polling loop that rests while nobody looks
// and backs off while nobody answers.

const DEADLINE_MS = 5_000;
const INTERVAL_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;

/** The server answered, but not with what was asked for. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.error ?? `the control plane answered ${status}`);
    this.status = status;
    this.hint = body?.hint ?? "";
  }
}

/** GETs a resource under /api/v1. Throws `Refused` for an answer below 500 that is not 2xx, any other error when there was no useful answer. */
export async function get(path, query = {}) {
  const url = new URL(`/api/v1${path}`, window.location.origin);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  const answer = await fetch(url, { signal: AbortSignal.timeout(DEADLINE_MS), cache: "no-store", credentials: "same-origin" });
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  if (answer.status >= 400 && answer.status < 500) throw new Refused(answer.status, body);
  throw new Error(body?.error ?? `the control plane answered ${answer.status}`);
}

/** Path of a workload's resource. */
export function workload(name, rest = "") {
  return `/workloads/${encodeURIComponent(name)}${rest}`;
}

/**
 * Calls `poll` each second while the page is visible. While it fails, waits longer each time, and tells `failed` (the error, and
 * when the next try is); the first success after that is told to `recovered`.
 */
export class Poller {
  constructor({ poll, failed, recovered }) {
    this.poll = poll;
    this.failed = failed;
    this.recovered = recovered;
    this.failures = 0;
    this.timer = null;
    this.running = false;
    this.again = false;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.now()));
  }

  /** Polls at once, and goes on from there. */
  now() {
    if (this.running) {
      this.again = true;
      return;
    }
    this.rest();
    this.round();
  }

  rest() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  async round() {
    this.running = true;
    const began = performance.now();
    let wait = INTERVAL_MS;
    try {
      await this.poll();
      if (this.failures > 0) this.recovered();
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      wait = Math.min(BACKOFF_MAX_MS, INTERVAL_MS * 2 ** Math.min(this.failures - 1, 10));
      // So that many open pages do not return all at once.
      wait *= 0.85 + 0.3 * Math.random();
      this.failed(error, Date.now() + wait);
    }
    this.running = false;
    if (document.hidden) return;
    const rest = this.again ? 0 : Math.max(wait - (this.failures > 0 ? 0 : performance.now() - began), 100);
    this.again = false;
    this.timer = setTimeout(() => this.round(), rest);
  }
}
