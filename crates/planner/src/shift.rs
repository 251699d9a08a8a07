//! The traffic shift: a promoted instance gets a tenth of a share first, then twice as much at each step.
//!
//! A warm-looking instance may still be broken in a way that its probe does not see. The shift finds out with little
//! traffic: before each step its errors and latency are compared with those of its peers over the same time. The first bad
//! comparison halts it, the second takes the traffic back. Each step is kept with what was compared ([`ShiftMove`]).
//!
//! It is looked at again and again, mostly with few requests to go by. So it is weighed by an e-value ([`compare`]), which a
//! sound newcomer exceeds in at most one of [`Compared::LIMIT`] shifts however often it is looked at (Ville's inequality; counts fade, so
//! as not to hold a bad moment of all against it, and the bound is that of what has not faded).

use std::time::Duration;

use forecast::Timestamp;

use crate::action::FULL_WEIGHT;
use crate::ids::InstanceId;
use crate::policy::ShiftPolicy;
use crate::reason::Reason;

mod compare;
mod latencies;
mod moves;

pub use compare::{Compared, Slower};
pub(crate) use latencies::Latencies;
pub use moves::{ShiftLog, ShiftMove, ShiftTurn};

/// An instance on its way to a full share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ramp {
    pub(crate) weight: u32,
    /// When the next step is due, on the internal clock.
    pub(crate) next: Timestamp,
    strikes: u32,
    /// How it did when the last step was due.
    pub(crate) compared: Compared,
}

/// What an instance did lately. Older counts fade with each new reading, but so many requests are kept that something can be said.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Stats {
    requests: f64,
    errors: f64,
    /// The same of just now: these fade to nothing.
    requests_now: f64,
    errors_now: f64,
    p50: Option<Duration>,
    p99: Option<Duration>,
    latencies: Latencies,
    /// When it was read last, on the internal clock.
    read: Option<Timestamp>,
}

/// Requests of one reading.
#[derive(Debug, Clone)]
pub(crate) struct Served<'a> {
    /// When they were read, on the internal clock.
    pub(crate) at: Timestamp,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Requests by what they took at least; empty where only the quantiles are known.
    pub(crate) latencies: &'a [(Duration, u64)],
}

impl Stats {
    /// Takes in the counts since the last reading.
    pub(crate) fn observe(&mut self, served: &Served<'_>) {
        let Served { at, requests, errors, p50, p99, latencies } = *served;
        // Where it is read more often, a reading says less, and each fades less.
        let elapsed = self.read.map_or(FADES_IN, |read| at.since(read)).min(FADES_IN);
        let fade = FADE.powf(elapsed.as_secs_f64() / FADES_IN.as_secs_f64());
        self.read = Some(at);
        let (arrived, failed) = (requests as f64, errors.min(requests) as f64);
        self.requests_now = self.requests_now * fade + arrived;
        self.errors_now = self.errors_now * fade + failed;
        let fade = fade.max((REQUESTS_KEPT - arrived) / self.requests.max(f64::MIN_POSITIVE)).min(1.0);
        self.requests = self.requests * fade + arrived;
        self.errors = self.errors * fade + failed;
        self.latencies.fade(fade);
        // What has not been answered yet has no latency; it is told with a later reading, maybe one without a new request.
        if p99 > Duration::ZERO {
            self.p50 = Some(p50);
            self.p99 = Some(p99);
        }
        match latencies {
            [] if p99 > Duration::ZERO => self.latencies.add_between(requests, p50, p99),
            known => self.latencies.add(known),
        }
    }

    /// Adds what a peer did, as one to be compared with.
    pub(crate) fn join_peer(&mut self, peer: &Stats) {
        self.join(peer);
        self.latencies.join(&peer.latencies);
    }

