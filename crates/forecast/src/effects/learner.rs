//! Learns effects from the difference between demand and what was forecast for it without them.

use std::time::Duration;

use super::column::Column;
use super::filter::{Filter, Inputs};
use super::moment::{Moment, part_of_day};
use super::noise::Noise;
use super::occasions::{Active, Announced, Occasions};
use super::report::{Effect, Seen};
use super::usual::{HOURS, Usual, hour};
use crate::calendar::Event;
use crate::covariates::Covariates;
use crate::grid::{Grid, Local};
use crate::timestamp::Timestamp;

/// The regression of logarithms of demand on events and covariates.
#[derive(Clone, Debug)]
pub(super) struct Learner {
    filter: Filter,
    occasions: Occasions,
    columns: Vec<Column>,
    /// In order of their start.
    events: Vec<Announced>,
    /// Longest time between the start of an event and the end of its margin.
    reach: Duration,
    /// Undisturbed demand by hour of the week.
    profile: Usual,
    noise: Noise,
    /// Mean of undisturbed demand.
    level: f64,
    learned: u64,
    steps_an_hour: f32,
}

/// What is known of a step.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    moment: Moment,
    active: Vec<Active>,
    /// Those of events come first.
    inputs: Inputs,
    of_events: usize,
    /// Variance of how differently events turn out.
    unlike: f64,
}

/// Expected effect of a step, as a logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expected {
    events: Part,
    covariates: Part,
    /// Variance that large effects bring with them.
    unrest: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    mean: f64,
    variance: f64,
}

impl Expected {
    /// Mean and standard deviation when events have an effect with probability `weight`.
    pub(super) fn weighted(&self, weight: f64) -> (f64, f64) {
        let events = self.events;
        let either = weight * (events.variance + (1.0 - weight) * events.mean * events.mean);
        let mean = weight * events.mean + self.covariates.mean;
        let variance = either + self.covariates.variance + self.unrest;
        (mean.clamp(-EFFECT_MAX, EFFECT_MAX), variance.sqrt().min(SD_MAX))
    }
}

impl Learner {
    pub(super) fn new(step: Duration, covariates: &[String]) -> Learner {
        let steps_an_hour = 3600.0 / step.as_secs_f32().max(1e-3);
        Learner {
            filter: Filter::default(),
            occasions: Occasions::default(),
            columns: covariates.iter().map(|name| Column::new(name, steps_an_hour)).collect(),
            events: Vec::new(),
            reach: Duration::ZERO,
            profile: Usual::new(steps_an_hour),
            noise: Noise::new(steps_an_hour),
            level: 0.0,
            learned: 0,
            steps_an_hour,
        }
    }

    /// Takes in events; what is over by `now` goes first when there are too many.
    pub(super) fn announce(&mut self, events: &[Event], now: Timestamp, step: Duration, events_max: usize) {
        let is_sound =
            |event: &&Event| event.start <= event.end && event.magnitude.is_finite() && event.magnitude > 0.0;
        for event in events.iter().filter(is_sound) {
            let known = self.occasions.admit(event.clone(), &mut self.filter);
            self.events.push(known);
        }
        self.events.sort_by(|a, b| {
            (a.event.start, a.event.end, &a.event.name).cmp(&(b.event.start, b.event.end, &b.event.name))
        });
        // The later announcement stands: sorting kept their order.
        self.events.reverse();
        self.events.dedup_by(|a, b| {
            a.event.start == b.event.start && a.event.end == b.event.end && a.event.name == b.event.name
        });
        self.events.reverse();
        if self.events.len() > events_max {
            self.events.retain(|known| known.is_over_at(step) >= now);
            self.events.truncate(events_max);
        }
        self.reach = self
            .events
            .iter()
            .map(|known| known.is_over_at(step).since(known.event.start))
            .max()
            .unwrap_or(Duration::ZERO);
    }

    /// Calls all events off.
    pub(super) fn clear_events(&mut self) {
        self.events.clear();
        self.reach = Duration::ZERO;
    }

