//! The traffic shift: a promoted instance gets a tenth of a share first, then twice as much at each step.
//!
//! A warm-looking instance may still be broken in a way that its probe does not see. The shift finds out with little
//! traffic: before each step its errors and latency are compared with those of its peers over the same time. The first bad
//! comparison halts it, the second takes the traffic back.
//!
//! It is looked at again and again, mostly with few requests to go by. So its errors are weighed by an e-value, which a sound
//! newcomer exceeds in at most one of [`EVIDENCE`] shifts however often it is looked at (Ville's inequality; counts fade, so as not to
//! hold a bad moment of all against it, and the bound is that of what has not faded), and the latency that is let pass is wider by
//! the inverse root of the number of requests.

use std::time::Duration;

use forecast::Timestamp;

use crate::action::FULL_WEIGHT;
use crate::ids::InstanceId;
use crate::policy::ShiftPolicy;
use crate::reason::Reason;

/// An instance on its way to a full share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) weight: u32,
    /// When the next step is due, on the internal clock.
    pub(crate) next: Timestamp,
    strikes: u32,
}

/// What an instance did lately. Older counts fade with each new reading.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Stats {
    requests: f64,
    errors: f64,
    p50: Option<Duration>,
    p99: Option<Duration>,
}

impl Stats {
    /// Takes in the counts since the last reading.
    pub(crate) fn observe(&mut self, requests: u64, errors: u64, p50: Duration, p99: Duration) {
        self.requests = self.requests * FADE + requests as f64;
        self.errors = self.errors * FADE + errors.min(requests) as f64;
        if requests > 0 {
            self.p50 = Some(p50);
            self.p99 = Some(p99);
        }
    }

    /// Adds what a peer did.
    pub(crate) fn join(&mut self, other: &Stats) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.p50 = self.p50.max(other.p50);
        self.p99 = self.p99.max(other.p99);
    }

    pub(crate) fn requests(&self) -> f64 {
        self.requests
    }

    /// Share of requests that failed; 0 without requests.
    pub(crate) fn error_rate(&self) -> f64 {
        if self.requests > 0.0 { self.errors / self.requests } else { 0.0 }
    }

    /// What the share of failing requests is at most, given how few there were to tell it from.
    fn error_rate_at_most(&self) -> f64 {
        let (requests, errors) = (self.requests + 2.0, self.errors + 1.0);
        let rate = errors / requests;
        // Without a peer's request nothing is known of the usual rate; then it is taken to be low.
        let doubt = if self.requests > 0.0 { 2.0 * (rate * (1.0 - rate) / requests).sqrt() } else { -rate };
        (rate + doubt).clamp(0.0, 1.0)
    }

    /// Most of the requests lately failed.
    pub(crate) fn mostly_fails(&self) -> bool {
        self.requests >= REQUESTS_MIN && self.error_rate() > FAILING
    }

    /// Why traffic is taken from the instance that did this.
    pub(crate) fn taken_back(&self, instance: InstanceId, peers: &Stats) -> Reason {
        Reason::ShiftRolledBack {
            instance,
            error_rate: self.error_rate(),
            error_rate_peers: peers.error_rate(),
            latency_p99: self.latency_p99(),
            latency_p99_peers: peers.latency_p99(),
        }
    }

    /// Zero without requests.
    pub(crate) fn latency_p99(&self) -> Duration {
        self.p99.unwrap_or_default()
    }

    /// The 99th percentile, if anything was served.
    pub(crate) fn latency_p99_seen(&self) -> Option<Duration> {
        self.p99
    }

    /// As good as the peers, within what the policy allows, or not enough is known.
    fn keeps_up_with(&self, peers: &Stats, policy: &ShiftPolicy) -> bool {
        if self.requests < REQUESTS_MIN {
            return true;
        }
        let usual = peers.error_rate_at_most() + policy.error_excess;
        if evidence(self.errors, self.requests, usual) >= EVIDENCE {
            return false;
        }
        let (own, theirs) =
            if self.requests >= REQUESTS_FOR_P99 { (self.p99, peers.p99) } else { (self.p50, peers.p50) };
        match (own, theirs) {
            (Some(own), Some(theirs)) => {
                let few = SPREAD / self.requests.sqrt();
                own <= theirs.mul_f64(1.0 + policy.latency_excess + few) + LATENCY_SLACK
            }
            (Some(_) | None, _) => true,
        }
    }
}

/// What to do with a ramp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShiftStep {
    /// Nothing is due yet.
    Wait,
    /// It got its next share, or was halted for one more pause.
    Moved,
    /// It has its full share: the ramp is over.
    Done,
    /// It is worse than its peers twice in a row: take the traffic back.
    RollBack,
}

impl Ramp {
    /// The first share; `None` when the policy gives all at once.
    pub(crate) fn begin(now: Timestamp, policy: &ShiftPolicy) -> Option<Ramp> {
        let weight = (f64::from(FULL_WEIGHT) * policy.first_share).round().max(1.0) as u32;
        (weight < FULL_WEIGHT).then(|| Ramp {
            weight,
            next: now.saturating_add(policy.step_every),
            strikes: 0,
        })
    }

