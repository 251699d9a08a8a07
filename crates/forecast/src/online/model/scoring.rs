//! What one outcome says of how good forecasts are, and of how often the series is idle.

use crate::online::bucket::{Bucket, Lesson};
use crate::online::memory::Memory;
use crate::trust::naive_lag;

use super::record::{Records, Verdict};

/// The value of a step, and what errors are measured by then.
pub(super) struct Scoring {
    pub(super) step: u64,
    pub(super) value: f64,
    /// Errors from here on are wild.
    pub(super) wild: f64,
    /// Errors up to this count as none.
    pub(super) negligible: f64,
    /// The period of the shortest season in use.
    pub(super) season: Option<usize>,
    /// Medians from here on claim that an idle series will be busy.
    pub(super) claimed_from: f64,
    /// Whether the series was zero at any time.
    pub(super) counts_zeros: bool,
}

impl Scoring {
    /// Scores what was said at one horizon. `memory` ends before the step.
    pub(super) fn score(&self, bucket: &mut Bucket, lesson: &Lesson, memory: &Memory, records: &mut Records) {
        let claims = lesson.said >= self.claimed_from;
        let was_idle = self.counts_zeros && memory.value(self.step - bucket.horizon as u64) == 0.0;
        let unclaimed = self.claimed_from.is_finite() && !claims;
        let zeros = bucket.idle.zeros_unclaimed(was_idle);
        // Where it is likely to be idle, zero was said.
        let error = if unclaimed && zeros >= 0.5 { self.value } else { lesson.error };
        let covered = match () {
            () if !unclaimed => f32::from(u8::from(lesson.covered || lesson.error.abs() <= self.negligible)),
            () if self.value == 0.0 => 1.0,
            // What comes where nothing was claimed is as large as it ever is; that it comes is what may surprise.
            () => ((UPPER - zeros) / (1.0 - zeros)).max(0.0) as f32,
        };
        let naive = naive_lag(bucket.horizon, self.season)
            .and_then(|lag| self.step.checked_sub(lag as u64))
            .map_or(lesson.persistence, |before| self.value - memory.value(before));
        // What is wild is so for both, and tells of neither.
        let tame = |error: f64| error.clamp(-self.wild, self.wild);
        let verdict = Verdict { errors: (tame(error), tame(naive)), covered, claims };
        records.learn(bucket.horizon, verdict);
        if self.counts_zeros {
            bucket.idle.learn(was_idle, claims, self.value == 0.0);
        }
    }
}

/// The upper end of a 90 % interval.
const UPPER: f64 = 0.95;
