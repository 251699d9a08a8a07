//! Bernstein online aggregation (Wintenberger 2017) of a few members, with sleeping ones: whoever has nothing to say yet
//! neither gains nor loses. As the online core's mixture, but for a number of members that is not known beforehand.

/// Weights of members by seat.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    prior: Vec<f32>,
    /// How many forecasts are under way at any time. Their outcomes come together and say nearly the same.
    overlap: f32,
    regrets: Vec<f32>,
    variances: Vec<f32>,
    ranges: Vec<f32>,
    lessons: Vec<u32>,
}

impl Weights {
    pub(super) fn new(prior: Vec<f32>, overlap: f32) -> Weights {
        let n = prior.len();
        Weights {
            prior,
            overlap,
            regrets: vec![0.0; n],
            variances: vec![VARIANCE_FIRST; n],
            ranges: vec![RANGE_FIRST; n],
            lessons: vec![0; n],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.prior.len()
    }

    /// Weights among those present, adding up to one. All but the first are on probation until they were scored often
    /// enough: they are heard, but have no weight.
    pub(super) fn among(&self, present: impl Fn(usize) -> bool, out: &mut [f32]) {
        let present = |i: usize| present(i) && (i == 0 || self.lessons[i] >= PROBATION);
        let mut sum = 0.0;
        for (i, weight) in out.iter_mut().enumerate() {
            *weight =
                if present(i) { self.prior[i] * self.rate(i).sqrt() * self.exponent(i).exp() } else { 0.0 };
            sum += *weight;
        }
        if !(sum > 0.0 && sum.is_finite()) {
            for (i, weight) in out.iter_mut().enumerate() {
                *weight = if present(i) { self.prior[i] } else { 0.0 };
            }
            sum = out.iter().sum();
        }
        let prior: f32 = (0..self.len()).filter(|&i| present(i)).map(|i| self.prior[i]).sum();
        for (i, weight) in out.iter_mut().enumerate() {
            if present(i) {
                *weight = (1.0 - SHARE) * (*weight / sum) + SHARE * (self.prior[i] / prior);
            }
        }
    }

    /// Learns how much worse a member was than the mixture (negative: better).
    pub(super) fn learn(&mut self, member: usize, regret: f32) {
        let regret = if regret.is_finite() { regret.clamp(-REGRET_MAX, REGRET_MAX) } else { return };
        self.lessons[member] = self.lessons[member].saturating_add(1);
        self.variances[member] = DISCOUNT * self.variances[member] + regret * regret;
        self.ranges[member] = (RANGE_FADE * self.ranges[member]).max(regret.abs());
        let rate = self.rate(member);
        self.regrets[member] = DISCOUNT * self.regrets[member] + regret * (1.0 + rate * regret);
    }

    /// Leaves only this share of what was learned. Nobody goes on probation again.
    pub(super) fn fade(&mut self, left: f32) {
        for regret in &mut self.regrets {
            *regret *= left;
        }
        for variance in &mut self.variances {
            *variance = (*variance * left).max(VARIANCE_FIRST);
        }
    }

    /// Whether a member has been scored often enough to have weight.
    pub(super) fn proven(&self, member: usize) -> bool {
        self.lessons[member] >= PROBATION
    }

    /// Whether a member has been scored as often as the past counts for.
    pub(super) fn known(&self, member: usize) -> bool {
        f64::from(self.lessons[member]) >= 1.0 / (1.0 - f64::from(DISCOUNT))
    }

    /// Whoever has this seat is new, and on probation.
    pub(super) fn forget(&mut self, member: usize) {
        self.regrets[member] = 0.0;
        self.variances[member] = VARIANCE_FIRST;
        self.ranges[member] = RANGE_FIRST;
        self.lessons[member] = 0;
    }

    /// Takes over what another has learned of a member.
    pub(super) fn take(&mut self, member: usize, from: &Weights) {
        self.regrets[member] = from.regrets[member];
        self.variances[member] = from.variances[member];
        self.ranges[member] = from.ranges[member];
        self.lessons[member] = from.lessons[member];
    }

    fn rate(&self, member: usize) -> f32 {
        // A sum of regrets that come in runs of so many alike varies as much more.
        (0.5 / self.ranges[member]).min((PRIOR_LOG / (self.overlap * self.variances[member])).sqrt())
    }

    fn exponent(&self, member: usize) -> f32 {
        (-self.rate(member) * self.regrets[member]).clamp(-EXPONENT_MAX, EXPONENT_MAX)
    }
}

/// Outcomes that a new member is scored on before it has any weight.
const PROBATION: u32 = 12;
/// The past counts for about so many lessons: 1 / (1 - discount).
const DISCOUNT: f32 = 0.99;
/// What is supposed of regrets before there are any.
const VARIANCE_FIRST: f32 = 1e-4;
const RANGE_FIRST: f32 = 1e-2;
const RANGE_FADE: f32 = 0.999;
/// Share of weight that always follows the prior.
const SHARE: f32 = 0.1;
const PRIOR_LOG: f32 = 0.75;
const EXPONENT_MAX: f32 = 30.0;
/// Regrets are in units of a typical error.
const REGRET_MAX: f32 = 6.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_member_gains_and_sleeping_ones_have_no_weight() {
        let mut weights = Weights::new(vec![0.4, 0.4, 0.2], 1.0);
        let mut out = [0.0; 3];
        for step in 0..300 {
            let noise = if step % 2 == 0 { 0.3 } else { -0.3 };
            weights.learn(0, 0.05 + noise);
            weights.learn(1, -0.05 + noise);
        }
        weights.among(|i| i < 2, &mut out);
        assert!(out[1] > 0.75 && out[2] == 0.0, "{out:?}");
        assert!((out.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn what_was_learned_can_be_forgotten_without_probation() {
        let mut weights = Weights::new(vec![0.5, 0.5], 1.0);
        for _ in 0..200 {
            weights.learn(0, 0.2);
            weights.learn(1, -0.2);
        }
        let mut out = [0.0; 2];
        weights.among(|_| true, &mut out);
        assert!(out[1] > 0.9, "{out:?}");
        weights.fade(0.0);
        weights.among(|_| true, &mut out);
        assert!((out[1] - 0.5).abs() < 0.01, "{out:?}");
    }

    #[test]
    fn broken_regrets_are_not_learned() {
        let mut weights = Weights::new(vec![0.5, 0.5], 1.0);
        weights.learn(0, f32::NAN);
        weights.learn(1, f32::INFINITY);
        let mut out = [0.0; 2];
        weights.among(|_| true, &mut out);
        assert_eq!(out, [1.0, 0.0]);
    }
}
