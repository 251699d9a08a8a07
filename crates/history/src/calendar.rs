//! The calendar of a workload: what was, or is announced, that moves its demand. Campaigns, matches, deploys.
//!
//! The journal says what foreshadow saw and did; this says what people know. Entries may lie in the future, can be
//! changed and called off, and are kept as long as nobody removes them, because what a campaign did last year is how the
//! next one is forecast. Every change is one durable transaction with its entry in the journal.
//!
//! An event is recognised by its workload, start and name: announcing it again changes it, so a calendar file can be
//! imported as often as it changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use forecast::Timestamp;
use forecast::calendar::Event;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::by::By;
use crate::error::{Fault, HistoryError};
use crate::journal::{self, EventRecord};
use crate::limit::Limit;
use crate::series::name;
use crate::store::Store;
use crate::table;

/// The calendars of a store, see [`Store::calendar`].
#[derive(Clone, Copy, Debug)]
pub struct Calendar<'a> {
    store: &'a Store,
    journal: fn(&CalendarChange) -> Vec<u8>,
}

/// An event in the calendar of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarRecord {
    /// Its number, unique for the life of the store.
    pub id: u64,
    /// Whose demand it moves.
    pub workload: String,
    /// What and when.
    pub event: Event,
    /// Who announced it, or changed it last.
    pub author: String,
    /// When.
    pub noted_at: Timestamp,
}

/// One change of a calendar, for the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarChange {
    /// When.
    pub at: Timestamp,
    /// Whose calendar.
    pub workload: String,
    /// Events that are new.
    pub added: Vec<CalendarRecord>,
    /// Events that were known, as they are now.
    pub changed: Vec<CalendarRecord>,
    /// Events that were called off.
    pub removed: Vec<CalendarRecord>,
    /// Who and why.
    pub by: By,
}

/// A change that is on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarChanged {
    /// What changed; it is in the journal already.
    pub change: CalendarChange,
    /// Events that were known exactly so before.
    pub unchanged: usize,
}

impl<'a> Calendar<'a> {
    pub(crate) fn new(store: &'a Store) -> Calendar<'a> {
        Calendar { store, journal: CalendarChange::to_text }
    }

    /// The same calendars with the journal's bodies written by `journal` instead of as plain text.
    #[must_use]
    pub fn with_journal(self, journal: fn(&CalendarChange) -> Vec<u8>) -> Calendar<'a> {
        Calendar { journal, ..self }
    }

    /// Adds events, or changes those that have the same start and name; all of them or none.
    ///
    /// # Errors
    /// [`HistoryError::BadEvent`], [`HistoryError::Name`] and [`HistoryError::Limit`] when one is refused; as for
    /// [`Store::write`] otherwise.
    pub fn add(
        &self,
        at: Timestamp,
        by: &By,
        workload: &str,
        events: &[Event],
    ) -> Result<CalendarChanged, HistoryError> {
        name("workload", workload)?;
        events.iter().try_for_each(validate)?;
        self.change(at, by, workload, |tx, change| {
            let known = all(&tx.open_table(table::CALENDAR)?, workload)?;
            let mut known: BTreeMap<(Timestamp, String), CalendarRecord> = known
                .into_iter()
                .map(|record| ((record.event.start, record.event.name.clone()), record))
                .collect();
            let mut unchanged = 0;
            for event in events {
                let key = (event.start, event.name.clone());
                let before = known.get(&key);
                if before.is_some_and(|before| before.event == *event) {
                    unchanged += 1;
                    continue;
                }
                let id = before.map(|before| before.id);
                let is_new = id.is_none();
                let record = CalendarRecord {
                    id: id.map_or_else(|| next_id(tx), Ok)?,
                    workload: workload.to_owned(),
                    event: event.clone(),
                    author: by.author.clone(),
                    noted_at: at,
                };
                put(tx, &record)?;
                if is_new { &mut change.added } else { &mut change.changed }.push(record.clone());
                known.insert(key, record);
            }
            Limit::CalendarEvents.check(known.len(), || format!("the calendar of {workload}"))?;
            Ok(unchanged)
        })
    }

    /// Calls an event off, or forgets a past one.
    ///
    /// # Errors
    /// [`HistoryError::UnknownEvent`] when it is not in that calendar.
    pub fn remove(
        &self,
        at: Timestamp,
        by: &By,
        workload: &str,
        id: u64,
    ) -> Result<CalendarChanged, HistoryError> {
        self.change(at, by, workload, |tx, change| {
            let mut table = tx.open_table(table::CALENDAR)?;
            let removed = table.remove((workload, id))?.map(|row| decode(workload, id, row.value()));
            match removed {
                Some(record) => change.removed.push(record?),
                None => return Err(HistoryError::UnknownEvent { workload: workload.to_owned(), id }.into()),
            }
            Ok(0)
        })
    }

