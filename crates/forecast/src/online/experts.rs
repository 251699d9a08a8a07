//! The cheap forecasts that everything else is made of.
//!
//! Each looks at the recent level, at the same place of earlier seasons, or at learned seasonal profiles corrected by how
//! the level compares with the profile lately. None costs more than a few nanoseconds, none is ever refitted. Where an
//! expert has nothing to say yet it repeats the next simpler one.

mod levels;
mod path;

use serde::{Deserialize, Serialize};

use crate::online::clock::Clock;
use crate::online::memory::Memory;
use crate::online::profile::Profile;
use crate::online::spread::Spread;
use crate::online::stack::INPUTS;

use levels::{Fade, References};

pub(crate) use levels::{Faded, Levels};
pub(crate) use path::{CHUNK, Path};

/// Number of experts, the stack among them.
pub(crate) const EXPERTS: usize = 16;

// Those that the stack regresses on come first.

/// The last value.
pub(crate) const LAST: usize = 0;
/// A value that as many of the last hundreds are above as below.
const TYPICAL: usize = 1;
/// The surroundings of the same place a day ago, at today's level.
const DAY_SMOOTH: usize = 2;
/// The surroundings of the same place a week ago, at this hour's level.
const WEEK_LEVEL: usize = 3;
/// The base moved by how far the last value was from it.
const NOW_SHIFTED: usize = 4;
/// The profile at a more recent level, which returns to the base farther ahead.
const PROFILE_MIDDLE: usize = 5;
const PROFILE_FAST: usize = 6;
/// With the pattern of a short season on top.
const SHORT: usize = 7;
/// Fading mean over about 3 steps.
const FAST: usize = 8;
/// The fast mean and its damped slope.
const TREND: usize = 9;
/// The same place a day ago.
const DAY_RAW: usize = 10;
/// The surroundings of the same place a week ago, at this day's level.
const WEEK_SMOOTH: usize = 11;
/// The seasonal profile as it is, and at the level of the last season: what the stack corrects.
const PROFILE: usize = 12;
pub(crate) const BASE: usize = 13;
/// The base moved by how far the last dozen values were from it, returning.
const PROFILE_SHIFTED: usize = 14;
/// The place of the stack, whose word is not known before its weights are.
pub(crate) const STACK: usize = 15;

/// Prior weight of each expert in the mixture, at a horizon of a step and at one of a season.
const PRIOR_NEAR: [f32; EXPERTS] =
    [0.07, 0.04, 0.06, 0.07, 0.05, 0.10, 0.10, 0.03, 0.08, 0.05, 0.03, 0.05, 0.04, 0.06, 0.07, 0.10];
const PRIOR_FAR: [f32; EXPERTS] =
    [0.01, 0.06, 0.10, 0.13, 0.015, 0.14, 0.03, 0.01, 0.01, 0.005, 0.04, 0.10, 0.20, 0.11, 0.03, 0.01];

/// A part of the core that can be asked alone, calibrated as the whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The profile of the seasons at its recent level.
    Profile,
    /// The stack: recursive least squares over some of the experts.
    Stack,
}

/// Prior weights, adding up to one: `share` of the way from those of near horizons to those of far ones. Of a part alone all
/// weight is its own, and stays there.
#[inline(always)]
pub(crate) fn prior(share: f32, alone: Option<Part>) -> [f32; EXPERTS] {
    let only = |expert: usize| std::array::from_fn(|i| if i == expert { 1.0 } else { 0.0 });
    match alone {
        None => std::array::from_fn(|i| PRIOR_NEAR[i] + share * (PRIOR_FAR[i] - PRIOR_NEAR[i])),
        Some(Part::Profile) => only(PROFILE_MIDDLE),
        Some(Part::Stack) => only(STACK),
    }
}

/// Where a future step stands in each season.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seat {
    offset: usize,
    day: usize,
    week: usize,
    short: usize,
    /// Slot for [`Spread`].
    pub(crate) slot: usize,
}

