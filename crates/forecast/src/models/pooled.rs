//! Pooled autoregression: many related series share a few long linear models.
//!
//! A series of a few weeks is too short for a model with a week or two of lags; the series of all workloads together are
//! not (Montero-Manso and Hyndman 2021, "Principles and algorithms for forecasting groups of time series"). One model for
//! all is too blunt, so series are sorted into groups by which model predicts them best (see [`groups`]), and each group's
//! model answers for all distances ahead at once, without feeding forecasts back. Two lengths of memory are averaged.
//!
//! Promises: deterministic; a series that was not in the pool can be attached later, at once; with one series it is a
//! ridge regression of that series alone. Does not: use covariates, or know the calendar beyond the given seasons.

mod groups;
mod held_out;
mod lens;
mod linear;
mod model;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::{FitError, History, Pace};
use groups::Member;
use lens::{Lens, Scale};
use linear::{Coefficients, Products};

pub use model::Pooled;

/// What a pool is fitted for. All series of a pool have the same step.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSettings {
    /// Seasons in steps, shortest first; empty when there are none.
    pub seasons: Vec<usize>,
    /// Steps ahead that will be asked for; farther ones are answered by feeding forecasts back.
    pub horizon: usize,
    /// Most groups that series are sorted into. More suit more kinds of series; each needs a dozen series or so.
    pub groups: usize,
    /// How strongly coefficients are drawn to zero, as a share of the mean square of the inputs.
    pub ridge: f64,
}

impl PoolSettings {
    /// The usual settings.
    pub fn new(seasons: &[usize], horizon: usize) -> PoolSettings {
        PoolSettings { seasons: seasons.to_vec(), horizon, groups: 16, ridge: 3e-5 }
    }
}

/// The models that many series share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    views: Vec<View>,
    horizon: usize,
    /// What bands of errors on the past are multiplied by.
    widening: f64,
}

/// The models for one length of memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct View {
    lens: Lens,
    models: Vec<Coefficients>,
}

impl Pool {
    /// Fits a pool to all `histories`.
    ///
    /// # Errors
    /// [`FitError::TooLittleHistory`] when even the shortest memory finds too few windows in all histories together.
    pub fn fit(
        histories: &[History<'_>],
        settings: &PoolSettings,
        pace: &mut Pace<'_>,
    ) -> Result<Pool, FitError> {
        let (mut views, mut seen, mut sorted) = (Vec::new(), Vec::new(), Vec::new());
        for lens in lenses(settings) {
            let members = members(lens, histories);
            if views.len() == VIEWS || !lens.suits(&members) {
                continue;
            }
            let groups = settings.groups.min(members.len() / MEMBERS_MIN).max(1);
            let of = groups::sort(lens, &members, groups, settings.ridge, pace)?;
            if let Some(view) = View::fit(lens, &members, &of, settings, pace)? {
                views.push(view);
                seen.push(members);
                sorted.push(of);
            }
        }
        if views.is_empty() {
            let present = histories.iter().map(History::present).sum();
            let needed =
                lenses(settings).last().map_or(1, |lens| (lens.past + lens.ahead) * lens.block_steps);
            return Err(FitError::TooLittleHistory { present, needed });
        }
        let widening = held_out::widening(&views, &seen, &sorted, histories, settings, pace)?;
        Ok(Pool { views, horizon: settings.horizon.max(1), widening })
    }
}

impl View {
    /// Fits a model to each group of members; `None` when there is nothing to fit to.
    fn fit(
        lens: Lens,
        members: &[Member],
        of: &[usize],
        settings: &PoolSettings,
        pace: &mut Pace<'_>,
    ) -> Result<Option<View>, FitError> {
        let all: Vec<usize> = (0..lens.ahead).collect();
        let Some(pilot) = groups::pilot(lens, members, &all, settings.ridge, pace)? else { return Ok(None) };
        let mut models = Vec::new();
        for group in 0..=of.iter().copied().max().unwrap_or(0) {
            let mut total = Products::<f64>::zeros(lens.inputs(), lens.ahead);
            for (_, member) in of.iter().zip(members).filter(|&(&of, _)| of == group) {
                pace.checkpoint()?;
                let rows = lens.rows(&member.blocks, member.scale, 1, &all);
                let mut own = Products::<f32>::zeros(lens.inputs(), lens.ahead);
                own.add_rows(&rows, &groups::weights(&pilot, &rows, lens.inputs()));
                total.add(&own);
            }
            models.extend(total.solve(settings.ridge));
        }
        Ok((!models.is_empty()).then_some(View { lens, models }))
    }
}

impl Lens {
    /// Whether there are windows enough: of different times, or a model learns one morning by heart, and in all.
    fn suits(self, members: &[Member]) -> bool {
        let windows = |member: &Member| self.windows(member.blocks.len());
        let longest = members.iter().map(windows).max().unwrap_or(0);
        let all: usize = members.iter().map(windows).sum();
        longest >= SEASONS_MIN * self.season && all >= 2 * self.past
    }
}

fn members(lens: Lens, histories: &[History<'_>]) -> Vec<Member> {
    histories
        .iter()
        .map(|history| {
            let scale = Scale::of(history.values, history.non_negative, lens);
            Member { blocks: lens.blocks(history.values, scale), scale }
        })
        .collect()
}

/// Ways to look at the series, from the longest memory to the shortest.
fn lenses(settings: &PoolSettings) -> Vec<Lens> {
    let horizon = settings.horizon.max(1);
    let shortest = settings.seasons.first().copied().unwrap_or(0);
    let block_steps = block_steps(shortest, horizon);
    let in_blocks = |season: usize| season.div_ceil(block_steps);
    let ahead = in_blocks(horizon);
    let season = if shortest == 0 { 1 } else { in_blocks(shortest) };
    let longest = settings.seasons.last().map_or(NO_SEASON_PAST, |&longest| in_blocks(longest));
    let mut pasts = vec![2 * longest, longest + season, 2 * season, season + 2];
    pasts.sort_unstable_by(|a, b| b.cmp(a));
    pasts.dedup();
    let lens = |past: usize| {
        let past = past.min(PAST_MAX);
        Lens {
            block_steps,
            season,
            centre: if past > longest { longest } else { season.min(past) },
            past,
            ahead,
        }
    };
    pasts.into_iter().map(lens).collect()
}

/// The largest divisor of the season that leaves at least `BLOCKS_PER_SEASON` blocks of it; one step when it is shorter.
fn block_steps(season: usize, horizon: usize) -> usize {
    if season == 0 {
        return horizon.div_ceil(2 * BLOCKS_PER_SEASON).max(1);
    }
    let most = (season / BLOCKS_PER_SEASON).max(1);
    (1..=most).rev().find(|size| season.is_multiple_of(*size)).unwrap_or(1)
}

/// Seasons that windows must begin in, at least.
const SEASONS_MIN: usize = 4;
/// Lengths of memory that are averaged.
const VIEWS: usize = 2;
/// Series for each group, at least.
const MEMBERS_MIN: usize = 6;
/// Blocks that a season is divided into, at least, if it has as many steps.
const BLOCKS_PER_SEASON: usize = 24;
/// Blocks of past where there is no season.
const NO_SEASON_PAST: usize = 24;
/// Longest past in blocks: bounds the cost, which grows with its square.
const PAST_MAX: usize = 512;
