//! Whether a newcomer is worse than its peers, by the evidence of its errors and of its slow requests.
//!
//! A request fails or it does not; it takes longer than what all but a tenth of its peers' requests take, or it does not.
//! Either is a count among a number of requests, whose share with the peers is known. An e-value of such a count says how much
//! more likely it is if the newcomer is worse. Several are put together by their mean, which is an e-value again, whatever they
//! have to do with each other. So one bound holds for all that is looked at, with few requests as with many, and however often.

use std::time::Duration;

use super::{FAILING, REQUESTS_MIN, Stats};
use crate::policy::ShiftPolicy;

/// A newcomer beside its peers. Counts are of the last readings; older ones weigh less.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Compared {
    /// Requests of the newcomer.
    pub requests: f64,
    /// Those that failed.
    pub errors: f64,
    /// Requests of its peers.
    pub peers_requests: f64,
    /// Those that failed.
    pub peers_errors: f64,
    /// The share of errors that is let pass: that of the peers at most, as far as is known, with what the policy allows.
    pub errors_usual: f64,
    /// The level of latency that speaks most against it; `None` where none is known of both.
    pub slower: Option<Slower>,
    /// The evidence against it: 1 says nothing, and from [`Compared::LIMIT`] on it counts as worse.
    pub evidence: f64,
    /// There were too few requests to conclude anything.
    pub too_few: bool,
}

/// Requests that took longer than most of the peers' do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slower {
    /// The share of the peers' requests that take no longer, without the next field's allowance.
    pub quantile: f64,
    /// What counts as slow: that quantile of the peers, with what the policy allows on top.
    pub bound: Duration,
    /// How many of the newcomer's took longer.
    pub requests: f64,
    /// The share that is usual, as far as is known from the peers.
    pub usual: f64,
}

impl Compared {
    /// Evidence from which a newcomer counts as worse.
    pub const LIMIT: f64 = EVIDENCE;

    /// As good as the peers, within what the policy allows, or not enough is known.
    pub fn keeps_up(&self) -> bool {
        self.too_few || self.evidence < EVIDENCE
    }

    /// Most of its requests failed, and most of its peers' did not: few of them prove nothing, but it gets no more.
    pub fn is_suspect(&self) -> bool {
        self.errors > FAILING * self.requests && self.peers_errors <= FAILING * self.peers_requests
    }
}

pub(super) fn compare(own: &Stats, peers: &Stats, policy: &ShiftPolicy) -> Compared {
    let errors_usual = at_most(peers.errors, peers.requests) + policy.error_excess;
    let by_errors = evidence(own.errors, own.requests, errors_usual);
    let slower = LEVELS.map(|quantile| slower(own, peers, quantile, policy));
    let known: Vec<(Slower, f64)> = slower.into_iter().flatten().collect();
    let all = known.iter().map(|(_, evidence)| evidence).sum::<f64>() + by_errors;
    let evidence = all / (known.len() + 1) as f64;
    Compared {
        requests: own.requests,
        errors: own.errors,
        peers_requests: peers.requests,
        peers_errors: peers.errors,
        errors_usual: errors_usual.min(1.0),
        slower: known.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(slower, _)| *slower),
        evidence: evidence.min(EVIDENCE_TOLD),
        too_few: own.requests < REQUESTS_MIN,
    }
}

/// How many of the newcomer's requests are slower than this quantile of the peers', and what that says.
fn slower(own: &Stats, peers: &Stats, quantile: f64, policy: &ShiftPolicy) -> Option<(Slower, f64)> {
    let (ours, theirs) = (own.latencies.count(), peers.latencies.count());
    let level = peers.latencies.quantile(quantile).filter(|_| ours > 0.0)?;
    let bound = level.mul_f64(1.0 + policy.latency_excess) + LATENCY_SLACK;
    let usual = at_most(peers.latencies.above(level), theirs);
    let slower = Slower { quantile, bound, requests: own.latencies.above(bound), usual };
    Some((slower, evidence(slower.requests, ours, usual)))
}

/// What a share is at most, given how few requests there were to tell it from.
fn at_most(count: f64, requests: f64) -> f64 {
    let rate = (count + 1.0) / (requests + 2.0);
    // Without a peer's request nothing is known of the usual rate; then it is taken to be low.
    let doubt = if requests > 0.0 { 2.0 * (rate * (1.0 - rate) / (requests + 2.0)).sqrt() } else { -rate };
    (rate + doubt).clamp(0.0, 1.0)
}

