//! `foreshadow explain`: what was decided for a workload, from what, and why.

use std::fmt::Write as _;

use clap::Args;
use forecast::Timestamp;

use super::remote::RemoteArgs;
use crate::failure::{Failure, OrFail};
use crate::{output, values};

/// Options of `explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// The workload
    workload: String,
    /// The plan in force at this moment instead of the last one
    #[arg(long, value_name = "TIME", value_parser = values::timestamp)]
    at: Option<Timestamp>,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Asks and prints.
pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let at = args.at.map(Timestamp::as_millis);
    let plan = args.remote.ask(|client| async move { client.plan(&args.workload, at).await })?;
    let text = if args.json {
        serde_json::to_string_pretty(&plan).or_failed("cannot print the plan")? + "\n"
    } else {
        render(&plan)
    };
    Ok(output::print(&text)?)
}

fn render(plan: &api::Plan) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}: {} active and {} standby wanted",
        plan.workload, plan.active_wanted, plan.standby_wanted
    );
    let _ = writeln!(
        text,
        "plan {} of {}, changed by: {}",
        plan.generation,
        Timestamp::from_millis(plan.at_ms),
        plan.trigger
    );
    let _ = writeln!(text, "\nwhy");
    for reason in &plan.reasons {
        let _ = writeln!(text, "  - {}", reason.sentence);
    }
    let _ = writeln!(text, "  - forecast {}", plan.trust.sentence);
    let inputs = &plan.inputs;
    let _ = writeln!(text, "\nfrom");
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<46} {value:>14}");
    };
    let known = |value: Option<f64>| value.map_or("unknown".to_owned(), output::rounded);
    line("demand now", known(inputs.demand_now));
    line("reactive floor", output::rounded(inputs.floor));
    line("capacity of one instance", output::rounded(inputs.capacity));
    line(
        &format!("expected peak of the next {} steps (active)", inputs.window_active_steps),
        known(inputs.forecast_active),
    );
    line(
        &format!("expected peak of the next {} steps (with standby)", inputs.window_standby_steps),
        known(inputs.forecast_total),
    );
    line("quantile for active", format!("{:.4}", inputs.q_active));
    line("quantile with standby", format!("{:.4}", inputs.q_standby));
    text
}
