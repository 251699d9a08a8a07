//! A forecast of intermittent demand as quantile paths: how likely each coming step is busy, times how much then.

use serde::{Deserialize, Serialize};

use super::occurrence::{Occurrence, odds};
use super::pool::Pool;
use crate::covariates::Covariates;
use crate::models::{FitError, History, Model};
use crate::paths::Values;

/// Intermittent demand of one series.
///
/// When: a first use by the hazard that [`Pool`] learns from this series (time since the last use, timers); what follows a
/// use by how often steps that far apart were busy together, and by the timers. How much: the latest sizes. A quantile
/// is zero as long as the step is likelier idle than that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sparse {
    occurrence: Occurrence,
    pool: Pool,
    /// For each distance from 1: busy steps that far after a busy step, and busy steps.
    together: Vec<(f32, f32)>,
    /// The latest sizes above zero, a ring.
    sizes: Vec<f32>,
    next: usize,
}

impl Sparse {
    /// Reads the history once.
    ///
    /// # Errors
    /// [`FitError::TooLittleHistory`] without a value; [`FitError::Unsuitable`] when there are values below zero, fewer than
    /// two above it, or fewer than one in ten are zero.
    pub fn fit(history: &History<'_>) -> Result<Sparse, FitError> {
        let present = || history.values.iter().filter(|value| value.is_finite());
        if present().any(|&value| value < 0.0) {
            return Err(FitError::Unsuitable("there are values below zero".to_owned()));
        }
        let (count, busy) = (present().count(), present().filter(|&&value| value > 0.0).count());
        match busy {
            _ if count == 0 => return Err(FitError::TooLittleHistory { present: 0, needed: USES_MIN }),
            0 => return Err(FitError::nothing_but_zeros()),
            _ if busy < USES_MIN => {
                let why = format!("of {count} values only {busy} is above zero, {USES_MIN} are needed");
                return Err(FitError::Unsuitable(why));
            }
            _ => {}
        }
        if (count - busy) * 10 < count {
            return Err(FitError::Unsuitable("fewer than one value in ten is zero".to_owned()));
        }
        let mut sparse = Sparse {
            occurrence: Occurrence::new(),
            pool: Pool::new(),
            together: vec![(0.0, 0.0); TOGETHER],
            sizes: Vec::new(),
            next: 0,
        };
        for &value in history.values {
            sparse.take(value);
        }
        Ok(sparse)
    }

    fn take(&mut self, value: f32) {
        if !value.is_finite() {
            self.occurrence.skip();
            return;
        }
        let busy = value > 0.0;
        if self.occurrence.since() > 1 {
            self.pool.learn(&self.occurrence, busy);
        }
        for (distance, (both, first)) in (1..).zip(&mut self.together) {
            if self.occurrence.was_busy_ago(distance) {
                *both = *both * FADING + f32::from(u8::from(busy));
                *first = *first * FADING + 1.0;
            }
        }
        self.occurrence.observe(busy);
        if busy {
            if self.sizes.len() < SIZES {
                self.sizes.push(value);
            } else {
                self.sizes[self.next] = value;
            }
            self.next = (self.next + 1) % SIZES;
        }
    }

    /// Probability that the step `ahead` steps ahead is busy, `distance` steps after a busy one.
    fn following(&self, distance: usize, periodic: f64) -> f64 {
        match self.together.get(distance - 1) {
            Some(&(both, first)) => {
                let share = (f64::from(both) + PRIOR * periodic) / (f64::from(first) + PRIOR);
                let sum = (odds(share) + odds(periodic)) / 2.0;
                1.0 / (1.0 + (-sum).exp())
            }
            None => periodic,
        }
    }

    /// Probability that each of the next steps is busy.
    fn busy(&self, steps: usize) -> Vec<f64> {
        // `first[h]`: the first use comes at step `h`; a use at the last step known counts as one at step zero.
        let mut first = vec![0.0; steps + 1];
        let mut idle = 1.0;
        if self.occurrence.since() == 1 {
            (first[0], idle) = (1.0, 0.0);
        }
        let mut busy = Vec::with_capacity(steps);
        for h in 1..=steps {
            let ahead = u32::try_from(h).unwrap_or(u32::MAX);
            let periodic = self.occurrence.periodic(ahead);
            if idle > IDLE_MIN {
                let hazard = self.pool.probability(&self.occurrence, ahead);
                first[h] = idle * hazard;
                idle -= first[h];
            }
            let near = h.saturating_sub(TOGETHER);
            let farther: f64 = first[..near].iter().sum();
            let after: f64 = (near..h).map(|k| first[k] * self.following(h - k, periodic)).sum();
            busy.push((first[h] + after + farther * periodic).clamp(0.0, 1.0));
        }
        busy
    }
}

