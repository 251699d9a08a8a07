//! Overload shedding: how many requests at once the backends of a route answer in time, found out as they go.
//!
//! The limit is moved as TCP moves its window (additive increase, multiplicative decrease): a little up while all of it is used
//! and answers come in time, a tenth down when they do not. What does not fit waits in the route's room by class, so that the
//! highest goes first and a full room sends its lowest away; whoever would wait longer than it may is told at once. The control
//! thread moves the limit; requests read one number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::Request;

use crate::admission::class_of;
use crate::control::{CLASSES_MAX, Histogram, Shedding, SheddingStats};
use crate::counters::merged;
use crate::state::{BackendState, RouteState};

/// What all threads share about it.
#[derive(Debug, Default)]
pub(crate) struct Shed {
    /// Requests at once per backend; 0: not limited by latency.
    limit: AtomicU32,
    /// Answers in a thousand seconds, as of late; 0: not known.
    pace: AtomicU64,
    /// By class.
    shed: [AtomicU64; CLASSES_MAX],
}

impl Shed {
    /// Requests at once per backend, where that is limited by latency.
    pub(crate) fn limit(&self) -> Option<u32> {
        match self.limit.load(Ordering::Relaxed) {
            0 => None,
            limit => Some(limit),
        }
    }

    /// One of this class was sent away.
    pub(crate) fn count(&self, class: u8) {
        if let Some(shed) = self.shed.get(usize::from(class)) {
            shed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long it takes until so many that are before it have been answered, where that is longer than `patience`.
    pub(crate) fn hopeless(&self, ahead: usize, patience: Duration) -> Option<Duration> {
        let pace = self.pace.load(Ordering::Relaxed) as f64 / 1e3;
        let wait_s = ahead as f64 / pace;
        (pace > 0.0 && wait_s > patience.as_secs_f64())
            .then(|| Duration::try_from_secs_f64(wait_s).unwrap_or(Duration::MAX))
    }
}

impl Shedding {
    /// The class of a request.
    pub(crate) fn class_of<B>(&self, request: Option<&Request<B>>) -> u8 {
        let Some(request) = request else { return self.priority.default };
        let (method, path) = (request.method(), request.uri().path());
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.template.fits(method, path));
        class_of(&self.priority, endpoint, request.headers())
    }
}

/// Moves the limit of one route.
#[derive(Debug)]
pub(crate) struct LimitWatch {
    spec: Shedding,
    limit: f64,
    /// End of the window, as time since the process started.
    due: Duration,
    /// When it began, and what had been counted then.
    began: Duration,
    before: Histogram,
}

impl LimitWatch {
    /// As a new table asks for it; one that goes on keeps its limit.
    pub(crate) fn renewed(
        kept: Option<LimitWatch>,
        spec: Option<&Shedding>,
        state: &RouteState,
        elapsed: Duration,
    ) -> Option<LimitWatch> {
        let Some(spec) = spec else {
            state.shed.limit.store(0, Ordering::Relaxed);
            return None;
        };
        let mut watch = kept.unwrap_or_else(|| LimitWatch {
            spec: spec.clone(),
            limit: LIMIT_FIRST,
            due: elapsed,
            began: elapsed,
            before: Histogram::new(),
        });
        watch.spec.clone_from(spec);
        watch.put(state);
        Some(watch)
    }

    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// Looks at a window that is over.
    pub(crate) fn judge(&mut self, state: &RouteState, backends: &[Arc<BackendState>], elapsed: Duration) {
        if elapsed < self.due {
            return;
        }
        self.due = elapsed + self.spec.latency.clamp(WINDOW_MIN, WINDOW_MAX);
        let mut counted = Histogram::new();
        for backend in backends {
            counted.merge(&merged(&backend.counters, |shard| &shard.latency));
        }
        let window = counted.subtract(&self.before);
        let lasted = elapsed.saturating_sub(self.began);
        if window.count() < ANSWERS_MIN && lasted < WINDOW_MAX {
            return;
        }
        (self.before, self.began) = (counted, elapsed);
        let is_full = state.waiting.occupied() > 0
            || backends.iter().any(|backend| f64::from(backend.slots_taken()) >= self.limit.floor());
        let before = self.limit.floor();
        self.step(&window, is_full);
        if is_full {
            let pace = window.count() as f64 / lasted.as_secs_f64().max(1e-3);
            let known = state.shed.pace.load(Ordering::Relaxed) as f64 / 1e3;
            let pace = if known == 0.0 { pace } else { known + (pace - known) * PACE_GAIN };
            state.shed.pace.store((pace * 1e3) as u64, Ordering::Relaxed);
        }
        self.put(state);
        if self.limit.floor() > before {
            state.waiting.release();
        }
    }