/// State of all experts of one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Experts {
    /// The shorter of the long seasons (usually the day) and the longer (usually the week).
    day: Option<Profile>,
    week: Option<Profile>,
    /// A season much shorter than the day, learned as a pattern on top of the rest.
    short: Option<Profile>,
    levels: Levels,
    fade: Fade,
    smooth_half: u64,
    /// Spread slots per step of the day.
    slots_per_step: f64,
    next: u64,
    /// The first step that is remembered.
    oldest: u64,
    /// Whether the same place of last week is remembered.
    week_known: bool,
}

impl Experts {
    /// Experts for seasons of the given periods, shortest first, at most three.
    pub(crate) fn new(periods: &[usize], clock: &Clock) -> Experts {
        let (short, long) = split(periods);
        let profile = |period: usize, kept: usize| Profile::new(period, kept.max(VISITS_MIN / period), clock);
        let day = long.first().map(|&period| profile(period, DAYS_KEPT));
        let reference = day.as_ref().map_or(NO_SEASON, |day| day.period);
        Experts {
            smooth_half: (reference as u64 / 72).clamp(u64::from(reference >= 96), 32),
            slots_per_step: Spread::SLOTS as f64 / reference as f64,
            day,
            week: long.get(1).map(|&period| profile(period, WEEKS_KEPT)),
            short: short.map(|period| profile(period, SHORT_KEPT)),
            levels: Levels::new((reference as f64).max(SPAN_MIN)),
            fade: Fade::new((reference as f64).max(SPAN_MIN)),
            next: 0,
            oldest: 0,
            week_known: false,
        }
    }

    /// Says that `memory` holds one more step.
    pub(crate) fn arrive(&mut self, memory: &Memory, clock: &Clock) {
        let next = memory.next();
        let one_more = next == self.next + 1 && clock.is_steady(self.next, next);
        (self.next, self.oldest) = (next, memory.oldest());
        for profile in [&mut self.day, &mut self.week, &mut self.short].into_iter().flatten() {
            if one_more {
                profile.step();
            } else {
                profile.arrive(next, clock);
            }
        }
        self.week_known = self.week.as_ref().is_some_and(|week| self.source(week, 0, clock).is_some());
    }

    /// Period of the season that hours are counted in, or 1.
    pub(crate) fn reference_period(&self) -> usize {
        self.day.as_ref().map_or(1, |day| day.period)
    }

    /// Where the step `offset` after the next one stands.
    #[inline(always)]
    pub(crate) fn seat(&self, offset: usize, clock: &Clock) -> Seat {
        let place = |season: &Option<Profile>| match season {
            Some(season) => season.place_after(self.next, offset, clock),
            None => 0,
        };
        let day = place(&self.day);
        let slot = (day as f64 * self.slots_per_step) as usize;
        Seat { offset, day, week: place(&self.week), short: place(&self.short), slot }
    }

    /// What is left of corrections at a distance from the last step that was learned, which is more than the offset from
    /// the next one while values are missing.
    pub(crate) fn faded(&self, ahead: usize) -> Faded {
        self.fade.at(ahead)
    }

    /// What every expert but the stack says about a step.
    #[inline(always)]
    pub(crate) fn say(&self, seat: &Seat, faded: Faded, memory: &Memory, clock: &Clock) -> [f32; EXPERTS] {
        let levels = &self.levels;
        let mut says = [levels.brisk.own as f32; EXPERTS];
        says[LAST] = levels.last as f32;
        says[FAST] = levels.fast.own as f32;
        says[TYPICAL] = levels.typical as f32;
        says[TREND] = (levels.fast.own + levels.slope * f64::from(faded.trend)) as f32;
        says[NOW_SHIFTED] = says[LAST];
        // Without a profile the mean of a long time stands in for it.
        let slow = levels.slow.own as f32;
        (says[PROFILE], says[BASE], says[WEEK_SMOOTH]) = (slow, slow, levels.typical as f32);
        says[PROFILE_MIDDLE] = levels.middle.own as f32;
        says[PROFILE_FAST] = says[TREND];
        if let Some(day) = &self.day {
            self.say_profile(&mut says, seat, faded);
            self.say_earlier(&mut says, day, seat.offset, faded, memory, clock);
        }
        says[SHORT] = says[PROFILE_FAST];
        if let Some(short) = &self.short {
            says[SHORT] = says[PROFILE_SHIFTED] + short.at(seat.short).0 as f32;
        }
        says
    }

