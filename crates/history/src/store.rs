//! The store's face: every call, in one place.

use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forecast::Timestamp;
use redb::ReadableTableMetadata;

use crate::batch::Batch;
use crate::calendar::Calendar;
use crate::compact::{self, Compaction, HeadCounts};
use crate::engine::{self, Engine, Opener};
use crate::error::{Fault, HistoryError};
use crate::journal::{self, EventRecord, PlanRecord};
use crate::keys;
use crate::models::{self, Models};
use crate::requests::{self, RequestRecord};
use crate::retain::{self, Retained, Retention};
use crate::samples::{self, Samples};
use crate::series::{Sample, SeriesKey};
use crate::table;

/// One folder of history, open for reading and writing.
///
/// All calls block on the disk and may be made from any thread; writes happen one after the other. A range of time is
/// `[from, to)` everywhere: `from` belongs to it, `to` does not.
#[derive(Debug)]
pub struct Store {
    engine: Arc<Engine>,
    head_counts: Mutex<HeadCounts>,
    retain_cursor: Mutex<Vec<u8>>,
    compact_bounds: compact::Bounds,
    retain_bounds: retain::Bounds,
}

/// Sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Series that have samples.
    pub series: u64,
    /// Samples not yet in chunks.
    pub head_samples: u64,
    /// Compressed chunks.
    pub chunks: u64,
    /// Events.
    pub events: u64,
    /// Plans.
    pub plans: u64,
    /// Model versions.
    pub models: u64,
    /// Bytes of the database file, free pages included.
    pub file_bytes: u64,
}

/// Rows stay in the head for so long, so that samples that come a little late still find their place cheaply.
const HEAD_KEEPS: Duration = Duration::from_secs(120);

impl Store {
    /// Opens the history in `dir`, making the folder and an empty history if there is none. Reads the whole file to verify it.
    ///
    /// # Errors
    /// [`HistoryError::Locked`] when another process has it, [`HistoryError::Corrupt`] or [`HistoryError::Format`] when the file is not one
    /// that this version can trust, [`HistoryError::Open`] and [`HistoryError::NoSpace`] from the file system.
    pub fn open(dir: &Path) -> Result<Store, HistoryError> {
        Store::open_with(dir, engine::open_file)
    }

    pub(crate) fn open_with(dir: &Path, opener: Opener) -> Result<Store, HistoryError> {
        Ok(Store {
            engine: Arc::new(Engine::open(dir, opener)?),
            head_counts: Mutex::new(HeadCounts::unknown()),
            retain_cursor: Mutex::new(Vec::new()),
            compact_bounds: compact::Bounds::DEFAULT,
            retain_bounds: retain::Bounds::DEFAULT,
        })
    }

    #[cfg(test)]
    pub(crate) fn with_bounds(mut self, compact: compact::Bounds, retain: retain::Bounds) -> Store {
        self.compact_bounds = compact;
        self.retain_bounds = retain;
        self
    }

    /// Stores a batch whole; it is durable when this returns.
    ///
    /// # Errors
    /// [`HistoryError::NotFinite`], [`HistoryError::Name`] and [`HistoryError::Limit`] when something in it is refused,
    /// [`HistoryError::NoSpace`] on a full disk; nothing of the batch is stored then.
    pub fn write(&self, batch: &Batch) -> Result<(), HistoryError> {
        batch.validate()?;
        if batch.is_empty() {
            return Ok(());
        }
        let appended = self.engine.write("write a batch", |tx| batch.store(tx))?;
        self.head_counts.lock().unwrap_or_else(PoisonError::into_inner).note(&appended);
        Ok(())
    }

    /// Stores samples, durably; of two for the same series and time the later wins. Errors as for [`Store::write`].
    pub fn append(&self, samples: &[Sample]) -> Result<(), HistoryError> {
        self.write(&Batch { samples: samples.to_vec(), ..Batch::default() })
    }

    /// All samples of a series in `[from, to)`, in ascending order of time; none when the series is not known.
    pub fn read(
        &self,
        series: &SeriesKey,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, f64)>, HistoryError> {
        self.scan(series, from, to)?.collect()
    }

    /// As [`Store::read`], but one chunk in memory at a time, from one snapshot: later writes are not seen.
    pub fn scan(&self, series: &SeriesKey, from: Timestamp, to: Timestamp) -> Result<Samples, HistoryError> {
        let (from, to) = (from.as_millis(), to.as_millis());
        self.engine.read("read samples", |tx| Samples::open(&self.engine, tx, series, from, to))
    }

    /// The newest sample of a series.
    pub fn last(&self, series: &SeriesKey) -> Result<Option<(Timestamp, f64)>, HistoryError> {
        let last = self.engine.read("read the last sample", |tx| samples::last(tx, series))?;
        Ok(last.map(|(at, value)| (Timestamp::from_millis(at), value)))
    }

    /// All series, ordered by workload, then metric, then labels.
    pub fn series(&self) -> Result<Vec<SeriesKey>, HistoryError> {
        self.keys_between(&[], None)
    }

    /// The series of one workload, ordered by metric, then labels.
    pub fn series_of(&self, workload: &str) -> Result<Vec<SeriesKey>, HistoryError> {
        // All that begins with the name and the separator, which no name contains.
        let [mut from, mut to] = [workload.as_bytes().to_vec(), workload.as_bytes().to_vec()];
        from.push(0);
        to.push(1);
        self.keys_between(&from, Some(&to))
    }

