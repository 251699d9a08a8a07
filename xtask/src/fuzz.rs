//! `cargo xtask fuzz`: the targets of the test runs that mutate inputs, for longer, or with one input alone.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::steps::{Steps, command_with};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The target; all of them if none is named.
    target: Option<String>,
    /// For how long each is tried.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Repeats a run.
    #[arg(long)]
    seed: Option<u64>,
    /// Tries this file alone.
    #[arg(long)]
    input: Option<PathBuf>,
}

/// A target, and the test that runs it.
struct Target {
    name: &'static str,
    package: &'static str,
    /// Which of the package's tests it is among.
    among: &'static [&'static str],
    test: &'static str,
}

const LIB: &[&str] = &["--lib"];

const TARGETS: &[Target] = &[
    Target { name: "http1", package: "proxy", among: &["--test", "fuzz"], test: "http1" },
    Target { name: "proxy-protocol", package: "proxy", among: LIB, test: "fuzz::proxy_protocol_headers" },
    Target { name: "frames", package: "proxy", among: LIB, test: "fuzz::control_frames" },
    Target {
        name: "configuration",
        package: "daemon",
        among: LIB,
        test: "config::tests::fuzz::configurations",
    },
    Target { name: "cache-terms", package: "proxy", among: LIB, test: "cache::fuzz::cache_terms" },
    Target { name: "cache-keys", package: "proxy", among: LIB, test: "cache::fuzz::cache_keys" },
    Target { name: "forwarding", package: "proxy", among: LIB, test: "fuzz::forwarding_fields" },
    Target { name: "parameters", package: "proxy", among: LIB, test: "fuzz::request_parameters" },
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |target: &&Target| options.target.as_deref().is_none_or(|name| name == target.name);
    let targets: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
    if targets.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        bail!("no such target; there are {}", names.join(", "));
    }
    let mut variables = Vec::new();
    match (&options.input, options.seed) {
        (Some(file), _) => {
            variables.push(("FORESHADOW_FUZZ_INPUT", file.canonicalize()?.display().to_string()))
        }
        (None, Some(seed)) => variables.push(("FORESHADOW_FUZZ_SEED", seed.to_string())),
        (None, None) => {}
    }
    if options.input.is_none() {
        variables.push(("FORESHADOW_FUZZ_SECONDS", format!("{:.0}", (options.minutes * 60.0).max(1.0))));
    }
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut steps = Steps::default();
    for target in targets {
        let arguments = [
            &["test", "--quiet", "--package", target.package],
            target.among,
            &["--", "--exact", target.test, "--nocapture"],
        ];
        steps.run(target.name, || command_with("cargo", &arguments.concat(), &variables));
    }
    steps.finish()
}
