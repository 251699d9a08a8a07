//! One hundred bad days for the planner, and the promise that each can be repeated.

use sim::simulate::simulate;

#[test]
fn one_hundred_seeds_of_faults_stay_safe_and_settle_and_the_faults_really_happen() {
    let mut failures = Vec::new();
    let mut unseen = FAULTS.to_vec();
    for seed in 0..100 {
        match simulate(seed) {
            Ok(report) => unseen.retain(|trace| !report.log.text().contains(trace)),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    assert!(failures.is_empty(), "{} of 100 seeds failed\n{}", failures.len(), failures.join("\n\n"));
    assert!(unseen.is_empty(), "in no log: {unseen:?}");
}

#[test]
fn the_same_seed_gives_the_same_log_byte_for_byte() {
    for seed in [1, 7, 23] {
        let log = |seed| match simulate(seed) {
            Ok(report) => report.log,
            Err(failure) => failure.log,
        };
        let (one, other) = (log(seed), log(seed));
        assert!(one.lines() > 100, "seed {seed} did next to nothing");
        assert_eq!(one.text(), other.text(), "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_days() {
    let (Ok(one), Ok(other)) = (simulate(2), simulate(3)) else { panic!("seeds 2 and 3 are checked above") };
    assert_ne!(one.log.text(), other.log.text());
}

/// What each kind of fault leaves in a log.
const FAULTS: [&str; 8] = [
    "the process ended before it was ready",
    "injected fault",
    "InstanceExited",
    "InstanceUnhealthy",
    "demand: None",
    " clock ",
    " restart ",
    "OverrideSet",
];
