//! The simple models that a forecast has to beat: a reference value, and the empirical quantiles of what it was wrong by.

use crate::score::QUANTILES;

/// Which value stands for the future.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The same step of last week.
    Week,
    /// The same step of yesterday.
    Day,
    /// The last value.
    Last,
    /// Nothing: the distribution of recent values.
    Climate,
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Week, Kind::Day, Kind::Last, Kind::Climate];

/// One simple model over the values of a series.
#[derive(Clone, Debug)]
pub(crate) struct Naive {
    kind: Kind,
    day: usize,
    offsets: [f64; QUANTILES.len()],
}

impl Naive {
    pub(crate) fn new(kind: Kind, day: usize) -> Naive {
        Naive { kind, day, offsets: [0.0; QUANTILES.len()] }
    }

    /// Measures the errors of the last four weeks before step `now`.
    pub(crate) fn learn(&mut self, values: &[Option<f64>], now: usize) {
        let lag = match self.kind {
            Kind::Week => 7 * self.day,
            Kind::Day => self.day,
            // Typical of the distances of a day.
            Kind::Last => self.day / 2,
            Kind::Climate => 0,
        };
        let from = (now + 1).saturating_sub(28 * self.day).max(lag);
        let mut errors: Vec<f64> = (from..=now)
            .filter_map(|u| {
                let value = values[u]?;
                if lag == 0 { Some(value) } else { Some(value - values[u - lag]?) }
            })
            .collect();
        if errors.is_empty() {
            return;
        }
        errors.sort_by(f64::total_cmp);
        for (offset, tau) in self.offsets.iter_mut().zip(QUANTILES) {
            let rank = ((tau * errors.len() as f64).ceil() as usize).clamp(1, errors.len());
            *offset = errors[rank - 1];
        }
    }

    /// Quantiles of the step `h` after `now`.
    pub(crate) fn says(&self, values: &[Option<f64>], now: usize, h: usize) -> [f64; QUANTILES.len()] {
        let back = |lag: usize| {
            (now + h).checked_sub(lag * h.div_ceil(lag.max(1))).and_then(|u| values[u]).or(values[now])
        };
        let base = match self.kind {
            Kind::Week => back(7 * self.day),
            Kind::Day => back(self.day),
            Kind::Last => values[now],
            Kind::Climate => Some(0.0),
        };
        self.offsets.map(|offset| (base.unwrap_or(0.0) + offset).max(0.0))
    }
}
