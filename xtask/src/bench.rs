//! `cargo xtask bench`: builds the release binary and the bench crate, and lets the bench crate measure.
//!
//! The measuring lives in its own crate so that an ordinary build never compiles it, nor what it measures beside.

use anyhow::Result;

use crate::packages;
use crate::steps::command;

pub(crate) mod demo;

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
    /// A folder with more traces (`*.csv.gz`) for `forecast` and `decisions`, besides those in `data`.
    #[arg(long, value_name = "FOLDER")]
    traces: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    Forecast,
    Decisions,
    Proxy,
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
    if let Some(folder) = &options.traces {
        arguments.extend(["--traces", folder]);
    }
    command("cargo", &arguments)
}
