//! Seasons: periods after which a series resembles itself, found from the data.
//!
//! The autocorrelation of the whole retained history is taken by FFT. A period must stand out as a peak, clear of what
//! chance and short-term persistence explain (Bartlett's standard error), with a valley before it. What its profile
//! explains is removed, and the search goes on in the rest, so that a day and a week are both found. The day and the week
//! of the calendar are known candidates: they are tried by name, with less history than a period that nobody expects.

mod autocorrelation;

use std::cell::RefCell;
use std::ops::Range;

use realfft::RealFftPlanner;
use serde::{Deserialize, Serialize};

use autocorrelation::{Correlation, autocorrelation};

thread_local! {
    /// Keeps the roots of unity of each length, which cost as much as a transform. There are few lengths, all powers of two.
    static PLANNER: RefCell<RealFftPlanner<f32>> = RefCell::new(RealFftPlanner::new());
}

/// A period found in a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Season {
    /// Length in steps.
    pub period: usize,
    /// Autocorrelation at that lag when it was found, 0..1.
    pub strength: f64,
}

impl Season {
    /// Whether two periods differ by no more than searches at different times do.
    pub(crate) fn is_like(&self, other: &Season) -> bool {
        let (a, b) = (self.period, other.period);
        a.abs_diff(b) * 100 <= a.max(b)
    }

    /// Whether two periods are the same but for the exactness of a first measurement.
    pub(crate) fn is_near(&self, other: &Season) -> bool {
        let (a, b) = (self.period, other.period);
        a.abs_diff(b) * 20 <= a.max(b)
    }
}

/// Periods that are known beforehand, in samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    /// Day and week of the calendar.
    pub(crate) calendar: Vec<usize>,
    /// Whether the calendar is that of a known place, which makes its seasons likelier.
    pub(crate) expected: bool,
    /// Periods in use: they stay on weaker evidence than new ones need.
    pub(crate) current: Vec<usize>,
}

/// Finds at most [`SEASONS_MAX`] seasons in evenly spaced values, shortest first.
pub(crate) fn find(values: &[f64], candidates: &Candidates) -> Vec<Season> {
    let mut rest = prepared(values);
    let mut found: Vec<Season> = Vec::new();
    let whole = energy(&rest);
    if whole <= 0.0 {
        return found;
    }
    for _ in 0..SEASONS_MAX {
        if energy(&rest) < REST_MIN * whole {
            break;
        }
        let correlation = PLANNER.with_borrow_mut(|planner| autocorrelation(&rest, planner));
        // Short patterns first: a day's profile would hold them too, but learn them far more slowly.
        let day = candidates.calendar.first().copied().unwrap_or(usize::MAX);
        let Some(season) = by_peak(&correlation, candidates, &found, 0..day / 4)
            .or_else(|| by_name(&rest, &correlation, candidates, &found))
            .or_else(|| by_peak(&correlation, candidates, &found, day / 4..usize::MAX))
        else {
            break;
        };
        remove_profile(&mut rest, season.period);
        found.push(season);
    }
    found.sort_by_key(|season| season.period);
    found
}

/// The next candidate of the calendar that the data supports.
fn by_name(
    rest: &[f64],
    correlation: &Correlation,
    candidates: &Candidates,
    found: &[Season],
) -> Option<Season> {
    let n = rest.len();
    candidates.calendar.iter().copied().find_map(|period| {
        let enough = period + (period / 8).max(4);
        if period < PERIOD_MIN || n < enough || found.iter().any(|season| season.period == period) {
            return None;
        }
        let kept = candidates.current.contains(&period);
        if n < 2 * period + period / 4 && !kept {
            return while_young(rest, period, candidates.expected);
        }
        let strength = correlation.at(period);
        let least = if kept || candidates.expected { STRENGTH_KEPT } else { STRENGTH_BY_NAME };
        // A day is only a season if it is more alike than parts of a day; a slow drift is alike at every lag.
        let (from, to) = (period / 4, period * 3 / 4);
        let between = (0..BETWEEN).map(|i| correlation.at(from + (to - from) * i / BETWEEN)).sum::<f64>();
        // A day that is in use need not be clear of its parts by as much as a new one.
        let margin = if kept { 0.0 } else { VALLEY_BY_NAME };
        let distinct = found
            .iter()
            .all(|inner| 4 * inner.period > period || stands_out(correlation, inner.period, period, margin));
        (distinct && strength > least && strength > between / BETWEEN as f64 + VALLEY_BY_NAME)
            .then_some(Season { period, strength })
    })
}

