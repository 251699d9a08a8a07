//! Spares that workloads of one template share: fewer of them serve as well, as long as demands do not rise together.

use std::time::Duration;

use forecast::Timestamp;
use sim::Demand;
use sim::pool::{Outcome, replay};
use sim::replay::Options;

const STEP: Duration = Duration::from_secs(60);
const WORKLOADS: u64 = 8;
const DAYS: u64 = 8;

/// A low level, and bursts of a few minutes at random times; `seed` says when.
fn bursts(seed: u64) -> Demand {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut left = 0;
    let mut points = Vec::new();
    for n in 0..DAYS * 1_440 {
        if left == 0 && rng.u32(0..90) == 0 {
            left = rng.u32(3..8);
        }
        let burst = if left > 0 { 220.0 } else { 0.0 };
        left = u32::saturating_sub(left, 1);
        let at = Timestamp::from_secs(1_700_006_400 + n as i64 * 60);
        points.push((at, Some(60.0 + 20.0 * rng.f64() + burst)));
    }
    Demand::from_points(&points, STEP).expect("in order")
}

fn options() -> Options {
    let mut options = Options::new(100.0, Duration::from_secs(150), Duration::from_secs(1));
    options.budget = 0.01;
    options.replicas_max = 20;
    options.score_from = Some(Timestamp::from_secs(1_700_006_400 + 86_400));
    options
}

fn run(demands: &[Demand], options: &Options, template: Option<&str>) -> Outcome {
    let outcome = replay(demands, options, template).expect("replayed");
    let totals = outcome.totals;
    println!(
        "{template:?} at {}: {:.4} % missed, {:.2} spares and {:.2} active on average, {} starts, {} claims",
        options.budget,
        100.0 * totals.missed / totals.demand,
        totals.standby_seconds / totals.seconds,
        totals.active_seconds / totals.seconds,
        totals.starts,
        outcome.claims,
    );
    outcome
}

#[test]
fn bursts_that_do_not_come_together_need_fewer_spares_at_equal_misses() {
    let demands: Vec<Demand> = (1..=WORKLOADS).map(bursts).collect();
    let shared = run(&demands, &options(), Some("web"));
    // A looser budget, so that those who keep spares of their own miss no less.
    let alone = run(&demands, &Options { budget: 0.02, ..options() }, None);
    assert_eq!(alone.claims, 0);
    assert!(shared.claims > 100, "{}", shared.claims);
    assert!(shared.totals.standby_seconds < 0.5 * alone.totals.standby_seconds);
    assert!(shared.totals.missed <= alone.totals.missed);
    assert!(shared.totals.missed < options().budget * shared.totals.demand);
}

#[test]
fn bursts_that_come_together_are_not_pooled_away() {
    // Of six seeds the pool missed 1.13 to 1.26 times as much, 1.2 on average: one alone says little.
    let (mut apart, mut pooled) = (0.0, 0.0);
    for seed in 1..=3 {
        let demands: Vec<Demand> = (1..=WORKLOADS).map(|_| bursts(seed)).collect();
        let (alone, shared) = (run(&demands, &options(), None), run(&demands, &options(), Some("web")));
        assert!(shared.totals.missed < options().budget * shared.totals.demand);
        assert!(shared.totals.standby_seconds > 0.95 * alone.totals.standby_seconds);
        apart += alone.totals.missed;
        pooled += shared.totals.missed;
    }
    assert!(pooled < 1.25 * apart, "{pooled} and {apart}");
}

#[test]
fn the_same_replay_twice_is_the_same() {
    let demands: Vec<Demand> = (1..=3).map(bursts).collect();
    assert_eq!(
        replay(&demands, &options(), Some("web")).expect("replayed"),
        replay(&demands, &options(), Some("web")).expect("replayed")
    );
}
