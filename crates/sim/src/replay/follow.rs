//! Runs a rival in the world: its wanted counts become starts, promotions, demotions and stops.

use std::time::Duration;

use forecast::Timestamp;

use super::{Decision, Options, Run};
use crate::demand::Demand;
use crate::rivals::{Rival, View, Wanted};
use crate::world::{Account, ColdStart, Count, Fleet, Ledger, Queue, Stage};

/// Replays the whole demand under a rival.
pub(super) fn run(demand: &Demand, options: &Options, rival: &mut dyn Rival) -> Run {
    let start = demand.start();
    let ledger = Ledger::new(options.capacity, start, options.score_from.unwrap_or(start));
    let mut follower = Follower::new(options, ledger);
    let mut decisions = Vec::with_capacity(demand.rows().len());
    let mut rows = demand.rows().iter().peekable();
    let mut tick = Some(demand.start());
    for (slot, value) in demand.values().iter().enumerate() {
        let boundary = demand.slot_start(slot);
        follower.run_until(boundary, &mut tick, demand, rival);
        follower.account.begin_step(*value, demand.step());
        while let Some(row) = rows.next_if(|row| row.slot == slot) {
            decisions.push(Decision {
                timestamp: row.at,
                demand: row.value,
                active_wanted: follower.wanted.active,
                standby_wanted: follower.wanted.standby,
            });
        }
    }
    // The last step is not followed by a decision: ticks inside it run, the one at its end does not.
    let end = demand.slot_start(demand.len());
    follower.run_until(end, &mut tick, demand, rival);
    follower.account.begin_step(None, demand.step());
    Run { decisions, totals: follower.account.totals() }
}

/// The instances of a rival, and the account of what becomes of the demand.
pub(crate) struct Follower<A> {
    fleet: Fleet,
    pub(crate) account: A,
    queue: Queue<(u64, Change)>,
    wanted: Wanted,
    instances: u64,
    cold: ColdStart,
    promote: Duration,
    start_failures: f64,
    rng: fastrand::Rng,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Ready,
    Promoted,
    Failed,
}

impl<A: Account> Follower<A> {
    /// The initial instances, all active.
    pub(crate) fn new(options: &Options, account: A) -> Follower<A> {
        let initial = options.initial();
        let mut fleet = Fleet::new();
        for instance in 0..u64::from(initial) {
            fleet.set(instance, Stage::Active);
        }
        Follower {
            fleet,
            account,
            queue: Queue::new(),
            wanted: Wanted { active: initial, standby: 0 },
            instances: u64::from(initial),
            cold: options.cold.clone(),
            promote: options.promote,
            start_failures: options.start_failures,
            rng: fastrand::Rng::with_seed(options.seed),
        }
    }

    /// Lets everything happen up to `until`: first what instances do, then what the rival decides at the same moment.
    pub(crate) fn run_until(
        &mut self,
        until: Timestamp,
        tick: &mut Option<Timestamp>,
        demand: &Demand,
        rival: &mut dyn Rival,
    ) {
        loop {
            let due = tick.filter(|tick| *tick <= until);
            while let Some((at, (instance, change))) = self.queue.pop_until(due.unwrap_or(until)) {
                self.account.advance(at, &self.fleet, None);
                self.change(at, instance, change);
            }
            let Some(now) = due else {
                break;
            };
            self.account.advance(now, &self.fleet, None);
            let view = View {
                past: demand.past(now),
                ready: self.fleet.count(Stage::Active),
                current: self.fleet.len(),
            };
            let wanted = rival.decide(&view);
            if wanted.active != self.wanted.active {
                self.account.count(Count::ScaleEvent);
            }
            self.wanted = wanted;
            self.reconcile(now);
            *tick = rival.next(now).filter(|next| *next > now);
        }
        self.account.advance(until, &self.fleet, None);
    }

    fn change(&mut self, now: Timestamp, instance: u64, change: Change) {
        match (change, self.fleet.stage(instance)) {
            (Change::Ready, Some(Stage::Starting)) => {
                let stage = if self.serving() < self.wanted.active { Stage::Active } else { Stage::Parked };
                self.fleet.set(instance, stage);
            }
            (Change::Promoted, Some(Stage::Promoting)) => self.fleet.set(instance, Stage::Active),
            // Whoever looks after the replicas starts another at once, as a kubelet does.
            (Change::Failed, Some(Stage::Starting)) => {
                self.fleet.remove(instance);
                self.reconcile(now);
            }
            // Stopped or demoted in the meantime.
            (Change::Ready | Change::Promoted | Change::Failed, _) => {}
        }
    }

    fn serving(&self) -> u32 {
        self.fleet.count(Stage::Active) + self.fleet.count(Stage::Promoting)
    }

    fn reconcile(&mut self, now: Timestamp) {
        let total = self.wanted.active + self.wanted.standby;
        while self.fleet.len() > total {
            let order = [Stage::Starting, Stage::Parked, Stage::Promoting, Stage::Active];
            let Some(instance) = order.into_iter().find_map(|stage| self.fleet.youngest(stage)) else {
                break;
            };
            self.fleet.remove(instance);
            self.account.count(Count::Stop);
        }
        while self.serving() > self.wanted.active {
            let Some(instance) =
                self.fleet.youngest(Stage::Promoting).or_else(|| self.fleet.youngest(Stage::Active))
            else {
                break;
            };
            self.fleet.set(instance, Stage::Parked);
            self.account.count(Count::Demotion);
        }
        while self.serving() < self.wanted.active {
            let Some(instance) = self.fleet.oldest(Stage::Parked) else {
                break;
            };
            self.fleet.set(instance, Stage::Promoting);
            self.queue.push(now + self.promote, (instance, Change::Promoted));
            self.account.count(Count::Promotion);
        }
        while self.fleet.len() < total {
            let instance = self.instances;
            self.instances += 1;
            self.fleet.set(instance, Stage::Starting);
            let took = self.cold.draw(&mut self.rng);
            if self.start_failures > 0.0 && self.rng.f64() < self.start_failures {
                // Part of the way, but not at once: time must pass until the next attempt.
                let failed = took.mul_f64(self.rng.f64()).max(FAILED_MIN);
                self.queue.push(now + failed, (instance, Change::Failed));
            } else {
                self.queue.push(now + took, (instance, Change::Ready));
            }
            self.account.count(Count::Start);
        }
    }
}

/// No start fails sooner than this.
const FAILED_MIN: Duration = Duration::from_millis(100);
