//! Overrides of the forecast by operators.
//!
//! Plans are made from the overridden forecast; accuracy, margins and the books of the rules are judged on what the
//! forecaster said itself, so that an operator's guess teaches it nothing.

use std::fmt;

use forecast::{Adjustment, Change, Timestamp};

use crate::reason::Amount;

/// A part of the forecast that an operator knows better.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastOverride {
    /// Its number, by which it is taken back. Of the overrides in force, a later one is applied to what earlier ones, with
    /// smaller numbers, have made of the forecast.
    pub id: u64,
    /// When, and what is done.
    pub adjustment: Adjustment,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for ForecastOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Adjustment { from, to, change } = self.adjustment;
        write!(
            f,
            "The forecast from {from} on is overridden by {} because \"{}\" until {to}: ",
            self.author, self.reason
        )?;
        match change {
            Change::Scale(factor) => write!(f, "{factor} times as much."),
            Change::Add(amount) if amount < 0.0 => write!(f, "{} less.", Amount(-amount)),
            Change::Add(amount) => write!(f, "{} more.", Amount(amount)),
            Change::Replace(demand) => write!(f, "{} instead.", Amount(demand)),
        }
    }
}

/// The overrides of one workload's forecast, in order of their numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct ForecastOverrides {
    all: Vec<ForecastOverride>,
    /// The same without authors.
    adjustments: Vec<Adjustment>,
}

impl ForecastOverrides {
    pub(crate) fn all(&self) -> &[ForecastOverride] {
        &self.all
    }

    pub(crate) fn adjustments(&self) -> &[Adjustment] {
        &self.adjustments
    }

    /// Puts one into force, in place of another of the same number. False where there are too many, or it makes no sense.
    pub(crate) fn set(&mut self, new: ForecastOverride) -> bool {
        let sound = new.adjustment.change.is_sound();
        let place = self.all.partition_point(|other| other.id < new.id);
        let known = self.all.get(place).is_some_and(|other| other.id == new.id);
        if !sound
            || new.adjustment.to <= new.adjustment.from
            || (!known && self.all.len() >= FORECAST_OVERRIDES_MAX)
        {
            return false;
        }
        if known {
            self.all[place] = new;
        } else {
            self.all.insert(place, new);
        }
        self.renew();
        true
    }

    /// Takes one back; whether it was there.
    pub(crate) fn clear(&mut self, id: u64) -> bool {
        let before = self.all.len();
        self.all.retain(|other| other.id != id);
        self.renew();
        self.all.len() < before
    }

    /// Forgets those that are over.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        if self.all.iter().any(|other| other.adjustment.to <= now) {
            self.all.retain(|other| other.adjustment.to > now);
            self.renew();
        }
    }

    /// Those that have a part in a time.
    pub(crate) fn touching(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &ForecastOverride> {
        self.all.iter().filter(move |other| other.adjustment.touches(from, to))
    }

    fn renew(&mut self) {
        self.adjustments = self.all.iter().map(|other| other.adjustment).collect();
    }
}

/// Overrides of one workload's forecast at one time.
pub const FORECAST_OVERRIDES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: u64, from: i64, to: i64, change: Change) -> ForecastOverride {
        let adjustment =
            Adjustment { from: Timestamp::from_secs(from), to: Timestamp::from_secs(to), change };
        ForecastOverride { id, adjustment, author: "ana".into(), reason: "sale".into() }
    }

    #[test]
    fn they_stay_in_order_are_replaced_by_number_and_end() {
        let mut overrides = ForecastOverrides::default();
        assert!(overrides.set(of(2, 0, 10, Change::Add(1.0))));
        assert!(overrides.set(of(1, 5, 20, Change::Scale(2.0))));
        assert!(overrides.set(of(2, 0, 12, Change::Add(3.0))));
        let numbers = |o: &ForecastOverrides| o.all().iter().map(|o| o.id).collect::<Vec<_>>();
        assert_eq!(numbers(&overrides), [1, 2]);
        assert_eq!(overrides.adjustments()[1].change, Change::Add(3.0));
        overrides.expire(Timestamp::from_secs(12));
        assert_eq!(numbers(&overrides), [1]);
        assert!(!overrides.clear(2) && overrides.clear(1) && overrides.adjustments().is_empty());
    }

    #[test]
    fn nonsense_and_too_many_are_refused() {
        let mut overrides = ForecastOverrides::default();
        for bad in [
            of(1, 10, 10, Change::Add(1.0)),
            of(1, 0, 10, Change::Scale(-1.0)),
            of(1, 0, 10, Change::Replace(f64::NAN)),
        ] {
            assert!(!overrides.set(bad));
        }
        for id in 0..FORECAST_OVERRIDES_MAX as u64 {
            assert!(overrides.set(of(id, 0, 10, Change::Add(1.0))));
        }
        assert!(!overrides.set(of(99, 0, 10, Change::Add(1.0))));
        assert!(overrides.set(of(3, 0, 10, Change::Add(2.0))), "one that is known may change");
    }

    #[test]
    fn it_says_who_why_and_until_when() {
        let said = of(1, 0, 3_600, Change::Scale(2.5)).to_string();
        assert_eq!(
            said,
            "The forecast from 1970-01-01T00:00:00Z on is overridden by ana because \"sale\" until 1970-01-01T01:00:00Z: \
             2.5 times as much."
        );
    }
}
