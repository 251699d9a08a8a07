//! Everything that can be wrong with a trace file, each with its place and its remedy.

use crate::timestamp::{Timestamp, TimestampError};

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Not a single byte of content.
    #[error("the file is empty; it needs a header such as `timestamp,requests` and rows")]
    Empty,
    /// Data where the header should be.
    #[error(
        "line 1: no header, it begins with the value `{found}`; put a line such as `timestamp,requests` first"
    )]
    NoHeader {
        /// The first cell.
        found: String,
    },
    /// The first column is not the time.
    #[error(
        "line 1: the first column is `{found}` but must hold the time and be named `timestamp` \
         (or `time`, `datetime`, `date`, `ds`)"
    )]
    NoTimestampColumn {
        /// The first cell.
        found: String,
    },
    /// There is a time but no value.
    #[error("line 1: there is no value column beside `timestamp`; add one such as `requests`")]
    NoValueColumn,
    /// A series was asked for in a file that has only one.
    #[error("line 1: a series was asked for but there is no column `series`; leave the series out")]
    NoSeriesColumn,
    /// The column asked for is not there.
    #[error("line 1: there is no column `{wanted}`; the value columns are: {present}")]
    UnknownColumn {
        /// The name asked for.
        wanted: String,
        /// The names there are.
        present: String,
    },
    /// The series asked for has no row.
    #[error("no row has `{name}` in column `series`")]
    UnknownSeries {
        /// The name asked for.
        name: String,
    },
    /// A header and nothing else.
    #[error("there is a header but no row; add rows below it")]
    NoRows,
    /// The step cannot be told.
    #[error("every series has only one row; two are needed to know the step")]
    OnePoint,
    /// More rows than anybody means.
    #[error("there are more than {rows_max} rows; split the file")]
    TooManyRows {
        /// The limit.
        rows_max: usize,
    },
    /// A row with too many or too few cells.
    #[error("line {line}: {found} cells where the header has {expected} columns")]
    Width {
        /// Line in the file, from 1.
        line: u64,
        /// Cells found.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("line {line}, column {column}: not UTF-8 text; is the file compressed or in another encoding?")]
    NotText {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: String,
    },
    /// A time that cannot be read.
    #[error("line {line}, column timestamp: failed to read the time")]
    Timestamp {
        /// Line in the file, from 1.
        line: u64,
        /// What is wrong with it.
        source: TimestampError,
    },
    /// A time before the one above it.
    #[error("line {line}, column timestamp: {at} comes after {last}{}; sort the rows by time", of(series))]
    Unsorted {
        /// Line in the file, from 1.
        line: u64,
        /// The time of this row.
        at: Timestamp,
        /// The time of the row before.
        last: Timestamp,
        /// Name of the series, empty when there is only one.
        series: String,
    },
    /// A wall clock reading that does not exist, so that it stands where another row is.
    #[error(
        "line {line}, column timestamp: the clocks of {place} never show `{text}`, for they are set forward over it; if the times keep the offset {offset} all year, append it, or append `Z` if they are UTC, and else leave such rows out"
    )]
    Skipped {
        /// Line in the file, from 1.
        line: u64,
        /// The cell.
        text: String,
        /// Name of the time zone.
        place: String,
        /// The offset from UTC before the clock is set forward.
        offset: String,
    },
    /// A wall clock reading that exists twice, in rows that do not go on in time.
    #[error(
        "line {line}, column timestamp: the clocks of {place} show `{text}` twice, and this row cannot be told from the rows before it; append the offset, `{}` before the clocks are set back and `{}` after", offsets.0, offsets.1
    )]
    Twice {
        /// Line in the file, from 1.
        line: u64,
        /// The cell.
        text: String,
        /// Name of the time zone.
        place: String,
        /// Offsets from UTC, before and after.
        offsets: (String, String),
    },
    /// The same time twice.
    #[error("line {line}, column timestamp: {at} occurs twice{}; keep one row per time", of(series))]
    Duplicate {
        /// Line in the file, from 1.
        line: u64,
        /// The time of this row.
        at: Timestamp,
        /// Name of the series, empty when there is only one.
        series: String,
    },
    /// NaN or infinity.
    #[error(
        "line {line}, column {column}: `{text}` is not a finite number; leave the cell empty for a missing value"
    )]
    NotFinite {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: String,
        /// The cell.
        text: String,
    },
    /// Larger than anything that is counted or measured.
    #[error(
        "line {line}, column {column}: `{text}` is beyond 1e30, which no forecast can be made of; use another unit"
    )]
    TooLarge {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: String,
        /// The cell.
        text: String,
    },
    /// All values are so small that nothing can be learned of them.
    #[error(
        "column {column}: no value{} is larger than {largest:e}, which no forecast can tell from zero; use another unit, so that some are above 1e-9",
        of(series)
    )]
    TooSmall {
        /// Name of the column.
        column: String,
        /// Name of the series, empty when there is only one.
        series: String,
        /// The largest value.
        largest: f64,
    },
    /// Demand below zero.
    #[error(
        "line {line}, column {column}: {value} is below zero, which demand cannot be; leave the cell empty for a missing value, or choose another column"
    )]
    Negative {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: String,
        /// The cell.
        value: f64,
    },
    /// Not a number at all.
    #[error(
        "line {line}, column {column}: `{text}` is not a number; write it with a decimal point, or leave the cell empty"
    )]
    NotANumber {
        /// Line in the file, from 1.
        line: u64,
        /// Name of the column.
        column: String,
        /// The cell.
        text: String,
    },
    /// The bytes could not be read.
    #[error("failed to read the file")]
    Read(#[source] std::io::Error),
}

impl TraceError {
    pub(crate) fn from_csv(error: csv::Error) -> TraceError {
        let text = error.to_string();
        match error.into_kind() {
            csv::ErrorKind::Io(error) => TraceError::Read(error),
            // With a flexible byte reader the others cannot happen; should they, their text is kept.
            _ => TraceError::Read(std::io::Error::other(text)),
        }
    }
}

fn of(series: &str) -> String {
    if series.is_empty() { String::new() } else { format!(" in series `{series}`") }
}
