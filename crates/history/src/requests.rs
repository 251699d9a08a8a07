//! Single requests that were measured, by workload and time, with bodies that only the writer understands.

use forecast::Timestamp;
use redb::{ReadTransaction, WriteTransaction};

use crate::error::{Fault, HistoryError};
use crate::limit::{Limit, QUERY_RECORDS_MAX};
use crate::series::name;
use crate::table;

/// A request that is over. A second record of the same workload, time and number replaces the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// When it was over.
    pub at: Timestamp,
    /// Of which workload.
    pub workload: String,
    /// Tells apart those of one millisecond.
    pub number: u64,
    /// Its parameters and what it cost, in a form of the writer's choice.
    pub body: Vec<u8>,
}

impl RequestRecord {
    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        name("workload", &self.workload)?;
        Limit::EventBodyBytes
            .check(self.body.len(), || format!("a request of {} at {}", self.workload, self.at))
    }
}

pub(crate) fn insert(tx: &WriteTransaction, requests: &[RequestRecord]) -> Result<(), Fault> {
    if requests.is_empty() {
        return Ok(());
    }
    let mut table = tx.open_table(table::REQUESTS)?;
    for request in requests {
        let key = (request.workload.as_str(), request.at.as_millis(), request.number);
        table.insert(key, request.body.as_slice())?;
    }
    Ok(())
}

/// The newest `limit` requests of a workload in `[from, to)`, newest first.
pub(crate) fn read(
    tx: &ReadTransaction,
    workload: &str,
    from: i64,
    to: i64,
    limit: usize,
) -> Result<Vec<RequestRecord>, Fault> {
    if from >= to {
        return Ok(Vec::new());
    }
    let table = tx.open_table(table::REQUESTS)?;
    let range = table.range((workload, from, 0)..(workload, to, 0))?;
    let mut found = Vec::new();
    for entry in range.rev().take(limit.min(QUERY_RECORDS_MAX)) {
        let (key, body) = entry?;
        let (workload, at, number) = key.value();
        found.push(RequestRecord {
            at: Timestamp::from_millis(at),
            workload: workload.to_owned(),
            number,
            body: body.value().to_vec(),
        });
    }
    Ok(found)
}