/// The e-value of `count` among `requests` against a rate of at most `usual`: how many times as likely it is under a rate
/// above it (each taken to be as likely as any other) than under it. Its mean under `usual` is 1, whenever it is looked at
/// (Robbins's mixture; Ramdas et al., Game-theoretic statistics and safe anytime-valid inference, 2023).
pub(super) fn evidence(count: f64, requests: f64, usual: f64) -> f64 {
    let usual = usual.clamp(RATE_MIN, 1.0 - RATE_MIN);
    let others = (requests - count).max(0.0);
    let ratio = |rate: f64| count * (rate / usual).ln() + others * ((1.0 - rate) / (1.0 - usual)).ln();
    let rate = |i: u32| usual + (1.0 - usual) * (f64::from(i) + 0.5) / f64::from(RATES);
    (0..RATES).map(|i| ratio(rate(i)).exp()).sum::<f64>() / f64::from(RATES)
}

/// An e-value from which a newcomer counts as worse.
pub(super) const EVIDENCE: f64 = 20.0;
/// More than this is not told apart.
const EVIDENCE_TOLD: f64 = 1e9;
/// Rates that are looked at.
const RATES: u32 = 200;
const RATE_MIN: f64 = 1e-4;
/// Quantiles of the peers' latency: what is slow throughout, what is slow now and then, what hangs.
const LEVELS: [f64; 3] = [0.5, 0.9, 0.99];
/// Differences below this are noise of the host.
const LATENCY_SLACK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::super::Served;
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// One reading of requests that took so long each.
    fn stats(took: &[Duration]) -> Stats {
        let mut sorted: Vec<(Duration, u64)> = took.iter().map(|took| (*took, 1)).collect();
        sorted.sort();
        let quantile = |q: f64| sorted[((sorted.len() - 1) as f64 * q) as usize].0;
        let (p50, p99, requests) = (quantile(0.5), quantile(0.99), sorted.len() as u64);
        let mut stats = Stats::default();
        let at = forecast::Timestamp::from_millis(0);
        stats.observe(&Served { at, requests, errors: 0, p50, p99, latencies: &sorted });
        stats
    }

    /// Latencies of a service with a long tail.
    fn draw(random: &mut fastrand::Rng, requests: usize, factor: f64) -> Vec<Duration> {
        let draw = |_| Duration::from_secs_f64(-0.03 * factor * (1.0 - random.f64()).ln());
        (0..requests).map(draw).collect()
    }

    #[test]
    fn a_sound_newcomer_with_few_requests_is_seldom_taken_for_slow_however_often_it_is_looked_at() {
        let mut random = fastrand::Rng::with_seed(5);
        let policy = ShiftPolicy { latency_excess: 0.0, ..ShiftPolicy::default() };
        let halted = (0..400).filter(|_| {
            let peers = stats(&draw(&mut random, 500, 1.0));
            let own = draw(&mut random, 60, 1.0);
            (6..=own.len()).any(|seen| !compare(&stats(&own[..seen]), &peers, &policy).keeps_up())
        });
        assert!(halted.count() <= 20, "at most one of twenty");
    }

    #[test]
    fn one_that_takes_three_times_as_long_is_found_with_a_hundred_requests() {
        let mut random = fastrand::Rng::with_seed(6);
        let found = (0..200).filter(|_| {
            let (peers, own) = (draw(&mut random, 500, 1.0), draw(&mut random, 100, 3.0));
            !compare(&stats(&own), &stats(&peers), &ShiftPolicy::default()).keeps_up()
        });
        let found = found.count();
        assert!(found >= 170, "{found} of 200");
    }

    #[test]
    fn one_that_hangs_now_and_then_is_found_by_its_tail_and_one_slow_request_proves_nothing() {
        let peers = stats(&vec![MS(20); 500]);
        let hangs = |n: usize, of: usize| {
            let took: Vec<_> = (0..of).map(|i| if i < n { MS(3_000) } else { MS(20) }).collect();
            compare(&stats(&took), &peers, &ShiftPolicy::default())
        };
        let found = hangs(5, 60);
        assert!(!found.keeps_up(), "{found:?}");
        assert_eq!(found.slower.map(|slower| slower.requests), Some(5.0));
        assert!(hangs(1, 60).keeps_up());
        assert!(hangs(0, 60).evidence < 1.0);
    }

    #[test]
    fn too_few_requests_prove_nothing_and_without_latencies_errors_are_compared_alone() {
        let peers = stats(&vec![MS(20); 500]);
        let few = compare(&stats(&[MS(900); 3]), &peers, &ShiftPolicy::default());
        assert!(few.too_few && few.keeps_up());
        let own = Stats { errors: 10.0, requests: 20.0, ..Stats::default() };
        let alone = compare(&own, &peers, &ShiftPolicy::default());
        assert!(alone.slower.is_none() && !alone.keeps_up());
    }
}
