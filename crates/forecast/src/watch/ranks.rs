//! How rare an error is among the recent ones: its conformal p-value (Laxhammar and Falkman 2010 call the detector that
//! flags small ones conformal anomaly detection).
//!
//! Errors are kept as places on a scale of signed logarithms, twelve to the octave, counted in a tree of partial sums
//! (Fenwick 1994): taking one and asking cost the logarithm of the scale's length, whatever the window.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The recent errors by rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranks {
    window: usize,
    places: VecDeque<u16>,
    /// Partial sums of the counts of places.
    tree: Vec<u32>,
}

impl Ranks {
    /// Keeps the last `window` errors, 16 to 65,536.
    pub fn new(window: usize) -> Ranks {
        Ranks { window: window.clamp(16, 65_536), places: VecDeque::new(), tree: Vec::new() }
    }

    /// Errors kept.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Takes an error in units of its usual size.
    pub fn observe(&mut self, error: f64) {
        if !error.is_finite() {
            return;
        }
        if self.places.len() == self.window
            && let Some(oldest) = self.places.pop_front()
        {
            self.count(usize::from(oldest), u32::MAX);
        }
        let place = place(error);
        self.places.push_back(place as u16);
        self.count(place, 1);
    }

    /// The chance that an error is at least as large, to the same side, if it is of the same kind as the recent ones: never
    /// too small, 1 while nothing is known or for an error that is no number.
    pub fn p_above(&self, error: f64) -> f64 {
        let below = if error.is_finite() { self.below(place(error)) } else { 0 };
        (self.len() - below + 1) as f64 / (self.len() + 1) as f64
    }

    /// The chance that an error is at most as large.
    pub fn p_below(&self, error: f64) -> f64 {
        let up_to = if error.is_finite() { self.below(place(error) + 1) } else { self.len() };
        (up_to + 1) as f64 / (self.len() + 1) as f64
    }

    /// The chance that an error is as far out on either side.
    pub fn p_value(&self, error: f64) -> f64 {
        (2.0 * self.p_above(error).min(self.p_below(error))).min(1.0)
    }

    /// Bytes held beside its own size.
    pub fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<u16>() + self.tree.capacity() * size_of::<u32>()
    }

    /// Forgets everything and holds no memory any more.
    pub fn clear(&mut self) {
        (self.places, self.tree) = (VecDeque::new(), Vec::new());
    }

    /// Adds to the count of a place; `u32::MAX` takes one away.
    fn count(&mut self, place: usize, one: u32) {
        if self.tree.is_empty() {
            self.tree = vec![0; SCALE + 1];
        }
        let mut at = place + 1;
        while at <= SCALE {
            self.tree[at] = self.tree[at].wrapping_add(one);
            at += at & at.wrapping_neg();
        }
    }

    /// How many lie at places below this one.
    fn below(&self, place: usize) -> usize {
        if self.tree.is_empty() {
            return 0;
        }
        let (mut at, mut sum) = (place.min(SCALE), 0);
        while at > 0 {
            sum += self.tree[at] as usize;
            at -= at & at.wrapping_neg();
        }
        sum
    }
}

/// The place of an error on the scale.
fn place(error: f64) -> usize {
    let steps = ((error.abs().max(SMALLEST) / SMALLEST).log2() * PER_OCTAVE) as usize;
    let steps = steps.min(SIDE);
    if error < 0.0 { SIDE - steps } else { SIDE + steps }
}

const PER_OCTAVE: f64 = 12.0;
/// Smaller errors are none.
const SMALLEST: f64 = 1.0 / 256.0;
/// Places on each side of zero: 24 octaves, up to 65,536 units.
const SIDE: usize = 288;
const SCALE: usize = 2 * SIDE + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tail::normal;

    #[test]
    fn p_values_of_errors_of_the_same_kind_are_never_too_small_and_nearly_even() {
        let mut ranks = Ranks::new(2000);
        let mut random = fastrand::Rng::with_seed(8);
        (0..2000).for_each(|_| ranks.observe(normal(&mut random)));
        let mut found = [0.0; 3];
        for _ in 0..20_000 {
            let error = normal(&mut random);
            let p = ranks.p_value(error);
            ranks.observe(error);
            for (count, risk) in found.iter_mut().zip([0.5, 0.1, 0.01]) {
                *count += f64::from(u8::from(p <= risk)) / 20_000.0;
            }
        }
        for (share, risk) in found.into_iter().zip([0.5, 0.1, 0.01]) {
            assert!(share < 1.15 * risk && share > 0.7 * risk, "{share} at {risk}");
        }
    }

    #[test]
    fn only_the_window_counts() {
        let mut ranks = Ranks::new(16);
        assert_eq!((ranks.p_value(100.0), ranks.is_empty()), (1.0, true));
        (0..1000).for_each(|_| ranks.observe(5.0));
        (0..16).for_each(|i| ranks.observe(f64::from(i) - 8.0));
        assert_eq!(ranks.len(), 16);
        assert!((ranks.p_above(7.0) - 2.0 / 17.0).abs() < 1e-12);
        assert!((ranks.p_below(-9.0) - 1.0 / 17.0).abs() < 1e-12);
        assert!((ranks.p_above(-9.0) - 1.0).abs() < 1e-12);
        ranks.observe(f64::NAN);
        assert_eq!((ranks.len(), ranks.p_value(f64::NAN)), (16, 1.0));
        assert!(ranks.p_above(f64::MAX) < 0.1 && ranks.p_below(f64::MIN) < 0.1);
        ranks.clear();
        assert_eq!(ranks.p_value(3.0), 1.0);
    }
}
