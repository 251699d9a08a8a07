//! The world in which every policy is judged: delays are kept, every second is paid, and the oracle is a lower bound.

use std::time::Duration;

use forecast::Timestamp;
use sim::replay::{Options, Outcome, PolicyKind, cheapest_at, cheapest_of, compare, frontier, replay};
use sim::{Demand, ReplayError};

const STEP: Duration = Duration::from_secs(60);

fn demand(values: impl IntoIterator<Item = Option<f64>>) -> Demand {
    let at = |i: usize| Timestamp::from_secs(1_000_000_020 + 60 * i as i64);
    let points: Vec<_> = values.into_iter().enumerate().map(|(i, value)| (at(i), value)).collect();
    Demand::from_points(&points, STEP).expect("a good series")
}

fn options() -> Options {
    Options::new(100.0, Duration::from_secs(150), Duration::from_secs(5))
}

fn waves(steps: usize, seed: u64) -> Demand {
    let mut rng = fastrand::Rng::with_seed(seed);
    demand((0..steps).map(|i| {
        let wave = (i as f64 / 180.0 * std::f64::consts::TAU).sin();
        Some((600.0 + 400.0 * wave) * (0.85 + 0.3 * rng.f64()))
    }))
}

fn run(demand: &Demand, kind: PolicyKind, options: &Options) -> Outcome {
    replay(demand, kind, options).expect("a replay")
}

#[test]
fn a_cold_start_misses_demand_for_exactly_its_length() {
    let outcome = run(&demand(vec![Some(180.0); 10]), PolicyKind::StaticPeak, &options());
    let totals = outcome.score.totals;
    assert_eq!((totals.missed, totals.late_seconds, totals.steps_missed), (80.0 * 150.0, 150.0, 3));
    assert_eq!((totals.starting_seconds, totals.active_seconds), (150.0, 600.0 + 450.0));
    assert_eq!((totals.starts, totals.stops), (1, 0));
}

#[test]
fn an_hpa_answers_a_jump_after_its_metric_lag_and_its_cold_start() {
    let values = (0..30).map(|i| Some(if i < 10 { 60.0 } else { 160.0 }));
    let totals = run(&demand(values), PolicyKind::Hpa, &options()).score.totals;
    // 27.5 s of lag are seen at the sync after 30 s; then 150 s of cold start.
    assert_eq!(totals.late_seconds, 30.0 + 150.0);
    assert_eq!(totals.missed, 60.0 * 180.0);
}

#[test]
fn steps_without_a_value_count_for_nothing() {
    let values = (0..40).map(|i| if (10..30).contains(&i) { None } else { Some(90.0) });
    for kind in PolicyKind::ALL {
        let outcome = run(&demand(values.clone()), kind, &options());
        assert_eq!(outcome.score.totals.seconds, 20.0 * 60.0, "{kind}");
        assert_eq!(outcome.score.totals.steps, 20, "{kind}");
        assert_eq!(outcome.decisions.len(), 40, "{kind}");
    }
}

#[test]
fn rows_before_the_scored_time_are_replayed_but_not_scored() {
    let demand = demand(vec![Some(180.0); 20]);
    let options = Options { score_from: Some(demand.slot_start(10)), ..options() };
    let score = run(&demand, PolicyKind::StaticPeak, &options).score;
    assert_eq!((score.totals.seconds, score.totals.missed, score.totals.steps), (600.0, 0.0, 10));
}

#[test]
fn nobody_who_keeps_the_budget_is_cheaper_than_the_oracle() {
    for seed in 0..4 {
        let demand = waves(1200, seed);
        for (budget, standby_price) in [(0.001, 0.2), (0.02, 1.0)] {
            let options = Options { budget, standby_price, initial: Some(8), ..options() };
            for outcome in compare(&demand, &PolicyKind::ALL, &options).expect("a comparison") {
                let (score, relation) = (outcome.score, outcome.score.cost_over_oracle.expect("an oracle"));
                if score.missed_share <= budget {
                    assert!(
                        relation >= 0.999,
                        "{} costs {relation} of the oracle, seed {seed}",
                        outcome.kind
                    );
                }
                if outcome.kind == PolicyKind::Oracle {
                    assert!(score.missed_share <= budget * 1.05, "the oracle misses {}", score.missed_share);
                }
            }
        }
    }
}

