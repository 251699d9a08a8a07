//! The cheap forecasts that everything else is made of.
//!
//! Each looks at the recent level, at the same place of earlier seasons, or at learned seasonal profiles corrected by how
//! the level compares with the profile lately. None costs more than a few nanoseconds, none is ever refitted. Where an
//! expert has nothing to say yet it repeats the next simpler one.

use crate::clock::Clock;
use crate::memory::Memory;
use crate::profile::Profile;
use crate::spread::Spread;
use crate::stack::INPUTS;

/// Number of experts.
pub(crate) const EXPERTS: usize = 16;

const LAST: usize = 0;
const FAST: usize = 1;
const MIDDLE: usize = 2;
const SLOW: usize = 3;
const TREND: usize = 4;
const DAY_RAW: usize = 5;
const DAY_SMOOTH: usize = 6;
const WEEK_RAW: usize = 7;
const WEEK_SMOOTH: usize = 8;
const DAY_PROFILE: usize = 9;
const PROFILE: usize = 10;
/// The profile at the level of the last season: what the stack corrects.
pub(crate) const BASE: usize = 11;
const PROFILE_MIDDLE: usize = 12;
const PROFILE_FAST: usize = 13;
const PROFILE_SHIFTED: usize = 14;
const SHORT: usize = 15;

/// Which experts the stack regresses on.
const STACKED: [usize; INPUTS] =
    [LAST, FAST, DAY_SMOOTH, WEEK_SMOOTH, PROFILE_MIDDLE, PROFILE_FAST, PROFILE_SHIFTED, SHORT];

/// Prior weight of each expert in the mixture, the stack last.
pub(crate) const PRIOR: [f64; EXPERTS + 1] =
    [0.06, 0.06, 0.06, 0.04, 0.03, 0.03, 0.06, 0.04, 0.08, 0.05, 0.05, 0.08, 0.08, 0.08, 0.06, 0.04, 0.10];

/// State of all experts of one series.
#[derive(Clone, Debug)]
pub(crate) struct Experts {
    /// The shorter of the long seasons (usually the day) and the longer (usually the week).
    day: Option<Profile>,
    week: Option<Profile>,
    /// A season much shorter than the day, learned as a pattern on top of the rest.
    short: Option<Profile>,
    levels: Levels,
    fade: Fade,
    smooth_half: u64,
    count: u64,
}

/// Fading means of the series and, for ratios, of what it is compared with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    last: f64,
    fast: Pair,
    brisk: Pair,
    middle: Pair,
    slow: Pair,
    /// Against the value a day before.
    day_before: Pair,
    /// Against the value a week before.
    week_before: Pair,
    slope: f64,
}

/// Fading means of the series (`own`) and of a reference taken at the same steps.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    own: f64,
    reference: f64,
    pace: f64,
}

impl Pair {
    fn set(value: f64, pace: f64) -> Pair {
        Pair { own: value, reference: value, pace }
    }

    fn learn(&mut self, own: f64, reference: f64) {
        self.own += self.pace * (own - self.own);
        self.reference += self.pace * (reference - self.reference);
    }

    fn ratio(&self, least: f64, most: f64) -> f64 {
        if self.reference > 1e-9 && self.own >= 0.0 {
            (self.own / self.reference).clamp(least, most)
        } else {
            1.0
        }
    }
}

/// How fast corrections die out with the horizon, as tables over the horizon.
#[derive(Clone, Debug)]
struct Fade {
    quick: Vec<f32>,
    gentle: Vec<f32>,
    /// Sum of a damped slope of one over the horizon.
    trend: Vec<f32>,
}

impl Experts {
    /// Experts for seasons of the given periods, shortest first, at most three.
    pub(crate) fn new(periods: &[usize], horizon: usize, clock: &Clock) -> Experts {
        let (short, long) = split(periods);
        let profile = |period: usize, kept: usize| Profile::new(period, kept, clock);
        let day = long.first().map(|&period| profile(period, DAYS_KEPT));
        let reference = day.as_ref().map_or(NO_SEASON, |day| day.period);
        let pace = |steps: f64| 2.0 / (steps.max(1.0) + 1.0);
        let span = reference as f64;
        let levels = Levels {
            fast: Pair { pace: 0.5, ..Pair::default() },
            brisk: Pair { pace: 0.15, ..Pair::default() },
            middle: Pair { pace: pace(span / 12.0), ..Pair::default() },
            slow: Pair { pace: pace(span), ..Pair::default() },
            day_before: Pair { pace: pace(span / 12.0), ..Pair::default() },
            week_before: Pair { pace: pace(span), ..Pair::default() },
            ..Levels::default()
        };
        Experts {
            smooth_half: (reference as u64 / 144).clamp(1, 16),
            day,
            week: long.get(1).map(|&period| profile(period, WEEKS_KEPT)),
            short: short.map(|period| profile(period, SHORT_KEPT)),
            levels,
            fade: Fade::new(span, horizon),
            count: 0,
        }
    }