    /// Moves by what a window says: answers that came late, or none where many are waited for, take a tenth.
    fn step(&mut self, window: &Histogram, is_full: bool) {
        let is_late = match window.quantile(QUANTILE) {
            Some(latency) => latency > self.spec.latency,
            None => is_full,
        };
        if is_late {
            self.limit = (self.limit * DECREASE).min(self.limit - 1.0);
        } else if is_full {
            self.limit += 1.0;
        }
        self.limit = self.limit.clamp(f64::from(self.spec.limit_min), f64::from(self.spec.limit_max));
    }

    fn put(&mut self, state: &RouteState) {
        self.limit = self.limit.clamp(f64::from(self.spec.limit_min), f64::from(self.spec.limit_max));
        state.shed.limit.store(self.limit as u32, Ordering::Relaxed);
    }

    /// A reading.
    pub(crate) fn tell(&self, shed: &Shed) -> SheddingStats {
        let count = |class: usize| shed.shed[class].load(Ordering::Relaxed);
        let classes = self.spec.priority.classes.iter().enumerate();
        let mut told: Vec<(String, u64)> =
            classes.map(|(index, class)| (class.name.clone(), count(index))).collect();
        if told.is_empty() {
            told.push((ALL.to_owned(), count(0)));
        }
        SheddingStats { limit: self.limit as u32, shed: told }
    }
}

/// The name of the class of all requests, where none are told apart.
const ALL: &str = "all";
/// The limit before anything is known.
const LIMIT_FIRST: f64 = 20.0;
const DECREASE: f64 = 0.9;
/// The share of answers that are to come in time.
const QUANTILE: f64 = 0.9;
/// Answers that a window must have to say something before the longest is over.
const ANSWERS_MIN: u64 = 10;
const WINDOW_MIN: Duration = Duration::from_millis(100);
const WINDOW_MAX: Duration = Duration::from_secs(1);
/// How much one window moves the pace.
const PACE_GAIN: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn watch() -> (LimitWatch, RouteState) {
        let state = RouteState::new("web", 1);
        let spec = Shedding { limit_min: 2, limit_max: 30, ..Shedding::new(MS(100)) };
        let watch = LimitWatch::renewed(None, Some(&spec), &state, Duration::ZERO).expect("a watch");
        (watch, state)
    }

    fn window(latency: u64) -> Histogram {
        let mut window = Histogram::new();
        (0..20).for_each(|_| window.record(MS(latency)));
        window
    }

    #[test]
    fn it_grows_while_it_is_used_and_answers_come_in_time_and_falls_when_they_do_not() {
        let (mut watch, state) = watch();
        assert_eq!(state.shed.limit(), Some(20));
        watch.step(&window(50), false);
        assert_eq!(watch.limit, 20.0, "who does not need more learns nothing of more");
        watch.step(&window(50), true);
        assert_eq!(watch.limit, 21.0);
        watch.step(&window(200), true);
        assert!((watch.limit - 18.9).abs() < 1e-9);
        (0..100).for_each(|_| watch.step(&window(200), false));
        assert_eq!(watch.limit, 2.0, "never below the least");
        (0..100).for_each(|_| watch.step(&window(50), true));
        assert_eq!(watch.limit, 30.0, "never above the largest");
        watch.step(&Histogram::new(), true);
        assert_eq!(watch.limit, 27.0, "no answer at all is late");
    }

    #[test]
    fn a_route_that_does_not_shed_any_more_has_no_limit() {
        let (watch, state) = watch();
        assert!(LimitWatch::renewed(Some(watch), None, &state, Duration::ZERO).is_none());
        assert_eq!(state.shed.limit(), None);
    }

    #[test]
    fn who_would_wait_too_long_at_the_pace_of_late_is_told() {
        let shed = Shed::default();
        assert_eq!(shed.hopeless(1_000, MS(1)), None, "nothing is known yet");
        shed.pace.store(50_000, Ordering::Relaxed);
        assert_eq!(shed.hopeless(40, MS(1_000)), None);
        assert_eq!(shed.hopeless(100, MS(1_000)), Some(MS(2_000)));
    }
}
