//! Runs the demo as a machine would and checks what it wrote.
//!
//! Only what must hold on any machine is checked here: both policies served the same trace, and foreshadow failed or
//! delayed fewer requests than the rival, or both none. How much fewer, and at which cost, is a measurement: the demo prints it.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::steps::command;

#[derive(Deserialize)]
struct Verdict {
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    name: String,
    requests: u64,
    failed: u64,
    late: u64,
    active_instance_seconds: f64,
    cost: f64,
    oracle_cost: f64,
    promotions: u64,
}

/// The cost of equal decisions in one run over that in another, at most.
const COST_NOISE: f64 = 1.05;

/// Plays it with these further arguments and checks the verdict.
pub(crate) fn check(binary: &str, arguments: &[&str]) -> Result<()> {
    let file = std::env::temp_dir().join(format!("foreshadow-demo-{}.json", std::process::id()));
    let path = file.to_str().context("the temporary folder's name is not UTF-8")?;
    command(binary, &[&["demo", "--headless", "--json", path], arguments].concat())?;
    let text = fs::read_to_string(&file).context("the demo wrote no JSON")?;
    fs::remove_file(&file)?;
    let verdict: Verdict = serde_json::from_str(&text).context("the demo's JSON has another shape")?;
    let foreshadow = find(&verdict, "foreshadow")?;
    let rival = find(&verdict, "hpa")?;
    for policy in [foreshadow, rival] {
        ensure!(policy.requests > 0, "{}: no requests were sent", policy.name);
        ensure!(policy.active_instance_seconds > 0.0, "{}: no instance ever ran", policy.name);
        ensure!(policy.cost > 0.0 && policy.oracle_cost > 0.0, "{}: cost is not positive", policy.name);
    }
    ensure!(foreshadow.promotions > 0, "foreshadow promoted no standby instance");
    let (ours, theirs) = (foreshadow.failed + foreshadow.late, rival.failed + rival.late);
    // On a machine with nothing else to do the rival may come through unharmed; then foreshadow must, too, for the same
    // money, as far as that can be told: what slow starts cost differs by a few percent from run to run.
    ensure!(
        ours < theirs || (ours == theirs && foreshadow.cost < COST_NOISE * rival.cost),
        "foreshadow failed or delayed {ours} requests at a cost of {:.0}, the rival {theirs} at {:.0}",
        foreshadow.cost,
        rival.cost
    );
    Ok(())
}

fn find<'a>(verdict: &'a Verdict, name: &str) -> Result<&'a Policy> {
    match verdict.policies.iter().find(|policy| policy.name == name) {
        Some(policy) => Ok(policy),
        None => bail!("the demo's JSON has no policy named {name}"),
    }
}
