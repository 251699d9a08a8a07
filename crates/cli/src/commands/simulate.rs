//! `foreshadow simulate`: the planner on virtual time, under injected faults (each seed is one bad day, and repeatable) or in
//! named scenarios beside a rival.

mod page;
mod scenarios;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use sim::simulate::simulate;

use crate::failure::Failure;
use crate::output;

/// More days than this in one go are a mistake.
const SEEDS_MAX: u64 = 1_000_000;

/// Options of `simulate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SimulateArgs {
    /// Seeds A..B, B not included
    #[arg(long, default_value = "1..101", value_parser = seeds)]
    seeds: Range<u64>,
    /// Print everything that happened
    #[arg(long)]
    log: bool,
    /// Play a named scenario with single requests, beside Kubernetes HPA, in place of faults: spike, outage, level-shift,
    /// holiday-announced, holiday-unannounced, silent-gap, slow-start or all (repeatable)
    #[arg(long = "scenario", value_name = "NAME", conflicts_with_all = ["seeds", "log"], value_parser = scenarios::name)]
    scenarios: Vec<scenarios::Names>,
    /// Seed of the scenarios' noise and requests
    #[arg(long, default_value_t = 1, requires = "scenarios")]
    seed: u64,
    /// Write a self-contained HTML report of the scenarios, with plots
    #[arg(long, value_name = "OUT.html", requires = "scenarios")]
    report: Option<PathBuf>,
}

/// Plays the scenarios, or simulates each seed and fails when any of them does.
pub(crate) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    if !args.scenarios.is_empty() {
        return scenarios::run(&args.scenarios, args.seed, args.report.as_deref());
    }
    let count = args.seeds.end - args.seeds.start;
    let bar = output::progress(count, "{bar:30} {pos}/{len} days");
    let mut failed = Vec::new();
    let (mut faults, mut events, mut actions) = (0, 0, 0);
    for seed in args.seeds.clone() {
        let mut text = String::new();
        let log = match simulate(seed) {
            Ok(report) => {
                faults += report.faults;
                events += report.events;
                actions += report.actions;
                report.log
            }
            Err(failure) => {
                let _ = writeln!(text, "seed {seed}: {}", failure.kind);
                failed.push(seed);
                failure.log
            }
        };
        if args.log {
            text.insert_str(0, log.text());
        }
        bar.inc(1);
        bar.suspend(|| output::print(&text))?;
    }
    bar.finish_and_clear();
    output::print(&format!(
        "{count} days with {} faults, {} events and {} actions: {} went wrong\n",
        output::grouped(faults),
        output::grouped(events),
        output::grouped(actions),
        failed.len()
    ))?;
    match failed.first() {
        None => Ok(()),
        Some(seed) => Err(Failure::Failed(anyhow::anyhow!(
            "the planner broke a rule; repeat it with `foreshadow simulate --seeds {seed}..{} --log`",
            seed + 1
        ))),
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range of seeds; write for example `1..101`");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let from: u64 = from.trim().parse().map_err(|_| wrong())?;
    let to: u64 = to.trim().parse().map_err(|_| wrong())?;
    match to.checked_sub(from) {
        Some(count) if (1..=SEEDS_MAX).contains(&count) => Ok(from..to),
        Some(_) | None => Err(format!("`{text}` must hold from 1 to {SEEDS_MAX} seeds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_seeds_is_half_open_and_not_empty() {
        assert_eq!(seeds("1..101"), Ok(1..101));
        for bad in ["5", "5..5", "9..3", "a..b", "1..=3", "0..99999999999"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }
}
