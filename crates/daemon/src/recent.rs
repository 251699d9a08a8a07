//! The newest steps, events and plans in memory.
//!
//! The API reads them from here, so that what happened a moment ago is visible before it is on disk, and stays visible
//! when the disk is full. Older ones are in the history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{PoisonError, RwLock};

use forecast::Timestamp;

/// What was observed in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StepRecord {
    pub(crate) at: Timestamp,
    pub(crate) values: [Option<f64>; METRICS.len()],
}

/// The series kept for each step, in the order of [`StepRecord::values`].
pub(crate) const METRICS: [&str; 12] = [
    "demand",
    "forecast_p50",
    "forecast_low",
    "forecast_high",
    "active_capacity",
    "standby_capacity",
    "active_instances",
    "standby_instances",
    "missed",
    "latency_p50_ms",
    "latency_p99_ms",
    "errors",
];

/// The newest of everything.
#[derive(Debug)]
pub(crate) struct Recent {
    since: Timestamp,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<api::Event>,
    workloads: BTreeMap<String, OfWorkload>,
}

#[derive(Debug, Default)]
struct OfWorkload {
    steps: VecDeque<StepRecord>,
    plans: VecDeque<api::Plan>,
}

/// A newest-first list, and from when on it is complete.
#[derive(Debug)]
pub(crate) struct Newest<T> {
    pub(crate) items: Vec<T>,
    /// Everything at or after this instant is in memory.
    pub(crate) complete_since: Timestamp,
}

impl Recent {
    /// Empty; what happened before `since` is in the history only.
    pub(crate) fn new(since: Timestamp) -> Recent {
        Recent { since, inner: RwLock::default() }
    }

    pub(crate) fn push_event(&self, event: api::Event) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        // Changes that wait for the disk before they count come a little after younger events.
        let events = &mut inner.events;
        let place =
            events.iter().rposition(|other| other.at_ms <= event.at_ms).map_or(0, |before| before + 1);
        if place == events.len() {
            push(events, event, EVENTS_MAX);
        } else if events.len() < EVENTS_MAX {
            events.insert(place, event);
        } else if place > 0 {
            events.pop_front();
            events.insert(place - 1, event);
        }
    }

    pub(crate) fn push_plan(&self, plan: api::Plan) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let workload = inner.workloads.entry(plan.workload.clone()).or_default();
        push(&mut workload.plans, plan, PLANS_MAX);
    }

    pub(crate) fn push_step(&self, workload: &str, step: StepRecord) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match inner.workloads.get_mut(workload) {
            Some(of) => push(&mut of.steps, step, STEPS_MAX),
            None => {
                let of = OfWorkload { steps: [step].into(), ..OfWorkload::default() };
                inner.workloads.insert(workload.to_owned(), of);
            }
        }
    }

    /// Events in `[from, to)`, newest first.
    pub(crate) fn events(
        &self,
        workload: Option<&str>,
        from: i64,
        to: i64,
        limit: usize,
    ) -> Newest<api::Event> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = |event: &&api::Event| {
            (from..to).contains(&event.at_ms) && (workload.is_none() || event.workload.as_deref() == workload)
        };
        newest(&inner.events, wanted, limit, EVENTS_MAX, self.since, |event| event.at_ms)
    }

    /// Plans of a workload in `[from, to)`, newest first.
    pub(crate) fn plans(&self, workload: &str, from: i64, to: i64, limit: usize) -> Newest<api::Plan> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        match inner.workloads.get(workload) {
            Some(of) => newest(
                &of.plans,
                |plan| (from..to).contains(&plan.at_ms),
                limit,
                PLANS_MAX,
                self.since,
                |plan| plan.at_ms,
            ),
            None => Newest { items: Vec::new(), complete_since: self.since },
        }
    }

    /// Steps of a workload that begin in `[from, to)`, oldest first.
    pub(crate) fn steps(&self, workload: &str, from: Timestamp, to: Timestamp) -> Vec<StepRecord> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let Some(of) = inner.workloads.get(workload) else { return Vec::new() };
        of.steps.iter().filter(|step| from <= step.at && step.at < to).copied().collect()
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() == max {
        queue.pop_front();
    }
    queue.push_back(item);
}

fn newest<T: Clone>(
    queue: &VecDeque<T>,
    wanted: impl Fn(&&T) -> bool,
    limit: usize,
    max: usize,
    since: Timestamp,
    at: impl Fn(&T) -> i64,
) -> Newest<T> {
    let full = queue.len() == max;
    // Items of the oldest millisecond may have been dropped in part.
    let oldest =
        queue.front().filter(|_| full).map(|item| Timestamp::from_millis(at(item).saturating_add(1)));
    let complete_since = oldest.map_or(since, |oldest| oldest.max(since));
    Newest { items: queue.iter().rev().filter(wanted).take(limit).cloned().collect(), complete_since }
}

const EVENTS_MAX: usize = 2000;
const PLANS_MAX: usize = 500;
const STEPS_MAX: usize = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: i64, workload: Option<&str>) -> api::Event {
        api::Event {
            at_ms,
            workload: workload.map(str::to_owned),
            kind: "instance_ready".into(),
            instance: None,
            message: String::new(),
            took_ms: None,
            shift: None,
        }
    }

    #[test]
    fn events_come_newest_first_within_the_range_and_the_limit() {
        let recent = Recent::new(Timestamp::from_millis(5));
        (10..20).for_each(|at| recent.push_event(event(at, Some(if at % 2 == 0 { "web" } else { "api" }))));
        let newest = recent.events(Some("web"), 12, 18, 2);
        assert_eq!(newest.items.iter().map(|event| event.at_ms).collect::<Vec<_>>(), [16, 14]);
        assert_eq!(newest.complete_since, Timestamp::from_millis(5));
    }

    #[test]
    fn an_event_that_comes_late_finds_its_place() {
        let recent = Recent::new(Timestamp::from_millis(0));
        (10..10 + EVENTS_MAX as i64).for_each(|at| recent.push_event(event(at * 2, None)));
        recent.push_event(event(101, None));
        recent.push_event(event(1, None));
        let newest = recent.events(None, i64::MIN, i64::MAX, usize::MAX).items;
        assert!(newest.is_sorted_by(|a, b| a.at_ms >= b.at_ms));
        assert!(newest.iter().any(|event| event.at_ms == 101) && newest.len() == EVENTS_MAX);
        assert_eq!(newest.last().expect("full").at_ms, 22, "the oldest made room");
    }

    #[test]
    fn what_was_dropped_is_said_to_be_elsewhere() {
        let recent = Recent::new(Timestamp::from_millis(0));
        (0..EVENTS_MAX as i64 + 10).for_each(|at| recent.push_event(event(at, None)));
        let newest = recent.events(None, i64::MIN, i64::MAX, usize::MAX);
        assert_eq!(newest.items.len(), EVENTS_MAX);
        assert_eq!(newest.complete_since, Timestamp::from_millis(11));
    }
}
