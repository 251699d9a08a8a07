//! When one application is used: its past as bits, its gaps, and which period its uses follow.
//!
//! Two kinds of use are told apart, and their mixtures: by the time since the last use (renewals; "Serverless in the
//! Wild", Shahrad et al., ATC 2020) and by the clock (timers, of which one application may have several: their gaps are
//! no longer regular, their places in the period still are).

use serde::{Deserialize, Serialize};

use super::gaps::Gaps;

/// One application's uses, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Occurrence {
    /// A ring of bits: whether each of the latest steps was busy.
    bits: Vec<u64>,
    seen: u64,
    /// Steps since the last busy one; 1 is the step right after it. Zero before the first use.
    since: u32,
    gaps: Gaps,
    /// The latest two gaps.
    last: [u32; 2],
    /// Uses after an idle step.
    starts: u32,
    /// By how much each of [`PERIODS`] told better than no period what came: fading sums of log losses.
    gains: [f32; PERIODS.len()],
    busy: f32,
}

/// Number of features.
pub(crate) const FEATURES: usize = 12;

/// What is known of the next step, ready for the pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct View {
    /// Log odds from several sides, and how much is known.
    pub(crate) features: [f64; FEATURES],
}

impl Occurrence {
    pub(crate) fn new() -> Occurrence {
        Occurrence {
            bits: Vec::new(),
            seen: 0,
            since: 0,
            gaps: Gaps::new(),
            last: [0; 2],
            starts: 0,
            gains: [0.0; PERIODS.len()],
            busy: 0.0,
        }
    }

    /// Takes the next step.
    pub(crate) fn observe(&mut self, busy: bool) {
        if self.since != 1 && self.starts > 0 {
            let base = self.base();
            for (k, &period) in
                PERIODS.iter().enumerate().filter(|(_, period)| u64::from(**period) <= self.seen)
            {
                let said = phase(self.hits(period, 1), base);
                let gain = if busy { (said / base).ln() } else { ((1.0 - said) / (1.0 - base)).ln() };
                self.gains[k] = (self.gains[k] * GAIN_FADING + gain as f32).clamp(-GAIN_MAX, GAIN_MAX);
            }
        }
        self.remember(busy);
        self.busy += (f32::from(u8::from(busy)) - self.busy) * (1.0 / (self.seen as f32 + 1.0)).max(RATE);
        if busy {
            if self.since > 1 {
                self.gaps.add(self.since);
                self.last = [self.since, self.last[0]];
            }
            if self.since != 1 {
                self.starts += 1;
            }
            self.since = 1;
        } else if self.since > 0 {
            self.since = self.since.saturating_add(1);
        }
    }

    /// Lets a step pass of which nothing is known.
    pub(crate) fn skip(&mut self) {
        self.remember(false);
        if self.since > 0 {
            self.since = self.since.saturating_add(1);
        }
    }

    fn remember(&mut self, busy: bool) {
        let place = (self.seen % HISTORY) as usize;
        let (word, bit) = (place / 64, place % 64);
        if self.bits.len() <= word {
            self.bits.push(0);
        }
        self.bits[word] = self.bits[word] & !(1 << bit) | u64::from(busy) << bit;
        self.seen += 1;
    }

    /// Whether the step `distance` steps before the next one was busy.
    pub(crate) fn was_busy_ago(&self, distance: u64) -> bool {
        distance <= HISTORY && self.seen.checked_sub(distance).is_some_and(|step| self.was_busy(step))
    }

    /// Steps since the last use, counted at the next step; 1 right after it, zero before the first use.
    pub(crate) fn since(&self) -> u32 {
        self.since
    }

    /// Uses after an idle step.
    pub(crate) fn starts(&self) -> u32 {
        self.starts
    }

    /// Share of busy steps, the latest counting most.
    pub(crate) fn share(&self) -> f64 {
        f64::from(self.busy)
    }

    /// What is known of the step `ahead` steps ahead (1 is the next) if the application stays idle until then. `pooled`
    /// is the hazard of all applications that long after a use.
    pub(crate) fn view(&self, ahead: u32, pooled: f64) -> View {
        let gap = self.since.saturating_add(ahead.saturating_sub(1));
        let renewal = |slack: usize, weight: f64| {
            let (here, longer) = self.gaps.hazard(gap, slack);
            odds((here + weight * pooled) / (longer + weight))
        };
        let known = f64::from(self.starts.saturating_sub(1));
        let (near, wide) = (renewal(0, 0.5), renewal(2, 1.0));
        let trust = known / (known + 1.0);
        let periodic = odds(self.periodic(ahead));
        View {
            features: [
                1.0,
                odds(pooled),
                trust * (near - odds(pooled)),
                trust * (wide - odds(pooled)),
                trust * (periodic - odds(pooled)),
                odds(self.share()),
                (1.0 + known).ln(),
                f64::from(gap.max(1)).ln(),
                trust * (renewal(1, 0.5) - odds(pooled)),
                f64::from(u8::from(gap == self.last[0])),
                f64::from(u8::from(gap == self.last[1])),
                trust * f64::from(u8::from(self.gaps.hazard(gap, 1).1 < 0.5)),
            ],
        }
    }

