//! Dynamic harmonic regression: seasons as sums of a few waves, whose rest is left to the ARMA (Hyndman and
//! Athanasopoulos, section 10.5). The cheaper description of a season of hundreds of steps, and the smoother one.
//!
//! How many waves is decided on stretches of the history that the waves were not fitted to.

use serde::{Deserialize, Serialize};

use crate::models::least_squares::Normal;
use crate::models::waves::{WAVES_FIRST, WAVES_LONGER, Wave, waves};

/// A fitted sum of waves, as one table for each season.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Profile {
    constant: f64,
    tables: Vec<Vec<f32>>,
}

impl Profile {
    /// The value at a step.
    #[inline]
    pub(super) fn at(&self, step: u64) -> f64 {
        let seasonal: f64 =
            self.tables.iter().map(|table| f64::from(table[(step % table.len() as u64) as usize])).sum();
        self.constant + seasonal
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.tables.iter().map(|table| table.len() * 4 + size_of::<Vec<f32>>()).sum()
    }
}

/// Fits a profile to everything before each of the `cuts` (rising places in `values`; the last may be the end).
/// `values[0]` is at step `first`; NaN is missing.
pub(super) fn fit(values: &[f64], first: u64, seasons: &[usize], cuts: &[usize]) -> Vec<Profile> {
    let waves = waves(seasons);
    let columns = 1 + 2 * waves.len();
    let tables: Vec<Vec<(f64, f64)>> = waves.iter().map(|wave| wave.table()).collect();
    let parts: Vec<Normal> = (0..cuts.len())
        .map(|i| {
            let from = i.checked_sub(1).map_or(0, |before| cuts[before]);
            collect(&values[from..cuts[i]], first + from as u64, seasons, &waves, &tables, columns)
        })
        .collect();
    let subsets = subsets(seasons, &waves);
    let ridge = |column: usize| match column.checked_sub(1) {
        None => 1e-3,
        // The longer a season is, the fewer of its periods were seen, and the less a wave of it should be believed.
        Some(column) => {
            let wave = &waves[column / 2];
            if wave.season == 0 { 0.05 * wave.period as f64 } else { 0.5 * seasons[0] as f64 }
        }
    };
    let mut best = (f64::INFINITY, 0);
    for (which, subset) in subsets.iter().enumerate() {
        let mut seen = Normal::new(columns);
        let mut cost = 0.0;
        for pair in parts.windows(2) {
            seen.merge(&pair[0]);
            cost +=
                seen.solve(subset, ridge).map_or(f64::INFINITY, |(found, _)| pair[1].squares(subset, &found));
        }
        if cost < best.0 {
            best = (cost, which);
        }
    }
    let Some(subset) = subsets.get(best.1) else { return vec![Profile::default(); cuts.len()] };
    let mut seen = Normal::new(columns);
    parts
        .iter()
        .map(|part| {
            seen.merge(part);
            let found = seen.solve(subset, ridge).map_or_else(|| vec![0.0; subset.len()], |(found, _)| found);
            profile(seasons, &waves, &tables, subset, &found)
        })
        .collect()
}

/// Columns of each combination of few or many waves of the first and of the longer seasons.
fn subsets(seasons: &[usize], waves: &[Wave]) -> Vec<Vec<usize>> {
    let longer: &[usize] = if seasons.len() > 1 { &[0, WAVES_LONGER / 4, WAVES_LONGER] } else { &[0] };
    let mut subsets = Vec::new();
    for &most_first in &[WAVES_FIRST / 4, WAVES_FIRST / 2, WAVES_FIRST] {
        for &most_longer in longer {
            let wanted = |wave: &Wave| wave.times <= if wave.season == 0 { most_first } else { most_longer };
            let columns = waves.iter().enumerate().filter(|(_, wave)| wanted(wave));
            subsets
                .push(std::iter::once(0).chain(columns.flat_map(|(i, _)| [1 + 2 * i, 2 + 2 * i])).collect());
        }
    }
    subsets
}

fn collect(
    values: &[f64],
    first: u64,
    seasons: &[usize],
    waves: &[Wave],
    tables: &[Vec<(f64, f64)>],
    columns: usize,
) -> Normal {
    let mut normal = Normal::new(columns);
    let longest = seasons.last().copied().unwrap_or(1).max(1);
    let mut add = |step: u64, target: f64, weight: f64| {
        let mut row = vec![1.0; columns];
        for (i, (wave, table)) in waves.iter().zip(tables).enumerate() {
            (row[1 + 2 * i], row[2 + 2 * i]) = table[(step % wave.period as u64) as usize];
        }
        normal.add(&row, target, weight);
    };
    if seasons.iter().all(|season| longest.is_multiple_of(*season)) {
        // Rows of the same phase are the same: their mean with their number does for all of them. What varies inside of a
        // phase is lost from the squares, for every set of waves alike.
        let mut sums = vec![(0.0, 0.0); longest.min(values.len())];
        for (i, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let (sum, n) = &mut sums[i % longest];
            *sum += value;
            *n += 1.0;
        }
        for (i, (sum, n)) in sums.into_iter().enumerate().filter(|(_, (_, n))| *n > 0.0) {
            add(first + i as u64, sum / n, n);
        }
    } else {
        for (i, &value) in values.iter().enumerate() {
            add(first + i as u64, value, 1.0);
        }
    }
    normal
}

fn profile(
    seasons: &[usize],
    waves: &[Wave],
    tables: &[Vec<(f64, f64)>],
    subset: &[usize],
    found: &[f64],
) -> Profile {
    let mut profile =
        Profile { constant: 0.0, tables: seasons.iter().map(|&period| vec![0.0; period.max(1)]).collect() };
    for (&column, &c) in subset.iter().zip(found) {
        let Some(column) = column.checked_sub(1) else {
            profile.constant = c;
            continue;
        };
        let into = &mut profile.tables[waves[column / 2].season];
        for (value, &(cosine, sine)) in into.iter_mut().zip(&tables[column / 2]) {
            *value += (c * if column % 2 == 0 { cosine } else { sine }) as f32;
        }
    }
    profile
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    #[test]
    fn a_day_and_a_week_of_waves_are_found_through_gaps() {
        let wave = |step: u64| {
            let day = TAU * step as f64 / 48.0;
            2.0 + day.sin() + 0.5 * (3.0 * day).cos() + 0.7 * (day / 7.0).cos()
        };
        let mut values: Vec<f64> = (0..48 * 28).map(|i| wave(i + 5)).collect();
        values[100..140].fill(f64::NAN);
        let cuts = [48 * 14, 48 * 21, 48 * 28];
        let profiles = fit(&values, 5, &[48, 336], &cuts);
        for step in (48 * 28..48 * 30).step_by(7) {
            assert!((profiles[2].at(step) - wave(step)).abs() < 0.05, "{step}");
        }
    }

    #[test]
    fn seasons_that_do_not_divide_each_other_are_fitted_row_by_row() {
        let wave = |step: u64| (TAU * step as f64 / 10.0).sin() + (TAU * step as f64 / 37.0).cos();
        let values: Vec<f64> = (0..1200).map(wave).collect();
        let profiles = fit(&values, 0, &[10, 37], &[400, 800, 1200]);
        assert!((profiles[2].at(1234) - wave(1234)).abs() < 0.05);
    }
}
