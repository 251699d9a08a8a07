//! Measures what history costs: bytes per sample, time per durable append, time to read, time to open with the full check.
//!
//! Run with `cargo run --release -p history --example measure [-- FOLDER]`; the folder decides which disk is measured.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;
use forecast::Timestamp;
use history::{HistoryError, Sample, SeriesKey, Store};

const DAYS: i64 = 7;
const STEP_SECS: i64 = 15;
const WORKLOADS: usize = 20;
const BATCH_STEPS: i64 = 240;

fn main() -> Result<(), HistoryError> {
    let scratch = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = scratch.join(format!("foreshadow-history-measure-{}", std::process::id()));
    let result = measure(&dir);
    if let Err(error) = std::fs::remove_dir_all(&dir) {
        eprintln!("could not remove {}: {error}", dir.display());
    }
    result
}

fn measure(dir: &std::path::Path) -> Result<(), HistoryError> {
    let store = Store::open(dir)?;
    let single = durable_appends(&store)?;
    println!(
        "durable append of one tick (60 samples): p50 {:.2?}, p99 {:.2?}",
        quantile(&single, 0.5),
        quantile(&single, 0.99)
    );

    for (metric, signal) in SIGNALS {
        let folder = dir.join(metric);
        let store = Store::open(&folder)?;
        let samples = fill(&store, metric, *signal)?;
        let stats = store.stats()?;
        let chunk_bytes = store.chunk_bytes()?;
        drop(store);
        let began = Instant::now();
        let store = Store::open(&folder)?;
        let open = began.elapsed();
        let began = Instant::now();
        let read = store.read(&key(0, metric), Timestamp::EPOCH, Timestamp::MAX)?;
        println!(
            "{metric:16} {samples} samples, {} in the head; {:.2} B/sample in chunks, file {:.1} MB; open {open:.0?}; read {:.0} ns/sample",
            stats.head_samples,
            chunk_bytes as f64 / (samples - stats.head_samples) as f64,
            stats.file_bytes as f64 / 1e6,
            began.elapsed().as_nanos() as f64 / read.len() as f64,
        );
    }
    Ok(())
}

type Signal = fn(f64, &mut Rng) -> f64;

/// What the daemon records: request rates (counts over the step), a latency with all its digits, and a number of instances.
const SIGNALS: &[(&str, Signal)] = &[
    ("demand", |hour, rng| {
        (rate(hour) * (0.9 + 0.2 * rng.f64()) * STEP_SECS as f64).round() / STEP_SECS as f64
    }),
    ("latency_p99_ms", |hour, rng| 20.0 + rate(hour) / 10.0 * (1.0 + rng.f64())),
    ("instances", |hour, _| (rate(hour) / 40.0).ceil()),
];

fn rate(hour: f64) -> f64 {
    200.0
        + 150.0 * (hour / 24.0 * std::f64::consts::TAU).sin()
        + 30.0 * (hour / 3.0 * std::f64::consts::TAU).sin()
}

fn key(workload: usize, metric: &str) -> SeriesKey {
    SeriesKey::new(format!("workload-{workload}"), metric)
}

/// One jittered timestamp every step, all workloads, compacted as the daemon would.
fn fill(store: &Store, metric: &str, signal: Signal) -> Result<u64, HistoryError> {
    let mut rng = Rng::with_seed(3);
    let steps = DAYS * 86_400 / STEP_SECS;
    let mut written = 0;
    for first in (0..steps).step_by(BATCH_STEPS as usize) {
        let mut batch = Vec::new();
        for step in first..first + BATCH_STEPS {
            let at = Timestamp::from_millis(step * STEP_SECS * 1000 + rng.i64(0..3));
            let hour = (step * STEP_SECS) as f64 / 3600.0;
            batch.extend((0..WORKLOADS).map(|w| Sample::new(key(w, metric), at, signal(hour, &mut rng))));
        }
        store.append(&batch)?;
        written += batch.len() as u64;
        while store.compact(Timestamp::from_secs((first + BATCH_STEPS) * STEP_SECS))?.more {}
    }
    Ok(written)
}

fn durable_appends(store: &Store) -> Result<Vec<Duration>, HistoryError> {
    let mut times = Vec::new();
    for tick in 0..300 {
        let batch: Vec<Sample> =
            (0..60).map(|n| Sample::new(key(n, "tick"), Timestamp::from_secs(tick), tick as f64)).collect();
        let began = Instant::now();
        store.append(&batch)?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn quantile(sorted: &[Duration], q: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * q) as usize]
}
