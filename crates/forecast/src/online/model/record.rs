//! The track record that trust is judged by.

use serde::{Deserialize, Serialize};

use crate::trust::{Distance, Naive, Trust, UntrustedReason};

/// Fading means over recent lessons of one distance.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    lessons: u32,
    coverage: f32,
    error: f32,
    naive: f32,
}

/// The record at each [`Distance`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Records([Record; Distance::ALL.len()]);

impl Records {
    /// Learns the error of a forecast of a step `ahead`, and that of the naive one.
    pub(crate) fn learn(&mut self, ahead: usize, errors: (f64, f64), covered: bool) {
        let distance = Distance::of(ahead);
        self.0[distance as usize].learn(errors, covered, distance);
    }

    /// The record of forecasts that are not far from now.
    pub(crate) fn near(&self) -> &Record {
        &self.0[Distance::Near as usize]
    }

    /// That of near forecasts is as it was before something that tells nothing of them.
    pub(crate) fn calm_down(&mut self, before: &Record) {
        let near = &mut self.0[Distance::Near as usize];
        (near.error, near.naive) = (before.error, before.naive);
    }

    /// What a record says; errors up to `negligible` count as none.
    pub(crate) fn trust(&self, distance: Distance, naive: Naive, negligible: f64) -> Trust {
        let record = &self.0[distance as usize];
        let untrusted = |reason| Trust::Untrusted { reason };
        let (needed, (coverage, skill)) =
            (needed(distance), (f64::from(record.coverage), record.skill(negligible)));
        if record.lessons < needed {
            return untrusted(UntrustedReason::TooFewOutcomes {
                outcomes: record.lessons.into(),
                needed: needed.into(),
            });
        }
        let (coverage_min, skill_min) = least(distance);
        match () {
            () if coverage < coverage_min => untrusted(UntrustedReason::CoverageLost { coverage }),
            () if skill < skill_min => untrusted(UntrustedReason::NoSkill { skill, naive }),
            () => Trust::Trusted { coverage, skill, naive },
        }
    }
}

impl Record {
    fn learn(&mut self, (error, naive): (f64, f64), covered: bool, distance: Distance) {
        // One error beyond all measure would hide a thousand others.
        let usual = self.error.max(self.naive);
        let most = if usual > 0.0 { BEYOND * usual } else { f32::INFINITY };
        self.lessons = self.lessons.saturating_add(1);
        let haste = haste(distance);
        let share = (haste / (self.lessons as f32 + haste - 1.0)).max(1.0 / kept(distance));
        self.coverage += share * (if covered { 1.0 } else { 0.0 } - self.coverage);
        self.error += share * ((error.abs() as f32).min(most) - self.error);
        self.naive += share * ((naive.abs() as f32).min(most) - self.naive);
    }

    /// How many outcomes were scored.
    pub(crate) fn lessons(&self) -> u32 {
        self.lessons
    }

    /// Recent gain over the naive forecast, with `negligible` added to both errors.
    fn skill(&self, negligible: f64) -> f64 {
        let naive = f64::from(self.naive) + negligible;
        if naive > 0.0 { 1.0 - (f64::from(self.error) + negligible) / naive } else { 0.0 }
    }
}

/// Lessons that count fully: about 200 steps of five near horizons, and as many days of far ones as remain comparable.
fn kept(distance: Distance) -> f32 {
    match distance {
        Distance::Near => 1000.0,
        Distance::Middle => 300.0,
        Distance::Far => 60.0,
    }
}

/// By how much lessons weigh more than the mean of all, at first: far ones are few, and the first of them come from a model
/// that knew no season yet.
fn haste(distance: Distance) -> f32 {
    if distance == Distance::Near { 1.0 } else { 2.5 }
}

/// Lessons before a record says anything. Those of near ones are asked for by the number of observations.
fn needed(distance: Distance) -> u32 {
    match distance {
        Distance::Near => 0,
        Distance::Middle => 30,
        Distance::Far => 12,
    }
}

/// The least coverage and skill that are as they should be. Errors far ahead overlap, so that by chance alone a record of
/// them strays as far as the few that are independent do; and slightly worse than a naive forecast is still as good as it.
fn least(distance: Distance) -> (f64, f64) {
    match distance {
        Distance::Near => (0.8, -0.05),
        Distance::Middle => (0.7, -0.1),
        Distance::Far => (0.6, -0.2),
    }
}

/// Errors count as no more than so many usual ones.
const BEYOND: f32 = 100.0;
