//! What policies do for latency where requests differ widely in cost, and where instances differ in size.

use balance::Policy;
use sim::dispatch::{Bench, quantile};

/// Costs by the quantiles of a Pareto distribution with exponent 1.5, from 1 to 300.
fn costs() -> Vec<f64> {
    let rest = 300f64.powf(-1.5);
    (0..10_000).map(|n| (1.0 - (1.0 - rest) * (f64::from(n) + 0.5) / 1e4).powf(-1.0 / 1.5)).collect()
}

/// p99 of waiting and of latency at 80 % load.
fn p99(bench: &Bench, policy: Policy) -> (f64, f64) {
    let latencies = bench.run(policy, &bench.poisson(&costs(), 0.8, 200_000));
    (quantile(&latencies.waiting, 0.99), quantile(&latencies.total, 0.99))
}

#[test]
fn knowing_the_work_beats_counting_requests_and_both_beat_turns() {
    let bench = Bench { weights: vec![1000; 10], error: 0.0, seed: 3 };
    let work = p99(&bench, Policy::LeastWork);
    let connections = p99(&bench, Policy::LeastConnections);
    let turns = p99(&bench, Policy::RoundRobin);
    assert!(work.0 <= 0.6 * connections.0, "waiting {work:?} {connections:?}");
    assert!(work.1 <= 0.8 * connections.1, "latency {work:?} {connections:?}");
    assert!(work.1 <= 0.4 * turns.1 && work.0 <= 0.4 * turns.0, "{work:?} {turns:?}");
    // Predictions that are off by a factor of 1.6 up or down are still worth it.
    let guessed = p99(&Bench { error: 0.5, ..bench }, Policy::LeastWork);
    assert!(guessed.0 <= 0.65 * connections.0, "{guessed:?} {connections:?}");
}

#[test]
fn weights_are_all_that_instances_of_different_size_need() {
    let alike = Bench { weights: vec![1000; 12], error: 0.0, seed: 3 };
    let mixed = Bench { weights: [2000, 1000, 500].repeat(4), ..alike.clone() };
    // Round robin and two choices give everyone the same share of what it can do; a small one's line is slower.
    for (policy, worse_max) in [
        (Policy::LeastWork, 1.5),
        (Policy::LeastConnections, 1.5),
        (Policy::P2c, 2.0),
        (Policy::RoundRobin, 2.5),
    ] {
        let (alike, mixed) = (p99(&alike, policy).1, p99(&mixed, policy).1);
        assert!(mixed <= worse_max * alike, "{policy:?}: {mixed} beside {alike}");
    }
}
