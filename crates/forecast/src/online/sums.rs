//! The sum of the steps of a path as a target of its own.
//!
//! How wide the sum of several steps is hangs on how their errors go together, and no error of a single step tells that. So
//! for a few lengths the interval that drawn paths will have is worked out when they would be drawn, and how much all steps
//! of a path have in common follows what comes: more after a sum that was outside, a little less after one that was inside
//! (adaptive conformal inference, Gibbs and Candes 2021, of a dependence in place of a quantile).

use serde::{Deserialize, Serialize};

use crate::online::memory::Memory;
use crate::online::waiting::Waiting;
use crate::online::window;

/// Lengths that are learned, in steps: some of those whose largest values are.
pub(crate) const SUMS: [usize; 3] = [8, 64, 300];
/// Their logarithms.
const SUMS_LN: [f64; SUMS.len()] = [2.079_441_541_679_835_7, 4.158_883_083_359_671_5, 5.703_782_474_656_201];

/// How the errors of a path hang together: a part that returns step by step, and one that all steps have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bond {
    /// Correlation of neighbours in the part that returns, 0..1.
    pub(crate) alike: f64,
    /// Share of the variance that is common, 0..1.
    common: f64,
}

impl Bond {
    /// Of steps whose errors are so much like their neighbours', with a tie from -1..1.
    pub(crate) fn new(alike: f64, tie: f64) -> Bond {
        if tie >= 0.0 {
            return Bond { alike, common: tie };
        }
        // The variance of a long sum grows with (1 + alike) / (1 - alike).
        let kin = (1.0 + tie) * 2.0 * alike / (1.0 - alike);
        Bond { alike: kin / (kin + 2.0), common: 0.0 }
    }

    /// What goes into an error of what returns, and of what is common.
    pub(crate) fn parts(self) -> (f64, f64) {
        ((1.0 - self.common).sqrt(), self.common.sqrt())
    }
}

/// Sums of one length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sums {
    length: u32,
    /// What the steps have in common beside what returns step by step: the share of the variance, 0..1; below zero how much
    /// less they have than their neighbours tell, -1..0.
    tie: f32,
    pending: Waiting<Pending>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pending {
    /// Missing steps before the first of them, in low bits.
    missing: u32,
    low: f32,
    high: f32,
}

impl Sums {
    pub(crate) fn new(length: usize) -> Sums {
        let most = length / stride(length) as usize + 1;
        Sums { length: length as u32, tie: TIE_FIRST, pending: Waiting::new(most) }
    }

    /// Whether an interval is to be kept after step `now`.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now & (stride(self.length as usize) - 1) == 0
    }

    /// Keeps the 90 % interval of the sum of the steps after `now`.
    pub(crate) fn issue(&mut self, now: u64, missing: u64, (low, high): (f64, f64)) {
        let pending = Pending { missing: missing as u32, low: low as f32, high: high as f32 };
        self.pending.push(now + u64::from(self.length), pending);
    }

    /// Learns if a sum is complete with step `now`, the last that `memory` holds; one with missing values says nothing.
    #[inline]
    pub(crate) fn learn(&mut self, now: u64, missing: u64, memory: &Memory) {
        if !self.is_due(now.wrapping_sub(u64::from(self.length))) {
            return;
        }
        let Some(pending) = self.pending.take(now).filter(|pending| pending.missing == missing as u32) else {
            return;
        };
        let sum = memory.sum_of_last(self.length as usize);
        let slack = 1e-6 * sum.abs();
        let inside = f64::from(pending.low) <= sum + slack && sum <= f64::from(pending.high) + slack;
        self.tie = (self.tie + PACE * if inside { -0.1 } else { 0.9 }).clamp(TIE_MIN, TIE_MAX);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.pending.heap_bytes()
    }
}

/// Every how many steps sums of a length are kept: when the path is followed far for the largest values, too.
fn stride(length: usize) -> u64 {
    window::stride(length.max(SUMS[1]))
}

/// What is learned of ties, to be read at any distance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ties([f64; SUMS.len()]);

impl Ties {
    pub(crate) fn of(sums: &[Sums]) -> Ties {
        Ties(std::array::from_fn(|k| sums.get(k).map_or(0.0, |sums| f64::from(sums.tie))))
    }

    /// The tie of steps so far ahead.
    pub(crate) fn at(&self, ahead: usize) -> f64 {
        let upper = SUMS.iter().position(|&length| length >= ahead).unwrap_or(SUMS.len() - 1).max(1);
        let (from, to) = (SUMS_LN[upper - 1], SUMS_LN[upper]);
        let share = (((ahead as f64).ln() - from) / (to - from)).clamp(0.0, 1.0);
        self.0[upper - 1] + share * (self.0[upper] - self.0[upper - 1])
    }
}

/// The interval of the sum of the first steps of a path, while it is followed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    middle: f64,
    up: Side,
    down: Side,
}

/// How far a sum reaches to one side: what returns step by step, and what is common.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    last: f64,
    kin: f64,
    square: f64,
    common: f64,
    whole: f64,
}

/// How errors of neighbouring steps go together, worked out for some steps at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kinship {
    alike: f64,
    own: f64,
    shared: f64,
    /// For [`MEASURED`] equal steps: what is left of the errors before, in all of them and after them, and the same of the
    /// errors of the steps themselves.
    before: (f64, f64),
    among: (f64, f64),
}

