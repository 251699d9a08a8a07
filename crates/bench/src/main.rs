//! Measures the promises of SPECIFICATION.md, each beside its peer in the same run, and prints one row for each.
//!
//! Run it by `cargo xtask bench`, which builds what it needs first.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::rows::Rows;

mod admission;
mod corpus;
mod decisions;
mod forecasting;
mod promotion;
mod proxying;
mod rows;
mod running;
mod scale;
mod traces;

#[derive(Parser)]
#[command(about = "Measures the promises of SPECIFICATION.md")]
struct Arguments {
    /// What to measure.
    #[arg(value_enum)]
    subject: Subject,
    /// The release binary of foreshadow.
    #[arg(long)]
    foreshadow: PathBuf,
    /// Shorter runs: enough to see that everything works, too short to quote.
    #[arg(long)]
    quick: bool,
    /// Also write the rows to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A folder with more traces (`*.csv.gz`, searched one level deep), besides those in `data`.
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Of `forecast`, only the parts whose name contains this: speed, short, coverage, accuracy, competition, events,
    /// requests, sparse. Of `proxy`: small, large, tls, http2, latency, idle, backends, swaps, restart, cache, log. Of
    /// `promotion`: process, template, container, machine.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    Forecast,
    Decisions,
    Proxy,
    Admission,
    Promotion,
    Scale,
    All,
}

/// What every subject needs to know.
struct Setting {
    foreshadow: PathBuf,
    quick: bool,
    traces: Option<PathBuf>,
    only: Option<String>,
}

impl Setting {
    /// Whether a part of a subject is to be measured.
    fn takes(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| part.contains(only.as_str()))
    }
}

/// A subject adds its rows to the table.
type Measure = fn(&Setting, &mut Rows) -> Result<()>;

const SUBJECTS: &[(Subject, Measure)] = &[
    (Subject::Forecast, forecasting::measure),
    (Subject::Decisions, decisions::measure),
    (Subject::Scale, scale::measure),
    (Subject::Promotion, promotion::measure),
    (Subject::Proxy, proxying::measure),
    (Subject::Admission, admission::measure),
];

fn main() -> Result<()> {
    provider::contract::serve_if_asked();
    let arguments = Arguments::parse();
    let foreshadow = arguments.foreshadow.canonicalize().with_context(|| {
        format!("there is no {}; build it by `cargo build --release`", arguments.foreshadow.display())
    })?;
    let setting =
        Setting { foreshadow, quick: arguments.quick, traces: arguments.traces, only: arguments.only };
    let mut rows = Rows::default();
    for (subject, measure) in SUBJECTS {
        if arguments.subject == Subject::All || arguments.subject == *subject {
            measure(&setting, &mut rows)?;
        }
    }
    rows.print();
    if let Some(file) = &arguments.json {
        fs::write(file, rows.to_json()?).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(())
}
