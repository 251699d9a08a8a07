//! Which values are anomalies, and which of them must not be learned from.
//!
//! A value is judged by its one-step error in units of its usual size: by its rank among the errors so far, and as soon as
//! there are enough for one, by a fitted tail. Anomalies are kept out of training and of the tail. A lasting change looks like anomalies that do
//! not end: after a while they are the new normal, and everything begins anew.

use serde::{Deserialize, Serialize};

use super::ranks::Ranks;
use super::tail::{Tail, TailConfig};

/// When a value is called what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyConfig {
    /// Errors rarer than this are unusual. Default 1e-3.
    pub unusual: f64,
    /// Errors rarer than this are anomalies. Default 1e-4; 1e-5 finds fewer, later.
    pub anomaly: f64,
    /// So many anomalies, less an eighth of the ordinary values between them, are a change instead. Default 24: two hours of
    /// five minutes in a row, or one value in four over seven hours.
    pub patience: u32,
    /// Errors that ranks are counted among. Default 2,016: a week of five minutes.
    pub window: usize,
    /// How the tails are learned.
    pub tail: TailConfig,
}

impl Default for AnomalyConfig {
    fn default() -> AnomalyConfig {
        AnomalyConfig {
            unusual: 1e-3,
            anomaly: 1e-4,
            patience: 24,
            window: 2016,
            tail: TailConfig::default(),
        }
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// One of many.
    Normal,
    /// Rare, worth showing, and a part of the series.
    Unusual,
    /// Of another kind.
    Anomaly,
}

/// The judgement of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub verdict: Verdict,
    /// Chance of an error as far out on either side, if all is as before. Errors in the midst of the others are not ranked: 1.
    pub p_value: f64,
    /// Whether it must be kept out of training.
    pub keep_out: bool,
    /// How many anomalies have come of late, about.
    pub run: u32,
    /// Whether the anomalies before were a lasting change: the last `run` values belong to the series after all and should
    /// be learned.
    pub accepted: bool,
}

/// Judges one value after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyDetector {
    config: AnomalyConfig,
    ranks: Ranks,
    above: Tail,
    below: Tail,
    /// Anomalies of late, in eighths.
    run: u32,
}

impl AnomalyDetector {
    /// Nothing known yet: until the tails are, only wild errors are anomalies.
    pub fn new(config: AnomalyConfig) -> AnomalyDetector {
        let (ranks, tail) = (Ranks::new(config.window), Tail::new(config.tail.clone()));
        AnomalyDetector { ranks, above: tail.clone(), below: tail, run: 0, config }
    }

    /// Whether enough was seen to judge by the tails.
    pub fn is_ready(&self) -> bool {
        self.above.is_ready() && self.below.is_ready()
    }

    /// The least and the largest error, in usual ones, that are no anomalies.
    pub fn bounds(&self) -> (f64, f64) {
        let half = self.config.anomaly / 2.0;
        let most = |tail: &Tail| tail.threshold(half).filter(|_| self.is_ready()).unwrap_or(WILD);
        (-most(&self.below), most(&self.above))
    }

    /// Bytes held beside its own size.
    pub fn bytes(&self) -> usize {
        self.ranks.bytes() + self.above.bytes() + self.below.bytes()
    }

    /// Takes the error of one value in units of its usual size. A missing value is normal, and nothing to learn from.
    pub fn observe(&mut self, error: f64) -> Finding {
        if !error.is_finite() {
            let verdict = Verdict::Normal;
            return Finding { verdict, p_value: 1.0, keep_out: true, run: self.lately(), accepted: false };
        }
        let p_value = self.p_value(error);
        let wild = !self.is_ready() && self.ranks.len() >= FEW && error.abs() > WILD && p_value < RARE;
        let verdict = match p_value {
            _ if wild => Verdict::Anomaly,
            p if p < self.config.anomaly => Verdict::Anomaly,
            p if p < self.config.unusual => Verdict::Unusual,
            _ => Verdict::Normal,
        };
        let mut finding = Finding { verdict, p_value, keep_out: false, run: self.lately(), accepted: false };
        match verdict {
            Verdict::Anomaly => {
                let first = self.run == 0;
                self.run += EIGHTHS;
                (finding.run, finding.keep_out) = (self.lately(), true);
                if first {
                    self.temper(error);
                }
                if self.run > self.config.patience.saturating_mul(EIGHTHS) {
                    *self = AnomalyDetector::new(self.config.clone());
                    (finding.accepted, finding.keep_out) = (true, false);
                }
            }
            Verdict::Normal | Verdict::Unusual => {
                self.run = self.run.saturating_sub(1);
                // Ranks tell until the tails can; later they would only cost time and room.
                if !self.is_ready() {
                    self.ranks.observe(error);
                } else if !self.ranks.is_empty() {
                    self.ranks.clear();
                }
                self.above.observe(error);
                self.below.observe(-error);
            }
        }
        finding
    }

    fn lately(&self) -> u32 {
        self.run.div_ceil(EIGHTHS)
    }

