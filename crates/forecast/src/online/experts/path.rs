//! What the experts say about many consecutive steps at once.
//!
//! Every expert is a sum of a few courses (the profile, yesterday's values, fading corrections, ...) times factors that are
//! the same at every step. So is their combination: its factors are worked out once for each learned horizon, the
//! courses once for each step, [`CHUNK`] steps at a time in loops that the compiler turns into vector code. Where the
//! courses are broken (a season not yet known, a change of the clock) the experts are asked step by step; both give the
//! same answer up to rounding.

use super::{
    BASE, DAY_RAW, DAY_SMOOTH, EXPERTS, Experts, FAST, Faded, LAST, NOW_SHIFTED, PROFILE, PROFILE_FAST,
    PROFILE_MIDDLE, PROFILE_SHIFTED, SHORT, TREND, TYPICAL, WEEK_LEVEL, WEEK_SMOOTH,
};
use crate::online::clock::Clock;
use crate::online::memory::Memory;
use crate::online::mixture::dot;
use crate::online::profile::Profile;

/// Steps that are handled at once.
pub(crate) const CHUNK: usize = 32;
/// Most steps on either side that a smoothed value takes in.
const HALF_MAX: usize = 32;

type Course = [f32; CHUNK];

/// A combination of the experts as factors of the courses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    weights: [f32; EXPERTS],
    constant: f32,
    trend: f32,
    quick: f32,
    profile: f32,
    profile_gentle: f32,
    profile_quick: f32,
    raw: f32,
    day: f32,
    day_gentle: f32,
    week: f32,
    week_gentle: f32,
    short: f32,
}

/// A walk along the steps after the last one.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    experts: &'a Experts,
    memory: &'a Memory,
    clock: &'a Clock,
    /// Offset of the first step of the chunk from the next one, and steps in the chunk.
    offset: usize,
    len: usize,
    faded: Faded,
    /// Whether the courses below are those of the chunk.
    smooth: bool,
    quick: Course,
    gentle: Course,
    trend: Course,
    profile: Course,
    raw: Course,
    day: Course,
    week: Course,
    short: Course,
    slots: [u8; CHUNK],
}

