//! What least predicted work does for latency where requests differ widely in cost, beside the other policies:
//! `cargo run --release -p sim --example least_work [-- TRACE]`, where TRACE is a file such as that of the Azure LLM inference
//! trace of 2023 (`timestamp,prompt_tokens,output_tokens`, gzip). Without it costs are Pareto distributed.

use std::error::Error;
use std::fs::File;
use std::io::Read;

use balance::Policy;
use flate2::read::GzDecoder;
use sim::dispatch::{Bench, Request, quantile};

const LOAD: f64 = 0.8;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(file) = std::env::args().nth(1) else {
        let costs = pareto(1.5, 300.0);
        println!("cost: Pareto, exponent 1.5, up to 300 times the least");
        report(&costs, None);
        return Ok(());
    };
    let mut text = String::new();
    GzDecoder::new(File::open(file)?).read_to_string(&mut text)?;
    let rows: Vec<[f64; 3]> = text.lines().skip(1).filter_map(row).collect();
    for (name, prompt) in [("output tokens", 0.0), ("prompt tokens / 30 + output tokens", 1.0 / 30.0)] {
        let recorded: Vec<Request> = rows.iter().map(|[at, p, o]| (*at, prompt * p + o)).collect();
        println!("cost: {name}");
        report(&recorded.iter().map(|(_, cost)| *cost).collect::<Vec<_>>(), Some(&recorded));
    }
    Ok(())
}

/// Seconds of the day and tokens.
fn row(line: &str) -> Option<[f64; 3]> {
    let mut fields = line.split(',');
    let mut clock = fields.next()?.split_once('T')?.1.trim_end_matches('Z').split(':').map(str::parse::<f64>);
    let at = clock.next()?.ok()? * 3600.0 + clock.next()?.ok()? * 60.0 + clock.next()?.ok()?;
    Some([at, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?])
}

fn report(costs: &[f64], recorded: Option<&[Request]>) {
    let mean = costs.iter().sum::<f64>() / costs.len() as f64;
    let variance = costs.iter().map(|cost| (cost - mean).powi(2)).sum::<f64>() / costs.len() as f64;
    let mut sorted = costs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let own = quantile(&sorted, 0.99) / mean;
    println!("{} costs, variation {:.2}, p99 {own:.1} of the mean\n", costs.len(), variance.sqrt() / mean);
    println!(
        "{:48} {:^23} {:^23} {:^15}",
        "at 80 % load", "p99 of latency", "p99 of waiting", "latency of lw/"
    );
    println!(
        "{:30} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7}",
        "arrivals",
        "servers",
        "error",
        "work",
        "conns",
        "turns",
        "work",
        "conns",
        "turns",
        "conns",
        "turns",
        "w conns",
        "w turns"
    );
    for (count, error) in [(4, 0.0), (8, 0.0), (10, 0.0), (10, 0.5), (10, 1.0), (16, 0.0), (32, 0.0)] {
        let bench = Bench { weights: vec![1000; count], error, seed: 1 };
        row_of("Poisson", &bench, &bench.poisson(costs, LOAD, 500_000));
        if let Some(recorded) = recorded {
            row_of("as recorded", &bench, &bench.recorded(recorded, LOAD));
        }
    }
    println!();
}

fn row_of(arrivals: &str, bench: &Bench, requests: &[Request]) {
    let runs = [Policy::LeastWork, Policy::LeastConnections, Policy::RoundRobin];
    let runs = runs.map(|policy| bench.run(policy, requests));
    let [work, connections, turns] = [0, 1, 2].map(|run: usize| quantile(&runs[run].total, 0.99));
    let [work_w, connections_w, turns_w] = [0, 1, 2].map(|run: usize| quantile(&runs[run].waiting, 0.99));
    println!(
        "{arrivals:30} {:>8} {:>8.1} {work:>7.1} {connections:>7.1} {turns:>7.1} {work_w:>7.1} {connections_w:>7.1} \
         {turns_w:>7.1} {:>7.2} {:>7.2} {:>7.2} {:>7.2}",
        bench.weights.len(),
        bench.error,
        work / connections,
        work / turns,
        work_w / connections_w,
        work_w / turns_w
    );
}

/// Costs by the quantiles of a bounded Pareto distribution from 1 on.
fn pareto(exponent: f64, most: f64) -> Vec<f64> {
    let rest = most.powf(-exponent);
    (0..100_000).map(|n| (1.0 - (1.0 - rest) * (f64::from(n) + 0.5) / 1e5).powf(-1.0 / exponent)).collect()
}
