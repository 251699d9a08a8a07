//! Events from iCalendar (RFC 5545): VEVENT with DTSTART, DTEND or DURATION, SUMMARY, CATEGORIES, RRULE, RDATE, EXDATE,
//! RECURRENCE-ID and STATUS. The first category is the kind of the event; `X-MAGNITUDE` its magnitude.
//!
//! Times without a zone and whole days are those of the workload's place. Time zones are looked up by their IANA names;
//! definitions inside the file (VTIMEZONE) are not read. Alarms, to-dos and attendees are passed over.

mod lines;
mod recur;
mod time;

use jiff::tz::TimeZone;

use super::error::EventsError;
use super::event::{Event, kind_of};
use super::{EVENTS_MAX, ReadOptions, table};
use crate::timestamp::{Timestamp, excerpt};
use lines::Line;
use recur::Rule;
use time::{Exceptions, Length, When};

/// Reads all events and the occurrences of repeating ones.
pub(super) fn read(bytes: &[u8], options: &ReadOptions) -> Result<Vec<Event>, EventsError> {
    let entries = entries(bytes, &options.zone.clone().unwrap_or(TimeZone::UTC))?;
    // Occurrences that were moved or changed stand as entries of their own and replace the original ones.
    let mut moved: Vec<(&str, Timestamp)> =
        entries.iter().filter_map(|entry| Some((entry.uid.as_str(), entry.replaces?))).collect();
    moved.sort_unstable();
    let mut events = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.cancelled) {
        for (start, end) in entry.occurrences(options.until, EVENTS_MAX - events.len())? {
            let replaced =
                entry.replaces.is_none() && moved.binary_search(&(entry.uid.as_str(), start)).is_ok();
            if !replaced {
                let (name, kind) = (entry.name.clone(), entry.kind.clone());
                events.push(Event { start, end, name, kind, magnitude: entry.magnitude });
            }
        }
    }
    Ok(events)
}

/// One VEVENT.
struct Entry {
    line: u64,
    uid: String,
    name: String,
    kind: String,
    magnitude: f64,
    cancelled: bool,
    start: When,
    length: Length,
    rule: Option<Rule>,
    more: Vec<When>,
    except: Exceptions,
    /// Which occurrence of the entry with the same UID this one stands for.
    replaces: Option<Timestamp>,
}

impl Entry {
    fn occurrences(&self, until: Timestamp, room: usize) -> Result<Vec<(Timestamp, Timestamp)>, EventsError> {
        let too_many = || EventsError::TooMany { line: self.line, events_max: EVENTS_MAX };
        let mut starts = vec![self.start.clone()];
        if let Some(rule) = &self.rule {
            starts = rule.expand(&self.start, until, room).ok_or_else(too_many)?;
        }
        starts.extend(self.more.iter().cloned());
        if starts.len() > room {
            return Err(too_many());
        }
        let mut found: Vec<(Timestamp, Timestamp)> = starts
            .iter()
            .filter(|start| !self.except.has(start))
            .filter_map(|start| Some((start.moment()?, self.length.end_of(start)?)))
            .filter(|&(start, end)| start <= until && start <= end)
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// The VEVENTs of a file.
fn entries(bytes: &[u8], zone: &TimeZone) -> Result<Vec<Entry>, EventsError> {
    let mut entries = Vec::new();
    let mut open: Vec<(String, u64)> = Vec::new();
    let mut gathered: Vec<Line> = Vec::new();
    for line in lines::read(bytes) {
        let line = line?;
        match line.name.as_str() {
            "BEGIN" => {
                if open.len() >= DEPTH_MAX {
                    return Err(EventsError::Unpaired { line: line.number, component: excerpt(&line.value) });
                }
                open.push((line.value.to_ascii_uppercase(), line.number));
            }
            "END" => {
                let ended = line.value.to_ascii_uppercase();
                let Some((_, begun)) = open.pop().filter(|(begun, _)| *begun == ended) else {
                    return Err(EventsError::Unpaired { line: line.number, component: excerpt(&ended) });
                };
                if ended == "VEVENT" {
                    if entries.len() >= EVENTS_MAX {
                        return Err(EventsError::TooMany { line: begun, events_max: EVENTS_MAX });
                    }
                    entries.push(entry(begun, &std::mem::take(&mut gathered), zone)?);
                }
            }
            _ if gathered.len() < PROPERTIES_MAX
                && open.last().is_some_and(|(component, _)| component == "VEVENT") =>
            {
                gathered.push(line);
            }
            _ => {}
        }
    }
    match open.pop() {
        Some((component, line)) => Err(EventsError::Unpaired { line, component: excerpt(&component) }),
        None => Ok(entries),
    }
}

fn entry(begun: u64, lines: &[Line], zone: &TimeZone) -> Result<Entry, EventsError> {
    let first = |name: &str| lines.iter().find(|line| line.name == name);
    let start_line = first("DTSTART").ok_or(EventsError::Lacking { line: begun, property: "DTSTART" })?;
    let start = time::one(start_line, "DTSTART", zone)?;
    let length = length(&start, first("DTEND"), first("DURATION"), zone)?;
    let name = match first("SUMMARY").map(|line| lines::unescaped(&line.value)) {
        Some(name) if !name.trim().is_empty() => name.trim().to_owned(),
        Some(_) | None => return Err(EventsError::Lacking { line: begun, property: "SUMMARY" }),
    };
    let category = first("CATEGORIES").map(|line| lines::unescaped(lines::first_of(&line.value)));
    let kind = match category {
        Some(kind) if !kind.trim().is_empty() => kind.trim().to_lowercase(),
        Some(_) | None => kind_of(&name),
    };
    let magnitude = match first("X-MAGNITUDE") {
        Some(line) => table::magnitude(line.value.trim(), line.number)?,
        None => 1.0,
    };
    let rule = first("RRULE").map(|line| Rule::parse(line, zone)).transpose()?;
    let all = |name: &'static str| -> Result<Vec<When>, EventsError> {
        let mut found = Vec::new();
        for line in lines.iter().filter(|line| line.name == name) {
            found.extend(time::list(line, name, zone)?);
        }
        Ok(found)
    };
    let replaces = match first("RECURRENCE-ID") {
        Some(line) => time::one(line, "RECURRENCE-ID", zone)?.moment(),
        None => None,
    };
    Ok(Entry {
        line: begun,
        uid: first("UID").map(|line| line.value.clone()).unwrap_or_default(),
        name,
        kind,
        magnitude,
        cancelled: first("STATUS").is_some_and(|line| line.value.eq_ignore_ascii_case("CANCELLED")),
        start,
        length,
        rule,
        more: all("RDATE")?,
        except: Exceptions::of(&all("EXDATE")?),
        replaces,
    })
}

/// From DTEND or DURATION; without either a whole day, or a moment when the start has a time of day.
fn length(
    start: &When,
    end: Option<&Line>,
    duration: Option<&Line>,
    zone: &TimeZone,
) -> Result<Length, EventsError> {
    match (end, duration) {
        (Some(line), _) => {
            let end = time::one(line, "DTEND", zone)?;
            let length = Length::between(start, &end);
            length.ok_or_else(|| EventsError::Property {
                line: line.number,
                property: "DTEND",
                problem: "it is before DTSTART; correct one of them".to_owned(),
            })
        }
        (None, Some(line)) => Length::parse(line),
        (None, None) => Ok(if start.is_day() { Length::days(1) } else { Length::days(0) }),
    }
}

/// Components inside components; real files have three at most.
const DEPTH_MAX: usize = 16;
/// Lines of one event that are looked at.
const PROPERTIES_MAX: usize = 4096;
