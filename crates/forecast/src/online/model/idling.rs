//! What is said of a series that may be idle: how likely that is, and how busy it is if it is not.

use crate::online::bucket::Bucket;
use crate::online::wild::Wild;

use super::Model;
use super::answer::Stretch;

/// What is known of idleness, as things stand.
pub(super) struct Idling {
    /// The probabilities of zero at each learned horizon, of forecasts that claim nothing and of those that claim demand.
    shares: Vec<[f64; 2]>,
    claimed_from: f64,
    busy: Option<Busy>,
}

/// What is known of it at one step.
pub(super) struct IdleStep<'a> {
    /// The probability of zero.
    pub(super) zero: f64,
    busy: Option<&'a Busy>,
}

/// Values of busy steps, ascending.
struct Busy(Vec<f64>);

impl Model {
    /// The probability that the series will be idle, at each learned horizon, and how busy it is otherwise.
    pub(super) fn idling(&self) -> Idling {
        let (idles, claimed_from) = (self.idles(), self.claimed_from());
        if self.zeros == 0.0 {
            return Idling { shares: vec![[0.0; 2]; self.buckets.len()], claimed_from, busy: None };
        }
        let state = usize::from(self.experts.last() == 0.0);
        let mut nearer = None;
        let mut share = |bucket: &Bucket| {
            // Of one that is seldom idle, zeros are to be seen before they are claimed: they may be an outage.
            let forgotten = if idles { 1.0 - Wild::followed(bucket.horizon) } else { 0.0 };
            let shares = bucket.idle.shares(nearer, forgotten);
            nearer = idles.then_some(shares);
            [shares.quiet[state], shares.claims[state]]
        };
        let shares = self.buckets.iter().map(&mut share).collect();
        Idling { shares, claimed_from, busy: self.busy_steps() }
    }

    /// A median from here on claims that a series which is mostly idle will be busy: part of its mean while it is.
    pub(crate) fn claimed_from(&self) -> f64 {
        if self.idles() { CLAIM * self.busy } else { f64::INFINITY }
    }

    /// What it takes while it is busy, where nothing tells when that is: what comes by itself is as large as it ever was,
    /// while errors of single steps say most of how lately something came.
    fn busy_steps(&self) -> Option<Busy> {
        if !self.idles() || self.is_busy_by_season() {
            return None;
        }
        let memory = &self.memory;
        let steps = memory.oldest_fine()..memory.next();
        let seen = steps.filter(|&step| !memory.is_made_up(step)).map(|step| memory.value(step));
        let mut values: Vec<f64> = seen.filter(|&value| value > 0.0).collect();
        values.sort_by(f64::total_cmp);
        (values.len() >= BUSY_MIN).then_some(Busy(values))
    }

    /// Whether a season tells when it is busy: claims that are made while it is idle come true.
    fn is_busy_by_season(&self) -> bool {
        let claims = self.buckets.iter().map(|bucket| bucket.idle.claims_made_idle());
        let (made, failed) = claims.fold((0.0, 0.0), |all, (made, failed)| (all.0 + made, all.1 + failed));
        self.season().is_some() && made >= CLAIMS_MIN && failed < CLAIMS_FAILED * made
    }
}

impl Idling {
    /// At a step with this median that is `share` of the way along a stretch between two learned horizons.
    #[inline(always)]
    pub(super) fn at(&self, stretch: &Stretch<'_>, share: f64, median: f64) -> IdleStep<'_> {
        let claims = median >= self.claimed_from;
        let shares = |bucket: usize| self.shares[bucket][usize::from(claims)];
        let zero = (1.0 - share) * shares(stretch.lower) + share * shares(stretch.upper);
        IdleStep { zero, busy: self.busy.as_ref().filter(|_| !claims) }
    }
}

impl IdleStep<'_> {
    /// The quantile `tau`, which would be `said` if nothing were known of idleness.
    #[inline(always)]
    pub(super) fn value(&self, tau: f64, said: f64) -> f64 {
        match self.busy {
            _ if tau <= self.zero => 0.0,
            Some(busy) => busy.at((tau - self.zero) / (1.0 - self.zero)),
            None => said,
        }
    }
}

impl Busy {
    /// A quantile, by Hazen; beyond the largest value as far as what is rarer lies higher.
    fn at(&self, tau: f64) -> f64 {
        let (n, last) = (self.0.len() as f64, self.0.len() - 1);
        let place = (n * tau - 0.5).max(0.0);
        if place >= last as f64 {
            let rarity = 0.5 / (n * (1.0 - tau)).max(1e-6);
            return self.0[last] * rarity.max(1.0).powf(RARE_SHAPE);
        }
        let below = place as usize;
        self.0[below] + (place - below as f64) * (self.0[below + 1] - self.0[below])
    }
}

/// From this share of the mean of busy steps on a median claims that a step is one.
const CLAIM: f64 = 0.4;
/// Claims that show whether a season tells, and the share that comes to nothing where it does not.
const CLAIMS_MIN: f32 = 10.0;
const CLAIMS_FAILED: f32 = 0.6;
/// Busy steps that tell how busy they are.
const BUSY_MIN: usize = 8;
/// What is rarer than anything seen lies the higher the rarer it is.
pub(super) const RARE_SHAPE: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_busy_steps_are_those_seen_and_rise_beyond_them_slowly() {
        let busy = Busy((1..=10).map(f64::from).collect());
        assert_eq!((busy.at(0.0), busy.at(0.05), busy.at(0.5), busy.at(0.95)), (1.0, 1.0, 5.5, 10.0));
        assert!(busy.at(0.96) > 10.0 && busy.at(0.995) > busy.at(0.96) && busy.at(0.995) < 20.1);
        assert!(busy.at(1.0).is_finite());
    }
}
