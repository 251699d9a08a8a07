//! Whether intervals keep their word: at every distance, at peak hours, and after the level has shifted.

use anyhow::Result;
use forecast::joint::Window;

use crate::corpus::Recorded;
use crate::rows::{Better, Rows};

const AHEADS: [usize; 9] = [1, 2, 3, 6, 12, 36, 72, 144, 288];
/// How many steps are summed up, every how many steps, over so many paths.
const SUMS: [usize; 4] = [12, 36, 72, 288];
const SUMS_EVERY: usize = 23;
const PATHS: usize = 500;
/// The steps of the day with the largest mean: a quarter of them.
const PEAK_SHARE: f64 = 0.25;
const PEAKS_FROM_DAYS: usize = 14;
/// How much the level shifts, and how many hours after it coverage must be back.
const SHIFT: f32 = 1.4;
const SHIFTS: usize = 48;

/// Inside 0.05 to 0.95, at or below 0.95, and how many.
#[derive(Clone, Copy, Default)]
struct Count {
    inside: f64,
    below: f64,
    n: f64,
}

impl Count {
    fn add(&mut self, actual: f64, row: &[f64]) {
        let slack = 1e-6 * actual.abs();
        self.inside += f64::from(u8::from(row[0] <= actual + slack && actual <= row[1] + slack));
        self.below += f64::from(u8::from(actual <= row[1] + slack));
        self.n += 1.0;
    }
}

pub(super) fn measure(corpus: &[Recorded], rows: &mut Rows) -> Result<()> {
    let mut all = vec![Vec::new(); AHEADS.len()];
    let mut peaks = vec![Vec::new(); AHEADS.len()];
    for series in corpus {
        let (own, own_peaks) = counts(series)?;
        for k in 0..AHEADS.len() {
            all[k].push(own[k]);
            peaks[k].push(own_peaks[k]);
        }
    }
    report("at every hour", &all, rows);
    report("at peak hours", &peaks, rows);
    sums(corpus, rows)?;
    shifted(corpus, rows)
}

/// Whether intervals of the sum of several steps, counted over drawn paths, hold.
fn sums(corpus: &[Recorded], rows: &mut Rows) -> Result<()> {
    let mut shares = vec![Vec::new(); SUMS.len()];
    for series in corpus {
        let mut counts = [Count::default(); SUMS.len()];
        let mut forecaster = series.forecaster()?;
        let longest = SUMS[SUMS.len() - 1].min(series.day());
        for (t, &value) in series.values.iter().enumerate() {
            forecaster.observe(series.grid.begins_at(t as u64), Some(f64::from(value)))?;
            if t < series.values.len() / 2 || !t.is_multiple_of(SUMS_EVERY) {
                continue;
            }
            let said = Window::Sum.over(&forecaster.paths(longest, PATHS, t as u64), &[0.05, 0.95]);
            for (count, &steps) in counts.iter_mut().zip(&SUMS).filter(|(_, steps)| **steps <= longest) {
                let Some(actual) = series.values.get(t + 1..=t + steps) else { continue };
                let sum: f64 = actual.iter().map(|&value| f64::from(value)).sum();
                if sum.is_finite() {
                    count.add(sum, &said[steps - 1]);
                }
            }
        }
        for (shares, count) in shares.iter_mut().zip(counts).filter(|(_, count)| count.n > 0.0) {
            shares.push(count.inside / count.n);
        }
    }
    for (shares, steps) in shares.iter().zip(SUMS).filter(|(shares, _)| !shares.is_empty()) {
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let what = format!("coverage: 90 % interval of the sum of {steps} steps");
        rows.note(&what, mean, "share", Better::Higher, None);
    }
    Ok(())
}

fn report(when: &str, counts: &[Vec<Count>], rows: &mut Rows) {
    // Each series counts the same, however long it is.
    let mean = |counts: &Vec<Count>, number: fn(&Count) -> f64| {
        let shares: Vec<f64> = counts.iter().filter(|c| c.n > 0.0).map(|c| number(c) / c.n).collect();
        shares.iter().sum::<f64>() / shares.len() as f64
    };
    let (mut inside, mut below) = (0.0_f64, 0.0_f64);
    for (k, ahead) in AHEADS.iter().enumerate() {
        let (within, under) = (mean(&counts[k], |c| c.inside), mean(&counts[k], |c| c.below));
        if within.is_nan() {
            continue;
        }
        let peer = Some(format!("at or below 0.95: {under:.3}"));
        rows.note(
            &format!("coverage: 90 % interval {when}, {ahead} steps ahead"),
            within,
            "share",
            Better::Higher,
            peer,
        );
        inside = inside.max((within - 0.9).abs());
        below = below.max((under - 0.95).abs());
    }
    rows.at_most(
        &format!("coverage: 90 % interval {when}, farthest from 0.90 at any distance"),
        inside,
        "share",
        0.02,
        None,
    );
    rows.at_most(
        &format!("coverage: 0.95 quantile {when}, farthest from 0.95 at any distance"),
        below,
        "share",
        0.01,
        None,
    );
}

