//! The Autobahn test suite for WebSockets, which knows Python 2 only.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::packages;

/// Installs the suite into a folder of its own under the build's, unless it is there, and returns that folder.
///
/// # Errors
/// Why it is not there: mostly, that no Python 2 is.
pub(crate) fn install() -> Result<PathBuf, String> {
    let folder = packages::folder("autobahn")?;
    if folder.join("bin/wstest").is_file() {
        return Ok(folder);
    }
    let is_there = python().arg("--version").stderr(Stdio::null()).stdout(Stdio::null()).status();
    if !is_there.is_ok_and(|status| status.success()) {
        return Err(String::from("python2.7 is not on this machine"));
    }
    println!("installing {SUITE}: WebSockets by the book");
    let installed = python()
        .args(["-m", "pip", "install", "--quiet", "--user", "--no-warn-script-location", SUITE])
        .env("PYTHONUSERBASE", &folder)
        .stderr(Stdio::null())
        .status();
    match installed {
        Ok(status) if status.success() => Ok(folder),
        Ok(status) => Err(format!("`python2.7 -m pip install {SUITE}` ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Python 2.7, of pyenv if that is in charge.
fn python() -> Command {
    let mut python = Command::new("python2.7");
    python.env("PYENV_VERSION", "2.7.18");
    python
}

/// The last version whose dependencies know each other.
const SUITE: &str = "autobahntestsuite==0.8.2";
