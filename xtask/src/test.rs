//! `cargo xtask test`: everything CI runs, in the order that fails fastest.

use std::fs;

use anyhow::Result;

use crate::autobahn;
use crate::bench::demo;
use crate::engine::Engine;
use crate::packages;
use crate::redbot;
use crate::steps::{Steps, command, command_with};
use crate::tidy;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the release build and the full-length demos (about fifteen minutes on two cores).
    #[arg(long)]
    quick: bool,
}

/// Names the folder of the Autobahn suite for the test that runs it.
const AUTOBAHN_VARIABLE: &str = "FORESHADOW_AUTOBAHN";

/// Names the folder of REDbot for the test that runs it.
const REDBOT_VARIABLE: &str = "FORESHADOW_REDBOT";

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut steps = Steps::default();
    for (package, why) in packages::install(packages::FOR_TESTS) {
        steps.could_not_run(&format!("tests that need {} ({})", package.name, package.purpose), &why);
    }
    steps.run("tidy", tidy::run);
    steps.run("clippy", || {
        command("cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])
    });
    run_tests(&mut steps)?;
    if options.quick {
        steps.could_not_run("demo", "left out by --quick");
    } else {
        run_release(&mut steps);
    }
    steps.finish()
}

fn run_tests(steps: &mut Steps) -> Result<()> {
    let skips = std::env::temp_dir().join(format!("foreshadow-skips-{}", std::process::id()));
    fs::write(&skips, "")?;
    let mut variables = vec![(skips::VARIABLE, skips.to_str().unwrap_or_default())];
    let autobahn = autobahn::install().inspect_err(|why| println!("without the Autobahn suite: {why}"));
    variables.extend(autobahn.iter().filter_map(|folder| Some((AUTOBAHN_VARIABLE, folder.to_str()?))));
    let redbot = redbot::install().inspect_err(|why| println!("without REDbot: {why}"));
    variables.extend(redbot.iter().filter_map(|folder| Some((REDBOT_VARIABLE, folder.to_str()?))));
    steps.run("unit, property and integration tests", || {
        command_with("cargo", &["test", "--workspace", "--no-fail-fast"], &variables)
    });
    for line in fs::read_to_string(&skips)?.lines() {
        steps.could_not_run("a part of the tests", line);
    }
    fs::remove_file(&skips)?;
    Ok(())
}

/// What only makes sense at full speed: the fault simulation in numbers, and the demo with its verdict.
fn run_release(steps: &mut Steps) {
    steps.run("release build", || command("cargo", &["build", "--release", "--package", "cli"]));
    let binary = binary("release");
    // Others than those that the tests of the simulator run.
    let seeds = ["simulate", "--seeds", "10000..11000"];
    steps.run("fault simulation, 1,000 more seeds", || command(&binary, &seeds));
    steps.run("demo, verdict checked", || demo::check(&binary, &[]));
    match packages::find_program("dockerd") {
        None => steps.could_not_run("demo with containers", "there is no dockerd"),
        Some(dockerd) => steps.run("demo with containers, verdict checked", || {
            let engine = Engine::start(&dockerd)?;
            demo::check(&binary, &["--provider", "docker", "--docker", &engine.endpoint()])
        }),
    }
    match packages::find_program("qemu-system-x86_64") {
        None => steps.could_not_run("demo with virtual machines", "there is no QEMU"),
        Some(_) => steps.run("demo with virtual machines, verdict checked", || {
            demo::check(&binary, &["--provider", "vm"])
        }),
    }
}

/// The binary of a profile, wherever the build put it.
pub(crate) fn binary(profile: &str) -> String {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| String::from("target"));
    format!("{target}/{profile}/foreshadow")
}