/// Whether a series is more alike after `period` than after other multiples of the short season `inner`. One whose short
/// pattern drifts (a job that starts a little later every hour) is alike after all of them, and has no other season.
fn stands_out(correlation: &Correlation, inner: usize, period: usize, margin: f64) -> bool {
    let multiple = |part: f64| (part * period as f64 / inner as f64).round() as usize * inner;
    let others = PARTS.iter().map(|&part| correlation.at(multiple(part))).sum::<f64>();
    correlation.at(period) > others / PARTS.len() as f64 + margin
}

/// Whether the beginning of a second period already resembles the first, and resembles it better than what came
/// shortly before. Drift may pass for that by chance; the mixture of experts then ignores the season.
fn while_young(rest: &[f64], period: usize, expected: bool) -> Option<Season> {
    let overlap = rest.len() - period;
    let recent = &rest[period..];
    let strength = alikeness(recent, &rest[..overlap]);
    let others = [period / 4, period / 2, period * 3 / 4]
        .map(|lag| alikeness(recent, &rest[period - lag..][..overlap]));
    let other = others.into_iter().fold(0.0, f64::max);
    let least = if expected { STRENGTH_KEPT.max(0.2) } else { STRENGTH_YOUNG };
    (strength > least && strength > other + VALLEY_BY_NAME).then_some(Season { period, strength })
}

/// Pearson's correlation.
fn alikeness(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut aa, mut ab, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        aa += x * x;
        ab += x * y;
        bb += y * y;
    }
    if aa > 0.0 && bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

/// The shortest period in a range whose peak is nearly as high as the highest.
fn by_peak(
    correlation: &Correlation,
    candidates: &Candidates,
    found: &[Season],
    range: Range<usize>,
) -> Option<Season> {
    let longest = (correlation.samples / 2).min(range.end);
    let mut peaks: Vec<Season> = Vec::new();
    let mut valley = 1.0f64;
    for lag in 2..longest {
        let strength = correlation.at(lag);
        valley = valley.min(strength);
        let reach = (lag / 16).max(1);
        if lag < range.start.max(PERIOD_MIN) || lag + reach >= correlation.samples {
            continue;
        }
        // The nearest first, for most lags are on a slope.
        let higher = |near: usize| correlation.at(near) > strength;
        if (1..=reach).any(|off| higher(lag - off) || higher(lag + off)) {
            continue;
        }
        let known = candidates.current.iter().any(|&period| period.abs_diff(lag) * SAME <= period);
        let fresh_least = match () {
            () if is_odd(lag, &candidates.calendar) => STRENGTH_ODD,
            () if found.is_empty() => STRENGTH_BY_PEAK,
            () => STRENGTH_OF_FURTHER,
        };
        let least = if known { STRENGTH_KEPT } else { fresh_least.max(3.0 * correlation.error()) };
        let again = 2 * lag >= correlation.samples / 2 || correlation.at(2 * lag) > 0.4 * strength;
        let fresh = found.iter().all(|season| {
            let (short, long) = (season.period.min(lag), season.period.max(lag));
            // A multiple of what was removed is a remnant of it, unless it is very distinct.
            let multiple = long % short <= 1 + short / 16 || short - long % short <= 1 + short / 16;
            let distinct = strength > STRENGTH_OF_MULTIPLE
                && long > MULTIPLE_MAX * short
                && stands_out(correlation, short, lag, VALLEY_BY_NAME);
            long as f64 / short as f64 > 1.5 && (!multiple || distinct)
        });
        if strength > least && strength - valley > least && fresh && again {
            peaks.push(Season { period: lag, strength });
        }
    }
    let highest = peaks.iter().map(|peak| peak.strength).fold(0.0, f64::max);
    let first = peaks.into_iter().find(|peak| peak.strength >= NEARLY * highest)?;
    Some(Season { period: sharpened(correlation, first.period), ..first })
}

