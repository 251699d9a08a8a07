//! `foreshadow requests`: what single requests of a running workload cost, and what was predicted for them.

use std::fmt::Write as _;

use clap::Args;
use forecast::Timestamp;

use super::remote::{RemoteArgs, answer};
use crate::failure::Failure;
use crate::output;

/// Options of `requests`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RequestsArgs {
    /// The workload
    workload: String,
    /// Requests to show at most, newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Shows them.
pub(crate) fn run(args: &RequestsArgs) -> Result<(), Failure> {
    let found = args
        .remote
        .ask(|client| async move { client.requests(&args.workload, args.limit as usize).await })?;
    answer(args.json, &found, render)
}

fn render(found: &api::Requests) -> String {
    let mut text = String::new();
    let heads = ["cost", "per instance", "reserved", "waiting", "expected", "measured", "measured/expected"];
    let mut table = output::table(&heads);
    for cost in &found.costs {
        let ratio = if cost.expected > 0.0 {
            format!("{:.2}", cost.measured / cost.expected)
        } else {
            "-".to_owned()
        };
        let numbers = [cost.per_instance, cost.reserved, cost.waiting, cost.expected, cost.measured];
        let mut cells = vec![cost.name.clone()];
        cells.extend(numbers.map(output::rounded));
        cells.push(ratio);
        output::row(&mut table, &cells);
    }
    let _ = writeln!(text, "{table}");
    if let Some(cost) = found.costs.first() {
        let (outgrown, hopeless) = (cost.outgrown, cost.hopeless);
        let _ = writeln!(
            text,
            "{outgrown} took more than was reserved while they ran, {hopeless} were sent away at once because their \
             turn would have come too late"
        );
    }
    if found.requests.is_empty() {
        text.push_str("no requests were kept yet\n");
        return text;
    }
    let mut heads = vec!["at", "endpoint", "class"];
    heads.extend(found.numbers.iter().chain(&found.names).map(String::as_str));
    let costs: Vec<String> =
        found.costs.iter().flat_map(|cost| [format!("{} reserved", cost.name), cost.name.clone()]).collect();
    heads.extend(costs.iter().map(String::as_str));
    heads.extend(["waited", "instance"]);
    let mut table = output::table(&heads);
    for request in &found.requests {
        output::row(&mut table, &cells(found, request));
    }
    output::keep_whole(&mut table);
    let _ = writeln!(text, "{table}");
    text
}

fn cells(found: &api::Requests, request: &api::RequestSample) -> Vec<String> {
    let known = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), output::rounded);
    let class = found.classes.get(usize::from(request.class)).cloned().unwrap_or_else(|| "-".to_owned());
    let mut cells = vec![Timestamp::from_millis(request.at_ms).to_string(), request.endpoint.clone(), class];
    cells.extend((0..found.numbers.len()).map(|i| known(request.numbers.get(i).copied().flatten())));
    cells.extend((0..found.names.len()).map(|i| request.names.get(i).cloned().unwrap_or_default()));
    for i in 0..found.costs.len() {
        cells.push(known(request.reserved.get(i).copied()));
        cells.push(known(request.measured.get(i).copied().flatten()));
    }
    cells.push(format!("{:.1} ms", request.waited_ms));
    cells.push(request.instance.to_string());
    cells
}
