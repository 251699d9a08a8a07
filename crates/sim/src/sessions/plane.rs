//! The sessions that are played: where each is put, how long it waits, when it ends, and whether it is cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forecast::Timestamp;
use planner::InstanceId;
use planner::sessions::{Allocator, Allotted, HostState, Outcome as Became, SessionId, SessionPolicy};

use super::{Arrival, Outcome, Settings};
use crate::replay::{PolicyKind, ReplayError};
use crate::requests::Histogram;
use crate::world::{Account, Count, Fleet, Queue, Stage};

/// What became of the sessions of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Fates {
    /// The name of the type.
    pub name: String,
    /// Those that came.
    pub arrived: u64,
    /// Those that got no place in time.
    pub refused: u64,
    /// Those whose instance ended before them.
    pub cut: u64,
    /// Time until they had a place, of those that got one.
    pub waits: Histogram,
    /// Those of them that had to wait at all.
    pub waited: u64,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// When it began.
    pub at: Timestamp,
    /// Instances that may get sessions, at its end.
    pub open: u32,
    /// Instances that are to go, and still hold some.
    pub leaving: u32,
    /// Instances that stand by.
    pub standby: u32,
    /// Sessions that have a place, by type.
    pub held: Vec<u64>,
    /// Those that wait, by type.
    pub waiting: Vec<u64>,
    /// Those that were cut in it.
    pub cut: u64,
}

/// Sessions, the allocator, and the account of both.
pub(super) struct Plane {
    capacity: f64,
    now: Timestamp,
    arrivals: Vec<Arrival>,
    next: usize,
    allocator: Allocator,
    /// Where and when those with a place end, by their number.
    ends: Queue<usize>,
    /// Those that have a place, for the check that one that was cut does not end again.
    placed: BTreeSet<usize>,
    /// What instances that a rival removed wait for at most.
    grace: Option<Duration>,
    leaving: BTreeMap<u64, Timestamp>,
    told: BTreeMap<u64, u32>,
    fates: Vec<Fates>,
    /// In this step of the planner.
    peak: (f64, f64),
    refused: f64,
    active_seconds: f64,
    standby_seconds: f64,
    standby: u32,
    rows: Vec<Row>,
    row: (Timestamp, u64),
    step: Duration,
}

impl Plane {
    pub(super) fn new(
        settings: &Settings,
        policy: SessionPolicy,
        grace: Option<Duration>,
    ) -> Result<Plane, ReplayError> {
        let fates = policy.types.iter().map(|t| Fates {
            name: t.name.clone(),
            arrived: 0,
            refused: 0,
            cut: 0,
            waits: Histogram::new(),
            waited: 0,
        });
        let fates: Vec<Fates> = fates.collect();
        let allocator = Allocator::new(policy)
            .map_err(|broken| ReplayError::Option { option: broken[0].0, rule: broken[0].1 })?;
        Ok(Plane {
            capacity: settings.world.capacity,
            now: settings.from,
            next: settings.arrivals.partition_point(|arrival| arrival.at < settings.from),
            arrivals: settings.arrivals.clone(),
            allocator,
            ends: Queue::new(),
            placed: BTreeSet::new(),
            grace,
            leaving: BTreeMap::new(),
            told: BTreeMap::new(),
            fates,
            peak: (0.0, 0.0),
            refused: 0.0,
            active_seconds: 0.0,
            standby_seconds: 0.0,
            standby: 0,
            rows: Vec::new(),
            row: (settings.from, 0),
            step: settings.step,
        })
    }

    /// When something happens to sessions next.
    pub(super) fn next(&self) -> Timestamp {
        let arrival = self.arrivals.get(self.next).map(|arrival| arrival.at);
        let all = [
            arrival,
            self.ends.next_at(),
            self.allocator.next_expiry(),
            self.leaving.values().min().copied(),
        ];
        all.into_iter().flatten().min().unwrap_or(Timestamp::MAX)
    }

    /// Sessions on each instance for which the number has changed.
    pub(super) fn held_changes(&mut self) -> Vec<(u64, u32)> {
        let held = self.allocator.held().map(|(id, held)| (id.get(), held));
        let changed: Vec<_> =
            held.filter(|(id, held)| self.told.get(id).copied().unwrap_or(0) != *held).collect();
        self.told.extend(changed.iter().copied());
        changed
    }

    /// What is asked for now, in the unit of capacity, and the sessions that have a place.
    pub(super) fn load(&self) -> (f64, f64) {
        let held: u64 = self.allocator.by_type().iter().map(|t| t.held).sum();
        (self.allocator.wanted() * self.capacity, held as f64)
    }

    /// The most that was asked for in the planner's step, and what found no place at once.
    pub(super) fn step_over(&mut self) -> (f64, f64) {
        let (wanted, waiting) = std::mem::replace(&mut self.peak, (0.0, 0.0));
        let refused = std::mem::replace(&mut self.refused, 0.0);
        self.measure();
        (wanted + refused, (waiting + refused).min(wanted + refused))
    }

    pub(super) fn finish(self, kind: PolicyKind, grace: Option<Duration>) -> Outcome {
        let (active_seconds, standby_seconds) = (self.active_seconds, self.standby_seconds);
        Outcome { kind, grace, fates: self.fates, active_seconds, standby_seconds, rows: self.rows }
    }

    fn weight(&self, kind: usize) -> f64 {
        self.allocator.policy().types[kind].weight * self.capacity
    }

    fn measure(&mut self) {
        let (wanted, _) = self.load();
        let waiting =
            self.allocator.by_type().into_iter().enumerate().map(|(k, t)| t.waiting as f64 * self.weight(k));
        let waiting: f64 = waiting.sum();
        self.peak = (self.peak.0.max(wanted), self.peak.1.max(waiting));
    }

