//! Moving old head rows into chunks, a bounded amount per call.
//!
//! Rows newer than the last chunk ("fresh") become chunks of their own once there are enough of them. Rows inside what is already
//! chunked ("late": out of order, or overwriting) are merged into the one chunk that covers them, so a straggler costs one
//! chunk and not a rewrite of everything since.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};

use crate::chunk::{self, Header, Point};
use crate::error::Fault;
use crate::table;

/// What one call of [`Store::compact`](crate::Store::compact) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Samples moved from the head into chunks.
    pub samples: u64,
    /// Chunks written.
    pub chunks: u64,
    /// Whether a bound was reached and another call would find more to do now.
    pub more: bool,
}

/// How large chunks are, and how much one call may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Samples in a new chunk. About 2 h at 15 s.
    pub(crate) chunk_samples: usize,
    /// Most samples moved by one call.
    pub(crate) samples_max: usize,
    /// Most series looked at by one call.
    pub(crate) series_max: usize,
}

impl Bounds {
    pub(crate) const DEFAULT: Bounds = Bounds { chunk_samples: 480, samples_max: 48_000, series_max: 1024 };
}

/// How many head rows each series has, as far as known; decides whom a compaction looks at. Only a hint: it is rebuilt by a sweep
/// after opening, and being wrong delays compaction, nothing else.
#[derive(Debug, Default)]
pub(crate) struct HeadCounts {
    rows: BTreeMap<u32, u32>,
    /// The series to look at next in the sweep after opening; `None` when all have been seen.
    sweep: Option<u32>,
    /// The series to begin with at the next call, so that busy ones do not starve the others.
    turn: u32,
}

impl HeadCounts {
    /// Nothing known: everything is to be looked at once.
    pub(crate) fn unknown() -> HeadCounts {
        HeadCounts { sweep: Some(0), ..HeadCounts::default() }
    }

    pub(crate) fn note(&mut self, appended: &[(u32, u32)]) {
        for (series, count) in appended {
            let rows = self.rows.entry(*series).or_insert(0);
            *rows = rows.saturating_add(*count);
        }
    }

    /// Marks series not seen since the store was opened as due, at most `max` of them.
    fn sweep(&mut self, head: &Head<'_>, bounds: Bounds) -> Result<(), Fault> {
        for _ in 0..bounds.series_max {
            let Some(from) = self.sweep else { break };
            let next = head.range((from, i64::MIN)..)?.next().transpose()?.map(|(key, _)| key.value().0);
            if let Some(series) = next {
                self.rows.insert(series, bounds.chunk_samples as u32);
            }
            self.sweep = next.and_then(|series| series.checked_add(1));
        }
        Ok(())
    }

    /// The series whose head may hold a whole chunk, beginning with the one whose turn it is.
    fn due(&self, bounds: Bounds) -> Vec<u32> {
        let in_turn = self.rows.range(self.turn..).chain(self.rows.range(..self.turn));
        let full = in_turn.filter(|(_, rows)| **rows as usize >= bounds.chunk_samples);
        full.map(|(series, _)| *series).take(bounds.series_max).collect()
    }
}

type Head<'tx> = Table<'tx, (u32, i64), f64>;
type Chunks<'tx> = Table<'tx, (u32, i64), &'static [u8]>;

/// Compacts what is older than `cutoff`, within `bounds`.
pub(crate) fn run(
    tx: &WriteTransaction,
    counts: &mut HeadCounts,
    cutoff: i64,
    bounds: Bounds,
) -> Result<Compaction, Fault> {
    let mut head = tx.open_table(table::HEAD)?;
    let mut chunks = tx.open_table(table::CHUNKS)?;
    let mut done = Compaction::default();
    counts.sweep(&head, bounds)?;
    let due = counts.due(bounds);
    done.more = counts.sweep.is_some() || due.len() == bounds.series_max;
    for series in due {
        counts.turn = series;
        let budget = bounds.samples_max.saturating_sub(done.samples as usize);
        if compact_series(&mut head, &mut chunks, series, cutoff, budget, bounds, &mut done)?
            == Reached::Budget
        {
            done.more = true;
            break;
        }
        let whole = (series, i64::MIN)..=(series, i64::MAX);
        match head.range(whole)?.take(bounds.chunk_samples).count() {
            0 => counts.rows.remove(&series),
            left => counts.rows.insert(series, left as u32),
        };
        counts.turn = series.wrapping_add(1);
    }
    Ok(done)
}

