//! One pass over one series: everything that is measured about it.

use std::time::Duration;

use forecast::score::{WeightedPinball, pinball};
use forecast::{Config, Forecaster, Timestamp};

use crate::naive::{KINDS, Naive};

pub(crate) const QUANTILES: [f64; 5] = [0.05, 0.5, 0.9, 0.95, 0.99];
pub(crate) const HORIZONS: [usize; 7] = [1, 3, 6, 12, 48, 144, 288];

/// Counts of one horizon, or of peak hours.
#[derive(Clone, Copy, Debug, Default)]
struct Cover {
    n: f64,
    inside: f64,
    below: f64,
}

impl Cover {
    fn add(&mut self, actual: f64, row: &[f64]) {
        self.n += 1.0;
        self.inside += f64::from(u8::from(actual >= row[0] && actual <= row[3]));
        self.below += f64::from(u8::from(actual <= row[3]));
    }
}

/// What one series, or the mean of several, came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Score {
    n: usize,
    /// In units of the week, of the week at 0.99, of the best; zero where there is none.
    wpl: [f64; 3],
    mae: f64,
    /// By horizon, then at peaks near and far.
    covers: [Cover; HORIZONS.len() + 2],
    observe_us: f64,
    forecast_us: f64,
    bytes: usize,
}

