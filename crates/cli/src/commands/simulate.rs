//! `foreshadow simulate`: the planner on virtual time, under injected faults (each seed is one bad day, and repeatable) or in
//! named scenarios beside a rival.

mod page;
mod scenarios;
mod sessions;

use std::collections::BTreeSet;
use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use sim::faults::{Fault, Tally};
use sim::simulate::{Cut, Swarm, shrink, simulate, simulate_cut};

use crate::failure::Failure;
use crate::output;
use crate::values;

/// More days than this in one go are a mistake.
const SEEDS_MAX: u64 = 1_000_000;
/// After so many failures the rest would say nothing new.
const FAILURES_MAX: usize = 20;

/// Options of `simulate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SimulateArgs {
    /// Seeds A..B, B not included
    #[arg(long, default_value = "1..101", value_parser = seeds, conflicts_with = "seed")]
    seeds: Range<u64>,
    /// One seed, whose log is printed when it fails; of scenarios, the seed of noise and requests
    #[arg(long)]
    seed: Option<u64>,
    /// Faults that shall not happen, separated by commas
    #[arg(long, value_delimiter = ',', requires = "seed")]
    without: Vec<Fault>,
    /// Workloads that there shall be, counted from 1, separated by commas
    #[arg(long, value_delimiter = ',', requires = "seed")]
    only: Vec<usize>,
    /// Faults end after this time
    #[arg(long = "for", value_parser = values::duration, requires = "seed", value_name = "TIME")]
    length: Option<Duration>,
    /// Print everything that happened
    #[arg(long)]
    log: bool,
    /// Play a named scenario with single requests (`sessions`: with games), beside Kubernetes HPA, in place of faults: spike, outage, level-shift,
    /// holiday-announced, holiday-unannounced, silent-gap, slow-start, sessions or all (repeatable)
    #[arg(long = "scenario", value_name = "NAME", conflicts_with_all = ["seeds", "log"], value_parser = scenarios::name)]
    scenarios: Vec<scenarios::Names>,
    /// Write a self-contained HTML report of the scenarios, with plots
    #[arg(long, value_name = "OUT.html", requires = "scenarios")]
    report: Option<PathBuf>,
    /// Days that are simulated at the same time; as many as there are cores by default
    #[arg(long)]
    threads: Option<NonZero<usize>>,
}

/// Plays the scenarios, or simulates each seed and fails when any of them does.
pub(crate) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    if !args.scenarios.is_empty() {
        return scenarios::run(&args.scenarios, args.seed.unwrap_or(1), args.report.as_deref());
    }
    match args.seed {
        Some(seed) => run_one(args, seed),
        None if args.log => args.seeds.clone().try_for_each(|seed| run_one(args, seed)),
        None => run_many(args),
    }
}

/// One seed as it is asked for, with its log.
fn run_one(args: &SimulateArgs, seed: u64) -> Result<(), Failure> {
    let workloads = Swarm::draw(seed).setups.len();
    if let Some(unknown) = args.only.iter().find(|number| !(1..=workloads).contains(number)) {
        return Err(Failure::usage(format!(
            "--only {unknown}: seed {seed} has the workloads 1 to {workloads}; name some of them"
        )));
    }
    let cut = Cut {
        without: args.without.iter().copied().collect(),
        only: args.only.iter().copied().collect::<BTreeSet<usize>>(),
        length: args.length,
    };
    match simulate_cut(seed, &cut) {
        Ok(report) => {
            if args.log {
                output::print(report.log.text())?;
            }
            output::print(&format!(
                "seed {seed}: {} faults, {} events and {} actions; settled {:?} after the last fault\n",
                report.faults.total(),
                output::grouped(report.events),
                output::grouped(report.actions),
                report.settled_after
            ))?;
            Ok(())
        }
        Err(failure) => {
            if args.log {
                output::print(failure.log.text())?;
            }
            Err(Failure::Failed(anyhow::anyhow!("{failure}")))
        }
    }
}

/// What one thread has done.
#[derive(Default)]
struct Done {
    tally: Tally,
    events: u64,
    actions: u64,
    failures: Vec<sim::simulate::Failure>,
}

fn run_many(args: &SimulateArgs) -> Result<(), Failure> {
    let count = args.seeds.end - args.seeds.start;
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let bar = output::progress(count, "{bar:30} {pos}/{len} days");
    let next = AtomicU64::new(args.seeds.start);
    let began = Instant::now();
    let work = || {
        let mut done = Done::default();
        while done.failures.len() < FAILURES_MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= args.seeds.end {
                break;
            }
            match simulate(seed) {
                Ok(report) => {
                    done.tally.join(&report.faults);
                    done.events += report.events;
                    done.actions += report.actions;
                }
                Err(failure) => done.failures.push(shrink(&failure)),
            }
            bar.inc(1);
        }
        done
    };
    let mut all = Done::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            // A thread that panicked has said why; its panic goes on here.
            let done = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.tally.join(&done.tally);
            all.events += done.events;
            all.actions += done.actions;
            all.failures.extend(done.failures);
        }
    });
    bar.finish_and_clear();
    report(count, &all, began.elapsed())
}

fn report(count: u64, all: &Done, took: Duration) -> Result<(), Failure> {
    let mut failures: Vec<_> = all.failures.iter().collect();
    failures.sort_by_key(|failure| failure.seed);
    for failure in &failures {
        output::print(&format!("{failure}\n\n"))?;
    }
    let kinds: Vec<String> = Fault::ALL
        .into_iter()
        .filter(|fault| all.tally.of(*fault) > 0)
        .map(|fault| format!("{fault} {}", output::grouped(all.tally.of(fault))))
        .collect();
    output::print(&format!(
        "{} days with {} faults, {} events and {} actions in {:.1} s: {} went wrong\nfaults: {}\n",
        output::grouped(count),
        output::grouped(all.tally.total()),
        output::grouped(all.events),
        output::grouped(all.actions),
        took.as_secs_f64(),
        failures.len(),
        kinds.join(", ")
    ))?;
    match failures.first() {
        None => Ok(()),
        Some(failure) => Err(Failure::Failed(anyhow::anyhow!(
            "the planner broke a rule; repeat it with `{}`",
            failure.command()
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

    #[test]
    fn what_a_failure_says_is_an_option_line_that_is_understood() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: SimulateArgs,
        }
        let cut = Cut {
            without: [Fault::Death, Fault::NodeCut].into(),
            only: [2].into(),
            length: Some(Duration::from_secs(90)),
        };
        let line = format!("foreshadow --seed 7{cut}");
        let Ok(Line { args }) = Line::try_parse_from(line.split(' ')) else { panic!("{line}") };
        assert_eq!(args.seed, Some(7));
        assert_eq!((args.without, args.only), (vec![Fault::Death, Fault::NodeCut], vec![2]));
        assert_eq!(args.length, Some(Duration::from_secs(90)));
    }
}
