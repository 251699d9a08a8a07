//! Events as inputs of the regression: effects of all events, of their kind, of their name and of the one occurrence under
//! way add up, so that what is learned of one is passed on to those like it (partial pooling; Gelman and Hill 2007).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::column::{HOLIDAY_SUNDAY, room};
use super::filter::{Filter, Inputs};
use super::moment::{Moment, PARTS};
use crate::Timestamp;
use crate::calendar::Event;

/// Kinds and names of events, with their coefficients.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Occasions {
    /// The coefficient of all events together.
    all: Option<usize>,
    kinds: Vec<Kind>,
    names: Vec<Name>,
}

/// One kind of event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kind {
    pub(super) name: String,
    /// Its first coefficient; none when there was no room.
    first: Option<usize>,
    is_holiday: bool,
    /// Occurrences that were observed.
    pub(super) occurrences: u32,
    /// Sum of squared differences between occurrences and what their kind led to expect.
    differences: f64,
    /// When the occurrence under way began.
    began: Option<i64>,
    /// Parts of the day at which it went on so far.
    parts: [bool; PARTS],
}

/// One name of event that its kind shares with others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Name {
    pub(super) name: String,
    pub(super) kind: usize,
    coefficient: usize,
    pub(super) occurrences: u32,
}

/// What of one kind goes on at a step.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub(super) kind: usize,
    /// Share of the step covered, by the weight of the magnitude.
    during: f64,
    /// Share of the step covered.
    share: f64,
    before: f64,
    after: f64,
    names: Vec<(usize, f64)>,
    /// When the earliest of those that cover the step began.
    began: i64,
}

/// An announced event, with its kind and name looked up.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) event: Event,
    kind: usize,
    name: Option<usize>,
}

impl Announced {
    /// How long before it begins, and after it is over, it may still be felt.
    fn margin(&self, step: Duration) -> Duration {
        self.event.end.since(self.event.start).clamp(step, MARGIN_MAX.max(step))
    }

    /// When nothing of it is felt any more.
    pub(super) fn is_over_at(&self, step: Duration) -> Timestamp {
        self.event.end + self.margin(step)
    }
}

impl Occasions {
    /// Looks up an event, or makes its acquaintance.
    pub(super) fn admit(&mut self, event: Event, filter: &mut Filter) -> Announced {
        if self.all.is_none() {
            self.all = room(filter, &[(0.0, 0.3)]);
        }
        let kind = match self.kinds.iter().position(|kind| kind.name == event.kind) {
            Some(kind) => kind,
            None if self.kinds.len() < KINDS_MAX => {
                self.kinds.push(Kind::new(&event.kind, filter));
                self.kinds.len() - 1
            }
            None => KINDS_MAX,
        };
        let name = match self.names.iter().position(|known| known.kind == kind && known.name == event.name) {
            Some(name) => Some(name),
            None if self.names.len() < NAMES_MAX && kind < KINDS_MAX => {
                room(filter, &[(0.0, if self.kinds[kind].is_holiday { NAME_SD_HOLIDAY } else { NAME_SD })])
                    .map(|coefficient| {
                        self.names.push(Name { name: event.name.clone(), kind, coefficient, occurrences: 0 });
                        self.names.len() - 1
                    })
            }
            None => None,
        };
        Announced { event, kind, name }
    }

