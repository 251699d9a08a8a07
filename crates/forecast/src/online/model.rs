//! The model of one series for one set of seasons: experts, their combination by horizon, and everything that is
//! calibrated on top. Advances one step at a time and is rebuilt from the retained history when the seasons change.

mod answer;
mod idling;
mod issue;
mod joint;
mod record;
mod scoring;
mod settled;
mod shuffle;
mod total;

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::online::bucket::{Bucket, Lesson, Outcome};
use crate::online::clock::{Clock, DAY, WEEK};
use crate::online::experts::{Experts, Levels, Part};
use crate::online::memory::Memory;
use crate::online::spread::{Range, Spread};
use crate::online::sums::{SUMS, Sums};
use crate::online::watch::{OutageWatch, ShiftWatch, Silence};
use crate::online::wild::{Before, Course, WILD, Wild};
use crate::online::window::{WINDOWS, Window};
use crate::timestamp::Timestamp;

pub(crate) use record::{Record, Records, Verdict};
use scoring::Scoring;

/// Everything known about a series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) clock: Clock,
    pub(crate) memory: Memory,
    pub(crate) records: Records,
    experts: Experts,
    spread: Spread,
    buckets: Vec<Bucket>,
    windows: Vec<Window>,
    sums: Vec<Sums>,
    shift_watch: ShiftWatch,
    /// Wild values under way.
    wild: Option<Box<Wild>>,
    /// How often the series has changed its nature.
    shifts: u64,
    outage_watch: OutageWatch,
    /// Levels as they were before a silence began.
    levels_before: Option<Levels>,
    /// Steps without a value, or with one that was not believed, so far.
    missing: u64,
    /// Fading share of values that were zero.
    zeros: f64,
    /// Three quarters of the values are below it.
    high: f64,
    /// Fading mean of values that were not zero.
    busy: f64,
    /// The largest value so far.
    peak: f64,
    /// The last step whose value was learned.
    last_learned: Option<u64>,
    /// How the value of the last step compares with what was said just before.
    #[serde(skip)]
    pub(crate) surprise: Option<Surprise>,
    floor: f64,
    horizon: usize,
}

/// How a value compares with the nearest forecast of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Surprise {
    /// The median, in the unit of the series.
    pub(crate) said: f64,
    /// Value minus median.
    pub(crate) error: f64,
    /// The usual size of such errors at that time of the season, above zero.
    pub(crate) scale: f64,
    /// Whether the value was inside its 90 % interval.
    pub(crate) covered: bool,
}

/// What a model must know beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) origin: Timestamp,
    pub(crate) step: Duration,
    pub(crate) zone: Option<TimeZone>,
    pub(crate) horizon: usize,
    /// Least value that is possible.
    pub(crate) floor: f64,
    /// The part that is asked, where it is not all.
    pub(crate) alone: Option<Part>,
}

impl Model {
    /// A model that knows nothing, without seasons.
    pub(crate) fn new(setting: &Setting) -> Model {
        let clock = Clock::new(setting.origin, setting.step, setting.zone.clone());
        let span = (WEEK.as_millis() * WEEKS_REMEMBERED / setting.step.as_millis().max(1)) as usize;
        let day = clock.steps_in(DAY);
        let Setting { horizon, floor, alone, .. } = *setting;
        Model::start((clock, Memory::new(span, day)), (horizon, floor), alone, Vec::new())
    }

    fn start(
        (clock, memory): (Clock, Memory),
        (horizon, floor): (usize, f64),
        alone: Option<Part>,
        periods: Vec<usize>,
    ) -> Model {
        let experts = Experts::new(&periods, &clock);
        let bucket = |h: usize| Bucket::new(h, experts.span(), experts.faded(h), alone);
        Model {
            spread: Spread::new(experts.reference_period()),
            clock,
            memory,
            records: Records::default(),
            buckets: horizons(horizon).into_iter().map(bucket).collect(),
            experts,
            windows: WINDOWS.into_iter().map(Window::new).collect(),
            sums: SUMS.into_iter().map(Sums::new).collect(),
            shift_watch: ShiftWatch::default(),
            wild: None,
            shifts: 0,
            outage_watch: OutageWatch::default(),
            levels_before: None,
            missing: 0,
            zeros: 0.0,
            high: 0.0,
            busy: 0.0,
            peak: 0.0,
            last_learned: None,
            surprise: None,
            floor,
            horizon,
        }
    }