    /// Takes the next step if it is due.
    pub(crate) fn advance(
        &mut self,
        now: Timestamp,
        own: &Stats,
        peers: &Stats,
        policy: &ShiftPolicy,
    ) -> ShiftStep {
        if now < self.next {
            return ShiftStep::Wait;
        }
        self.next = now.saturating_add(policy.step_every);
        if !own.keeps_up_with(peers, policy) {
            self.strikes += 1;
            return if self.strikes >= STRIKES_MAX { ShiftStep::RollBack } else { ShiftStep::Moved };
        }
        self.strikes = 0;
        self.weight = (self.weight * 2).min(FULL_WEIGHT);
        if self.weight == FULL_WEIGHT { ShiftStep::Done } else { ShiftStep::Moved }
    }
}

/// The e-value of `errors` among `requests` against a rate of at most `usual`: how many times as likely they are under a rate
/// above it (each taken to be as likely as any other) than under it. Its mean under `usual` is 1, whenever it is looked at
/// (Robbins's mixture; Ramdas et al., Game-theoretic statistics and safe anytime-valid inference, 2023).
fn evidence(errors: f64, requests: f64, usual: f64) -> f64 {
    let usual = usual.clamp(RATE_MIN, 1.0 - RATE_MIN);
    let good = (requests - errors).max(0.0);
    let ratio = |rate: f64| errors * (rate / usual).ln() + good * ((1.0 - rate) / (1.0 - usual)).ln();
    let rate = |i: u32| usual + (1.0 - usual) * (f64::from(i) + 0.5) / f64::from(RATES);
    (0..RATES).map(|i| ratio(rate(i)).exp()).sum::<f64>() / f64::from(RATES)
}

/// An e-value from which a newcomer counts as worse.
const EVIDENCE: f64 = 20.0;
/// Rates of errors that are looked at.
const RATES: u32 = 200;
const RATE_MIN: f64 = 1e-4;
/// How much wider, times the inverse root of the requests, latencies may differ.
const SPREAD: f64 = 2.0;
const STRIKES_MAX: u32 = 2;
/// Below this many requests nothing is concluded.
const REQUESTS_MIN: f64 = 5.0;
/// With more errors than this among its requests an instance is of no use.
const FAILING: f64 = 0.5;
/// Below this many, the 99th percentile is only the worst request, and medians are compared instead.
const REQUESTS_FOR_P99: f64 = 100.0;
/// Differences below this are noise of the host.
const LATENCY_SLACK: Duration = Duration::from_millis(5);
const FADE: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn stats(requests: u64, errors: u64, latency: u64) -> Stats {
        let mut stats = Stats::default();
        stats.observe(requests, errors, MS(latency), MS(latency * 3));
        stats
    }

    #[test]
    fn the_share_doubles_until_it_is_full() {
        let policy = ShiftPolicy::default();
        let mut ramp = Ramp::begin(at(0), &policy).unwrap();
        let good = stats(200, 0, 20);
        let mut weights = vec![ramp.weight];
        for secs in [1, 2, 3, 4, 6, 8] {
            if ramp.advance(at(secs), &good, &good, &policy) != ShiftStep::Wait {
                weights.push(ramp.weight);
            }
        }
        assert_eq!(weights, [100, 200, 400, 800, 1000]);
    }

    #[test]
    fn a_worse_instance_is_halted_and_then_rolled_back() {
        let policy = ShiftPolicy::default();
        for bad in [stats(200, 40, 20), stats(200, 0, 60), stats(20, 0, 60)] {
            let mut ramp = Ramp::begin(at(0), &policy).unwrap();
            assert_eq!(ramp.advance(at(2), &bad, &stats(1000, 0, 20), &policy), ShiftStep::Moved);
            assert_eq!(ramp.weight, 100, "halted");
            assert_eq!(ramp.advance(at(4), &bad, &stats(1000, 0, 20), &policy), ShiftStep::RollBack);
        }
    }

    #[test]
    fn a_single_error_among_few_requests_proves_nothing_and_several_do() {
        let policy = ShiftPolicy::default();
        let peers = stats(1000, 10, 20);
        assert!(stats(6, 1, 20).keeps_up_with(&peers, &policy));
        assert!(!stats(6, 4, 20).keeps_up_with(&peers, &policy));
        assert!(!stats(300, 40, 20).keeps_up_with(&peers, &policy));
    }

    #[test]
    fn a_sound_newcomer_is_seldom_halted_however_often_it_is_looked_at() {
        let mut random = fastrand::Rng::with_seed(7);
        let usual = 0.05;
        let halted = (0..2_000).filter(|_| {
            let mut errors = 0.0;
            (1..=300).any(|requests| {
                errors += f64::from(u8::from(random.f64() < usual));
                evidence(errors, f64::from(requests), usual) >= EVIDENCE
            })
        });
        assert!(halted.count() <= 100, "at most one of twenty");
        let found = (0..200).filter(|_| {
            let mut errors = 0.0;
            (1..=100).any(|requests| {
                errors += f64::from(u8::from(random.f64() < 0.3));
                evidence(errors, f64::from(requests), usual) >= EVIDENCE
            })
        });
        assert!(found.count() >= 195, "a bad one is found within a hundred requests");
    }

    #[test]
    fn errors_that_the_peers_have_too_do_not_halt_it() {
        let policy = ShiftPolicy::default();
        let mut ramp = Ramp::begin(at(0), &policy).unwrap();
        ramp.advance(at(2), &stats(200, 40, 20), &stats(1000, 200, 20), &policy);
        assert_eq!(ramp.weight, 200);
    }

    #[test]
    fn a_first_share_of_one_switches_the_ramp_off() {
        let policy = ShiftPolicy { first_share: 1.0, ..ShiftPolicy::default() };
        assert_eq!(Ramp::begin(at(0), &policy), None);
    }
}