    /// Probability of a use by the clock: the periods, weighted by how well they did.
    pub(crate) fn periodic(&self, ahead: u32) -> f64 {
        let base = self.base();
        let best = self.gains.iter().copied().fold(0.0, f32::max);
        let weight = |gain: f32| f64::from((gain - best) * GAIN_WEIGHT).exp();
        let (mut sum, mut total) = (weight(0.0) * base, weight(0.0));
        for (&gain, &period) in self.gains.iter().zip(&PERIODS) {
            let weight = weight(gain);
            if weight > 1e-3 && u64::from(period) <= self.seen {
                sum += weight * phase(self.hits(period, ahead), base);
                total += weight;
            }
        }
        sum / total
    }

    /// Of the latest few cycles of a period, how many were busy at the place of the step `ahead` steps ahead, just before
    /// or after it, and how many were seen.
    fn hits(&self, period: u32, ahead: u32) -> (f64, f64, f64) {
        let (mut exact, mut beside, mut cycles) = (0.0, 0.0, 0.0);
        let mut back = u64::from(period);
        // The first whole cycle before what is known.
        while back < u64::from(ahead) {
            back += u64::from(period);
        }
        for _ in 0..CYCLES {
            let Some(step) = (self.seen + u64::from(ahead)).checked_sub(back + 1) else { break };
            if step + HISTORY <= self.seen {
                break;
            }
            exact += f64::from(u8::from(self.was_busy(step)));
            let before = step > 0 && self.was_busy(step - 1);
            let after = step + 1 < self.seen && self.was_busy(step + 1);
            beside += 0.5 * f64::from(u8::from(before)) + 0.5 * f64::from(u8::from(after));
            cycles += 1.0;
            back += u64::from(period);
        }
        (exact, beside, cycles)
    }

    fn was_busy(&self, step: u64) -> bool {
        let place = (step % HISTORY) as usize;
        self.bits.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn base(&self) -> f64 {
        self.share().clamp(1e-4, 0.9)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bits.capacity() * 8 + self.gaps.bytes()
    }
}

/// Probability at a place of a period from (hits, hits beside it, cycles): drawn to the base rate.
fn phase((exact, beside, cycles): (f64, f64, f64), base: f64) -> f64 {
    // A timer that comes a minute early or late counts for its neighbours a little.
    let hits = (exact + BESIDE * beside).min(cycles);
    ((hits + PHASE_PRIOR * base) / (cycles + PHASE_PRIOR)).clamp(1e-5, 1.0 - 1e-5)
}

pub(crate) fn odds(p: f64) -> f64 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

/// Periods of timers in minutes (or whatever a step is), and the day and the week.
const PERIODS: [u32; 20] =
    [2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 60, 90, 120, 180, 240, 360, 1440, 10_080];
/// Steps remembered: two weeks of minutes.
const HISTORY: u64 = 20_160;
/// Cycles of a period that are looked at.
const CYCLES: usize = 8;
const PHASE_PRIOR: f64 = 0.35;
const BESIDE: f64 = 0.1;
const GAIN_FADING: f32 = 0.998;
const GAIN_WEIGHT: f32 = 0.7;
const GAIN_MAX: f32 = 200.0;
const RATE: f32 = 0.0005;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_timers_of_one_application_are_found_by_their_places_in_the_period() {
        let mut occurrence = Occurrence::new();
        // Every half an hour, and ten past each hour: gaps of 10, 20, 30 and 30 minutes in turn.
        let due = |t: u32| t.is_multiple_of(30) || t % 60 == 10;
        for t in 0..1440 {
            occurrence.observe(due(t));
        }
        for ahead in 1..=60 {
            let said = occurrence.periodic(ahead);
            assert_eq!(said > 0.5, due(1440 + ahead - 1), "{ahead} ahead: {said}");
        }
    }

    #[test]
    fn a_step_of_which_nothing_is_known_lets_time_pass() {
        let mut occurrence = Occurrence::new();
        occurrence.observe(true);
        occurrence.skip();
        assert_eq!(occurrence.since(), 2);
        assert!(occurrence.was_busy_ago(2) && !occurrence.was_busy_ago(1) && !occurrence.was_busy_ago(3));
    }
}