    /// Takes in a value of the time before anything was known of effects.
    pub(super) fn acquaint(&mut self, local: &Local, value: f64) {
        self.take_in(local, value);
    }

    /// What is known of a step at the moment `now`.
    pub(super) fn situation(
        &self,
        grid: &Grid,
        step: u64,
        covariates: &Covariates,
        now: Timestamp,
    ) -> Situation {
        let span = (grid.begins_at(step), grid.begins_at(step + 1));
        let active = Occasions::active(&self.events, self.reach, span);
        self.situation_of(active, grid.local(step), step, covariates, now)
    }

    fn situation_of(
        &self,
        active: Vec<Active>,
        local: Local,
        step: u64,
        covariates: &Covariates,
        now: Timestamp,
    ) -> Situation {
        let mut moment = Moment::at(local, self.to_sunday(&local));
        let mut inputs = Inputs::new();
        let unlike = self.occasions.inputs(&active, &moment, now.as_millis(), &mut inputs);
        let of_events = inputs.len();
        moment.is_free |= self.occasions.is_free(&active);
        for (place, column) in self.columns.iter().enumerate() {
            column.inputs(covariates.at(place, step), &moment, &mut inputs);
        }
        Situation { moment, active, inputs, of_events, unlike }
    }

    /// The effect of a step, with means of an earlier time if given.
    pub(super) fn expected(&self, situation: &Situation, means: Option<&[f64]>) -> Expected {
        let means = means.unwrap_or(self.filter.means());
        let (of_events, of_covariates) = situation.inputs.split_at(situation.of_events);
        let events = self.filter.predict_with(means, of_events);
        let covariates = self.filter.predict_with(means, of_covariates);
        let slot = hour(&situation.moment.local);
        Expected {
            events: Part { mean: events.0, variance: events.1 + situation.unlike },
            covariates: Part { mean: covariates.0, variance: covariates.1 },
            unrest: self.noise.surplus(slot, events.0 + covariates.0),
        }
    }

    /// Means of all coefficients, to be kept.
    pub(super) fn means(&self) -> &[f64] {
        self.filter.means()
    }

    /// Notes which events begin with a step, which is about to be learned from.
    pub(super) fn meet(&mut self, grid: &Grid, step: u64, covariates: &Covariates) -> Situation {
        let now = grid.begins_at(step);
        let active = Occasions::active(&self.events, self.reach, (now, grid.begins_at(step + 1)));
        let local = grid.local(step);
        self.occasions.begin(&active, part_of_day(&local), &mut self.filter);
        self.situation_of(active, local, step, covariates, now)
    }

    /// Learns from the value of a step, and frees it of its effects. `base` was forecast for it without them.
    pub(super) fn learn(&mut self, situation: &Situation, value: f64, base: Option<f64>, weight: f64) -> f64 {
        let small = self.small();
        let base = base.filter(|&base| base >= 0.0 && base + small > 0.0);
        if let Some(base) = base.filter(|_| self.is_warm() || situation.of_events > 0) {
            let seen = ((value + small) / (base + small)).ln();
            let (mean, variance) = self.filter.predict(&situation.inputs);
            let slot = hour(&situation.moment.local);
            let noise = self.noise.variance(slot);
            let most = CLIP * (noise + variance).sqrt();
            let error = (seen - mean).clamp(-most, most);
            // What was expected of a young series is less certain than its noise so far can tell.
            let young = (f64::from(WARM_HOURS * self.steps_an_hour) / self.learned as f64).max(1.0);
            self.filter.learn(&situation.inputs, error, noise * self.noise.repetition() * young);
            // Where an effect is unknown the error is mostly that, and no noise.
            if self.is_warm() && variance <= noise {
                self.noise.learn(slot, error, variance, mean);
            }
        }
        let freed = self.freed(situation, value, base, weight);
        self.take_in(&situation.moment.local, freed);
        freed
    }

    /// Takes in the covariates of a step, after everything else.
    pub(super) fn look(&mut self, situation: &Situation, step: u64, covariates: &Covariates) {
        for (place, column) in self.columns.iter_mut().enumerate() {
            column.learn(covariates.at(place, step), &situation.moment.local, &mut self.filter);
        }
    }

