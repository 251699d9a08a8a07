//! Running commands as named steps, and the summary at the end.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What became of one step.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// The step, or a part of it, cannot run on this machine; the text says which part and why.
    CouldNotRun(String),
}

/// Collects outcomes; prints each step as it begins and all of them at the end.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Outcome)>,
}

impl Steps {
    /// Runs `step`, keeping its outcome. A failing step does not stop the ones after it.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n=== {name}");
        let begin = Instant::now();
        let outcome = match step() {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        if let Outcome::Failed(why) = &outcome {
            eprintln!("--- {name} failed: {why}");
        }
        self.done.push((name.to_owned(), begin.elapsed(), outcome));
    }

    /// Notes a part that cannot run here.
    pub(crate) fn could_not_run(&mut self, name: &str, why: &str) {
        self.done.push((name.to_owned(), Duration::ZERO, Outcome::CouldNotRun(why.to_owned())));
    }

    /// Prints the summary, and fails if any step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n=== summary");
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (name, took, outcome) in &self.done {
            let seconds = took.as_secs();
            match outcome {
                Outcome::Passed => {
                    passed += 1;
                    println!("  passed         {seconds:>4} s  {name}");
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    println!("  FAILED         {seconds:>4} s  {name}: {why}");
                }
                Outcome::CouldNotRun(why) => {
                    skipped += 1;
                    println!("  could not run          {name}: {why}");
                }
            }
        }
        println!("steps: {passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} step(s) failed");
        }
        Ok(())
    }
}

/// Runs a command, showing its output; an exit status other than 0 is an error.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Result<()> {
    command_with(program, arguments, &[])
}

/// As [`command`], with variables added to the environment.
pub(crate) fn command_with(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .status()
        .with_context(|| format!("failed to start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}
