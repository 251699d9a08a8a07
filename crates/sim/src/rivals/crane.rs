//! Crane (gocrane): an HPA on the larger of the metric and its forecast by signal processing.
//!
//! `EffectiveHorizontalPodAutoscaler` gives the HPA a second, external metric: the largest value that the DSP predictor
//! expects in the next hour. The predictor is `forecast`'s re-implementation ([`forecast::models::Dsp`]): one-minute samples
//! of fifteen days, a period of exactly a day or a week or no forecast at all, an estimate with a margin of up to a fifth,
//! remade every twelve hours from what was known then. With less than two days of history only the metric speaks.
//!
//! What it predicts does not depend on how the HPA is set, so that [`Predictions`] can be shared by many replays.

use std::time::Duration;

use forecast::Timestamp;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::{Dsp, History, Pace};

use super::{Given, Rival, View, Wanted, hpa};
use crate::demand::{Demand, Past};

/// The HPA and the forecasts it is fed with.
#[derive(Debug, Clone)]
pub struct Crane<'a> {
    hpa: hpa::Hpa,
    predictions: &'a Predictions,
    /// The step for which the window was looked at, and what was found: it changes once a step.
    seen: Option<(Timestamp, Option<f64>)>,
}

/// What the predictor said at each of its updates; each was made from the demand before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    start: Timestamp,
    step: Duration,
    /// One period from each update on; none where there was no forecast.
    updates: Vec<Option<Vec<f32>>>,
}

impl<'a> Crane<'a> {
    /// Kubernetes defaults; the headroom sets the target utilisation of both metrics.
    pub fn new(given: Given, metric_lag: Duration, predictions: &'a Predictions) -> Crane<'a> {
        Crane { hpa: given.hpa(metric_lag), predictions, seen: None }
    }

    fn predicted(&mut self, now: Timestamp) -> Option<f64> {
        let step = now.align_down(self.predictions.step);
        match self.seen {
            Some((at, found)) if at == step => found,
            Some(_) | None => {
                let found = self.predictions.max(now, WINDOW);
                self.seen = Some((step, found));
                found
            }
        }
    }
}

impl Rival for Crane<'_> {
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now + self.hpa.config().sync)
    }

    fn decide(&mut self, view: &View<'_>) -> Wanted {
        let metric = view.past.value(self.hpa.config().metric_lag);
        let predicted = self.predicted(view.past.now());
        let metric = metric.into_iter().chain(predicted).reduce(f64::max).unwrap_or(f64::NAN);
        Wanted { active: self.hpa.decide(view.past.now(), metric, view.ready, view.current), standby: 0 }
    }
}

impl Predictions {
    /// No forecast at any time.
    pub fn none(demand: &Demand) -> Predictions {
        Predictions { start: demand.start(), step: sample_step(demand.step()), updates: Vec::new() }
    }

    /// Runs the predictor over a demand, always on what is past.
    pub fn new(demand: &Demand) -> Predictions {
        let Predictions { start, step, mut updates } = Predictions::none(demand);
        let mut at = start;
        let end = demand.slot_start(demand.len());
        while at < end {
            updates.push(update(demand.past(at), step));
            at = at + UPDATE;
        }
        Predictions { start, step, updates }
    }

    /// The largest value predicted for the samples that overlap `[now, now + window]`.
    pub fn max(&self, now: Timestamp, window: Duration) -> Option<f64> {
        let since = now.since(self.start).as_millis();
        let update = usize::try_from(since / UPDATE.as_millis()).ok()?;
        let period = self.updates.get(update)?.as_deref().filter(|period| !period.is_empty())?;
        let since = since % UPDATE.as_millis();
        let sample = |after: u128| (after / self.step.as_millis()) as usize;
        let (first, last) = (sample(since), sample(since + window.as_millis()));
        let last = last.min(first + period.len() - 1);
        (first..=last).map(|i| f64::from(period[i % period.len()])).reduce(f64::max)
    }
}