    /// Period of the season that hours are counted in, or 1.
    pub(crate) fn reference_period(&self) -> usize {
        self.day.as_ref().map_or(1, |day| day.period)
    }

    /// Slot of a step for [`Spread`].
    pub(crate) fn spread_slot(&self, step: u64, clock: &Clock) -> usize {
        self.day.as_ref().map_or(0, |day| Spread::slot(day.place(step, clock), day.period))
    }

    /// What every expert says about `step`, which is `ahead >= 1` steps after the last one learned.
    pub(crate) fn say(&self, step: u64, ahead: usize, memory: &Memory, clock: &Clock) -> [f64; EXPERTS] {
        let levels = &self.levels;
        let (quick, gentle, trend) = self.fade.at(ahead);
        let mut says = [levels.brisk.own; EXPERTS];
        says[LAST] = levels.last;
        says[FAST] = levels.fast.own;
        says[MIDDLE] = levels.brisk.own;
        says[SLOW] = levels.middle.own;
        says[TREND] = levels.fast.own + levels.slope * trend;
        if let Some(day) = &self.day {
            self.say_seasonal(&mut says, day, step, ahead, memory, clock, (quick, gentle));
        }
        says[SHORT] = says[PROFILE_FAST];
        if let Some(short) = &self.short {
            let base = if self.day.is_some() { says[PROFILE_SHIFTED] } else { says[SLOW] };
            says[SHORT] = base + short.at(short.place(step, clock)).0;
        }
        says
    }

    #[expect(clippy::too_many_arguments, reason = "one call site, all of them are of the same moment")]
    fn say_seasonal(
        &self,
        says: &mut [f64; EXPERTS],
        day: &Profile,
        step: u64,
        ahead: usize,
        memory: &Memory,
        clock: &Clock,
        (quick, gentle): (f64, f64),
    ) {
        let levels = &self.levels;
        let seasons = (ahead as u64).div_ceil(day.period as u64);
        let source = day.earlier(step, seasons, clock).min(memory.next().saturating_sub(1));
        let (known, profile) = self.profile(step, clock);
        if known {
            let slow = levels.slow.ratio(0.2, 5.0);
            says[DAY_PROFILE] = day.at(day.place(step, clock)).0;
            says[PROFILE] = profile;
            says[BASE] = profile * slow;
            let middle = levels.middle.ratio(0.1, 10.0);
            says[PROFILE_MIDDLE] = profile * (slow + (middle - slow) * gentle);
            let brisk = levels.brisk.ratio(0.1, 10.0);
            says[PROFILE_FAST] = profile * (slow + (brisk - slow) * quick);
            says[PROFILE_SHIFTED] = says[BASE] + (levels.brisk.own - levels.brisk.reference * slow) * quick;
        }
        if source >= memory.oldest() && step >= day.period as u64 * seasons {
            says[DAY_RAW] = memory.value(source);
            let smooth = memory.around(source, self.smooth_half);
            says[DAY_SMOOTH] = smooth * (1.0 + (levels.day_before.ratio(0.2, 5.0) - 1.0) * gentle);
            says[WEEK_RAW] = says[DAY_RAW];
            says[WEEK_SMOOTH] = smooth;
        }
        if let Some(week) = &self.week {
            let seasons = (ahead as u64).div_ceil(week.period as u64);
            let source = week.earlier(step, seasons, clock).min(memory.next().saturating_sub(1));
            if source >= memory.oldest() && step >= week.period as u64 * seasons {
                says[WEEK_RAW] = memory.value(source);
                says[WEEK_SMOOTH] =
                    memory.around(source, self.smooth_half) * levels.week_before.ratio(0.25, 4.0);
            }
        }
    }

    /// The profile of all long seasons together: the longer one, drawn towards the shorter while it is young.
    fn profile(&self, step: u64, clock: &Clock) -> (bool, f64) {
        let Some(day) = &self.day else { return (false, 0.0) };
        let (mut value, seasons) = day.at(day.place(step, clock));
        let mut known = seasons > 0.0;
        if let Some(week) = &self.week {
            let (weekly, seasons) = week.at(week.place(step, clock));
            if seasons > 0.0 {
                value = if known { (seasons * weekly + value) / (seasons + 1.0) } else { weekly };
                known = true;
            }
        }
        (known, value)
    }

    /// Learns the value of a step. `memory` must not hold it yet.
    pub(crate) fn learn(&mut self, step: u64, value: f64, limit: f64, memory: &Memory, clock: &Clock) {
        let (known, profile) = self.profile(step, clock);
        let reference = if known { profile } else { value };
        self.learn_short(step, value, memory, clock);
        self.learn_levels(step, value, reference, memory, clock);
        // A flash crowd is no profile: what is far outside is learned only up to the limit.
        let expected = if known { profile * self.levels.middle.ratio(0.1, 10.0) } else { value };
        let clipped = value.clamp(expected - limit, expected + limit);
        for profile in self.day.iter_mut().chain(self.week.iter_mut()) {
            let place = profile.place(step, clock);
            profile.learn(place, clipped);
        }
    }

