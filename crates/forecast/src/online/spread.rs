//! How large errors usually are at each hour of the season, so that calibration can speak in units of them.
//!
//! Without this, intervals cover well on average and badly at the peaks, which is where it hurts.

use serde::{Deserialize, Serialize};

/// Which horizons an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// The next few steps.
    Near,
    /// Everything later.
    Far,
}

/// Mean absolute errors by place in season.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spread {
    near: Table,
    far: Table,
    /// Mean absolute value of the series.
    magnitude: f64,
    count: u32,
    /// Size of near errors lately, in units of what was expected of them.
    unrest: f64,
    /// Size of near errors in the last few steps, however wild.
    jolt: f64,
    /// Worked out whenever one of these changes, for sizes are asked for many times in a step: the factors of unrest, near
    /// and far, and the least size of all.
    near_unrest: f32,
    far_unrest: f32,
    least: f32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Table {
    slots: [f32; SLOTS],
    counts: [u8; SLOTS],
    /// By what share intervals of a slot must be wider for as many of its errors to be inside as of all; in parts of
    /// [`WIDER_ONE`].
    wider: [i16; SLOTS],
    all: f64,
    count: u32,
    /// Share of a visit of a slot that is learned, at least.
    pace: f32,
}

/// What one wild value would disturb for long.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Calm {
    magnitude: f64,
    unrest: f64,
    jolt: f64,
}

impl Spread {
    /// As it stands, to be put back with [`calm_down`](Self::calm_down).
    pub(crate) fn calm(&self) -> Calm {
        Calm { magnitude: self.magnitude, unrest: self.unrest, jolt: self.jolt }
    }

    /// Puts back what [`calm`](Self::calm) gave.
    pub(crate) fn calm_down(&mut self, calm: Calm) {
        (self.magnitude, self.unrest, self.jolt) = (calm.magnitude, calm.unrest, calm.jolt);
        self.work_out();
    }

    fn work_out(&mut self) {
        self.near_unrest = (self.unrest as f32).sqrt();
        self.far_unrest = self.near_unrest.sqrt();
        // While nearly nothing was seen, half the level is as good a guess as any.
        let ignorance = 0.5 * self.magnitude / (1.0 + f64::from(self.count));
        let least = (JOLT_SHARE * self.jolt).max(FLOOR_OF_MAGNITUDE * self.magnitude).max(ignorance);
        self.least = least.max(TINY) as f32;
    }

    /// For a season of `period` steps (0 or 1: none).
    pub(crate) fn new(period: usize) -> Spread {
        let visits = (period / SLOTS).max(1) as f64;
        Spread {
            near: Table::new((SEASONS_KEPT * visits).clamp(VISITS_KEPT_NEAR, VISITS_KEPT_MAX)),
            far: Table::new((SEASONS_KEPT * visits).clamp(VISITS_KEPT_FAR, VISITS_KEPT_MAX)),
            magnitude: 0.0,
            count: 0,
            unrest: 1.0,
            jolt: 0.0,
            near_unrest: 1.0,
            far_unrest: 1.0,
            least: TINY as f32,
        }
    }

    /// Slots of a season: hours, when the season is a day.
    pub(crate) const SLOTS: usize = SLOTS;

    /// Typical size of an error; positive.
    #[inline(always)]
    pub(crate) fn at(&self, slot: usize, range: Range) -> f64 {
        let (table, guess) = match range {
            Range::Near => (&self.near, 1.0),
            Range::Far if self.far.count < FEW => (&self.near, FAR_GUESS),
            Range::Far => (&self.far, 1.0),
        };
        let slot = slot.min(SLOTS - 1);
        let known = guess * if table.counts[slot] >= 5 { f64::from(table.slots[slot]) } else { table.all };
        let known = known * (1.0 + f64::from(table.wider[slot]) / WIDER_ONE);
        let known = match range {
            Range::Near => known * f64::from(self.near_unrest),
            Range::Far => known * f64::from(self.far_unrest),
        };
        known.max(FLOOR_OF_ALL * table.all).max(f64::from(self.least))
    }

    /// Typical sizes of errors in all slots.
    pub(crate) fn all(&self, range: Range) -> [f64; SLOTS] {
        std::array::from_fn(|slot| self.at(slot, range))
    }

