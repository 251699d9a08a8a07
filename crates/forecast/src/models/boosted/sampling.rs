//! Which origins and horizons are learned from.

use super::features::{Frame, LINEAR, Origin, Past, Row, Spans};
use super::{Params, SeriesTraits};
use crate::models::{FitError, History, Pace};

/// Rows to learn from; those of one series side by side, in order of the steps they ask for.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Features for the trees, by column.
    pub(super) columns: Vec<Vec<f32>>,
    /// Features for the baseline, by row.
    pub(super) linear: Vec<[f32; LINEAR]>,
    /// What came, in units of the level at the origin.
    pub(super) targets: Vec<f32>,
    /// Which season of its series the target lies in, counted over all series: rows of one tell much the same.
    pub(super) blocks: Vec<u32>,
    /// How far ahead, in units of [`Spans::near`].
    pub(super) distances: Vec<f32>,
}

/// Draws rows from all histories, about equally many from each.
///
/// # Errors
/// [`FitError`] when all together have too few or training is called off.
pub(super) fn draw(
    histories: &[History<'_>],
    names: &[String],
    params: &Params,
    pace: &mut Pace<'_>,
) -> Result<Rows, FitError> {
    let mut rows = Rows::default();
    let mut rng = fastrand::Rng::with_seed(params.trees.seed);
    for history in histories {
        let len = history.values.len();
        let share = (params.rows / histories.len()).max(1).min(ROWS_FOR_VALUE * len);
        let pairs = pairs(history, share, params, &mut rng);
        rows.add(history, names, &pairs, histories.len() > 1, pace)?;
    }
    let needed = 4 * params.trees.min_leaf.max(1);
    if rows.targets.len() < needed {
        return Err(too_few(histories, rows.targets.len(), needed));
    }
    Ok(rows)
}

/// Why so few rows could be drawn.
fn too_few(histories: &[History<'_>], found: usize, needed: usize) -> FitError {
    let present: usize = histories.iter().map(History::present).sum();
    if present > 0 && histories.iter().all(History::is_idle) {
        return FitError::nothing_but_zeros();
    }
    if present < needed {
        return FitError::TooLittleHistory { present, needed };
    }
    FitError::Unsuitable(format!(
        "too little to learn from: most of the latest values are missing, or zero for long ({found} examples, {needed} are needed)"
    ))
}

/// More rows than this for each value of a series only repeat each other.
const ROWS_FOR_VALUE: usize = 8;

/// Pairs of (values known, steps ahead) whose target is present, in order of the target.
fn pairs(
    history: &History<'_>,
    share: usize,
    params: &Params,
    rng: &mut fastrand::Rng,
) -> Vec<(usize, usize)> {
    let len = history.values.len();
    let spans = Spans::new(history.grid, history.seasons, len);
    // Before the first seasons little is known; where there are no more than those, it has to do.
    let from = match spans.long {
        Some(long) if len > 2 * long + spans.short => long + spans.short / 2,
        Some(_) | None => spans.short.min(len / 2),
    };
    let horizon = history.horizon.clamp(1, (len / 2).max(1));
    if len <= from {
        return Vec::new();
    }
    let decay = f64::from(params.half_life.max(0.01)) * spans.long.unwrap_or(7 * spans.short) as f64
        / std::f64::consts::LN_2;
    let mut pairs: Vec<(usize, usize)> = (0..share)
        .map(|_| {
            let ahead = if rng.f64() < NEAR_SHARE {
                ((horizon as f64 + 1.0).powf(rng.f64()) as usize).clamp(1, horizon)
            } else {
                rng.usize(1..=horizon)
            };
            // Recent targets are drawn more often, rather than weighed more: each row costs the same.
            let room = (len - from).saturating_sub(ahead) as f64;
            let age = -decay * (1.0 - rng.f64() * (1.0 - (-room / decay).exp())).ln();
            (len.saturating_sub(ahead + age.min(room) as usize).max(from), ahead)
        })
        .filter(|&(known, ahead)| {
            history.values.get(known + ahead - 1).is_some_and(|value| value.is_finite())
        })
        .collect();
    pairs.sort_unstable_by_key(|&(known, ahead)| (known + ahead, ahead));
    pairs
}

/// Share of rows whose horizon is drawn evenly on a logarithmic scale; the others' are drawn evenly.
const NEAR_SHARE: f64 = 0.5;

impl Rows {
    /// Adds the rows of one series.
    fn add(
        &mut self,
        history: &History<'_>,
        names: &[String],
        pairs: &[(usize, usize)],
        several: bool,
        pace: &mut Pace<'_>,
    ) -> Result<(), FitError> {
        let spans = Spans::new(history.grid, history.seasons, history.values.len());
        let past = Past::new(history.values.iter().copied());
        let places = super::places(names, history.covariates);
        let frame = Frame {
            grid: history.grid,
            spans,
            first: history.first,
            covariates: history.covariates,
            columns: &places,
        };
        let traits = several.then(|| SeriesTraits::of(&past, spans));
        let before = self.blocks.last().map_or(0, |block| block + 1);
        let mut row = Row::default();
        for (place, &(known, ahead)) in pairs.iter().enumerate() {
            if place.is_multiple_of(ROWS_FOR_CHECKPOINT) {
                pace.checkpoint()?;
            }
            let origin = Origin::new(&past, spans, known);
            if origin.is_idle {
                continue;
            }
            row.fill(&past, &frame, &origin, ahead);
            if let Some(traits) = &traits {
                row.trees.extend(traits.0);
            }
            let target = known + ahead - 1;
            self.targets.push(past.value(target) / origin.level);
            self.blocks.push(before + (target / spans.short) as u32);
            self.distances.push(ahead as f32 / spans.near as f32);
            self.linear.push(row.linear);
            self.columns.resize(row.trees.len(), Vec::new());
            for (column, &value) in self.columns.iter_mut().zip(&row.trees) {
                column.push(value);
            }
        }
        Ok(())
    }

    /// Rows in a block, at the mean.
    pub(super) fn run(&self) -> usize {
        let blocks = self.blocks.chunk_by(|a, b| a == b).count();
        self.blocks.len() / blocks.max(1)
    }
}

const ROWS_FOR_CHECKPOINT: usize = 500;
