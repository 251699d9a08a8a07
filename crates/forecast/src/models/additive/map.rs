//! The most probable coefficients: Gaussian errors, Gaussian priors on effects, a Laplace prior on changes of slope.
//!
//! This is Prophet's posterior (Taylor and Letham 2018). It is convex, and the sums of products of the columns do not
//! change while it is solved: the Laplace prior is met by ridges that are set anew from the last solution (iteratively
//! reweighted least squares), each round one small Cholesky decomposition. No gradient, no line search.

use super::design::{Column, Layout};
use crate::models::least_squares::Normal;

/// How the trend may bend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trend {
    /// Not at all, and no slope.
    Flat,
    /// A slope, with changes of this scale.
    Bent(f64),
}

/// Which columns are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) trend: Trend,
    /// Most waves of the first and of the longer seasons.
    pub(super) waves: [usize; 2],
    /// No covariates, covariates, covariates whose effects differ by the hour.
    pub(super) covariates: u8,
}

impl Choice {
    /// The columns, of hinges only those up to a time: there must be something after a change to see it by.
    pub(super) fn columns(&self, layout: &Layout, until: f64) -> Vec<usize> {
        let wanted = |column: &Column| match *column {
            Column::Offset => true,
            Column::Slope => self.trend != Trend::Flat,
            Column::Hinge(k) => self.trend != Trend::Flat && layout.hinges[k] <= HINGES_UNTIL * until,
            Column::Wave(which, _) => {
                let wave = &layout.waves[which];
                wave.times <= self.waves[usize::from(wave.season > 0)]
            }
            Column::Regressor(_) => self.covariates > 0,
            Column::Interplay(..) => self.covariates > 1,
        };
        (0..layout.columns.len()).filter(|&i| wanted(&layout.columns[i])).collect()
    }
}

/// Solves in so many rounds. Returns a coefficient for each of `columns`; `None` where there is no solution.
pub(super) fn solve(
    normal: &Normal,
    layout: &Layout,
    choice: &Choice,
    columns: &[usize],
    rounds: usize,
) -> Option<Vec<f64>> {
    let scale = match choice.trend {
        Trend::Flat => 1.0,
        Trend::Bent(scale) => scale,
    };
    let mut changes = vec![scale; layout.hinges.len()];
    let mut variance = 0.3;
    let mut found = Vec::new();
    for _ in 0..rounds.max(1) {
        let ridge = |column: usize| prior(layout, column, &changes, variance, scale);
        let (solution, left) = normal.solve(columns, ridge)?;
        variance = (left / normal.weight().max(1.0)).clamp(1e-6, 1e6);
        for (&column, &c) in columns.iter().zip(&solution) {
            if let Column::Hinge(k) = layout.columns[column] {
                changes[k] = c;
            }
        }
        found = solution;
    }
    Some(found)
}

/// What the prior of a column adds to the diagonal.
fn prior(layout: &Layout, column: usize, changes: &[f64], variance: f64, scale: f64) -> f64 {
    let block = layout.block() as f64;
    // Errors of neighbouring rows are alike: a row is worth only a part of an observation, so a prior weighs more.
    let alike = variance * ALIKE;
    match layout.columns[column] {
        Column::Offset => 1e-3,
        Column::Slope => alike / 25.0,
        Column::Hinge(k) => alike / (scale * changes[k].abs().max(CHANGE_MIN)),
        Column::Wave(which, _) => {
            let wave = &layout.waves[which];
            let first = layout.calendar.seasons.first().copied().unwrap_or(1) as f64;
            if wave.season == 0 { 0.05 * first / block } else { 0.5 * first / block }
        }
        Column::Regressor(_) => alike,
        Column::Interplay(..) => 4.0 * alike,
    }
}

