//! The scenario of sessions: what it claims, asserted.

use std::time::Duration;

use sim::replay::PolicyKind;
use sim::sessions::{Outcome, Scene};

fn played(seed: u64) -> (Scene, Vec<Outcome>) {
    let scene = Scene::new(seed);
    let runs = Scene::RUNS.map(|(kind, grace)| scene.run(kind, grace).expect("it runs"));
    (scene, runs.into())
}

fn cut(outcome: &Outcome) -> u64 {
    outcome.fates.iter().map(|fates| fates.cut).sum()
}

/// Mean wait of those that got a place, and those that did not, as if they had waited for as long as they may.
fn wait(outcome: &Outcome, kind: usize) -> Duration {
    let fates = &outcome.fates[kind];
    let placed = fates.waits.mean() * u32::try_from(fates.waits.count()).expect("few");
    (placed + Duration::from_secs(300) * u32::try_from(fates.refused).expect("few"))
        / u32::try_from(fates.waits.count() + fates.refused).expect("few")
}

#[test]
fn no_session_is_cut_and_a_tournament_waits_less_than_casual_games() {
    for seed in [1, 2, 3] {
        let (scene, outcomes) = played(seed);
        let [ours, hpa, patient] = outcomes.as_slice() else { panic!("three") };
        for outcome in &outcomes {
            let arrived: u64 = outcome.fates.iter().map(|fates| fates.arrived).sum();
            let from = scene.settings.from;
            let all = scene.settings.arrivals.iter().filter(|arrival| arrival.at >= from).count() as u64;
            assert_eq!(arrived, all, "every policy sees the same sessions");
        }
        for (n, outcome) in outcomes.iter().enumerate() {
            let hours = (outcome.active_seconds + 0.2 * outcome.standby_seconds) / 3600.0;
            let (waits, cut) = ([wait(outcome, 0), wait(outcome, 1)], cut(outcome));
            println!("seed {seed}, run {n}: {waits:?} waited, {cut} cut, {hours:.1} instance-hours");
        }
        assert_eq!(cut(ours), 0, "seed {seed}");
        assert!(cut(hpa) >= 5, "seed {seed}: {}", cut(hpa));
        assert!(cut(patient) <= 3, "seed {seed}: few games last longer than an hour: {}", cut(patient));
        assert!(wait(ours, 1) <= wait(ours, 0), "seed {seed}: {:?} {:?}", wait(ours, 1), wait(ours, 0));
        assert!(wait(ours, 1) * 4 < wait(hpa, 1), "seed {seed}: {:?} {:?}", wait(ours, 1), wait(hpa, 1));
        assert!(ours.rows.iter().any(|row| row.leaving > 0), "scale-in happened");
    }
}

#[test]
fn the_same_seed_plays_the_same_evening() {
    let run = || Scene::new(5).run(PolicyKind::Foreshadow, Duration::ZERO).expect("it runs");
    assert_eq!(run(), run());
}
