//! REDbot, which knows how caches and clients read the heads of answers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::packages;

/// Installs it into a virtual environment under the build's folder, unless it is there, and returns that.
///
/// # Errors
/// Why it is not there: mostly, that Python is missing or too old.
pub(crate) fn install() -> Result<PathBuf, String> {
    let folder = packages::folder("redbot")?;
    if folder.join("bin/redbot").is_file() {
        return Ok(folder);
    }
    println!("installing {}: headers and caching by the book", PACKAGES[0]);
    run(Path::new("python3"), &["-m", "venv", "--clear", &folder.to_string_lossy()])?;
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(&folder.join("bin/python"), &[&arguments[..], PACKAGES].concat())?;
    Ok(folder)
}

fn run(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let status = Command::new(program).args(arguments).stderr(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{} {}` ended with {status}", program.display(), arguments.join(" "))),
        Err(error) => Err(format!("failed to start {}: {error}", program.display())),
    }
}

/// The versions whose notes the test knows.
const PACKAGES: &[&str] = &["redbot==2.7.1", "httplint==2026.10.4"];
