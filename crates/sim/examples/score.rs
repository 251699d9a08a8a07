//! Prints what every policy would have missed and paid on a recorded demand.
//!
//! `cargo run --release -p sim --example score -- TRACE.csv.gz --cold 180 --promote 5 --price 0.2 --budget 0.001`
//!
//! Options: `--column C`, `--series S`, `--capacity X` (default: the peak needs `--instances N`, 20), `--cold SECONDS`,
//! `--promote SECONDS`, `--price P`, `--budget B`, `--skip-days D` (replayed but not scored), `--frontier` (each policy
//! also at the cheapest of all its settings that misses no more than the planner does), `--policies a,b`, `--decisions FILE.csv` (of the first
//! policy).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::time::{Duration, Instant};

use sim::replay::{Options, Outcome, Point, PolicyKind, cheapest_of, frontier, replay};
use sim::{Demand, Score};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::read()?;
    let trace = read_trace(&arguments)?;
    let series = trace.series.first().ok_or("the trace has no series")?;
    let demand = Demand::from_points(&series.points, trace.step)?;
    let instances: f64 = arguments.number("instances", 20.0)?;
    let capacity = arguments.number("capacity", demand.peak() / instances)?;
    let seconds = |name: &str, default| arguments.number(name, default).map(Duration::from_secs_f64);
    let mut options = Options::new(capacity, seconds("cold", 180.0)?, seconds("promote", 5.0)?);
    options.standby_price = arguments.number("price", options.standby_price)?;
    options.budget = arguments.number("budget", options.budget)?;
    let skipped = Duration::from_secs_f64(arguments.number("skip-days", 0.0)? * 86_400.0);
    options.score_from = Some(demand.start() + skipped);
    println!(
        "{}: {} rows of {:?}, capacity {capacity:.4}, cold {:?}, promote {:?}, standby price {}, budget {}",
        trace.column,
        demand.rows().len(),
        demand.step(),
        options.cold.typical(),
        options.promote,
        options.standby_price,
        options.budget
    );
    print_header();
    let oracle = replay(&demand, PolicyKind::Oracle, &options)?.score;
    let mut ours = None;
    for kind in arguments.policies()? {
        let began = Instant::now();
        let outcome = replay(&demand, kind, &options)?;
        let score = outcome.score.beside(&oracle);
        if let Some(file) = arguments.named.remove("decisions") {
            write_decisions(&file, &outcome)?;
        }
        print_row(kind.name(), &score, began.elapsed());
        if kind == PolicyKind::Foreshadow {
            ours = Some(score);
        }
    }
    if arguments.named.contains_key("frontier") {
        let missed = ours.map_or(options.budget, |ours| ours.missed_share);
        println!("at no more misses than {:.5} %, each at the best of its settings:", missed * 100.0);
        for kind in arguments.policies()? {
            let began = Instant::now();
            let points = frontier(&demand, kind, &options)?;
            match cheapest_of(&points, missed) {
                Some(Point { setting, score }) => {
                    print_row(kind.name(), &score.beside(&oracle), began.elapsed());
                    println!("{:<18} {setting}; {} points", "", points.len());
                }
                None => println!("{:<18} cannot", kind.name()),
            }
        }
    }
    Ok(())
}

fn write_decisions(file: &str, outcome: &Outcome) -> std::io::Result<()> {
    let mut text = String::from("timestamp,demand,active_wanted,standby_wanted\n");
    for decision in &outcome.decisions {
        let demand = decision.demand.map_or(String::new(), |demand| demand.to_string());
        text += &format!(
            "{},{demand},{},{}\n",
            decision.timestamp, decision.active_wanted, decision.standby_wanted
        );
    }
    std::fs::write(file, text)
}

fn print_header() {
    println!(
        "{:<18} {:>9} {:>7} {:>8} {:>9} {:>9} {:>9} {:>7} {:>6} {:>6} {:>6} {:>9} {:>8}",
        "policy",
        "missed %",
        "late %",
        "steps",
        "active h",
        "standby h",
        "start h",
        "cost/or",
        "starts",
        "stops",
        "promo",
        "scale/day",
        "ms"
    );
}

fn print_row(name: &str, score: &Score, took: Duration) {
    let totals = &score.totals;
    let hours = |seconds: f64| seconds / 3600.0;
    println!(
        "{name:<18} {:>9.5} {:>7.3} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>7.3} {:>6} {:>6} {:>6} {:>9.1} {:>8.1}",
        score.missed_share * 100.0,
        score.late_share * 100.0,
        totals.steps_missed,
        hours(totals.active_seconds),
        hours(totals.standby_seconds),
        hours(totals.starting_seconds),
        score.cost_over_oracle.unwrap_or(f64::NAN),
        totals.starts,
        totals.stops,
        totals.promotions,
        score.scale_events_per_day,
        took.as_secs_f64() * 1e3
    );
}

struct Arguments {
    file: String,
    named: BTreeMap<String, String>,
}

impl Arguments {
    fn read() -> Result<Arguments, Box<dyn Error>> {
        let mut file = None;
        let mut named = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some("frontier") => {
                    named.insert("frontier".to_owned(), String::new());
                }
                Some(name) => {
                    let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
                    named.insert(name.to_owned(), value);
                }
                None => file = Some(word),
            }
        }
        Ok(Arguments { file: file.ok_or("which trace?")?, named })
    }

    fn number(&self, name: &str, default: f64) -> Result<f64, Box<dyn Error>> {
        Ok(self.named.get(name).map_or(Ok(default), |text| text.parse())?)
    }

    fn policies(&self) -> Result<Vec<PolicyKind>, Box<dyn Error>> {
        match self.named.get("policies") {
            None => Ok(PolicyKind::ALL.to_vec()),
            Some(names) => Ok(names.split(',').map(str::parse).collect::<Result<_, _>>()?),
        }
    }
}

fn read_trace(arguments: &Arguments) -> Result<forecast::trace::Trace, Box<dyn Error>> {
    let file = std::fs::File::open(&arguments.file)?;
    let reader: Box<dyn Read> = if arguments.file.ends_with(".gz") {
        Box::new(flate2::read::GzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let options = forecast::trace::Options {
        column: arguments.named.get("column").cloned(),
        series: arguments.named.get("series").cloned(),
        ..Default::default()
    };
    Ok(forecast::trace::parse(reader, &options)?)
}
