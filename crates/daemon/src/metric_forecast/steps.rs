//! The stored values of a series in steps.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::{STEP_MAX, Timestamp};
use history::{HistoryError, SeriesKey, Store};

use super::{Aggregate, Asked, Refusal};
use crate::knowledge::usual_distance;

/// The steps that a series is forecast in, and from when to when it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    pub(super) step: Duration,
    pub(super) from: Timestamp,
    /// End of the last step that is over.
    pub(super) end: Timestamp,
}

impl Pace {
    pub(super) fn of(store: &Store, keys: &[SeriesKey], asked: &Asked) -> Result<Pace, Refusal> {
        let mut distance = Duration::ZERO;
        for key in keys {
            distance = distance.max(usually_apart(store, key, asked)?);
        }
        let step = asked.step.unwrap_or_else(|| suiting(asked.workload.step, distance));
        let end = asked.now.align_down(step);
        let readable = match distance {
            Duration::ZERO => BACK_MAX,
            distance => {
                distance.saturating_mul(SAMPLES_WANTED) / u32::try_from(keys.len()).unwrap_or(1).max(1)
            }
        };
        let back = step.saturating_mul(STEPS_WANTED).min(readable.max(step)).min(BACK_MAX);
        // The beginning moves seldom, so that a later replay can go on where an earlier one ended.
        let steps = (back.as_millis() / step.as_millis().max(1)).max(1);
        let stride = step.saturating_mul(u32::try_from(steps / BEGINNINGS).unwrap_or(1).max(1));
        Ok(Pace { step, from: end.saturating_sub(back).align_down(stride), end })
    }
}

/// The workload's step, or so many of them as values usually lie apart.
fn suiting(step: Duration, distance: Duration) -> Duration {
    let times = (distance.as_secs_f64() / step.as_secs_f64()).round().clamp(1.0, f64::from(u32::MAX));
    let longest = (STEP_MAX.as_millis() / step.as_millis().max(1)).max(1);
    step * (times as u32).min(u32::try_from(longest).unwrap_or(u32::MAX))
}

/// How far the newest values lie apart; nothing where there are none.
fn usually_apart(store: &Store, key: &SeriesKey, asked: &Asked) -> Result<Duration, HistoryError> {
    let Some((last, _)) = store.last(key)? else { return Ok(Duration::ZERO) };
    let newest = last.saturating_add(Duration::from_millis(1)).min(asked.now);
    let mut back = asked.workload.step.saturating_mul(VALUES_LOOKED_AT);
    loop {
        let looked: Result<Vec<_>, _> =
            store.scan(key, newest.saturating_sub(back), newest)?.take(VALUES_READ).collect();
        let values = looked?;
        if values.len() >= VALUES_LOOKED_AT as usize || back >= BACK_MAX {
            return Ok(Duration::from_millis(usual_distance(&values).unsigned_abs()));
        }
        back = back.saturating_mul(4);
    }
}

/// The steps that have values, in order: their mean, and of several series the aggregate of those that have any.
pub(super) fn read(
    store: &Store,
    keys: &[SeriesKey],
    asked: &Asked,
    pace: Pace,
) -> Result<Vec<(Timestamp, f64)>, Refusal> {
    let mut cells: BTreeMap<Timestamp, (f64, u32)> = BTreeMap::new();
    let mut left = SAMPLES_READ_MAX;
    for key in keys {
        let mut open: Option<(Timestamp, f64, u32)> = None;
        for sample in store.scan(key, pace.from, pace.end)? {
            let (at, value) = sample?;
            left = left
                .checked_sub(1)
                .ok_or_else(|| Refusal::TooDense { metric: asked.metric.clone(), from: pace.from })?;
            let start = at.align_down(pace.step);
            match &mut open {
                Some(cell) if cell.0 == start => {
                    cell.2 += 1;
                    // A running mean, so that huge values do not sum to an infinity.
                    cell.1 += value / f64::from(cell.2) - cell.1 / f64::from(cell.2);
                }
                Some(_) | None => {
                    open.replace((start, value, 1)).into_iter().for_each(|cell| add(&mut cells, cell, asked));
                }
            }
        }
        open.into_iter().for_each(|cell| add(&mut cells, cell, asked));
    }
    Ok(cells.into_iter().map(|(start, (value, _))| (start, value)).collect())
}

fn add(cells: &mut BTreeMap<Timestamp, (f64, u32)>, (start, value, _): (Timestamp, f64, u32), asked: &Asked) {
    let value = value.clamp(-VALUE_MAX, VALUE_MAX);
    let Some((all, count)) = cells.get_mut(&start) else {
        cells.insert(start, (value, 1));
        return;
    };
    *count += 1;
    match asked.aggregate {
        Some(Aggregate::Sum) => *all += value,
        Some(Aggregate::Max) => *all = all.max(value),
        Some(Aggregate::Mean) | None => *all += (value - *all) / f64::from(*count),
    }
}

/// Steps that are followed, four weeks of minutes; up to an eighth more, until the beginning moves.
const STEPS_WANTED: u32 = 40_320;
/// Values that are read for that, about; ...
const SAMPLES_WANTED: u32 = 1_000_000;
/// ... and at most, where the newest lie farther apart than those before.
pub(super) const SAMPLES_READ_MAX: usize = 4_000_000;
/// Beginnings that lie within the time looked back on.
const BEGINNINGS: u128 = 8;
/// Nothing older is kept.
const BACK_MAX: Duration = Duration::from_secs(400 * 86_400);
/// Values that tell how far they usually lie apart.
const VALUES_LOOKED_AT: u32 = 64;
const VALUES_READ: usize = 4096;
/// As the core draws values in.
const VALUE_MAX: f64 = 1e30;
