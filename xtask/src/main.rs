//! Development tasks, one entry for everything that CI runs.
//!
//! `cargo xtask test` is the whole check: it installs the system packages that tests need, runs `tidy`, the linters, every
//! test and the end-to-end runs, and ends with a summary that names each part that could not run on this machine.
//! `cargo xtask tidy` checks the rules of the source tree alone. `cargo xtask fuzz` tries mutated inputs for longer than a test run
//! does. `cargo xtask bench` measures the promises.

use clap::{Parser, Subcommand};

mod autobahn;
mod bench;
mod engine;
mod fuzz;
mod packages;
mod redbot;
mod steps;
mod test;
mod tidy;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of foreshadow")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what tests need, then run every check and every test.
    Test(test::Options),
    /// Check formatting, dependency directions and the rules of the source tree.
    Tidy,
    /// Try mutated inputs for as long as you like; a plain test run tries some thousands.
    Fuzz(fuzz::Options),
    /// Measure the promises of SPECIFICATION.md and print them as a table.
    Bench(bench::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Tidy => tidy::run(),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Bench(options) => bench::run(&options),
    }
}
