//! The track record that trust is judged by.

use serde::{Deserialize, Serialize};

use crate::trust::{Distance, Naive, Trust, UntrustedReason};

/// Fading means over recent lessons of one distance.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    lessons: u16,
    /// Of the lessons, those from forecasts that claimed demand of a mostly idle series, and their coverage.
    claims: u16,
    claims_held: f32,
    coverage: f32,
    error: f32,
    naive: f32,
}

/// How one forecast came out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// Its error, and that of the naive forecast.
    pub(crate) errors: (f64, f64),
    /// Whether the value was inside its 90 % interval: 1, 0, or how likely that was where it cannot be told.
    pub(crate) covered: f32,
    /// Whether it claimed demand of a series that is mostly idle.
    pub(crate) claims: bool,
}

/// The record at each [`Distance`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Records([Record; Distance::ALL.len()]);

impl Records {
    /// Learns how a forecast of a step `ahead` came out.
    pub(crate) fn learn(&mut self, ahead: usize, verdict: Verdict) {
        let distance = Distance::of(ahead);
        self.0[distance as usize].learn(verdict, distance);
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
        if record.lessons() < needed {
            return untrusted(UntrustedReason::TooFewOutcomes {
                outcomes: record.lessons.into(),
                needed: needed.into(),
            });
        }
        let (coverage_min, skill_min) = least(distance);
        // That a series is idle as it mostly is says little of whether it is as busy as is claimed.
        let claims_held = f64::from(record.claims_held);
        let claims_lost =
            f32::from(record.claims) >= claims_kept(distance) / 4.0 && claims_held < CLAIMS_HELD;
        match () {
            () if coverage < coverage_min => untrusted(UntrustedReason::CoverageLost { coverage }),
            () if claims_lost => untrusted(UntrustedReason::ClaimsMissed { coverage: claims_held }),
            () if skill < skill_min => untrusted(UntrustedReason::NoSkill { skill, naive }),
            () => Trust::Trusted { coverage, skill, naive },
        }
    }
}

impl Record {
    fn learn(&mut self, verdict: Verdict, distance: Distance) {
        let Verdict { errors: (error, naive), covered, claims } = verdict;
        // One error beyond all measure would hide a thousand others.
        let usual = self.error.max(self.naive);
        let most = if usual > 0.0 { BEYOND * usual } else { f32::INFINITY };
        self.lessons = self.lessons.saturating_add(1);
        let haste = haste(distance);
        let share = (haste / (f32::from(self.lessons) + haste - 1.0)).max(1.0 / kept(distance));
        self.coverage += share * (covered - self.coverage);
        if claims {
            self.claims = self.claims.saturating_add(1);
            let share = 1.0 / f32::from(self.claims).min(claims_kept(distance));
            self.claims_held += share * (covered - self.claims_held);
        }
        self.error += share * ((error.abs() as f32).min(most) - self.error);
        self.naive += share * ((naive.abs() as f32).min(most) - self.naive);
    }

    /// How many outcomes were scored.
    pub(crate) fn lessons(&self) -> u32 {
        self.lessons.into()
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

/// The same of claims that an idle series will be busy: those of a few jobs, whose steps are missed or not together. A quarter
/// of them says enough.
fn claims_kept(distance: Distance) -> f32 {
    match distance {
        Distance::Near => 200.0,
        Distance::Middle => 80.0,
        Distance::Far => 48.0,
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

/// The least coverage of claims: few are independent.
const CLAIMS_HELD: f64 = 0.6;
/// Errors count as no more than so many usual ones.
const BEYOND: f32 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The trust in near forecasts of a series of which every twentieth step is claimed to be busy.
    fn trust(steps: u32, claims_covered: impl Fn(u32) -> bool) -> Trust {
        let mut records = Records::default();
        for step in 0..steps {
            let claims = step % 20 == 0;
            let covered = if !claims || claims_covered(step / 20) { 1.0 } else { 0.0 };
            records.learn(1, Verdict { errors: (0.5, 1.0), covered, claims });
        }
        records.trust(Distance::Near, Naive::LastValue, 0.0)
    }

    #[test]
    fn claims_that_are_missed_are_not_hidden_by_idle_steps_that_come_out_well() {
        assert!(trust(2000, |claim| claim % 10 > 0).is_trusted());
        let missed = trust(2000, |claim| claim % 3 == 0);
        let reason = missed.reason().expect("two claims of three were missed");
        assert!(
            matches!(reason, UntrustedReason::ClaimsMissed { coverage } if (0.3..0.37).contains(&coverage)),
            "{missed}"
        );
        assert!(reason.to_string().starts_with("a mostly idle series, and only 3"), "{reason}");
        assert!(trust(400, |_| false).is_trusted(), "twenty claims are too few to tell");
    }
}
