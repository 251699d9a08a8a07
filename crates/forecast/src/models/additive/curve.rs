//! A fitted additive model as something to read: trend, seasons and effects at any step. Knows nothing of how they were
//! found, nor of errors.

use serde::{Deserialize, Serialize};

use super::design::{Calendar, Column, Layout, Regressor};
use crate::covariates::Covariates;

/// Trend, seasons and effects, to be read at any step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Curve {
    calendar: Calendar,
    first: u64,
    span: f64,
    /// Time up to which it was fitted. Beyond it the trend runs out over `reach`.
    until: f64,
    reach: f64,
    offset: f64,
    slope: f64,
    /// Time and change of slope of each bend.
    bends: Vec<(f64, f64)>,
    /// Effect at each phase of each season.
    tables: Vec<Vec<f32>>,
    effects: Vec<Effect>,
}

/// The effect of a covariate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Effect {
    regressor: Regressor,
    coefficient: f64,
    /// What it is beside that at each phase of the first season; empty where the same at all hours.
    by_phase: Vec<f32>,
}

impl Curve {
    /// From what was found from the first `known` steps, to look about `horizon` farther.
    pub(super) fn new(
        layout: &Layout,
        columns: &[usize],
        found: &[f64],
        known: usize,
        horizon: usize,
    ) -> Curve {
        let seasons = &layout.calendar.seasons;
        let first_period = seasons.first().copied().unwrap_or(0);
        let effect = |regressor: &Regressor| Effect {
            regressor: regressor.clone(),
            coefficient: 0.0,
            by_phase: Vec::new(),
        };
        let mut curve = Curve {
            calendar: layout.calendar.clone(),
            first: layout.first,
            span: layout.span,
            until: known as f64 / layout.span,
            reach: DAMPED_AFTER * horizon.max(1) as f64 / layout.span,
            offset: 0.0,
            slope: 0.0,
            bends: Vec::new(),
            tables: seasons.iter().map(|&period| vec![0.0; period]).collect(),
            effects: layout.regressors.iter().map(effect).collect(),
        };
        let add = |table: &mut [f32], which: usize, sine: bool, c: f64| {
            for (value, &(cosine, sinus)) in table.iter_mut().zip(&layout.tables[which]) {
                *value += (c * if sine { sinus } else { cosine }) as f32;
            }
        };
        for (&column, &c) in columns.iter().zip(found) {
            match layout.columns[column] {
                Column::Offset => curve.offset = c,
                Column::Slope => curve.slope = c,
                Column::Hinge(k) => curve.bends.push((layout.hinges[k], c)),
                Column::Wave(which, sine) => {
                    add(&mut curve.tables[layout.waves[which].season], which, sine, c);
                }
                Column::Regressor(r) => curve.effects[r].coefficient = c,
                Column::Interplay(r, which, sine) => {
                    let table = &mut curve.effects[r].by_phase;
                    table.resize(first_period, 0.0);
                    add(table, which, sine, c);
                }
            }
        }
        curve
    }

    /// What it says at consecutive steps.
    pub(super) fn over(&self, steps: std::ops::Range<u64>, covariates: &Covariates) -> Vec<f64> {
        let mut said = Vec::with_capacity((steps.end - steps.start) as usize);
        let columns: Vec<usize> =
            self.effects.iter().map(|effect| effect.regressor.column(covariates)).collect();
        self.calendar.phases(steps, |_, step, phases| {
            let time = (step as f64 - self.first as f64) / self.span;
            let beyond = (time - self.until).max(0.0) / self.reach;
            let time = time.min(self.until) + self.reach * (1.0 - (-beyond).exp());
            let mut value = self.offset + self.slope * time;
            value += self.bends.iter().map(|(at, change)| change * (time - at).max(0.0)).sum::<f64>();
            value +=
                self.tables.iter().zip(phases).map(|(table, &phase)| f64::from(table[phase])).sum::<f64>();
            for (effect, &column) in self.effects.iter().zip(&columns) {
                let by_phase = phases.first().and_then(|&phase| effect.by_phase.get(phase));
                let size = effect.coefficient + by_phase.map_or(0.0, |&size| f64::from(size));
                value += size * effect.regressor.at(column, covariates, step);
            }
            said.push(value);
        });
        said
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        let tables = self.tables.iter().map(|table| table.len() * 4).sum::<usize>();
        let effects = self.effects.iter().map(|effect| size_of::<Effect>() + effect.by_phase.len() * 4);
        tables + effects.sum::<usize>() + self.bends.len() * 16
    }
}

/// Horizons after which a trend has run out: nobody knows how long it lasts.
const DAMPED_AFTER: f64 = 2.0;
