//! Forgetting what is too old, exactly at the cutoff and a bounded amount per call.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use forecast::Timestamp;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::chunk::{self, Header};
use crate::error::Fault;
use crate::series::SeriesKey;
use crate::table;

/// How long things are kept. `None` means for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Samples of metrics not named below.
    pub samples: Option<Duration>,
    /// Samples, by metric.
    pub metrics: BTreeMap<String, Duration>,
    /// Events.
    pub events: Option<Duration>,
    /// Plans.
    pub plans: Option<Duration>,
    /// Requests.
    pub requests: Option<Duration>,
}

impl Retention {
    /// How long samples of `metric` are kept.
    pub fn of(&self, metric: &str) -> Option<Duration> {
        self.metrics.get(metric).copied().or(self.samples)
    }
}

/// What one call of [`Store::retain`](crate::Store::retain) removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Samples removed.
    pub samples: u64,
    /// Series removed because nothing was left of them.
    pub series: u64,
    /// Events removed.
    pub events: u64,
    /// Plans removed.
    pub plans: u64,
    /// Requests removed.
    pub requests: u64,
    /// Whether a bound was reached: call again to go on.
    pub more: bool,
}

/// How much one call may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most series looked at.
    pub(crate) series_max: usize,
    /// Most rows (samples of the head, chunks, events, plans, requests) removed or changed.
    pub(crate) rows_max: usize,
}

impl Bounds {
    pub(crate) const DEFAULT: Bounds = Bounds { series_max: 4096, rows_max: 100_000 };
    /// Removal copies the pages it changes before it frees them; with little room it goes in small steps.
    pub(crate) const ON_A_FULL_DISK: Bounds = Bounds { series_max: 4096, rows_max: 1_000 };
}

/// Removes what `policy` does not keep. `cursor` is the last series of the call before, and is moved on.
pub(crate) fn run(
    tx: &WriteTransaction,
    cursor: &mut Vec<u8>,
    policy: &Retention,
    now: Timestamp,
    bounds: Bounds,
) -> Result<Retained, Fault> {
    let mut done = Retained::default();
    let mut budget = bounds.rows_max;
    if let Some(keep) = policy.events {
        done.events = expire_events(tx, (now - keep).as_millis(), &mut budget)?;
    }
    if let Some(keep) = policy.plans {
        done.plans = expire_records(tx, table::PLANS, (now - keep).as_millis(), &mut budget)?;
    }
    if let Some(keep) = policy.requests {
        done.requests = expire_records(tx, table::REQUESTS, (now - keep).as_millis(), &mut budget)?;
    }
    let series = next_series(tx, cursor, bounds.series_max)?;
    let mut finished = series.len() < bounds.series_max;
    for (key, id) in series {
        if budget == 0 {
            finished = false;
            break;
        }
        let Some(decoded) = SeriesKey::decode(&key) else {
            return Err(Fault::Damaged("a series has a name that was never valid".to_owned()));
        };
        if let Some(keep) = policy.of(&decoded.metric) {
            done.samples += expire_series(tx, id, (now - keep).as_millis(), &mut budget)?;
            done.series += u64::from(remove_if_empty(tx, &key, id)?);
        }
        if budget > 0 {
            *cursor = key;
        }
    }
    if finished && budget > 0 {
        cursor.clear();
    }
    done.more = !finished || budget == 0;
    Ok(done)
}

fn next_series(tx: &WriteTransaction, after: &[u8], max: usize) -> Result<Vec<(Vec<u8>, u32)>, Fault> {
    let table = tx.open_table(table::SERIES)?;
    let range = table.range::<&[u8]>((Bound::Excluded(after), Bound::Unbounded))?;
    let mut found = Vec::new();
    for entry in range.take(max) {
        let (key, id) = entry?;
        found.push((key.value().to_vec(), id.value()));
    }
    Ok(found)
}

fn expire_series(tx: &WriteTransaction, id: u32, cutoff: i64, budget: &mut usize) -> Result<u64, Fault> {
    let old = (id, i64::MIN)..(id, cutoff);
    let mut head = tx.open_table(table::HEAD)?;
    let mut removed = 0;
    for entry in head.extract_from_if(old.clone(), |_, _| true)?.take(*budget) {
        entry?;
        removed += 1;
    }
    *budget -= removed as usize;

    let mut chunks = tx.open_table(table::CHUNKS)?;
    let mut begun = Vec::new();
    for entry in chunks.range(old)?.take(*budget) {
        let (key, bytes) = entry?;
        begun.push((key.value(), bytes.value().to_vec()));
    }
    for (key, bytes) in begun {
        match chunk::expire(&bytes, cutoff)? {
            None => {
                chunks.remove(key)?;
                removed += Header::read(&bytes)?.live();
                *budget -= 1;
            }
            Some((_, 0)) => {}
            Some((changed, newly)) => {
                chunks.insert(key, changed.as_slice())?;
                removed += newly;
                *budget -= 1;
            }
        }
    }
    Ok(removed)
}

fn remove_if_empty(tx: &WriteTransaction, key: &[u8], id: u32) -> Result<bool, Fault> {
    let whole = (id, i64::MIN)..=(id, i64::MAX);
    let in_head = tx.open_table(table::HEAD)?.range(whole.clone())?.next().is_some();
    if in_head || tx.open_table(table::CHUNKS)?.range(whole)?.next().is_some() {
        return Ok(false);
    }
    tx.open_table(table::SERIES)?.remove(key)?;
    Ok(true)
}

fn expire_events(tx: &WriteTransaction, cutoff: i64, budget: &mut usize) -> Result<u64, Fault> {
    let mut all = tx.open_table(table::EVENTS)?;
    let mut by_workload = tx.open_table(table::EVENTS_OF)?;
    let mut removed = 0;
    for entry in all.extract_from_if(..(cutoff, 0), |_, _| true)?.take(*budget) {
        let (key, value) = entry?;
        let (at, sequence) = key.value();
        by_workload.remove((value.value().0, at, sequence))?;
        removed += 1;
    }
    *budget -= removed;
    Ok(removed as u64)
}

/// A table by workload, time and number.
type Records = TableDefinition<'static, (&'static str, i64, u64), &'static [u8]>;

fn expire_records(
    tx: &WriteTransaction,
    records: Records,
    cutoff: i64,
    budget: &mut usize,
) -> Result<u64, Fault> {
    let mut table = tx.open_table(records)?;
    let mut removed = 0;
    let mut next = table.first()?.map(|(key, _)| key.value().0.to_owned());
    while let Some(workload) = next.take().filter(|_| *budget > 0) {
        let of = workload.as_str();
        let mut here = 0;
        for entry in table.extract_from_if((of, i64::MIN, 0)..(of, cutoff, 0), |_, _| true)?.take(*budget) {
            entry?;
            here += 1;
        }
        *budget -= here;
        removed += here as u64;
        let after =
            table.range((Bound::Excluded((of, i64::MAX, u64::MAX)), Bound::Unbounded))?.next().transpose()?;
        next = after.map(|(key, _)| key.value().0.to_owned());
    }
    Ok(removed)
}
