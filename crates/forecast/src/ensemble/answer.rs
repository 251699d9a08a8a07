//! What an ensemble says when asked. Where nobody but the online core takes part, exactly what that says.

use std::ops::Range;
use std::time::Duration;

use super::notice::Notice;
use super::panel;
use super::row::{Row, tail_of};
use super::{Ensemble, LeftOut};
use crate::calibration::{Curve, GRID, crossed};
use crate::effects::Ahead;
use crate::joint::{Window, paths_counted};
use crate::online::FORECAST_STEPS_MAX;
use crate::paths::{self, Forecast, Values, WindowMax};
use crate::season::Season;
use crate::timestamp::Timestamp;
use crate::trust::{Trust, TrustAhead};

impl Ensemble {
    /// Quantiles of the next `steps` steps; see [`Forecaster::forecast`](crate::Forecaster::forecast).
    pub fn forecast(&self, steps: usize, quantiles: &[f64]) -> Forecast {
        let steps = steps.min(FORECAST_STEPS_MAX);
        let mut forecast = self.online.forecast(steps, quantiles);
        if steps > 0 && self.has_company() {
            self.combine(steps, quantiles, &mut forecast.values);
        }
        forecast
    }

    fn combine(&self, steps: usize, quantiles: &[f64], values: &mut Values) {
        let core = self.online.forecast(steps, &GRID).values;
        let effects = self.online.ahead(steps);
        let said: Vec<(usize, Values)> = self
            .members
            .iter()
            .map(|member| {
                let mut values = member.model.forecast(steps, &GRID, &self.known.columns);
                self.disturb(&effects, &mut values, |row| row);
                (self.seat(member.kind), values)
            })
            .collect();
        let floor = self.floor();
        let mut row = Row::new(1 + self.kinds.len() + self.guests.len(), self.trifle);
        for h in 0..steps {
            row.set(0, &core[h]);
            for (seat, path) in &said {
                row.set(*seat, &path[h]);
            }
            for (place, guest) in self.guests.iter().enumerate() {
                match guest.row(self.next, self.next + h as u64) {
                    Some(values) => row.set(self.guest_seat(place), values),
                    None => row.clear(self.guest_seat(place)),
                }
            }
            let (lower, upper, share) = self.between(h + 1);
            panel::read(&self.panels[lower], &self.panels[upper], share, &row, quantiles, values.row_mut(h));
            for value in values.row_mut(h) {
                *value = value.max(floor);
            }
        }
    }

    fn between(&self, ahead: usize) -> (usize, usize, f64) {
        let upper = self.panels.partition_point(|panel| panel.ahead < ahead).min(self.panels.len() - 1);
        if upper == 0 || self.panels[upper].ahead <= ahead {
            return (upper, upper, 0.0);
        }
        let (near, far) = (self.panels[upper - 1].ahead as f64, self.panels[upper].ahead as f64);
        (upper - 1, upper, (ahead as f64 - near) / (far - near))
    }

    /// Distribution of the largest value of the next `steps` steps; see [`Forecaster::window_max`](crate::Forecaster::window_max).
    /// Where the online core is not alone, the last of those that [`window_maxima`](Self::window_maxima) tells of.
    pub fn window_max(&self, steps: usize) -> WindowMax {
        let steps = steps.min(FORECAST_STEPS_MAX);
        if steps == 0 || !self.has_company() {
            return self.online.window_max(steps);
        }
        let said = self.forecast(steps, &GRID).values;
        let whole = match steps {
            1 => said[0].to_vec(),
            _ => Window::Max.whole(&self.counted(&said), &GRID),
        };
        let crest = |k: usize| said.iter().map(|row| row[k]).fold(whole[k], f64::max);
        let curve = Curve::new(std::array::from_fn(crest), tail_of(&grid_values(&whole)), self.floor());
        WindowMax { steps, curve }
    }

    /// Whether an event is announced for one of the next `steps` steps of which it is not known yet what it does. Quantiles
    /// reach farther up and down then than anything that was seen.
    pub fn awaits_unknown_event(&self, steps: usize) -> bool {
        self.online.ahead(steps.min(FORECAST_STEPS_MAX)).iter().any(Ahead::is_unsure)
    }

    /// Draws joint paths of the next steps; see [`Forecaster::paths`](crate::Forecaster::paths). Each step has the
    /// distribution that [`forecast`](Self::forecast) gives it; how alike steps are is the online core's.
    pub fn paths(&self, steps: usize, samples: usize, seed: u64) -> Vec<Vec<f64>> {
        if !self.has_company() {
            return self.online.paths(steps, samples, seed);
        }
        self.online.paths_through(&self.forecast(steps, &GRID).values, samples, seed)
    }

    /// Probabilities that levels are crossed by the end of each step; see [`Forecaster::crossings`](crate::Forecaster::crossings). Read from the windows
    /// that [`window_max`](Self::window_max) tells of.
    pub fn crossings(&self, levels: &[f64], steps: usize) -> Vec<Vec<f64>> {
        crossed(&self.windows(steps), levels)
    }

