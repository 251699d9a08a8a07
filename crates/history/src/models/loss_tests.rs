//! Power loss: whatever part of the unflushed writes reached the disk, the repository is that before or after a change.

use std::sync::Arc;

use fastrand::Rng;
use tempfile::TempDir;

use super::script;
use crate::power_loss_tests::{CRASHES, LOG, Log, Op, crash, open_recorded};
use crate::store::Store;

const CHANGES: i64 = 90;

#[test]
fn acknowledged_changes_survive_power_loss_at_any_moment() {
    let log = record();
    let opened = log.iter().position(|op| matches!(op, Op::Acknowledged(_))).unwrap();
    for seed in 0..CRASHES {
        let mut rng = Rng::with_seed(seed as u64);
        let end = rng.usize(opened..=log.len());
        let dir = TempDir::new().unwrap();
        let acknowledged = crash(&log, end, &dir.path().join("history.redb"), &mut rng);
        let store =
            Store::open(dir.path()).unwrap_or_else(|error| panic!("seed {seed}, crash at {end}: {error}"));
        let found = script::verified(&store) as i64;
        assert!(found >= acknowledged, "seed {seed}, crash at {end}: {found} of {acknowledged} are left");
        script::change(&store, 10_000);
    }
}

/// Changes the repository, and returns the log of it; what is acknowledged are entries of the journal.
fn record() -> Vec<Op> {
    let dir = TempDir::new().unwrap();
    let log = Log::default();
    LOG.set(Some(log.clone()));
    let store = Store::open_with(dir.path(), open_recorded).unwrap();
    for n in 0..CHANGES {
        script::change(&store, n);
        let events = store.stats().unwrap().events as i64;
        log.lock().unwrap().push(Op::Acknowledged(events));
    }
    drop(store);
    LOG.set(None);
    Arc::try_unwrap(log).unwrap().into_inner().unwrap()
}