impl Kinship {
    pub(crate) fn new(bond: Bond) -> Kinship {
        let (alike, (own, shared)) = (bond.alike, bond.parts());
        let (mut power, mut before, mut among) = (1.0, (1.0, 1.0), (0.0, 0.0));
        for k in 1..MEASURED {
            power *= alike;
            before = (before.0 + power, power);
            among = (among.0 + (MEASURED - k) as f64 * power, among.1 + power);
        }
        Kinship { alike, own, shared, before, among }
    }
}

impl Total {
    /// `n` more steps, at most [`MEASURED`]: the sum of their medians, and how far the 90 % interval of each reaches below
    /// and above.
    #[inline]
    pub(crate) fn add(&mut self, n: usize, middle: f64, (down, up): (f64, f64), kinship: &Kinship) {
        self.middle += middle;
        for (side, reach) in [(&mut self.down, down), (&mut self.up, up)] {
            let mine = kinship.own * reach;
            if n == MEASURED {
                let kin = kinship.alike * (side.kin + side.last);
                let together = kin * kinship.before.0 + mine * kinship.among.0;
                side.square += MEASURED as f64 * mine * mine + 2.0 * mine * together;
                side.kin = kin * kinship.before.1 + mine * kinship.among.1;
                side.last = mine;
            } else {
                for _ in 0..n {
                    side.kin = kinship.alike * (side.kin + side.last);
                    side.square += mine * mine + 2.0 * mine * side.kin;
                    side.last = mine;
                }
            }
            side.common += n as f64 * kinship.shared * reach;
            side.whole += n as f64 * reach;
        }
    }

    /// The 90 % interval so far.
    pub(crate) fn interval(&self) -> (f64, f64) {
        let (down, up) = (self.down.reach(), self.up.reach());
        // The more steps go their own ways, the more the middle of their sum is that of means rather than of medians.
        let loose = 1.0 - ((down + up) / (self.down.whole + self.up.whole).max(f64::MIN_POSITIVE)).min(1.0);
        let middle = self.middle + SKEW * loose * (self.up.whole - self.down.whole);
        (middle - down, middle + up)
    }
}

impl Side {
    fn reach(&self) -> f64 {
        (self.square + self.common * self.common).sqrt()
    }
}

/// How wide steps are changes slowly: so many are taken for equal.
pub(crate) const MEASURED: usize = 8;
/// How much one sum counts.
const PACE: f32 = 0.04;
/// Something is common to the steps of most series.
const TIE_FIRST: f32 = 0.2;
/// Ties that leave steps to themselves, and ones that let them go as one.
const TIE_MIN: f32 = -1.0;
const TIE_MAX: f32 = 1.0;
/// Mean less median of two halves of normal distributions, by how much farther one reaches than the other at 0.95.
const SKEW: f64 = 0.2425;

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(steps: usize, alike: f64, common: f64) -> f64 {
        let kinship = Kinship::new(Bond { alike, common });
        let [by_one, by_many] = [1, MEASURED].map(|at_once| {
            let mut total = Total::default();
            for from in (0..steps).step_by(at_once) {
                let n = at_once.min(steps - from);
                total.add(n, 10.0 * n as f64, (1.0, 1.0), &kinship);
            }
            let (low, high) = total.interval();
            assert!((low + high - 20.0 * steps as f64).abs() < 1e-9, "{low} {high}");
            (high - low) / 2.0
        });
        assert!((by_one - by_many).abs() < 1e-9, "{by_one} {by_many}");
        by_one
    }

    #[test]
    fn a_sum_is_as_wide_as_its_steps_hang_together() {
        assert!((reach(36, 0.0, 0.0) - 6.0).abs() < 1e-9, "each by itself");
        assert!((reach(36, 0.0, 1.0) - 36.0).abs() < 1e-9, "all as one");
        assert!((reach(36, 1.0, 0.0) - 36.0).abs() < 1e-9, "each like the one before");
        // An autoregression of 0.8: by its covariances, one by one.
        let covariances = (0..9).flat_map(|i| (0..9).map(move |j: i32| 0.8f64.powi((i - j).abs())));
        assert!((reach(9, 0.8, 0.0) - covariances.sum::<f64>().sqrt()).abs() < 1e-9);
        // Of two steps whose errors correlate by a half the sum has a variance of three.
        assert!((reach(2, 0.5, 0.0) - 3f64.sqrt()).abs() < 1e-9);
        assert!((reach(2, 0.0, 0.5) - 3f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn sums_that_fall_outside_tie_steps_together_and_a_gap_teaches_nothing() {
        let mut memory = Memory::new(100, None);
        let mut sums = Sums::new(8);
        let mut play = |step: u64, value: f64, missing: u64| {
            memory.push(value, false);
            sums.learn(step, missing, &memory);
            if sums.is_due(step) {
                sums.issue(step, missing, (70.0, 90.0));
            }
            sums.tie
        };
        let before = (0..=8).map(|step| play(step, 10.0, 0)).last().unwrap();
        assert!(before < TIE_FIRST, "eighty was inside");
        assert!((9..=40).map(|step| play(step, 20.0, 0)).last().unwrap() > before);
        let known = (41..=64).map(|step| play(step, 20.0, 0)).last().unwrap();
        assert_eq!((65..=72).map(|step| play(step, 20.0, 1)).last().unwrap(), known);
    }

    #[test]
    fn ties_are_read_between_the_lengths_they_were_learned_at() {
        let ties = Ties([-0.5, 0.0, 1.0]);
        assert_eq!((ties.at(1), ties.at(8), ties.at(64), ties.at(4000)), (-0.5, -0.5, 0.0, 1.0));
        assert!((ties.at(139) - 0.5).abs() < 0.01, "{}", ties.at(139));
    }
}