    /// Demand as it would have been. Where the effect of an event is quite unknown, mostly what was expected anyway, so that
    /// an unknown event does not disturb what is known.
    fn freed(&self, situation: &Situation, value: f64, base: Option<f64>, weight: f64) -> f64 {
        if situation.inputs.is_empty() {
            return value;
        }
        let small = self.small();
        let expected = self.expected(situation, None);
        let (effect, _) = expected.weighted(weight);
        let freed = (value + small) * (-effect).exp();
        let Some(base) = base.filter(|_| situation.of_events > 0) else {
            return (freed - small).max(0.0);
        };
        let unsure = weight * (expected.events.variance - situation.unlike).max(0.0);
        let noise = self.noise.variance(hour(&situation.moment.local));
        let trust = noise / (noise + CAUTION * unsure);
        let (usual, freed) = ((base + small).ln(), freed.max(f64::MIN_POSITIVE).ln());
        ((usual + trust * (freed - usual)).exp() - small).max(0.0)
    }

    fn take_in(&mut self, local: &Local, freed: f64) {
        self.learned += 1;
        let memory = LEVEL_HOURS * f64::from(self.steps_an_hour);
        self.level += (freed - self.level) / (self.learned as f64).min(memory);
        self.profile.learn(local, freed as f32);
        let steps_a_day = (24.0 * self.steps_an_hour).round().max(1.0) as u64;
        if self.learned.is_multiple_of(steps_a_day) {
            self.filter.drift(1.0 / DRIFT_DAYS);
        }
    }

    /// How many neighbouring errors say the same.
    pub(super) fn repetition(&self) -> f64 {
        self.noise.repetition()
    }

    /// Whether an event covers some of a step, rather than being near.
    pub(super) fn is_on(&self, situation: &Situation) -> bool {
        situation.active.iter().any(Active::is_on)
    }

    /// The kind of event that is felt at a step, and the log odds that it matters before anything was seen.
    pub(super) fn kind(&self, situation: &Situation) -> Option<(usize, f64)> {
        let kind = situation.active.first()?.kind;
        Some((kind, if self.occasions.is_holiday(kind) { HOLIDAY_ODDS } else { EVENT_ODDS }))
    }

    /// Added to demand before its logarithm is taken, so that zeros have one.
    pub(super) fn small(&self) -> f64 {
        SMALL * self.level
    }

    pub(super) fn is_warm(&self) -> bool {
        self.learned as f32 >= WARM_HOURS * self.steps_an_hour
    }

    /// Logarithm of what a Sunday has at this hour, over what this day of the week has.
    fn to_sunday(&self, at: &Local) -> f64 {
        let small = self.small() as f32;
        let hour = hour(at);
        let both = self.profile.in_week(6, hour).zip(self.profile.in_week(at.weekday, hour));
        let ratio =
            both.filter(|_| small > 0.0).map(|(sunday, today)| ((sunday + small) / (today + small)).ln());
        ratio.map_or(0.0, |ratio| f64::from(ratio).clamp(-3.0, 3.0))
    }

    /// Kinds that are due in these steps and were never observed.
    pub(super) fn unseen(&self, grid: &Grid, steps: std::ops::Range<u64>) -> Vec<String> {
        let span = (grid.begins_at(steps.start), grid.begins_at(steps.end));
        Occasions::active(&self.events, self.reach, span)
            .iter()
            .filter(|active| active.is_on())
            .filter_map(|active| self.occasions.kinds().get(active.kind))
            .filter(|kind| kind.occurrences == 0)
            .map(|kind| kind.name.clone())
            .collect()
    }

