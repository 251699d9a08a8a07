//! Arrival times: a trace's counts become a list of instants, before the first request is sent.
//!
//! Fixing the schedule beforehand is what makes the load open-loop (a slow answer never delays the next request) and makes two runs
//! comparable: both see exactly the same arrivals.

use std::time::Duration;

/// The most requests one schedule holds.
pub(crate) const ARRIVALS_MAX: usize = 5_000_000;

/// When each request is to be sent, as an offset from the start of the run; sorted.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    arrivals: Vec<Duration>,
    length: Duration,
}

impl Schedule {
    /// One bin after the other, each `bin` long; `counts[i] * scale` requests spread evenly at random inside bin `i`. The fractional
    /// part of a scaled count is decided by the seed, so the mean is kept.
    ///
    /// # Errors
    /// A sentence, when a count is not a finite number from 0, or when there would be more than [`ARRIVALS_MAX`] requests.
    pub(crate) fn from_counts(
        counts: &[f64],
        bin: Duration,
        scale: f64,
        seed: u64,
    ) -> Result<Schedule, String> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut arrivals = Vec::new();
        for (index, &count) in counts.iter().enumerate() {
            let wanted = count * scale;
            if !wanted.is_finite() || wanted < 0.0 {
                return Err(format!("bin {index} of the load has {count} requests"));
            }
            let number = wanted.floor() as usize + usize::from(rng.f64() < wanted.fract());
            if arrivals.len() + number > ARRIVALS_MAX {
                return Err(format!("the load has more than {ARRIVALS_MAX} requests"));
            }
            let start = bin.mul_f64(index as f64);
            arrivals.extend((0..number).map(|_| start + bin.mul_f64(rng.f64())));
        }
        // Whole milliseconds: a bin may be a third of something, the run is not.
        let length = Duration::from_millis((bin.as_secs_f64() * counts.len() as f64 * 1e3).round() as u64);
        let last = length.saturating_sub(Duration::from_nanos(1));
        arrivals.iter_mut().for_each(|at: &mut Duration| *at = (*at).min(last));
        arrivals.sort_unstable();
        Ok(Schedule { arrivals, length })
    }

    /// The arrival times.
    pub(crate) fn arrivals(&self) -> &[Duration] {
        &self.arrivals
    }

    /// How long the run lasts; every arrival lies before it.
    #[cfg(test)]
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Arrivals in consecutive windows of this length, in requests per second.
    pub(crate) fn rates(&self, window: Duration) -> Vec<f64> {
        let windows = windows(self.length, window);
        let mut rates = vec![0.0; windows];
        for arrival in &self.arrivals {
            let index = (arrival.as_secs_f64() / window.as_secs_f64()) as usize;
            rates[index.min(windows - 1)] += 1.0 / window.as_secs_f64();
        }
        rates
    }
}

/// How many windows it takes to cover a length; rounding errors do not make one more.
pub(crate) fn windows(length: Duration, window: Duration) -> usize {
    usize::try_from(length.as_micros().div_ceil(window.as_micros().max(1))).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        let counts = [3.0, 0.0, 7.5];
        let make = |seed| Schedule::from_counts(&counts, Duration::from_millis(100), 2.0, seed).unwrap();
        assert_eq!(make(7).arrivals(), make(7).arrivals());
        assert_ne!(make(7).arrivals(), make(8).arrivals());
    }

    #[test]
    fn whole_counts_are_kept_bin_by_bin() {
        let counts = [3.0, 0.0, 7.0];
        let schedule = Schedule::from_counts(&counts, Duration::from_secs(1), 1.0, 1).unwrap();
        assert_eq!(schedule.rates(Duration::from_secs(1)), vec![3.0, 0.0, 7.0]);
        assert!(schedule.arrivals().is_sorted());
        assert!(schedule.arrivals().iter().all(|at| *at < schedule.length()));
    }

    #[test]
    fn fractions_are_kept_on_average() {
        let counts = vec![0.25; 4000];
        let schedule = Schedule::from_counts(&counts, Duration::from_millis(10), 1.0, 3).unwrap();
        let number = schedule.arrivals().len();
        assert!((900..1100).contains(&number), "{number} arrivals instead of about 1000");
    }

    #[test]
    fn nonsense_counts_are_refused() {
        for bad in [f64::NAN, -1.0, f64::INFINITY, 1e12] {
            assert!(Schedule::from_counts(&[bad], Duration::from_secs(1), 1.0, 1).is_err());
        }
    }
}