impl Model for Sparse {
    fn name(&self) -> &'static str {
        "sparse"
    }

    fn observe(&mut self, value: f32, _: &Covariates) {
        self.take(value);
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _: &Covariates) -> Values {
        let mut sizes = self.sizes.clone();
        sizes.sort_by(f32::total_cmp);
        let mut values = Values::zeros(steps, quantiles.len());
        for (h, busy) in self.busy(steps).into_iter().enumerate() {
            for (value, &tau) in values.row_mut(h).iter_mut().zip(quantiles) {
                // Of the probability above `tau`, all belongs to busy steps.
                let above = (1.0 - tau) / busy.max(f64::MIN_POSITIVE);
                *value = if above < 1.0 { size(&sizes, 1.0 - above) } else { 0.0 };
            }
        }
        values
    }

    fn bytes(&self) -> usize {
        size_of::<Sparse>()
            + self.occurrence.bytes()
            + self.together.capacity() * 8
            + self.sizes.capacity() * 4
    }
}

/// Quantile of sorted sizes.
fn size(sorted: &[f32], tau: f64) -> f64 {
    let rank = tau.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let below = rank.floor() as usize;
    let (Some(&low), Some(&high)) = (sorted.get(below), sorted.get((below + 1).min(sorted.len() - 1))) else {
        return 0.0;
    };
    f64::from(low) + (f64::from(high) - f64::from(low)) * (rank - below as f64)
}

const USES_MIN: usize = 2;
/// Distances for which uses are counted together.
const TOGETHER: usize = 64;
const SIZES: usize = 256;
const FADING: f32 = 0.998;
/// Uses that the timers' opinion counts for.
const PRIOR: f64 = 1.0;
/// A first use is no longer looked for when it has almost surely come.
const IDLE_MIN: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Timestamp;
    use crate::grid::Grid;

    fn fit(values: &[f32]) -> Result<Sparse, FitError> {
        let grid = Grid { origin: Timestamp::EPOCH, step: Duration::from_secs(60), zone: None };
        let covariates = Covariates::default();
        Sparse::fit(&History {
            grid: &grid,
            first: 0,
            values,
            seasons: &[],
            covariates: &covariates,
            horizon: 60,
            non_negative: true,
        })
    }

    #[test]
    fn a_timer_is_foreseen_to_the_step_and_forgotten_between() {
        let values: Vec<f32> = (0..600).map(|t| if t % 15 == 4 { 3.0 } else { 0.0 }).collect();
        let forecast = fit(&values).unwrap().forecast(45, &[0.05, 0.5, 0.95], &Covariates::default());
        for h in 0..45 {
            let due = (600 + h) % 15 == 4;
            assert_eq!(forecast[h][1] > 0.0, due, "step {h}: {:?}", &forecast[h]);
            assert!(!due || (forecast[h][2] - 3.0).abs() < 1e-6);
        }
    }

    #[test]
    fn uses_at_random_are_covered_as_often_as_said() {
        let mut rng = fastrand::Rng::with_seed(5);
        let values: Vec<f32> =
            (0..4000).map(|_| if rng.f64() < 0.08 { 1.0 + rng.f32() } else { 0.0 }).collect();
        let mut sparse = fit(&values[..1000]).unwrap();
        let (mut zeros, mut covered) = (0, 0);
        for &value in &values[1000..] {
            let said = sparse.forecast(1, &[0.9, 0.97], &Covariates::default());
            zeros += u32::from(said[0][0] == 0.0);
            covered += u32::from(f64::from(value) <= said[0][1]);
            sparse.observe(value, &Covariates::default());
        }
        assert!(zeros > 2000, "{zeros}");
        assert!((0.955..0.985).contains(&(f64::from(covered) / 3000.0)), "{covered}");
    }

    #[test]
    fn bad_input_gets_a_clear_answer() {
        assert!(matches!(fit(&[]), Err(FitError::TooLittleHistory { .. })));
        assert!(matches!(fit(&[f32::NAN; 50]), Err(FitError::TooLittleHistory { .. })));
        for (values, words) in
            [([0.0, 0.0, 0.0], "every value is zero"), ([0.0, 3.0, 0.0], "only 1 is above")]
        {
            let refusal = fit(&values).unwrap_err().to_string();
            assert!(refusal.contains(words), "{refusal}");
        }
        assert!(matches!(fit(&[5.0; 50]), Err(FitError::Unsuitable(_))));
        assert!(matches!(fit(&[0.0, -1.0, 3.0]), Err(FitError::Unsuitable(_))));
        let mut values = vec![0.0, 1e38, f32::NAN, f32::INFINITY, 0.0, 1e-38, 0.0];
        values.extend([0.0; 90_000]);
        let mut sparse = fit(&values).unwrap();
        sparse.observe(f32::NAN, &Covariates::default());
        let said = sparse.forecast(300, &[0.5, 0.99, 0.9999], &Covariates::default());
        assert!(said.iter().flatten().all(|value| value.is_finite() && *value >= 0.0));
        assert!(said.iter().all(|row| row[0] <= row[1] && row[1] <= row[2]));
    }
}