    /// The same series seen with other seasons: learns the retained history again.
    pub(crate) fn rebuilt(&self, periods: Vec<usize>) -> Model {
        let (old, next) = (&self.memory, self.memory.next());
        let longest = periods.iter().copied().max().unwrap_or(0) as u64;
        let relearned = old.oldest_fine().max(next.saturating_sub(STEPS_RELEARNED));
        // Before that only the profiles of the longest season have something to learn.
        let from = relearned.saturating_sub(SEASONS_RELEARNED * longest).max(old.oldest());
        let memory = old.emptied(from);
        let (reach, alone) = ((self.horizon, self.floor), self.buckets[0].alone);
        let mut model = Model::start((self.clock.clone(), memory), reach, alone, periods);
        model.inherit(self);
        model.experts.arrive(&model.memory, &model.clock);
        for step in from..relearned {
            let value = old.value(step);
            model.experts.learn(value, f64::INFINITY, &model.memory, &model.clock);
            model.spread.learn_value(value);
            model.memory.push(value, false);
            model.experts.arrive(&model.memory, &model.clock);
        }
        for step in relearned..next {
            model.advance((!old.is_made_up(step)).then(|| old.value(step)));
        }
        model.outage_watch = self.outage_watch.clone();
        model
    }

    /// Begins with the shape of the errors that another model of the series made, in place of a guess.
    fn inherit(&mut self, other: &Model) {
        for (bucket, other) in self.buckets.iter_mut().zip(&other.buckets) {
            bucket.residuals.inherit(&other.residuals);
            (bucket.doubt, bucket.idle) = (other.doubt, other.idle);
        }
        (self.zeros, self.busy, self.peak) = (other.zeros, other.busy, other.peak);
        for (window, other) in self.windows.iter_mut().zip(&other.windows) {
            window.residuals.inherit(&other.residuals);
        }
    }

    /// The largest value a week before the steps `ahead`, counted from the next one; None where that is not remembered.
    pub(crate) fn week_ago_max(&self, ahead: std::ops::Range<usize>) -> Option<f64> {
        let week = self.clock.steps_in(WEEK)? as u64;
        let (next, oldest) = (self.memory.next(), self.memory.oldest());
        let mut most = None;
        for offset in ahead {
            let step = next + offset as u64;
            let plain = step.checked_sub(week)?;
            // The same time of the day, also when clocks were changed in between.
            let source = plain.saturating_add_signed(self.clock.change(plain, step));
            if source < oldest || source >= next {
                return None;
            }
            let value = self.memory.value(source);
            most = Some(most.map_or(value, |most: f64| most.max(value)));
        }
        most
    }

    /// Takes the value of the next step.
    pub(crate) fn advance(&mut self, value: Option<f64>) {
        let step = self.memory.next();
        self.clock.look_ahead(step + (self.horizon + 1) as u64);
        self.clock.arrive(step);
        let Some(value) = value else { return self.skip() };
        match self.judge(value) {
            Silence::None | Silence::Doubtful => {}
            Silence::Begins => self.levels_before = Some(self.experts.levels()),
            Silence::Recognised => {
                if let Some(levels) = self.levels_before.take() {
                    self.experts.restore(levels);
                }
                return self.skip();
            }
            Silence::Goes => return self.skip(),
            Silence::Accepted => self.loosen(),
        }
        self.learn(step, value);
        self.issue(step);
    }

    /// A step without a value that can be believed: the clock goes on, nothing is learned.
    fn skip(&mut self) {
        self.missing += 1;
        self.follow_wild(None);
        self.surprise = None;
        let expected = self.next_median().unwrap_or(0.0);
        self.push(expected, true);
    }

    fn push(&mut self, value: f64, made_up: bool) {
        self.memory.push(value, made_up);
        self.experts.arrive(&self.memory, &self.clock);
    }

