//! One hundred bad days for the planner, and the promise that each can be repeated.

use sim::simulate::simulate;

#[test]
fn one_hundred_seeds_of_faults_stay_safe_and_settle() {
    let failures: Vec<String> =
        (0..100).filter_map(|seed| simulate(seed).err()).map(|failure| failure.to_string()).collect();
    assert!(failures.is_empty(), "{} of 100 seeds failed\n{}", failures.len(), failures.join("\n\n"));
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

#[test]
fn the_faults_of_the_hundred_seeds_really_happen() {
    let logs: String = (0..100).filter_map(|seed| simulate(seed).ok()).map(|report| report.log.text().to_owned()).collect();
    for trace in [
        "the process ended before it was ready",
        "ActionFailed",
        "InstanceExited",
        "InstanceUnhealthy",
        "demand: None",
        " clock ",
        " restart ",
        "OverrideSet",
    ] {
        assert!(logs.contains(trace), "no `{trace}` in any log");
    }
}
