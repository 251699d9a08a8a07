//! Every bound of the store, by name. Exceeding one is [`HistoryError::Limit`], before anything is written.

use std::fmt;

use crate::error::HistoryError;

/// Longest workload, metric or label name, and longest label value, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Most labels on one series.
pub const LABELS_MAX: usize = 16;
/// Most series in one store.
pub const SERIES_MAX: usize = 1_000_000;
/// Most samples, and most records, in one batch.
pub const BATCH_ITEMS_MAX: usize = 100_000;
/// Largest body of an event, in bytes.
pub const EVENT_BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest body of a plan, in bytes.
pub const PLAN_BODY_BYTES_MAX: usize = 256 * 1024;
/// Longest key of a small value, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Largest small value, in bytes.
pub const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest model, in bytes.
pub const MODEL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most features and scores of one model together.
pub const MODEL_NAMES_MAX: usize = 4096;
/// Longest author, and longest reason, of a change, in bytes.
pub const REASON_BYTES_MAX: usize = 500;
/// Most events in the calendar of one workload.
pub const CALENDAR_EVENTS_MAX: usize = 20_000;
/// Most records returned by one query of events or plans, whatever limit the caller names.
pub const QUERY_RECORDS_MAX: usize = 10_000;

/// What was too long, too large or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of a workload, metric or label name, or of a label value.
    NameBytes,
    /// Labels of one series.
    Labels,
    /// Series in the store.
    Series,
    /// Samples or records in one batch.
    BatchItems,
    /// Bytes in the body of an event.
    EventBodyBytes,
    /// Bytes in the body of a plan.
    PlanBodyBytes,
    /// Bytes in the key of a small value.
    KeyBytes,
    /// Bytes in a small value.
    ValueBytes,
    /// Bytes in a model.
    ModelBytes,
    /// Features and scores of a model.
    ModelNames,
    /// Bytes in the author or the reason of a change.
    ReasonBytes,
    /// Events in the calendar of a workload.
    CalendarEvents,
}

impl Limit {
    /// The largest allowed count.
    pub fn max(self) -> usize {
        match self {
            Limit::NameBytes => NAME_BYTES_MAX,
            Limit::Labels => LABELS_MAX,
            Limit::Series => SERIES_MAX,
            Limit::BatchItems => BATCH_ITEMS_MAX,
            Limit::EventBodyBytes => EVENT_BODY_BYTES_MAX,
            Limit::PlanBodyBytes => PLAN_BODY_BYTES_MAX,
            Limit::KeyBytes => KEY_BYTES_MAX,
            Limit::ValueBytes => VALUE_BYTES_MAX,
            Limit::ModelBytes => MODEL_BYTES_MAX,
            Limit::ModelNames => MODEL_NAMES_MAX,
            Limit::ReasonBytes => REASON_BYTES_MAX,
            Limit::CalendarEvents => CALENDAR_EVENTS_MAX,
        }
    }

    /// Refuses `found` when it is above the limit; `of` says whose count it is.
    pub(crate) fn check(self, found: usize, of: impl FnOnce() -> String) -> Result<(), HistoryError> {
        if found <= self.max() {
            return Ok(());
        }
        Err(HistoryError::Limit { limit: self, found, max: self.max(), of: of() })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::NameBytes => "bytes in a name",
            Limit::Labels => "labels on a series",
            Limit::Series => "series in the store",
            Limit::BatchItems => "items in a batch",
            Limit::EventBodyBytes => "bytes in an event's body",
            Limit::PlanBodyBytes => "bytes in a plan's body",
            Limit::KeyBytes => "bytes in a key",
            Limit::ValueBytes => "bytes in a value",
            Limit::ModelBytes => "bytes in a model",
            Limit::ModelNames => "features and scores of a model",
            Limit::ReasonBytes => "bytes in an author or a reason",
            Limit::CalendarEvents => "events in a calendar",
        })
    }
}
