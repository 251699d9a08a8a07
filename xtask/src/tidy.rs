//! `cargo xtask tidy`: rules that keep the tree readable, checked by a machine so that people need not.

use anyhow::{Result, bail};

use crate::steps::command;

mod directions;
mod sources;

pub(crate) fn run() -> Result<()> {
    let mut findings = directions::check()?;
    findings.extend(sources::check()?);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} finding(s)", findings.len());
    }
    command("cargo", &["fmt", "--all", "--check"])
}