    /// Takes in what the instances are now.
    fn follow(&mut self, fleet: &Fleet, table: Option<&BTreeMap<u64, u32>>) {
        let mut there = BTreeSet::new();
        for (number, stage) in fleet.iter() {
            let instance = InstanceId::new(number);
            let routed = table.is_none_or(|table| table.get(&number).is_some_and(|weight| *weight > 0));
            match stage {
                Stage::Active if routed => {
                    if self.allocator.state_of(instance) != Some(HostState::Open) {
                        self.allocator.instance_ready(self.now, instance, 1);
                    }
                }
                Stage::Draining | Stage::Active => {
                    self.allocator.instance_draining(self.now, instance);
                }
                Stage::Starting
                | Stage::Warm
                | Stage::Parked
                | Stage::Promoting
                | Stage::Halted
                | Stage::Stopping => {
                    continue;
                }
            }
            there.insert(number);
        }
        let gone: Vec<u64> =
            self.allocator.held().map(|(id, _)| id.get()).filter(|id| !there.contains(id)).collect();
        for number in gone {
            let held = self.allocator.release(self.now, InstanceId::new(number));
            let until = self.grace.map(|grace| self.now + grace);
            let until = *self.leaving.entry(number).or_insert(until.unwrap_or(self.now));
            let empty = matches!(held, Some(planner::sessions::Release::Empty) | None);
            if empty || until <= self.now {
                self.cut(number);
            } else {
                self.allocator.instance_draining(self.now, InstanceId::new(number));
            }
        }
        self.take_outcomes();
    }

    /// An instance is gone, and with it all that it still held.
    fn cut(&mut self, number: u64) {
        self.leaving.remove(&number);
        self.told.remove(&number);
        for lost in self.allocator.instance_gone(InstanceId::new(number)) {
            let session = number_of(&lost.session);
            self.placed.remove(&session);
            self.fates[self.arrivals[session].kind].cut += 1;
            self.row.1 += 1;
        }
    }

    /// Everything that happens to sessions at this moment.
    fn happen(&mut self) {
        while let Some((_, session)) = self.ends.pop_until(self.now) {
            if self.placed.remove(&session) {
                self.allocator.end(self.now, &id_of(session));
            }
        }
        self.allocator.expire(self.now);
        self.take_outcomes();
        while let Some(arrival) = self.arrivals.get(self.next).copied().filter(|a| a.at <= self.now) {
            let session = self.next;
            self.next += 1;
            self.fates[arrival.kind].arrived += 1;
            let name = self.fates[arrival.kind].name.clone();
            match self.allocator.allocate(self.now, &id_of(session), &name) {
                Allotted::Placed(_) => self.place(session),
                Allotted::Queued { .. } => {}
                Allotted::Refused(_) => self.refuse(session),
            }
            self.take_outcomes();
        }
        self.measure();
    }

    fn take_outcomes(&mut self) {
        while let Some(outcome) = self.allocator.poll_outcome() {
            match outcome {
                Became::Placed { session, .. } => self.place(number_of(&session)),
                Became::Expired(session) | Became::Displaced(session) => self.refuse(number_of(&session)),
            }
        }
    }

    fn place(&mut self, session: usize) {
        let arrival = self.arrivals[session];
        let wait = self.now.since(arrival.at);
        let fates = &mut self.fates[arrival.kind];
        fates.waits.record(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        fates.waited += u64::from(!wait.is_zero());
        self.placed.insert(session);
        self.ends.push(self.now + arrival.length, session);
    }

    fn refuse(&mut self, session: usize) {
        let kind = self.arrivals[session].kind;
        self.fates[kind].refused += 1;
        self.refused += self.weight(kind);
    }

    /// Counts instances over the time up to `until`, in which nothing happens.
    fn pass(&mut self, until: Timestamp, fleet: &Fleet) {
        let seconds = until.since(self.now).as_secs_f64();
        let count = |stage| f64::from(fleet.count(stage));
        self.standby = fleet.count(Stage::Warm) + fleet.count(Stage::Parked);
        self.standby_seconds += f64::from(self.standby) * seconds;
        let busy = [Stage::Starting, Stage::Promoting, Stage::Active, Stage::Draining, Stage::Stopping];
        let busy: f64 = busy.into_iter().map(count).sum();
        self.active_seconds += (busy + self.leaving.len() as f64) * seconds;
        self.now = until;
        while self.now.since(self.row.0) >= self.step {
            self.close_row();
        }
    }

    fn close_row(&mut self) {
        let by_type = self.allocator.by_type();
        let hosts: Vec<_> = self.allocator.hosts().collect();
        let open = hosts.iter().filter(|host| host.state == HostState::Open).count();
        self.rows.push(Row {
            at: self.row.0,
            open: open as u32,
            leaving: (hosts.len() - open) as u32,
            standby: self.standby,
            held: by_type.iter().map(|t| t.held).collect(),
            waiting: by_type.iter().map(|t| t.waiting).collect(),
            cut: self.row.1,
        });
        self.row = (self.row.0 + self.step, 0);
    }
}

impl Account for Plane {
    fn advance(&mut self, to: Timestamp, fleet: &Fleet, table: Option<&BTreeMap<u64, u32>>) {
        self.follow(fleet, table);
        while self.now < to {
            let until = self.next().max(self.now).min(to).min(self.row.0 + self.step);
            self.pass(until, fleet);
            self.happen();
            self.follow(fleet, table);
        }
    }

    fn count(&mut self, _what: Count) {}
}

fn id_of(session: usize) -> SessionId {
    SessionId::new(format!("{session}"))
}

fn number_of(session: &SessionId) -> usize {
    session.as_str().parse().unwrap_or(usize::MAX)
}
