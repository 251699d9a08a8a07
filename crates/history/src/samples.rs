//! Writing samples to the head, and reading them back merged from chunks and head.
//!
//! A sample written after its time was compacted stays in the head until the next compaction; where chunk and head both know a time, the
//! head is newer and wins.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use forecast::Timestamp;
use redb::{OwnedRange, ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use crate::chunk::{self, Point};
use crate::engine::Engine;
use crate::error::{Fault, HistoryError};
use crate::limit::Limit;
use crate::series::{Sample, SeriesKey};
use crate::table;

/// The samples of one series in a range of time, in ascending order, read chunk by chunk from one snapshot of the store.
///
/// Yields an error once, at the end, if the file turns out to be damaged.
#[derive(Debug)]
pub struct Samples {
    engine: Arc<Engine>,
    source: Option<Source>,
}

struct Source {
    chunks: OwnedRange<(u32, i64), &'static [u8]>,
    head: OwnedRange<(u32, i64), f64>,
    wanted: RangeInclusive<i64>,
    /// Decompressed and wanted, not yet handed out.
    decoded: VecDeque<Point>,
    next_head: Option<Point>,
}

impl Samples {
    /// The samples of `series` in `[from, to)`; none when the series is not known.
    pub(crate) fn open(
        engine: &Arc<Engine>,
        tx: &ReadTransaction,
        series: &SeriesKey,
        from: i64,
        to: i64,
    ) -> Result<Samples, Fault> {
        let none = Samples { engine: engine.clone(), source: None };
        let Some(id) = tx.open_table(table::SERIES)?.get(series.encode().as_slice())?.map(|id| id.value())
        else {
            return Ok(none);
        };
        if from >= to {
            return Ok(none);
        }
        let last = to - 1;
        let chunks = tx.open_table(table::CHUNKS)?;
        // The chunk that begins before the range may reach into it.
        let before = chunks.range((id, i64::MIN)..=(id, from))?.next_back().transpose()?;
        let first = before.map_or(from, |(key, _)| key.value().1);
        let chunks = chunks.range_owned((id, first)..=(id, last))?;
        let head = tx.open_table(table::HEAD)?.range_owned((id, from)..=(id, last))?;
        let mut source =
            Source { chunks, head, wanted: from..=last, decoded: VecDeque::new(), next_head: None };
        source.next_head = source.pull_head()?;
        Ok(Samples { source: Some(source), ..none })
    }
}

impl Iterator for Samples {
    type Item = Result<(Timestamp, f64), HistoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.source.as_mut()?.next() {
            Ok(Some((at, value))) => Some(Ok((Timestamp::from_millis(at), value))),
            Ok(None) => {
                self.source = None;
                None
            }
            Err(fault) => {
                self.source = None;
                Some(Err(self.engine.explain("read samples", fault)))
            }
        }
    }
}

impl Source {
    fn next(&mut self) -> Result<Option<Point>, Fault> {
        while self.decoded.is_empty() {
            let Some(entry) = self.chunks.next() else { break };
            let (_, bytes) = entry?;
            let points = chunk::decode(bytes.value())?;
            self.decoded.extend(points.into_iter().filter(|(at, _)| self.wanted.contains(at)));
        }
        let Some(head) = self.next_head else {
            return Ok(self.decoded.pop_front());
        };
        if self.decoded.front().is_some_and(|chunked| chunked.0 < head.0) {
            return Ok(self.decoded.pop_front());
        }
        self.decoded.pop_front_if(|chunked| chunked.0 == head.0);
        self.next_head = self.pull_head()?;
        Ok(Some(head))
    }

    fn pull_head(&mut self) -> Result<Option<Point>, Fault> {
        let Some(entry) = self.head.next() else { return Ok(None) };
        let (key, value) = entry?;
        Ok(Some((key.value().1, value.value())))
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

/// The newest sample of a series.
pub(crate) fn last(tx: &ReadTransaction, series: &SeriesKey) -> Result<Option<Point>, Fault> {
    let Some(id) = tx.open_table(table::SERIES)?.get(series.encode().as_slice())?.map(|id| id.value()) else {
        return Ok(None);
    };
    let whole = (id, i64::MIN)..=(id, i64::MAX);
    let head = tx.open_table(table::HEAD)?.range(whole.clone())?.next_back().transpose()?;
    let head = head.map(|(key, value)| (key.value().1, value.value()));
    let chunked = match tx.open_table(table::CHUNKS)?.range(whole)?.next_back().transpose()? {
        Some((_, bytes)) => chunk::decode(bytes.value())?.pop(),
        None => None,
    };
    Ok(match (head, chunked) {
        (Some(head), Some(chunked)) => Some(if chunked.0 > head.0 { chunked } else { head }),
        (head, chunked) => head.or(chunked),
    })
}

/// Writes samples to the head, making series as needed; returns how many each series got, by its number.
pub(crate) fn insert(tx: &WriteTransaction, samples: &[Sample]) -> Result<Vec<(u32, u32)>, Fault> {
    if samples.is_empty() {
        return Ok(Vec::new());
    }
    let mut head = tx.open_table(table::HEAD)?;
    let mut ids: BTreeMap<&SeriesKey, (u32, u32)> = BTreeMap::new();
    for sample in samples {
        let (id, appended) = match ids.get_mut(&sample.series) {
            Some(known) => known,
            None => {
                let id = number(tx, &sample.series)?;
                ids.entry(&sample.series).or_insert((id, 0))
            }
        };
        *appended += 1;
        head.insert((*id, sample.at.as_millis()), sample.value)?;
    }
    Ok(ids.into_values().collect())
}

/// The number of a series, given to it now if it is new.
fn number(tx: &WriteTransaction, series: &SeriesKey) -> Result<u32, Fault> {
    let mut table = tx.open_table(table::SERIES)?;
    let key = series.encode();
    if let Some(id) = table.get(key.as_slice())?.map(|id| id.value()) {
        return Ok(id);
    }
    Limit::Series.check(table.len()? as usize + 1, || format!("the store with the new series {series}"))?;
    let mut meta = tx.open_table(table::META)?;
    let next = meta.get(table::META_NEXT_SERIES)?.map_or(0, |next| next.value());
    let Ok(id) = u32::try_from(next) else {
        return Err(Fault::Damaged("all numbers for series have been used".to_owned()));
    };
    meta.insert(table::META_NEXT_SERIES, next + 1)?;
    table.insert(key.as_slice(), id)?;
    Ok(id)
}
