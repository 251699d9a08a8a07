//! Session level: games and calls that take a share of an instance for minutes, where [`crate::requests`] are over at once.
//!
//! Sessions of several types arrive at random along their curves, are put on instances by the planner's own allocator
//! ([`planner::sessions`]), wait in its queue where there is no room, and end after a time of their own. The planner is told what
//! its daemon would tell it, rivals are given the load that is offered. What differs is what becomes of sessions on an
//! instance that is removed: the planner waits for them; a rival's instance ends after a grace, and cuts those it still has.
//!
//! Promises: everything is a function of its arguments and the seed; all policies see the same sessions.

mod arrivals;
mod plane;
mod scene;

use std::time::Duration;

use forecast::Timestamp;
use planner::sessions::SessionPolicy;
use planner::{Event, InstanceId};

pub use arrivals::{Arrival, Kind};
pub use plane::{Fates, Row};
pub use scene::Scene;

use self::plane::Plane;
use crate::demand::Demand;
use crate::replay::drive::Driven;
use crate::replay::follow::Follower;
use crate::replay::shadow::Shadow;
use crate::replay::{Options, PolicyKind, Prepared, ReplayError, check, rival};

/// One policy under one stream of sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Who decided.
    pub kind: PolicyKind,
    /// How long its instances wait for sessions when they are removed; `None` for the planner, which knows of them.
    pub grace: Option<Duration>,
    /// What became of the sessions of each type, in the order of the policy.
    pub fates: Vec<Fates>,
    /// Seconds of instances that serve, start or end.
    pub active_seconds: f64,
    /// Seconds of instances that stand by.
    pub standby_seconds: f64,
    /// One for each step.
    pub rows: Vec<Row>,
}

/// What is played.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The instances, their start times and prices, and the planner's policy, which has one for sessions.
    pub world: Options,
    /// Every session, in order of arrival, those of the history included.
    pub arrivals: Vec<Arrival>,
    /// When sessions are played. What comes before is history.
    pub from: Timestamp,
    /// The load that was offered, in the unit of capacity, for rivals and as history: the most in each step.
    pub offered: Demand,
    /// Length of the planner's steps.
    pub step: Duration,
    /// Time between two readings.
    pub reading: Duration,
}

/// Plays the sessions under a policy. `grace` is that of a rival's instances.
///
/// # Errors
/// See [`ReplayError`].
pub fn run(settings: &Settings, kind: PolicyKind, grace: Duration) -> Result<Outcome, ReplayError> {
    check(&settings.world)?;
    let policy = settings.world.workload_policy(settings.step);
    let sessions =
        policy.sessions.ok_or(ReplayError::Option { option: "workload", rule: "must have sessions" })?;
    let end = settings.offered.slot_start(settings.offered.len());
    let prepared = Prepared::new(&settings.offered, kind);
    let (plane, grace) = match rival(kind, &settings.offered, &settings.world, &prepared) {
        None => (planned(settings, Plane::new(settings, sessions, None)?, end)?, None),
        Some(mut rival) => {
            let plane = Plane::new(settings, sessions, Some(grace))?;
            let mut follower = Follower::new(&settings.world, plane);
            let mut tick = Some(settings.from);
            // Placed and ended at their time, whatever the rival's clock does.
            let mut now = settings.from;
            while now < end {
                now = follower.account.next().min(now + settings.reading).min(end).max(now + MOMENT);
                follower.run_until(now, &mut tick, &settings.offered, rival.as_mut());
            }
            (follower.account, Some(grace))
        }
    };
    Ok(plane.finish(kind, grace))
}

/// The planner's run: it hears of every session at once, as from its daemon.
fn planned(settings: &Settings, plane: Plane, end: Timestamp) -> Result<Plane, ReplayError> {
    let policy = settings.world.workload_policy(settings.step);
    let reserve = policy.sessions.as_ref().map_or(0.0, SessionPolicy::reserve) * settings.world.capacity;
    let first = settings.offered.slot_at(settings.from).unwrap_or(0);
    let before = settings.offered.values().iter().take(first).enumerate();
    let history: Vec<_> =
        before.map(|(slot, value)| (settings.offered.slot_start(slot), value.map(|v| v + reserve))).collect();
    let mut shadow = Shadow::new(policy, &settings.world, plane, settings.from, &history)?;
    let (mut now, mut read, mut step) = (settings.from, settings.from, settings.from);
    while now < end {
        now = shadow.account.next().min(read + settings.reading).min(end).max(now + MOMENT);
        shadow.run_until(now)?;
        for (instance, sessions) in shadow.account.held_changes() {
            let (workload, instance) = (shadow.workload.clone(), InstanceId::new(instance));
            shadow.tell(now, Event::SessionsHeld { workload, instance, sessions });
        }
        if now >= read + settings.reading {
            read = now;
            let (wanted, held) = shadow.account.load();
            shadow.tell_load(now, wanted, held);
        }
        if now.since(step) >= settings.step {
            let (demand, missed) = shadow.account.step_over();
            shadow.tell_demand(now, step, Some(demand), missed);
            step = step + settings.step;
        }
        shadow.run_until(now)?;
    }
    Ok(shadow.account)
}

/// Time goes on at least by this much.
const MOMENT: Duration = Duration::from_millis(1);