    /// Learns of a lone anomaly that there was a large error, not how large.
    fn temper(&mut self, error: f64) {
        let half = self.config.anomaly / 2.0;
        let (tail, other) =
            if error > 0.0 { (&mut self.above, &mut self.below) } else { (&mut self.below, &mut self.above) };
        if let Some(most) = tail.threshold(half) {
            tail.observe(most.min(error.abs()));
            other.observe(-most.min(error.abs()));
        }
    }

    /// The chance of an error as far out on either side.
    fn p_value(&self, error: f64) -> f64 {
        // The law holds beyond the threshold only; below it the rank says more.
        let beyond = |tail: &Tail, value: f64| Some((2.0 * tail.chance_of_peak(value)?).min(1.0));
        beyond(&self.above, error).or_else(|| beyond(&self.below, -error)).unwrap_or_else(|| {
            // A rank costs more than the rest together, and tells nothing of what is one of many.
            if self.is_ready() { 1.0 } else { self.ranks.p_value(error) }
        })
    }
}

/// Ordinary values that make up for one anomaly.
const EIGHTHS: u32 = 8;
/// Errors before any is called wild.
const FEW: usize = 30;
/// Until the tails are known, a wild error must be rare among the others as well: some series are wild by nature.
const RARE: f64 = 0.1;
/// Errors of so many usual ones are anomalies before the tails are known.
const WILD: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tail::normal;

    fn learned(seed: u64) -> (AnomalyDetector, fastrand::Rng) {
        let mut detector = AnomalyDetector::new(AnomalyConfig::default());
        let mut random = fastrand::Rng::with_seed(seed);
        (0..3000).for_each(|_| {
            detector.observe(normal(&mut random));
        });
        (detector, random)
    }

    #[test]
    fn false_alarms_come_as_often_as_asked_for_light_and_heavy_tails() {
        // Normal errors, and the quotient of normals over a slow scale: as heavy as Student's with five degrees.
        let heavy = |random: &mut fastrand::Rng| {
            let scale = (0..5).map(|_| normal(random).powi(2)).sum::<f64>() / 5.0;
            normal(random) / scale.sqrt()
        };
        for (name, draw) in [("normal", &normal as &dyn Fn(&mut fastrand::Rng) -> f64), ("heavy", &heavy)] {
            let mut detector = AnomalyDetector::new(AnomalyConfig::default());
            let mut random = fastrand::Rng::with_seed(2);
            let (mut anomalies, mut unusual) = (0, 0);
            let steps = 300_000;
            for _ in 0..steps {
                match detector.observe(draw(&mut random)).verdict {
                    Verdict::Anomaly => anomalies += 1,
                    Verdict::Unusual => unusual += 1,
                    Verdict::Normal => {}
                }
            }
            // 30 and 270 are asked for.
            assert!((5..=90).contains(&anomalies), "{name}: {anomalies} anomalies in {steps} steps");
            assert!((100..=700).contains(&unusual), "{name}: {unusual} unusual values in {steps} steps");
        }
    }

    #[test]
    fn spikes_are_flagged_on_either_side_and_kept_out() {
        let (mut detector, mut random) = learned(4);
        assert!(detector.is_ready());
        let before = detector.clone();
        for spike in [8.0, -8.0, 1e300, f64::MIN] {
            let finding = detector.observe(spike);
            assert!(finding.verdict == Verdict::Anomaly && finding.keep_out, "{finding:?}");
            assert!(finding.p_value < 1e-4);
        }
        assert!(detector.ranks == before.ranks, "nothing is learned of them");
        let most = |detector: &AnomalyDetector| detector.above.threshold(1e-4).unwrap();
        assert!(most(&detector) < 1.1 * most(&before), "nor do they stretch the tail");
        let finding = detector.observe(normal(&mut random));
        assert!(finding.verdict == Verdict::Normal && !finding.keep_out);
    }

    #[test]
    fn an_outage_is_kept_out_and_a_lasting_change_is_accepted_after_two_hours() {
        let (mut detector, mut random) = learned(5);
        let outage: Vec<Finding> = (0..20).map(|_| detector.observe(-9.0 + normal(&mut random))).collect();
        assert!(outage.iter().all(|finding| finding.keep_out && !finding.accepted));
        (0..160).for_each(|_| assert!(!detector.observe(0.9 * normal(&mut random)).keep_out));
        let accepted = (1..).find(|_| detector.observe(9.0 + normal(&mut random)).accepted);
        assert_eq!(accepted, Some(25));
        let after = (0..2000).filter(|_| detector.observe(9.0 + normal(&mut random)).keep_out).count();
        assert!(after <= 4, "{after} values of the new level are kept out");
    }

    #[test]
    fn before_anything_is_known_only_wild_errors_are_flagged() {
        let mut detector = AnomalyDetector::new(AnomalyConfig::default());
        let finding = detector.observe(1000.0);
        assert_eq!((finding.verdict, finding.p_value), (Verdict::Normal, 1.0));
        let mut random = fastrand::Rng::with_seed(1);
        assert!((0..100).all(|_| detector.observe(normal(&mut random)).verdict == Verdict::Normal));
        assert_eq!(detector.observe(1000.0).verdict, Verdict::Anomaly);
        let finding = detector.observe(f64::NAN);
        assert!(finding.verdict == Verdict::Normal && finding.keep_out);
    }
}
