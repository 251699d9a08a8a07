//! Decisions on recorded demand: `foreshadow replay` beside its rivals, as a user would run it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::Setting;
use crate::rows::{Better, Rows, median};
use crate::traces::{self, Demand};

mod contest;

/// Instances that the peak of a trace needs.
const INSTANCES_AT_PEAK: f64 = 20.0;
const PROMOTE: Duration = Duration::from_secs(5);
/// Share of demand that may be missed.
const BUDGET: f64 = 0.01;

#[derive(Deserialize)]
struct Replay {
    policies: Vec<Score>,
}

#[derive(Deserialize)]
struct Score {
    name: String,
    missed_share: f64,
    cost_over_oracle: f64,
}

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    for demand in traces::load(setting)? {
        let replay = replay(setting, &demand, "all")?;
        let ours = find(&replay, "foreshadow")?;
        let rivals: Vec<String> = replay
            .policies
            .iter()
            .filter(|score| score.name != "foreshadow" && score.name != "oracle")
            .map(|score| {
                format!("{} {:.2} {:.2} %", score.name, score.cost_over_oracle, score.missed_share * 100.0)
            })
            .collect();
        let name = format!("decisions: {}, missed demand", demand.name);
        rows.at_most(&name, ours.missed_share, "share", BUDGET * 1.2, None);
        let name = format!("decisions: {}, cost of the delayed oracle's", demand.name);
        let hpa = find(&replay, "hpa")?;
        rows.at_most(&name, ours.cost_over_oracle, "ratio", hpa.cost_over_oracle, Some(rivals.join(", ")));
    }
    speed(setting, rows)?;
    contest::measure(setting, rows)
}

/// How long a user waits for a replay of two weeks at one minute, beside all rivals.
fn speed(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let demands = traces::load(setting)?;
    let demand =
        demands.iter().find(|demand| demand.name.contains("clarknet")).context("ClarkNet is shipped")?;
    for policies in ["foreshadow", "all"] {
        let mut seconds = Vec::new();
        for _ in 0..if setting.quick { 1 } else { 5 } {
            let begin = Instant::now();
            replay(setting, demand, policies)?;
            seconds.push(begin.elapsed().as_secs_f64());
        }
        let name = format!("decisions: replay of ClarkNet, 1 min, 14 days, policy {policies}");
        match policies {
            "foreshadow" => rows.at_most(&name, median(&seconds), "s", 2.0, None),
            _ => rows.note(&name, median(&seconds), "s", Better::Lower, None),
        }
    }
    Ok(())
}

fn replay(setting: &Setting, demand: &Demand, policy: &str) -> Result<Replay> {
    let folder = tempfile::tempdir()?;
    let series = folder.path().join("demand.csv");
    std::fs::write(&series, as_csv(demand))?;
    let json = folder.path().join("replay.json");
    let peak = demand.points.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max);
    let cold = demand.step.as_secs_f64().max(180.0);
    let output = Command::new(&setting.foreshadow)
        .arg("replay")
        .arg(&series)
        .args(["--capacity", &(peak / INSTANCES_AT_PEAK).to_string()])
        .args(["--cold", &format!("{cold}s"), "--promote", "5s", "--budget", &BUDGET.to_string()])
        .args(["--standby-price", "0.2", "--policy", policy])
        .arg("--json")
        .arg(&json)
        .output()?;
    if !output.status.success() {
        bail!("replay of {} failed: {}", demand.file.display(), String::from_utf8_lossy(&output.stderr));
    }
    read_json(&json)
}

fn read_json(file: &Path) -> Result<Replay> {
    serde_json::from_slice(&std::fs::read(file)?).context("the JSON of replay has another shape")
}

fn as_csv(demand: &Demand) -> String {
    let mut text = String::from("timestamp,demand\n");
    for (at, value) in &demand.points {
        let value = value.map(|value| value.to_string()).unwrap_or_default();
        text.push_str(&format!("{at},{value}\n"));
    }
    text
}

fn find<'a>(replay: &'a Replay, name: &str) -> Result<&'a Score> {
    replay
        .policies
        .iter()
        .find(|score| score.name == name)
        .with_context(|| format!("replay has no policy {name}"))
}
