//! What is written in calendars and moves demand: campaigns, matches, deploys, public holidays.
//!
//! [`read`] takes an events file (CSV or iCalendar, told apart by content); [`holidays`] knows the public holidays of some
//! countries by rule; [`columns`] turns both into columns on a grid, for any model that can use them.
//!
//! Promises: reading never panics, whatever the bytes; the number of events and of the occurrences of a repeating one is
//! bounded; errors name the line and say what to do.
//!
//! Not here: what events do to demand, which is learned ([`effects`](crate::effects)).

mod columns;
mod countries;
mod error;
mod event;
mod holidays;
mod ical;
mod table;
#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

use crate::Timestamp;

pub use columns::{COLUMNS_MAX, Window, columns};
pub use error::EventsError;
pub use event::{Event, kind_of};
pub use holidays::{
    Day, Holiday, HolidayRule, Observed, UnknownCountry, countries, easter, holidays, holidays_by,
};

/// How a file of events is to be read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Where days begin and end, and whose wall clock times without a zone are read on. `None` is UTC.
    pub zone: Option<TimeZone>,
    /// Occurrences of repeating events that begin later than this are left out.
    pub until: Timestamp,
}

/// Reads a file of events, in order of their start.
///
/// CSV: a header with `start`, `end`, `name` and, if wanted, `magnitude` and `kind`. Times are ISO 8601 or seconds; a date
/// without a time is a whole day, the one in `end` included; an empty `end` after such a date is the same day.
///
/// iCalendar: the part of RFC 5545 that calendars of campaigns and holidays use; see the errors for what is refused.
///
/// # Errors
/// [`EventsError`] names the line and what to change.
pub fn read(bytes: &[u8], options: &ReadOptions) -> Result<Vec<Event>, EventsError> {
    if bytes.len() > BYTES_MAX {
        return Err(EventsError::TooLarge { bytes: bytes.len(), bytes_max: BYTES_MAX });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = bytes.trim_ascii_start();
    if text.is_empty() {
        return Err(EventsError::Empty);
    }
    let is_calendar = text.get(..6).is_some_and(|head| head.eq_ignore_ascii_case(b"BEGIN:"));
    let mut events = if is_calendar { ical::read(bytes, options)? } else { table::read(bytes, options)? };
    events.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
    Ok(events)
}

/// Larger files are not calendars.
const BYTES_MAX: usize = 64 << 20;
/// Most events of one file, with all occurrences of repeating ones.
const EVENTS_MAX: usize = 200_000;
