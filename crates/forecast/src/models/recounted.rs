//! A model that counts steps from elsewhere than the series it follows, as after a restart with a history that begins later:
//! it looks covariates up by its own count.
//!
//! Promises: as [`Model`]'s.

use serde::{Deserialize, Serialize};

use super::{Fitted, Model};
use crate::covariates::Covariates;
use crate::paths::Values;

/// Any model, and how many steps its count is further than the series'.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recounted {
    model: Fitted,
    lead: i64,
}

impl Recounted {
    /// A model for a series whose next step is number `step`.
    pub(crate) fn at(model: Fitted, step: u64) -> Fitted {
        match model.next_step().map(|own| own.wrapping_sub(step).cast_signed()) {
            None | Some(0) => model,
            Some(lead) => Fitted::Recounted(Box::new(Recounted { model, lead })),
        }
    }
}

impl Model for Recounted {
    fn name(&self) -> &'static str {
        self.model.name()
    }

    fn observe(&mut self, value: f32, covariates: &Covariates) {
        self.model.observe(value, &covariates.led(self.lead));
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], covariates: &Covariates) -> Values {
        self.model.forecast(steps, quantiles, &covariates.led(self.lead))
    }

    fn forecast_at(&self, aheads: &[usize], quantiles: &[f64], covariates: &Covariates) -> Values {
        self.model.forecast_at(aheads, quantiles, &covariates.led(self.lead))
    }

    fn next_step(&self) -> Option<u64> {
        self.model.next_step().and_then(|own| own.checked_add_signed(-self.lead))
    }

    fn bytes(&self) -> usize {
        size_of::<Recounted>() + self.model.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::grid::Grid;
    use crate::models::{History, Kind, Pace};
    use crate::timestamp::Timestamp;

    #[test]
    fn covariates_that_are_counted_from_elsewhere_are_the_same_to_it() {
        // Every other half day brings twice as much, and only the covariate tells when.
        let busy = |i: u64| i / 12 * 2_654_435_761 % (1 << 32) < 1 << 31;
        let value = |i: u64| {
            let wave = (std::f32::consts::TAU * (i % 24) as f32 / 24.0).sin();
            (100.0 + 40.0 * wave) * if busy(i) { 2.0 } else { 1.0 }
        };
        let values: Vec<f32> = (0..960).map(value).collect();
        let covariates = |from: u64| {
            let mut covariates = Covariates::beginning(0);
            let told = |i: u64| f32::from(u8::from(busy(i)));
            covariates.add("campaign", (from..1200).map(told).collect()).unwrap();
            covariates
        };
        // With and without a change of the clock, which has a count of its own.
        for zone in [None, TimeZone::get("Europe/Berlin").ok()] {
            let origin = Timestamp::from_secs(1_695_600_000);
            let grid = Grid { origin, step: Duration::from_secs(3600), zone };
            let (early, late) = (covariates(0), covariates(100));
            let history = History {
                grid: &grid,
                first: 0,
                values: &values[..900],
                seasons: &[24],
                covariates: &early,
                horizon: 24,
                non_negative: true,
            };
            for kind in [Kind::Additive, Kind::Boosted] {
                let mut there = kind.train(&history, &mut Pace::free()).unwrap();
                let mut here = Recounted::at(there.clone(), 800);
                let mut astray = there.clone();
                for &value in &values[900..] {
                    there.observe(value, &early);
                    here.observe(value, &late);
                    astray.observe(value, &late);
                }
                let expected = there.forecast(48, &[0.1, 0.5, 0.9], &early);
                assert_eq!(here.forecast(48, &[0.1, 0.5, 0.9], &late), expected, "{kind}");
                assert_eq!(here.forecast_at(&[7], &[0.5], &late)[0], [expected[6][1]], "{kind}");
                assert_eq!((there.next_step(), here.next_step()), (Some(960), Some(860)));
                let astray = astray.forecast(48, &[0.5], &late);
                let is_far = |h: &usize| (astray[*h][0] / expected[*h][1] - 1.0).abs() > 0.2;
                assert!((0..48).filter(is_far).count() > 5, "{kind} makes nothing of the covariate");
            }
        }
    }
}
