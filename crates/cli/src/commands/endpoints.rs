//! `foreshadow endpoints`: rate, errors and duration of a running workload's requests, by kind.

use std::fmt::Write as _;

use clap::Args;

use super::remote::{RemoteArgs, answer};
use crate::failure::Failure;
use crate::output;

/// Options of `endpoints`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EndpointsArgs {
    /// The workload
    workload: String,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Shows them.
pub(crate) fn run(args: &EndpointsArgs) -> Result<(), Failure> {
    let found = args.remote.ask(|client| async move { client.endpoints(&args.workload).await })?;
    answer(args.json, &found, render)
}

fn render(found: &api::Endpoints) -> String {
    let ms = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    let heads = ["endpoint", "requests", "2xx", "3xx", "4xx", "5xx", "errors", "p50", "p99", "slow trace"];
    let mut table = output::table(&heads);
    for endpoint in &found.endpoints {
        let mut cells = vec![endpoint.endpoint.clone(), output::grouped(endpoint.requests)];
        cells.extend(endpoint.statuses[1..].iter().map(|count| output::grouped(*count)));
        cells.extend([output::grouped(endpoint.errors), ms(endpoint.p50_ms), ms(endpoint.p99_ms)]);
        cells.push(
            endpoint
                .slow_trace
                .as_ref()
                .map_or_else(|| "-".to_owned(), |slow| format!("{} ({:.0} ms)", slow.trace_id, slow.took_ms)),
        );
        output::row(&mut table, &cells);
    }
    output::keep_whole(&mut table);
    let mut text = String::new();
    let _ = writeln!(text, "{table}");
    if found.log_written + found.log_dropped > 0 {
        let (written, dropped) = (output::grouped(found.log_written), output::grouped(found.log_dropped));
        let _ = writeln!(text, "access log: {written} lines written, {dropped} left out");
    }
    text
}
