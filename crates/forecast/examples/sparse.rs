//! Measures keep-alive policies for sparsely used applications on the axes of "Serverless in the Wild" (Shahrad et al.,
//! ATC 2020): the 75th percentile over the applications of the share of cold starts, against the memory time wasted.
//!
//! `cargo run --release -p forecast --example sparse -- CONCURRENCY.csv.gz META.csv.gz`
//!
//! Every decision about a minute is made before it, from the minutes before; nothing is learned in advance. For all
//! policies alike: a busy minute counts as one use; the first one is cold; one right after a busy minute finds the
//! application running; any other is cold unless the application was loaded in that minute. A minute loaded but not busy
//! wastes the application's average memory. Waste is said in units of what keeping for ten minutes wastes. The paper's
//! forecast of idle times beyond the histogram (ARIMA) is replaced by their mean.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::ExitCode;

use flate2::read::MultiGzDecoder;
use forecast::models::sparse::{Fixed, Hybrid, Keeper, Pool, Price};

struct App {
    busy: Vec<bool>,
    memory_mb: f64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [concurrency, meta] = &args[..] else {
        eprintln!("usage: sparse CONCURRENCY.csv.gz META.csv.gz");
        return ExitCode::from(2);
    };
    match read(concurrency, meta) {
        Ok(apps) => {
            compare(&apps);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn rows(path: &str) -> Result<Vec<csv::StringRecord>, String> {
    let file = File::open(path).map_err(|e| format!("failed to open {path}: {e}"))?;
    csv::Reader::from_reader(MultiGzDecoder::new(file))
        .into_records()
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{path}: {e}"))
}

fn read(concurrency: &str, meta: &str) -> Result<Vec<App>, String> {
    let mut apps: BTreeMap<String, App> = BTreeMap::new();
    for row in rows(meta)? {
        let memory_mb = row[2].parse().map_err(|e| format!("{meta}: {e}"))?;
        apps.insert(row[0].to_owned(), App { busy: Vec::new(), memory_mb });
    }
    for row in rows(concurrency)? {
        let busy = row[2].parse::<f64>().is_ok_and(|containers| containers > 0.0);
        if let Some(app) = apps.get_mut(&row[1]) {
            app.busy.push(busy);
        }
    }
    Ok(apps.into_values().collect())
}

/// What a policy did.
struct Outcome {
    name: String,
    /// 75th percentile over the applications of the share of cold starts, in percent.
    cold_p75: f64,
    cold_mean: f64,
    cold_starts: f64,
    /// MB minutes loaded and idle.
    waste: f64,
}

#[derive(Default, Clone)]
struct Tally {
    uses: f64,
    cold: f64,
    waste: f64,
}

impl Tally {
    fn step(&mut self, busy: bool, running: bool, loaded: bool, memory_mb: f64) {
        match (busy, running || loaded) {
            (true, warm) => {
                self.uses += 1.0;
                self.cold += f64::from(u8::from(!warm));
            }
            (false, true) if loaded => self.waste += memory_mb,
            (false, _) => {}
        }
    }
}

fn outcome(name: String, tallies: &[Tally]) -> Outcome {
    let mut shares: Vec<f64> = tallies.iter().map(|t| 100.0 * t.cold / t.uses).collect();
    shares.sort_by(f64::total_cmp);
    let rank = 0.75 * (shares.len() - 1) as f64;
    let below = rank.floor() as usize;
    let cold_p75 = shares[below] + (shares[below + 1] - shares[below]) * (rank - below as f64);
    Outcome {
        name,
        cold_p75,
        cold_mean: shares.iter().sum::<f64>() / shares.len() as f64,
        cold_starts: tallies.iter().map(|t| t.cold).sum(),
        waste: tallies.iter().map(|t| t.waste).sum(),
    }
}

/// A policy that depends on each application's own idle times only.
fn alone(
    name: String,
    apps: &[App],
    mut window: impl FnMut(usize, Option<u32>) -> forecast::models::sparse::Window,
) -> Outcome {
    let mut tallies = vec![Tally::default(); apps.len()];
    for (i, app) in apps.iter().enumerate() {
        let mut since = 0;
        let mut loaded = 0..=0;
        for &busy in &app.busy {
            tallies[i].step(busy, since == 1, since > 0 && loaded.contains(&since), app.memory_mb);
            if busy {
                loaded = window(i, (since > 1).then_some(since));
                since = 1;
            } else if since > 0 {
                since += 1;
            }
        }
    }
    outcome(name, &tallies)
}

fn ours(price: Price, apps: &[App]) -> Outcome {
    let mut pool = Pool::new();
    let mut keepers = vec![Keeper::new(); apps.len()];
    let mut tallies = vec![Tally::default(); apps.len()];
    let mut running = vec![false; apps.len()];
    for minute in 0..apps[0].busy.len() {
        for (i, app) in apps.iter().enumerate() {
            // What a cold start is worth is given in MB minutes: a small application is kept for longer.
            let price = Price { cold_start: price.cold_start / app.memory_mb, ..price };
            let loaded = keepers[i].loaded(&price, &pool);
            tallies[i].step(app.busy[minute], running[i], loaded, app.memory_mb);
        }
        for (i, app) in apps.iter().enumerate() {
            running[i] = app.busy[minute];
            keepers[i].observe(app.busy[minute], &mut pool);
        }
    }
    outcome(format!("ours, cold start {:.0} MB min", price.cold_start), &tallies)
}

fn compare(apps: &[App]) {
    let mut outcomes = Vec::new();
    for keep in [5, 10, 20, 30, 60, 120, 240] {
        outcomes.push(alone(format!("fixed {keep} min"), apps, |_, _| Fixed { keep }.window()));
    }
    for (range, head, tail) in [
        (60, 0.05, 0.99),
        (120, 0.05, 0.99),
        (180, 0.05, 0.99),
        (240, 0.05, 0.99),
        (240, 0.0, 1.0),
        (240, 0.05, 0.95),
    ] {
        let mut hybrid = Hybrid::new(range);
        (hybrid.head, hybrid.tail) = (head, tail);
        let mut hybrids = vec![hybrid; apps.len()];
        let name = format!("hybrid histogram {range} min [{:.0}, {:.0}]", 100.0 * head, 100.0 * tail);
        outcomes.push(alone(name, apps, |i, idle| {
            if let Some(idle) = idle {
                hybrids[i].learn(idle);
            }
            hybrids[i].window()
        }));
    }
    let rivals = outcomes.len();
    for k in 0..26 {
        outcomes.push(ours(Price { cold_start: 400.0 * 1.35f64.powi(k), fairness: FAIRNESS }, apps));
    }
    let unit = outcomes[1].waste;
    println!("{:<36} {:>11} {:>11} {:>12} {:>9}", "", "cold, p75 %", "mean %", "cold starts", "waste");
    for o in &outcomes {
        println!(
            "{:<36} {:>11.2} {:>11.2} {:>12} {:>9.3}",
            o.name,
            o.cold_p75,
            o.cold_mean,
            o.cold_starts,
            o.waste / unit
        );
    }
    println!("\nwaste of ours over the rival's, at a setting with no more cold starts than the rival");
    println!("{:<36} {:>11} {:>11} {:>12}", "", "by p75", "by mean", "by number");
    let (rivals, ours) = outcomes.split_at(rivals);
    for rival in rivals {
        let least = |good: &dyn Fn(&&Outcome) -> bool| {
            ours.iter().filter(good).map(|o| o.waste / rival.waste).fold(f64::INFINITY, f64::min)
        };
        println!(
            "{:<36} {:>11.3} {:>11.3} {:>12.3}",
            rival.name,
            least(&|o| o.cold_p75 <= rival.cold_p75),
            least(&|o| o.cold_mean <= rival.cold_mean),
            least(&|o| o.cold_starts <= rival.cold_starts),
        );
    }
    println!(
        "{:.2} us of CPU for a minute of an application: a decision and what is learned",
        minute_micros(apps)
    );
}

fn minute_micros(apps: &[App]) -> f64 {
    let before = cpu_nanos();
    ours(Price { cold_start: 1e4, fairness: FAIRNESS }, apps);
    let minutes: usize = apps.iter().map(|app| app.busy.len()).sum();
    (cpu_nanos() - before) as f64 / minutes as f64 / 1e3
}

/// CPU time of this thread.
fn cpu_nanos() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

/// Between "every cold start is alike" and "every application is alike".
const FAIRNESS: f64 = 0.75;