    #[inline(always)]
    fn say_profile(&self, says: &mut [f32; EXPERTS], seat: &Seat, faded: Faded) {
        let (known, profile) = self.profile(seat);
        if !known {
            return;
        }
        let (levels, ratios) = (&self.levels, &self.levels.ratios);
        let (quick, gentle) = (f64::from(faded.quick), f64::from(faded.gentle));
        let base = profile * ratios.slow;
        says[PROFILE] = profile as f32;
        says[BASE] = base as f32;
        says[NOW_SHIFTED] = (base + levels.last_above) as f32;
        says[PROFILE_MIDDLE] = (base + profile * (ratios.middle - ratios.slow) * gentle) as f32;
        says[PROFILE_FAST] = (base + profile * (ratios.brisk - ratios.slow) * quick) as f32;
        let above = levels.brisk.own - levels.brisk.reference * ratios.slow;
        says[PROFILE_SHIFTED] = (base + above * quick) as f32;
    }

    #[inline(always)]
    fn say_earlier(
        &self,
        says: &mut [f32; EXPERTS],
        day: &Profile,
        offset: usize,
        faded: Faded,
        memory: &Memory,
        clock: &Clock,
    ) {
        let ratios = &self.levels.ratios;
        let gentle = f64::from(faded.gentle);
        if let Some(source) = self.source(day, offset, clock) {
            let smooth = memory.around(source, self.smooth_half);
            says[DAY_RAW] = memory.value(source) as f32;
            says[DAY_SMOOTH] = (smooth * (1.0 + (ratios.day_before - 1.0) * gentle)) as f32;
            says[WEEK_SMOOTH] = smooth as f32;
            says[WEEK_LEVEL] = says[DAY_SMOOTH];
        }
        if self.week_known
            && let Some(week) = &self.week
            && let Some(source) = self.source(week, offset, clock)
        {
            let smooth = memory.around(source, self.smooth_half);
            says[WEEK_SMOOTH] = (smooth * ratios.week_days) as f32;
            let level = ratios.week_days + (ratios.week_hours - ratios.week_days) * gentle;
            says[WEEK_LEVEL] = (smooth * level) as f32;
        }
    }

    /// The last remembered step at the same place of a season.
    #[inline(always)]
    fn source(&self, season: &Profile, offset: usize, clock: &Clock) -> Option<u64> {
        let (step, period) = (self.next + offset as u64, season.period as u64);
        let seasons = if offset < season.period { 1 } else { 1 + offset as u64 / period };
        if step < seasons * period {
            return None;
        }
        let source = season.earlier(step, seasons, clock).min(self.next.saturating_sub(1));
        (source >= self.oldest).then_some(source)
    }

    /// The profile of all long seasons together: the longer one, drawn towards the shorter while it is young.
    #[inline(always)]
    fn profile(&self, seat: &Seat) -> (bool, f64) {
        let Some(day) = &self.day else { return (false, 0.0) };
        let (mut value, seasons) = day.at(seat.day);
        let mut known = seasons > 0.0;
        if let Some(week) = &self.week {
            let (weekly, seasons) = week.at(seat.week);
            if seasons > 0.0 {
                value = if known {
                    (seasons * weekly + DAY_WEIGHT * value) / (seasons + DAY_WEIGHT)
                } else {
                    weekly
                };
                known = true;
            }
        }
        (known, value)
    }

