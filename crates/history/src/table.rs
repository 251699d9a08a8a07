//! The tables of the file, all in one place: what their keys are is the format.

use redb::TableDefinition;

/// Version of everything below; a file with another one is refused.
pub(crate) const FORMAT: u64 = 1;

/// "format", and the next number of a series, a model version and an event of a calendar.
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(crate) const META_FORMAT: &str = "format";
pub(crate) const META_NEXT_SERIES: &str = "next_series";
pub(crate) const META_NEXT_CALENDAR: &str = "next_calendar";
pub(crate) const META_NEXT_MODEL: &str = "next_model";

/// Canonical bytes of a series key to its number. Numbers are never used twice.
pub(crate) const SERIES: TableDefinition<'_, &[u8], u32> = TableDefinition::new("series");
/// (series, milliseconds) to value: samples that are not in a chunk, or that replace one in a chunk.
pub(crate) const HEAD: TableDefinition<'_, (u32, i64), f64> = TableDefinition::new("head");
/// (series, milliseconds of the first sample) to a chunk. The chunks of a series do not overlap.
pub(crate) const CHUNKS: TableDefinition<'_, (u32, i64), &[u8]> = TableDefinition::new("chunks");

/// (milliseconds, sequence) to (workload or "", kind, body).
pub(crate) const EVENTS: TableDefinition<'_, (i64, u64), (&str, &str, &[u8])> =
    TableDefinition::new("events");
/// The same events by (workload, milliseconds, sequence).
pub(crate) const EVENTS_OF: TableDefinition<'_, (&str, i64, u64), ()> = TableDefinition::new("events_of");
/// (workload, milliseconds, generation) to body.
pub(crate) const PLANS: TableDefinition<'_, (&str, i64, u64), &[u8]> = TableDefinition::new("plans");
/// (workload, milliseconds, number) to body.
pub(crate) const REQUESTS: TableDefinition<'_, (&str, i64, u64), &[u8]> = TableDefinition::new("requests");
/// Small values of the daemon.
pub(crate) const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");

/// (workload, number) to an event of its calendar.
pub(crate) const CALENDAR: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("calendar");
/// Number of a model version to its record.
pub(crate) const MODELS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("models");
/// The same versions by (workload, number).
pub(crate) const MODELS_OF: TableDefinition<'_, (&str, u64), ()> = TableDefinition::new("models_of");
/// Number of a model version to the model itself.
pub(crate) const MODEL_BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("model_bodies");