    /// Adds what another did, without its single latencies: of them only the larger quantiles are kept.
    pub(crate) fn join(&mut self, other: &Stats) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.requests_now += other.requests_now;
        self.errors_now += other.errors_now;
        self.p50 = self.p50.max(other.p50);
        self.p99 = self.p99.max(other.p99);
    }

    /// Of just now.
    pub(crate) fn requests_now(&self) -> f64 {
        self.requests_now
    }

    /// Share of requests that failed; 0 without requests.
    pub(crate) fn error_rate(&self) -> f64 {
        if self.requests > 0.0 { self.errors / self.requests } else { 0.0 }
    }

    /// Most of the requests lately failed.
    pub(crate) fn mostly_fails(&self) -> bool {
        self.requests_now >= REQUESTS_MIN && self.errors_now > FAILING * self.requests_now
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

    /// The median, if anything was served.
    pub(crate) fn latency_p50_seen(&self) -> Option<Duration> {
        self.p50
    }

    /// The 99th percentile, if anything was served.
    pub(crate) fn latency_p99_seen(&self) -> Option<Duration> {
        self.p99
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
            compared: Compared::default(),
        })
    }

    /// The next step is due.
    pub(crate) fn due(&self, now: Timestamp) -> bool {
        now >= self.next
    }

    /// Takes the next step if it is due.
    pub(crate) fn advance(
        &mut self,
        now: Timestamp,
        own: &Stats,
        peers: &Stats,
        policy: &ShiftPolicy,
    ) -> ShiftStep {
        if !self.due(now) {
            return ShiftStep::Wait;
        }
        self.next = now.saturating_add(policy.step_every);
        self.compared = compare::compare(own, peers, policy);
        if !self.compared.keeps_up() {
            self.strikes += 1;
            return if self.strikes >= STRIKES_MAX { ShiftStep::RollBack } else { ShiftStep::Moved };
        }
        if self.compared.is_suspect() {
            return ShiftStep::Moved;
        }
        self.strikes = if self.compared.too_few { self.strikes } else { 0 };
        self.weight = (self.weight * 2).min(FULL_WEIGHT);
        if self.weight == FULL_WEIGHT { ShiftStep::Done } else { ShiftStep::Moved }
    }

    /// The step just taken, as it is told.
    pub(crate) fn moved(
        &self,
        at: Timestamp,
        instance: InstanceId,
        from: u32,
        step: ShiftStep,
    ) -> Option<ShiftMove> {
        let (to, turn) = match step {
            ShiftStep::Wait => return None,
            ShiftStep::RollBack => (0, ShiftTurn::TakenBack(self.compared)),
            ShiftStep::Moved if self.weight == from => (from, ShiftTurn::Halted(self.compared)),
            ShiftStep::Moved | ShiftStep::Done => (self.weight, ShiftTurn::Grew(self.compared)),
        };
        Some(ShiftMove { at, instance, from, to, turn })
    }
}

const STRIKES_MAX: u32 = 2;
/// Below this many requests nothing is concluded.
pub(crate) const REQUESTS_MIN: f64 = 5.0;
/// So many are not forgotten, however long ago they were.
const REQUESTS_KEPT: f64 = 20.0;
/// With more errors than this among its requests an instance is of no use.
const FAILING: f64 = 0.5;
/// A reading weighs this much a second later, or at the next reading if that is later.
const FADE: f64 = 0.7;
const FADES_IN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::compare::{EVIDENCE, compare, evidence};
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn stats(requests: u64, errors: u64, latency: u64) -> Stats {
        let mut stats = Stats::default();
        let (p50, p99) = (MS(latency), MS(latency * 3));
        stats.observe(&Served { at: at(0), requests, errors, p50, p99, latencies: &[] });
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
        let keeps_up = |own: Stats| compare(&own, &peers, &policy).keeps_up();
        assert!(keeps_up(stats(6, 1, 20)));
        assert!(!keeps_up(stats(6, 4, 20)));
        assert!(!keeps_up(stats(300, 40, 20)));
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
    fn what_is_read_often_fades_no_faster() {
        let read = |every_ms: i64| {
            let mut stats = Stats::default();
            for n in 0..(10_000 / every_ms) {
                let at = Timestamp::from_millis(n * every_ms);
                let requests = u64::try_from(every_ms / 100).expect("positive");
                stats.observe(&Served { at, requests, errors: 0, p50: MS(1), p99: MS(2), latencies: &[] });
            }
            stats.requests_now()
        };
        assert!(read(100) > 0.8 * read(1_000), "{} {}", read(100), read(1_000));
        assert!(read(2_000) > read(1_000), "at the pace of readings, where these are rare");
    }

    #[test]
    fn a_few_requests_a_minute_are_enough_to_find_a_version_that_always_fails() {
        let policy = ShiftPolicy::default();
        let mut ramp = Ramp::begin(at(0), &policy).unwrap();
        let (mut own, mut peers) = (Stats::default(), Stats::default());
        let read = |stats: &mut Stats, second, errors| {
            stats.observe(&Served {
                at: at(second),
                requests: 1,
                errors,
                p50: MS(5),
                p99: MS(9),
                latencies: &[],
            });
        };
        let mut most = 0;
        for second in 0..120 {
            read(&mut peers, second, 0);
            if second % 4 == 0 {
                read(&mut own, second, 1);
            }
            most = most.max(ramp.weight);
            if ramp.advance(at(second), &own, &peers, &policy) == ShiftStep::RollBack {
                assert!(most <= 200, "{most}");
                return;
            }
        }
        panic!("not found: {ramp:?}");
    }

    #[test]
    fn a_request_that_has_no_answer_yet_is_not_a_fast_one() {
        let mut stats = Stats::default();
        let zero = Duration::ZERO;
        stats.observe(&Served { at: at(0), requests: 1, errors: 0, p50: zero, p99: zero, latencies: &[] });
        assert_eq!((stats.latencies.count(), stats.latency_p99_seen()), (0.0, None));
        let took = [(MS(400), 1)];
        stats.observe(&Served {
            at: at(1),
            requests: 0,
            errors: 0,
            p50: MS(400),
            p99: MS(400),
            latencies: &took,
        });
        assert_eq!((stats.latencies.count(), stats.latency_p99_seen()), (1.0, Some(MS(400))));
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
