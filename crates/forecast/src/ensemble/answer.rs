//! What an ensemble says when asked. Where nobody but the online core takes part, exactly what that says.

use std::time::Duration;

use super::notice::Notice;
use super::panel;
use super::row::{MEDIAN, Row, tail_of};
use super::{CREST_STEPS_MAX, Ensemble, LeftOut};
use crate::calibration::{Curve, GRID, crossed};
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
        let floor = if self.config.non_negative { 0.0 } else { f64::MIN };
        let mut row = Row::new(1 + self.kinds.len() + self.guests.len());
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

    /// Distribution of the largest value of the next `steps` steps; see [`Forecaster::window_max`](crate::Forecaster::window_max). The online core's, moved
    /// by how much higher or lower the combined median path reaches than its own.
    pub fn window_max(&self, steps: usize) -> WindowMax {
        let mut window = self.online.window_max(steps);
        if !self.has_company() {
            return window;
        }
        let reach = steps.clamp(1, CREST_STEPS_MAX);
        let crest = |forecast: &Forecast| forecast.values.iter().map(|row| row[0]).fold(f64::MIN, f64::max);
        let moved = crest(&self.forecast(reach, &[0.5])) - crest(&self.online.forecast(reach, &[0.5]));
        window.shift(moved, if self.config.non_negative { 0.0 } else { f64::MIN });
        window
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
    pub(crate) fn windows(&self, steps: usize) -> Vec<Curve> {
        if self.online.plain().idles() {
            return self.counted_windows(steps);
        }
        let mut curves = self.online.window_curves(steps);
        let floor = if self.config.non_negative { 0.0 } else { f64::MIN };
        let said = self.forecast(curves.len(), &GRID).values;
        if self.has_company() {
            let core = self.online.forecast(curves.len(), &[0.5]).values;
            let mut crests = [f64::MIN; 2];
            for (h, curve) in curves.iter_mut().enumerate() {
                crests = [crests[0].max(said[h][MEDIAN]), crests[1].max(core[h][0])];
                *curve = curve.shifted(crests[0] - crests[1], floor);
            }
        }
        let mut least = [f64::MIN; GRID.len()];
        for (curve, said) in curves.iter_mut().zip(said.iter()) {
            let (values, tail) = curve.parts();
            for ((least, &said), &value) in least.iter_mut().zip(said).zip(values) {
                *least = least.max(said).max(value);
            }
            *curve = Curve::new(least, tail, floor);
        }
        curves
    }

    /// The same counted over paths, for series so often zero that medians tell nothing of what members know.
    fn counted_windows(&self, steps: usize) -> Vec<Curve> {
        let steps = steps.min(FORECAST_STEPS_MAX);
        let most = if self.has_company() { usize::MAX } else { PATHS_OF_CORE };
        let rows = Window::Max.over(&self.paths(steps, paths_counted(steps).min(most), 0), &GRID);
        let floor = if self.config.non_negative { 0.0 } else { f64::MIN };
        let curve = |row: &[f64]| {
            let values = std::array::from_fn(|k| row[k]);
            Curve::new(values, tail_of(&values), floor)
        };
        rows.iter().map(curve).collect()
    }

    /// The last observed value, if any.
    pub fn level(&self) -> Option<f64> {
        self.online.plain().level()
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

/// So many paths are counted where the core is alone: twice as many as the windows of the past that they follow.
const PATHS_OF_CORE: usize = 512;
