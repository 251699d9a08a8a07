//! `kill -9` at random moments: every acknowledged change is there, whole, and nothing is half done.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::script;
use crate::store::Store;

const ROUNDS: u64 = 16;
/// Tells a process started by the test which folder to write to; without it the child does nothing.
const DIR_VARIABLE: &str = "FORESHADOW_MODELS_KILL_TEST_DIR";
const COUNT_KEY: &str = "changes";

/// Not a test by itself: the process that is killed. Changes the repository for ever, and says so after each change.
#[test]
fn child_that_changes_models_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR_VARIABLE) else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    let first =
        store.get(COUNT_KEY).unwrap().map_or(0, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
    for n in first.. {
        script::change(&store, n);
        println!("acknowledged {}", count(&store));
        std::io::stdout().flush().unwrap();
        store.put(COUNT_KEY, &(n + 1).to_le_bytes()).unwrap();
    }
}

fn count(store: &Store) -> usize {
    use forecast::Timestamp;
    let limit = crate::limit::QUERY_RECORDS_MAX;
    store.events(Timestamp::EPOCH, Timestamp::MAX, Some(script::WORKLOAD), limit).unwrap().len()
}

#[test]
fn acknowledged_changes_survive_kill_9_at_any_moment_and_none_is_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(9);
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let test = "models::kill_tests::child_that_changes_models_until_it_is_killed";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(DIR_VARIABLE, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = |line: String| line.split("acknowledged ").nth(1)?.trim().parse::<usize>().ok();
        // Every other child is killed wherever it is, opening included; the rest while they write.
        if round % 2 == 1 {
            let first = lines.by_ref().find_map(said).expect("the child writes");
            acknowledged = acknowledged.max(first);
        }
        std::thread::sleep(Duration::from_millis(rng.u64(0..250)));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines.filter_map(said).fold(acknowledged, usize::max);
        let store = Store::open(dir.path()).unwrap();
        let found = script::verified(&store);
        assert!(found >= acknowledged, "round {round}: {found} changes, {acknowledged} acknowledged");
    }
    assert!(acknowledged > 20, "only {acknowledged} changes were made");
}