#[test]
fn starts_that_fail_are_tried_again_by_everybody() {
    let steady = demand(vec![Some(800.0); 60]);
    let failing = Options { start_failures: 0.5, ..options() };
    let totals = run(&steady, PolicyKind::StaticPeak, &failing).score.totals;
    // Seven are missing; each takes two attempts in the mean, and the last row finds all of them.
    assert!(totals.starts > 9, "{}", totals.starts);
    assert!(totals.late_seconds > 200.0 && totals.late_seconds < 1_200.0, "{}", totals.late_seconds);
    let demand = waves(1200, 3);
    let good = Options { initial: Some(8), standby_price: 0.1, ..options() };
    let bad = Options { start_failures: 0.3, ..good.clone() };
    for kind in [PolicyKind::Foreshadow, PolicyKind::Hpa] {
        let (good, bad) = (run(&demand, kind, &good).score, run(&demand, kind, &bad).score);
        assert!(bad.totals.starts > good.totals.starts, "{kind}");
        assert!(bad.missed_share < 2.0 * good.missed_share + 0.005, "{kind}: {good:?} {bad:?}");
    }
}

#[test]
fn a_lead_time_is_learned_from_recorded_starts() {
    // The guess is the median; a fifth of the starts takes ten times as long.
    let mut times = vec![Duration::from_secs(60); 80];
    times.extend([Duration::from_secs(600); 20]);
    let cold = sim::world::ColdStart::recorded(times);
    assert_eq!(cold.typical(), Duration::from_secs(60));
    let demand = waves(2000, 5);
    let options = Options { initial: Some(8), score_from: Some(demand.slot_start(600)), ..options() };
    let missed =
        |cold| run(&demand, PolicyKind::Foreshadow, &Options { cold, ..options.clone() }).score.missed_share;
    let (mixed, slow) = (missed(cold), missed(sim::world::ColdStart::Constant(Duration::from_secs(600))));
    assert!(mixed < 1.5 * slow + 0.002, "{mixed} with a few slow starts, {slow} when all are slow");
}

#[test]
fn a_tuned_rival_misses_no_more_than_it_may() {
    let demand = waves(800, 9);
    let options = Options { initial: Some(8), ..options() };
    let found = cheapest_at(&demand, PolicyKind::Hpa, &options, 0.002).expect("a replay").expect("a setting");
    assert!(found.score.missed_share <= 0.002);
    let usual = run(&demand, PolicyKind::Hpa, &Options { headroom: Some(4.0), ..options });
    assert!(found.score.cost < usual.score.cost);
}

#[test]
fn every_policy_has_a_frontier_along_which_money_buys_served_demand() {
    let demand = waves(800, 5);
    let options = Options { initial: Some(8), ..options() };
    for kind in PolicyKind::ALL {
        let points = frontier(&demand, kind, &options).expect("replays");
        assert!(points.len() >= 3, "{kind} has {} points", points.len());
        for pair in points.windows(2) {
            assert!(pair[0].score.cost < pair[1].score.cost, "{kind}");
            assert!(pair[0].score.missed_share > pair[1].score.missed_share, "{kind}");
        }
        let usual = run(&demand, kind, &options).score;
        let best = cheapest_of(&points, usual.missed_share).expect("the usual setting is among those tried");
        assert!(best.score.cost <= usual.cost, "{kind}");
    }
}

#[test]
fn options_out_of_range_are_named() {
    let demand = demand([Some(1.0), Some(2.0)]);
    let bad = [
        ("capacity", Options { capacity: f64::NAN, ..options() }),
        ("budget", Options { budget: 1.5, ..options() }),
        ("standby_price", Options { standby_price: -1.0, ..options() }),
        ("replicas_min", Options { replicas_min: 9, replicas_max: 3, ..options() }),
        ("headroom", Options { headroom: Some(0.0), ..options() }),
        ("start_failures", Options { start_failures: 1.0, ..options() }),
    ];
    for (name, options) in bad {
        let error = replay(&demand, PolicyKind::Hpa, &options).expect_err(name);
        assert!(matches!(error, ReplayError::Option { option, .. } if option == name), "{error}");
    }
}
