//! Everything that can be wrong with a file of events, each with its place and its remedy.

use crate::timestamp::{Timestamp, TimestampError};

/// Why a file of events cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// Not a single byte of content.
    #[error("the events file is empty; it needs a header `start,end,name` and rows, or an iCalendar")]
    Empty,
    /// Larger than any calendar.
    #[error("the events file has {bytes} bytes; at most {bytes_max} are read: split it")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// More events than anybody means.
    #[error(
        "line {line}: there are more than {events_max} events; leave out old ones or end repeating ones (UNTIL, COUNT)"
    )]
    TooMany {
        /// Line in the file, from 1.
        line: u64,
        /// The limit.
        events_max: usize,
    },
    /// A needed column is not there.
    #[error(
        "line 1: there is no column `{wanted}`; the header must name `start`, `end` and `name` (then `magnitude` and `kind` if wanted) but is `{found}`"
    )]
    NoColumn {
        /// The column.
        wanted: &'static str,
        /// The header.
        found: String,
    },
    /// A row with too many or too few cells.
    #[error(
        "line {line}: {found} cells where the header has {expected} columns; quote names that contain a comma"
    )]
    Width {
        /// Line in the file, from 1.
        line: u64,
        /// Cells found.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("line {line}: not UTF-8 text; save the file as UTF-8")]
    NotText {
        /// Line in the file, from 1.
        line: u64,
    },
    /// The bytes could not be read as CSV.
    #[error("failed to read the events file as CSV")]
    Csv(#[source] csv::Error),
    /// A time that cannot be read.
    #[error("line {line}, column {column}: failed to read the time")]
    Time {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: &'static str,
        /// What is wrong with it.
        source: TimestampError,
    },
    /// An event begins at a time of day but has no end.
    #[error(
        "line {line}: the event has no end; fill in column `end` (a date without a time may stand alone)"
    )]
    NoEnd {
        /// Line in the file, from 1.
        line: u64,
    },
    /// An event is over before it begins.
    #[error("line {line}: the event ends at {end}, before its start at {start}; swap them or correct one")]
    EndsBeforeStart {
        /// Line in the file, from 1.
        line: u64,
        /// Its start.
        start: Timestamp,
        /// Its end.
        end: Timestamp,
    },
    /// An event without a name.
    #[error("line {line}: the event has no name; events are told apart by it")]
    NoName {
        /// Line in the file, from 1.
        line: u64,
    },
    /// A magnitude that is none.
    #[error("line {line}: the magnitude `{text}` is not a number above zero; 1 is an ordinary event")]
    Magnitude {
        /// Line in the file, from 1.
        line: u64,
        /// The cell.
        text: String,
    },
    /// A line of an iCalendar that is none.
    #[error("line {line}: `{text}` is no iCalendar line; each is NAME:VALUE, long ones go on after a space")]
    NoProperty {
        /// Line in the file, from 1.
        line: u64,
        /// Its beginning.
        text: String,
    },
    /// A part of an iCalendar that is not closed, or closed without being open.
    #[error(
        "line {line}: `{component}` begins or ends alone; every BEGIN needs its END: is the file cut off?"
    )]
    Unpaired {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the part.
        component: String,
    },
    /// An event of an iCalendar lacks what it needs.
    #[error("line {line}: the VEVENT that begins here has no {property}; add it")]
    Lacking {
        /// Line in the file, from 1.
        line: u64,
        /// The property.
        property: &'static str,
    },
    /// A property of an iCalendar that cannot be read.
    #[error("line {line}: {property} cannot be read: {problem}")]
    Property {
        /// Line in the file, from 1.
        line: u64,
        /// The property.
        property: &'static str,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// A time zone that nobody knows.
    #[error(
        "line {line}: there is no time zone `{zone}`; write an IANA name such as Europe/Berlin, or UTC times"
    )]
    Zone {
        /// Line in the file, from 1.
        line: u64,
        /// The name.
        zone: String,
    },
}