/// Whether a period is longer than a day without being one of the calendar's. Few things in the world repeat like that.
fn is_odd(period: usize, calendar: &[usize]) -> bool {
    calendar.first().is_some_and(|&day| period > day + day / ALIKE)
        && calendar.iter().all(|&known| period.abs_diff(known) * ALIKE > known)
}

/// A period measured over several of its repetitions: where the peak of the n-th is, divided by n.
fn sharpened(correlation: &Correlation, period: usize) -> usize {
    let mut best = period as f64;
    let mut times = 2;
    while times as f64 * best < correlation.samples as f64 * 0.6 {
        let centre = (times as f64 * best).round() as usize;
        let reach = (period / 8).max(1);
        let peak = (centre - reach..=centre + reach)
            .max_by(|&a, &b| correlation.at(a).total_cmp(&correlation.at(b)))
            .filter(|&peak| peak > centre - reach && peak < centre + reach);
        match peak {
            Some(peak) => best = peak as f64 / times as f64,
            None => break,
        }
        times *= 2;
    }
    best.round() as usize
}

/// Centred, without linear trend, wild values drawn in.
fn prepared(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let middle = (n - 1.0) / 2.0;
    let (mut slope, mut base) = (0.0, 0.0);
    for (i, value) in values.iter().enumerate() {
        let x = i as f64 - middle;
        slope += x * (value - mean);
        base += x * x;
    }
    let slope = if base > 0.0 { slope / base } else { 0.0 };
    let mut rest: Vec<f64> =
        values.iter().enumerate().map(|(i, value)| value - mean - slope * (i as f64 - middle)).collect();
    let typical = rest.iter().map(|x| x.abs()).sum::<f64>() / n.max(1.0);
    for x in &mut rest {
        *x = x.clamp(-WILD * typical, WILD * typical);
    }
    // What rounding leaves of a constant series is no signal.
    if typical <= 1e-9 * mean.abs() {
        rest.fill(0.0);
    }
    rest
}

fn energy(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum()
}

fn remove_profile(values: &mut [f64], period: usize) {
    let mut sums = vec![(0.0, 0.0); period];
    for season in values.chunks(period) {
        for ((sum, n), value) in sums.iter_mut().zip(season) {
            *sum += value;
            *n += 1.0;
        }
    }
    for (sum, n) in &mut sums {
        *sum /= *n;
    }
    for season in values.chunks_mut(period) {
        for (value, (mean, _)) in season.iter_mut().zip(&sums) {
            *value -= mean;
        }
    }
}

