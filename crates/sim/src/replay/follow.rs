//! Runs a rival in the world: its wanted counts become starts, promotions, demotions and stops.

use std::time::Duration;

use forecast::Timestamp;

use super::{Decision, Options, Run};
use crate::demand::Demand;
use crate::rivals::{Rival, View, Wanted};
use crate::world::{ColdStart, Count, Fleet, Ledger, Queue, Stage};

/// Replays the whole demand under a rival.
pub(super) fn run(demand: &Demand, options: &Options, rival: &mut dyn Rival) -> Run {
    let mut follower = Follower::new(demand, options);
    let mut decisions = Vec::with_capacity(demand.rows().len());
    let mut rows = demand.rows().iter().peekable();
    let mut tick = Some(demand.start());
    for (slot, value) in demand.values().iter().enumerate() {
        let boundary = demand.slot_start(slot);
        follower.run_until(boundary, &mut tick, demand, rival);
        follower.ledger.begin_step(*value, demand.step());
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
    follower.ledger.begin_step(None, demand.step());
    Run { decisions, totals: follower.ledger.totals() }
}

struct Follower {
    fleet: Fleet,
    ledger: Ledger,
    queue: Queue<(u64, Change)>,
    wanted: Wanted,
    instances: u64,
    cold: ColdStart,
    promote: Duration,
    rng: fastrand::Rng,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Ready,
    Promoted,
}

impl Follower {
    fn new(demand: &Demand, options: &Options) -> Follower {
        let initial = options.initial();
        let mut fleet = Fleet::new();
        for instance in 0..u64::from(initial) {
            fleet.set(instance, Stage::Active);
        }
        Follower {
            fleet,
            ledger: Ledger::new(
                options.capacity,
                demand.start(),
                options.score_from.unwrap_or(demand.start()),
            ),
            queue: Queue::new(),
            wanted: Wanted { active: initial, standby: 0 },
            instances: u64::from(initial),
            cold: options.cold.clone(),
            promote: options.promote,
            rng: fastrand::Rng::with_seed(options.seed),
        }
    }

    /// Lets everything happen up to `until`: first what instances do, then what the rival decides at the same moment.
    fn run_until(
        &mut self,
        until: Timestamp,
        tick: &mut Option<Timestamp>,
        demand: &Demand,
        rival: &mut dyn Rival,
    ) {
        loop {
            let due = tick.filter(|tick| *tick <= until);
            while let Some((at, (instance, change))) = self.queue.pop_until(due.unwrap_or(until)) {
                self.ledger.advance(at, &self.fleet);
                self.change(instance, change);
            }
            let Some(now) = due else {
                break;
            };
            self.ledger.advance(now, &self.fleet);
            let view = View {
                past: demand.past(now),
                ready: self.fleet.count(Stage::Active),
                current: self.fleet.len(),
            };
            let wanted = rival.decide(&view);
            if wanted.active != self.wanted.active {
                self.ledger.count(Count::ScaleEvent);
            }
            self.wanted = wanted;
            self.reconcile(now);
            *tick = rival.next(now).filter(|next| *next > now);
        }
        self.ledger.advance(until, &self.fleet);
    }

    fn change(&mut self, instance: u64, change: Change) {
        match (change, self.fleet.stage(instance)) {
            (Change::Ready, Some(Stage::Starting)) => {
                let stage = if self.serving() < self.wanted.active { Stage::Active } else { Stage::Parked };
                self.fleet.set(instance, stage);
            }
            (Change::Promoted, Some(Stage::Promoting)) => self.fleet.set(instance, Stage::Active),
            // Stopped or demoted in the meantime.
            (Change::Ready | Change::Promoted, _) => {}
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
            self.ledger.count(Count::Stop);
        }
        while self.serving() > self.wanted.active {
            let Some(instance) =
                self.fleet.youngest(Stage::Promoting).or_else(|| self.fleet.youngest(Stage::Active))
            else {
                break;
            };
            self.fleet.set(instance, Stage::Parked);
            self.ledger.count(Count::Demotion);
        }
        while self.serving() < self.wanted.active {
            let Some(instance) = self.fleet.oldest(Stage::Parked) else {
                break;
            };
            self.fleet.set(instance, Stage::Promoting);
            self.queue.push(now + self.promote, (instance, Change::Promoted));
            self.ledger.count(Count::Promotion);
        }
        while self.fleet.len() < total {
            let instance = self.instances;
            self.instances += 1;
            self.fleet.set(instance, Stage::Starting);
            self.queue.push(now + self.cold.draw(&mut self.rng), (instance, Change::Ready));
            self.ledger.count(Count::Start);
        }
    }
}
