//! The track record that trust is judged by.

use serde::{Deserialize, Serialize};

/// Fading means over recent lessons of near horizons.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    lessons: u64,
    coverage: f64,
    error: f64,
    persistence: f64,
}

impl Record {
    /// Learns the error of a forecast and that of the last value.
    pub(crate) fn learn(&mut self, (error, persistence): (f64, f64), covered: bool) {
        // One error beyond all measure would hide a thousand others.
        let usual = self.error.max(self.persistence);
        let most = if usual > 0.0 { BEYOND * usual } else { f64::INFINITY };
        self.lessons += 1;
        let share = (1.0 / self.lessons as f64).max(1.0 / LESSONS_KEPT);
        self.coverage += share * (f64::from(u8::from(covered)) - self.coverage);
        self.error += share * (error.abs().min(most) - self.error);
        self.persistence += share * (persistence.abs().min(most) - self.persistence);
    }

    /// Takes the sizes of errors as they were; that outcomes were missed since stays.
    pub(crate) fn calm_down(&mut self, before: Record) {
        (self.error, self.persistence) = (before.error, before.persistence);
    }

    /// How many outcomes were scored.
    pub(crate) fn lessons(&self) -> u64 {
        self.lessons
    }

    /// Share of recent outcomes inside their 90 % interval.
    pub(crate) fn coverage(&self) -> f64 {
        self.coverage
    }

    /// Recent gain over repeating the last value, with `negligible` added to both errors.
    pub(crate) fn skill(&self, negligible: f64) -> f64 {
        let persistence = self.persistence + negligible;
        if persistence > 0.0 { 1.0 - (self.error + negligible) / persistence } else { 0.0 }
    }
}

/// Lessons that count fully: about 200 steps of five horizons.
const LESSONS_KEPT: f64 = 1000.0;
/// Errors count as no more than so many usual ones.
const BEYOND: f64 = 100.0;
