//! Events from CSV.

use csv::ByteRecord;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::error::EventsError;
use super::event::{Event, kind_of, midnight, moment};
use super::{EVENTS_MAX, ReadOptions};
use crate::timestamp::{Timestamp, TimestampError, excerpt};

/// Reads rows of `start,end,name[,magnitude][,kind]`, in any order of columns.
pub(super) fn read(bytes: &[u8], options: &ReadOptions) -> Result<Vec<Event>, EventsError> {
    let mut rows = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    if !rows.read_byte_record(&mut record).map_err(EventsError::Csv)? {
        return Err(EventsError::Empty);
    }
    let layout = Layout::read(&record)?;
    let zone = options.zone.clone().unwrap_or(TimeZone::UTC);
    let mut events = Vec::new();
    while rows.read_byte_record(&mut record).map_err(EventsError::Csv)? {
        let line = record.position().map_or(0, csv::Position::line);
        if events.len() >= EVENTS_MAX {
            return Err(EventsError::TooMany { line, events_max: EVENTS_MAX });
        }
        events.push(layout.event(&record, line, &zone)?);
    }
    Ok(events)
}

/// Where the header says things are.
struct Layout {
    width: usize,
    start: usize,
    end: usize,
    name: usize,
    magnitude: Option<usize>,
    kind: Option<usize>,
}

impl Layout {
    fn read(header: &ByteRecord) -> Result<Layout, EventsError> {
        let names: Vec<String> = (0..header.len())
            .map(|position| text(header, position, 1).map(str::to_ascii_lowercase))
            .collect::<Result<_, _>>()?;
        let find = |wanted: &str| names.iter().position(|name| name == wanted);
        let need = |wanted: &'static str| {
            find(wanted).ok_or_else(|| EventsError::NoColumn { wanted, found: excerpt(&names.join(",")) })
        };
        Ok(Layout {
            width: names.len(),
            start: need("start")?,
            end: need("end")?,
            name: need("name")?,
            magnitude: find("magnitude"),
            kind: find("kind"),
        })
    }

    fn event(&self, record: &ByteRecord, line: u64, zone: &TimeZone) -> Result<Event, EventsError> {
        if record.len() != self.width {
            return Err(EventsError::Width { line, found: record.len(), expected: self.width });
        }
        let (start, from) = (text(record, self.start, line)?, "start");
        let (begin, first_day) =
            time(start, zone).map_err(|source| EventsError::Time { line, column: from, source })?;
        let end = text(record, self.end, line)?;
        let end = match (end.is_empty(), first_day) {
            (true, Some(day)) => day_after(day, zone, end),
            (true, None) => return Err(EventsError::NoEnd { line }),
            (false, _) => time(end, zone).and_then(|(at, day)| match day {
                Some(day) => day_after(day, zone, end),
                None => Ok(at),
            }),
        }
        .map_err(|source| EventsError::Time { line, column: "end", source })?;
        if end < begin {
            return Err(EventsError::EndsBeforeStart { line, start: begin, end });
        }
        let name = text(record, self.name, line)?;
        if name.is_empty() {
            return Err(EventsError::NoName { line });
        }
        let cell = |position: Option<usize>| match position {
            Some(position) => text(record, position, line),
            None => Ok(""),
        };
        let magnitude = magnitude(cell(self.magnitude)?, line)?;
        let kind = match cell(self.kind)? {
            "" => kind_of(name),
            kind => kind.to_owned(),
        };
        Ok(Event { start: begin, end, name: name.to_owned(), kind, magnitude })
    }
}

fn text(record: &ByteRecord, position: usize, line: u64) -> Result<&str, EventsError> {
    let cell = record.get(position).unwrap_or_default();
    std::str::from_utf8(cell).map(str::trim).map_err(|_| EventsError::NotText { line })
}

/// An empty cell is an ordinary event.
pub(super) fn magnitude(cell: &str, line: u64) -> Result<f64, EventsError> {
    match cell.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 && value <= MAGNITUDE_MAX => Ok(value),
        Err(_) if cell.is_empty() => Ok(1.0),
        Ok(_) | Err(_) => Err(EventsError::Magnitude { line, text: excerpt(cell) }),
    }
}

/// A moment, and the day when only a day was given.
fn time(cell: &str, zone: &TimeZone) -> Result<(Timestamp, Option<Date>), TimestampError> {
    let beyond = || TimestampError::OutOfRange(excerpt(cell));
    match Timestamp::parse(cell) {
        Ok(at) => Ok((at, None)),
        // A wall clock reading, or a day, of the workload's place.
        Err(TimestampError::NoZone(_)) if !cell.contains([':', 'T', 't']) => {
            let day = cell.parse::<Date>().map_err(|_| TimestampError::Unreadable(excerpt(cell)))?;
            Ok((midnight(day, zone).ok_or_else(beyond)?, Some(day)))
        }
        Err(TimestampError::NoZone(text)) => {
            let at = cell.parse::<jiff::civil::DateTime>().map_err(|_| TimestampError::NoZone(text))?;
            Ok((moment(at, zone).ok_or_else(beyond)?, None))
        }
        Err(error) => Err(error),
    }
}

fn day_after(day: Date, zone: &TimeZone, cell: &str) -> Result<Timestamp, TimestampError> {
    let next = day.tomorrow().ok().and_then(|day| midnight(day, zone));
    next.ok_or_else(|| TimestampError::OutOfRange(excerpt(cell)))
}

const MAGNITUDE_MAX: f64 = 1e6;
