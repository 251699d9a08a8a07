//! What sessions ask for, as the planner's demand: at this moment, and at most within each step.

use std::time::Duration;

use forecast::Timestamp;

use super::Sessions;

/// A step that is not over yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StepPeak {
    start: Option<Timestamp>,
    /// Since when it has been watched.
    since: Timestamp,
    wanted: f64,
    waiting: f64,
    /// What was turned away in it.
    pub(super) refused: f64,
    /// Most sessions of each type, held and waiting.
    by_type: Vec<(u64, u64)>,
}

/// A step that is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepOver {
    pub(crate) start: Timestamp,
    /// The most that was asked for; `None` where it was watched for less than half of it.
    pub(crate) demand: Option<f64>,
    /// What found no place at once.
    pub(crate) missed: f64,
    /// By type: its name, the most that had a place, the most that waited.
    pub(crate) by_type: Vec<(String, u64, u64)>,
}

impl Sessions {
    /// What is to be served now, in the unit of the weights.
    pub(crate) fn wanted(&self) -> f64 {
        self.allocator.wanted() * self.capacity
    }

    /// Takes the state of this moment into the step.
    pub(super) fn measure(&mut self) {
        let each = self.allocator.by_type();
        let weights = self.allocator.policy().types.iter().map(|t| t.weight);
        let waiting: f64 = each.iter().zip(weights).map(|(t, weight)| t.waiting as f64 * weight).sum();
        self.peak.wanted = self.peak.wanted.max(self.wanted());
        self.peak.waiting = self.peak.waiting.max(waiting * self.capacity);
        self.peak.by_type.resize(each.len(), (0, 0));
        for (most, now) in self.peak.by_type.iter_mut().zip(&each) {
            *most = (most.0.max(now.held), most.1.max(now.waiting));
        }
    }

    /// Time has passed, on the clock that steps go by. Returns the step that is over, if one is.
    pub(crate) fn step_over(&mut self, wall: Timestamp, step: Duration) -> Option<StepOver> {
        self.measure();
        let start = wall.align_down(step);
        if self.peak.start == Some(start) {
            return None;
        }
        let next = StepPeak { start: Some(start), since: wall, ..StepPeak::default() };
        let over = std::mem::replace(&mut self.peak, next);
        self.measure();
        let begun = over.start.filter(|begun| *begun < start)?;
        let watched = (begun + step).since(over.since);
        let missed = over.waiting + over.refused;
        let demand = (watched * 2 >= step).then_some(over.wanted + over.refused);
        let names = self.allocator.policy().types.iter().map(|t| t.name.clone());
        Some(StepOver {
            start: begun,
            demand,
            missed: demand.map_or(0.0, |demand| missed.min(demand)),
            by_type: names.zip(over.by_type).map(|(name, (held, waiting))| (name, held, waiting)).collect(),
        })
    }

    /// Whether the planner is to be told of the demand: once a tick, and at once when somebody has to wait.
    pub(crate) fn load_due(&mut self, now: Timestamp, tick: Duration) -> Option<(f64, f64)> {
        let waits = self.allocator.next_expiry().is_some();
        let every = if waits { tick.min(WAITING_TICK) } else { tick };
        if self.load_told.is_some_and(|told| now.since(told) < every) {
            return None;
        }
        self.load_told = Some(now);
        let held: u64 = self.allocator.by_type().iter().map(|t| t.held).sum();
        Some((self.wanted(), held as f64))
    }
}

/// Who waits is not kept waiting for a long tick.
const WAITING_TICK: Duration = Duration::from_millis(200);
