//! Which values the ensemble's models must not learn from, and what is told about them: anomalies and outages.
//!
//! A value is judged by its one-step error in usual errors. After an anomaly the forecast has followed it for a while, so a
//! value that is as the last ordinary one was is ordinary too, whatever the forecast says: the way back is no second anomaly.
//!
//! Promises: a step costs constant time, well below that of the online core; bounded memory.

use std::collections::VecDeque;

use super::notice::{Anomaly, Notice, Notices};
use crate::online::Surprise;
use crate::timestamp::Timestamp;
use crate::watch::{AnomalyConfig, AnomalyDetector, Verdict};

/// The judge of one series.
#[derive(Clone, Debug)]
pub(super) struct Anomalies {
    detector: AnomalyDetector,
    /// The last ordinary value.
    ordinary: f64,
    /// Fading mean of what comes, whatever its sign.
    usual: f64,
    /// Steps for which the forecast may still follow an anomaly.
    wake: u32,
    /// Anomalies that were kept out, by step.
    kept_out: VecDeque<(u64, f32)>,
    outage: Option<Outage>,
    found: u64,
}

/// A silence that goes on.
#[derive(Clone, Copy, Debug)]
struct Outage {
    began: Timestamp,
    /// What was forecast when it began.
    expected: f64,
}

/// What a value is for those who learn.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Judged {
    /// A part of the series.
    Ordinary,
    /// To be kept out.
    Anomaly,
    /// The anomalies before were a lasting change: these belong to the series after all.
    NewNormal(Vec<(u64, f32)>),
}

impl Anomalies {
    pub(super) fn new() -> Anomalies {
        Anomalies {
            detector: AnomalyDetector::new(AnomalyConfig::default()),
            ordinary: f64::NAN,
            usual: 0.0,
            wake: 0,
            kept_out: VecDeque::new(),
            outage: None,
            found: 0,
        }
    }

    /// How many there were.
    pub(super) fn found(&self) -> u64 {
        self.found
    }

    /// When the outage that goes on began, if one does.
    pub(super) fn outage(&self) -> Option<Timestamp> {
        self.outage.map(|outage| outage.began)
    }

    /// Judges the value of the step that begins at `at`: as it was observed, and freed of known effects. `least`: values below
    /// it are impossible.
    pub(super) fn judge(
        &mut self,
        (step, at): (u64, Timestamp),
        (observed, value): (f64, f64),
        surprise: Surprise,
        least: f64,
        notices: &mut Notices,
    ) -> Judged {
        let back = value - self.ordinary;
        let expected =
            if self.wake > 0 && back.abs() < surprise.error.abs() { self.ordinary } else { surprise.said };
        let error = value - expected;
        let finding = self.detector.observe(error / surprise.scale);
        self.wake = self.wake.saturating_sub(1);
        if finding.accepted {
            self.wake = 0;
            self.ordinary = value;
            let steps = u64::from(finding.run);
            notices.push(Notice::NewNormal { at, steps });
            return Judged::NewNormal(self.kept_out.drain(..).collect());
        }
        // However rare: what is nearly as expected does no harm, and nobody wants to be told.
        self.usual += USUAL_PACE * (value.abs() - self.usual);
        let slight = error.abs() <= (SLIGHT * expected.abs()).max(TRIFLE * self.usual);
        if finding.verdict != Verdict::Anomaly || slight {
            self.ordinary = value;
            return Judged::Ordinary;
        }
        let (low, high) = self.detector.bounds();
        let bound = expected + surprise.scale * if error > 0.0 { high } else { low };
        let nearest = if error > 0.0 { bound.min(value) } else { bound.max(value) }.max(least);
        self.wake = WAKE;
        self.found += 1;
        if self.kept_out.len() == KEPT_OUT_MAX {
            self.kept_out.pop_front();
        }
        self.kept_out.push_back((step, value as f32));
        let p_value = self.detector.is_ready().then_some(finding.p_value);
        let effect = observed - value;
        let (expected, nearest) = (expected + effect, nearest + effect);
        notices.push(Notice::Anomaly(Anomaly { at, value: observed, expected, nearest, p_value }));
        Judged::Anomaly
    }

    /// An outage has just been recognised: silent since `began`, where `expected` was to come.
    pub(super) fn silent(&mut self, began: Timestamp, expected: f64, notices: &mut Notices) {
        self.outage = Some(Outage { began, expected });
        notices.push(Notice::OutageBegan { at: began, expected });
    }

    /// The outage that goes on, if any, is over with the value of the step at `at`.
    pub(super) fn back(&mut self, at: Timestamp, value: Option<f64>, notices: &mut Notices) {
        if let Some(Outage { began, expected }) = self.outage.take() {
            let accepted = value.is_none_or(|value| value.abs() <= SILENT * expected.abs());
            notices.push(Notice::OutageEnded { at, began, accepted });
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.detector.bytes() + self.kept_out.capacity() * size_of::<(u64, f32)>()
    }
}

/// Errors up to this share of what was expected are no anomalies.
const SLIGHT: f64 = 0.05;
/// And up to this share of what usually comes: of a series that is often idle, next to nothing is expected then.
const TRIFLE: f64 = 0.02;
const USUAL_PACE: f64 = 0.01;
/// Steps after an anomaly that the last ordinary value tells as much as the forecast.
const WAKE: u32 = 12;
/// Less than this share of what was expected is silence.
const SILENT: f64 = 0.02;
/// Anomalies remembered for the case that they are the new normal: more than it takes to be accepted.
const KEPT_OUT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Notices of a series that is busy every fourth hour, and of what comes at the end of it.
    fn found(last: f64) -> u64 {
        let (mut anomalies, mut notices) = (Anomalies::new(), Notices::default());
        let at = Timestamp::from_secs(1_700_000_000);
        for step in 0..2000 {
            let value = if step % 48 < 12 { 60.0 } else { 0.0 };
            let error = if step % 2 == 0 { 0.001 } else { -0.001 };
            let surprise = Surprise { said: value + error, error, scale: 0.001, covered: true };
            anomalies.judge((step, at), (value, value), surprise, 0.0, &mut notices);
        }
        let surprise = Surprise { said: 0.0, error: last, scale: 0.001, covered: false };
        anomalies.judge((2000, at), (last, last), surprise, 0.0, &mut notices);
        anomalies.found()
    }

    #[test]
    fn next_to_nothing_is_no_anomaly_of_a_series_that_is_idle_at_times() {
        assert_eq!((found(0.1), found(30.0)), (0, 1));
    }
}
