//! The memory of foreshadow: a crash-safe embedded store of series, events, plans and trained models.
//!
//! What the control plane learns about a workload must outlive the process that learned it: demand at every step,
//! what happened, what was decided and why. This crate keeps all of it in one folder on one machine.
//!
//! # What it promises
//! - A write that returned `Ok` survives `kill -9` and power loss: every [`Store::write`] is one durable transaction, whole or not at all.
//! - One process at a time: a second opener is refused with [`HistoryError::Locked`].
//! - A full disk loses nothing that was acknowledged: writes fail with [`HistoryError::NoSpace`], reads go on, and writing works again once
//!   there is room. The store keeps a small reserve file for that purpose.
//! - A damaged file is an error that names the file, never a panic and never silently wrong numbers.
//! - Everything is bounded: batches, names, bodies, work per call of [`Store::compact`] and [`Store::retain`]. See [`limit`].
//!
//! # How it is built
//! The engine is `redb` (a copy-on-write B-tree with checksums). Recent samples are rows ("the head"). [`Store::compact`] moves closed ranges
//! of about 480 samples into chunks compressed with `pco`; readers merge both and cannot tell the difference. A home-made log with segment
//! files would write faster, but the demand of a few thousand series at one sample per second is far below what the engine can
//! do, and a file format of our own needs a measured reason first.
//!
//! # What it does not do
//! It reads no clock (the caller passes `now`), starts no thread, and does not know what an event or a plan says: bodies are opaque bytes.
//! All calls block on the disk; call them from a thread that may.

mod batch;
mod by;
mod calendar;
mod chunk;
mod compact;
mod engine;
mod error;
mod journal;
mod keys;
pub mod limit;
#[cfg(test)]
mod model_tests;
pub mod models;
#[cfg(test)]
mod power_loss_tests;
mod requests;
mod retain;
mod samples;
mod series;
mod store;
mod table;

pub use batch::Batch;
pub use by::By;
pub use calendar::{Calendar, CalendarChange, CalendarChanged, CalendarRecord};
pub use compact::Compaction;
pub use error::HistoryError;
pub use journal::{EventRecord, PlanRecord};
pub use requests::RequestRecord;
pub use retain::{Retained, Retention};
pub use samples::Samples;
pub use series::{Sample, SeriesKey};
pub use store::{Store, StoreStats};

/// Stands for all workloads together where a workload is named: models of all of them, events that concern all of them.
pub const EVERY_WORKLOAD: &str = "*";
