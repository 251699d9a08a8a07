//! The planner on demand that comes at one hour of the week, or at the begin of each hour, and is there within a step, as
//! tournaments, reports and jobs are.

use std::time::Duration;

use forecast::Timestamp;
use sim::Demand;
use sim::replay::{Options, PolicyKind, replay};
use sim::score::Score;

const STEP: Duration = Duration::from_secs(300);
const DAY: usize = 288;
const WEEKS: usize = 4;
const CAPACITY: f64 = 100.0;
const BUDGET: f64 = 0.001;

/// Four weeks from a Monday on.
fn series(mut demand: impl FnMut(usize) -> f64) -> Demand {
    let begin = Timestamp::parse("2025-03-03T00:00:00Z").expect("a time");
    let points: Vec<_> =
        (0..WEEKS * 7 * DAY).map(|step| (begin + STEP * step as u32, Some(demand(step)))).collect();
    Demand::from_points(&points, STEP).expect("a good series")
}

/// Eight times of the usual for three hours on each Saturday evening.
fn tournaments() -> Demand {
    let mut random = fastrand::Rng::with_seed(5);
    series(|step| {
        let (day, hour) = (step / DAY % 7, (step % DAY) as f64 / 12.0);
        let usual = 200.0 + 150.0 * ((hour - 12.0) / 24.0 * std::f64::consts::TAU).sin();
        let is_on = day == 5 && (19.0..22.0).contains(&hour);
        usual * (0.85 + 0.3 * random.f64()) * if is_on { 8.0 } else { 1.0 }
    })
}

/// Thirteen times of the usual in the first five minutes of each hour.
fn hourly_jobs() -> Demand {
    let mut random = fastrand::Rng::with_seed(5);
    series(|step| {
        let noise = 0.85 + 0.3 * random.f64();
        noise * if step % 12 == 0 { 2_600.0 } else { 200.0 }
    })
}

fn score(demand: &Demand, policy: PolicyKind) -> Score {
    let mut options = Options::new(CAPACITY, Duration::from_secs(180), Duration::from_secs(1));
    (options.budget, options.standby_price) = (BUDGET, 0.2);
    options.score_from = Some(demand.slot_start(demand.len() / 2));
    replay(demand, policy, &options).expect("a replay").score
}

#[test]
fn from_the_third_on_it_is_prepared_for_at_about_what_repeating_last_week_costs() {
    let demand = tournaments();
    let [ours, last_week, hpa] =
        [PolicyKind::Foreshadow, PolicyKind::LastWeek, PolicyKind::Hpa].map(|policy| score(&demand, policy));
    println!("missed {:.5}, {:.5}, {:.5}", ours.missed_share, last_week.missed_share, hpa.missed_share);
    println!("cost {:.0}, {:.0}, {:.0}", ours.cost, last_week.cost, hpa.cost);
    assert!(ours.missed_share <= BUDGET, "{}", ours.missed_share);
    assert!(hpa.missed_share > 2.0 * BUDGET, "reacting is late: {}", hpa.missed_share);
    assert!(ours.cost <= 1.05 * last_week.cost, "{} {}", ours.cost, last_week.cost);
}

/// Who promotes when the step begins is late by a second of three hundred, for most of the demand.
#[test]
fn what_an_hourly_job_needs_serves_when_it_begins() {
    let demand = hourly_jobs();
    let [ours, hpa] = [PolicyKind::Foreshadow, PolicyKind::Hpa].map(|policy| score(&demand, policy));
    println!(
        "missed {:.5}, {:.5}; cost {:.0}, {:.0}",
        ours.missed_share, hpa.missed_share, ours.cost, hpa.cost
    );
    assert!(ours.missed_share <= 1.2 * BUDGET, "{}", ours.missed_share);
    assert!(hpa.missed_share > 0.2, "reacting is late: {}", hpa.missed_share);
}
