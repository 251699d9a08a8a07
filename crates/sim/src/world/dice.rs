//! Decides from a seed which faults happen, and counts them.
//!
//! Each kind of fault has a generator of its own, so that switching one kind off leaves the draws of the others as they
//! were: a failing seed can be made smaller without becoming another seed.

use std::time::Duration;

use crate::faults::{Fault, Faults, Tally};

/// Rates, generators and the account of what happened.
#[derive(Debug, Clone)]
pub struct Dice {
    faults: Faults,
    rngs: [fastrand::Rng; Fault::ALL.len()],
    tally: Tally,
}

impl Dice {
    /// Dice that let these faults happen.
    pub fn new(faults: Faults, seed: u64) -> Dice {
        let rngs = Fault::ALL.map(|fault| {
            fastrand::Rng::with_seed(seed.wrapping_add((fault as u64 + 1).wrapping_mul(STREAM)))
        });
        Dice { faults, rngs, tally: Tally::default() }
    }

    /// Lets other faults happen from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Whether a fault with a probability for a rate happens now.
    pub fn strikes(&mut self, fault: Fault) -> bool {
        self.strikes_with(fault, self.faults.rate(fault))
    }

    /// Whether a fault with a rate per hour happens within `time`.
    pub fn strikes_within(&mut self, fault: Fault, time: Duration) -> bool {
        self.strikes_with(fault, self.faults.rate(fault) * time.as_secs_f64() / 3600.0)
    }

    /// The generator of a kind, for how bad it is.
    pub fn of(&mut self, fault: Fault) -> &mut fastrand::Rng {
        &mut self.rngs[fault as usize]
    }

    /// Counts a fault that happened without having been drawn here.
    pub fn note(&mut self, fault: Fault) {
        self.tally.add(fault);
    }

    /// What happened.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    fn strikes_with(&mut self, fault: Fault, probability: f64) -> bool {
        let strikes = probability > 0.0 && self.rngs[fault as usize].f64() < probability;
        if strikes {
            self.tally.add(fault);
        }
        strikes
    }
}

/// Keeps the seeds of the generators apart: an odd number with well mixed bits.
const STREAM: u64 = 0xD6E8_FEB8_6659_FD93;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switching_one_kind_off_leaves_the_draws_of_another() {
        let mut faults = Faults::NONE;
        faults.set(Fault::Death, 0.3);
        faults.set(Fault::Restart, 0.3);
        let draws = |faults| {
            let mut dice = Dice::new(faults, 9);
            (0..50)
                .map(|_| {
                    dice.strikes(Fault::Death);
                    dice.strikes(Fault::Restart)
                })
                .collect::<Vec<bool>>()
        };
        let both = draws(faults);
        assert!(both.contains(&true) && both.contains(&false));
        faults.set(Fault::Death, 0.0);
        assert_eq!(draws(faults), both);
    }
}
