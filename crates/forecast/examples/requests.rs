//! Measures the request-level cost model on recorded requests, beside trackers; memory of tasks is measured by
//! `cargo xtask bench forecast --only requests`.
//!
//! `cargo run --release -p forecast --example requests -- tokens FILE.csv.gz`: output tokens of inference requests from
//! prompt tokens, one by one.
//!
//! `... -- jump`: made-up requests of which one endpoint becomes 1.6 times as dear half-way: coverage after that.

use std::fs::File;
use std::process::ExitCode;

use flate2::read::MultiGzDecoder;
use forecast::models::Pace;
use forecast::requests::{Config, CostModel, Outcome, Parameters};
use forecast::score::pinball;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tokens", path] => tokens(path),
        ["jump"] => {
            jump();
            Ok(())
        }
        _ => Err("usage: requests tokens FILE.csv.gz | jump".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn rows(path: &str) -> Result<(csv::Reader<MultiGzDecoder<File>>, csv::StringRecord), String> {
    let file = File::open(path).map_err(|e| format!("failed to open {path}: {e}"))?;
    let mut reader = csv::Reader::from_reader(MultiGzDecoder::new(file));
    let header = reader.headers().map_err(|e| format!("{path}: {e}"))?.clone();
    Ok((reader, header))
}

/// Predictions timed together.
const TIMED: u32 = 100;

/// What would be done in the background.
fn train_when_due(model: &mut CostModel) {
    if model.training_due()
        && let Ok(trained) = model.training().fit(&mut Pace::free())
    {
        model.install(trained);
    }
}

fn quantile(sorted: &[f64], tau: f64) -> f64 {
    let rank = tau * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}

fn tokens(path: &str) -> Result<(), String> {
    let (mut reader, header) = rows(path)?;
    let column = |name: &str| {
        header.iter().position(|known| known == name).ok_or_else(|| format!("{path}: no column `{name}`"))
    };
    let (prompt, output) = (column("prompt_tokens")?, column("output_tokens")?);
    let mut model = CostModel::new(Config::default());
    let mut past: Vec<f64> = Vec::new();
    let taus = [0.5, 0.9, 0.95, 0.99];
    let mut sums = [[0.0; 4]; 4];
    let mut n = 0.0;
    for row in reader.records() {
        let row = row.map_err(|e| format!("{path}: {e}"))?;
        let numeric = [row[prompt].parse().unwrap_or(f64::NAN)];
        let cost: f64 = row[output].parse().unwrap_or(f64::NAN);
        let parameters = Parameters { numeric: &numeric, categorical: &[] };
        let mut said = [0.0; 4];
        model.predict("generate", &parameters, &taus, &mut said);
        if past.len() >= 500 {
            n += 1.0;
            for (k, &tau) in taus.iter().enumerate() {
                let tracked = quantile(&past, tau);
                sums[0][k] += pinball(tau, cost, said[k]);
                sums[1][k] += f64::from(u8::from(cost <= said[k]));
                sums[2][k] += pinball(tau, cost, tracked);
                sums[3][k] += f64::from(u8::from(cost <= tracked));
            }
        }
        past.insert(past.partition_point(|&known| known < cost), cost);
        model.observe(&Outcome { endpoint: "generate", parameters, cost });
        train_when_due(&mut model);
    }
    println!("{n} requests after the first 500; ours, and a tracker of all past requests");
    for (k, tau) in taus.iter().enumerate() {
        println!(
            "  {tau:<5} pinball {:>7.3} tracker {:>7.3} ratio {:.3}   coverage {:.3} tracker {:.3}",
            sums[0][k] / n,
            sums[2][k] / n,
            sums[0][k] / sums[2][k],
            sums[1][k] / n,
            sums[3][k] / n
        );
    }
    Ok(())
}

/// Twelve endpoints with costs of a heavy tail around a power of their size; from half-way on one is 1.6 times as dear.
fn jump() {
    const REQUESTS: usize = 60_000;
    let mut rng = fastrand::Rng::with_seed(7);
    let mut model = CostModel::new(Config::default());
    let names: Vec<String> = (0..12).map(|k| format!("endpoint-{k}")).collect();
    let mut after: Vec<(bool, bool)> = Vec::new();
    let (mut others, mut covered) = (0.0, 0.0);
    let mut before = (0.0, 0.0);
    let (mut nanos, mut observed) = (0, 0);
    let clock = clock_nanos();
    for i in 0..REQUESTS {
        let k = ((rng.f64() * rng.f64()) * 12.0) as usize;
        let size = (10.0 + 3.0 * normal(&mut rng)).exp();
        let kind = if rng.bool() { "small" } else { "large" };
        let factor = if kind == "large" { 1.8 } else { 1.0 };
        let heavy = if rng.f64() < 0.03 { 1.0 + 3.0 * rng.f64() } else { 1.0 };
        let mut cost =
            (1.0 + k as f64) * factor * heavy * (0.25 * normal(&mut rng)).exp() * (50.0 + size.powf(0.6));
        if k == 2 && i >= REQUESTS / 2 {
            cost *= 1.6;
        }
        let (numeric, categorical) = ([size], [kind]);
        let parameters = Parameters { numeric: &numeric, categorical: &categorical };
        let mut said = [0.0; 2];
        model.predict(&names[k], &parameters, &[0.05, 0.95], &mut said);
        if i % 100 == 0 {
            let started = cpu_nanos();
            for _ in 0..TIMED {
                model.predict(&names[k], &parameters, &[0.05, 0.95], std::hint::black_box(&mut said));
            }
            nanos += cpu_nanos() - started;
        }
        let inside = cost <= said[1];
        if k == 2 && i >= REQUESTS / 2 {
            after.push((inside, cost >= said[0]));
        } else if k == 2 {
            before = (before.0 + f64::from(u8::from(inside)), before.1 + 1.0);
        } else {
            covered += f64::from(u8::from(inside));
            others += 1.0;
        }
        let started = cpu_nanos();
        model.observe(&Outcome { endpoint: &names[k], parameters, cost });
        observed += (cpu_nanos() - started).saturating_sub(clock);
        train_when_due(&mut model);
    }
    let share = |part: &[(bool, bool)]| part.iter().filter(|both| both.0).count() as f64 / part.len() as f64;
    println!(
        "coverage of the 95 % quantile: other endpoints {:.3}, before the jump {:.3}",
        covered / others,
        before.0 / before.1
    );
    for (from, to) in [(0, 25), (25, 50), (50, 100), (100, 200), (200, 400), (400, after.len())] {
        println!("  requests {from:>4} to {to:>4} after the jump: {:.3}", share(&after[from..to]));
    }
    println!(
        "{:.2} us of CPU per prediction, {:.2} us per observation, {} kB held",
        nanos as f64 / REQUESTS as f64 / 1e3,
        observed as f64 / REQUESTS as f64 / 1e3,
        model.bytes() / 1024
    );
}

fn normal(rng: &mut fastrand::Rng) -> f64 {
    let (u, v) = (rng.f64().max(1e-300), rng.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// What it costs to ask for the CPU time itself.
fn clock_nanos() -> u64 {
    let mut asked: Vec<u64> = (0..1000)
        .map(|_| {
            let before = cpu_nanos();
            cpu_nanos() - before
        })
        .collect();
    asked.sort_unstable();
    asked[asked.len() / 2]
}

/// CPU time of this thread.
fn cpu_nanos() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