    /// Learns the size of one error, and whether it was inside its 90 % interval.
    pub(crate) fn learn(&mut self, slot: usize, range: Range, error: f64, covered: bool) {
        match range {
            Range::Near => self.near.widen(slot, WIDER_PACE_NEAR, covered),
            Range::Far => self.far.widen(slot, WIDER_PACE_FAR, covered),
        }
        match range {
            Range::Near => {
                let usual = f64::from(self.near.slots[slot.min(SLOTS - 1)])
                    .max(FLOOR_OF_ALL * self.near.all)
                    .max(TINY);
                let size = (error.abs() / usual).min(UNREST_MAX);
                self.unrest = (self.unrest + UNREST_PACE * (size - self.unrest)).max(0.25);
                self.near.learn(slot, error);
                self.jolt += JOLT_PACE * (error.abs() - self.jolt);
                self.work_out();
            }
            Range::Far => self.far.learn(slot, error),
        }
    }

    /// Mean absolute value of the series.
    pub(crate) fn magnitude(&self) -> f64 {
        self.magnitude
    }

    /// Learns the size of one value.
    pub(crate) fn learn_value(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.magnitude += (value.abs() - self.magnitude) * (1.0 / f64::from(self.count)).max(0.000_5);
        self.work_out();
    }
}

impl Table {
    /// Every slot remembers about `kept` errors.
    fn new(kept: f64) -> Table {
        let pace = (1.0 / kept) as f32;
        Table { slots: [0.0; SLOTS], counts: [0; SLOTS], wider: [0; SLOTS], all: 0.0, count: 0, pace }
    }

    /// Adaptive conformal inference (Gibbs and Candes 2021) on the width: hours that are missed too often become wider, the
    /// others narrower, so that peaks are covered like the rest.
    fn widen(&mut self, slot: usize, pace: f64, covered: bool) {
        let wider = &mut self.wider[slot.min(SLOTS - 1)];
        let step = pace * if covered { -0.1 } else { 0.9 };
        let moved = f64::from(*wider) + step * WIDER_ONE;
        *wider = moved.clamp(-WIDER_MAX * WIDER_ONE, WIDER_MAX * WIDER_ONE) as i16;
    }

    fn learn(&mut self, slot: usize, error: f64) {
        self.count = self.count.saturating_add(1);
        let size = error.abs();
        let share = (1.0 / f64::from(self.count)).max(0.001);
        let clipped = if self.count > FEW { size.min(CLIP * self.all.max(TINY)) } else { size };
        self.all += share * (clipped - self.all);
        let slot = slot.min(SLOTS - 1);
        self.counts[slot] = self.counts[slot].saturating_add(1);
        let own = f64::from(self.slots[slot]);
        let clipped =
            if self.counts[slot] > 5 { size.min(CLIP * own.max(0.2 * self.all).max(TINY)) } else { size };
        let share = (1.0 / f64::from(self.counts[slot])).max(f64::from(self.pace));
        self.slots[slot] = (own + share * (clipped - own)) as f32;
    }
}

const SLOTS: usize = 24;
const SEASONS_KEPT: f64 = 3.0;
/// Errors that a slot remembers at least. Near ones tell at once when the series has changed; what is far does not depend
/// on the last few errors, and a mean over few is itself a gamble.
const VISITS_KEPT_NEAR: f64 = 30.0;
const VISITS_KEPT_FAR: f64 = 100.0;
const VISITS_KEPT_MAX: f64 = 2000.0;
const FEW: u32 = 20;
/// Far errors are guessed to be so many times as large as near ones until some were seen.
const FAR_GUESS: f64 = 4.0;
/// Unrest is a mean over so few errors that it follows a change within some of them.
const UNREST_PACE: f64 = 0.04;
/// A series that wakes is at once as uncertain as it is large, while means follow slowly.
const JOLT_PACE: f64 = 0.08;
const JOLT_SHARE: f64 = 0.3;
const UNREST_MAX: f64 = 6.0;
/// One wild error counts at most this many typical ones.
const CLIP: f64 = 8.0;
const WIDER_ONE: f64 = 16_384.0;
const WIDER_MAX: f64 = 1.5;
const WIDER_PACE_NEAR: f64 = 0.01;
const WIDER_PACE_FAR: f64 = 0.015;
const FLOOR_OF_ALL: f64 = 0.3;
const FLOOR_OF_MAGNITUDE: f64 = 0.005;
/// Keeps division possible on a series that is zero throughout.
const TINY: f64 = 1e-9;
