//! Sessions and the control loop: each follows the other at once, because one task owns both.

use std::time::Duration;

use forecast::Timestamp;
use history::{Sample, SeriesKey, Store};
use planner::Event;
use planner::sessions::SessionId;
use tokio::sync::oneshot;

use super::{CommandError, ControlLoop};
use crate::recorder::{Record, SESSIONS_HELD, SESSIONS_WAITING, clock};
use crate::sessions::{Change, Seat, Sessions, Standing, Telling};

/// What is answered, and by whom whoever asked is told that it is on disk.
pub(crate) type Answered = (api::Session, Option<oneshot::Receiver<bool>>);

impl ControlLoop {
    /// The time by a clock that goes on whatever is done to the one on the wall.
    pub(crate) fn steady(&self) -> Timestamp {
        self.began.0.saturating_add(self.began.1.elapsed())
    }

    /// Puts the sessions of an earlier daemon back on the instances that were found.
    pub(crate) fn restore_sessions(&mut self, store: &Store) {
        let now = self.steady();
        for workload in &mut self.workloads {
            let Some(sessions) = &mut workload.sessions else { continue };
            for instance in workload.places.keys() {
                sessions.adopted(now, *instance);
            }
            let prefix = prefix(&workload.config.name);
            let (mut found, mut lost) = (0, 0);
            for key in store.keys(&prefix).unwrap_or_default() {
                let session = SessionId::new(&key[prefix.len()..]);
                let value = store.get(&key).ok().flatten().unwrap_or_default();
                let known = serde_json::from_slice::<Seat>(&value)
                    .is_ok_and(|seat| sessions.found(now, &session, &seat));
                if known {
                    found += 1
                } else {
                    lost += 1
                }
                if !known {
                    self.recorder.record(Record::Removed(key));
                }
            }
            if found + lost > 0 {
                let workload = workload.config.name.as_str();
                tracing::info!(workload, found, lost, "sessions of an earlier daemon");
            }
        }
    }

    /// Sessions follow what the planner decided, and it is told what became of them. Whether there was anything to tell.
    pub(crate) fn settle_sessions(&mut self) -> bool {
        let now = self.steady();
        let snapshot = self.planner.snapshot();
        let (mut told, mut notes) = (Vec::new(), Vec::new());
        for (index, workload) in self.workloads.iter_mut().enumerate() {
            let Some(sessions) = &mut workload.sessions else { continue };
            if let Some(view) = snapshot.workload(&workload.id) {
                sessions.follow(now, view.instances.iter().map(Into::into));
            }
            for change in sessions.changes() {
                self.recorder.record(record(&workload.config.name, change));
            }
            notes.extend(sessions.news().into_iter().map(|message| (index, message)));
            told.extend(sessions.held_changes().into_iter().map(|held| (index, held)));
        }
        for (index, message) in notes {
            self.notes.push(api::Event {
                at_ms: clock().as_millis(),
                workload: Some(self.workloads[index].name().to_owned()),
                kind: "sessions_lost".to_owned(),
                instance: None,
                message,
                took_ms: None,
                shift: None,
            });
        }
        let any = !told.is_empty();
        for (index, (instance, sessions)) in told {
            let workload = self.workloads[index].id.clone();
            self.handle(index, Event::SessionsHeld { workload, instance, sessions });
        }
        any
    }

    /// Ends what was not renewed, and tells the planner what is asked for.
    pub(crate) fn watch_sessions(&mut self, wall: Timestamp) {
        let now = self.steady();
        for index in 0..self.workloads.len() {
            let workload = &mut self.workloads[index];
            let (step, tick, id) = (workload.config.step, workload.config.tick, workload.id.clone());
            let Some(sessions) = &mut workload.sessions else { continue };
            sessions.expire(now);
            let over = sessions.step_over(wall, step);
            let load = sessions.load_due(now, tick);
            if let Some((demand_now, in_flight)) = load {
                self.handle(index, Event::LoadObserved { workload: id.clone(), demand_now, in_flight });
            }
            let Some(over) = over else { continue };
            let series = |metric, kind: &str| SeriesKey::new(id.as_str(), metric).with_label("type", kind);
            let each = over.by_type.iter().flat_map(|(kind, held, waiting)| {
                [(series(SESSIONS_HELD, kind), *held), (series(SESSIONS_WAITING, kind), *waiting)]
            });
            let samples = each.map(|(key, most)| Sample::new(key, over.start, most as f64)).collect();
            self.recorder.record(Record::Samples(samples));
            self.demand_observed(index, over.start, over.demand, over.missed);
        }
    }

