//! Several workloads under one planner, each with demand of its own: what it costs them to share their spares, or not to.

use std::time::Duration;

use forecast::Timestamp;
use planner::{ActionKind, Event, InstanceId, Limits, Planner, Policy, Role, WorkloadId, WorkloadPolicy};

use crate::demand::Demand;
use crate::replay::drive::Driven;
use crate::replay::{Options, ReplayError};
use crate::world::{Agent, Count, Ledger, Times, Totals};

/// What became of all workloads together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The sums over all workloads.
    pub totals: Totals,
    /// Spares that one workload took over from another.
    pub claims: u64,
}

/// Replays demands of the same steps side by side. With a `template`, the workloads share their spares.
///
/// # Errors
/// The policy is not valid, or the planner does not come to rest.
pub fn replay(demands: &[Demand], options: &Options, template: Option<&str>) -> Result<Outcome, ReplayError> {
    let Some(first) = demands.first() else { return Ok(Outcome { totals: Totals::default(), claims: 0 }) };
    let (step, start) = (first.step(), first.slot_start(0));
    let policies: Vec<WorkloadPolicy> = (0..demands.len())
        .map(|n| {
            let mut policy = options.workload_policy(step);
            policy.id = WorkloadId::from(format!("web-{n}").as_str());
            policy.template = template.map(str::to_owned);
            policy
        })
        .collect();
    let mut side = Side::new(policies, options, start)?;
    let slots = demands.iter().map(Demand::len).min().unwrap_or(0);
    for slot in 0..slots {
        let boundary = first.slot_start(slot);
        side.run_until(boundary)?;
        for (at, demand) in demands.iter().enumerate() {
            let missed = side.ledgers[at].begin_step(demand.values()[slot], step);
            if let Some(before) = slot.checked_sub(1) {
                let (workload, step_start) = (side.workload(at), demand.slot_start(before));
                let demand = demand.values()[before];
                side.tell(boundary, Event::DemandObserved { workload, step_start, demand, missed });
            }
        }
        if options.load_delay < step {
            let now = boundary + options.load_delay;
            side.run_until(now)?;
            for (at, demand) in demands.iter().enumerate() {
                if let Some(demand_now) = demand.values()[slot] {
                    let workload = side.workload(at);
                    side.tell(now, Event::LoadObserved { workload, demand_now, in_flight: 0.0 });
                }
            }
        }
    }
    side.run_until(first.slot_start(slots))?;
    Ok(side.outcome(step))
}

/// One planner, and of each workload its hands and its account.
struct Side {
    planner: Planner,
    agents: Vec<Agent>,
    ledgers: Vec<Ledger>,
    names: Vec<WorkloadId>,
}

impl Side {
    fn new(policies: Vec<WorkloadPolicy>, options: &Options, start: Timestamp) -> Result<Side, ReplayError> {
        let names: Vec<WorkloadId> = policies.iter().map(|policy| policy.id.clone()).collect();
        let each = u64::from(options.initial());
        let policy = Policy { workloads: policies, limits: Limits::default(), ..Policy::default() };
        let planner = Planner::new(policy, options.seed, start)
            .map_err(ReplayError::Policy)?
            .with_first_instance(each * names.len() as u64 + 1);
        let mut times = Times::new(options.cold.clone(), options.promote);
        times.restart = options.stopped.map_or(times.restart, |level| level.lead);
        let agent = |n: usize| Agent::new(names[n].clone(), times.clone(), options.seed + n as u64);
        let score_from = options.score_from.unwrap_or(start);
        let mut side = Side {
            planner,
            agents: (0..names.len()).map(agent).collect(),
            ledgers: vec![Ledger::new(options.capacity, start, score_from); names.len()],
            names,
        };
        for at in 0..side.names.len() {
            for n in 0..each {
                let instance = at as u64 * each + n + 1;
                side.agents[at].place_active(instance);
                let (workload, instance) = (side.workload(at), InstanceId::new(instance));
                let role = Role::Active;
                side.planner.handle(
                    start,
                    Event::InstanceAdopted { workload, instance, role, parked: false, node: None },
                );
            }
        }
        side.obey(start);
        Ok(side)
    }

    fn workload(&self, at: usize) -> WorkloadId {
        self.names[at].clone()
    }

    fn outcome(&mut self, step: Duration) -> Outcome {
        let mut totals = Totals::default();
        for ledger in &mut self.ledgers {
            ledger.begin_step(None, step);
            let one = ledger.totals();
            totals.seconds = totals.seconds.max(one.seconds);
            totals.demand += one.demand;
            totals.missed += one.missed;
            totals.active_seconds += one.active_seconds;
            totals.standby_seconds += one.standby_seconds;
            totals.stopped_seconds += one.stopped_seconds;
            totals.starting_seconds += one.starting_seconds;
            totals.starts += one.starts;
        }
        let snapshot = self.planner.snapshot();
        Outcome { totals, claims: snapshot.workloads().iter().map(|view| view.counters.claims).sum() }
    }
}

impl Driven for Side {
    fn planner(&mut self) -> &mut Planner {
        &mut self.planner
    }

    fn next_event(&mut self, until: Timestamp) -> Option<(Timestamp, Event)> {
        loop {
            let next = |(at, agent): (usize, &Agent)| agent.next_at().map(|when| (when, at));
            let (when, at) = self.agents.iter().enumerate().filter_map(next).min()?;
            if when > until {
                return None;
            }
            let ledger = &mut self.ledgers[at];
            if let Some(told) = self.agents[at].next_event(when, |now, fleet, _| ledger.advance(now, fleet)) {
                return Some(told);
            }
        }
    }

    fn keep_accounts(&mut self, until: Timestamp) {
        for (ledger, agent) in self.ledgers.iter_mut().zip(&self.agents) {
            ledger.advance(until, agent.fleet());
        }
    }

    fn obey(&mut self, now: Timestamp) {
        while let Some(action) = self.planner.poll_action() {
            let position = |name: &WorkloadId| self.names.iter().position(|known| known == name);
            let Some(at) = position(&action.workload) else { continue };
            if let ActionKind::Claim { instance, from } = &action.kind
                && let Some(from) = position(from)
                && let Ok([from, to]) = self.agents.get_disjoint_mut([from, at])
            {
                from.hand_over(instance.get(), to);
            }
            if matches!(action.kind, ActionKind::Start { .. }) {
                self.ledgers[at].count(Count::Start);
            }
            self.agents[at].order(now, action);
        }
    }
}
