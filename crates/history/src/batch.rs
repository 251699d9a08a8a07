//! What is written together: one batch is one durable transaction.
//!
//! A commit costs a flush of the disk, whatever is in it. A caller with several things to store at one moment (the samples of a tick, its
//! plan, its events) therefore puts them into one batch; they become visible together, or not at all.

use redb::WriteTransaction;

use crate::error::{Fault, HistoryError};
use crate::journal::{self, EventRecord, PlanRecord};
use crate::keys;
use crate::limit::Limit;
use crate::requests::{self, RequestRecord};
use crate::samples;
use crate::series::Sample;

/// Things to be stored in one durable transaction, see [`Store::write`](crate::Store::write).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Samples, in any order; of two at the same time in the same series the later in this list wins.
    pub samples: Vec<Sample>,
    /// Events.
    pub events: Vec<EventRecord>,
    /// Plans.
    pub plans: Vec<PlanRecord>,
    /// Requests.
    pub requests: Vec<RequestRecord>,
    /// Small values to set, by key.
    pub values: Vec<(String, Vec<u8>)>,
    /// Keys of small values to remove, before any is set.
    pub removed: Vec<String>,
}

impl Batch {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of things to store.
    pub fn len(&self) -> usize {
        let records = self.events.len() + self.plans.len() + self.requests.len();
        self.samples.len() + records + self.values.len() + self.removed.len()
    }

    /// Checks everything before anything is written.
    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        Limit::BatchItems.check(self.len(), || "one write".to_owned())?;
        self.samples.iter().try_for_each(Sample::validate)?;
        self.events.iter().try_for_each(EventRecord::validate)?;
        self.plans.iter().try_for_each(PlanRecord::validate)?;
        self.requests.iter().try_for_each(RequestRecord::validate)?;
        self.values.iter().try_for_each(|(key, value)| keys::validate(key, value))
    }

    /// Writes everything; returns how many samples each series got, by its number.
    pub(crate) fn store(&self, tx: &WriteTransaction) -> Result<Vec<(u32, u32)>, Fault> {
        let appended = samples::insert(tx, &self.samples)?;
        journal::insert_events(tx, &self.events)?;
        journal::insert_plans(tx, &self.plans)?;
        requests::insert(tx, &self.requests)?;
        for key in &self.removed {
            keys::remove(tx, key)?;
        }
        keys::insert(tx, &self.values)?;
        Ok(appended)
    }
}