    /// All learned effects on an ordinary working day; those of events at the parts of the day at which they went on.
    pub(super) fn effects(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let kinds = self.occasions.kinds();
        for (at, kind) in kinds.iter().enumerate() {
            let of = |moment: &Moment| self.occasions.typical(at, None, moment);
            let hours = |moment: &Moment| kind.was_at(moment.part);
            let seen = Seen::Occurrences(kind.occurrences);
            effects.push(self.averaged(kind.name.clone(), seen, &hours, &of));
            let names = self.occasions.names().iter().enumerate();
            for (name, known) in names.filter(|(_, known)| known.kind == at) {
                let of = |moment: &Moment| self.occasions.typical(at, Some(name), moment);
                let label = format!("{}: {}", kind.name, known.name);
                effects.push(self.averaged(label, Seen::Occurrences(known.occurrences), &hours, &of));
            }
        }
        for column in &self.columns {
            for (place, first) in column.said(&self.moment(12)).into_iter().enumerate() {
                let of = |moment: &Moment| {
                    let inputs = column.said(moment).into_iter().nth(place).map(|said| said.inputs);
                    (inputs.unwrap_or_default(), 0.0)
                };
                effects.push(self.averaged(first.label, Seen::Steps(first.steps), &|_| true, &of));
            }
        }
        effects
    }

    /// An hour of an ordinary Wednesday.
    fn moment(&self, hour: usize) -> Moment {
        let local = Local { day: 0, minute: hour as u16 * 60, weekday: 2, month: 1, day_of_month: 1 };
        Moment::at(local, self.to_sunday(&local))
    }

    /// Over the hours that are asked for, by what is usual then.
    fn averaged(
        &self,
        name: String,
        seen: Seen,
        hours: &dyn Fn(&Moment) -> bool,
        of: &dyn Fn(&Moment) -> (Inputs, f64),
    ) -> Effect {
        let (mut total, mut sum, mut unlike) = (0.0, 0.0, 0.0);
        let mut all = Inputs::new();
        for (hour, moment) in (0..HOURS).map(|hour| (hour, self.moment(hour))).filter(|(_, at)| hours(at)) {
            let weight = self.profile.in_week(2, hour).map_or(1.0, |usual| f64::from(usual).max(1e-9));
            let (inputs, variance) = of(&moment);
            total += weight;
            sum += weight * self.filter.predict(&inputs).0.clamp(-EFFECT_MAX, EFFECT_MAX).exp();
            unlike += weight * variance;
            all.extend(inputs.into_iter().map(|(at, x)| (at, weight * x)));
        }
        all.sort_by_key(|input| input.0);
        let merged: Inputs = all
            .chunk_by(|a, b| a.0 == b.0)
            .map(|same| (same[0].0, same.iter().map(|input| input.1).sum::<f64>() / total))
            .collect();
        let sd = (self.filter.predict(&merged).1 + unlike / total).sqrt().min(SD_MAX);
        let factor = sum / total;
        Effect { name, factor, low: factor * (-1.645 * sd).exp(), high: factor * (1.645 * sd).exp(), seen }
    }

    pub(super) fn bytes(&self) -> usize {
        let events = self.events.capacity() * size_of::<Announced>()
            + self
                .events
                .iter()
                .map(|known| known.event.name.capacity() + known.event.kind.capacity())
                .sum::<usize>();
        let columns: usize = self.columns.iter().map(Column::bytes).sum();
        self.filter.bytes() + self.occasions.bytes() + events + columns + self.profile.bytes()
    }
}

/// Share of the mean level that is added before logarithms.
const SMALL: f64 = 0.04;
/// No effect is taken to be larger: a factor of 55.
const EFFECT_MAX: f64 = 4.0;
const SD_MAX: f64 = 1.5;
/// Errors farther out than this many standard deviations count as this many.
const CLIP: f64 = 2.5;
const HOLIDAY_ODDS: f64 = 4.0;
const EVENT_ODDS: f64 = 2.0;
const LEVEL_HOURS: f64 = 720.0;
/// Nothing is learned of covariates before, and of events with less weight.
const WARM_HOURS: f32 = 240.0;
/// How many times as uncertain an effect counts as it is, where a value is freed of it: what is taken for demand by mistake stays in
/// the profile, and the next occurrence looks smaller.
const CAUTION: f64 = 5.0;
/// In so many days everything known about an effect would be forgotten, were it not seen again.
const DRIFT_DAYS: f64 = 1000.0;
