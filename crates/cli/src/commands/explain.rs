//! `foreshadow explain`: what was seen, forecast, decided and refused for a workload, and what reacting alone would do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use forecast::Timestamp;

use super::remote::{RemoteArgs, answer};
use super::sessions;
use crate::failure::Failure;
use crate::moment::{Moment, Towards, moment};
use crate::output;

/// Options of `explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// The workload
    workload: String,
    /// Explain the decision in force at this moment instead of the last one: `10m ago`, `14:05` at the workload's place, or
    /// `2026-11-22T05:30:00Z`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    at: Option<Moment>,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Asks and prints.
pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let at = args.remote.instant(&args.workload, args.at, Towards::Past)?.map(Timestamp::as_millis);
    let explained = args.remote.ask(|client| async move { client.explain(&args.workload, at).await })?;
    if args.json {
        return answer(true, &explained, |_| String::new());
    }
    let mut text = render(&explained);
    // Levels, and where instances run, are of now; a daemon of an earlier version has none.
    if args.at.is_none() {
        let detail = args.remote.ask(|client| async move { client.workload(&args.workload).await });
        text += &detail.map_or(String::new(), |detail| render_sharing(&detail) + &render_sessions(&detail));
        let levels =
            args.remote.ask(|client| async move { client.levels(&args.workload, LEVELS_AHEAD).await });
        text += &levels.map_or(String::new(), |levels| render_levels(&levels));
    }
    Ok(output::print(&text)?)
}

/// The workload's place among the others, where nodes are given.
fn render_sharing(detail: &api::WorkloadDetail) -> String {
    let Some(sharing) = &detail.summary.sharing else { return String::new() };
    let mut on: BTreeMap<&str, u32> = BTreeMap::new();
    for node in detail.instances.iter().filter_map(|instance| instance.node.as_deref()) {
        *on.entry(node).or_default() += 1;
    }
    let on: Vec<String> = on.into_iter().map(|(node, count)| format!("{count} on {node}")).collect();
    let tenant = sharing.tenant.as_ref().map_or(String::new(), |tenant| format!(" of tenant {tenant}"));
    format!(
        "\nshares\n  priority {}{tenant}: {} granted, {} refused; {}\n",
        sharing.priority,
        sharing.granted,
        sharing.refused,
        if on.is_empty() { "none runs".to_owned() } else { on.join(", ") }
    )
}

/// What sessions there are, and who waits for them.
fn render_sessions(detail: &api::WorkloadDetail) -> String {
    detail
        .summary
        .sessions
        .as_ref()
        .map_or(String::new(), |summary| format!("\nsessions\n{}", sessions::types(summary)))
}

/// When demand exceeds what so many instances serve.
fn render_levels(levels: &api::Levels) -> String {
    let mut text = String::new();
    let ahead = Duration::from_millis(levels.step_ms.saturating_mul(levels.timestamps_ms.len() as u64));
    if levels.levels.is_empty() || ahead.is_zero() {
        return text;
    }
    let _ = writeln!(text, "\nnext, within {}", humantime::format_duration(ahead));
    // Within an hour the time of day says it all, and lines stay short.
    let time = |at: i64| {
        let text = Timestamp::from_millis(at).to_string();
        text.split_once('T').map_or(text.clone(), |(_, time)| time.to_owned())
    };
    let at = |moment: Option<i64>| moment.map_or("not foreseen".to_owned(), time);
    let above = format!("above ({})", levels.unit);
    let mut table = output::table(&["instances", &above, "chance", "possible (10 %)", "likely (50 %)"]);
    for level in &levels.levels {
        let cells = [
            level.instances.map_or(String::new(), |instances| instances.to_string()),
            output::rounded(level.demand),
            format!("{:.0} %", 100.0 * level.crossed.last().copied().unwrap_or(0.0)),
            at(level.possible_at_ms),
            at(level.likely_at_ms),
        ];
        output::row(&mut table, &cells);
    }
    let _ = writeln!(text, "{table}");
    text
}

fn render(explained: &api::Explanation) -> String {
    let plan = &explained.plan;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}: {} active and {} standby wanted at {}",
        plan.workload,
        plan.active_wanted,
        plan.standby_wanted,
        Timestamp::from_millis(explained.explained_at_ms)
    );
    if let Some(size) = plan.size {
        let mib = size.memory_bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(text, "each of {:.2} cores and {mib:.0} MiB", size.cpu_cores);
    }
    let _ = writeln!(
        text,
        "plan {} of {}, changed by: {}",
        plan.generation,
        Timestamp::from_millis(plan.at_ms),
        plan.trigger
    );
    for (about, title) in PARTS {
        let said: Vec<_> = explained.sentences.iter().filter(|sentence| sentence.about == about).collect();
        if !said.is_empty() {
            let _ = writeln!(text, "\n{title}");
        }
        for sentence in said {
            let _ = writeln!(text, "  - {}", sentence.text);
        }
    }
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
    if let Some(share) = inputs.clone_threshold {
        line("share of capacity for one more", format!("{share:.2}"));
    }
    text
}

/// What sentences are about, and the title above them. What was decided is said above all.
const PARTS: [(&str, &str); 9] = [
    ("seen", "seen"),
    ("forecast", "forecast"),
    ("announced", "announced for the time of the plan"),
    ("why", "why"),
    ("refused", "refused"),
    ("trouble", "trouble with instances, lately"),
    ("shift", "traffic to new instances, lately"),
    ("raise", "more than their size, lately"),
    ("without_forecast", "without the forecast"),
];
/// How far ahead levels are told.
const LEVELS_AHEAD: Duration = Duration::from_secs(3600);