/// The predictor's own sampling: a minute, or the step of a coarser series.
fn sample_step(step: Duration) -> Duration {
    if step < SAMPLE && SAMPLE.as_millis().is_multiple_of(step.as_millis()) { SAMPLE } else { step }
}

fn update(past: Past<'_>, step: Duration) -> Option<Vec<f32>> {
    if step > SAMPLE_MAX {
        return None;
    }
    let each = (step.as_millis() / past.step().as_millis()) as usize;
    let steps = past.complete();
    let kept = (HISTORY.as_millis() / step.as_millis()) as usize * each;
    // Counted back from the present, so that the first sample of the forecast begins now.
    let from = steps.len() - steps.len().min(kept) / each * each;
    let values: Vec<f32> = steps[from..].chunks_exact(each).map(sample).collect();
    let grid = Grid { origin: past.start(), step, zone: None };
    let history = History {
        grid: &grid,
        first: 0,
        values: &values,
        seasons: &[],
        covariates: &Covariates::beginning(0),
        horizon: 1,
        non_negative: true,
    };
    Dsp::period_served(&history, &mut Pace::free()).ok()
}

fn sample(steps: &[Option<f64>]) -> f32 {
    let known = steps.iter().flatten();
    let (sum, count) = known.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { f32::NAN } else { (sum / f64::from(count)) as f32 }
}

/// Crane's sample interval, and the longest it accepts.
const SAMPLE: Duration = Duration::from_secs(60);
const SAMPLE_MAX: Duration = Duration::from_secs(3600);
/// Crane's history length.
const HISTORY: Duration = Duration::from_secs(15 * 86_400);
/// Crane's model update interval.
const UPDATE: Duration = Duration::from_secs(12 * 3600);
/// The prediction window of its examples: up early, down late.
const WINDOW: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(600);

    /// Days of ten-minute steps with one noon each.
    fn days(days: i64) -> Demand {
        let points: Vec<_> = (0..days * 144)
            .map(|slot| {
                let phase = (slot % 144) as f64 / 144.0 * std::f64::consts::TAU;
                (Timestamp::from_secs(slot * 600), Some(500.0 - 400.0 * phase.cos()))
            })
            .collect();
        Demand::from_points(&points, STEP).unwrap()
    }

    #[test]
    fn there_is_no_forecast_before_two_days_have_passed() {
        let predictions = Predictions::new(&days(5));
        let known: Vec<bool> = predictions.updates.iter().map(Option::is_some).collect();
        assert_eq!(known[..4], [false; 4]);
        assert!(known[4..].iter().all(|known| *known), "{known:?}");
        assert_eq!(known.len(), 10, "an update every twelve hours");
    }

    #[test]
    fn the_largest_value_of_the_next_hour_is_served() {
        let predictions = Predictions::new(&days(5));
        let at = |hours: i64| Timestamp::from_secs(4 * 86_400 + hours * 3600);
        let (morning, evening) =
            (predictions.max(at(6), WINDOW).unwrap(), predictions.max(at(18), WINDOW).unwrap());
        // It rises from 500 at six, to 604 an hour later; it falls from 500 at eighteen. Margins are up to a fifth.
        assert!((600.0..730.0).contains(&morning), "{morning}");
        assert!((495.0..610.0).contains(&evening), "{evening}");
    }

    #[test]
    fn the_hpa_follows_the_larger_metric() {
        let (demand, given) =
            (days(5), Given { capacity: 10.0, headroom: 1.0, replicas_min: 1, replicas_max: 500 });
        let predictions = Predictions::new(&demand);
        let now = Timestamp::from_secs(4 * 86_400 + 6 * 3600);
        let view = View { past: demand.past(now), ready: 50, current: 50 };
        let active = Crane::new(given, Duration::ZERO, &predictions).decide(&view).active;
        assert!(active > 59, "{active} for 500 now and more than 600 in an hour");
    }
}