/// Most seasons of one series: an hour, a day and a week.
pub(crate) const SEASONS_MAX: usize = 3;
/// Shorter patterns cannot be told from the alternation of neighbouring values.
const PERIOD_MIN: usize = 4;
/// When less than this share of the variation is left, there is nothing more to find.
const REST_MIN: f64 = 0.004;
const STRENGTH_BY_NAME: f64 = 0.1;
const VALLEY_BY_NAME: f64 = 0.05;
const STRENGTH_BY_PEAK: f64 = 0.25;
const STRENGTH_KEPT: f64 = 0.05;
/// With less than two and a quarter periods.
const STRENGTH_YOUNG: f64 = 0.4;
/// Lags between a quarter and three quarters of a period that it is compared with.
const BETWEEN: usize = 24;
/// Peaks in what the first season leaves must stand out more: the removal of a profile leaves ripples of its own.
const STRENGTH_OF_FURTHER: f64 = 0.4;
/// A period longer than a day that the calendar does not know must stand out more still.
const STRENGTH_ODD: f64 = 0.6;
/// Periods that differ by less than one part in so many may be the same.
const ALIKE: usize = 16;
/// Parts of a period whose multiples of a shorter one it is compared with.
const PARTS: [f64; 5] = [0.25, 0.375, 0.5, 0.625, 0.75];
/// Multiples of a found period up to this one are never seasons of their own, farther ones when they are this strong.
const MULTIPLE_MAX: usize = 6;
const STRENGTH_OF_MULTIPLE: f64 = 0.5;
const NEARLY: f64 = 0.6;
/// Periods that differ from one in use by less than one part in so many are kept on weak evidence.
const SAME: usize = 40;
/// Values beyond this many typical deviations are drawn in.
const WILD: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(i: usize) -> f64 {
        // A hash, so that neighbouring values have nothing to do with each other.
        let x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0;
        let x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    }

    fn wave(i: usize, period: usize) -> f64 {
        (i as f64 * std::f64::consts::TAU / period as f64).sin()
    }

    fn periods(values: &[f64], candidates: &Candidates) -> Vec<usize> {
        find(values, candidates).iter().map(|season| season.period).collect()
    }

    #[test]
    fn a_period_nobody_expects_is_found_from_three_cycles() {
        let values: Vec<f64> = (0..400).map(|i| 10.0 + wave(i, 120) + 0.5 * noise(i)).collect();
        let found = periods(&values, &Candidates::default());
        assert_eq!(found.len(), 1);
        assert!(found[0].abs_diff(120) <= 3, "{found:?}");
    }

    #[test]
    fn day_and_week_of_the_calendar_are_both_found() {
        let values: Vec<f64> = (0..28 * 96)
            .map(|i| 10.0 + wave(i, 96) * if i / 96 % 7 < 5 { 3.0 } else { 1.0 } + noise(i))
            .collect();
        let candidates = Candidates { calendar: vec![96, 672], ..Candidates::default() };
        assert_eq!(periods(&values, &candidates), [96, 672]);
    }

    #[test]
    fn an_hourly_pattern_inside_the_day_is_found_too() {
        let values: Vec<f64> = (0..10 * 288)
            .map(|i| 20.0 + 5.0 * wave(i, 288) + if i % 12 == 0 { 30.0 } else { 0.0 } + noise(i))
            .collect();
        let candidates = Candidates { calendar: vec![288, 2016], ..Candidates::default() };
        assert_eq!(periods(&values, &candidates), [12, 288]);
    }

    #[test]
    fn a_job_that_drifts_along_the_hour_makes_no_day() {
        // Every hour, but a little earlier or later each time: alike after any number of hours, less after many.
        let mut late = 0.0;
        let values: Vec<f64> = (0..4000)
            .map(|i| {
                late += 0.12 * noise(i + 9000);
                20.0 + if (i as f64 - late).rem_euclid(12.0) < 2.0 { 30.0 } else { 0.0 } + noise(i)
            })
            .collect();
        let candidates = Candidates { calendar: vec![288, 2016], ..Candidates::default() };
        assert_eq!(periods(&values, &candidates), [12]);
    }

    #[test]
    fn a_period_of_some_days_that_no_calendar_knows_must_be_distinct() {
        let series = |strength: f64| -> Vec<f64> {
            (0..4000).map(|i| 10.0 + strength * wave(i, 900) + 2.0 * noise(i)).collect()
        };
        let known = Candidates { calendar: vec![288, 2016], ..Candidates::default() };
        let is_900 = |found: &[usize]| matches!(found, [period] if period.abs_diff(900) < 20);
        assert!(is_900(&periods(&series(1.0), &Candidates::default())));
        assert_eq!(periods(&series(0.8), &known), []);
        assert!(is_900(&periods(&series(3.0), &known)));
    }

    #[test]
    fn noise_drift_and_constants_have_no_season() {
        let candidates = Candidates { calendar: vec![96, 672], ..Candidates::default() };
        let white: Vec<f64> = (0..3000).map(noise).collect();
        let mut level = 0.0;
        let walk: Vec<f64> = (0..3000)
            .map(|i| {
                level += noise(i);
                level
            })
            .collect();
        let steady: Vec<f64> = (0..3000)
            .scan(0.0, |x, i| {
                *x = 0.9 * *x + noise(i);
                Some(*x)
            })
            .collect();
        assert_eq!(periods(&white, &candidates), []);
        assert_eq!(periods(&walk, &Candidates::default()), []);
        assert_eq!(periods(&steady, &candidates), []);
        assert_eq!(periods(&[7.3; 500], &candidates), []);
        assert_eq!(periods(&[], &candidates), []);
    }

    #[test]
    fn a_day_is_recognised_on_the_second_day() {
        let values: Vec<f64> = (0..400).map(|i| 10.0 + 4.0 * wave(i, 288) + noise(i)).collect();
        let candidates = Candidates { calendar: vec![288, 2016], ..Candidates::default() };
        assert_eq!(periods(&values, &candidates), [288]);
    }
}
