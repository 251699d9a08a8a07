//! The watch over a route's backends that leaves those out for a while which do much worse than the others. It runs on the
//! control thread, on counters that are kept anyway; what counts as worse is decided in `balance`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use balance::{Window, outliers};

use crate::control::OutlierSpec;
use crate::counters::total;
use crate::state::BackendState;

/// It.
#[derive(Debug, Default)]
pub(crate) struct OutlierWatch {
    /// End of the window, as time since the process started.
    due: Duration,
    /// By id and address.
    backends: BTreeMap<(u64, SocketAddr), Watched>,
}

/// A backend as it was at the beginning of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    requests: u64,
    errors: u64,
    responses: u64,
    latency_us: u64,
    /// Times in a row that it was left out.
    times: u32,
}

impl OutlierWatch {
    /// A watch that begins at `elapsed`.
    pub(crate) fn new(spec: &OutlierSpec, backends: &[Arc<BackendState>], elapsed: Duration) -> Self {
        let mut watch = Self { due: elapsed + spec.interval, backends: BTreeMap::new() };
        watch.windows(backends, elapsed);
        watch
    }

    /// The end of the window.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// Judges the backends if a window is over.
    pub(crate) fn judge(&mut self, spec: &OutlierSpec, backends: &[Arc<BackendState>], elapsed: Duration) {
        if elapsed < self.due {
            return;
        }
        self.due = elapsed + spec.interval;
        let windows = self.windows(backends, elapsed);
        let found = outliers(&spec.policy(), &windows);
        for (index, window) in windows.iter().enumerate() {
            let backend = &backends[index];
            let Some(watched) = self.backends.get_mut(&(backend.id, backend.addr)) else { continue };
            if found.contains(&index) {
                let lasts = spec.lasts.saturating_mul(1 << watched.times.min(8)).min(spec.lasts * LASTS_MAX);
                watched.times += 1;
                backend.leave_out(elapsed, lasts);
            } else if window.is_some_and(|window| window.requests >= spec.requests_min.max(1)) {
                watched.times = 0;
            }
        }
    }

    /// What the backends did since the last call, None for those that are out; those that have left are forgotten.
    fn windows(&mut self, backends: &[Arc<BackendState>], elapsed: Duration) -> Vec<Option<Window>> {
        let mut before = std::mem::take(&mut self.backends);
        let window = |backend: &Arc<BackendState>| {
            let known = before.remove(&(backend.id, backend.addr));
            let was = known.unwrap_or_default();
            let is = Watched { times: was.times, ..Watched::read(backend) };
            self.backends.insert((backend.id, backend.addr), is);
            // One that drains is neither judged nor counted as out.
            if backend.weight() == 0 {
                return Some(Window::default());
            }
            backend
                .is_usable(elapsed)
                .then(|| if known.is_some() { is.since(&was) } else { Window::default() })
        };
        backends.iter().map(window).collect()
    }
}

impl Watched {
    fn read(backend: &BackendState) -> Self {
        let shards = &backend.counters;
        let ended = total(shards, |shard| &shard.requests).wrapping_sub(u64::from(backend.in_flight()));
        Self {
            requests: ended,
            errors: total(shards, |shard| &shard.errors),
            responses: total(shards, |shard| &shard.responses),
            latency_us: shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.latency.sum_us())),
            times: 0,
        }
    }

    fn since(&self, before: &Self) -> Window {
        Window {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            answers: self.responses.saturating_sub(before.responses),
            latency_sum_s: self.latency_us.saturating_sub(before.latency_us) as f64 / 1e6,
        }
    }
}

/// Growing times end at so many times the first.
const LASTS_MAX: u32 = 10;
