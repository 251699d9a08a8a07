//! What is known at an origin about a later step, as numbers without a unit.
//!
//! All but the calendar and the covariates are in units of the series' own recent level, so that one forest can learn from
//! series of any size. Nothing here reads a value after the origin.

use serde::{Deserialize, Serialize};

use crate::covariates::Covariates;
use crate::grid::Grid;

/// The values of a series up to now with running sums, so that the mean over any span costs the same.
#[derive(Debug)]
pub(super) struct Past {
    values: Vec<f32>,
    /// Before each place: sum, sum of absolute values, number of present values.
    sums: Vec<(f64, f64, u32)>,
}

impl Past {
    /// Values beyond a great bound are drawn in to it; those that are not finite are missing.
    pub(super) fn new(values: impl Iterator<Item = f32>) -> Past {
        let values: Vec<f32> = values
            .map(|value| if value.is_finite() { value.clamp(-VALUE_MAX, VALUE_MAX) } else { f32::NAN })
            .collect();
        let mut sums = Vec::with_capacity(values.len() + 1);
        let mut sum = (0.0, 0.0, 0);
        sums.push(sum);
        for &value in &values {
            if !value.is_nan() {
                sum = (sum.0 + f64::from(value), sum.1 + f64::from(value.abs()), sum.2 + 1);
            }
            sums.push(sum);
        }
        Past { values, sums }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// How far demand may reach as far as can be told: as far beyond the largest and the least known value as these are
    /// apart. Infinite where no value is known.
    pub(super) fn reach(&self) -> (f64, f64) {
        let present = || self.values.iter().copied().filter(|value| !value.is_nan()).map(f64::from);
        let (least, most) =
            (present().fold(f64::INFINITY, f64::min), present().fold(f64::NEG_INFINITY, f64::max));
        if least > most {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        (2.0 * least - most, 2.0 * most - least)
    }

    pub(super) fn value(&self, at: usize) -> f32 {
        self.values.get(at).copied().unwrap_or(f32::NAN)
    }

    /// Mean of the present values of `[from, to)`; what lies before the first value is missing. NaN when all are.
    fn mean(&self, from: isize, to: isize) -> f32 {
        let (from, to) = self.ends(from, to);
        let present = to.2 - from.2;
        if present == 0 { f32::NAN } else { ((to.0 - from.0) / f64::from(present)) as f32 }
    }

    /// Mean of the absolute values.
    fn mean_abs(&self, from: isize, to: isize) -> f32 {
        let (from, to) = self.ends(from, to);
        let present = to.2 - from.2;
        if present == 0 { f32::NAN } else { ((to.1 - from.1) / f64::from(present)) as f32 }
    }

    fn ends(&self, from: isize, to: isize) -> ((f64, f64, u32), (f64, f64, u32)) {
        let end = self.values.len();
        let place = |at: isize| at.max(0).unsigned_abs().min(end);
        let (from, to) = (place(from), place(to));
        (self.sums[from.min(to)], self.sums[to])
    }
}

/// Values beyond this are drawn in to it, so that sums of them stay finite.
const VALUE_MAX: f32 = 1e30;

/// The spans that features are taken over, in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spans {
    /// The short season, mostly a day.
    pub(super) short: usize,
    /// The long season, mostly a week; none when the history is too short for it.
    pub(super) long: Option<usize>,
    /// A span inside which neighbours are alike: an hour of a day.
    pub(super) near: usize,
}

impl Spans {
    /// The spans of a series of which `len` values are known.
    pub(super) fn new(grid: &Grid, seasons: &[usize], len: usize) -> Spans {
        let hours = |hours: u64| grid.steps_in(std::time::Duration::from_secs(hours * 3600));
        let fits = |span: &usize| *span >= 2 && len >= span + span / 2;
        let day = hours(24).filter(fits);
        let short = day.or_else(|| seasons.iter().copied().find(fits)).unwrap_or((len / 4).max(2));
        let week = day.and(hours(24 * 7)).filter(|&week| len >= week + short);
        let other = || seasons.iter().copied().find(|season| *season > short && len >= season + season / 4);
        Spans { short, long: week.or_else(other), near: (short / 24).max(1) }
    }

    /// How many past values the features reach back to, for a horizon.
    pub(super) fn memory(&self, horizon: usize) -> usize {
        let long = self.long.map_or(0, |long| LONG_LAGS * long);
        let short = (SHORT_LAGS + horizon.div_ceil(self.short)) * self.short;
        (long.max(short) + self.short + horizon + 2 * self.near).min(MEMORY_MAX)
    }
}

/// Seasons that profiles are taken over.
const LONG_LAGS: usize = 4;
const SHORT_LAGS: usize = 7;
/// Most values that are kept.
const MEMORY_MAX: usize = 1 << 16;

/// Everything but the past that features are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) grid: &'a Grid,
    pub(super) spans: Spans,
    /// Step of the first value of the past.
    pub(super) first: u64,
    pub(super) covariates: &'a Covariates,
    /// The columns that are features, in their order; none where the series lacks one.
    pub(super) columns: &'a [Option<usize>],
}

