//! What rules are held to on paper is what comes out: the budget is spent, neither saved by instances that nobody asked for nor
//! overspent.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use forecast::trace;
use sim::Demand;
use sim::replay::{Options, PolicyKind, replay};

const STEP: Duration = Duration::from_secs(60);
/// Requests a minute that one instance serves; the peak takes twenty.
const CAPACITY: f64 = 23.6;

/// Two weeks of a web server by the minute, which is mostly noise.
fn web() -> Demand {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/clarknet_http_1995_1min.csv.gz");
    let file = flate2::read::GzDecoder::new(File::open(path).unwrap());
    let read = trace::parse(file, &trace::Options::default()).unwrap();
    Demand::from_points(&read.series[0].on_grid(STEP), STEP).unwrap()
}

fn spent(demand: &Demand, budget: f64, standby_price: f64, cold: u64) -> f64 {
    let mut options = Options::new(CAPACITY, Duration::from_secs(cold), Duration::from_secs(5));
    (options.budget, options.standby_price) = (budget, standby_price);
    options.score_from = Some(demand.slot_start(demand.len() / 2));
    replay(demand, PolicyKind::Foreshadow, &options).unwrap().score.missed_share / budget
}

#[test]
fn the_budget_is_spent_with_standbys_and_without() {
    let demand = web();
    for (budget, price, cold) in [(0.01, 0.2, 180), (0.01, 1.0, 180), (0.001, 0.2, 600), (0.001, 1.0, 600)] {
        let spent = spent(&demand, budget, price, cold);
        println!("budget {budget}, standby at {price}, cold {cold} s: {spent:.2} of the budget");
        assert!((0.85..=1.15).contains(&spent), "budget {budget}, standby at {price}: {spent:.2}");
    }
}
