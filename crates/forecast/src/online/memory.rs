//! The bounded history that a forecaster keeps of its own series.
//!
//! Two rings: the last [`FINE_STEPS`] values one by one, and, where these do not span some weeks, means of several steps
//! further back. Values that must not be learned from (missing, or part of an outage) are stored as what was expected
//! instead, and marked. A value takes 16 bits: it is good to three digits, which is more than a forecast needs.

mod ring;

use serde::{Deserialize, Serialize};

use ring::Ring;

use crate::narrow::larger;

/// Values by step number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    fine: Ring,
    /// One bit per slot of `fine`: the value is made up.
    made_up: Vec<u64>,
    first: u64,
    next: u64,
    coarse: Option<Coarse>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Coarse {
    factor: u64,
    /// Number of the first whole mean.
    first: u64,
    means: Ring,
    sum: f64,
}

impl Memory {
    /// An empty memory that should reach back at least `span` steps, if two rings can. A day of `day` steps, if whole, will
    /// be a whole number of means.
    pub(crate) fn new(span: usize, day: Option<usize>) -> Memory {
        let factor = even_factor(span.div_ceil(COARSE_SLOTS) as u64, day);
        Memory::beginning(0, (span > FINE_STEPS).then_some(factor))
    }

    /// An empty memory whose first step will be `first`, with coarse means of `factor` steps.
    fn beginning(first: u64, factor: Option<u64>) -> Memory {
        Memory {
            fine: Ring::new(FINE_STEPS),
            made_up: Vec::new(),
            first,
            next: first,
            coarse: factor.map(|factor| Coarse {
                factor,
                // A mean is only known for whole runs of steps.
                first: first.div_ceil(factor),
                means: Ring::new(COARSE_SLOTS),
                sum: 0.0,
            }),
        }
    }

    /// A memory of the same kind that begins at step `first` and holds nothing.
    pub(crate) fn emptied(&self, first: u64) -> Memory {
        Memory::beginning(first, self.coarse_factor())
    }

    /// Appends the value of the next step.
    pub(crate) fn push(&mut self, value: f64, made_up: bool) {
        let slot = (self.next % FINE_STEPS as u64) as usize;
        self.fine.set(slot, value as f32);
        if self.made_up.len() <= slot / 64 {
            self.made_up.resize(slot / 64 + 1, 0);
        }
        let bit = 1 << (slot % 64);
        if made_up {
            self.made_up[slot / 64] |= bit;
        } else {
            self.made_up[slot / 64] &= !bit;
        }
        if let Some(coarse) = &mut self.coarse {
            // As it is held, so that it can be taken out of the sum again.
            coarse.push(self.next, f64::from(self.fine.at(slot)));
        }
        self.next += 1;
    }

    /// Puts another value in the place of one of the finely held steps.
    pub(crate) fn replace(&mut self, step: u64, value: f64) {
        if step < self.oldest_fine() || step >= self.next {
            return;
        }
        let slot = slot_of(step);
        if let Some(coarse) = &mut self.coarse
            && step / coarse.factor == self.next / coarse.factor
        {
            coarse.sum += value - f64::from(self.fine.at(slot));
        }
        self.fine.set(slot, value as f32);
    }

    /// Number of the step that comes next.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The first step that is still held one by one.
    #[inline(always)]
    pub(crate) fn oldest_fine(&self) -> u64 {
        self.next.saturating_sub(FINE_STEPS as u64).max(self.first)
    }

    /// The first step that is held at all.
    #[inline(always)]
    pub(crate) fn oldest(&self) -> u64 {
        self.coarse
            .as_ref()
            .map_or(self.oldest_fine(), |coarse| coarse.oldest(self.next).min(self.oldest_fine()))
    }

    /// Steps in one coarse mean, when there are any.
    pub(crate) fn coarse_factor(&self) -> Option<u64> {
        self.coarse.as_ref().map(|coarse| coarse.factor)
    }

    /// The value of a step from [`oldest`](Self::oldest) up to the last; outside it, the nearest one.
    #[inline(always)]
    pub(crate) fn value(&self, step: u64) -> f64 {
        if step >= self.oldest_fine() {
            return f64::from(self.fine.at(slot_of(step)));
        }
        match &self.coarse {
            Some(coarse) => coarse.value(step, self.next),
            None => f64::from(self.fine.at(slot_of(self.oldest_fine()))),
        }
    }

