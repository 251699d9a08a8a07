//! An amount of something that requests take of instances.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Millionths of a unit: exact, so that what is taken and given back adds up to nothing whatever the order, and small
/// enough to be kept in one atomic number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount(u64);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// The nearest amount; nothing for what is below zero or not a number, the most there is for what is too much.
    pub fn from_f64(units: f64) -> Amount {
        // A cast saturates.
        Amount(((units * PER_UNIT).round().max(0.0) as u64).min(MOST))
    }

    /// In units.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / PER_UNIT
    }

    pub(crate) fn micros(self) -> u64 {
        self.0
    }

    pub(crate) fn from_micros(micros: u64) -> Amount {
        Amount(micros.min(MOST))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

const PER_UNIT: f64 = 1e6;
/// A thousand of these still fit into 64 bits.
const MOST: u64 = u64::MAX >> 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_numbers_are_legal_amounts() {
        assert_eq!(Amount::from_f64(f64::NAN), Amount::ZERO);
        assert_eq!(Amount::from_f64(-1.0), Amount::ZERO);
        assert_eq!(Amount::from_f64(f64::INFINITY).micros(), MOST);
        assert_eq!(Amount::from_f64(1.5).as_f64(), 1.5);
    }
}
