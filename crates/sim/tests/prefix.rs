//! Cutting the tail off a trace changes no earlier decision: nobody but the hindsight policies sees the future.

use std::time::Duration;

use forecast::Timestamp;
use forecast::calendar::Event;
use sim::Demand;
use sim::replay::{Decision, Options, PolicyKind, replay};

const STEP: Duration = Duration::from_secs(300);

/// Eight and a half days of five minutes: a day, a week, noise, a level shift, spikes, gaps and empty cells.
fn series(seed: u64, steps: usize) -> Vec<(Timestamp, Option<f64>)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut points = Vec::new();
    for i in 0..steps {
        let day = (i as f64 / 288.0 * std::f64::consts::TAU).sin();
        let week = (i as f64 / 2016.0 * std::f64::consts::TAU).cos();
        let shift = if i > steps / 2 { 1.4 } else { 1.0 };
        let spike = if rng.u32(0..150) == 0 { 3.0 } else { 1.0 };
        let value = (500.0 + 300.0 * day + 100.0 * week) * shift * spike * (0.9 + 0.2 * rng.f64());
        let jitter = rng.i64(-2000..2000);
        if (700..760).contains(&i) {
            continue;
        }
        let at = Timestamp::from_millis(1_600_000_000_000 + i as i64 * 300_000 + jitter);
        points.push((at, (rng.u32(0..40) != 0).then_some(value)));
    }
    points
}

fn decisions(points: &[(Timestamp, Option<f64>)], kind: PolicyKind) -> Vec<Decision> {
    decisions_knowing(points, kind, &[])
}

fn decisions_knowing(
    points: &[(Timestamp, Option<f64>)],
    kind: PolicyKind,
    events: &[Event],
) -> Vec<Decision> {
    let demand = Demand::from_points(points, STEP).expect("a good series");
    let mut options = Options::new(80.0, Duration::from_secs(400), Duration::from_secs(5));
    options.seed = 3;
    options.events = events.to_vec();
    replay(&demand, kind, &options).expect("a replay").decisions
}

#[test]
fn cutting_the_tail_changes_no_earlier_decision_of_a_policy_without_hindsight() {
    for kind in PolicyKind::ALL.into_iter().filter(|kind| !kind.hindsight()) {
        let points = series(11, 2448);
        let whole = decisions(&points, kind);
        assert_eq!(whole.len(), points.len());
        for cut in [1, 2, 300, 695, 705, 1500, 2300] {
            let part = decisions(&points[..cut], kind);
            assert_eq!(part, whole[..cut], "{kind} cut after {cut} rows");
        }
    }
}

/// Every other day, from the first to far beyond the trace.
fn sales() -> Vec<Event> {
    let sale = |n: i64| {
        let start = Timestamp::from_millis(1_600_000_000_000 + n * 2 * 86_400_000 + 5 * 3_600_000);
        let end = start + Duration::from_secs(2 * 3600);
        Event { start, end, name: format!("sale {n}"), kind: "sale".into(), magnitude: 1.0 }
    };
    (0..50).map(sale).collect()
}

#[test]
fn cutting_the_tail_changes_no_earlier_decision_when_events_are_known_either() {
    let mut points = series(11, 4300);
    for (at, value) in &mut points {
        if sales().iter().any(|sale| sale.start <= *at && *at < sale.end) {
            *value = value.map(|value| value * 2.0);
        }
    }
    let whole = decisions_knowing(&points, PolicyKind::Foreshadow, &sales());
    for cut in [300, 2300, 4200] {
        let part = decisions_knowing(&points[..cut], PolicyKind::Foreshadow, &sales());
        assert_eq!(part, whole[..cut], "cut after {cut} rows");
    }
    let ignorant = decisions(&points, PolicyKind::Foreshadow);
    assert_ne!(whole, ignorant, "what is known makes a difference");
}

/// A timer with noise: what is in use an hour in ten, from nothing.
#[test]
fn cutting_the_tail_changes_no_earlier_decision_on_a_sparse_demand() {
    let mut rng = fastrand::Rng::with_seed(7);
    let values = (0..900).map(|i| if i % 120 < 12 { 50.0 + 100.0 * rng.f64() } else { 0.0 });
    let points: Vec<_> = values
        .enumerate()
        .map(|(i, value)| (Timestamp::from_millis(1_600_000_000_000 + i as i64 * 300_000), Some(value)))
        .collect();
    let decide = |points: &[(Timestamp, Option<f64>)], kind| {
        let demand = Demand::from_points(points, STEP).expect("a good series");
        let mut options = Options::new(80.0, Duration::from_secs(100), Duration::from_secs(5));
        options.replicas_min = 0;
        replay(&demand, kind, &options).expect("a replay").decisions
    };
    for kind in PolicyKind::ALL.into_iter().filter(|kind| !kind.hindsight()) {
        let whole = decide(&points, kind);
        for cut in [5, 130, 555, 840] {
            assert_eq!(decide(&points[..cut], kind), whole[..cut], "{kind} cut after {cut} rows");
        }
        let idle = whole.iter().filter(|decision| decision.active_wanted == 0).count();
        if matches!(kind, PolicyKind::Keda | PolicyKind::HybridHistogram) {
            assert!(idle > 100, "{kind} scales to zero, {idle} times here");
        }
    }
}

#[test]
fn a_decision_does_not_depend_on_the_demand_of_its_own_row() {
    for kind in PolicyKind::ALL.into_iter().filter(|kind| !kind.hindsight()) {
        let points = series(12, 900);
        let mut changed = points.clone();
        let last = changed.len() - 1;
        changed[last].1 = Some(1e6);
        let (one, other) = (decisions(&points, kind), decisions(&changed, kind));
        assert_eq!(one[last].active_wanted, other[last].active_wanted, "{kind}");
        assert_eq!(one[last].standby_wanted, other[last].standby_wanted, "{kind}");
    }
}

#[test]
fn every_row_gets_one_decision_with_its_own_time_also_after_gaps() {
    let points = series(13, 900);
    for kind in PolicyKind::ALL {
        let decisions = decisions(&points, kind);
        assert!(decisions.iter().zip(&points).all(|(decision, point)| decision.timestamp == point.0));
        assert!(decisions.iter().zip(&points).all(|(decision, point)| decision.demand == point.1));
    }
}

#[test]
fn the_same_replay_gives_the_same_decisions_twice() {
    let points = series(14, 700);
    for kind in PolicyKind::ALL {
        assert_eq!(decisions(&points, kind), decisions(&points, kind), "{kind}");
    }
}