    /// The largest value of the first step, of the first two and so on: never less than that of a shorter window, nor than
    /// any of its steps.
    ///
    /// What the online core has learned of windows is learned by its own errors, such as a peak that it misses again and
    /// again. Where others take part, and know better, windows are counted over paths; as on series so often zero that
    /// medians tell nothing.
    pub(crate) fn windows(&self, steps: usize) -> Vec<Curve> {
        let said = self.forecast(steps, &GRID).values;
        let curves = match self.has_company() || self.online.plain().idles() {
            true => self.counted_windows(&said),
            false => self.online.window_curves(said.len()),
        };
        let mut least = [f64::MIN; GRID.len()];
        let raised = curves.iter().zip(said.iter()).map(|(curve, said)| {
            let (values, tail) = curve.parts();
            for ((least, &said), &value) in least.iter_mut().zip(said).zip(values) {
                *least = least.max(said).max(value);
            }
            Curve::new(least, tail, self.floor())
        });
        raised.collect()
    }

    fn counted_windows(&self, said: &Values) -> Vec<Curve> {
        let rows = Window::Max.over(&self.counted(said), &GRID);
        let curve = |(h, row): (usize, &[f64])| {
            // A window of one step is that step.
            let values = grid_values(if h == 0 { &said[0] } else { row });
            Curve::new(values, tail_of(&values), self.floor())
        };
        rows.iter().enumerate().map(curve).collect()
    }

    /// Paths that windows are counted over.
    fn counted(&self, said: &Values) -> Vec<Vec<f64>> {
        let count = paths_counted(said.len()).min(PATHS);
        match self.has_company() {
            true => self.online.paths_through(said, count, 0),
            false => self.online.paths(said.len(), count, 0),
        }
    }

    fn floor(&self) -> f64 {
        if self.config.non_negative { 0.0 } else { f64::MIN }
    }

    /// The last observed value, if any.
    pub fn level(&self) -> Option<f64> {
        self.online.plain().level()
    }

    /// The largest value a week before the steps `ahead`, counted from the next one; None where that is not remembered.
    pub fn week_ago_max(&self, ahead: Range<usize>) -> Option<f64> {
        self.online.plain().week_ago_max(ahead)
    }

    /// Short-term slope of the last values, per step.
    pub fn slope_per_step(&self) -> f64 {
        self.online.plain().slope_per_step()
    }

    /// Periods found in the series, shortest first.
    pub fn seasons(&self) -> &[Season] {
        self.online.seasons()
    }

    /// How many values were observed (missing ones not counted).
    pub fn observed(&self) -> u64 {
        self.online.plain().observed()
    }

    /// Whether a busy series has fallen silent in a way that resembles an outage rather than a fall of demand.
    pub fn outage_suspected(&self) -> bool {
        self.online.outage_suspected()
    }

    /// Length of one step.
    pub fn step(&self) -> Duration {
        self.config.step
    }

    /// Whether forecasts of the next few steps may be relied upon now: by how those that were combined came out, as soon as
    /// enough have.
    pub fn trust(&self) -> Trust {
        self.trusted(1)
    }

    /// The same by how far ahead they look.
    pub fn trust_ahead(&self) -> TrustAhead {
        TrustAhead::of(|ahead| self.trusted(ahead))
    }

    fn trusted(&self, ahead: usize) -> Trust {
        self.online.trust(self.vigil.records().filter(|_| self.has_company()), ahead)
    }

    /// Who takes part in forecasts, the version of the online core first: `online-3+boosted+arima`.
    pub fn composition(&self) -> String {
        let members = self.members.iter().map(|member| member.kind.name());
        let guests = self.guests.iter().filter(|guest| guest.is_present(self.next));
        let company = members.chain(guests.map(|guest| guest.name.as_str()));
        let version = self.online.plain().version();
        company.fold(format!("online-{version}"), |all, name| format!("{all}+{name}"))
    }

    /// The largest value of the first of the next steps, of the first two and so on; see
    /// [`window_max`](Self::window_max).
    pub fn window_maxima(&self, steps: usize) -> Vec<WindowMax> {
        paths::windows(self.windows(steps))
    }

    /// The weight of every member at a horizon, the online core first. Adds up to one.
    pub fn weights(&self, ahead: usize) -> Vec<(&str, f64)> {
        let (_, upper, _) = self.between(ahead);
        let weights = self.panels[upper].weights(&self.present());
        std::iter::once("online")
            .chain(self.kinds.iter().map(|kind| kind.name()))
            .chain(self.guests.iter().map(|guest| guest.name.as_str()))
            .zip(weights)
            .filter(|(_, weight)| *weight > 0.0)
            .collect()
    }

    /// Who takes part, by seat.
    pub(super) fn present(&self) -> Vec<bool> {
        std::iter::once(true)
            .chain(self.kinds.iter().map(|kind| self.members.iter().any(|member| member.kind == *kind)))
            .chain(self.guests.iter().map(|guest| guest.is_present(self.next)))
            .collect()
    }

    /// How many anomalies were found so far.
    pub fn anomalies_found(&self) -> u64 {
        self.anomalies.found()
    }

    /// What models must not learn, where it [notes that](Ensemble::noting_what_is_left_out). Steps are counted from the first
    /// that was observed.
    pub fn left_out(&self) -> Option<&LeftOut> {
        self.left_out.as_ref()
    }

    /// When the outage began that is suspected now, if one is.
    pub fn outage_since(&self) -> Option<Timestamp> {
        self.anomalies.outage()
    }

    /// How much was noticed so far.
    pub fn noticed(&self) -> u64 {
        self.notices.count()
    }

    /// What was noticed since there were `noticed` of them, as far as it is kept: the latest 64.
    pub fn notices(&self, noticed: u64) -> impl Iterator<Item = &Notice> {
        self.notices.since(noticed)
    }
}

fn grid_values(row: &[f64]) -> [f64; GRID.len()] {
    std::array::from_fn(|k| row[k])
}

/// So many paths are counted.
const PATHS: usize = 512;