    /// What goes on between two moments, the beginning and the end of a step. `events` are in order of their start and
    /// last no longer than `reach` with their margins.
    pub(super) fn active(
        events: &[Announced],
        reach: Duration,
        (from, to): (Timestamp, Timestamp),
    ) -> Vec<Active> {
        let step = to.since(from);
        let first = events.partition_point(|known| known.event.start < from - reach);
        let last = events.partition_point(|known| known.event.start < to + MARGIN_MAX.max(step));
        let mut found: Vec<Active> = Vec::new();
        for known in events.get(first..last).unwrap_or_default() {
            let margin = known.margin(step);
            let (start, end) = (known.event.start, known.event.end);
            let weight = known.event.magnitude.ln_1p() / std::f64::consts::LN_2;
            let share = covered(from, to, start, end);
            let before = if share < 1.0 { weight * covered(from, to, start - margin, start) } else { 0.0 };
            let after = if share < 1.0 { weight * covered(from, to, end, end + margin) } else { 0.0 };
            if share + before + after <= 0.0 {
                continue;
            }
            let place = match found.iter().position(|active| active.kind == known.kind) {
                Some(place) => place,
                None => {
                    found.push(Active::none(known.kind));
                    found.len() - 1
                }
            };
            let active = &mut found[place];
            if share > 0.0 {
                active.during += weight * share;
                active.share = (active.share + share).min(1.0);
                active.began = active.began.min(start.as_millis());
                active.names.extend(known.name.map(|name| (name, weight * share)));
            }
            active.before = active.before.max(before);
            active.after = active.after.max(after);
        }
        found
    }

    /// Adds the inputs of what goes on. The sum of variances that stand for how differently occurrences turn out that
    /// have not begun by `now`.
    pub(super) fn inputs(&self, active: &[Active], moment: &Moment, now: i64, inputs: &mut Inputs) -> f64 {
        let mut unlike = 0.0;
        let mut all = 0.0;
        for active in active {
            let Some(kind) = self.kinds.get(active.kind) else {
                all += active.during;
                continue;
            };
            if !kind.is_holiday {
                all += active.during;
            }
            let Some(first) = kind.first else { continue };
            if active.during > 0.0 {
                inputs.push((first + MAIN, active.during));
                inputs.push((first + PART + moment.part, active.during));
                if moment.to_sunday != 0.0 {
                    inputs.push((first + SUNDAY, active.share * moment.to_sunday));
                }
                if kind.began.is_some_and(|began| active.began <= began.max(now)) && active.began <= now {
                    inputs.push((first + THIS_ONE, active.share));
                } else {
                    unlike += active.share * active.share * kind.difference();
                }
                let mut names: Vec<(usize, f64)> = active
                    .names
                    .iter()
                    .map(|&(name, amount)| (self.names[name].coefficient, amount))
                    .collect();
                names.sort_unstable_by_key(|name| name.0);
                for same in names.chunk_by(|a, b| a.0 == b.0) {
                    inputs.push((same[0].0, same.iter().map(|name| name.1).sum()));
                }
            } else {
                if active.before > 0.0 {
                    inputs.push((first + BEFORE, active.before));
                }
                if active.after > 0.0 {
                    inputs.push((first + AFTER, active.after));
                }
            }
        }
        if let Some(coefficient) = self.all.filter(|_| all > 0.0) {
            inputs.push((coefficient, all));
        }
        unlike
    }