    /// Learns the value of the next step, of which no more than `limit` above or below what is expected goes into the
    /// profiles: a flash crowd is no profile. `memory` must not hold it yet.
    pub(crate) fn learn(&mut self, value: f64, limit: f64, memory: &Memory, clock: &Clock) {
        let seat = self.seat(0, clock);
        let (known, profile) = self.profile(&seat);
        if self.short.is_some() && self.next > 0 {
            let base = f64::from(self.say(&seat, self.fade.at(1), memory, clock)[PROFILE_SHIFTED]);
            if let Some(short) = &mut self.short {
                short.learn(seat.short, (value - base).clamp(-limit, limit));
            }
        }
        let before = |season: &Option<Profile>| {
            let source = season.as_ref().and_then(|season| self.source(season, 0, clock));
            source.map_or(value, |source| memory.value(source))
        };
        let references = References {
            profile: if known { profile } else { value },
            day_before: before(&self.day),
            week_before: before(&self.week),
        };
        let expected = if known { profile * self.levels.ratios.middle } else { value };
        let clipped = value.clamp(expected - limit, expected + limit);
        self.levels.learn(value, references);
        if let Some(day) = &mut self.day {
            day.learn(seat.day, clipped);
        }
        if let Some(week) = &mut self.week {
            week.learn(seat.week, clipped);
        }
    }

    /// The fading means, to be put back with [`restore`](Self::restore).
    pub(crate) fn levels(&self) -> Levels {
        self.levels.clone()
    }

    /// Puts back what [`levels`](Self::levels) gave: undoes what was learned since about the level.
    pub(crate) fn restore(&mut self, levels: Levels) {
        self.levels = levels;
    }

    /// How far a value of the next step is from what the season at its slow level explains.
    pub(crate) fn surprise(&self, value: f64, seat: &Seat) -> Option<f64> {
        let (known, profile) = self.profile(seat);
        known.then_some(value - profile * self.levels.ratios.slow)
    }

    /// Takes the level of the last few steps for the level of the season.
    pub(crate) fn accept_level(&mut self) {
        self.levels.accept();
    }

    /// Season that paces are set by, in steps.
    pub(crate) fn span(&self) -> usize {
        self.day.as_ref().map_or(NO_SEASON, |day| day.period)
    }

    /// The last value learned.
    #[inline(always)]
    pub(crate) fn last(&self) -> f64 {
        self.levels.last
    }

    /// Short-term slope per step.
    pub(crate) fn slope(&self) -> f64 {
        self.levels.slope
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let profiles = [&self.day, &self.week, &self.short].into_iter().flatten().map(Profile::heap_bytes);
        profiles.sum::<usize>()
    }
}

/// The stack's inputs: the first experts, which are to be relative to the base.
#[inline(always)]
pub(crate) fn stack_inputs(says: &[f32; EXPERTS]) -> [f32; INPUTS] {
    std::array::from_fn(|i| says[i])
}

/// Mixture and stack in one: since both are weighted sums, so is the whole. Weights of the experts, adding up to one.
#[inline(always)]
pub(crate) fn combined(weights: &[f32; EXPERTS], stack: &[f32; INPUTS]) -> [f32; EXPERTS] {
    let mut all = *weights;
    let share = std::mem::take(&mut all[STACK]);
    all[BASE] += share;
    let mut moved = 0.0;
    for (weight, stacked) in all.iter_mut().zip(stack) {
        *weight += share * stacked;
        moved += share * stacked;
    }
    all[BASE] -= moved;
    all
}

/// Separates a season that is much shorter than the next one, and at most two long ones.
fn split(periods: &[usize]) -> (Option<usize>, &[usize]) {
    match periods {
        [short, long @ ..] if long.len() >= 2 => (Some(*short), &long[..2]),
        [short, long] if *long > SHORT_RATIO * short => (Some(*short), &periods[1..]),
        _ => (None, periods),
    }
}

/// Stands in for a season where none is known.
const NO_SEASON: usize = 288;
/// Paces are never set by a season shorter than this.
const SPAN_MIN: f64 = 144.0;
/// The day's profile counts as much as so many weeks of the week's.
const DAY_WEIGHT: f64 = 0.33;
/// Seasons after which a profile begins to forget.
const DAYS_KEPT: usize = 5;
const WEEKS_KEPT: usize = 4;
const SHORT_KEPT: usize = 20;
/// Profiles of short seasons forget no faster than in so many steps: in a week, where a day has 24. Where a series grows,
/// one that is older than that makes too much of the season, for it is brought to the level of today by a factor.
const VISITS_MIN: usize = 168;
/// A season this many times shorter than the next is a pattern on top of it. A day in a week is not, an hour in a day is.
const SHORT_RATIO: usize = 14;