/// Counts by distance, over all hours and over peak hours.
fn counts(series: &Recorded) -> Result<(Vec<Count>, Vec<Count>)> {
    let (values, day) = (&series.values, series.day());
    let warm = (8 * day).min(values.len() / 2);
    let stride = (values.len() / 3_000).max(1) | 1;
    let mut busy = Vec::new();
    let horizon = AHEADS[AHEADS.len() - 1].min(day.max(12));
    let mut forecaster = series.forecaster()?;
    let (mut all, mut peaks) = (vec![Count::default(); AHEADS.len()], vec![Count::default(); AHEADS.len()]);
    for (t, &value) in values.iter().enumerate() {
        forecaster.observe(series.grid.begins_at(t as u64), Some(f64::from(value)))?;
        if t < warm || t % stride != 0 {
            continue;
        }
        if busy.is_empty() || t % day < stride {
            busy = peak_hours(&values[..=t], day);
        }
        let said = forecaster.forecast(horizon, &[0.05, 0.95]);
        for (k, ahead) in AHEADS.iter().enumerate().filter(|(_, ahead)| **ahead <= horizon) {
            let Some(actual) = values.get(t + ahead).copied().filter(|actual| actual.is_finite()) else {
                continue;
            };
            let row = &said.values[ahead - 1];
            all[k].add(f64::from(actual), row);
            if busy[(t + ahead) % day] {
                peaks[k].add(f64::from(actual), row);
            }
        }
    }
    Ok((all, peaks))
}

/// Which steps of the day were the busiest in the two weeks before. Chosen with hindsight they would be those that turned out
/// higher than anybody could expect, and no forecast of anything would cover them.
fn peak_hours(values: &[f32], day: usize) -> Vec<bool> {
    let mut sums = vec![(0.0_f64, 0.0_f64); day];
    let from = values.len().saturating_sub(PEAKS_FROM_DAYS * day);
    for (i, value) in values.iter().enumerate().skip(from).filter(|(_, value)| value.is_finite()) {
        sums[i % day].0 += f64::from(*value);
        sums[i % day].1 += 1.0;
    }
    let means: Vec<f64> = sums.iter().map(|(sum, n)| if *n > 0.0 { sum / n } else { 0.0 }).collect();
    let mut sorted = means.clone();
    sorted.sort_by(f64::total_cmp);
    let least = sorted[((1.0 - PEAK_SHARE) * (day - 1) as f64) as usize];
    means.into_iter().map(|mean| mean >= least).collect()
}

/// The level of each 5-minute series is raised for good at several moments; coverage one step ahead is counted from two
/// hours after that on, for four hours.
fn shifted(corpus: &[Recorded], rows: &mut Rows) -> Result<()> {
    let mut count = Count::default();
    for series in corpus.iter().filter(|series| series.day() == 288) {
        let (n, day) = (series.values.len(), series.day());
        for k in 0..SHIFTS {
            let at = 10 * day + (n - 12 * day) * k / SHIFTS + 37 * k % day;
            if at + 6 * 12 >= n {
                continue;
            }
            let mut forecaster = series.forecaster()?;
            for (t, &value) in
                series.values.iter().enumerate().take(at + 6 * 12).skip(at.saturating_sub(21 * day))
            {
                let value = if t >= at { value * SHIFT } else { value };
                if t >= at + 2 * 12 && value.is_finite() {
                    count.add(f64::from(value), &forecaster.forecast(1, &[0.05, 0.95]).values[0]);
                }
                forecaster.observe(series.grid.begins_at(t as u64), Some(f64::from(value)))?;
            }
        }
    }
    let (inside, below) = (count.inside / count.n, count.below / count.n);
    let when = "one step ahead, 2 to 6 hours after a shift of the level by 1.4";
    rows.at_most(
        &format!("coverage: 90 % interval {when}, distance from 0.90"),
        (inside - 0.9).abs(),
        "share",
        0.02,
        Some(format!("{inside:.3} inside")),
    );
    rows.at_most(
        &format!("coverage: 0.95 quantile {when}, distance from 0.95"),
        (below - 0.95).abs(),
        "share",
        0.01,
        Some(format!("at or below: {below:.3}")),
    );
    Ok(())
}
