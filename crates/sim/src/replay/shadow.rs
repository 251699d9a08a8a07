//! Runs the real planner in the world, fed and obeyed as the daemon does it.

use forecast::Timestamp;
use planner::{Event, InstanceId, Limits, Planner, Policy, Role, WorkloadId, WorkloadPolicy};

use super::drive::Driven;
use super::{Decision, Options, ReplayError, Run};
use crate::demand::Demand;
use crate::faults::{Fault, Faults};
use crate::rivals::Wanted;
use crate::world::{Account, Agent, Count, Ledger, Times};

/// Replays the whole demand under the planner.
///
/// # Errors
/// The policy is not valid, or the planner does not come to rest.
pub(super) fn run(demand: &Demand, options: &Options) -> Result<Run, ReplayError> {
    let start = demand.start();
    let ledger = Ledger::new(options.capacity, start, options.score_from.unwrap_or(start));
    let mut shadow = Shadow::new(options.workload_policy(demand.step()), options, ledger, start, &[])?;
    let mut decisions = Vec::with_capacity(demand.rows().len());
    let mut rows = demand.rows().iter().peekable();
    for (slot, value) in demand.values().iter().enumerate() {
        let boundary = demand.slot_start(slot);
        shadow.run_until(boundary)?;
        let missed = shadow.account.begin_step(*value, demand.step());
        if let Some(before) = slot.checked_sub(1) {
            shadow.tell_demand(boundary, demand.slot_start(before), demand.values()[before], missed);
        }
        shadow.run_until(boundary)?;
        while let Some(row) = rows.next_if(|row| row.slot == slot) {
            decisions.push(Decision {
                timestamp: row.at,
                demand: row.value,
                active_wanted: shadow.wanted.active,
                standby_wanted: shadow.wanted.standby,
            });
        }
        if let Some(value) = value.filter(|_| options.load_delay < demand.step()) {
            shadow.run_until(boundary + options.load_delay)?;
            shadow.tell_load(boundary + options.load_delay, value, 0.0);
        }
    }
    shadow.run_until(demand.slot_start(demand.len()))?;
    shadow.account.begin_step(None, demand.step());
    Ok(Run { decisions, totals: shadow.account.totals() })
}

/// The planner, its hands, and the account of what becomes of the demand.
pub(crate) struct Shadow<A> {
    pub(crate) workload: WorkloadId,
    planner: Planner,
    agent: Agent,
    pub(crate) account: A,
    wanted: Wanted,
}

impl<A: Account> Shadow<A> {
    /// A planner that begins at `start`, has learned from `history`, and finds the initial instances running.
    ///
    /// # Errors
    /// The policy is not valid.
    pub(crate) fn new(
        policy: WorkloadPolicy,
        options: &Options,
        account: A,
        start: Timestamp,
        history: &[(Timestamp, Option<f64>)],
    ) -> Result<Shadow<A>, ReplayError> {
        let initial = u64::from(options.initial());
        let workload = policy.id.clone();
        let mut planner = new_planner(policy, options.seed, start)?.with_first_instance(initial + 1);
        planner.announce(&workload, &options.events);
        planner.learn(&workload, history);
        let mut times = Times::new(options.cold.clone(), options.promote);
        times.restart = options.stopped.map_or(times.restart, |level| level.lead);
        let mut agent = Agent::new(workload.clone(), times, options.seed);
        let mut faults = Faults::NONE;
        faults.set(Fault::StartFails, options.start_failures);
        agent.set_faults(faults);
        for instance in 1..=initial {
            agent.place_active(instance);
            let instance = InstanceId::new(instance);
            let event = Event::InstanceAdopted {
                workload: workload.clone(),
                instance,
                role: Role::Active,
                parked: false,
                node: None,
            };
            planner.handle(start, event);
        }
        let wanted = Wanted { active: options.initial(), standby: 0 };
        let mut shadow = Shadow { workload, planner, agent, account, wanted };
        shadow.obey(start);
        Ok(shadow)
    }

    /// A step of demand is over.
    pub(crate) fn tell_demand(
        &mut self,
        now: Timestamp,
        step_start: Timestamp,
        demand: Option<f64>,
        missed: f64,
    ) {
        let workload = self.workload.clone();
        self.tell(now, Event::DemandObserved { workload, step_start, demand, missed });
    }

    /// This is the demand right now.
    pub(crate) fn tell_load(&mut self, now: Timestamp, demand_now: f64, in_flight: f64) {
        let workload = self.workload.clone();
        self.tell(now, Event::LoadObserved { workload, demand_now, in_flight });
    }
}

impl<A: Account> Driven for Shadow<A> {
    fn planner(&mut self) -> &mut Planner {
        &mut self.planner
    }

    fn next_event(&mut self, until: Timestamp) -> Option<(Timestamp, Event)> {
        let account = &mut self.account;
        self.agent.next_event(until, |at, fleet, table| account.advance(at, fleet, Some(table)))
    }

    fn keep_accounts(&mut self, until: Timestamp) {
        self.account.advance(until, self.agent.fleet(), Some(self.agent.table()));
    }

    fn obey(&mut self, now: Timestamp) {
        while let Some(action) = self.planner.poll_action() {
            if let Some(count) = counted(&action.kind) {
                self.account.count(count);
            }
            if let planner::ActionKind::Drain { instance } = action.kind {
                self.agent.set_drain(self.account.drain_time(instance.get()));
            }
            self.agent.order(now, action);
        }
        let snapshot = self.planner.snapshot();
        if let Some(plan) = snapshot.workloads().first().and_then(|workload| workload.plan) {
            let wanted = Wanted { active: plan.active_wanted, standby: plan.standby_wanted };
            if wanted.active != self.wanted.active {
                self.account.count(Count::ScaleEvent);
            }
            self.wanted = wanted;
        }
    }
}

fn counted(kind: &planner::ActionKind) -> Option<Count> {
    match kind {
        planner::ActionKind::Start { .. } => Some(Count::Start),
        planner::ActionKind::Restart { .. } => Some(Count::Restart),
        planner::ActionKind::Halt { .. } | planner::ActionKind::Stop { .. } => Some(Count::Stop),
        planner::ActionKind::Promote { .. } | planner::ActionKind::Claim { .. } => Some(Count::Promotion),
        planner::ActionKind::Park { .. } => Some(Count::Demotion),
        planner::ActionKind::SetWeights { .. }
        | planner::ActionKind::Resize { .. }
        | planner::ActionKind::Drain { .. } => None,
    }
}

fn new_planner(policy: WorkloadPolicy, seed: u64, now: Timestamp) -> Result<Planner, ReplayError> {
    let policy = Policy { workloads: vec![policy], limits: Limits::default(), ..Policy::default() };
    Planner::new(policy, seed, now).map_err(ReplayError::Policy)
}
