//! A hidden helper for experiments: steady open-loop load at one address, with the demo's own load generator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::failure::{Failure, OrFail};
use crate::loadgen::schedule::Schedule;
use crate::loadgen::{Run, Target};
use crate::{output, values};

/// The schedule is drawn in bins of this length.
const BIN: Duration = Duration::from_millis(100);

/// Options of `load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// Address to send to
    target: SocketAddr,
    /// Path to ask for
    #[arg(long, default_value = "/")]
    path: String,
    /// Requests per second
    #[arg(long, default_value = "100", value_parser = values::positive)]
    rate: f64,
    /// How long
    #[arg(long, default_value = "10s", value_parser = values::duration)]
    duration: Duration,
    /// Answers later than this are late
    #[arg(long, default_value = "250ms", value_parser = values::duration)]
    bound: Duration,
    /// A request without an answer by then has failed
    #[arg(long, default_value = "2s", value_parser = values::duration)]
    timeout: Duration,
    /// Open connections at most
    #[arg(long, default_value_t = 512)]
    connections: usize,
    /// Seed of the arrival times
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Sends, waits, prints one line of JSON.
pub(crate) fn run(args: &LoadArgs) -> Result<(), Failure> {
    let bins = (args.duration.as_secs_f64() / BIN.as_secs_f64()).ceil() as usize;
    let counts = vec![args.rate * BIN.as_secs_f64(); bins];
    let schedule = Arc::new(Schedule::from_counts(&counts, BIN, 1.0, args.seed).map_err(Failure::usage)?);
    let target = Target {
        address: args.target,
        path: args.path.clone(),
        timeout: args.timeout,
        bound: args.bound,
        connections_max: args.connections.max(1),
    };
    let run = Run::start(schedule, target).or_failed("cannot start the load generator")?;
    let record = run.finish().or_failed("the load generator failed")?;
    let totals = record.totals(args.bound);
    let line = json!({
        "requests": totals.requests,
        "failed": totals.failed,
        "late": totals.late,
        "latency_ms": {"p50": totals.p50_ms, "p99": totals.p99_ms},
    });
    Ok(output::print(&format!("{line}\n"))?)
}