    fn sessions_of(&mut self, workload: &str) -> Result<(usize, &mut Sessions), CommandError> {
        let index = self.find(workload)?;
        let sessions = self.workloads[index].sessions.as_mut();
        sessions
            .map(|sessions| (index, sessions))
            .ok_or_else(|| CommandError::NoSessions(workload.to_owned()))
    }

    pub(super) fn open_session(
        &mut self,
        workload: &str,
        request: &api::SessionRequest,
    ) -> Result<Answered, CommandError> {
        let now = self.steady();
        let wait =
            request.wait_s.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        let session = SessionId::new(request.session.as_str());
        let (index, sessions) = self.sessions_of(workload)?;
        let standing = sessions.open(now, &session, &request.kind, wait)?;
        Ok(self.answer(index, &standing))
    }

    pub(super) fn renew_session(&mut self, workload: &str, session: &str) -> Result<Answered, CommandError> {
        let now = self.steady();
        let (index, sessions) = self.sessions_of(workload)?;
        let standing = sessions.renew(now, &SessionId::new(session))?;
        Ok(self.answer(index, &standing))
    }

    pub(super) fn close_session(&mut self, workload: &str, session: &str) -> Result<(), CommandError> {
        let now = self.steady();
        let (_, sessions) = self.sessions_of(workload)?;
        let session = SessionId::new(session);
        if sessions.close(now, &session) {
            return Ok(());
        }
        Err(crate::sessions::SessionRefusal::Unknown(session).into())
    }

    pub(super) fn look_at_session(
        &mut self,
        workload: &str,
        session: &str,
    ) -> Result<api::Session, CommandError> {
        let (index, sessions) = self.sessions_of(workload)?;
        let session = SessionId::new(session);
        let unknown = || crate::sessions::SessionRefusal::Unknown(session.clone());
        let standing = sessions.look(&session).ok_or_else(unknown)?;
        Ok(self.answer(index, &standing).0)
    }

    pub(super) fn list_sessions(
        &mut self,
        workload: &str,
        limit: usize,
    ) -> Result<api::Sessions, CommandError> {
        let index = self.sessions_of(workload)?.0;
        let telling = self.telling(index);
        let sessions = self.workloads[index].sessions.as_ref();
        sessions
            .map(|sessions| sessions.list(limit, telling))
            .ok_or_else(|| CommandError::NoSessions(workload.to_owned()))
    }

    fn telling(&self, index: usize) -> Telling<'_> {
        let workload = &self.workloads[index];
        let (now, wall) = (self.steady(), clock());
        Telling { workload: &workload.config.name, places: &workload.places, now, wall }
    }

    fn answer(&self, index: usize, standing: &Standing) -> Answered {
        let workload = &self.workloads[index];
        let on_disk = standing.to_keep.as_ref().map(|seat| {
            let (told, on_disk) = oneshot::channel();
            let (key, value) = (key(workload.name(), &standing.session), body(seat));
            self.recorder.record(Record::Durable(key, value, told));
            on_disk
        });
        let sessions = workload.sessions.as_ref().expect("an answer about a session");
        (sessions.session(standing, self.telling(index)), on_disk)
    }
}

fn record(workload: &str, change: Change) -> Record {
    match change {
        Change::Kept(session, seat) => Record::Value(key(workload, &session), body(&seat)),
        Change::Gone(session) => Record::Removed(key(workload, &session)),
    }
}

fn body(seat: &Seat) -> Vec<u8> {
    serde_json::to_vec(seat).unwrap_or_default()
}

fn key(workload: &str, session: &SessionId) -> String {
    format!("{}{session}", prefix(workload))
}

/// What the keys of the sessions of a workload begin with. No name of a workload has a slash.
fn prefix(workload: &str) -> String {
    format!("session/{workload}/")
}