impl<'a> Path<'a> {
    /// Begins with the next step, `ahead` steps after the last learned one.
    pub(crate) fn new(experts: &'a Experts, memory: &'a Memory, clock: &'a Clock, ahead: usize) -> Path<'a> {
        let empty = [0.0; CHUNK];
        Path {
            experts,
            memory,
            clock,
            offset: 0,
            len: 0,
            faded: experts.fade.at(ahead),
            smooth: false,
            quick: empty,
            gentle: empty,
            trend: empty,
            profile: empty,
            raw: empty,
            day: empty,
            week: empty,
            short: empty,
            slots: [0; CHUNK],
        }
    }

    /// Goes on to the next `len` steps, at most [`CHUNK`].
    pub(crate) fn advance(&mut self, len: usize) {
        self.offset += self.len;
        self.len = len.min(CHUNK);
        for i in 0..self.len {
            let faded = self.faded;
            (self.quick[i], self.gentle[i], self.trend[i]) = (faded.quick, faded.gentle, faded.trend);
            self.faded = self.experts.fade.next(faded);
        }
        self.smooth = self.courses();
        if !self.smooth {
            for i in 0..self.len {
                self.slots[i] = self.experts.seat(self.offset + i, self.clock).slot as u8;
            }
        }
    }

    /// Slots of the chunk's steps for the spread.
    pub(crate) fn slots(&self) -> &[u8] {
        &self.slots[..self.len]
    }

    /// Values of a combination for the chunk's steps `from..to`.
    #[inline]
    pub(crate) fn values(&self, terms: &Terms, from: usize, to: usize, values: &mut Course) {
        if !self.smooth {
            for (i, value) in values[from..to].iter_mut().enumerate() {
                *value = dot(&terms.weights, &self.says(from + i));
            }
            return;
        }
        let n = to - from;
        let (quick, gentle, trend) =
            (&self.quick[from..][..n], &self.gentle[from..][..n], &self.trend[from..][..n]);
        let (profile, raw) = (&self.profile[from..][..n], &self.raw[from..][..n]);
        let (day, week, short) = (&self.day[from..][..n], &self.week[from..][..n], &self.short[from..][..n]);
        for (i, value) in values[from..][..n].iter_mut().enumerate() {
            let (quick, gentle) = (quick[i], gentle[i]);
            let flat = terms.constant + terms.trend * trend[i] + terms.quick * quick;
            let factor = terms.profile + terms.profile_gentle * gentle + terms.profile_quick * quick;
            let yesterday = terms.raw * raw[i] + (terms.day + terms.day_gentle * gentle) * day[i];
            let last_week = (terms.week + terms.week_gentle * gentle) * week[i];
            *value = (flat + factor * profile[i]) + (yesterday + last_week) + terms.short * short[i];
        }
    }

    fn says(&self, i: usize) -> [f32; EXPERTS] {
        let seat = self.experts.seat(self.offset + i, self.clock);
        let faded = Faded { quick: self.quick[i], gentle: self.gentle[i], trend: self.trend[i] };
        self.experts.say(&seat, faded, self.memory, self.clock)
    }

    /// Works out the courses of the chunk; false when one of them is broken.
    fn courses(&mut self) -> bool {
        let (experts, n) = (self.experts, self.len);
        let (next, offset) = (experts.next, self.offset);
        if n == 0 || !self.clock.is_steady(next, next + (offset + n) as u64) {
            return false;
        }
        let Some(day) = &experts.day else {
            return experts.short.is_none();
        };
        let mut place = day.seat_after(offset);
        for slot in &mut self.slots[..n] {
            *slot = (place as f64 * experts.slots_per_step) as u8;
            place = if place + 1 == day.period { 0 } else { place + 1 };
        }
        let mut seasons = [0.0; CHUNK];
        if !day.course(offset, &mut self.profile[..n], &mut seasons[..n]) {
            return false;
        }
        let source = |season: &Profile| {
            let (first, last) = (
                experts.source(season, offset, self.clock)?,
                experts.source(season, offset + n - 1, self.clock)?,
            );
            // A chunk longer than the season jumps back to its beginning.
            (last.checked_sub(first) == Some(n as u64 - 1)).then_some(first)
        };
        let Some(from) = source(day) else { return false };
        if !self.memory.copy_to(from, &mut self.raw[..n]) {
            for (value, step) in self.raw[..n].iter_mut().zip(from..) {
                *value = self.memory.value(step) as f32;
            }
        }
        smoothed(self.memory, from, experts.smooth_half, &mut self.day[..n]);
        if let Some(week) = &experts.week {
            let mut weekly = [0.0; CHUNK];
            if !week.course(offset, &mut weekly[..n], &mut seasons[..n]) {
                return false;
            }
            for i in 0..n {
                self.profile[i] = (seasons[i] * weekly[i] + super::DAY_WEIGHT as f32 * self.profile[i])
                    / (seasons[i] + super::DAY_WEIGHT as f32);
            }
            if experts.week_known {
                let Some(from) = source(week) else { return false };
                smoothed(self.memory, from, experts.smooth_half, &mut self.week[..n]);
            }
        }
        match &experts.short {
            Some(short) => short.course(offset, &mut self.short[..n], &mut seasons[..n]),
            None => true,
        }
    }
}

/// Means around consecutive steps.
#[inline]
fn smoothed(memory: &Memory, from: u64, half: u64, means: &mut [f32]) {
    let (n, width) = (means.len(), half as usize);
    let mut values = [0.0; CHUNK + 2 * HALF_MAX];
    let whole = width <= HALF_MAX
        && from >= half
        && memory.copy_to(from - half, &mut values[..n + 2 * width.min(HALF_MAX)]);
    if !whole {
        // Cut short by the last step, or held as coarse means.
        for (mean, step) in means.iter_mut().zip(from..) {
            *mean = memory.around(step, half) as f32;
        }
        return;
    }
    means.fill(0.0);
    for values in values[..n + 2 * width].windows(n) {
        for (mean, value) in means.iter_mut().zip(values) {
            *mean += value;
        }
    }
    let scale = 1.0 / (2 * width + 1) as f32;
    means.iter_mut().for_each(|mean| *mean *= scale);
}

impl Experts {
    /// A combination of what [`say`](Experts::say) says as factors of the courses, which must not be broken.
    pub(crate) fn terms(&self, weights: &[f32; EXPERTS]) -> Terms {
        let (levels, ratios, w) = (&self.levels, &self.levels.ratios, weights);
        let (slow, last) = (ratios.slow as f32, levels.last as f32);
        let (fast, brisk) = (levels.fast.own as f32, levels.brisk.own as f32);
        let mut terms = Terms {
            weights: *weights,
            constant: w[LAST] * last + w[FAST] * fast + w[TYPICAL] * levels.typical as f32 + w[TREND] * fast,
            trend: w[TREND] * levels.slope as f32,
            quick: 0.0,
            profile: 0.0,
            profile_gentle: 0.0,
            profile_quick: 0.0,
            raw: 0.0,
            day: 0.0,
            day_gentle: 0.0,
            week: 0.0,
            week_gentle: 0.0,
            short: 0.0,
        };
        if self.day.is_none() {
            let trending = w[PROFILE_FAST] + w[SHORT];
            let still = w[DAY_RAW] + w[DAY_SMOOTH] + w[WEEK_LEVEL] + w[PROFILE_SHIFTED];
            terms.constant += brisk * still
                + levels.slow.own as f32 * (w[PROFILE] + w[BASE])
                + levels.typical as f32 * w[WEEK_SMOOTH]
                + last * w[NOW_SHIFTED]
                + levels.middle.own as f32 * w[PROFILE_MIDDLE]
                + fast * trending;
            terms.trend += levels.slope as f32 * trending;
            return terms;
        }
        let (shifted, fast_profile) = match self.short {
            Some(_) => (w[PROFILE_SHIFTED] + w[SHORT], w[PROFILE_FAST]),
            None => (w[PROFILE_SHIFTED], w[PROFILE_FAST] + w[SHORT]),
        };
        terms.constant += w[NOW_SHIFTED] * levels.last_above as f32;
        terms.quick = shifted * (levels.brisk.own - levels.brisk.reference * ratios.slow) as f32;
        terms.profile =
            w[PROFILE] + slow * (w[BASE] + w[NOW_SHIFTED] + w[PROFILE_MIDDLE] + fast_profile + shifted);
        terms.profile_gentle = w[PROFILE_MIDDLE] * (ratios.middle - ratios.slow) as f32;
        terms.profile_quick = fast_profile * (ratios.brisk - ratios.slow) as f32;
        terms.raw = w[DAY_RAW];
        let before = (ratios.day_before - 1.0) as f32;
        let (day_level, week_before) = match self.week_known {
            true => (w[DAY_SMOOTH], 0.0),
            false => (w[DAY_SMOOTH] + w[WEEK_LEVEL], w[WEEK_SMOOTH]),
        };
        terms.day = day_level + week_before;
        terms.day_gentle = day_level * before;
        if self.week_known {
            let (days, hours) = (ratios.week_days as f32, ratios.week_hours as f32);
            terms.week = days * (w[WEEK_SMOOTH] + w[WEEK_LEVEL]);
            terms.week_gentle = w[WEEK_LEVEL] * (hours - days);
        }
        terms.short = if self.short.is_some() { w[SHORT] } else { 0.0 };
        terms
    }
}
