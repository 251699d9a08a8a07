//! Pauses after failures: exponential backoff with jitter, from a seed; and when changes of size are not asked for any more.

use std::time::Duration;

use forecast::Timestamp;

use crate::policy::Retry;

/// A small generator for jitter (SplitMix64, Steele et al. 2014). Not for anything that must be hard to guess.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Jitter(seed)
    }

    /// A number in [0, 1).
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Failures in a row of one kind of work, and the pause that follows from them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
    /// When the last failure was counted.
    last: Option<Timestamp>,
    /// End of the last pause, and when the failures before it are forgotten.
    until: Option<(Timestamp, Timestamp)>,
}

impl Backoff {
    /// One more failure: the pause doubles, with jitter between half and the whole of it.
    pub(crate) fn fail(&mut self, now: Timestamp, retry: &Retry, jitter: &mut Jitter) {
        self.failures = self.failures.saturating_add(1);
        let doublings = (self.failures - 1).min(DOUBLINGS_MAX);
        let pause = retry.first.saturating_mul(1 << doublings).min(retry.max);
        let until = now.saturating_add(pause.mul_f64(0.5 + 0.5 * jitter.next()));
        self.until = Some((until, until.saturating_add(pause.saturating_mul(CALM_PAUSES))));
        self.last = Some(now);
    }

    /// The same for one of several that are tried at a time: of those that were under way when one failed, only that counts.
    pub(crate) fn fail_since(
        &mut self,
        begun: Timestamp,
        now: Timestamp,
        retry: &Retry,
        jitter: &mut Jitter,
    ) {
        if self.last.is_none_or(|last| begun > last) {
            self.fail(now, retry, jitter);
        }
    }

    /// One of several went well: not all that is tried fails.
    pub(crate) fn relent(&mut self) {
        self.failures /= 2;
    }

    /// It went well: no pause.
    pub(crate) fn succeed(&mut self) {
        *self = Backoff::default();
    }

    /// Something new is urgent: it is tried at once, and what has failed before is not forgotten.
    pub(crate) fn hurry(&mut self) {
        self.until = None;
    }

    /// Forgets the failures once nothing failed for twice the last pause after it ended. For work whose success is not
    /// known at once: an instance may become ready and die a second later.
    pub(crate) fn forget_if_calm(&mut self, now: Timestamp) {
        if self.until.is_some_and(|(_, forget)| now >= forget) {
            self.succeed();
        }
    }

    /// This was begun after the last pause.
    pub(crate) fn is_before(&self, begun: Timestamp) -> bool {
        self.until.is_none_or(|(until, _)| until <= begun)
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// End of the pause, if it is not over.
    pub(crate) fn waiting(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.map(|(until, _)| until).filter(|until| *until > now)
    }
}

/// Whether it is worth asking for running instances to be resized.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resizes {
    failures: u32,
    off_until: Option<Timestamp>,
}

impl Resizes {
    /// Nobody asks for now.
    pub(crate) fn off(self, now: Timestamp) -> bool {
        self.off_until.is_some_and(|until| now < until)
    }

    pub(crate) fn fail(&mut self, now: Timestamp) {
        self.failures += 1;
        if self.failures >= RESIZE_FAILURES {
            self.off_until = Some(now.saturating_add(RESIZE_PAUSE));
        }
    }

    pub(crate) fn succeed(&mut self) {
        *self = Resizes::default();
    }
}

const CALM_PAUSES: u32 = 2;
/// A pause is doubled at most this often, whatever its bound.
const DOUBLINGS_MAX: u32 = 20;
/// After so many failures in a row, a provider is taken not to resize running instances, for so long.
const RESIZE_FAILURES: u32 = 3;
const RESIZE_PAUSE: Duration = Duration::from_secs(1_800);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_end_on_success() {
        let retry = Retry { first: Duration::from_secs(1), max: Duration::from_secs(10) };
        let mut jitter = Jitter::new(7);
        let mut backoff = Backoff::default();
        let now = Timestamp::from_millis(0);
        for bound in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
            backoff.fail(now, &retry, &mut jitter);
            let pause = backoff.waiting(now).unwrap().since(now).as_secs_f64();
            assert!(pause >= bound * 0.49 && pause <= bound, "{pause} for {bound}");
        }
        backoff.succeed();
        assert_eq!(backoff.waiting(now), None);
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn failures_are_forgotten_only_after_a_calm_time() {
        let retry = Retry { first: Duration::from_secs(8), max: Duration::from_secs(8) };
        let mut backoff = Backoff::default();
        backoff.fail(Timestamp::from_millis(0), &retry, &mut Jitter::new(1));
        backoff.forget_if_calm(Timestamp::from_millis(9_000));
        assert_eq!(backoff.failures(), 1);
        backoff.forget_if_calm(Timestamp::from_millis(24_001));
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn what_fails_together_is_one_failure_and_what_goes_well_halves_them() {
        let retry = Retry { first: Duration::from_secs(1), max: Duration::from_secs(100) };
        let (mut backoff, mut jitter) = (Backoff::default(), Jitter::new(3));
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        for now in 10..14 {
            backoff.fail_since(at(5), at(now), &retry, &mut jitter);
        }
        assert_eq!(backoff.failures(), 1);
        for now in [20, 30, 40] {
            backoff.fail_since(at(now - 5), at(now), &retry, &mut jitter);
        }
        assert_eq!(backoff.failures(), 4);
        backoff.relent();
        assert_eq!(backoff.failures(), 2);
        backoff.fail_since(at(45), at(50), &retry, &mut jitter);
        let pause = backoff.waiting(at(50)).unwrap().since(at(50)).as_secs_f64();
        assert!((2.0..=4.0).contains(&pause), "{pause}");
    }

    #[test]
    fn the_same_seed_gives_the_same_jitter() {
        let draw = |seed| {
            let mut jitter = Jitter::new(seed);
            [jitter.next(), jitter.next(), jitter.next()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(3).iter().all(|x| (0.0..1.0).contains(x)));
    }
}