/// Why the work on one series ended.
#[derive(PartialEq, Eq)]
enum Reached {
    /// Nothing more to do for now.
    End,
    /// There may be more than this call was allowed to do.
    Budget,
}

fn compact_series(
    head: &mut Head<'_>,
    chunks: &mut Chunks<'_>,
    series: u32,
    cutoff: i64,
    budget: usize,
    bounds: Bounds,
    done: &mut Compaction,
) -> Result<Reached, Fault> {
    let mut rows: Vec<Point> = Vec::new();
    for entry in head.range((series, i64::MIN)..(series, cutoff))?.take(budget) {
        let (key, value) = entry?;
        rows.push((key.value().1, value.value()));
    }
    let last_chunk = chunks.range((series, i64::MIN)..=(series, i64::MAX))?.next_back().transpose()?;
    let chunked_until =
        last_chunk.map(|(_, bytes)| Header::read(bytes.value())).transpose()?.map(|head| head.last_at);
    let late_len = rows.partition_point(|(at, _)| chunked_until.is_some_and(|until| *at <= until));
    let (late, fresh) = rows.split_at(late_len);

    for (first, rows) in by_covering_chunk(chunks, series, late)? {
        done.chunks += merge_into(chunks, series, first, &rows, bounds.chunk_samples)?;
    }
    let closed = fresh.len() / bounds.chunk_samples * bounds.chunk_samples;
    for points in fresh[..closed].chunks(bounds.chunk_samples) {
        chunks.insert((series, points[0].0), chunk::encode(points)?.as_slice())?;
        done.chunks += 1;
    }
    for (at, _) in late.iter().chain(&fresh[..closed]) {
        head.remove((series, *at))?;
    }
    done.samples += (late_len + closed) as u64;
    Ok(if rows.len() == budget { Reached::Budget } else { Reached::End })
}

/// Late rows by the first time of the chunk they belong to: the last chunk that begins at or before them, else the very first.
fn by_covering_chunk(
    chunks: &Chunks<'_>,
    series: u32,
    late: &[Point],
) -> Result<BTreeMap<i64, Vec<Point>>, Fault> {
    let mut groups: BTreeMap<i64, Vec<Point>> = BTreeMap::new();
    for row in late {
        let before = chunks.range((series, i64::MIN)..=(series, row.0))?.next_back().transpose()?;
        let covering = match before {
            Some(found) => Some(found),
            None => chunks.range((series, row.0)..=(series, i64::MAX))?.next().transpose()?,
        };
        let Some((key, _)) = covering else {
            return Err(Fault::Damaged("a series lost its last chunk within a transaction".to_owned()));
        };
        groups.entry(key.value().1).or_default().push(*row);
    }
    Ok(groups)
}

/// Rewrites one chunk with `rows` in it, as several when it becomes too long; returns how many.
fn merge_into(
    chunks: &mut Chunks<'_>,
    series: u32,
    first: i64,
    rows: &[Point],
    chunk_samples: usize,
) -> Result<u64, Fault> {
    let mut points: BTreeMap<i64, f64> = match chunks.remove((series, first))? {
        Some(bytes) => chunk::decode(bytes.value())?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    points.extend(rows.iter().copied());
    let points: Vec<Point> = points.into_iter().collect();
    let pieces = points.len().div_ceil(2 * chunk_samples).max(1);
    let mut written = 0;
    for piece in points.chunks(points.len().div_ceil(pieces).max(1)) {
        chunks.insert((series, piece[0].0), chunk::encode(piece)?.as_slice())?;
        written += 1;
    }
    Ok(written)
}

/// A chunk may grow to twice its nominal length before it is split.
const _: () = assert!(2 * Bounds::DEFAULT.chunk_samples <= chunk::CHUNK_SAMPLES_MAX);
