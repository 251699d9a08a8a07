//! `foreshadow status`: a running daemon at a glance.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use super::remote::RemoteArgs;
use super::{models, sessions};
use crate::failure::{Failure, OrFail};
use crate::output;

/// Options of `status`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let status = args.remote.ask(|client| async move { client.status().await })?;
    let text = if args.json {
        serde_json::to_string_pretty(&status).or_failed("cannot print the status")? + "\n"
    } else {
        render(&status)
    };
    Ok(output::print(&text)?)
}

fn render(status: &api::Status) -> String {
    let mut text = String::new();
    let up = Duration::from_secs(u64::try_from((status.now_ms - status.started_at_ms) / 1000).unwrap_or(0));
    let _ = writeln!(
        text,
        "foreshadow {}, process {}, up {}",
        status.version,
        status.pid,
        humantime::format_duration(up)
    );
    let _ = writeln!(text, "proxy: {}", proxy(&status.proxy));
    let history = match status.history.state {
        api::HistoryState::Ok => "written to disk".to_owned(),
        api::HistoryState::Full => "disk full, samples are dropped".to_owned(),
        api::HistoryState::Failing => {
            format!("failing: {}", status.history.detail.as_deref().unwrap_or("no detail"))
        }
    };
    let _ = writeln!(text, "history: {history}");
    let mut table = output::table(&["workload", "demand", "active", "standby", "starting", "forecast"]);
    for workload in &status.workloads {
        output::row(&mut table, &cells(workload));
    }
    let _ = writeln!(text, "{table}");
    for workload in status.workloads.iter().filter(|workload| workload.counts.outdated > 0) {
        let (name, left) = (&workload.name, workload.counts.outdated);
        let _ = writeln!(text, "rollout of {name}: {left} of an earlier version");
    }
    for (workload, sessions) in status.workloads.iter().filter_map(|w| Some((w, w.sessions.as_ref()?))) {
        let _ = writeln!(text, "sessions of {}", workload.name);
        text.push_str(&sessions::types(sessions));
    }
    for (workload, cache) in status.workloads.iter().filter_map(|w| Some((w, w.cache?))) {
        let answered =
            cache.hit_rate.map_or_else(|| "nothing yet".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
        let _ = writeln!(
            text,
            "cache of {}: answered {answered} of what it was asked for, {} of {} bytes taken by {} entries",
            workload.name,
            output::grouped(cache.bytes),
            output::grouped(cache.bytes_max),
            output::grouped(cache.entries),
        );
    }
    if !status.nodes.is_empty() {
        render_nodes(&mut text, status);
    }
    if let Some(pause) = &status.training.paused {
        text.push_str(&models::show::pause(pause));
    }
    for problem in &status.problems {
        let _ = writeln!(text, "problem: {}; {}", problem.message, problem.hint);
    }
    text
}

/// How the data plane is.
pub(super) fn proxy(proxy: &api::ProxyStatus) -> String {
    match (proxy.connected, proxy.pid) {
        (true, Some(pid)) => format!("connected, process {pid}, route table {}", proxy.generation),
        (true, None) => format!("connected, route table {}", proxy.generation),
        (false, _) => "not connected (it keeps serving its last route table)".to_owned(),
    }
}

/// What the workloads run on, and what each has of it.
fn render_nodes(text: &mut String, status: &api::Status) {
    let mut table = output::table(&["workload", "priority", "tenant", "granted", "refused", "like"]);
    for (workload, sharing) in
        status.workloads.iter().filter_map(|workload| Some((workload, workload.sharing.as_ref()?)))
    {
        let cells = [
            workload.name.clone(),
            sharing.priority.to_string(),
            sharing.tenant.clone().unwrap_or_default(),
            sharing.granted.to_string(),
            sharing.refused.to_string(),
            sharing.group.map_or(String::new(), |group| format!("group {group}")),
        ];
        output::row(&mut table, &cells);
    }
    let _ = writeln!(text, "{table}");
    let mut table =
        output::table(&["node", "kind", "place", "price", "instances", "cores", "memory", "forecast peak"]);
    for node in &status.nodes {
        let state = match (node.up, node.health, node.spare) {
            (false, ..) => " (lost)",
            (true, Some(api::NodeHealth::Silent), _) => " (engine silent)",
            (true, _, true) => " (spare)",
            (true, _, false) => "",
        };
        let gib = |bytes: u64| output::rounded(bytes as f64 / GIB);
        let cells = [
            format!("{}{state}", node.name),
            node.kind.clone(),
            node.place.clone(),
            if node.price == 0.0 { String::new() } else { output::rounded(node.price) },
            node.instances.to_string(),
            format!("{} of {}", output::rounded(node.cores_promised), output::rounded(node.cores)),
            format!("{} of {} GiB", gib(node.memory_promised_bytes), gib(node.memory_bytes)),
            format!("{} cores", output::rounded(node.forecast_peak_cores)),
        ];
        output::row(&mut table, &cells);
    }
    let _ = writeln!(text, "{table}");
}

fn cells(workload: &api::WorkloadSummary) -> [String; 6] {
    let mode = match workload.mode {
        api::Mode::Act => "",
        api::Mode::Observe => " (observed)",
    };
    let pinned = if workload.overridden { " (pinned)" } else { "" };
    [
        format!("{}{mode}{pinned}", workload.name),
        workload.demand_now.map_or("unknown".to_owned(), output::rounded),
        format!("{} of {}", workload.counts.active, workload.active_wanted),
        format!("{} of {}", workload.counts.standby, workload.standby_wanted),
        workload.counts.starting.to_string(),
        match (workload.outage_since_ms, workload.trust.trusted) {
            (Some(_), _) => "outage suspected",
            (None, true) => "trusted",
            (None, false) => "untrusted",
        }
        .to_owned(),
    ]
}

const GIB: f64 = (1u64 << 30) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_training_is_shown_while_there_is_one() {
        let mut status = api::Status {
            version: "1".into(),
            pid: 7,
            now_ms: 0,
            started_at_ms: 0,
            proxy: api::ProxyStatus { connected: true, pid: None, generation: 1, restarts: 0 },
            history: api::HistoryStatus {
                state: api::HistoryState::Ok,
                detail: None,
                records_written: 0,
                records_dropped: 0,
            },
            problems: Vec::new(),
            workloads: Vec::new(),
            nodes: Vec::new(),
            training: api::Training::default(),
        };
        assert!(!render(&status).contains("paused"));
        let (author, reason) = ("ana".to_owned(), "backup".to_owned());
        status.training.paused = Some(api::TrainingPause { since_ms: 0, author, reason });
        let text = render(&status);
        assert!(
            text.contains("paused since 1970-01-01T00:00:00Z by ana") && text.contains("backup"),
            "{text}"
        );
    }
}
