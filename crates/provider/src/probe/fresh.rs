//! When an instance has answered last, so that it is not asked again for what it has just said.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The last answer of an instance that has not been parked since.
#[derive(Debug, Default)]
pub(crate) struct LastAnswer(Mutex<Option<Instant>>);

impl LastAnswer {
    /// Its probe passes at this moment.
    pub(crate) fn note(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// It is parked: what it said before says nothing of afterwards.
    pub(crate) fn forget(&self) {
        *self.lock() = None;
    }

    /// Whether another answer would say nothing new.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh_at(Instant::now())
    }

    fn is_fresh_at(&self, now: Instant) -> bool {
        self.lock().is_some_and(|at| now.duration_since(at) < FRESH)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an answer counts: about as long as an order takes that comes because of it.
const FRESH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_a_moment_and_not_across_parking() {
        let last = LastAnswer::default();
        assert!(!last.is_fresh());
        last.note();
        let noted = Instant::now();
        assert!(last.is_fresh_at(noted));
        assert!(!last.is_fresh_at(noted + FRESH));
        last.note();
        last.forget();
        assert!(!last.is_fresh_at(noted));
    }
}