/// What is known at an origin, whichever step is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Number of values known.
    known: usize,
    /// Whether nothing but zeros is known, so that there is no unit.
    pub(super) is_idle: bool,
    /// The unit of all values.
    pub(super) level: f32,
    last: f32,
    few: f32,
    near: f32,
    day: f32,
    /// The last hour against the same hour one short and one long season before.
    near_less_short: f32,
    near_less_long: f32,
    /// The last day against that a long season before.
    day_less_long: f32,
    /// How much an hour differs from the same hour a day before, over the last day.
    roughness: f32,
}

impl Origin {
    /// At the moment when `known` values of the past are known.
    pub(super) fn new(past: &Past, spans: Spans, known: usize) -> Origin {
        let now = known as isize;
        let [short, near] = [spans.short, spans.near].map(|span| span as isize);
        let long = spans.long.map(|long| long as isize);
        let recent = past.mean_abs(now - long.unwrap_or(2 * short), now);
        let usual = past.mean_abs(now - long.map_or(8 * short, |long| LONG_LAGS as isize * long), now);
        // After an idle week any demand is huge in units of that week, and would be all that is learned.
        let level = recent.max(LEVEL_SHARE * usual);
        let level = if level > LEVEL_MIN { level } else { 1.0 };
        let mean = |from: isize, to: isize| past.mean(from, to) / level;
        let less_long = |span: isize| {
            long.map_or(f32::NAN, |long| mean(now - span, now) - mean(now - span - long, now - long))
        };
        let hours = (0..(short / near).min(24)).map(|hour| now - hour * near);
        let (sum, n) = hours
            .map(|end| (mean(end - near, end) - mean(end - near - short, end - short)).abs())
            .filter(|difference| !difference.is_nan())
            .fold((0.0, 0.0), |(sum, n), difference| (sum + difference, n + 1.0));
        Origin {
            known,
            is_idle: recent.max(usual) <= LEVEL_MIN,
            level,
            last: mean(now - 1, now),
            few: mean(now - 3, now),
            near: mean(now - near, now),
            day: mean(now - short, now),
            near_less_short: mean(now - near, now) - mean(now - near - short, now - short),
            near_less_long: less_long(near),
            day_less_long: less_long(short),
            roughness: sum / n,
        }
    }
}

/// The level is at least this share of that over several long seasons.
const LEVEL_SHARE: f32 = 0.5;
/// Below this a series counts as zero.
const LEVEL_MIN: f32 = 1e-20;

/// Features of one step ahead, for the trees and for the baseline.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) trees: Vec<f32>,
    pub(super) linear: [f32; LINEAR],
}

/// Inputs of the linear baseline.
pub(super) const LINEAR: usize = 14;

impl Row {
    /// Fills in the features of the step `ahead` (from 1) of an origin.
    pub(super) fn fill(&mut self, past: &Past, frame: &Frame<'_>, origin: &Origin, ahead: usize) {
        let lags = Lags::new(past, frame.spans, origin, ahead);
        self.linear = lags.for_baseline(frame.spans, origin, ahead);
        let target = origin.known + ahead - 1;
        let local = frame.grid.local(frame.first + target as u64);
        self.trees.clear();
        self.trees.extend([
            ahead as f32 / frame.spans.short as f32,
            f32::from(local.minute),
            f32::from(local.weekday),
            origin.last,
            origin.few,
            origin.near,
            origin.day,
            origin.near_less_short,
            origin.near_less_long,
            origin.day_less_long,
            origin.roughness,
            lags.short[0],
            lags.short_raw,
            lags.short[1],
            lags.short[2],
            lags.shorts,
            lags.short_spread,
            lags.long[0],
            lags.long_raw,
            lags.long[1],
            lags.longs,
            lags.long_spread,
            lags.short_less_long,
        ]);
        // A covariate says most against what it was at the lags whose values are features.
        for &column in frame.columns {
            let at = |back: usize| match (column, (frame.first + target as u64).checked_sub(back as u64)) {
                (Some(column), Some(step)) => frame.covariates.at(column, step),
                (None, _) | (_, None) => f32::NAN,
            };
            let now = at(0);
            let long = frame.spans.long.map_or(f32::NAN, |long| at(lag(long, ahead, 0)));
            self.trees.extend([now, now - at(lag(frame.spans.short, ahead, 0)), now - long]);
        }
    }
}

/// Steps back from a target to its place in the latest season that is known at the origin, or `back` seasons before.
fn lag(season: usize, ahead: usize, back: usize) -> usize {
    (ahead.div_ceil(season) + back) * season
}

