//! The target that has the least of something: requests in flight, or predicted work.

use crate::Weights;
use crate::weights::below;

/// The target with the least load per weight; `load` answers with what the target would have with the new request, or
/// None for one that cannot be used. Ties go to the one that follows in rotation from a random place, so that idle
/// targets share.
///
/// Up to [`SCAN_MAX`] targets are all looked at. Of more, [`CHOICES`] are drawn by weight, so that a pick among thousands costs
/// no more; only when none of them can be used all are looked at.
pub fn least(
    weights: &Weights,
    mut random: impl FnMut() -> u64,
    mut load: impl FnMut(usize) -> Option<f64>,
) -> Option<usize> {
    let count = weights.len();
    let mut best = Best::default();
    if count > SCAN_MAX {
        for _ in 0..CHOICES {
            let index = weights.draw(random())?;
            best.offer(index, weights.weight(index), &mut load);
        }
        if best.index.is_some() {
            return best.index;
        }
    }
    let start = below(random(), count as u64) as usize;
    for index in (start..count).chain(0..start) {
        best.offer(index, weights.weight(index), &mut load);
    }
    best.index
}

#[derive(Default)]
struct Best {
    index: Option<usize>,
    load: f64,
    weight: f64,
}

impl Best {
    fn offer(&mut self, index: usize, weight: u64, load: &mut impl FnMut(usize) -> Option<f64>) {
        if weight == 0 {
            return;
        }
        let Some(load) = load(index) else { return };
        let weight = weight as f64;
        // Load per weight, compared without division.
        if self.index.is_none() || load * self.weight < self.load * weight {
            *self = Self { index: Some(index), load, weight };
        }
    }
}

/// Up to so many targets are all looked at.
pub const SCAN_MAX: usize = 32;
/// Of more, so many.
pub const CHOICES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn least_connections(targets: &[Option<(u32, u32)>], random: u64) -> Option<usize> {
        let weights = Weights::new(targets.iter().map(|target| target.map_or(0, |(weight, _)| weight)));
        least(&weights, || random, |index| targets[index].map(|(_, in_flight)| f64::from(in_flight) + 1.0))
    }

    #[test]
    fn in_flight_requests_are_weighed() {
        assert_eq!(least_connections(&[Some((1000, 9)), Some((100, 0))], 0), Some(0));
        assert_eq!(least_connections(&[Some((1000, 10)), Some((100, 0))], 0), Some(1));
    }

    #[test]
    fn ties_rotate() {
        let targets = [Some((1, 0)), Some((1, 0)), None];
        assert_eq!(least_connections(&targets, 0), Some(0));
        assert_eq!(least_connections(&targets, u64::MAX / 3 + 1), Some(1));
        assert_eq!(least_connections(&targets, u64::MAX), Some(0));
    }

    #[test]
    fn weight_zero_is_never_chosen() {
        assert_eq!(least_connections(&[Some((0, 0)), Some((1, 99))], 0), Some(1));
        assert_eq!(least_connections(&[Some((0, 0))], 0), None);
    }

    #[test]
    fn the_last_usable_of_many_is_found() {
        let weights = Weights::new([1000; 1000]);
        let found = least(&weights, || 0, |index| (index == 777).then_some(1.0));
        assert_eq!(found, Some(777));
    }
}
