//! A part of the online core alone, calibrated as the whole is: the profile of the seasons at its recent level, or recursive
//! least squares over some experts. Unlike other models it learns at every step that it follows.
//!
//! Promises: as [`Model`]'s. Does not look at covariates; follows the wall clock by itself.

use serde::{Deserialize, Serialize};

use super::online::{config, unsuitable};
use super::place::Place;
use super::{FitError, History, Model, Pace};
use crate::covariates::Covariates;
use crate::online::{Forecaster, Part};
use crate::paths::Values;

/// One part, following a series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partial {
    part: Part,
    core: Forecaster,
    place: Place,
    next: u64,
}

impl Partial {
    /// Learns a history step by step.
    ///
    /// # Errors
    /// [`FitError`] when there is next to nothing to learn from, or training is called off.
    pub fn fit(part: Part, history: &History<'_>, pace: &mut Pace<'_>) -> Result<Partial, FitError> {
        let present = history.present();
        if present < PRESENT_MIN {
            return Err(FitError::TooLittleHistory { present, needed: PRESENT_MIN });
        }
        let core = Forecaster::new(config(history)).map_err(unsuitable)?.reduced(Some(part));
        let place = Place::of(history.grid);
        let mut partial = Partial { part, core, place, next: history.first };
        for (i, &value) in history.values.iter().enumerate() {
            partial.observe(value, history.covariates);
            if i.is_multiple_of(CHECK_EVERY) {
                pace.checkpoint()?;
            }
        }
        Ok(partial)
    }
}

impl Model for Partial {
    fn name(&self) -> &'static str {
        match self.part {
            Part::Profile => "profile",
            Part::Stack => "rls",
        }
    }

    fn observe(&mut self, value: f32, _: &Covariates) {
        let at = self.place.begins_at(self.next);
        self.next += 1;
        // Refused values (infinite, negative where that cannot be) are missing ones here.
        if self.core.observe(at, Some(f64::from(value))).is_err() {
            self.core.observe(at, None).ok();
        }
    }

    fn forecast(&self, steps: usize, quantiles: &[f64], _: &Covariates) -> Values {
        self.core.forecast(steps, quantiles).values
    }

    fn bytes(&self) -> usize {
        size_of::<Partial>() + self.core.bytes()
    }
}

const PRESENT_MIN: usize = 24;
const CHECK_EVERY: usize = 256;