/// Share of the history after which no change of slope is sought (as in Prophet).
const HINGES_UNTIL: f64 = 0.8;
/// Rows that are worth one.
const ALIKE: f64 = 8.0;
/// Changes below this are as good as none.
const CHANGE_MIN: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Timestamp;
    use crate::covariates::Covariates;
    use crate::grid::Grid;
    use crate::models::History;

    fn layout(n: usize) -> Layout {
        let grid = Grid { origin: Timestamp::EPOCH, step: Duration::from_secs(3600), zone: None };
        let history = History {
            grid: &grid,
            first: 0,
            values: &vec![0.0; n],
            seasons: &[24],
            covariates: &Covariates::default(),
            horizon: 24,
            non_negative: true,
        };
        Layout::new(&history)
    }

    fn collected(layout: &Layout, n: usize, y: impl Fn(f64, usize) -> f64) -> (Normal, Vec<(Vec<f64>, f64)>) {
        let mut normal = Normal::new(layout.columns.len());
        let mut rows = Vec::new();
        layout.calendar.phases(0..n as u64, |i, step, phases| {
            let mut row = vec![0.0; layout.columns.len()];
            layout.fill(&mut row, step, phases, &Covariates::default());
            let target = y(layout.time(step), i);
            normal.add(&row, target, 1.0);
            rows.push((row, target));
        });
        (normal, rows)
    }

    #[test]
    fn a_bend_of_the_trend_is_found_where_it_is_and_few_others() {
        let n = 24 * 60;
        let layout = layout(n);
        let mut rng = fastrand::Rng::with_seed(1);
        let noise: Vec<f64> = (0..n).map(|_| rng.f64() - 0.5).collect();
        let bend = layout.hinges[9];
        let (normal, _) = collected(&layout, n, |time, i| {
            time + 6.0 * (time - bend).max(0.0) + (i as f64 * std::f64::consts::TAU / 24.0).cos() + noise[i]
        });
        let choice = Choice { trend: Trend::Bent(3.0), waves: [3, 0], covariates: 0 };
        let columns = choice.columns(&layout, 1.0);
        let found = solve(&normal, &layout, &choice, &columns, 12).unwrap();
        let of = |wanted: Column| found[columns.iter().position(|&c| layout.columns[c] == wanted).unwrap()];
        let near: f64 = (8..=10).map(|k| of(Column::Hinge(k))).sum();
        assert!((near - 6.0).abs() < 1.2, "{near}");
        assert!((of(Column::Wave(0, false)) - 1.0).abs() < 0.1);
    }

    /// The objective itself, with variance as the last round had it, must not fall in any direction.
    #[test]
    fn the_solution_is_the_minimum_of_the_objective() {
        let n = 24 * 20;
        let layout = layout(n);
        let mut rng = fastrand::Rng::with_seed(2);
        let noise: Vec<f64> = (0..n).map(|_| 2.0 * rng.f64() - 1.0).collect();
        let (normal, rows) =
            collected(&layout, n, |time, i| 3.0 * (time - layout.hinges[5]).max(0.0) + noise[i]);
        let choice = Choice { trend: Trend::Bent(0.2), waves: [1, 0], covariates: 0 };
        let columns = choice.columns(&layout, 1.0);
        let found = solve(&normal, &layout, &choice, &columns, 400).unwrap();
        let variance = normal.squares(&columns, &found) / n as f64;
        let objective = |solution: &[f64]| {
            let squares: f64 = rows
                .iter()
                .map(|(row, y)| {
                    (y - columns.iter().zip(solution).map(|(&c, x)| row[c] * x).sum::<f64>()).powi(2)
                })
                .sum();
            let priors: f64 = columns
                .iter()
                .zip(solution)
                .map(|(&c, x)| match layout.columns[c] {
                    // The reweighted ridge of |x| is that of 2 |x|, for x beyond the smallest change.
                    Column::Hinge(_) => 2.0 * variance * ALIKE / 0.2 * x.abs(),
                    _ => prior(&layout, c, &[1.0; 25], variance, 0.2) * x * x,
                })
                .sum();
            squares + priors
        };
        let least = objective(&found);
        for i in 0..found.len() {
            for by in [-0.05, 0.05] {
                let mut moved = found.clone();
                moved[i] += by;
                assert!(objective(&moved) > least - 1e-6 * least, "{i} {by}: {} {least}", objective(&moved));
            }
        }
    }
}
