//! One series as the network sees it: windows of the recent past, and what is known about a future step, in units in
//! which all series look alike.
//!
//! Everything is told relative to the seasonal naive forecast (the value one long season before) and in units of its usual
//! error at that hour, so that one network fits workloads of any size, and so that a network that says nothing is the
//! seasonal naive forecast. Long seasons need no long window: the seasonal values enter directly, and the window holds
//! fine steps of the last hour, hours of the last day and quarter days before that.
//!
//! Promises: nothing at or after the step `known` is used for anything but targets; every number is finite.

use crate::grid::Grid;

/// Numbers for each position of a window.
pub(super) const INPUTS: usize = 8;
/// Numbers for each future step.
pub(super) const FEATURES: usize = 24;

/// The seasons of a series and the positions of its window.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Layout {
    /// The season that is looked at for the shape of a day, in steps.
    short: usize,
    /// The season whose naive forecast is the base, in steps; a multiple of the short one or the same.
    long: usize,
    /// Spans of the window's positions in steps and how many of each, oldest first.
    spans: Vec<(usize, usize)>,
}

impl Layout {
    /// The seasons that `present` values can show; `None` when they show not even the shortest.
    pub(super) fn of(seasons: &[usize], present: usize) -> Option<Layout> {
        let usable = |&&season: &&usize| season >= 4;
        let short = *seasons.iter().find(usable)?;
        let long = *seasons.iter().rfind(|&&season| season >= short && present >= season + 2 * short)?;
        let mut spans = vec![((short / 4).max(1), COARSE), ((short / 24).max(1), HOURS), (1, FINE)];
        spans.dedup_by(|later, earlier| later.0 >= earlier.0);
        Some(Layout { short, long, spans })
    }

    /// The short and the long season.
    pub(super) fn seasons(&self) -> (usize, usize) {
        (self.short, self.long)
    }

    /// Positions of a window.
    pub(super) fn positions(&self) -> usize {
        self.spans.iter().map(|span| span.1).sum()
    }

    /// The first number of known values from which a window has a base.
    pub(super) fn begin(&self) -> usize {
        self.long + self.short / 2
    }

    /// How many of the last values must be kept to forecast as well as with all.
    pub(super) fn kept(&self) -> usize {
        let window: usize = self.spans.iter().map(|span| span.0 * span.1).sum();
        (LAGS * self.long + self.short).max(window + 2 * self.long)
    }
}

/// Positions of a quarter of the short season, of a 24th, and of one step.
const COARSE: usize = 20;
const HOURS: usize = 24;
const FINE: usize = 12;
/// So many seasons back are averaged.
const LAGS: usize = 4;

/// A series with sums that make any mean cheap.
#[derive(Debug)]
pub(super) struct View<'a> {
    layout: &'a Layout,
    values: &'a [f32],
    /// Minute of the week of each value's step and of those after it.
    minutes: &'a [u16],
    /// Sum and number of the values before each place.
    sums: Vec<(f64, f64)>,
    /// The same of the absolute errors of the naive forecasts: of the long season, of the short one, of the better.
    misses: [Vec<(f64, f64)>; 3],
}

/// What holds for all steps that are forecast from one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Number of values known.
    known: usize,
    /// Mean value.
    level: f64,
    /// Mean error of the naive forecast.
    unit: f64,
    /// Growth over the same day one season before.
    ratio: f64,
    /// Share of the long season in the base; the rest is the short one's.
    trust: f64,
    last: f64,
    hour: f64,
    day: f64,
    unrest: f64,
}

/// A future step: where the forecast starts from, and the unit of what is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Base {
    /// The seasonal naive forecast.
    pub(super) value: f64,
    /// Its usual error at that hour.
    pub(super) unit: f64,
}

impl Moment {
    /// Mean error of the naive forecast.
    pub(super) fn unit(&self) -> f64 {
        self.unit
    }
}

