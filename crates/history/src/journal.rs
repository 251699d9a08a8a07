//! Events and plans: what happened and what was decided, by time, with bodies that only the writer understands.

use forecast::Timestamp;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::error::{Fault, HistoryError};
use crate::limit::{Limit, QUERY_RECORDS_MAX};
use crate::series::name;
use crate::table;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// When.
    pub at: Timestamp,
    /// Of which workload; `None` for the control plane itself.
    pub workload: Option<String>,
    /// What kind of event, for example `instance_ready`.
    pub kind: String,
    /// The event itself, in a form of the writer's choice.
    pub body: Vec<u8>,
}

/// A plan that was made. A second record of the same workload, time and generation replaces the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRecord {
    /// When.
    pub at: Timestamp,
    /// For which workload.
    pub workload: String,
    /// The plan's generation.
    pub generation: u64,
    /// The plan itself, in a form of the writer's choice.
    pub body: Vec<u8>,
}

impl EventRecord {
    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        if let Some(workload) = &self.workload {
            name("workload", workload)?;
        }
        name("event kind", &self.kind)?;
        Limit::EventBodyBytes.check(self.body.len(), || format!("the event {} at {}", self.kind, self.at))
    }
}

impl PlanRecord {
    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        name("workload", &self.workload)?;
        Limit::PlanBodyBytes
            .check(self.body.len(), || format!("plan {} of {}", self.generation, self.workload))
    }
}

pub(crate) fn insert_events(tx: &WriteTransaction, events: &[EventRecord]) -> Result<(), Fault> {
    if events.is_empty() {
        return Ok(());
    }
    let mut all = tx.open_table(table::EVENTS)?;
    let mut by_workload = tx.open_table(table::EVENTS_OF)?;
    for event in events {
        let at = event.at.as_millis();
        // Events of the same millisecond keep the order in which they were recorded.
        let last = all.range((at, 0)..=(at, u64::MAX))?.next_back().transpose()?;
        let sequence = last.map_or(0, |(key, _)| key.value().1 + 1);
        let workload = event.workload.as_deref().unwrap_or("");
        all.insert((at, sequence), (workload, event.kind.as_str(), event.body.as_slice()))?;
        by_workload.insert((workload, at, sequence), ())?;
    }
    Ok(())
}

pub(crate) fn insert_plans(tx: &WriteTransaction, plans: &[PlanRecord]) -> Result<(), Fault> {
    if plans.is_empty() {
        return Ok(());
    }
    let mut table = tx.open_table(table::PLANS)?;
    for plan in plans {
        let key = (plan.workload.as_str(), plan.at.as_millis(), plan.generation);
        table.insert(key, plan.body.as_slice())?;
    }
    Ok(())
}

/// The newest `limit` events in `[from, to)`, newest first.
pub(crate) fn events(
    tx: &ReadTransaction,
    from: i64,
    to: i64,
    workload: Option<&str>,
    limit: usize,
) -> Result<Vec<EventRecord>, Fault> {
    let limit = limit.min(QUERY_RECORDS_MAX);
    if from >= to {
        return Ok(Vec::new());
    }
    let all = tx.open_table(table::EVENTS)?;
    let mut found = Vec::new();
    match workload {
        None => {
            for entry in all.range((from, 0)..(to, 0))?.rev().take(limit) {
                let (key, value) = entry?;
                found.push(event(key.value().0, value.value()));
            }
        }
        Some(workload) => {
            let index = tx.open_table(table::EVENTS_OF)?;
            for entry in index.range((workload, from, 0)..(workload, to, 0))?.rev().take(limit) {
                let (_, at, sequence) = entry?.0.value();
                let Some(value) = all.get((at, sequence))? else {
                    return Err(Fault::Damaged("an event is in the index but not in its table".to_owned()));
                };
                found.push(event(at, value.value()));
            }
        }
    }
    Ok(found)
}

fn event(at: i64, (workload, kind, body): (&str, &str, &[u8])) -> EventRecord {
    EventRecord {
        at: Timestamp::from_millis(at),
        workload: (!workload.is_empty()).then(|| workload.to_owned()),
        kind: kind.to_owned(),
        body: body.to_vec(),
    }
}

/// The newest `limit` plans of a workload in `[from, to)`, newest first.
pub(crate) fn plans(
    tx: &ReadTransaction,
    workload: &str,
    from: i64,
    to: i64,
    limit: usize,
) -> Result<Vec<PlanRecord>, Fault> {
    if from >= to {
        return Ok(Vec::new());
    }
    let table = tx.open_table(table::PLANS)?;
    let range = table.range((workload, from, 0)..(workload, to, 0))?;
    range.rev().take(limit.min(QUERY_RECORDS_MAX)).map(|entry| plan(entry?)).collect()
}

/// The newest plan of a workload at or before `at`.
pub(crate) fn plan_at(tx: &ReadTransaction, workload: &str, at: i64) -> Result<Option<PlanRecord>, Fault> {
    let table = tx.open_table(table::PLANS)?;
    let last = table.range((workload, i64::MIN, 0)..=(workload, at, u64::MAX))?.next_back();
    last.map(|entry| plan(entry?)).transpose()
}

type PlanEntry<'a> = (redb::AccessGuard<'a, (&'static str, i64, u64)>, redb::AccessGuard<'a, &'static [u8]>);

fn plan((key, body): PlanEntry<'_>) -> Result<PlanRecord, Fault> {
    let (workload, at, generation) = key.value();
    let body = body.value().to_vec();
    Ok(PlanRecord { at: Timestamp::from_millis(at), workload: workload.to_owned(), generation, body })
}
