//! Which crate may depend on which: the one place where the direction of dependencies is written down.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Each crate with the crates of ours that it may name. A crate that is not listed may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    ("forecast", &[]),
    ("balance", &[]),
    ("fuzzing", &[]),
    ("loopback", &[]),
    ("skips", &[]),
    ("planner", &["forecast"]),
    ("sim", &["planner", "balance", "forecast"]),
    ("history", &["forecast"]),
    ("provider", &[]),
    ("proxy", &["balance", "forecast"]),
    ("haproxy", &["proxy"]),
    ("api", &[]),
    ("daemon", &["api", "forecast", "haproxy", "history", "planner", "provider", "proxy"]),
    ("cli", &["api", "daemon", "forecast", "history", "planner", "provider", "proxy", "sim"]),
    (
        "bench",
        &[
            "api", "balance", "daemon", "forecast", "history", "loopback", "planner", "provider", "proxy",
            "sim", "skips",
        ],
    ),
    ("xtask", &["skips"]),
];

/// Crates that decide and compute. They know no runtime, no socket, no file format but CSV text, no JSON.
const PURE: &[&str] = &["forecast", "balance", "planner", "sim"];

/// What a pure crate may take from outside.
const ALLOWED_IN_PURE: &[&str] = &["csv", "fastrand", "jiff", "realfft", "serde", "thiserror"];

/// The only crates that may know JSON: the wire, the daemon, the programs at the edge, the proxy, which finds parameters in
/// the bodies of requests, and the provider, to whom templates and QEMU speak it.
const MAY_KNOW_JSON: &[&str] = &["api", "daemon", "cli", "bench", "provider", "proxy", "xtask"];

pub(crate) fn check() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().context("failed to read the workspace")?;
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some(may_use) = allowed.get(name) else {
            findings.push(format!(
                "{name}: unknown crate; say in xtask/src/tidy/directions.rs what it may depend on"
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            findings.extend(check_one(name, may_use, &dependency.name, &allowed));
        }
    }
    Ok(findings)
}

fn check_one(
    name: &str,
    may_use: &[&str],
    dependency: &str,
    ours: &BTreeMap<&str, &[&str]>,
) -> Option<String> {
    if ours.contains_key(dependency) {
        let rule = "see the picture in ARCHITECTURE.md";
        return (!may_use.contains(&dependency))
            .then(|| format!("{name} may not depend on {dependency}: {rule}"));
    }
    if dependency == "serde_json" && !MAY_KNOW_JSON.contains(&name) {
        return Some(format!("{name} may not depend on serde_json: JSON belongs to `api` and `daemon`"));
    }
    let forbidden = PURE.contains(&name) && !ALLOWED_IN_PURE.contains(&dependency);
    forbidden.then(|| format!("{name} is pure and may not depend on {dependency}"))
}
