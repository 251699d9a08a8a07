//! What is wrong with rows out of order whose times are those of a wall clock that was changed.

use jiff::tz::AmbiguousOffset;

use super::{Options, TraceError};
use crate::timestamp::{Timestamp, excerpt};

/// How a row's time was written, for as long as the next one may have to be explained by it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    line: u64,
    text: String,
}

impl Reading {
    pub(super) fn keep(&mut self, line: u64, text: &str) {
        self.line = line;
        self.text.clear();
        self.text.push_str(text);
    }
}

/// The fault of a row that is out of order, or what is behind it: a time that the place's clock skips, or shows twice.
pub(super) fn explained(
    fault: TraceError,
    (line, text): (u64, &str),
    before: &Reading,
    options: &Options,
) -> TraceError {
    let Some(zone) = &options.zone else { return fault };
    let place = || zone.iana_name().unwrap_or("the place").to_owned();
    let offset = |text: &str| {
        let reading = text.parse::<jiff::civil::DateTime>().ok()?;
        Some(zone.to_ambiguous_timestamp(reading).offset())
    };
    for (line, text) in [(before.line, before.text.as_str()), (line, text)] {
        if let Some(AmbiguousOffset::Gap { before, .. }) = offset(text) {
            let offset = before.to_string();
            return TraceError::Skipped { line, text: excerpt(text), place: place(), offset };
        }
    }
    let last = match &fault {
        TraceError::Unsorted { last, .. } => Some(*last),
        _ => None,
    };
    // After any other moment the row is out of order whichever of the two it means.
    let second = Timestamp::second_reading(text, zone).filter(|second| Some(*second) == last);
    match offset(text).filter(|_| second.is_some()) {
        Some(AmbiguousOffset::Fold { before, after }) => TraceError::Twice {
            line,
            text: excerpt(text),
            place: place(),
            offsets: (before.to_string(), after.to_string()),
        },
        Some(_) | None => fault,
    }
}
