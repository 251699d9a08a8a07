//! Rules that hold whatever goes wrong, checked from outside the planner.
//!
//! The checker believes only what passed between planner and world: the events that were delivered, the orders that were
//! given, and what is physically there. It shares no state with the planner, so that a mistake in the planner's own table
//! cannot hide itself. The planner's linter runs beside it.

mod counts;
mod guard;
mod heard;
mod news;
mod orders;
mod routes;
mod sessions;
mod sizes;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use forecast::Timestamp;
use planner::{Action, Event, WorkloadPolicy, WorkloadView};

use super::calendar::Within;
use crate::world::{Agent, Lie, Stage};

pub(super) use counts::leaks;
pub use routes::{IDLE_MAX, ROUTE_MAX};

/// The rules of one workload and what they know.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    heard: heard::Heard,
    routes: routes::Routes,
    counts: counts::Counts,
    blind: guard::Blind,
    orders: orders::Orders,
    sessions: sessions::Sessions,
    broken: Vec<String>,
}

/// The physical truth about one workload at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// The time.
    pub now: Timestamp,
    /// The time by the planner's clock.
    pub told: Timestamp,
    /// The instances and the route table in force.
    pub agent: &'a Agent,
    /// Instances that do not answer.
    pub sick: &'a BTreeSet<u64>,
    /// Demand right now.
    pub demand: f64,
    /// Faults so far that may concern this workload.
    pub faults: u64,
    /// Demand is level, and nothing has been done to make the planner expect anything else.
    pub steady: bool,
    /// Others may have what it needs: no number is certain.
    pub scarce: bool,
    /// Instances that must serve by the calendar now, and that may exist until more could be there; `None`: what the
    /// policy says.
    pub within: Option<Within>,
}

impl Truth<'_> {
    /// Whether requests are served on an instance.
    pub fn serves(&self, instance: u64) -> bool {
        self.agent.fleet().stage(instance) == Some(Stage::Active)
            && !self.sick.contains(&instance)
            && self.agent.lie(instance) != Some(Lie::Errors)
    }
}

impl Checks {
    /// The planner was replaced: what it was told is told anew.
    pub fn restart(&mut self, agent: &Agent, now: Timestamp) {
        *self = Checks {
            routes: routes::Routes::restart(agent.table()),
            counts: counts::Counts::restart(agent.fleet().len() as usize),
            orders: self.orders.restart(),
            sessions: sessions::Sessions::restart(agent, now),
            broken: std::mem::take(&mut self.broken),
            ..Checks::default()
        };
    }

    /// The clock jumped: time limits that the planner keeps are not what they seem.
    pub fn clock_jumped(&mut self, now: Timestamp) {
        self.blind.doubt();
        self.sessions.clock_jumped(now);
    }

    /// An event was delivered.
    pub fn see_event(&mut self, event: &Event, now: Timestamp) {
        if let Some(news) = news::News::of(event) {
            self.heard.see(news);
            self.blind.see(news, now);
            self.sessions.see(news);
        }
    }

    /// An order is about to be carried out.
    pub fn see_action(&mut self, action: &Action, truth: &Truth<'_>, policy: &WorkloadPolicy) {
        self.forget_expired(truth);
        let Checks { heard, routes, counts, blind, orders, sessions, broken } = self;
        broken.extend(sessions.see_order(action, truth, policy));
        broken.extend(sizes::see_order(action, policy));
        orders.see_order(action, truth, heard, policy, broken);
        let replaced = routes.see_order(action, truth, heard, broken);
        broken.extend(counts.see_order(action, replaced.as_ref(), truth, heard, policy));
        broken.extend(blind.see_order(action, truth, heard, policy));
    }

    /// An instance goes to another workload, with what was heard of it.
    pub fn hand_over(&mut self, instance: u64, to: &mut Checks) {
        for (from, to) in [
            (&mut self.heard.gone, &mut to.heard.gone),
            (&mut self.heard.parked, &mut to.heard.parked),
            (&mut self.heard.unhealthy, &mut to.heard.unhealthy),
            (&mut self.heard.ill, &mut to.heard.ill),
        ] {
            if from.remove(&instance) {
                to.insert(instance);
            }
        }
    }

    /// Checks every rule after the planner has taken an input and given its orders. Returns what is broken.
    pub fn check(&mut self, truth: &Truth<'_>, view: &WorkloadView<'_>) -> Vec<String> {
        self.forget_expired(truth);
        let Checks { heard, routes, counts, blind, broken, .. } = self;
        routes.check(truth, heard, broken);
        let moving = view.instances.iter().filter(|i| i.moving()).count();
        counts.check(truth, heard, (view.policy, moving), broken);
        blind.check(truth, heard, view, broken);
        std::mem::take(broken)
    }

    /// The busiest ten minutes, as a share of the orders that are allowed in them.
    pub fn busiest(&self) -> f64 {
        self.orders.busiest
    }

    /// A pin whose time is over by the planner's clock pins nothing; what follows from it takes a moment.
    fn forget_expired(&mut self, truth: &Truth<'_>) {
        if self.heard.pinned.flatten().is_some_and(|expires| expires + PIN_GRACE <= truth.told) {
            self.heard.pinned = None;
            self.heard.switched_off = false;
            self.blind.doubt();
        }
    }
}

/// The planner must be given the time to notice that a pin has expired.
const PIN_GRACE: Duration = Duration::from_secs(1);