    /// The events of a workload that touch `[from, to)`, by their start.
    pub fn list(
        &self,
        workload: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<CalendarRecord>, HistoryError> {
        let mut found = self.store.engine().read("read a calendar", |tx: &ReadTransaction| {
            all(&tx.open_table(table::CALENDAR)?, workload)
        })?;
        found.retain(|CalendarRecord { event, .. }| {
            event.start < to && (event.end > from || event.start >= from)
        });
        found.sort_by_key(|record| (record.event.start, record.id));
        Ok(found)
    }

    /// One transaction with its journal; nothing is journaled when nothing changed.
    fn change(
        &self,
        at: Timestamp,
        by: &By,
        workload: &str,
        work: impl FnOnce(&WriteTransaction, &mut CalendarChange) -> Result<usize, Fault>,
    ) -> Result<CalendarChanged, HistoryError> {
        by.validate()?;
        self.store.engine().write("change a calendar", |tx| {
            let mut change = CalendarChange {
                at,
                workload: workload.to_owned(),
                added: Vec::new(),
                changed: Vec::new(),
                removed: Vec::new(),
                by: by.clone(),
            };
            let unchanged = work(tx, &mut change)?;
            if !change.is_empty() {
                let body = (self.journal)(&change);
                let kind = CalendarChange::KIND.to_owned();
                let entry = EventRecord { at, workload: Some(workload.to_owned()), kind, body };
                entry.validate()?;
                journal::insert_events(tx, &[entry])?;
            }
            Ok(CalendarChanged { change, unchanged })
        })
    }
}

impl CalendarChange {
    /// Stable machine name of all changes of calendars in the journal.
    pub const KIND: &'static str = "calendar_changed";

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// One plain sentence with author and reason.
    pub fn message(&self) -> String {
        let mut text = String::new();
        for (verb, records) in
            [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)]
        {
            let Some(first) = records.first() else { continue };
            let separator = if text.is_empty() { "" } else { "; " };
            let Event { name, start, end, magnitude, .. } = &first.event;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "{separator}event {} was {verb}: {name}, {start} to {end}, magnitude {magnitude}",
                first.id
            );
            if records.len() > 1 {
                let _ = write!(text, ", and {} more", records.len() - 1);
            }
        }
        let _ = write!(text, " ({}: {})", self.by.author, self.by.reason);
        text
    }

    fn to_text(&self) -> Vec<u8> {
        self.message().into_bytes()
    }
}

fn validate(event: &Event) -> Result<(), HistoryError> {
    name("event name", &event.name)?;
    name("event kind", &event.kind)?;
    let bad = |what| Err(HistoryError::BadEvent { name: event.name.clone(), what });
    if event.end < event.start {
        return bad("ends before it begins");
    }
    if event.start < FIRST || event.end > LAST {
        return bad("lies outside of the years 1900 to 9999; times are milliseconds since 1970");
    }
    if !event.magnitude.is_finite() {
        return bad("has a magnitude that is not a finite number");
    }
    Ok(())
}

/// The stored form: a type of its own, so that a change of the public one does not change what is on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    start: i64,
    end: i64,
    name: String,
    kind: String,
    magnitude: f64,
    author: String,
    noted_at: i64,
}

const LAYOUT: u8 = 1;
/// Further away there is only nonsense: seconds taken for milliseconds, most likely, or the other way round.
const FIRST: Timestamp = Timestamp::from_millis(-2_208_988_800_000);
const LAST: Timestamp = Timestamp::from_millis(253_402_300_800_000);

fn put(tx: &WriteTransaction, record: &CalendarRecord) -> Result<(), Fault> {
    let CalendarRecord { id, workload, event, author, noted_at } = record.clone();
    let stored = Stored {
        start: event.start.as_millis(),
        end: event.end.as_millis(),
        name: event.name,
        kind: event.kind,
        magnitude: event.magnitude,
        author,
        noted_at: noted_at.as_millis(),
    };
    let bytes = postcard::to_extend(&stored, vec![LAYOUT])
        .map_err(|error| Fault::Damaged(format!("an event cannot be written: {error}")))?;
    tx.open_table(table::CALENDAR)?.insert((workload.as_str(), id), bytes.as_slice())?;
    Ok(())
}

fn decode(workload: &str, id: u64, bytes: &[u8]) -> Result<CalendarRecord, Fault> {
    let damaged = |what: String| Fault::Damaged(format!("event {id} of {workload} {what}"));
    let stored: Stored = match bytes.split_first() {
        Some((&LAYOUT, rest)) => {
            postcard::from_bytes(rest).map_err(|error| damaged(format!("is not understood: {error}")))?
        }
        Some((layout, _)) => {
            return Err(damaged(format!("has layout {layout}, this program reads {LAYOUT}")));
        }
        None => return Err(damaged("is empty".to_owned())),
    };
    Ok(CalendarRecord {
        id,
        workload: workload.to_owned(),
        event: Event {
            start: Timestamp::from_millis(stored.start),
            end: Timestamp::from_millis(stored.end),
            name: stored.name,
            kind: stored.kind,
            magnitude: stored.magnitude,
        },
        author: stored.author,
        noted_at: Timestamp::from_millis(stored.noted_at),
    })
}

