//! Measures keep-alive policies for sparsely used applications on the axes of "Serverless in the Wild" (ATC 2020).
//!
//! `cargo run --release -p forecast --example sparse -- CONCURRENCY.csv.gz META.csv.gz`

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
        let mut loaded = 1..=0;
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
            let loaded = keepers[i].loaded(&price, &pool);
            tallies[i].step(app.busy[minute], running[i], loaded, app.memory_mb);
        }
        for (i, app) in apps.iter().enumerate() {
            running[i] = app.busy[minute];
            keepers[i].observe(app.busy[minute], &mut pool);
            if minute<3 && std::env::var("SHOW").is_ok() && i<8 { println!("{minute} {i} {}", pool.show()); }
        }
    }
    if std::env::var("SHOW").is_ok() { println!("{}", pool.show()); }
    outcome(format!("ours, cold start {:.0}, fairness {}", price.cold_start, price.fairness), &tallies)
}

fn compare(apps: &[App]) {
    let mut outcomes = Vec::new();
    for keep in [5, 10, 20, 30, 60, 120, 240] {
        outcomes.push(alone(format!("fixed {keep} min"), apps, |_, _| Fixed { keep }.window()));
    }
    for range in [60, 120, 180, 240] {
        let mut hybrids = vec![Hybrid::new(range); apps.len()];
        outcomes.push(alone(format!("hybrid histogram {range} min"), apps, |i, idle| {
            if let Some(idle) = idle {
                hybrids[i].learn(idle);
            }
            hybrids[i].window()
        }));
    }
    for fairness in [0.0, 0.5, 1.0] {
        for k in 0..12 {
            let cold_start = 4.0 * 1.8f64.powi(k) * 10f64.powf(fairness);
            outcomes.push(ours(Price { cold_start, fairness }, apps));
        }
    }
    let unit = outcomes[1].waste;
    for o in &outcomes {
        println!(
            "{:<40} cold p75 {:>6.2} %  mean {:>6.2} %  {:>6} starts   waste {:.3}",
            o.name,
            o.cold_p75,
            o.cold_mean,
            o.cold_starts,
            o.waste / unit
        );
    }
}
