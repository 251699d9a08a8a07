//! A real disk that is really full: nothing acknowledged is lost, reads go on, and writes do too once there is room.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use forecast::Timestamp;
use history::{HistoryError, Retention, Sample, SeriesKey, Store};

const DISK_BYTES: u64 = 6 << 20;

/// A small tmpfs, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        let options = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk(at.to_owned())),
            Ok(output) => {
                skips::skip("history on a full disk", &String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                skips::skip("history on a full disk", &format!("cannot run mount: {error}"));
                None
            }
        }
    }

    /// Takes all room but `leave` bytes.
    fn fill(&self, leave: usize) {
        let path = self.0.join("ballast");
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        for len in [1 << 20, 1 << 16, 1 << 12] {
            while file.write_all(&vec![7; len]).is_ok() {}
        }
        let full = file.metadata().unwrap().len();
        file.set_len(full.saturating_sub(leave as u64)).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn key() -> SeriesKey {
    SeriesKey::new("web", "demand")
}

/// Batch `n`: some hundred of them fill the disk.
fn batch(n: i64) -> Vec<Sample> {
    (n * 500..(n + 1) * 500).map(|n| Sample::new(key(), Timestamp::from_secs(n), n as f64)).collect()
}

fn assert_holds(store: &Store, batches: i64) {
    let read = store.read(&key(), Timestamp::EPOCH, Timestamp::MAX).unwrap();
    assert_eq!(read.len() as i64, batches * 500);
    assert!(read.iter().enumerate().all(|(n, sample)| *sample == (Timestamp::from_secs(n as i64), n as f64)));
}

fn append_until_full(store: &Store, from: i64) -> i64 {
    for n in from..10_000 {
        match store.append(&batch(n)) {
            Ok(()) => {}
            Err(HistoryError::NoSpace { .. }) => return n,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the disk never became full");
}

#[test]
fn a_disk_filled_by_others_loses_nothing_acknowledged_and_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let folder = dir.path().join("history");
    let store = Store::open(&folder).unwrap();
    store.append(&batch(0)).unwrap();
    let mut written = 1;
    for round in 0..4 {
        disk.fill(round * 70_000);
        written = append_until_full(&store, written);
        for _ in 0..3 {
            assert_holds(&store, written);
            match store.append(&batch(written)) {
                Ok(()) => panic!("round {round}: written to a full disk"),
                Err(HistoryError::NoSpace { dir }) => assert_eq!(dir, folder),
                Err(other) => panic!("round {round}: {other}"),
            }
        }
        disk.free();
        store.append(&batch(written)).unwrap();
        written += 1;
        assert_holds(&store, written);
        store.compact(Timestamp::MAX).unwrap();
    }
    drop(store);
    assert_holds(&Store::open(&folder).unwrap(), written);
}

#[test]
fn a_history_that_filled_the_disk_itself_makes_room_by_forgetting() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path()) else { return };
    let store = Store::open(dir.path()).unwrap();
    let written = append_until_full(&store, 0);
    assert_holds(&store, written);
    let policy = Retention { samples: Some(Duration::from_secs(1000)), ..Retention::default() };
    let now = Timestamp::from_secs(written * 500);
    while store.retain(&policy, now).unwrap().more {}
    let kept = store.read(&key(), Timestamp::EPOCH, Timestamp::MAX).unwrap();
    assert_eq!((kept.len(), kept[0].0), (1000, Timestamp::from_secs(written * 500 - 1000)));
    store.append(&batch(written)).unwrap();
    assert_eq!(store.read(&key(), Timestamp::EPOCH, Timestamp::MAX).unwrap().len(), 1500);
}

#[test]
fn opening_on_a_full_disk_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    disk.fill(0);
    let error = Store::open(&dir.path().join("history")).unwrap_err();
    let told = format!("{error}: {:?}", std::error::Error::source(&error));
    assert!(matches!(error, HistoryError::NoSpace { .. }), "{told}");
    disk.free();
    Store::open(&dir.path().join("history")).unwrap();
}
