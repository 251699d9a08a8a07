//! Measures the request-level cost model on recorded requests, beside trackers.
//!
//! `cargo run --release -p forecast --example requests -- nextflow FILE.csv.gz`: memory of workflow tasks. Wasted memory at
//! the same share of under-allocated tasks as a tracker of each task's 99th percentile, once with models that learned
//! from the first 70 % of each workflow and then stand still, once with everything learning on, where a task is
//! learned when it has ended, once where it is learned before the next one begins. Only tasks of the last 30 % are scored. An under-allocated attempt wastes all it had and
//! is repeated with twice as much, for all alike. The numbers of a task are what its input files amount to (as read by it), what its author requested, and its processors.
//!
//! `... -- tokens FILE.csv.gz`: output tokens of inference requests from prompt tokens, one by one.
//!
//! `... -- jump`: made-up requests of which one endpoint becomes 1.6 times as dear half-way: coverage after that.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::ExitCode;

use flate2::read::MultiGzDecoder;
use forecast::Timestamp;
use forecast::models::Pace;
use forecast::requests::{Config, CostModel, Outcome, Parameters, Retry, Sizing};
use forecast::score::pinball;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["nextflow", path] => nextflow(path),
        ["tokens", path] => tokens(path),
        ["jump"] => {
            jump();
            Ok(())
        }
        _ => Err("usage: requests nextflow FILE.csv.gz | tokens FILE.csv.gz | jump".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// A task of a workflow.
struct Task {
    workflow: String,
    name: String,
    host: String,
    /// Input bytes, requested bytes, processors.
    numbers: [f64; 3],
    peak: f64,
    begun_ms: i64,
    ended_ms: i64,
}

fn rows(path: &str) -> Result<(csv::Reader<MultiGzDecoder<File>>, csv::StringRecord), String> {
    let file = File::open(path).map_err(|e| format!("failed to open {path}: {e}"))?;
    let mut reader = csv::Reader::from_reader(MultiGzDecoder::new(file));
    let header = reader.headers().map_err(|e| format!("{path}: {e}"))?.clone();
    Ok((reader, header))
}

fn read_tasks(path: &str) -> Result<Vec<Task>, String> {
    let (mut reader, header) = rows(path)?;
    let column = |name: &str| {
        header.iter().position(|known| known == name).ok_or_else(|| format!("{path}: no column `{name}`"))
    };
    let (at, workflow, name, host) =
        (column("timestamp")?, column("workflow")?, column("task")?, column("host")?);
    let (input, requested, cpus) =
        (column("input_read_chars_bytes")?, column("memory_requested_bytes")?, column("cpus_requested")?);
    let (peak, runtime, status) = (column("peak_rss_bytes")?, column("runtime_ms")?, column("status")?);
    let mut tasks = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|e| format!("{path}: {e}"))?;
        let number = |column: usize| row[column].parse().unwrap_or(f64::NAN);
        // A task whose peak was never sampled says nothing.
        if &row[status] != "COMPLETED" || number(peak).is_nan() || number(peak) <= 0.0 {
            continue;
        }
        let begun: Timestamp = row[at].parse().map_err(|e| format!("{path}: {e}"))?;
        tasks.push(Task {
            workflow: row[workflow].to_owned(),
            name: row[name].to_owned(),
            host: row[host].to_owned(),
            numbers: [number(input), number(requested), number(cpus)],
            peak: number(peak),
            begun_ms: begun.as_millis(),
            ended_ms: begun.as_millis() + number(runtime).max(0.0) as i64,
        });
    }
    Ok(tasks)
}

/// Reservations for one scored task: the tracker's, and ours at each setting.
struct Scored {
    peak: f64,
    tracker: f64,
    by_tau: Vec<f64>,
    by_price: Vec<f64>,
    task: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    /// Learned from the first 70 %, and nothing after.
    Frozen,
    /// A task is learned when it has ended; others have begun meanwhile.
    Streaming,
    /// A task is learned before the next one begins, as if they ran one after another.
    OneByOne,
}

const TIMED: u32 = 100;
const RETRY: Retry = Retry { limit: 4e12 };

fn taus() -> Vec<f64> {
    (0..=90).map(|i| 1.0 - 0.5 * (-6.2 * f64::from(i) / 90.0).exp()).collect()
}

fn prices() -> Vec<f64> {
    (0..=70).map(|i| 1e6 * (f64::from(i) / 70.0 * 14.0).exp()).collect()
}

fn nextflow(path: &str) -> Result<(), String> {
    let tasks = read_tasks(path)?;
    let mut workflows: BTreeMap<&str, Vec<&Task>> = BTreeMap::new();
    for task in &tasks {
        workflows.entry(&task.workflow).or_default().push(task);
    }
    for (protocol, title) in [
        (Protocol::Frozen, "learned from the first 70 % of each workflow, then frozen"),
        (Protocol::Streaming, "learning on, each task when it has ended"),
        (Protocol::OneByOne, "learning on, each task before the next one begins"),
    ] {
        let (mut scored, mut cold) = (Vec::new(), 0);
        let (mut nanos, mut count) = (0, 0);
        for tasks in workflows.values() {
            cold += run(tasks, protocol, &mut scored, &mut nanos, &mut count);
        }
        println!(
            "\n{title}: {} tasks scored, {cold} left out because the tracker had never seen their kind",
            scored.len()
        );
        println!("{:.2} us of CPU per prediction", nanos as f64 / 1e3 / f64::from(count));
        report(&scored);
    }
    Ok(())
}

