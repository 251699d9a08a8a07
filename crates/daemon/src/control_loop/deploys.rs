//! New versions of workloads: announced in the calendar, or found at the start. Each is told to the forecast when its
//! moment comes.

use std::time::Duration;

use forecast::Timestamp;
use history::{CalendarChange, CalendarRecord, EVERY_WORKLOAD, Store};
use planner::InstanceId;

use super::ControlLoop;
use crate::config::Mode;
use crate::instances::Place;
use crate::recorder::{Record, clock};
use crate::revision;

/// A deploy whose moment has not come yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deploy {
    /// Its event in the calendar.
    event: u64,
    at: Timestamp,
    workload: String,
    version: String,
}

/// Deploys to come, in no order.
#[derive(Debug, Default)]
pub(crate) struct Deploys(Vec<Deploy>);

impl Deploys {
    /// Takes in what is new, and forgets what was called off. What is long past is no news.
    fn change(&mut self, now: Timestamp, change: &CalendarChange) {
        let gone = |deploy: &Deploy| {
            change.changed.iter().chain(&change.removed).any(|record| record.id == deploy.event)
        };
        self.0.retain(|deploy| !gone(deploy));
        for record in change.added.iter().chain(&change.changed) {
            self.expect(record, now - NEWS);
        }
    }

    /// Takes in an event, if it is a deploy that does not begin before `from`.
    fn expect(&mut self, record: &CalendarRecord, from: Timestamp) {
        let event = &record.event;
        let known = self.0.iter().any(|deploy| deploy.event == record.id);
        if event.kind.split(' ').next() != Some(KIND) || event.start < from || known {
            return;
        }
        self.0.push(Deploy {
            event: record.id,
            at: event.start,
            workload: record.workload.clone(),
            version: event.name.clone(),
        });
    }

    /// Those whose moment has come.
    fn due(&mut self, now: Timestamp) -> Vec<Deploy> {
        self.0.extract_if(.., |deploy| deploy.at <= now).collect()
    }
}

impl ControlLoop {
    /// Reads the deploys that are announced, and looks for workloads that are others than when the daemon ran last. For the
    /// start.
    pub(crate) fn find_deploys(&mut self, store: &Store) {
        let now = clock();
        let names = self.workloads.iter().map(|workload| workload.name().to_owned());
        for name in names.chain([EVERY_WORKLOAD.to_owned()]).collect::<Vec<_>>() {
            let announced = store.calendar().list(&name, now, now + AHEAD);
            for record in announced.iter().flatten() {
                self.deploys.expect(record, now);
            }
        }
        for index in 0..self.workloads.len() {
            let key = format!("revision/{}", self.workloads[index].name());
            let revision = revision::of(&self.workloads[index].config).into_bytes();
            let before = store.get(&key).ok().flatten();
            if before.as_ref() == Some(&revision) {
                continue;
            }
            self.recorder.record(Record::Value(key, revision));
            if before.is_some() {
                self.deployed(index, NEW_REVISION);
            }
        }
    }

    /// The calendar of a workload has changed.
    pub(crate) fn calendar_changed(&mut self, change: &CalendarChange) {
        self.deploys.change(clock(), change);
        self.deploy_what_is_due(clock());
    }

    pub(crate) fn deploy_what_is_due(&mut self, now: Timestamp) {
        for deploy in self.deploys.due(now) {
            for index in 0..self.workloads.len() {
                if deploy.workload == EVERY_WORKLOAD || deploy.workload == self.workloads[index].name() {
                    self.deployed(index, &deploy.version);
                }
            }
        }
    }

    /// Says in the journal from when on this control plane decides, and what it found.
    pub(crate) fn note_start(&mut self) {
        let found: usize = self.workloads.iter().map(|workload| workload.places.len()).sum();
        self.notes.push(api::Event {
            at_ms: clock().as_millis(),
            workload: None,
            kind: "control_plane_started".to_owned(),
            instance: None,
            message: format!(
                "the control plane of version {} started; instances that it found: {found}",
                env!("CARGO_PKG_VERSION")
            ),
            took_ms: None,
            shift: None,
        });
    }

