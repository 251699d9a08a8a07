//! Power loss: whatever part of the unflushed writes reached the disk, every acknowledged sample is there afterwards.
//!
//! A recorder between engine and file notes every write, change of length and flush, and the moments of acknowledgement. A crash is then any
//! prefix of that log: what was flushed is on disk; of what came after the last flush, each 512-byte sector may or may not be.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use forecast::Timestamp;
use redb::backends::FileBackend;
use redb::{BackendError, Database, DatabaseError, StorageBackend};
use tempfile::TempDir;

use crate::engine;
use crate::series::{Sample, SeriesKey};
use crate::store::Store;

const SECTOR: usize = 512;
pub(crate) const CRASHES: usize = 150;
const BATCHES: i64 = 120;

#[derive(Debug)]
pub(crate) enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
    /// Everything before this number has been acknowledged.
    Acknowledged(i64),
}

pub(crate) type Log = Arc<Mutex<Vec<Op>>>;

thread_local! {
    /// Where the recorder opened next on this thread writes to; an `Opener` is a plain function.
    pub(crate) static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Recorder {
    file: FileBackend,
    log: Log,
}

impl Recorder {
    fn note(&self, op: Op) {
        self.log.lock().unwrap().push(op);
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.note(Op::SetLen(len));
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.note(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.note(Op::Write(offset, data.to_vec()));
        self.file.write(offset, data)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
}

pub(crate) fn open_recorded(path: &Path) -> Result<Database, DatabaseError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let log = LOG.with_borrow(Clone::clone).expect("a log was set");
    engine::builder().create_with_backend(Recorder { file: FileBackend::new(file)?, log })
}

fn sample(n: i64) -> Sample {
    Sample::new(SeriesKey::new("web", format!("m{}", n % 3)), Timestamp::from_secs(n), n as f64 * 1.5)
}

/// Writes batches with compaction in between, and returns the log of it.
fn record() -> Vec<Op> {
    let dir = TempDir::new().unwrap();
    let log = Log::default();
    LOG.set(Some(log.clone()));
    let store = Store::open_with(dir.path(), open_recorded).unwrap();
    for batch in 0..BATCHES {
        let samples: Vec<Sample> = (batch * 40..(batch + 1) * 40).map(sample).collect();
        store.append(&samples).unwrap();
        log.lock().unwrap().push(Op::Acknowledged((batch + 1) * 40));
        if batch % 7 == 6 {
            store.compact(Timestamp::from_secs(batch * 40)).unwrap();
        }
    }
    drop(store);
    LOG.set(None);
    Arc::try_unwrap(log).unwrap().into_inner().unwrap()
}

/// Makes the file as it may be after a crash behind `log[..end]`; returns how much had been acknowledged.
pub(crate) fn crash(log: &[Op], end: usize, path: &Path, rng: &mut Rng) -> i64 {
    let disk = File::create(path).unwrap();
    let flushed = log[..end].iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or(0);
    let mut acknowledged = 0;
    for (at, op) in log[..end].iter().enumerate() {
        match op {
            Op::Acknowledged(number) => acknowledged = *number,
            Op::Sync => {}
            // The length is metadata; a journaling file system may or may not have written it.
            Op::SetLen(len) if at < flushed || rng.bool() => disk.set_len(*len).unwrap(),
            Op::SetLen(_) => {}
            Op::Write(offset, data) if at < flushed => disk.write_all_at(data, *offset).unwrap(),
            Op::Write(offset, data) => {
                for (sector, bytes) in data.chunks(SECTOR).enumerate().filter(|_| rng.bool()) {
                    disk.write_all_at(bytes, offset + (sector * SECTOR) as u64).unwrap();
                }
            }
        }
    }
    acknowledged
}

#[test]
fn acknowledged_samples_survive_power_loss_at_any_moment() {
    let log = record();
    let opened = log.iter().position(|op| matches!(op, Op::Acknowledged(_))).unwrap();
    for seed in 0..CRASHES {
        let mut rng = Rng::with_seed(seed as u64);
        let end = rng.usize(opened..=log.len());
        let dir = TempDir::new().unwrap();
        let acknowledged = crash(&log, end, &dir.path().join("history.redb"), &mut rng);
        let store =
            Store::open(dir.path()).unwrap_or_else(|error| panic!("seed {seed}, crash at {end}: {error}"));
        for metric in 0..3 {
            let key = SeriesKey::new("web", format!("m{metric}"));
            let read = store.read(&key, Timestamp::EPOCH, Timestamp::MAX).unwrap();
            let found: Vec<Sample> =
                read.into_iter().map(|(at, value)| Sample::new(key.clone(), at, value)).collect();
            let wanted: Vec<Sample> = (0..BATCHES * 40).filter(|n| n % 3 == metric).map(sample).collect();
            assert!(
                wanted.starts_with(&found),
                "seed {seed}, crash at {end}: something that was never written"
            );
            let promised = (0..acknowledged).filter(|n| n % 3 == metric).count();
            assert!(
                found.len() >= promised,
                "seed {seed}, crash at {end}: {} of {promised} are left",
                found.len()
            );
        }
        store.append(&[sample(1_000_000)]).unwrap();
    }
}