fn all(
    table: &impl ReadableTable<(&'static str, u64), &'static [u8]>,
    workload: &str,
) -> Result<Vec<CalendarRecord>, Fault> {
    let mut found = Vec::new();
    for entry in table.range((workload, 0)..=(workload, u64::MAX))? {
        let (key, bytes) = entry?;
        found.push(decode(workload, key.value().1, bytes.value())?);
    }
    Ok(found)
}

fn next_id(tx: &WriteTransaction) -> Result<u64, Fault> {
    let mut meta = tx.open_table(table::META)?;
    let next = meta.get(table::META_NEXT_CALENDAR)?.map_or(1, |next| next.value());
    meta.insert(table::META_NEXT_CALENDAR, next.saturating_add(1))?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn event(start: i64, end: i64, name: &str) -> Event {
        Event { start: at(start), end: at(end), name: name.into(), kind: "sale".into(), magnitude: 1.0 }
    }

    fn by() -> By {
        By::new("ana", "plan of marketing")
    }

    fn names(found: &[CalendarRecord]) -> Vec<&str> {
        found.iter().map(|record| record.event.name.as_str()).collect()
    }

    #[test]
    fn events_survive_a_restart_and_are_found_by_the_time_they_touch() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let events = [event(300, 400, "late"), event(100, 200, "early"), event(250, 250, "moment")];
        store.calendar().add(at(0), &by(), "web", &events).unwrap();
        store.calendar().add(at(0), &by(), "webb", &events[..1]).unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        let list = |from, to| store.calendar().list("web", at(from), at(to)).unwrap();
        assert_eq!(names(&list(0, 1000)), ["early", "moment", "late"]);
        assert_eq!(names(&list(150, 250)), ["early"]);
        assert_eq!(names(&list(200, 251)), ["moment"], "an event does not touch its own end");
        assert_eq!(names(&list(399, 1000)), ["late"]);
        assert_eq!(list(0, 1000)[0].author, "ana");
        assert_eq!(store.calendar().list("nobody", at(0), at(1000)).unwrap(), []);
    }

    #[test]
    fn announcing_an_event_again_changes_it_and_the_same_again_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let first = store.calendar().add(at(1), &by(), "web", &[event(100, 200, "sale")]).unwrap();
        let longer = [event(100, 300, "sale"), event(500, 600, "sale")];
        let second = store.calendar().add(at(2), &by(), "web", &longer).unwrap();
        assert_eq!((second.change.added.len(), second.change.changed.len()), (1, 1));
        assert_eq!(second.change.changed[0].id, first.change.added[0].id);
        let third = store.calendar().add(at(3), &by(), "web", &longer).unwrap();
        assert!(third.change.is_empty() && third.unchanged == 2);
        assert_eq!(store.events(at(0), at(10), Some("web"), 10).unwrap().len(), 2, "no change, no entry");
    }

    #[test]
    fn an_event_that_is_called_off_is_gone_and_the_journal_says_who_did_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let id =
            store.calendar().add(at(1), &by(), "web", &[event(100, 200, "sale")]).unwrap().change.added[0].id;
        let other = store.calendar().remove(at(2), &by(), "api", id);
        assert!(matches!(other, Err(HistoryError::UnknownEvent { .. })));
        store.calendar().remove(at(3), &By::new("bo", "rain"), "web", id).unwrap();
        assert!(store.calendar().remove(at(4), &by(), "web", id).is_err());
        assert_eq!(store.calendar().list("web", at(0), at(999)).unwrap(), []);
        let entry = store.events(at(3), at(4), Some("web"), 1).unwrap().remove(0);
        assert_eq!(entry.kind, "calendar_changed");
        let said = String::from_utf8(entry.body).unwrap();
        assert!(said.starts_with("event 1 was removed: sale") && said.ends_with("(bo: rain)"), "{said}");
        let next = store.calendar().add(at(5), &by(), "web", &[event(100, 200, "sale")]).unwrap();
        assert_eq!(next.change.added[0].id, 2, "numbers are not given again");
    }

    #[test]
    fn events_that_make_no_sense_are_refused_and_nothing_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let endless = Event { magnitude: f64::INFINITY, ..event(1, 2, "x") };
        let far = Event { end: Timestamp::MAX, ..event(1, 2, "far") };
        for bad in
            [event(200, 100, "backwards"), endless, far, event(1, 2, ""), event(1, 2, &"x".repeat(300))]
        {
            let refused = store.calendar().add(at(0), &by(), "web", &[event(1, 2, "good"), bad]);
            assert!(refused.is_err());
        }
        let many: Vec<Event> =
            (0..=limit::CALENDAR_EVENTS_MAX as i64).map(|n| event(n, n + 1, "e")).collect();
        let refused = store.calendar().add(at(0), &by(), "web", &many);
        assert!(matches!(refused, Err(HistoryError::Limit { limit: Limit::CalendarEvents, .. })));
        let nobody = store.calendar().add(at(0), &By::new("", "x"), "web", &[event(1, 2, "good")]);
        assert!(matches!(nobody, Err(HistoryError::Anonymous { what: "author" })));
        assert_eq!(store.calendar().list("web", at(0), at(99)).unwrap(), []);
    }
}
