//! The planner on demand that comes at one hour of the week and begins within a step, as tournaments and reports do.

use std::time::Duration;

use forecast::Timestamp;
use sim::Demand;
use sim::replay::{Options, PolicyKind, replay};
use sim::score::Score;

const STEP: Duration = Duration::from_secs(300);
const DAY: usize = 288;
const WEEKS: usize = 4;
const CAPACITY: f64 = 100.0;

/// Eight times of the usual for three hours on each Saturday evening.
fn tournaments() -> Demand {
    // A Monday.
    let begin = Timestamp::parse("2025-03-03T00:00:00Z").expect("a time");
    let mut random = fastrand::Rng::with_seed(5);
    let mut demand = |step: usize| {
        let (day, hour) = (step / DAY % 7, (step % DAY) as f64 / 12.0);
        let usual = 200.0 + 150.0 * ((hour - 12.0) / 24.0 * std::f64::consts::TAU).sin();
        let is_on = day == 5 && (19.0..22.0).contains(&hour);
        usual * (0.85 + 0.3 * random.f64()) * if is_on { 8.0 } else { 1.0 }
    };
    let points: Vec<_> =
        (0..WEEKS * 7 * DAY).map(|step| (begin + STEP * step as u32, Some(demand(step)))).collect();
    Demand::from_points(&points, STEP).expect("a good series")
}

#[test]
fn from_the_third_on_it_is_prepared_for_at_about_what_repeating_last_week_costs() {
    let demand = tournaments();
    let mut options = Options::new(CAPACITY, Duration::from_secs(180), Duration::from_secs(1));
    (options.budget, options.standby_price) = (0.001, 0.2);
    options.score_from = Some(demand.slot_start(demand.len() / 2));
    let score = |policy| -> Score { replay(&demand, policy, &options).expect("a replay").score };
    let (ours, last_week, hpa) =
        (score(PolicyKind::Foreshadow), score(PolicyKind::LastWeek), score(PolicyKind::Hpa));
    println!("missed {:.5}, {:.5}, {:.5}", ours.missed_share, last_week.missed_share, hpa.missed_share);
    println!("cost {:.0}, {:.0}, {:.0}", ours.cost, last_week.cost, hpa.cost);
    assert!(ours.missed_share <= options.budget, "{}", ours.missed_share);
    assert!(hpa.missed_share > 2.0 * options.budget, "reacting is late: {}", hpa.missed_share);
    assert!(ours.cost <= 1.05 * last_week.cost, "{} {}", ours.cost, last_week.cost);
}