    fn learn(&mut self, step: u64, value: f64) {
        let seat = self.experts.seat(0, &self.clock);
        let slot = seat.slot;
        if let Some(surprise) = self.experts.surprise(value, &seat) {
            let usual = self.spread.at(slot, Range::Far);
            if self.shift_watch.observe(surprise / usual) {
                self.loosen();
            }
        }
        let idle = value == 0.0 && self.floor >= 0.0;
        if idle || self.zeros > 0.0 {
            self.zeros += ZEROS_PACE * (if idle { 1.0 } else { 0.0 } - self.zeros);
        }
        self.peak = self.peak.max(value);
        if !idle {
            self.busy += if self.busy == 0.0 { value } else { BUSY_PACE * (value - self.busy) };
        }
        let claimed_from = self.idles().then(|| self.claimed_from());
        let outcome = Outcome { step, value, high: self.high, claimed_from };
        let above = if value > self.high { HIGH } else { HIGH - 1.0 };
        self.high += HIGH_PACE * self.spread.magnitude() * above;
        let (mut near, mut far) = (None, None);
        let scale = self.spread.at(slot, Range::Near);
        let before = *self.records.near();
        let scoring = Scoring {
            step,
            value,
            wild: WILD * scale,
            negligible: self.negligible(),
            season: self.season(),
            claimed_from: self.claimed_from(),
            counts_zeros: self.zeros > 0.0,
        };
        let next_before = self.buckets[0].last_error();
        for bucket in &mut self.buckets {
            // One and two steps ahead were forecast together, and the first came one step ago.
            let neighbour = (bucket.horizon == 2).then_some(next_before);
            if let Some(lesson) = bucket.learn(outcome, neighbour) {
                match bucket.range() {
                    Range::Near => near = near.or(Some(lesson)),
                    Range::Far => far = far.filter(|_| bucket.horizon > FAR_MEASURED).or(Some(lesson)),
                }
                scoring.score(bucket, &lesson, &self.memory, &mut self.records);
            }
        }
        self.surprise = near.map(|lesson| Surprise {
            said: lesson.said,
            error: lesson.error,
            scale,
            covered: lesson.covered,
        });
        // A wild value must not widen its own limit.
        let limit = PROFILE_CLIP * self.spread.at(slot, Range::Far);
        if !self.follow_wild(Some((value, before))) {
            self.learn_spread(slot, near, far);
        }
        self.spread.learn_value(value);
        let limit = if self.wild.is_some() { limit } else { PROFILE_CLIP * self.spread.at(slot, Range::Far) };
        self.experts.learn(value, limit, &self.memory, &self.clock);
        self.push(value, false);
        for window in &mut self.windows {
            window.learn(step, self.missing, &self.memory);
        }
        for sums in &mut self.sums {
            sums.learn(step, self.missing, &self.memory);
        }
        self.last_learned = Some(step);
    }

    /// Notes wild values, and puts back what they disturbed as soon as they are over. Returns whether they are: errors of
    /// forecasts that followed them say nothing about the next.
    fn follow_wild(&mut self, value: Option<(f64, Record)>) -> bool {
        let Some(mut wild) = self.wild.take() else {
            self.wild = value.and_then(|(value, before)| self.wild_from(value, before)).map(Box::new);
            return false;
        };
        match wild.judge(value.map(|(value, _)| value)) {
            Course::GoesOn => self.wild = Some(wild),
            Course::IsReal => {}
            Course::IsOver => {
                self.put_back(&wild, |value| wild.tamed(value));
                return true;
            }
        }
        false
    }

    /// Puts back what wild values have disturbed, and remembers others in their place.
    fn put_back(&mut self, wild: &Wild, remembered: impl Fn(f64) -> f64) {
        for step in wild.first..wild.first + wild.steps {
            self.memory.replace(step, remembered(self.memory.value(step)));
        }
        let Before { levels, calm, record, high } = &wild.before;
        self.experts.restore(levels.clone());
        self.spread.calm_down(*calm);
        self.records.calm_down(record);
        self.high = *high;
    }

    fn wild_from(&self, value: f64, record: Record) -> Option<Wild> {
        let Surprise { said, error, scale, .. } = self.surprise?;
        let known = self.records.near().lessons() >= JUDGE_LESSONS && !self.idles();
        (known && Wild::is(error, scale)).then(|| {
            let (levels, calm, high) = (self.experts.levels(), self.spread.calm(), self.high);
            Wild::new(self.memory.next(), value, (said, scale), Before { levels, calm, record, high })
        })
    }

    fn learn_spread(&mut self, slot: usize, near: Option<Lesson>, far: Option<Lesson>) {
        for (range, lesson) in [(Range::Near, near), (Range::Far, far)] {
            if let Some(lesson) = lesson {
                self.spread.learn(slot, range, lesson.error, lesson.covered);
            }
        }
    }