    /// Tells the planner which of the instances found are made of something else than new ones will be.
    pub(crate) fn find_outdated(&mut self) {
        for index in 0..self.workloads.len() {
            let instances: Vec<InstanceId> = self.outdated(index).collect();
            if !instances.is_empty() {
                self.tell_outdated(index, instances);
            }
        }
    }

    /// Tells it of these.
    pub(crate) fn tell_outdated(&mut self, index: usize, instances: Vec<InstanceId>) {
        let workload = self.workloads[index].id.clone();
        self.handle(index, planner::Event::InstancesOutdated { workload, instances });
    }

    /// Those of which it is known; an earlier foreshadow did not write it down.
    pub(crate) fn outdated(&self, index: usize) -> impl Iterator<Item = InstanceId> {
        let workload = &self.workloads[index];
        let now = revision::of(&workload.config);
        let other = move |place: &Place| !place.revision.is_empty() && place.revision != now;
        workload.places.iter().filter(move |(_, place)| other(place)).map(|(id, _)| *id)
    }

    fn deployed(&mut self, index: usize, version: &str) {
        let workload = &self.workloads[index];
        self.planner.deployed(&workload.id, version);
        let mut then = if workload.config.models.is_empty() {
            "the online core adapts by what it sees".to_owned()
        } else {
            "its models learn faster now and are trained anew when the new behaviour is known".to_owned()
        };
        let former = self.outdated(index).count();
        if version == NEW_REVISION && former > 0 && workload.config.mode == Mode::Act {
            then += &format!(
                "; running before it: {former}, which are replaced bit by bit, each when another serves in its place"
            );
        }
        self.notes.push(api::Event {
            at_ms: clock().as_millis(),
            workload: Some(workload.name().to_owned()),
            kind: "deployed".to_owned(),
            instance: None,
            message: format!("`{version}` was deployed; {then}"),
            took_ms: None,
            shift: None,
        });
    }
}

/// What a version is called that was found by its configuration.
const NEW_REVISION: &str = "a new configuration";
/// The kind of events, or the first word of it, that are deploys.
const KIND: &str = "deploy";
/// A deploy of so long ago that is announced only now is still news.
const NEWS: Duration = Duration::from_secs(3600);
/// How far ahead announced deploys are read at the start.
const AHEAD: Duration = Duration::from_secs(400 * 86_400);

#[cfg(test)]
mod tests {
    use forecast::calendar::Event;
    use history::By;

    use super::*;

    fn record(id: u64, kind: &str, at: i64) -> CalendarRecord {
        let (start, end) = (Timestamp::from_secs(at), Timestamp::from_secs(at + 60));
        CalendarRecord {
            id,
            workload: "web".to_owned(),
            event: Event { start, end, name: format!("version {id}"), kind: kind.to_owned(), magnitude: 1.0 },
            author: "ada".to_owned(),
            noted_at: start,
        }
    }

    fn change(
        added: Vec<CalendarRecord>,
        changed: Vec<CalendarRecord>,
        removed: Vec<CalendarRecord>,
    ) -> CalendarChange {
        let by = By::new("ada", "release");
        CalendarChange { at: Timestamp::EPOCH, workload: "web".to_owned(), added, changed, removed, by }
    }

    #[test]
    fn a_deploy_is_due_once_at_its_moment_and_not_when_it_was_called_off() {
        let mut deploys = Deploys::default();
        let now = Timestamp::from_secs(100_000);
        let added = vec![
            record(1, "deploy", 99_990),
            record(2, "deploy web", 100_500),
            record(3, "campaign", 100_500),
            record(4, "deploy", 100_600),
            record(5, "deploy", 10_000),
            record(6, "deployment party", 100_500),
        ];
        deploys.change(now, &change(added, Vec::new(), Vec::new()));
        deploys.change(
            now,
            &change(Vec::new(), vec![record(2, "deploy web", 100_700)], vec![record(4, "deploy", 0)]),
        );
        let due = |deploys: &mut Deploys, at| -> Vec<u64> {
            deploys.due(Timestamp::from_secs(at)).iter().map(|deploy| deploy.event).collect()
        };
        assert_eq!(due(&mut deploys, 100_000), [1]);
        assert_eq!(due(&mut deploys, 100_699), [] as [u64; 0]);
        assert_eq!(due(&mut deploys, 100_700), [2]);
        assert_eq!(due(&mut deploys, 200_000), [] as [u64; 0]);
    }
}