fn parameters(task: &Task) -> ([f64; 3], [&str; 1]) {
    (task.numbers, [&task.host])
}

fn run(
    tasks: &[&Task],
    protocol: Protocol,
    scored: &mut Vec<Scored>,
    nanos: &mut u64,
    count: &mut u32,
) -> usize {
    let (taus, prices) = (taus(), prices());
    let mut model = CostModel::new(Config::default());
    let mut tracker: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let begin = tasks.len() * 7 / 10;
    let mut running: BTreeMap<(i64, usize), &Task> = BTreeMap::new();
    let mut cold = 0;
    for (i, task) in tasks.iter().enumerate() {
        while let Some((&(ended, j), &done)) = running.iter().next() {
            // Frozen: the first 70 % are known whole, and nothing after them.
            let known = match protocol {
                Protocol::Frozen => i >= begin && j < begin,
                Protocol::Streaming => ended <= task.begun_ms,
                Protocol::OneByOne => true,
            };
            if !known {
                break;
            }
            running.remove(&(ended, j));
            let (numeric, categorical) = parameters(done);
            let parameters = Parameters { numeric: &numeric, categorical: &categorical };
            model.observe(&Outcome { endpoint: &done.name, parameters, cost: done.peak });
            train_when_due(&mut model);
            let known = tracker.entry(&done.name).or_default();
            known.insert(known.partition_point(|&peak| peak < done.peak), done.peak);
        }
        if protocol != Protocol::Frozen || i < begin {
            running.insert((task.ended_ms, i), task);
        }
        if i < begin {
            continue;
        }
        let Some(known) = tracker.get(task.name.as_str()) else {
            cold += 1;
            continue;
        };
        let (numeric, categorical) = parameters(task);
        let parameters = Parameters { numeric: &numeric, categorical: &categorical };
        let mut by_tau = vec![0.0; taus.len()];
        model.predict(&task.name, &parameters, &taus, &mut by_tau);
        let mut four = [0.0; 4];
        if i % 16 == 0 {
            let before = cpu_nanos();
            for _ in 0..TIMED {
                model.predict(
                    &task.name,
                    &parameters,
                    &[0.5, 0.9, 0.95, 0.99],
                    std::hint::black_box(&mut four),
                );
            }
            *nanos += cpu_nanos() - before;
            *count += TIMED;
        }
        let by_price = prices
            .iter()
            .map(|&price| {
                Sizing { price, retry: RETRY }
                    .reserve(&model, &task.name, &parameters)
                    .unwrap_or(task.numbers[1])
            })
            .collect();
        scored.push(Scored {
            peak: task.peak,
            tracker: quantile(known, 0.99),
            by_tau,
            by_price,
            task: format!("{} {}", task.workflow, task.name),
        });
    }
    cold
}

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

/// Share of under-allocated tasks, and wasted GB.
fn tally(scored: &[Scored], reserved: impl Fn(&Scored) -> f64) -> (f64, f64) {
    let (mut under, mut waste) = (0.0, 0.0);
    for task in scored {
        let reserved = reserved(task);
        under += f64::from(u8::from(reserved < task.peak));
        waste += RETRY.waste(reserved, task.peak) / 1e9;
    }
    (under / scored.len() as f64, waste)
}

fn report(scored: &[Scored]) {
    let (under, waste) = tally(scored, |task| task.tracker);
    let line = |name: &str, (share, wasted): (f64, f64)| {
        println!(
            "  {name:<44} under {:>6.2} %   waste {wasted:>9.0} GB   {:.3}",
            100.0 * share,
            wasted / waste
        );
    };
    line("tracker of each task's 99th percentile", (under, waste));
    // The cheapest setting whose share of under-allocated tasks is no larger than the tracker's.
    let taus = taus();
    let best = |settings: usize, reserved: &dyn Fn(&Scored, usize) -> f64| {
        (0..settings)
            .map(|k| (k, tally(scored, |task| reserved(task, k))))
            .filter(|(_, (share, _))| *share <= under)
            .min_by(|a, b| (a.1).1.total_cmp(&(b.1).1))
    };
    if let Some((k, result)) = best(taus.len(), &|task, k| task.by_tau[k]) {
        line(&format!("one quantile for all, {:.4}", taus[k]), result);
        by_task(scored, |task| task.by_tau[k]);
    }
    let prices = prices();
    if let Some((k, result)) = best(prices.len(), &|task, k| task.by_price[k]) {
        line(&format!("least expected waste, {:.2} GB a failure", prices[k] / 1e9), result);
    }
}

fn by_task(scored: &[Scored], reserved: impl Fn(&Scored) -> f64) {
    let mut kinds: BTreeMap<&str, (f64, f64, f64, f64, f64)> = BTreeMap::new();
    for task in scored {
        let sums = kinds.entry(&task.task).or_default();
        sums.0 += 1.0;
        sums.1 += RETRY.waste(task.tracker, task.peak) / 1e9;
        sums.2 += f64::from(u8::from(task.tracker < task.peak));
        sums.3 += RETRY.waste(reserved(task), task.peak) / 1e9;
        sums.4 += f64::from(u8::from(reserved(task) < task.peak));
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|a, b| (b.1.1 + b.1.3).total_cmp(&(a.1.1 + a.1.3)));
    for (name, (n, waste, under, ours, ours_under)) in kinds.into_iter().take(12) {
        println!(
            "    {name:<44} {n:>4}  tracker {waste:>7.0} GB, {under:>3} under   ours {ours:>7.0} GB, {ours_under:>3} under"
        );
    }
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
