//! Plays scenarios: `cargo run --release -p sim --example scenarios -- [NAME..]`.

use std::time::Instant;

use sim::replay::PolicyKind;
use sim::scenarios::Scenario;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    for name in
        Scenario::NAMES.iter().filter(|name| words.is_empty() || words.iter().any(|word| word == *name))
    {
        let scenario = Scenario::named(name, 1).ok_or("an unknown scenario")?;
        for kind in [PolicyKind::Foreshadow, PolicyKind::Hpa, PolicyKind::StaticPeak] {
            let began = Instant::now();
            let outcome = scenario.run(kind)?;
            let (all, trouble) = (&outcome.tally, scenario.in_trouble(&outcome));
            println!(
                "{name:20} {kind:12} {:8} failed {:6} late {:6} p99 {:9.0?} | trouble {:7} bad {:7.3} % failed {:7.3} % p99 {:9.0?} | cost {:7.0} standby {:7.0} | {:.1} s",
                all.requests,
                all.failed,
                all.late,
                all.quantile(0.99).unwrap_or_default(),
                trouble.requests,
                100.0 * trouble.bad_share(),
                100.0 * trouble.failed_share(),
                trouble.quantile(0.99).unwrap_or_default(),
                outcome.score.cost,
                outcome.score.totals.standby_seconds,
                began.elapsed().as_secs_f64(),
            );
            if std::env::var("ROWS").is_ok() {
                for row in outcome.rows.iter().filter(|row| scenario.trouble.contains(&row.at)) {
                    println!(
                        "   {} n {:6} bad {:6.3} active {:5.1} standby {:5.1} moving {:5.1} p99 {:?}",
                        row.at,
                        row.tally.requests,
                        row.tally.bad_share(),
                        row.active,
                        row.standby,
                        row.moving,
                        row.tally.quantile(0.99).unwrap_or_default()
                    );
                }
            }
        }
    }
    Ok(())
}
