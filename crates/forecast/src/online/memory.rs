//! The bounded history that a forecaster keeps of its own series.
//!
//! Two rings: the last [`FINE_STEPS`] values one by one, and, where steps are so short that these do not span some weeks,
//! means of several steps further back. Values that must not be learned from (missing, or part of an outage) are stored
//! as what was expected instead, and marked.

/// Values by step number.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    fine: Vec<f32>,
    /// One bit per slot of `fine`: the value is made up.
    made_up: Vec<u64>,
    first: u64,
    next: u64,
    coarse: Option<Coarse>,
}

#[derive(Clone, Debug)]
struct Coarse {
    factor: u64,
    /// Number of the first whole mean.
    first: u64,
    means: Vec<f32>,
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
        let filled = |slots: usize| if first > 0 { slots } else { 0 };
        Memory {
            fine: vec![0.0; filled(FINE_STEPS)],
            made_up: vec![0; filled(FINE_STEPS / 64)],
            first,
            next: first,
            coarse: factor.map(|factor| Coarse {
                factor,
                // A mean is only known for whole runs of steps.
                first: first.div_ceil(factor),
                means: vec![0.0; filled(COARSE_SLOTS)],
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
        let slot = self.next as usize % FINE_STEPS;
        if slot == self.fine.len() {
            self.fine.push(value as f32);
            if slot.is_multiple_of(64) {
                self.made_up.push(0);
            }
        } else {
            self.fine[slot] = value as f32;
        }
        let bit = 1 << (slot % 64);
        if made_up {
            self.made_up[slot / 64] |= bit;
        } else {
            self.made_up[slot / 64] &= !bit;
        }
        if let Some(coarse) = &mut self.coarse {
            coarse.push(self.next, value);
        }
        self.next += 1;
    }

    /// Number of the step that comes next.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The first step that is still held one by one.
    #[inline]
    pub(crate) fn oldest_fine(&self) -> u64 {
        self.next.saturating_sub(FINE_STEPS as u64).max(self.first)
    }

    /// The first step that is held at all.
    #[inline]
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
    #[inline]
    pub(crate) fn value(&self, step: u64) -> f64 {
        if step >= self.oldest_fine() {
            return self.fine.get(step as usize % FINE_STEPS).map_or(0.0, |&value| f64::from(value));
        }
        match &self.coarse {
            Some(coarse) => coarse.value(step, self.next),
            None => self.fine.get(self.oldest_fine() as usize % FINE_STEPS).map_or(0.0, |&v| f64::from(v)),
        }
    }

    /// Whether the value of a finely held step was made up.
    #[inline]
    pub(crate) fn is_made_up(&self, step: u64) -> bool {
        let slot = step as usize % FINE_STEPS;
        self.made_up.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Mean of the values from `half` steps before a step to `half` after it, never beyond the last one.
    #[inline]
    pub(crate) fn around(&self, step: u64, half: u64) -> f64 {
        let to = (step + half).min(self.next.saturating_sub(1));
        let from = step.saturating_sub(half).max(self.oldest_fine());
        if from > to || step < self.oldest_fine() {
            return self.value(step);
        }
        let (first, n) = (from as usize % FINE_STEPS, (to - from + 1) as usize);
        let sum: f32 = if first + n <= self.fine.len() {
            self.fine[first..first + n].iter().sum()
        } else {
            let (end, wrapped) = (&self.fine[first..], (first + n) % FINE_STEPS);
            end.iter().sum::<f32>() + self.fine[..wrapped.min(self.fine.len())].iter().sum::<f32>()
        };
        f64::from(sum) / n as f64
    }

    /// Bytes held on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let coarse = self.coarse.as_ref().map_or(0, |coarse| coarse.means.capacity() * 4);
        self.fine.capacity() * 4 + self.made_up.capacity() * 8 + coarse
    }
}

impl Coarse {
    fn push(&mut self, step: u64, value: f64) {
        self.sum += value;
        if (step + 1).is_multiple_of(self.factor) {
            let slot = (step / self.factor) as usize % COARSE_SLOTS;
            let mean = (self.sum / self.factor as f64) as f32;
            if slot == self.means.len() {
                self.means.push(mean);
            } else {
                self.means[slot] = mean;
            }
            self.sum = 0.0;
        }
    }

    fn oldest(&self, next: u64) -> u64 {
        (next / self.factor).saturating_sub(COARSE_SLOTS as u64).max(self.first) * self.factor
    }

    fn value(&self, step: u64, next: u64) -> f64 {
        let slot = step.max(self.oldest(next)) / self.factor;
        self.means.get(slot as usize % COARSE_SLOTS).map_or(0.0, |&mean| f64::from(mean))
    }
}

/// The smallest number from `least` on that divides a day of `day` steps; `least` itself when there is none near.
pub(crate) fn even_factor(least: u64, day: Option<usize>) -> u64 {
    let least = least.max(1);
    let Some(day) = day.filter(|&day| day > 0) else { return least };
    (least..4 * least).find(|&factor| (day as u64).is_multiple_of(factor)).unwrap_or(least)
}

/// Values held one by one: eight weeks of 5-minute steps, eleven days of minutes. A power of two.
pub(crate) const FINE_STEPS: usize = 16_384;
/// Means held further back.
const COARSE_SLOTS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_in_full_and_then_as_means() {
        let mut memory = Memory::new(4 * COARSE_SLOTS, None);
        let n = 3 * FINE_STEPS as u64;
        for u in 0..n {
            memory.push(u as f64, u % 100 == 0);
        }
        assert_eq!(memory.next(), n);
        assert_eq!(memory.value(n - 1), (n - 1) as f64);
        assert_eq!(memory.value(memory.oldest_fine()), memory.oldest_fine() as f64);
        assert!(memory.is_made_up(n - 52) == (n - 52).is_multiple_of(100));
        assert_eq!(memory.coarse_factor(), Some(4));
        let old = memory.oldest() + 400;
        assert!((memory.value(old) - old as f64).abs() <= 2.0);
        assert_eq!(memory.around(n - 10, 2), (n - 10) as f64);
    }

    #[test]
    fn memory_is_bounded_whatever_the_step() {
        for span in [100, FINE_STEPS, 2_000_000] {
            let mut memory = Memory::new(span, Some(86_400));
            for u in 0..200_000u64 {
                memory.push(u as f64, false);
            }
            assert!(memory.heap_bytes() <= 4 * (FINE_STEPS + COARSE_SLOTS) + FINE_STEPS / 8);
            assert!(memory.oldest() <= memory.oldest_fine());
        }
    }

    #[test]
    fn an_empty_memory_answers_without_panicking() {
        let memory = Memory::new(10, None);
        assert_eq!((memory.value(5), memory.around(0, 3), memory.oldest()), (0.0, 0.0, 0));
    }
}
