//! The track record that trust is judged by.

use serde::{Deserialize, Serialize};

use crate::online::bucket::Lesson;

/// Fading means over recent lessons of near horizons.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    lessons: u64,
    coverage: f64,
    error: f64,
    persistence: f64,
}

impl Record {
    pub(crate) fn learn(&mut self, lesson: &Lesson) {
        self.lessons += 1;
        let share = (1.0 / self.lessons as f64).max(1.0 / LESSONS_KEPT);
        self.coverage += share * (f64::from(u8::from(lesson.covered)) - self.coverage);
        self.error += share * (lesson.error.abs() - self.error);
        self.persistence += share * (lesson.persistence.abs() - self.persistence);
    }

    /// Size of an error lately, ours or that of the last value.
    pub(crate) fn size(&self) -> f64 {
        self.error.max(self.persistence)
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
