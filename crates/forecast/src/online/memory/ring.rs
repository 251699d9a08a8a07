//! Slots of 16 bits with a common unit, which follows the size of the values.

use serde::{Deserialize, Serialize};

use crate::narrow::{LARGEST, pack, unpack};

/// Numbers in units of a power of two. Slots are filled in order, then overwritten from the first on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ring {
    halves: Vec<u16>,
    slots: usize,
    unit: f32,
}

impl Ring {
    /// Empty, of at most so many slots.
    pub(crate) fn new(slots: usize) -> Ring {
        Ring { halves: Vec::new(), slots, unit: 0.0 }
    }

    /// Writes one slot. A value so large that all others would vanish beside it is drawn in.
    pub(crate) fn set(&mut self, slot: usize, value: f32) {
        if slot >= self.halves.len() {
            // Grown in pieces, so that no capacity is held that will never be used.
            if slot >= self.halves.capacity() {
                let more = (self.slots - self.halves.len()).min(PIECE).max(slot + 1 - self.halves.len());
                self.halves.reserve_exact(more);
            }
            self.halves.resize(slot + 1, 0);
        }
        let most = if self.unit > 0.0 { self.unit * BESIDE_MAX } else { f32::MAX };
        let value = value.clamp(-most, most);
        let size = value.abs();
        if size > LARGEST * self.unit || (slot == 0 && self.unit > 0.0) {
            self.fit(size);
        }
        self.halves[slot] = if self.unit > 0.0 { pack(value / self.unit) } else { 0 };
    }

    /// A slot's number; zero where none was written.
    #[inline]
    pub(crate) fn at(&self, slot: usize) -> f32 {
        self.halves.get(slot).map_or(0.0, |&half| unpack(half) * self.unit)
    }

    /// What [`plain`] numbers are counted in.
    #[inline]
    pub(crate) fn unit(&self) -> f32 {
        self.unit
    }

    /// Calls `each` with one or two runs that are the `n` slots from `first` on, and how many came before.
    #[inline]
    pub(crate) fn runs(&self, first: usize, n: usize, mut each: impl FnMut(&[u16], usize)) {
        let held = self.halves.len();
        let end = (first + n).min(held);
        let run = self.halves.get(first..end).unwrap_or_default();
        each(run, 0);
        if run.len() < n {
            each(&self.halves[..(n - run.len()).min(held)], run.len());
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.halves.capacity() * 2
    }

    /// Chooses the unit anew so that the largest number and `size` fit with room above.
    fn fit(&mut self, size: f32) {
        let largest = self.halves.iter().map(|&half| half & 0x7fff).max().map_or(0.0, unpack) * self.unit;
        let largest = largest.max(size);
        let unit = if largest > 0.0 { power_of_two_below(largest) } else { 0.0 };
        if self.unit > 0.0 && unit > 0.0 {
            let scale = self.unit / unit;
            for half in &mut self.halves {
                *half = pack(unpack(*half) * scale);
            }
        }
        self.unit = unit;
    }
}

/// A packed number in units of its ring.
#[inline]
pub(crate) fn plain(half: u16) -> f32 {
    unpack(half)
}

/// Sum of packed numbers in units of their ring, four at a time so that no addition waits for the one before.
#[inline]
pub(crate) fn sum(run: &[u16]) -> f32 {
    let mut sums = [0.0f32; 4];
    let fours = run.chunks_exact(4);
    let rest: f32 = fours.remainder().iter().map(|&half| plain(half)).sum();
    for four in fours {
        for (sum, &half) in sums.iter_mut().zip(four) {
            *sum += plain(half);
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// The largest number comes to lie between one and two times 2^8: far above it there is room, below it precision.
fn power_of_two_below(size: f32) -> f32 {
    f32::from_bits(size.to_bits() & 0x7f80_0000).max(f32::MIN_POSITIVE * 512.0) / 256.0
}

const PIECE: usize = 512;
/// In units: beside a number so large those of a size of one time 2^8 still have all their digits.
const BESIDE_MAX: f32 = 4_194_304.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_follows_values_of_any_size_up_and_down() {
        let mut ring = Ring::new(100);
        let near = |ring: &Ring, slot: usize, value: f32| (ring.at(slot) / value - 1.0).abs() < 1e-3;
        ring.set(0, 3e-7);
        ring.set(1, 2e-3);
        assert!(near(&ring, 0, 3e-7) && near(&ring, 1, 2e-3));
        ring.set(2, -20.0);
        assert!(near(&ring, 1, 2e-3) && near(&ring, 2, -20.0));
        for slot in 0..100 {
            ring.set(slot, 5.0);
        }
        ring.set(0, 5.0);
        assert!(near(&ring, 0, 5.0), "{}", ring.at(0));
        assert!(ring.heap_bytes() == 200);
    }

    #[test]
    fn a_number_beyond_all_measure_is_drawn_in_and_the_others_survive_it() {
        let mut ring = Ring::new(8);
        ring.set(0, 7.0);
        ring.set(1, 1e30);
        assert!((ring.at(0) / 7.0 - 1.0).abs() < 1e-3 && (1e4..1e6).contains(&ring.at(1)), "{}", ring.at(1));
        // If it is how the series is now, it takes a few more steps.
        (2..8).for_each(|slot| ring.set(slot, 1e30));
        assert!((ring.at(7) / 1e30 - 1.0).abs() < 1e-3, "{}", ring.at(7));
    }

    #[test]
    fn zeros_and_the_smallest_numbers_do_no_harm() {
        let mut ring = Ring::new(4);
        ring.set(0, 0.0);
        ring.set(1, f32::MIN_POSITIVE);
        ring.set(2, 1e-45);
        assert!(ring.at(0) == 0.0 && (0..4).all(|slot| ring.at(slot).is_finite()));
        assert_eq!(ring.at(99), 0.0);
    }
}