    fn learn_short(&mut self, step: u64, value: f64, memory: &Memory, clock: &Clock) {
        if self.short.is_none() || self.count == 0 {
            return;
        }
        let says = self.say(step, 1, memory, clock);
        let base = if self.day.is_some() { says[PROFILE_SHIFTED] } else { says[SLOW] };
        if let Some(short) = &mut self.short {
            let place = short.place(step, clock);
            short.learn(place, value - base);
        }
    }

    fn learn_levels(&mut self, step: u64, value: f64, reference: f64, memory: &Memory, clock: &Clock) {
        let before = |season: &Option<Profile>| match season {
            Some(season) if step >= season.period as u64 => {
                let source = season.earlier(step, 1, clock);
                if source >= memory.oldest() { memory.value(source) } else { value }
            }
            Some(_) | None => value,
        };
        let (day_before, week_before) = (before(&self.day), before(&self.week));
        let levels = &mut self.levels;
        if self.count == 0 {
            for pair in [
                &mut levels.fast,
                &mut levels.brisk,
                &mut levels.middle,
                &mut levels.slow,
                &mut levels.day_before,
                &mut levels.week_before,
            ] {
                *pair = Pair::set(value, pair.pace);
            }
            levels.last = value;
        }
        let fast_before = levels.fast.own;
        levels.fast.learn(value, reference);
        levels.brisk.learn(value, reference);
        levels.middle.learn(value, reference);
        levels.slow.learn(value, reference);
        levels.day_before.learn(value, day_before);
        levels.week_before.learn(value, week_before);
        levels.slope += SLOPE_PACE * (levels.fast.own - fast_before - levels.slope);
        levels.last = value;
        self.count += 1;
    }

    /// The fading means, to be put back with [`restore`](Self::restore).
    pub(crate) fn levels(&self) -> Levels {
        self.levels.clone()
    }

    /// Puts back what [`levels`](Self::levels) gave: undoes what was learned since about the level.
    pub(crate) fn restore(&mut self, levels: Levels) {
        self.levels = levels;
    }

    /// How far a value is from what the season at its slow level explains.
    pub(crate) fn surprise(&self, step: u64, value: f64, clock: &Clock) -> Option<f64> {
        let (known, profile) = self.profile(step, clock);
        known.then(|| value - profile * self.levels.slow.ratio(0.2, 5.0))
    }

    /// Takes the level of the last few steps for the level of the season.
    pub(crate) fn accept_level(&mut self) {
        let ratio = self.levels.brisk.ratio(0.1, 10.0);
        self.levels.slow.own = self.levels.slow.reference * ratio;
        self.levels.middle.own = self.levels.middle.reference * ratio;
    }

    /// Short-term slope per step.
    pub(crate) fn slope(&self) -> f64 {
        self.levels.slope
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let profiles: usize =
            [&self.day, &self.week, &self.short].into_iter().flatten().map(Profile::heap_bytes).sum();
        profiles + 12 * self.fade.quick.capacity()
    }
}

/// The stack's inputs: differences from the base.
pub(crate) fn stack_inputs(says: &[f64; EXPERTS]) -> [f64; INPUTS] {
    let mut inputs = [0.0; INPUTS];
    for (input, expert) in inputs.iter_mut().zip(STACKED) {
        *input = says[expert] - says[BASE];
    }
    inputs
}

/// Mixture and stack in one: since both are weighted sums, so is the whole. Weights of the experts, adding up to one.
pub(crate) fn combined(weights: &[f64; EXPERTS + 1], stack: &[f64; INPUTS]) -> [f64; EXPERTS] {
    let mut all = [0.0; EXPERTS];
    all.copy_from_slice(&weights[..EXPERTS]);
    let share = weights[EXPERTS];
    all[BASE] += share;
    for (weight, expert) in stack.iter().zip(STACKED) {
        all[expert] += share * weight;
        all[BASE] -= share * weight;
    }
    all
}

impl Fade {
    fn new(span: f64, horizon: usize) -> Fade {
        let table = |half_life: f64| -> Vec<f32> {
            (0..=horizon).map(|h| 0.5f64.powf(h as f64 / half_life) as f32).collect()
        };
        let damped = 1.0 - 1.0 / (span / 24.0).max(3.0);
        let trend =
            (0..=horizon).map(|h| (damped * (1.0 - damped.powi(h as i32)) / (1.0 - damped)) as f32).collect();
        Fade { quick: table((span / 10.0).max(1.0)), gentle: table((span / 4.0).max(2.0)), trend }
    }

    fn at(&self, ahead: usize) -> (f64, f64, f64) {
        let h = ahead.min(self.quick.len() - 1);
        (f64::from(self.quick[h]), f64::from(self.gentle[h]), f64::from(self.trend[h]))
    }
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
const DAYS_KEPT: usize = 5;
const WEEKS_KEPT: usize = 4;
const SHORT_KEPT: usize = 20;
const SLOPE_PACE: f64 = 0.3;
/// A season this many times shorter than the next is a pattern on top of it. A day in a week is not, an hour in a day is.
const SHORT_RATIO: usize = 14;