    fn keys_between(&self, from: &[u8], to: Option<&[u8]>) -> Result<Vec<SeriesKey>, HistoryError> {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        self.engine.read("list the series", |tx| {
            let table = tx.open_table(table::SERIES)?;
            let mut all = Vec::new();
            for entry in table.range::<&[u8]>((Bound::Included(from), to))? {
                let Some(key) = SeriesKey::decode(entry?.0.value()) else {
                    return Err(Fault::Damaged("a series has a name that was never valid".to_owned()));
                };
                all.push(key);
            }
            Ok(all)
        })
    }

    /// Stores one event, durably. Errors as for [`Store::write`].
    pub fn record_event(&self, event: EventRecord) -> Result<(), HistoryError> {
        self.write(&Batch { events: vec![event], ..Batch::default() })
    }

    /// The newest `limit` events in `[from, to)`, newest first, of one workload or of all.
    pub fn events(
        &self,
        from: Timestamp,
        to: Timestamp,
        workload: Option<&str>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, HistoryError> {
        let (from, to) = (from.as_millis(), to.as_millis());
        self.engine.read("read events", |tx| journal::events(tx, from, to, workload, limit))
    }

    /// Stores one plan, durably. Errors as for [`Store::write`].
    pub fn record_plan(&self, plan: PlanRecord) -> Result<(), HistoryError> {
        self.write(&Batch { plans: vec![plan], ..Batch::default() })
    }

    /// The newest `limit` plans of a workload in `[from, to)`, newest first.
    pub fn plans(
        &self,
        workload: &str,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<PlanRecord>, HistoryError> {
        let (from, to) = (from.as_millis(), to.as_millis());
        self.engine.read("read plans", |tx| journal::plans(tx, workload, from, to, limit))
    }

    /// The plan that was in force at a time: the newest at or before it.
    pub fn plan_at(&self, workload: &str, at: Timestamp) -> Result<Option<PlanRecord>, HistoryError> {
        self.engine.read("read a plan", |tx| journal::plan_at(tx, workload, at.as_millis()))
    }

    /// The newest `limit` requests of a workload in `[from, to)`, newest first.
    pub fn requests(
        &self,
        workload: &str,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<RequestRecord>, HistoryError> {
        let (from, to) = (from.as_millis(), to.as_millis());
        self.engine.read("read requests", |tx| requests::read(tx, workload, from, to, limit))
    }

    /// Sets a small value, durably. Errors as for [`Store::write`].
    pub fn put(&self, key: &str, value: &[u8]) -> Result<(), HistoryError> {
        self.write(&Batch { values: vec![(key.to_owned(), value.to_owned())], ..Batch::default() })
    }

    /// A small value.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, HistoryError> {
        self.engine.read("read a value", |tx| keys::get(tx, key))
    }

    /// Removes a small value, durably; says whether there was one.
    pub fn remove(&self, key: &str) -> Result<bool, HistoryError> {
        self.engine.free("remove a value", |tx| keys::remove(tx, key))
    }

    /// The keys of all small values that begin with `prefix`, in order.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>, HistoryError> {
        self.engine.read("list keys", |tx| keys::with_prefix(tx, prefix))
    }

    /// The events that are known beforehand or were, of all workloads.
    pub fn calendar(&self) -> Calendar<'_> {
        Calendar::new(self)
    }

    /// The model repository.
    pub fn models(&self) -> Models<'_> {
        Models::new(self)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Moves samples that are older than two minutes into compressed chunks, at most 48 000 per call. Reads give the same before and after.
    ///
    /// Call it now and then (each minute, say), and again at once while it reports `more` and there is time.
    pub fn compact(&self, now: Timestamp) -> Result<Compaction, HistoryError> {
        let cutoff = (now - HEAD_KEEPS).as_millis();
        let mut counts = self.head_counts.lock().unwrap_or_else(PoisonError::into_inner);
        let done =
            self.engine.free("compact", |tx| compact::run(tx, &mut counts, cutoff, self.compact_bounds));
        if done.is_err() {
            // The counts may be ahead of what was stored.
            *counts = HeadCounts::unknown();
        }
        done
    }

    /// Removes what is older than `policy` allows, a bounded amount per call; goes on where the last call stopped.
    ///
    /// A sample exactly as old as the limit is kept. On a full disk this works too, and gives room back to it.
    /// Call it now and then (each hour, say), and again at once while it reports `more`.
    pub fn retain(&self, policy: &Retention, now: Timestamp) -> Result<Retained, HistoryError> {
        let mut cursor = self.retain_cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let bounds = if self.engine.is_full() { retain::Bounds::ON_A_FULL_DISK } else { self.retain_bounds };
        let mut reached = cursor.clone();
        let done = self
            .engine
            .free("remove what is too old", |tx| retain::run(tx, &mut reached, policy, now, bounds))?;
        *cursor = reached;
        if !done.more {
            self.engine.shrink_if_full()?;
        }
        Ok(done)
    }

    /// Sizes, for metrics.
    pub fn stats(&self) -> Result<StoreStats, HistoryError> {
        let file_bytes = self.engine.file_bytes()?;
        self.engine.read("read sizes", |tx| {
            Ok(StoreStats {
                series: tx.open_table(table::SERIES)?.len()?,
                head_samples: tx.open_table(table::HEAD)?.len()?,
                chunks: tx.open_table(table::CHUNKS)?.len()?,
                events: tx.open_table(table::EVENTS)?.len()?,
                plans: tx.open_table(table::PLANS)?.len()?,
                models: models::count(tx)?,
                file_bytes,
            })
        })
    }

    /// Bytes of all chunks, keys included. Walks all of them: for measurements, not for every scrape.
    pub fn chunk_bytes(&self) -> Result<u64, HistoryError> {
        self.engine.read("measure the chunks", |tx| Ok(tx.open_table(table::CHUNKS)?.stats()?.stored_bytes()))
    }
}
