//! Members whose forecasts are made elsewhere: users' own models.
//!
//! Such a model may be slow, and may be gone: nothing here asks it anything. Whoever runs it brings what it says of the next
//! steps, and what is said is used and scored like any member's until it is too old.
//!
//! Promises: as the crate's. A guest that says nothing has no part in any forecast, and loses nothing by it.

use std::sync::Arc;

use super::{Ensemble, panels};
use crate::calibration::GRID;
use crate::paths::Values;

/// One seat for a model that is run elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) name: String,
    said: Option<Said>,
}

/// Grid quantiles of steps from `from` on, one row for each.
#[derive(Clone, Debug)]
struct Said {
    from: u64,
    path: Arc<Values>,
}

impl Guest {
    pub(super) fn new(name: String) -> Guest {
        Guest { name, said: None }
    }

    /// Whether it takes part in forecasts of step `next` and later.
    pub(super) fn is_present(&self, next: u64) -> bool {
        self.said.as_ref().is_some_and(|said| next >= said.from && next - said.from <= AGE_MAX)
    }

    /// What it says of a step, if it does, as known before step `next`.
    pub(super) fn row(&self, next: u64, step: u64) -> Option<&[f64]> {
        let said = self.said.as_ref().filter(|_| self.is_present(next))?;
        let row = usize::try_from(step.checked_sub(said.from)?).ok()?;
        (row < said.path.len()).then(|| &said.path[row])
    }

    pub(super) fn leave(&mut self) {
        self.said = None;
    }

    pub(super) fn bytes(&self) -> usize {
        let values = self.said.as_ref().map_or(0, |said| said.path.len() * GRID.len());
        size_of::<Guest>() + self.name.capacity() + 8 * values
    }
}

impl Ensemble {
    /// Quantiles that guests must say of every step.
    pub const GUEST_QUANTILES: &'static [f64] = &GRID;

    /// The same ensemble with seats for models that are run elsewhere, by name. To be called before the first observation.
    #[must_use]
    pub fn with_guests(self, names: &[String]) -> Ensemble {
        let panels = panels(&self.config, &self.kinds, names.len());
        let guests = names.iter().cloned().map(Guest::new).collect();
        Ensemble { panels, guests, ..self }
    }

    /// What a guest says of the steps from `from` on, or that it says nothing any more. Anything that is no forecast of all
    /// [`GUEST_QUANTILES`](Self::GUEST_QUANTILES) counts as nothing.
    pub fn hear(&mut self, name: &str, from: u64, said: Option<Values>) {
        let Some(guest) = self.guests.iter_mut().find(|guest| guest.name == name) else { return };
        let usable = said.filter(|path| {
            let rising =
                |row: &[f64]| row.len() == GRID.len() && row.iter().all(|v| v.is_finite()) && row.is_sorted();
            !path.is_empty() && path.iter().all(rising)
        });
        guest.said = usable.map(|path| Said { from, path: Arc::new(path) });
    }

    /// Whether anybody takes part beside the online core.
    pub(super) fn has_company(&self) -> bool {
        !self.members.is_empty() || self.guests.iter().any(|guest| guest.is_present(self.next))
    }

    /// A guest's place in the panels: after the core and all kinds.
    pub(super) fn guest_seat(&self, place: usize) -> usize {
        1 + self.kinds.len() + place
    }
}

/// Steps that a guest's forecast may be old: longer, and it says less than nothing.
const AGE_MAX: u64 = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::models::Kind;
    use crate::online::Config;
    use crate::timestamp::Timestamp;

    /// Jumps that the guest knows and nobody else can.
    fn value(i: u64) -> f64 {
        if fastrand::Rng::with_seed(i).bool() { 50.0 } else { 150.0 }
    }

    fn observe(ensemble: &mut Ensemble, i: u64) {
        let at = Timestamp::from_secs(1_700_000_000) + Duration::from_secs(300) * i as u32;
        ensemble.observe(at, Some(value(i))).unwrap();
    }

    fn ensemble(kinds: &[Kind]) -> Ensemble {
        Ensemble::new(Config::new(Duration::from_secs(300)), kinds).unwrap().with_guests(&["mine".into()])
    }

    fn knowing(from: u64, steps: u64) -> Values {
        let mut path = Values::zeros(steps as usize, GRID.len());
        for h in 0..steps {
            for (k, slot) in path.row_mut(h as usize).iter_mut().enumerate() {
                *slot = value(from + h) + k as f64 - 5.0;
            }
        }
        path
    }

    fn weight(ensemble: &Ensemble) -> f64 {
        ensemble.weights(1).iter().find(|(name, _)| *name == "mine").map_or(0.0, |(_, weight)| *weight)
    }

    #[test]
    fn a_guest_that_knows_more_gains_weight_and_is_forgotten_when_it_falls_silent() {
        for kinds in [&[][..], &[Kind::Last]] {
            let mut ensemble = ensemble(kinds);
            (0..400).for_each(|i| observe(&mut ensemble, i));
            for i in 400..1000 {
                ensemble.hear("mine", i, Some(knowing(i, 288)));
                observe(&mut ensemble, i);
            }
            ensemble.hear("mine", 1000, Some(knowing(1000, 288)));
            assert!(weight(&ensemble) > 0.5, "{:?}", ensemble.weights(1));
            let median = ensemble.forecast(1, &[0.5]).values[0][0];
            assert!((median - value(1000)).abs() < 25.0, "{median}");
            let alone = ensemble.online.forecast(3, &[0.5, 0.9]);
            let mut gone = ensemble.clone();
            gone.hear("mine", 1000, None);
            assert_eq!(gone.forecast(3, &[0.5, 0.9]).values, alone.values);
            // One that does not come back is believed for a while only.
            (1000..1000 + AGE_MAX + 1).for_each(|i| observe(&mut ensemble, i));
            assert!(weight(&ensemble) == 0.0, "{:?}", ensemble.weights(1));
        }
    }

    #[test]
    fn beyond_what_it_said_a_guest_has_no_part_and_nonsense_is_not_heard() {
        let mut ensemble = ensemble(&[]);
        for i in 0..500 {
            ensemble.hear("mine", i, Some(knowing(i, 2)));
            observe(&mut ensemble, i);
        }
        ensemble.hear("mine", 500, Some(knowing(500, 2)));
        let said = ensemble.forecast(6, &[0.5]).values;
        assert!((0..6).all(|h| said[h][0].is_finite()), "{said:?}");
        let alone = ensemble.online.forecast(6, &[0.5]).values;
        assert_ne!(said[0], alone[0]);
        let mut falling = knowing(500, 2);
        falling.row_mut(1)[3] = 1e9;
        let mut broken = knowing(500, 2);
        broken.row_mut(0)[3] = f64::NAN;
        for nonsense in [falling, broken, Values::zeros(2, 3), Values::zeros(0, GRID.len())] {
            ensemble.hear("mine", 500, Some(nonsense));
            assert_eq!(ensemble.forecast(6, &[0.5]).values, alone);
        }
        ensemble.hear("yours", 500, Some(knowing(500, 2)));
        assert_eq!(ensemble.forecast(6, &[0.5]).values, alone);
    }
}
