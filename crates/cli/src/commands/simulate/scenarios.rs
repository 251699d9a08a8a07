//! `foreshadow simulate --scenario`: named scenarios with single requests, foreshadow beside HPA.

use std::path::Path;

use anyhow::Context as _;
use comfy_table::Table;
use sim::replay::PolicyKind;
use sim::requests::{Outcome, Tally};
use sim::scenarios::Scenario;
use sim::sessions::Scene;

use super::{page, sessions};
use crate::failure::Failure;
use crate::output;

/// Who plays every scenario. The last one bounds the others: it keeps enough for the peak all the time, with hindsight.
const KINDS: [PolicyKind; 3] = [PolicyKind::Foreshadow, PolicyKind::Hpa, PolicyKind::StaticPeak];

/// One `--scenario`.
#[derive(Clone, Debug)]
pub(crate) enum Names {
    All,
    One(&'static str),
    Sessions,
}

/// A scenario, and how each policy lived through it.
pub(super) struct Played {
    pub(super) scenario: Scenario,
    pub(super) outcomes: Vec<Outcome>,
}

pub(super) fn name(text: &str) -> Result<Names, String> {
    if text == "all" {
        return Ok(Names::All);
    }
    if text == Scene::NAME {
        return Ok(Names::Sessions);
    }
    Scenario::NAMES.into_iter().find(|name| *name == text).map(Names::One).ok_or_else(|| {
        let known = Scenario::NAMES.join(", ");
        format!("there is no scenario `{text}`; the scenarios are {known}, {}, all", Scene::NAME)
    })
}

/// Plays each scenario, prints a table for each, and writes the report.
pub(super) fn run(names: &[Names], seed: u64, report: Option<&Path>) -> Result<(), Failure> {
    let scenarios: Vec<Scenario> =
        chosen(names).into_iter().filter_map(|name| Scenario::named(name, seed)).collect();
    let bar = output::progress((scenarios.len() * KINDS.len()) as u64, "{bar:30} {pos}/{len} runs");
    let mut played = Vec::with_capacity(scenarios.len());
    for scenario in scenarios {
        let mut outcomes = Vec::with_capacity(KINDS.len());
        for kind in KINDS {
            let outcome = scenario.run(kind).with_context(|| format!("{} under {kind}", scenario.name))?;
            outcomes.push(outcome);
            bar.inc(1);
        }
        let one = Played { scenario, outcomes };
        bar.suspend(|| output::print(&text(&one)))?;
        played.push(one);
    }
    bar.finish_and_clear();
    if !played.is_empty() {
        output::print(&format!("{COLUMNS}\n"))?;
    }
    let asked = names.iter().any(|one| matches!(one, Names::All | Names::Sessions));
    let sessions = asked.then(|| sessions::play(seed)).transpose()?;
    if let Some(path) = report {
        let mut page = page::build(&played, seed);
        if let Some(sessions) = &sessions {
            sessions::add(&mut page, sessions);
        }
        page.write(path).with_context(|| format!("cannot write {}", path.display()))?;
        output::say(&format!("report: {}", path.display()));
    }
    Ok(())
}

fn chosen(names: &[Names]) -> Vec<&'static str> {
    let wanted = |name: &&str| {
        names.iter().any(|one| matches!(one, Names::All) || matches!(one, Names::One(other) if other == name))
    };
    Scenario::NAMES.into_iter().filter(wanted).collect()
}

fn text(played: &Played) -> String {
    let scenario = &played.scenario;
    let mut table: Table = output::table(&HEADER);
    for outcome in &played.outcomes {
        output::row(&mut table, &cells(scenario, outcome));
    }
    format!("{}: {}\n{table}\n\n", scenario.name, scenario.about)
}

/// The header of the table.
pub(super) const HEADER: [&str; 7] =
    ["policy", "requests", "failed", "late", "p99", "bad in trouble", "cost"];

/// What the columns mean.
pub(super) const COLUMNS: &str = "failed: refused or timed out. late: answered after the latency bound. bad in trouble: share of failed and \
     late requests in the time that matters. cost: instance-hours, a standby at its price. * uses hindsight: it always has \
     enough for the peak.";

/// One row of the table.
pub(super) fn cells(scenario: &Scenario, outcome: &Outcome) -> [String; 7] {
    let tally = &outcome.tally;
    let mark = if outcome.kind.hindsight() { "*" } else { "" };
    [
        format!("{}{mark}", outcome.kind),
        output::grouped(tally.requests),
        output::grouped(tally.failed),
        output::grouped(tally.late),
        p99(tally),
        format!("{:.2} %", 100.0 * scenario.in_trouble(outcome).bad_share()),
        output::rounded(outcome.score.cost / 3600.0),
    ]
}

fn p99(tally: &Tally) -> String {
    tally.quantile(0.99).map_or("-".to_owned(), |latency| format!("{:.0} ms", latency.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_chosen_once_and_in_order_and_unknown_ones_are_answered_with_the_known() {
        let parsed: Vec<Names> =
            ["outage", "spike", "outage"].iter().map(|text| name(text).unwrap()).collect();
        assert_eq!(chosen(&parsed), ["spike", "outage"]);
        assert_eq!(chosen(&[name("all").unwrap()]), Scenario::NAMES);
        let error = name("peace").unwrap_err();
        assert!(error.contains("peace") && error.contains("silent-gap") && error.contains("all"), "{error}");
    }
}
