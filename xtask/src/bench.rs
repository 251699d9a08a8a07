//! `cargo xtask bench`: builds the release binary and the bench crate, and lets the bench crate measure.
//!
//! The measuring lives in its own crate so that an ordinary build never compiles it, nor what it measures beside.

use std::path::Path;

use anyhow::Result;

use crate::packages::{self, FOR_PROMOTION_BENCH, FOR_PROXY_BENCH, Package};
use crate::steps::command;

pub(crate) mod demo;

/// Traces beside the repository, which is where every step starts.
const TRACES_BESIDE: &str = "../shared/traces";

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum, default_value = "all")]
    subject: Subject,
    /// Shorter runs: enough to see that everything works, too short to quote.
    #[arg(long)]
    quick: bool,
    /// Measure a binary of the profile `dist`, which is optimised across crates and takes longer to build.
    #[arg(long)]
    dist: bool,
    /// Also write the rows to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// A folder with more traces (`*.csv.gz`) for `forecast` and `decisions`, besides those in `data`; unless given,
    /// `../shared/traces` if there is such a folder beside the repository.
    #[arg(long, value_name = "FOLDER")]
    traces: Option<String>,
    /// Of `forecast`, only the parts whose name contains this: speed, short, coverage, accuracy, competition, events,
    /// requests, sparse. Of `proxy`: small, large, tls, http2, latency, idle, backends, swaps, restart, cache, log. Of
    /// `promotion`: process, template, container, machine.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    Forecast,
    Decisions,
    Proxy,
    Admission,
    Promotion,
    Scale,
    All,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Subject::Forecast => "forecast",
            Subject::Decisions => "decisions",
            Subject::Proxy => "proxy",
            Subject::Admission => "admission",
            Subject::Promotion => "promotion",
            Subject::Scale => "scale",
            Subject::All => "all",
        }
    }

    fn packages(self) -> &'static [&'static [Package]] {
        match self {
            Subject::Proxy => &[FOR_PROXY_BENCH],
            Subject::Promotion => &[FOR_PROMOTION_BENCH],
            Subject::All => &[FOR_PROXY_BENCH, FOR_PROMOTION_BENCH],
            Subject::Forecast | Subject::Decisions | Subject::Admission | Subject::Scale => &[],
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    for packages in options.subject.packages() {
        for (package, why) in packages::install(packages) {
            eprintln!("without {} ({}): {why}", package.name, package.purpose);
        }
    }
    let profile = if options.dist { "dist" } else { "release" };
    command("cargo", &["build", "--profile", profile, "--quiet", "--package", "cli"])?;
    let binary = crate::test::binary(profile);
    let mut arguments =
        vec!["run", "--release", "--quiet", "--package", "bench", "--", options.subject.name()];
    arguments.extend(["--foreshadow", &binary]);
    if options.quick {
        arguments.push("--quick");
    }
    if let Some(file) = &options.json {
        arguments.extend(["--json", file]);
    }
    let beside = Path::new(TRACES_BESIDE).is_dir().then_some(TRACES_BESIDE);
    if let Some(folder) = options.traces.as_deref().or(beside) {
        arguments.extend(["--traces", folder]);
    }
    if let Some(text) = &options.only {
        arguments.extend(["--only", text]);
    }
    command("cargo", &arguments)
}
