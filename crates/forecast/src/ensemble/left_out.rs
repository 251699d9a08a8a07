//! Which values models are not to learn, for those who fit models themselves: at any moment as it was known then.

use std::ops::Range;

/// Steps that models do not learn: anomalies, and outages.
#[derive(Clone, Debug, Default)]
pub struct LeftOut(Vec<One>);

#[derive(Clone, Copy, Debug)]
struct One {
    step: u64,
    /// The step whose value decided it, and the one whose value told that the step was ordinary after all.
    decided: u64,
    taken_back: u64,
}

impl LeftOut {
    pub(super) fn add(&mut self, steps: Range<u64>, decided: u64) {
        self.0.extend(steps.map(|step| One { step, decided, taken_back: u64::MAX }));
    }

    pub(super) fn take_back(&mut self, step: u64, decided: u64) {
        for one in self.0.iter_mut().filter(|one| one.step == step) {
            one.taken_back = decided;
        }
    }

    /// Leaves the steps in that are `known` to be special, such as those of events that models are told of.
    pub fn keep(&mut self, known: impl Fn(u64) -> bool) {
        self.0.retain(|one| !known(one.step));
    }

    /// Values from step `first` on as a model may learn them when it knows these and none later: NaN where it must not.
    pub fn without(&self, first: u64, values: &[f32]) -> Vec<f32> {
        let end = first + values.len() as u64;
        let mut rest = values.to_vec();
        for one in self.0.iter().filter(|one| one.decided < end && one.taken_back >= end) {
            let place = one.step.checked_sub(first).and_then(|place| usize::try_from(place).ok());
            if let Some(value) = place.and_then(|place| rest.get_mut(place)) {
                *value = f32::NAN;
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_hangs_on_what_was_known() {
        let mut left_out = LeftOut::default();
        left_out.add(3..5, 4);
        left_out.add(8..9, 8);
        left_out.take_back(3, 6);
        let values: Vec<f32> = (0..10u8).map(f32::from).collect();
        let gone = |len: usize| -> Vec<usize> {
            let rest = left_out.without(10, &values[..0]);
            assert!(rest.is_empty());
            let rest = left_out.without(0, &values[..len]);
            (0..len).filter(|&step| rest[step].is_nan()).collect()
        };
        assert_eq!(gone(4), [] as [usize; 0], "step 4 has not told yet");
        assert_eq!(gone(5), [3, 4]);
        assert_eq!(gone(6), [3, 4]);
        assert_eq!(gone(7), [4]);
        assert_eq!(gone(10), [4, 8]);
        left_out.keep(|step| step == 4);
        let rest = left_out.without(2, &values[2..]);
        assert!(rest[6].is_nan() && rest[2] == 4.0);
    }
}