    /// Notes which occurrences begin and which are over, before a step in this part of the day is learned from.
    pub(super) fn begin(&mut self, active: &[Active], part: usize, filter: &mut Filter) {
        for (at, kind) in self.kinds.iter_mut().enumerate() {
            let now = active.iter().find(|active| active.kind == at && active.during > 0.0);
            kind.parts[part] |= now.is_some();
            match (now, kind.began) {
                (Some(active), None) => {
                    kind.began = Some(active.began);
                    kind.occurrences += 1;
                    if let Some(first) = kind.first {
                        filter.renew(first + THIS_ONE, kind.difference());
                    }
                    for &(name, _) in &active.names {
                        self.names[name].occurrences += 1;
                    }
                }
                (None, Some(_)) => {
                    kind.began = None;
                    if let Some(first) = kind.first {
                        let (mean, variance) = filter.coefficient(first + THIS_ONE);
                        kind.differences += mean * mean + variance;
                    }
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }

    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// Whether people are off work because of what goes on.
    pub(super) fn is_free(&self, active: &[Active]) -> bool {
        active.iter().any(|active| {
            active.during > 0.0 && self.kinds.get(active.kind).is_some_and(|kind| kind.is_holiday)
        })
    }

    pub(super) fn is_holiday(&self, kind: usize) -> bool {
        self.kinds.get(kind).is_some_and(|kind| kind.is_holiday)
    }

    /// One ordinary event of a kind, or of a name, covering the whole step: what it does there.
    pub(super) fn typical(&self, kind: usize, name: Option<usize>, moment: &Moment) -> (Inputs, f64) {
        let mut inputs = Inputs::new();
        let active = Active {
            during: 1.0,
            share: 1.0,
            names: name.map(|name| (name, 1.0)).into_iter().collect(),
            began: i64::MAX,
            ..Active::none(kind)
        };
        let unlike = self.inputs(&[active], moment, i64::MIN, &mut inputs);
        (inputs, unlike)
    }

    pub(super) fn bytes(&self) -> usize {
        self.kinds.capacity() * size_of::<Kind>() + self.names.capacity() * size_of::<Name>()
    }
}

impl Active {
    /// Whether an event covers some of the step, rather than being near.
    pub(super) fn is_on(&self) -> bool {
        self.during > 0.0
    }

    fn none(kind: usize) -> Active {
        Active { kind, during: 0.0, share: 0.0, before: 0.0, after: 0.0, names: Vec::new(), began: i64::MAX }
    }
}

impl Kind {
    fn new(name: &str, filter: &mut Filter) -> Kind {
        let is_holiday = name.to_lowercase().contains("holiday");
        let (main, part, sunday) =
            if is_holiday { (0.3, 0.25, HOLIDAY_SUNDAY) } else { (0.35, 0.15, (0.0, 0.2)) };
        let mut priors = vec![(0.0, main)];
        priors.extend([(0.0, part); PARTS]);
        priors.extend([sunday, (0.0, 0.05), (0.0, 0.05), (0.0, DIFFERENCE_SD)]);
        Kind {
            name: name.to_owned(),
            first: room(filter, &priors),
            is_holiday,
            occurrences: 0,
            differences: 0.0,
            began: None,
            parts: [false; PARTS],
        }
    }

    /// Whether it was observed at this part of the day; everywhere before anything was.
    pub(super) fn was_at(&self, part: usize) -> bool {
        self.parts[part] || self.parts == [false; PARTS]
    }

    /// Variance of how differently occurrences turn out.
    fn difference(&self) -> f64 {
        let n = f64::from(self.occurrences.saturating_sub(u32::from(self.began.is_some())));
        (2.0 * DIFFERENCE_SD * DIFFERENCE_SD + self.differences) / (2.0 + n)
    }
}

/// Share of a step that lies inside a span; a span without length is inside the step it falls into.
fn covered(from: Timestamp, to: Timestamp, start: Timestamp, end: Timestamp) -> f64 {
    if start == end {
        return f64::from(u8::from(from <= start && start < to));
    }
    let (left, right) = (from.max(start), to.min(end));
    if right <= left { 0.0 } else { right.since(left).as_secs_f64() / to.since(from).as_secs_f64() }
}

/// Places of a kind's coefficients.
const MAIN: usize = 0;
const PART: usize = 1;
const SUNDAY: usize = PART + PARTS;
const BEFORE: usize = SUNDAY + 1;
const AFTER: usize = SUNDAY + 2;
/// The occurrence under way.
const THIS_ONE: usize = SUNDAY + 3;

/// Occurrences of a kind differ by so much, in logarithms, before any was seen.
const DIFFERENCE_SD: f64 = 0.1;
const NAME_SD: f64 = 0.1;
/// Holidays are less alike: some people work on one and nobody on another.
const NAME_SD_HOLIDAY: f64 = 0.2;
const KINDS_MAX: usize = 8;
const NAMES_MAX: usize = 24;
/// Events are felt at most so long before and after.
const MARGIN_MAX: Duration = Duration::from_secs(24 * 3600);
