//! The demo with containers and with machines, too short for a verdict: it runs, measures, and leaves nothing.

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use super::engine::{Daemon, Options};

const BINARY: &str = env!("CARGO_BIN_EXE_foreshadow");

/// One demo at a time: both would want the dashboard's usual port.
static TURNS: Mutex<()> = Mutex::new(());

/// Plays eight seconds of each policy, and returns what it printed and the verdict.
fn play(arguments: &[&str]) -> (Output, Option<serde_json::Value>) {
    let _turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("verdict.json");
    let mut command = Command::new(BINARY);
    command.args(["demo", "--headless", "--no-report", "--length", "8s", "--json"]).arg(&file);
    // What the demo makes for itself must be gone with it.
    let output = command.args(arguments).env("TMPDIR", dir.path()).output().expect("it runs");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    std::fs::remove_file(&file).expect("it is made at once");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("readable").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    (output, serde_json::from_str(&text).ok())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Both policies served with instances of this kind.
fn check(verdict: &serde_json::Value, provider: &str) {
    assert_eq!(verdict["provider"], provider);
    let policies = verdict["policies"].as_array().expect("a list");
    assert_eq!(policies.len(), 2);
    for policy in policies {
        let number = |key: &str| policy[key].as_f64().expect("a number");
        assert!(number("requests") > 100.0 && number("active_instance_seconds") > 8.0, "{policy}");
        assert!(number("failed") < number("requests"), "none was served: {policy}");
    }
}

#[test]
fn the_demo_runs_with_containers() {
    let Some(engine) = Daemon::start(Options::default()) else { return };
    let socket = format!("unix://{}", engine.socket().display());
    let (output, verdict) = play(&["--provider", "docker", "--docker", &socket]);
    assert!(output.status.success(), "{}", said(&output));
    check(&verdict.expect("a verdict"), "docker");
    assert_eq!(engine.containers("foreshadow.owner"), []);
    let images = engine.get("/images/json").expect("answered");
    assert!(!images.contains("foreshadow-demo"), "{images}");
    engine.end(rustix::process::Signal::TERM);
}

#[test]
fn the_demo_runs_with_machines() {
    // Emulated, and an unoptimised program in them: as few as it takes.
    let (output, verdict) = play(&["--provider", "vm", "--scale", "0.25"]);
    let said = said(&output);
    if said.contains("there is no qemu") || said.contains("cannot get a kernel") {
        return skips::skip("the demo with machines", &said);
    }
    assert!(output.status.success(), "{said}");
    check(&verdict.expect("a verdict"), "vm");
}
