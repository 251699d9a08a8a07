//! Rules about single source files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file longer than this must say why in its first lines, in a sentence with the word "long".
const LINES_MAX: usize = 500;
/// How many of a long file's first lines are searched for that sentence.
const REASON_WITHIN_LINES: usize = 30;

/// Source folders of the pure crates.
const PURE_FOLDERS: &[&str] =
    &["crates/forecast/src", "crates/balance/src", "crates/planner/src", "crates/sim/src"];

/// What a pure crate must not name, and why.
const FORBIDDEN_IN_PURE: &[(&str, &str)] = &[
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("std::fs", "files belong to the caller"),
    ("std::env", "settings are arguments"),
    ("std::thread", "pure code has no threads"),
    ("std::net", "pure code has no sockets"),
    ("HashMap", "its iteration order differs from run to run; use BTreeMap"),
    ("HashSet", "its iteration order differs from run to run; use BTreeSet"),
    ("fastrand::Rng::new", "randomness comes from a seed; use Rng::with_seed"),
    ("println!", "only the programs at the edge print"),
];

/// Module names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs", "types.rs"];

pub(crate) fn check() -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(Path::new(folder), &mut files)?;
    }
    files.sort();
    let mut findings = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        check_file(file, &text, &mut findings);
    }
    Ok(findings)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(file: &Path, text: &str, findings: &mut Vec<String>) {
    let shown = file.display();
    let is_test_code = file.components().any(|part| part.as_os_str() == "tests");
    if !is_test_code && !text.starts_with("//!") {
        findings.push(format!("{shown}: begins without `//!`; say what the module is for"));
    }
    if file.file_name().and_then(|name| name.to_str()).is_some_and(|name| EMPTY_NAMES.contains(&name)) {
        findings.push(format!(
            "{shown}: the name says nothing; a type lives with the code that keeps its invariant"
        ));
    }
    let lines = text.lines().count();
    let says_why = text.lines().take(REASON_WITHIN_LINES).any(|line| line.contains("long"));
    if lines > LINES_MAX && !says_why {
        findings
            .push(format!("{shown}: {lines} lines; split it, or say in its first lines why it must be long"));
    }
    if PURE_FOLDERS.iter().any(|folder| file.starts_with(folder)) {
        check_purity(file, text, findings);
    }
}

fn check_purity(file: &Path, text: &str, findings: &mut Vec<String>) {
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (word, why) in FORBIDDEN_IN_PURE {
            if code.contains(word) {
                findings.push(format!("{}:{}: `{word}` in a pure crate: {why}", file.display(), index + 1));
            }
        }
    }
}
