//! Sessions in the words of the API.

use std::collections::BTreeMap;

use forecast::Timestamp;
use planner::InstanceId;
use planner::sessions::{HostState, HostView, SessionId};

use super::{Sessions, Standing};
use crate::instances::{Place, name_of};

/// What the API's words need beside the sessions.
#[derive(Clone, Copy)]
pub(crate) struct Telling<'a> {
    pub(crate) workload: &'a str,
    pub(crate) places: &'a BTreeMap<InstanceId, Place>,
    /// The time by the clock that leases go by, and by the clock on the wall.
    pub(crate) now: Timestamp,
    pub(crate) wall: Timestamp,
}

impl Telling<'_> {
    fn wall_ms(&self, at: Timestamp) -> i64 {
        (self.wall.saturating_add(at.since(self.now))).as_millis()
    }

    fn address(&self, instance: InstanceId, process: u32) -> Option<String> {
        let place = self.places.get(&instance)?;
        place.addresses.get(process as usize).map(ToString::to_string)
    }
}

impl Sessions {
    /// One session.
    pub(crate) fn session(&self, standing: &Standing, telling: Telling<'_>) -> api::Session {
        let at = standing.place.ok();
        let position = standing.place.err().map(|position| position as u64);
        api::Session {
            session: standing.session.to_string(),
            kind: standing.kind.clone(),
            state: if at.is_some() { api::SessionState::Placed } else { api::SessionState::Queued },
            instance: at.map(|at| name_of(telling.workload, at.instance).as_str().to_owned()),
            process: at.map(|at| at.process),
            address: at.and_then(|at| telling.address(at.instance, at.process)),
            leaves_by_ms: at.and_then(|at| self.leaves_by(at.instance)).map(|until| telling.wall_ms(until)),
            position,
            retry_after_s: position.map(|_| QUEUED_RETRY_S),
            expires_at_ms: telling.wall_ms(standing.until),
            durable: true,
        }
    }

    fn leaves_by(&self, instance: InstanceId) -> Option<Timestamp> {
        match self.allocator.state_of(instance)? {
            HostState::Draining(until) => Some(until),
            HostState::Open | HostState::Shut => None,
        }
    }

    /// Sessions on an instance.
    pub(crate) fn on(&self, instance: InstanceId) -> u32 {
        self.told.get(&instance).copied().unwrap_or(0)
    }

    /// In brief.
    pub(crate) fn summary(&self) -> api::SessionSummary {
        let hosts: Vec<HostView<'_>> = self.allocator.hosts().collect();
        let draining = |host: &&HostView<'_>| matches!(host.state, HostState::Draining(_));
        let leaving = |kind: usize| hosts.iter().filter(draining).map(|h| u64::from(h.by_type[kind])).sum();
        let types = self.allocator.by_type().into_iter().enumerate().map(|(kind, now)| api::SessionCounts {
            kind: now.name,
            class: now.class,
            held: now.held,
            draining: leaving(kind),
            waiting: now.waiting,
            room: self.allocator.room_left_for(kind),
        });
        let waits = hosts.iter().filter(draining).filter(|host| !host.sessions.is_empty()).count();
        api::SessionSummary {
            types: types.collect(),
            instances_waiting: u32::try_from(waits).unwrap_or(u32::MAX),
            placed: self.totals.placed,
            ended: self.totals.ended,
            expired: self.totals.expired,
            refused: self.totals.refused,
            lost: self.totals.lost,
        }
    }

    /// All of them, as far as the limit goes.
    pub(crate) fn list(&self, limit: usize, telling: Telling<'_>) -> api::Sessions {
        let sessions = self.known.iter().take(limit).filter_map(|(id, _)| self.look(id));
        api::Sessions {
            summary: self.summary(),
            hosts: self.allocator.hosts().map(|host| self.host(&host, telling)).collect(),
            sessions: sessions.map(|standing| self.session(&standing, telling)).collect(),
        }
    }

    /// What is known of a session, without asking for anything.
    pub(crate) fn look(&self, session: &SessionId) -> Option<Standing> {
        let kind = self.allocator.kind_of(session)?.to_owned();
        let place = self.allocator.place_of(session).ok_or(self.allocator.position(session).unwrap_or(0));
        let until = self.known.get(session)?.until;
        Some(Standing { session: session.clone(), kind, place, until, to_keep: None })
    }

    fn host(&self, host: &HostView<'_>, telling: Telling<'_>) -> api::SessionHost {
        let types = self.allocator.policy().types.iter().map(|t| t.name.clone());
        let size = self.capacity / host.processes.len().max(1) as f64;
        let processes = host.processes.iter().zip(0..).map(|(used, process)| api::SessionProcess {
            address: telling.address(host.instance, process),
            used: used * size,
            size,
        });
        api::SessionHost {
            instance: name_of(telling.workload, host.instance).as_str().to_owned(),
            open: host.state == HostState::Open,
            leaves_by_ms: self.leaves_by(host.instance).map(|until| telling.wall_ms(until)),
            held: types.zip(host.by_type.iter().copied()).filter(|(_, held)| *held > 0).collect(),
            processes: processes.collect(),
        }
    }
}

/// A place can come free at any moment.
const QUEUED_RETRY_S: u64 = 1;