impl<'a> View<'a> {
    pub(super) fn new(layout: &'a Layout, values: &'a [f32], minutes: &'a [u16]) -> View<'a> {
        let before = |i: usize, season: usize| {
            let value = i.checked_sub(season).map_or(f32::NAN, |at| values[at]);
            if value.is_finite() { f64::from(value) } else { f64::NAN }
        };
        let lists = [0, 1, 2, 3].map(|list| {
            let mut sums = Vec::with_capacity(values.len() + 1);
            let mut sum = (0.0, 0.0);
            sums.push(sum);
            for (i, &value) in values.iter().enumerate() {
                let value = f64::from(value);
                let miss = |season| (value - before(i, season)).abs();
                let number = match list {
                    0 => value,
                    1 => miss(layout.long),
                    2 => miss(layout.short),
                    _ => miss(layout.long).min(miss(layout.short)),
                };
                if number.is_finite() {
                    sum = (sum.0 + number, sum.1 + 1.0);
                }
                sums.push(sum);
            }
            sums
        });
        let [sums, long, short, better] = lists;
        View { layout, values, minutes, sums, misses: [long, short, better] }
    }

    pub(super) fn layout(&self) -> &Layout {
        self.layout
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn value(&self, at: usize) -> Option<f64> {
        self.values.get(at).filter(|value| value.is_finite()).map(|&value| f64::from(value))
    }

    /// What is needed of the past to forecast with `known` values known; `None` when there is nothing.
    pub(super) fn moment(&self, known: usize) -> Option<Moment> {
        let Layout { short, long, .. } = *self.layout;
        let week = known.saturating_sub(long)..known;
        let level = mean(&self.sums, week.start, week.end).or_else(|| mean(&self.sums, 0, known))?;
        let size = level.abs().max(1e-6);
        let [of_long, of_short, misses] = &self.misses;
        let unit = mean(misses, week.start, week.end).unwrap_or(0.0).max(UNIT_LEAST * size);
        // How well either season did over the last day decides how much it counts.
        let recent = |misses: &[(f64, f64)]| {
            mean(misses, known.saturating_sub(short), known).map(|miss| (miss + 0.1 * unit).powi(-2))
        };
        let trust = match (recent(of_long), recent(of_short)) {
            (Some(long), Some(short)) => long / (long + short),
            (Some(_), None) => 1.0,
            (None, _) => 0.0,
        };
        let hour = (short / 24).max(1);
        let behind = |span: usize| {
            let (from, to) = (known.saturating_sub(span), known);
            let before = mean(&self.sums, from.checked_sub(long)?, to.checked_sub(long)?)?;
            Some((mean(&self.sums, from, to)?, before))
        };
        let gap = |span| behind(span).map_or(0.0, |(now, before)| now - before);
        let ratio = behind(short).map_or(1.0, |(now, before)| {
            if before.abs() > 0.02 * size { (now / before).clamp(0.25, 4.0) } else { 1.0 }
        });
        let near = mean(misses, known.saturating_sub(hour), known).unwrap_or(unit);
        Some(Moment {
            known,
            level,
            unit,
            ratio,
            trust,
            last: gap(1),
            hour: gap(hour),
            day: gap(short),
            unrest: (near.max(0.05 * unit) / unit).ln(),
        })
    }

    /// Where the forecast of step `at` starts from.
    pub(super) fn base(&self, moment: &Moment, at: usize) -> Base {
        let Layout { short, long, .. } = *self.layout;
        let of_long = self.lag(moment.known, at, long, 0);
        let of_short = self.lag(moment.known, at, short, 0);
        let value = match (of_long, of_short) {
            (Some(of_long), Some(of_short)) => Some(of_short + moment.trust * (of_long - of_short)),
            (value, None) | (None, value) => value,
        };
        Base { value: value.unwrap_or(moment.level), unit: self.unit(moment, at) }
    }

    /// The usual error of the naive forecast around the hour of step `at`, on the days before.
    fn unit(&self, moment: &Moment, at: usize) -> f64 {
        let Layout { short, long, .. } = *self.layout;
        let [_, _, misses] = &self.misses;
        let reach = (short / 24).max(1);
        let (mut sum, mut count) = (0.0, 0.0);
        for back in 0..(long / short).clamp(3, 7) {
            let Some(place) = lagged(moment.known, at, short, back) else { break };
            let (from, to) = (place.saturating_sub(reach), (place + reach + 1).min(moment.known));
            sum += misses[to].0 - misses[from].0;
            count += misses[to].1 - misses[from].1;
        }
        let here = if count > 0.0 { sum / count } else { moment.unit };
        0.35 * moment.unit + 0.65 * here
    }

    /// The latest known value a whole number of seasons before `at`, `back` seasons further back; the next one where it
    /// is missing.
    fn lag(&self, known: usize, at: usize, season: usize, back: usize) -> Option<f64> {
        (back..back + LAGS).find_map(|back| self.value(lagged(known, at, season, back)?))
    }

    /// The mean around that value.
    fn smooth(&self, known: usize, at: usize, season: usize, back: usize, reach: usize) -> Option<f64> {
        let place = lagged(known, at, season, back)?;
        mean(&self.sums, place.saturating_sub(reach), (place + reach + 1).min(known))
    }

    /// Writes what is known about step `at`.
    pub(super) fn features(&self, moment: &Moment, base: Base, at: usize, horizon: usize, to: &mut [f32]) {
        let Layout { short, long, .. } = *self.layout;
        let (known, hour) = (moment.known, (short / 24).max(1));
        let reach = (hour / 6).max(1);
        let over = |value: Option<f64>| value.map_or(0.0, |value| (value - base.value) / base.unit);
        let weekly = self.smooth(known, at, long, 0, reach);
        let average = |season: usize, lags: usize, reach: usize| {
            let (mut sum, mut count) = (0.0, 0.0);
            for back in 0..lags {
                if let Some(value) = self.smooth(known, at, season, back, reach) {
                    (sum, count) = (sum + value, count + 1.0);
                }
            }
            (count > 0.0).then(|| sum / count)
        };
        let ahead = (at + 1).saturating_sub(known).max(1) as f64;
        let fade = |span: f64| (-ahead / span).exp();
        let weeks = average(long, LAGS, reach);
        let days = average(short, 5, reach);
        let minute = self.minutes.get(at).copied().unwrap_or(0);
        let [sine, cosine, weekend] = place(minute);
        let unit = base.unit;
        let numbers = [
            over(self.lag(known, at, short, 0)),
            over(self.lag(known, at, long, 0)),
            over(self.smooth(known, at, short, 0, reach)),
            over(weekly),
            over(self.smooth(known, at, long, 1, reach)),
            over(weeks),
            over(days),
            over(weekly.map(|value| value * moment.ratio)),
            over(weeks.map(|value| value * moment.ratio)),
            over(self.smooth(known, at, short, 0, hour)),
            moment.hour / unit,
            moment.hour / unit * fade(6.0 * hour as f64),
            moment.last / unit * fade(0.5 * hour as f64),
            moment.hour / unit * fade(1.5 * hour as f64),
            moment.day / unit,
            (1.0 + ahead).ln() / (1.0 + horizon as f64).ln() - 0.5,
            ahead / horizon as f64 - 0.5,
            sine,
            cosine,
            weekend,
            (base.value - moment.level) / moment.level.abs().max(1e-6),
            (base.unit / moment.unit).ln(),
            moment.unrest,
            moment.unrest * fade(hour as f64),
        ];
        write(to, &numbers);
    }

    /// Writes one position of the window after another: `to(position)` gives its place.
    pub(super) fn window(&self, moment: &Moment, mut write_position: impl FnMut(usize, &[f64; INPUTS])) {
        let total: usize = self.layout.spans.iter().map(|span| span.0 * span.1).sum();
        let mut behind = total;
        let mut position = 0;
        let kinds = self.layout.spans.len();
        for (kind, &(span, count)) in self.layout.spans.iter().enumerate() {
            for _ in 0..count {
                let to = (moment.known + span).checked_sub(behind);
                let inputs = match to.and_then(|to| Some((to.checked_sub(span)?, to))) {
                    Some((from, to)) => self.inputs(moment, from, to, kinds - 1 - kind),
                    None => EMPTY,
                };
                write_position(position, &inputs);
                position += 1;
                behind -= span;
            }
        }
    }

    fn inputs(&self, moment: &Moment, from: usize, to: usize, kind: usize) -> [f64; INPUTS] {
        let Layout { short, long, .. } = *self.layout;
        let Some(now) = mean(&self.sums, from, to) else { return EMPTY };
        let gap = |season: usize| {
            let before = mean(&self.sums, from.checked_sub(season)?, to.checked_sub(season)?)?;
            Some((now - before) / moment.unit)
        };
        let miss = mean(&self.misses[2], from, to).unwrap_or(moment.unit);
        let [sine, cosine, _] = place(self.minutes.get(usize::midpoint(from, to)).copied().unwrap_or(0));
        [
            gap(long).unwrap_or(0.0),
            gap(short).unwrap_or(0.0),
            (now - moment.level) / moment.level.abs().max(1e-6),
            sine,
            cosine,
            kind as f64 - 1.0,
            0.0,
            miss / moment.unit - 1.0,
        ]
    }
}

/// A position that nothing is known of.
const EMPTY: [f64; INPUTS] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
/// The least unit, as a share of the level.
const UNIT_LEAST: f64 = 1e-3;

/// Writes numbers as the network takes them: finite and not huge.
pub(super) fn write(to: &mut [f32], numbers: &[f64]) {
    for (slot, &number) in to.iter_mut().zip(numbers) {
        *slot = if number.is_finite() { number.clamp(-NUMBER_MAX, NUMBER_MAX) as f32 } else { 0.0 };
    }
}

const NUMBER_MAX: f64 = 8.0;

/// The latest place before `known` that is a whole number of seasons before `at`, and `back` more.
fn lagged(known: usize, at: usize, season: usize, back: usize) -> Option<usize> {
    let seasons = if at < known { 1 } else { (at + 1 - known).div_ceil(season) };
    at.checked_sub((seasons + back) * season)
}

fn mean(sums: &[(f64, f64)], from: usize, to: usize) -> Option<f64> {
    let (from, to) = (sums.get(from)?, sums.get(to)?);
    let count = to.1 - from.1;
    (count > 0.0).then(|| (to.0 - from.0) / count)
}

/// Minute of the week in which a step begins, on the wall clock.
pub(super) fn minute_of_week(grid: &Grid, step: u64) -> u16 {
    let local = grid.local(step);
    u16::from(local.weekday) * 1440 + local.minute
}

fn place(minute: u16) -> [f64; 3] {
    let angle = f64::from(minute % 1440) / 1440.0 * std::f64::consts::TAU;
    let (sine, cosine) = angle.sin_cos();
    [sine, cosine, if minute >= 5 * 1440 { 1.0 } else { 0.0 }]
}
