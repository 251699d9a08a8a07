//! What a limit would have wasted and refused on a recorded use.

use forecast::Timestamp;

use super::Sizer;

/// Sums over a recorded use.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Verdict {
    /// Core-steps used.
    pub used: f64,
    /// Core-steps that were reserved and not used.
    pub slack: f64,
    /// Core-steps wanted beyond the limit.
    pub short: f64,
    /// Steps with a value.
    pub steps: u64,
    /// Steps in which the limit was too low.
    pub steps_short: u64,
    /// Changes of the limit.
    pub changes: u64,
}

impl Verdict {
    /// What was reserved and not used, as a share of what was used.
    pub fn slack_share(&self) -> f64 {
        self.slack / self.used.max(f64::MIN_POSITIVE)
    }

    /// What was wanted beyond the limit, as a share of what was used.
    pub fn short_share(&self) -> f64 {
        self.short / self.used.max(f64::MIN_POSITIVE)
    }

    /// Joins the sums of another series.
    pub fn join(&mut self, other: &Verdict) {
        self.used += other.used;
        self.slack += other.slack;
        self.short += other.short;
        self.steps += other.steps;
        self.steps_short += other.steps_short;
        self.changes += other.changes;
    }
}

/// Lets `sizer` set the limit before each step, then shows it what was wanted. The time before `scored_from` only teaches.
pub fn judge(points: &[(Timestamp, Option<f64>)], scored_from: Timestamp, sizer: &mut dyn Sizer) -> Verdict {
    let mut verdict = Verdict::default();
    let mut before = None;
    for (at, wanted) in points {
        let limit = sizer.limit(*at);
        if let Some(wanted) = wanted.filter(|_| *at >= scored_from) {
            verdict.steps += 1;
            verdict.used += wanted;
            verdict.slack += (limit - wanted).max(0.0);
            verdict.short += (wanted - limit).max(0.0);
            verdict.steps_short += u64::from(wanted > limit);
            verdict.changes += u64::from(before.is_some_and(|before| before != limit));
        }
        before = Some(limit);
        sizer.observe(*at, *wanted);
    }
    verdict
}