    fn judge(&mut self, value: f64) -> Silence {
        if self.records.near().lessons() < JUDGE_LESSONS
            || self.idles()
            || !self.outage_watch.is_alert(value, self.spread.magnitude())
        {
            return Silence::None;
        }
        let expected = self.next_median().unwrap_or(0.0);
        let slot = self.experts.seat(0, &self.clock).slot;
        let middle = self.buckets.len() / 2;
        let bucket = &self.buckets[middle];
        let spread = self.spread.at(slot, bucket.range());
        let doubt = self.doubts().factor(middle, expected, spread);
        let least = expected + bucket.residuals.values()[0] * spread * doubt;
        let patience = (self.experts.reference_period() as u64).clamp(PATIENCE_MIN, PATIENCE_MAX);
        self.outage_watch.observe(value, expected, least, patience)
    }

    /// Whether the series is so often zero that this tells more of its errors than how bold a forecast is.
    pub(crate) fn idles(&self) -> bool {
        self.zeros > IDLE_SHARE
    }

    /// The shortest season in use.
    pub(crate) fn season(&self) -> Option<usize> {
        Some(self.experts.reference_period()).filter(|&period| period > 1)
    }

    /// Where a mostly idle series is busy now: after how many busy steps the next one has been seen.
    pub(crate) fn newly_busy(&self) -> Option<u64> {
        let busy = self.idles() && self.experts.last() > 0.0;
        busy.then(|| self.buckets[0].idle.busy())
    }

    /// The series has changed its nature: believe the recent past, learn quickly.
    fn loosen(&mut self) {
        self.shifts += 1;
        self.experts.accept_level();
        for bucket in &mut self.buckets {
            bucket.loosen();
        }
    }

    /// How often the series has changed its nature so far.
    pub(crate) fn shifts(&self) -> u64 {
        self.shifts
    }

    /// For how many steps an outage has been suspected.
    pub(crate) fn outage_steps(&self) -> u64 {
        self.outage_watch.suspected()
    }

    /// Errors so small beside the values count as none.
    pub(crate) fn negligible(&self) -> f64 {
        NEGLIGIBLE * self.spread.magnitude()
    }

    /// Short-term slope per step.
    pub(crate) fn slope(&self) -> f64 {
        self.experts.slope()
    }

    /// Bytes held beside the model itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.wild.as_ref().map_or(0, |_| size_of::<Wild>())
            + self.memory.heap_bytes()
            + self.experts.heap_bytes()
            + self.buckets.iter().map(|bucket| size_of::<Bucket>() + bucket.heap_bytes()).sum::<usize>()
            + self.windows.iter().map(|window| size_of::<Window>() + window.heap_bytes()).sum::<usize>()
            + self.sums.iter().map(|sums| size_of::<Sums>() + sums.heap_bytes()).sum::<usize>()
    }
}

/// Horizons that are learned: dense near, then about threefold, the farthest included.
fn horizons(farthest: usize) -> Vec<usize> {
    let mut all: Vec<usize> = HORIZONS.into_iter().take_while(|&h| h + h / 4 < farthest).collect();
    all.push(farthest);
    all
}

const HORIZONS: [usize; 9] = [1, 2, 4, 12, 36, 108, 288, 768, 2048];
/// Weeks that the memory should span where it can.
const WEEKS_REMEMBERED: u128 = 5;
const SEASONS_RELEARNED: u64 = 2;
/// Steps that are learned again in full when the seasons change.
const STEPS_RELEARNED: u64 = 1024;
/// The horizon, or the next shorter one, whose errors are the measure of far ones.
const FAR_MEASURED: usize = 36;
/// Zeros are counted over about 500 steps; from this share on a series is one that idles.
const ZEROS_PACE: f64 = 0.002;
const IDLE_SHARE: f64 = 0.1;
const BUSY_PACE: f64 = 0.05;
/// Values above this share of all are high.
const HIGH: f64 = 0.75;
const HIGH_PACE: f64 = 0.01;
/// Share of the mean value that is no error worth speaking of.
const NEGLIGIBLE: f64 = 0.002;
/// A value farther than this many typical errors from the profile is learned only in part.
const PROFILE_CLIP: f64 = 8.0;
/// Lessons before an outage can be told from an idle series.
const JUDGE_LESSONS: u32 = 100;
/// Steps of silence after which it must be taken for the truth.
const PATIENCE_MIN: u64 = 60;
const PATIENCE_MAX: u64 = 288;