impl Score {
    pub(crate) fn line(&self, name: &str) -> String {
        let shares = |of: fn(&Cover) -> f64| {
            self.covers
                .iter()
                .map(|c| if c.n > 0.0 { format!("{:.3}", of(c) / c.n) } else { "    -".into() })
                .map(|text| text.replacen("0.", ".", 1))
                .map(|text| format!("{text:>4}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        format!(
            "{name:<28.28} {:>6} {:.3} {:.3} {:.3} {:.3} | {} | {} | {:.2} {:.1} {}",
            self.n,
            self.wpl[0],
            self.wpl[1],
            self.wpl[2],
            self.mae,
            shares(|c| c.inside),
            shares(|c| c.below),
            self.observe_us,
            self.forecast_us,
            self.bytes,
        )
    }

    /// How many coverages are inside their band, of how many.
    pub(crate) fn cells(&self) -> (usize, usize) {
        let measured = self.covers.iter().filter(|cover| cover.n > 0.0);
        measured.fold((0, 0), |(inside, all), cover| {
            let a = (0.88..=0.92).contains(&(cover.inside / cover.n));
            let b = (0.94..=0.96).contains(&(cover.below / cover.n));
            (inside + usize::from(a) + usize::from(b), all + 2)
        })
    }

    /// Geometric means of ratios, plain means of shares and costs.
    pub(crate) fn mean(scores: &[Score]) -> Option<Score> {
        let n = scores.len() as f64;
        let geometric = |of: &dyn Fn(&Score) -> f64| {
            let (sum, n) = scores
                .iter()
                .map(of)
                .filter(|&r| r > 0.0)
                .fold((0.0, 0.0), |(sum, n), r| (sum + r.ln(), n + 1.0));
            if n > 0.0 { f64::exp(sum / n) } else { 0.0 }
        };
        let mut mean = Score {
            n: scores.iter().map(|score| score.n).sum(),
            wpl: std::array::from_fn(|k| geometric(&|score| score.wpl[k])),
            mae: geometric(&|score| score.mae),
            observe_us: scores.iter().map(|score| score.observe_us).sum::<f64>() / n,
            forecast_us: scores.iter().map(|score| score.forecast_us).sum::<f64>() / n,
            bytes: scores.iter().map(|score| score.bytes).max()?,
            ..Score::default()
        };
        for (k, sum) in mean.covers.iter_mut().enumerate() {
            for cover in scores.iter().map(|score| score.covers[k]).filter(|cover| cover.n > 0.0) {
                sum.n += 1.0;
                sum.inside += cover.inside / cover.n;
                sum.below += cover.below / cover.n;
            }
        }
        Some(mean)
    }
}

/// Feeds a series step by step and asks on the way.
pub(crate) fn evaluate(
    origin: Timestamp,
    values: &[Option<f64>],
    step: Duration,
    windows: bool,
) -> Option<Score> {
    let day = ((86_400_000 / step.as_millis().max(1)) as usize).max(1);
    let (n, horizon, week) = (values.len(), day.clamp(12, 1440), 7 * day);
    let warm = (8 * day).min(n * 2 / 3).max(n / 4);
    let has_week = n > week + warm.max(week) / 8 && warm >= week;
    let mut forecaster = Forecaster::new(config(step, horizon)).ok()?;
    let at = |t: usize| origin + step.saturating_mul(u32::try_from(t).unwrap_or(u32::MAX));
    let (every, often) = ((n / 1500).max(1) | 1, (n / 20_000).max(1));
    let peak_hours = peak_hours(values, day);
    let mut score = Score { n, ..Score::default() };
    let mut ours = [WeightedPinball::default(), WeightedPinball::default()];
    let mut rivals: Vec<(Naive, [WeightedPinball; 2])> =
        KINDS.into_iter().map(|kind| (Naive::new(kind, day), Default::default())).collect();
    let mut errors = [0.0; 4];
    let mut maxima = Maxima::default();
    for t in 0..n {
        forecaster.observe(at(t), values[t]).ok()?;
        if t < warm {
            continue;
        }
        if t % often == 0 {
            let short = forecaster.forecast(12, &QUANTILES);
            for h in 1..=12 {
                let Some(actual) = values.get(t + h).copied().flatten() else { continue };
                let row = &short.values[h - 1];
                let back =
                    |m: usize| (t + h).checked_sub(m).and_then(|u| values[u]).or(values[t]).unwrap_or(0.0);
                let says = [row[1], values[t].unwrap_or(0.0), back(day), back(week)];
                for (error, said) in errors.iter_mut().zip(says) {
                    *error += (actual - said).abs();
                }
                if let Some(k) = HORIZONS.iter().position(|&horizon| horizon == h) {
                    score.covers[k].add(actual, row);
                    if peak_hours[hour(t + h, day)] {
                        score.covers[HORIZONS.len()].add(actual, row);
                    }
                }
            }
            if windows {
                maxima.add(&forecaster, values, t);
            }
        }
        if t % every != 0 {
            continue;
        }
        if t % day < every {
            rivals.iter_mut().for_each(|(rival, _)| rival.learn(values, t));
        }
        let path = forecaster.forecast(horizon, &QUANTILES);
        for h in 1..=horizon {
            let Some(actual) = values.get(t + h).copied().flatten() else { continue };
            let row = &path.values[h - 1];
            add(&mut ours, actual, row);
            for (rival, loss) in &mut rivals {
                add(loss, actual, &rival.says(values, t, h));
            }
            if let Some(k) = HORIZONS.iter().position(|&horizon| horizon == h && h > 12) {
                score.covers[k].add(actual, row);
                if peak_hours[hour(t + h, day)] {
                    score.covers[HORIZONS.len() + 1].add(actual, row);
                }
            }
        }
    }
    score.mae = errors[0] / errors[1..].iter().copied().fold(f64::INFINITY, f64::min);
    if has_week {
        let ours = [ours[0].value()?, ours[1].value()?];
        let (week, best) = (&rivals[0].1, rivals.iter().filter_map(|(_, loss)| loss[0].value()));
        let best = best.fold(f64::INFINITY, f64::min);
        score.wpl = [ours[0] / week[0].value()?, ours[1] / week[1].value()?, ours[0] / best];
    }
    cost(&mut score, &at, values, step, horizon)?;
    if windows {
        maxima.print();
    }
    Some(score)
}

fn add(losses: &mut [WeightedPinball; 2], actual: f64, row: &[f64]) {
    for q in 1..4 {
        losses[0].add(QUANTILES[q], actual, row[q]);
    }
    losses[1].add(QUANTILES[4], actual, row[4]);
}

/// Processor time and memory at the default horizon.
fn cost(
    score: &mut Score,
    at: &impl Fn(usize) -> Timestamp,
    values: &[Option<f64>],
    step: Duration,
    horizon: usize,
) -> Option<()> {
    let mut alone = Forecaster::new(config(step, horizon.min(288))).ok()?;
    // The system counts processor time in whole ticks: short series are fed several times over.
    let (begin, mut passes) = (cpu_time(), 0);
    while passes == 0 || (cpu_time() - begin < TICKS_NS && passes < 50) {
        alone = Forecaster::new(config(step, horizon.min(288))).ok()?;
        for (t, &value) in values.iter().enumerate() {
            alone.observe(at(t), value).ok()?;
        }
        passes += 1;
    }
    score.observe_us = (cpu_time() - begin) as f64 / 1e3 / (passes * values.len()) as f64;
    let begin = cpu_time();
    for _ in 0..FORECASTS {
        std::hint::black_box(alone.forecast(288, &QUANTILES[..4]));
    }
    score.forecast_us = (cpu_time() - begin) as f64 / 1e3 / f64::from(FORECASTS);
    score.bytes = alone.bytes();
    Some(())
}

/// Calibration of window maxima.
#[derive(Debug, Default)]
struct Maxima {
    below: [[f64; 3]; WINDOWS.len()],
    idle: [f64; WINDOWS.len()],
    loss: [f64; WINDOWS.len()],
    n: [f64; WINDOWS.len()],
    sum: f64,
    values: f64,
}

impl Maxima {
    fn add(&mut self, forecaster: &Forecaster, values: &[Option<f64>], t: usize) {
        self.sum += values[t].unwrap_or(0.0);
        self.values += 1.0;
        for (k, &w) in WINDOWS.iter().enumerate() {
            let Some(window) = values.get(t + 1..=t + w) else { continue };
            if window.iter().any(Option::is_none) {
                continue;
            }
            let actual = window.iter().flatten().copied().fold(0.0, f64::max);
            let distribution = forecaster.window_max(w);
            self.n[k] += 1.0;
            for (count, tau) in self.below[k].iter_mut().zip([0.9, 0.95, 0.99]) {
                *count += f64::from(u8::from(actual <= distribution.quantile(tau)));
            }
            let said = distribution.quantile(0.99);
            self.idle[k] += (said - actual).max(0.0);
            self.loss[k] += pinball(0.99, actual, said);
        }
    }

    fn print(&self) {
        let mean = self.sum / self.values;
        for (k, w) in WINDOWS.iter().enumerate() {
            let [a, b, c] = self.below[k].map(|count| count / self.n[k]);
            let (loss, idle) = (self.loss[k] / self.n[k] / mean, self.idle[k] / self.n[k] / mean);
            println!(
                "    max over {w:>3}: .9 {a:.3} .95 {b:.3} .99 {c:.4}, pinball(.99) {loss:.4} and idle {idle:.3} of the mean"
            );
        }
    }
}

/// The quarter of the day's hours that is busiest on average.
fn peak_hours(values: &[Option<f64>], day: usize) -> [bool; 24] {
    let mut sums = [(0.0, 1e-9); 24];
    for (t, value) in values.iter().enumerate() {
        if let Some(value) = value {
            let sum = &mut sums[hour(t, day)];
            *sum = (sum.0 + value, sum.1 + 1.0);
        }
    }
    let mut order: Vec<usize> = (0..24).collect();
    order.sort_by(|&a, &b| (sums[b].0 / sums[b].1).total_cmp(&(sums[a].0 / sums[a].1)));
    let mut peak = [false; 24];
    order[..6].iter().for_each(|&hour| peak[hour] = true);
    peak
}

fn hour(t: usize, day: usize) -> usize {
    t % day * 24 / day
}

fn config(step: Duration, horizon: usize) -> Config {
    let mut config = Config::new(step);
    config.horizon_max = step * u32::try_from(horizon.max(288)).unwrap_or(288);
    config
}

/// Nanoseconds this thread has computed, where the system tells (Linux); zero elsewhere.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Processor time that is measured well.
const TICKS_NS: u64 = 100_000_000;
const FORECASTS: u32 = 5000;
const WINDOWS: [usize; 6] = [1, 3, 12, 40, 144, 288];