/// Values at a target's place in earlier seasons, in units of the level; NaN where there are none.
#[derive(Debug)]
struct Lags {
    /// The latest short seasons: means around the place.
    short: [f32; SHORT_LAGS],
    /// The value at the place itself, in the latest.
    short_raw: f32,
    /// Mean over all short seasons, and how much the latest three differ from it.
    shorts: f32,
    short_spread: f32,
    long: [f32; LONG_LAGS],
    long_raw: f32,
    longs: f32,
    long_spread: f32,
    /// The latest short season against a long one before it.
    short_less_long: f32,
}

impl Lags {
    fn new(past: &Past, spans: Spans, origin: &Origin, ahead: usize) -> Lags {
        let known = origin.known as isize;
        let target = known + ahead as isize - 1;
        let width = (spans.near / 4) as isize;
        // Around a place, but never beyond the origin.
        let around = |back: usize| {
            let at = target - back as isize;
            past.mean(at - width, (at + width + 1).min(known)) / origin.level
        };
        let raw = |back: usize| {
            let at = target - back as isize;
            past.mean(at, at + 1) / origin.level
        };
        let short: [f32; SHORT_LAGS] = std::array::from_fn(|back| around(lag(spans.short, ahead, back)));
        let long: [f32; LONG_LAGS] =
            std::array::from_fn(|back| spans.long.map_or(f32::NAN, |long| around(lag(long, ahead, back))));
        let shorts = mean_present(short.into_iter(), f32::NAN);
        let longs = mean_present(long.into_iter(), f32::NAN);
        let spread = |values: &[f32], mean: f32| {
            mean_present(values.iter().map(|value| (value - mean).abs()), f32::NAN)
        };
        let before = spans.long.map_or(f32::NAN, |long| around(lag(spans.short, ahead, 0) + long));
        Lags {
            short_raw: raw(lag(spans.short, ahead, 0)),
            short_spread: spread(&short[..3], shorts),
            long_raw: spans.long.map_or(f32::NAN, |long| raw(lag(long, ahead, 0))),
            long_spread: spread(&long, longs),
            short_less_long: short[0] - before,
            short,
            shorts,
            long,
            longs,
        }
    }

    /// Inputs of the baseline, for which nothing may be missing: what is, is replaced by the next best.
    fn for_baseline(&self, spans: Spans, origin: &Origin, ahead: usize) -> [f32; LINEAR] {
        let or = |value: f32, other: f32| if value.is_nan() { other } else { value };
        let day = or(origin.day, 0.0);
        let flat = or(self.shorts, day);
        // What is off now will be less so the farther ahead.
        let soon = (-(ahead as f32) / spans.near as f32).exp();
        let later = (-(ahead as f32) / (6.0 * spans.near as f32)).exp();
        let by_long = or(origin.near_less_long, 0.0);
        let by_short = or(origin.near_less_short, 0.0);
        [
            1.0,
            day,
            flat,
            or(self.short[0], flat),
            mean_present(self.short[..3].iter().copied(), flat),
            or(self.long[0], flat),
            or(self.longs, flat),
            or(origin.day_less_long, 0.0),
            by_long,
            by_long * later,
            by_long * soon,
            by_short * later,
            by_short * soon,
            (or(origin.last, day) - or(origin.near, day)) * soon,
        ]
    }
}

/// Mean of those that are not NaN.
fn mean_present(values: impl Iterator<Item = f32>, otherwise: f32) -> f32 {
    let (sum, n) = values.filter(|value| !value.is_nan()).fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    if n > 0.0 { sum / n } else { otherwise }
}

/// What distinguishes a series from others whose forest it shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SeriesTraits(pub(super) [f32; 5]);

impl SeriesTraits {
    /// Over all that is known: spread, share of zeros, how much of the spread each season explains, size.
    pub(super) fn of(past: &Past, spans: Spans) -> SeriesTraits {
        let level = past.mean_abs(0, past.len() as isize);
        let level = if level > LEVEL_MIN { level } else { 1.0 };
        let mean = past.mean(0, past.len() as isize);
        let present = || past.values.iter().filter(|value| !value.is_nan());
        let spread = mean_present(present().map(|value| (value - mean).abs()), 0.0) / level;
        let zeros = mean_present(present().map(|&value| if value == 0.0 { 1.0 } else { 0.0 }), 0.0);
        let explained = |season: usize| {
            let pairs = past.values.iter().zip(past.values.iter().skip(season));
            let error = mean_present(pairs.map(|(before, after)| (after - before).abs()), f32::NAN) / level;
            if spread > 0.0 { error / spread } else { f32::NAN }
        };
        let long = spans.long.map_or(f32::NAN, explained);
        SeriesTraits([spread, zeros, explained(spans.short), long, level.log10()])
    }
}
