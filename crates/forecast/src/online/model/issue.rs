//! What is said after each step about later ones, to be compared with what comes.

use crate::online::sums::SUMS;
use crate::online::window::{WINDOWS, reach};

use super::Model;
use super::answer::{Crest, Stretch};
use super::total::Intervals;

impl Model {
    /// Keeps today's forecasts for the day they can be scored.
    pub(super) fn issue(&mut self, now: u64) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.issue_widely(now) };
        }
        self.issue_plainly(now);
    }

    /// The same with eight numbers in a register instead of four; the result is equal to the last bit.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn issue_widely(&mut self, now: u64) {
        self.issue_plainly(now);
    }

    /// Inlined with what it asks at each horizon, so that each caller compiles it for what it may use.
    #[inline(always)]
    fn issue_plainly(&mut self, now: u64) {
        let mut crest = Crest { height: f32::NEG_INFINITY, spread: 0.0 };
        let mut crests = [crest; WINDOWS.len()];
        for k in 0..self.buckets.len() {
            if !self.buckets[k].is_due(now) {
                continue;
            }
            let (ahead, range, faded) =
                (self.buckets[k].horizon, self.buckets[k].range(), self.buckets[k].faded);
            let seat = self.experts.seat(ahead - 1, &self.clock);
            let says = self.experts.say(&seat, faded, &self.memory, &self.clock);
            let spread = self.spread.at(seat.slot, range);
            self.buckets[k].issue(now + ahead as u64, &says, spread);
            if ahead == k + 1
                && let Some(nearest) = crests[..NEAREST].get_mut(k)
            {
                crest.height = crest.height.max(self.median_of(k, &says));
                crest.spread = crest.spread.max(self.widest(seat.slot));
                *nearest = crest;
            }
        }
        let lengths = &WINDOWS[..WINDOWS.iter().take_while(|&&length| length <= reach(now)).count()];
        if lengths.len() > NEAREST || self.horizon < NEAREST {
            let due = !self.idles() && self.sums.iter().any(|sums| sums.is_due(now));
            let mut intervals = due.then(|| Intervals::new(self));
            let beside = |stretch: &Stretch<'_>| {
                if let Some(intervals) = &mut intervals {
                    intervals.go(stretch);
                }
            };
            self.crests(lengths, |k, crest| crests[k] = crest, beside);
            let found = intervals.map_or([(0.0, 0.0); SUMS.len()], |intervals| intervals.found);
            for (sums, interval) in
                self.sums.iter_mut().zip(found).filter(|(sums, _)| due && sums.is_due(now))
            {
                sums.issue(now, self.missing, interval);
            }
        }
        for (window, crest) in self.windows.iter_mut().zip(crests).take(lengths.len()) {
            if window.is_due(now) {
                window.issue(now + window.length as u64, self.missing, crest.height, crest.spread);
            }
        }
    }
}

/// The first windows are as long as the first horizons are far, so that their crests cost nothing more.
const NEAREST: usize = 2;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::time::Duration;

    use super::super::Setting;
    use super::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn wide_registers_change_no_bit() {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return;
        }
        let setting = Setting {
            origin: Timestamp::EPOCH,
            step: Duration::from_secs(900),
            zone: None,
            horizon: 96,
            floor: 0.0,
            alone: None,
        };
        let mut plain = Model::new(&setting).rebuilt(vec![4, 96, 672]);
        let mut wide = plain.clone();
        for step in 0..1500u64 {
            let value = 50.0 + 20.0 * (step as f64 * 0.0654).sin() + 5.0 * (step as f64 * 1.7).cos();
            for model in [&mut plain, &mut wide] {
                model.clock.look_ahead(step + 97);
                model.clock.arrive(step);
                model.learn(step, value);
            }
            plain.issue_plainly(step);
            // SAFETY: asked above.
            unsafe { wide.issue_widely(step) };
        }
        assert_eq!(format!("{plain:?}"), format!("{wide:?}"));
        assert!(plain.records.near().lessons() > 1000);
    }
}
