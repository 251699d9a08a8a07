//! `cargo xtask bench`: builds the release binary and the bench crate, and lets the bench crate measure.
//!
//! The measuring lives in its own crate so that an ordinary build never compiles it, nor what it measures beside.

use std::path::Path;

use anyhow::Result;

use crate::packages;
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
    /// Also write the rows to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// A folder with more traces (`*.csv.gz`) for `forecast` and `decisions`, besides those in `data`; unless given,
    /// `../shared/traces` if there is such a folder beside the repository.
    #[arg(long, value_name = "FOLDER")]
    traces: Option<String>,
    /// Of `forecast`, only the parts whose name contains this: speed, short, coverage, accuracy, competition, events,
    /// requests, sparse. Of `proxy`: small, large, tls, http2, latency, idle, backends, swaps. Of `promotion`:
    /// process, template, container, machine.
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
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if matches!(options.subject, Subject::Proxy | Subject::All) {
        for (package, why) in packages::install(packages::FOR_PROXY_BENCH) {
            eprintln!("without {} ({}): {why}", package.name, package.purpose);
        }
    }
    command("cargo", &["build", "--release", "--quiet", "--package", "cli"])?;
    let binary = crate::test::release_binary();
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
