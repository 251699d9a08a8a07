//! How many requests one core simulates per second: `cargo run --release -p sim --example requests_per_second`.

use std::time::{Duration, Instant};

use forecast::Timestamp;
use sim::Demand;
use sim::replay::{Options, PolicyKind};
use sim::requests::{ServiceTime, Settings, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let step = Duration::from_secs(10);
    let at = |n: u32| Timestamp::from_secs(1_000_000_000) + step * n;
    let curve = |n: u32| 4_000.0 + 2_000.0 * (f64::from(n) / 30.0).sin();
    let points: Vec<_> = (0..180).map(|n| (at(n), Some(curve(n)))).collect();
    let demand = Demand::from_points(&points, step)?;
    for kind in [PolicyKind::StaticPeak, PolicyKind::Hpa, PolicyKind::Foreshadow] {
        let mut world = Options::new(60.0, Duration::from_secs(40), Duration::from_millis(50));
        world.initial = Some(100);
        let settings = Settings {
            world,
            service: ServiceTime::LogNormal { mean: Duration::from_millis(50), variation: 0.5 },
            slots: 4,
            in_flight_max: 400,
            timeout: Duration::from_secs(10),
            bound: Duration::from_millis(500),
            from: at(0),
            step,
            reading: Duration::from_secs(1),
            silent: None,
            arrivals: None,
        };
        let began = Instant::now();
        let outcome = run(&demand, kind, &settings)?;
        let took = began.elapsed().as_secs_f64();
        let tally = &outcome.tally;
        println!(
            "{kind:12} {} requests in {took:.2} s: {:.2} million/s; {:.3} % failed or late, p99 {:?}",
            tally.requests,
            tally.requests as f64 / took / 1e6,
            100.0 * tally.bad_share(),
            tally.quantile(0.99).unwrap_or_default(),
        );
    }
    Ok(())
}