    /// Whether the value of a finely held step was made up.
    #[inline(always)]
    pub(crate) fn is_made_up(&self, step: u64) -> bool {
        let slot = slot_of(step);
        self.made_up.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Mean of the values of `n` steps from one on that begins a coarse mean.
    pub(crate) fn mean(&self, first: u64, n: u64) -> f64 {
        if first + n <= self.oldest_fine() && self.coarse_factor() == Some(n) {
            return self.value(first);
        }
        (first..first + n).map(|step| self.value(step)).sum::<f64>() / n as f64
    }

    /// Mean of the values from `half` steps before a step to `half` after it, never beyond the last one.
    #[inline(always)]
    pub(crate) fn around(&self, step: u64, half: u64) -> f64 {
        let to = (step + half).min(self.next.saturating_sub(1));
        let from = step.saturating_sub(half).max(self.oldest_fine());
        if from > to || step < self.oldest_fine() {
            return self.value(step);
        }
        let (mut sum, n) = (0.0, (to - from + 1) as usize);
        self.fine.runs(slot_of(from), n, |run, _| sum += ring::sum(run));
        f64::from(sum * self.fine.unit()) / n as f64
    }

    /// Copies the values of consecutive finely held steps from `from` on; false when some are not held.
    #[inline(always)]
    pub(crate) fn copy_to(&self, from: u64, values: &mut [f32]) -> bool {
        if from < self.oldest_fine() || from + values.len() as u64 > self.next {
            return false;
        }
        let unit = self.fine.unit();
        self.fine.runs(slot_of(from), values.len(), |run, at| {
            for (value, &half) in values[at..].iter_mut().zip(run) {
                *value = ring::plain(half) * unit;
            }
        });
        true
    }

    /// The values of all finely held steps, oldest first.
    pub(crate) fn fine(&self) -> Vec<f64> {
        let (from, unit) = (self.oldest_fine(), self.fine.unit());
        let n = (self.next - from) as usize;
        let mut values = Vec::with_capacity(n);
        self.fine.runs(slot_of(from), n, |run, _| {
            values.extend(run.iter().map(|&half| f64::from(ring::plain(half) * unit)));
        });
        values
    }

    /// The largest value of the last `n` steps that was not made up; minus infinity when there is none. `whole` says that
    /// none was.
    #[inline(always)]
    pub(crate) fn largest_of_last(&self, n: usize, whole: bool) -> f64 {
        let from = self.next.saturating_sub(n as u64).max(self.oldest_fine());
        if !whole {
            let known = (from..self.next).filter(|&step| !self.is_made_up(step));
            return known.map(|step| self.value(step)).fold(f64::NEG_INFINITY, f64::max);
        }
        let mut largest = f32::NEG_INFINITY;
        self.fine.runs(slot_of(from), (self.next - from) as usize, |run, _| {
            largest = run.iter().map(|&half| ring::plain(half)).fold(largest, |a, b| larger(b, a));
        });
        f64::from(largest * self.fine.unit())
    }

    /// Sum of the last `n` finely held values.
    #[inline(always)]
    pub(crate) fn sum_of_last(&self, n: usize) -> f64 {
        let from = self.next.saturating_sub(n as u64).max(self.oldest_fine());
        let mut sum = 0.0;
        self.fine.runs(slot_of(from), (self.next - from) as usize, |run, _| sum += ring::sum(run));
        f64::from(sum * self.fine.unit())
    }

    /// Bytes held on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let coarse = self.coarse.as_ref().map_or(0, |coarse| coarse.means.heap_bytes());
        self.fine.heap_bytes() + self.made_up.capacity() * 8 + coarse
    }
}

impl Coarse {
    fn push(&mut self, step: u64, value: f64) {
        self.sum += value;
        if (step + 1).is_multiple_of(self.factor) {
            let slot = (step / self.factor % COARSE_SLOTS as u64) as usize;
            self.means.set(slot, (self.sum / self.factor as f64) as f32);
            self.sum = 0.0;
        }
    }

    fn oldest(&self, next: u64) -> u64 {
        (next / self.factor).saturating_sub(COARSE_SLOTS as u64).max(self.first) * self.factor
    }

    fn value(&self, step: u64, next: u64) -> f64 {
        let slot = step.max(self.oldest(next)) / self.factor;
        f64::from(self.means.at((slot % COARSE_SLOTS as u64) as usize))
    }
}

#[inline(always)]
fn slot_of(step: u64) -> usize {
    (step % FINE_STEPS as u64) as usize
}

/// The smallest number from `least` on that divides a day of `day` steps; `least` itself when there is none near.
pub(crate) fn even_factor(least: u64, day: Option<usize>) -> u64 {
    let least = least.max(1);
    let Some(day) = day.filter(|&day| day > 0) else { return least };
    (least..4 * least).find(|&factor| (day as u64).is_multiple_of(factor)).unwrap_or(least)
}

/// Values held one by one: two weeks of 5-minute steps, nearly three days of minutes.
pub(crate) const FINE_STEPS: usize = 4096;
/// Means held further back.
pub(crate) const COARSE_SLOTS: usize = 960;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_in_full_and_then_as_means() {
        let mut memory = Memory::new(8 * COARSE_SLOTS, None);
        let n = 3 * FINE_STEPS as u64;
        let near = |seen: f64, step: u64| (seen - step as f64).abs() <= 4.0 + step as f64 / 2048.0;
        for u in 0..n {
            memory.push(u as f64, u % 100 == 0);
        }
        assert_eq!(memory.next(), n);
        assert!(near(memory.value(n - 1), n - 1));
        assert!(near(memory.value(memory.oldest_fine()), memory.oldest_fine()));
        assert!(memory.is_made_up(n - 16) == (n - 16).is_multiple_of(100));
        assert_eq!(memory.coarse_factor(), Some(8));
        let old = memory.oldest() + 400;
        assert!(near(memory.value(old), old));
        assert!(near(memory.around(n - 10, 2), n - 10));
        let mut copied = [0.0; 100];
        assert!(memory.copy_to(n - 150, &mut copied) && near(f64::from(copied[99]), n - 51));
        assert!(!memory.copy_to(n - 50, &mut copied) && !memory.copy_to(0, &mut copied));
        assert!(near(memory.largest_of_last(10, true), n - 1));
    }

    #[test]
    fn memory_is_bounded_whatever_the_step() {
        for span in [100, FINE_STEPS, 2_000_000] {
            let mut memory = Memory::new(span, Some(86_400));
            for u in 0..200_000u64 {
                memory.push(u as f64, false);
            }
            assert!(memory.heap_bytes() <= 2 * (FINE_STEPS + COARSE_SLOTS) + FINE_STEPS / 4);
            assert!(memory.oldest() <= memory.oldest_fine());
        }
    }

    #[test]
    fn an_empty_memory_answers_without_panicking() {
        let memory = Memory::new(10, None);
        assert_eq!((memory.value(5), memory.around(0, 3), memory.oldest()), (0.0, 0.0, 0));
        assert_eq!(memory.largest_of_last(5, false), f64::NEG_INFINITY);
    }
}
