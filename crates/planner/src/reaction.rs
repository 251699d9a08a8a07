//! What reacting alone would have done: the same target for the demand seen, each further instance from a cold start.
//!
//! Played on paper beside every plan, from what is known at that moment, with the lead times measured. Nothing is decided
//! from it; it is what decisions are compared with. Like a scaler without a forecast it provides for the demand of now at a
//! fixed utilisation, keeps what was needed within the hold time, and has no standbys but those that the policy asks for.

use std::collections::VecDeque;
use std::time::Duration;

use forecast::Timestamp;

/// Where a fleet that only reacts would be now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reaction {
    /// Share of the active capacity that it aims to use, in (0, 1].
    pub utilisation: f64,
    /// Active instances that it would want.
    pub wanted: u32,
    /// Active instances that it would have.
    pub ready: u32,
    /// Instances on their way, in the order in which they would be ready.
    pub ordered: Vec<Ordered>,
    /// Demand since the planner was made, in unit-steps.
    pub demand: f64,
    /// The part of it that it would have missed.
    pub missed: f64,
    /// The part of it that was missed in truth.
    pub missed_truly: f64,
    /// The last complete step.
    pub step: Option<ReactionStep>,
}

/// Instances that would have been ordered and are not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordered {
    /// How many.
    pub instances: u32,
    /// When they would have been ordered.
    pub at: Timestamp,
    /// When they would be ready.
    pub ready_at: Timestamp,
}

/// One step, as it would have been and as it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReactionStep {
    /// Its beginning.
    pub start: Timestamp,
    /// Demand of it.
    pub demand: f64,
    /// The part of it that would have been missed.
    pub missed: f64,
    /// The part of it that was missed in truth: above the active capacity that had been decided, or reported.
    pub missed_truly: f64,
    /// Active instances that there would have been at its end.
    pub ready: u32,
}

/// What is wanted on paper at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) active: u32,
    pub(crate) standby: u32,
    pub(crate) lead_promote: Duration,
    pub(crate) lead_cold: Duration,
    pub(crate) utilisation: f64,
}

/// The fleet on paper.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paper {
    begun: bool,
    wanted: u32,
    utilisation: f64,
    ready: u32,
    standby: u32,
    active_coming: VecDeque<Ordered>,
    standby_coming: VecDeque<Timestamp>,
    /// How long how many were ready since the last step, and until when that is written down.
    stretches: Vec<(u32, Duration)>,
    until: Timestamp,
    demand: f64,
    missed: f64,
    missed_truly: f64,
    step: Option<ReactionStep>,
}

impl Paper {
    /// Takes over what runs, once.
    pub(crate) fn begin(&mut self, now: Timestamp, active: u32, standby: u32) {
        if !self.begun {
            (self.begun, self.until, self.ready, self.standby) = (true, now, active, standby);
        }
    }

    pub(crate) fn wanted(&self) -> u32 {
        self.wanted
    }

    pub(crate) fn last_step(&self) -> Option<ReactionStep> {
        self.step
    }

    /// Time passes, and this is wanted from now on.
    pub(crate) fn want(&mut self, now: Timestamp, wanted: Wanted) {
        self.advance(now);
        (self.wanted, self.utilisation) = (wanted.active, wanted.utilisation);
        let coming: u32 = self.active_coming.iter().map(|ordered| ordered.instances).sum();
        let have = self.ready + coming;
        if wanted.active > have {
            let more = wanted.active - have;
            let promoted = more.min(self.standby);
            self.standby -= promoted;
            self.order(now, promoted, wanted.lead_promote);
            self.order(now, more - promoted, wanted.lead_cold);
        } else {
            self.give_up(have - wanted.active);
        }
        let pool = self.standby + self.standby_coming.len() as u32;
        for _ in pool..wanted.standby.min(POOL_MAX) {
            self.standby_coming.push_back(now.saturating_add(wanted.lead_cold));
        }
        self.standby = self.standby.min(wanted.standby);
    }

    fn order(&mut self, now: Timestamp, instances: u32, lead: Duration) {
        if instances == 0 {
            return;
        }
        let new = Ordered { instances, at: now, ready_at: now.saturating_add(lead) };
        let full = self.active_coming.len() >= ORDERS_MAX;
        match self.active_coming.back_mut() {
            // However often it is asked, no more than so many orders are told apart.
            Some(last) if full => {
                (last.instances, last.ready_at) =
                    (last.instances + instances, last.ready_at.max(new.ready_at));
            }
            Some(_) | None => {
                let place = self.active_coming.partition_point(|other| other.ready_at <= new.ready_at);
                self.active_coming.insert(place, new);
            }
        }
    }

    /// Fewer are wanted: first those that are not ready yet.
    fn give_up(&mut self, mut fewer: u32) {
        while let Some(last) = self.active_coming.back_mut().filter(|_| fewer > 0) {
            let part = last.instances.min(fewer);
            (last.instances, fewer) = (last.instances - part, fewer - part);
            if last.instances == 0 {
                self.active_coming.pop_back();
            }
        }
        self.ready -= fewer.min(self.ready);
    }

    /// What would be ready by now is.
    fn advance(&mut self, now: Timestamp) {
        while let Some(first) = self.active_coming.front().copied().filter(|first| first.ready_at <= now) {
            self.write_down(first.ready_at);
            self.ready += first.instances;
            self.active_coming.pop_front();
        }
        while self.standby_coming.front().is_some_and(|ready| *ready <= now) {
            self.standby_coming.pop_front();
            self.standby += 1;
        }
        self.write_down(now);
    }

    fn write_down(&mut self, until: Timestamp) {
        let span = until.since(self.until);
        self.until = self.until.max(until);
        let full = self.stretches.len() >= STRETCHES_MAX;
        match self.stretches.last_mut() {
            Some(last) if last.0 == self.ready || full => last.1 += span,
            Some(_) | None if !span.is_zero() => self.stretches.push((self.ready, span)),
            Some(_) | None => {}
        }
    }

    /// A step is complete, of which `missed_truly` was missed.
    pub(crate) fn settle(
        &mut self,
        now: Timestamp,
        start: Timestamp,
        demand: f64,
        missed_truly: f64,
        capacity: f64,
    ) {
        self.advance(now);
        let total: f64 = self.stretches.iter().map(|(_, span)| span.as_secs_f64()).sum();
        let short = |ready: u32| (demand - f64::from(ready) * capacity).max(0.0);
        let missed = if total > 0.0 {
            self.stretches.iter().map(|(ready, span)| short(*ready) * span.as_secs_f64() / total).sum()
        } else {
            short(self.ready)
        };
        self.stretches.clear();
        self.demand += demand;
        self.missed += missed;
        self.missed_truly += missed_truly;
        self.step = Some(ReactionStep { start, demand, missed, missed_truly, ready: self.ready });
    }

    /// As it is shown; `shown` turns a time of the internal clock into one for people.
    pub(crate) fn view(&self, shown: impl Fn(Timestamp) -> Timestamp) -> Reaction {
        let ordered = |o: &Ordered| Ordered { at: shown(o.at), ready_at: shown(o.ready_at), ..*o };
        Reaction {
            utilisation: self.utilisation,
            wanted: self.wanted,
            ready: self.ready,
            ordered: self.active_coming.iter().map(ordered).collect(),
            demand: self.demand,
            missed: self.missed,
            missed_truly: self.missed_truly,
            step: self.step,
        }
    }
}

/// Orders on paper that are told apart.
const ORDERS_MAX: usize = 16;
const STRETCHES_MAX: usize = 64;
const POOL_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const COLD: Duration = Duration::from_secs(180);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn wanted(active: u32, standby: u32) -> Wanted {
        Wanted { active, standby, lead_promote: Duration::from_secs(1), lead_cold: COLD, utilisation: 0.7 }
    }

    fn view(paper: &Paper) -> Reaction {
        paper.view(|at| at)
    }

    #[test]
    fn what_is_ordered_is_ready_a_cold_start_later_and_demand_in_between_is_missed() {
        let mut paper = Paper::default();
        paper.begin(at(0), 2, 0);
        paper.want(at(0), wanted(2, 0));
        paper.settle(at(60), at(0), 150.0, 0.0, 100.0);
        assert_eq!(view(&paper).step.map(|step| step.missed), Some(0.0));
        paper.want(at(60), wanted(5, 0));
        let reaction = view(&paper);
        assert_eq!((reaction.ready, reaction.wanted), (2, 5));
        assert_eq!(reaction.ordered, [Ordered { instances: 3, at: at(60), ready_at: at(240) }]);
        paper.settle(at(180), at(60), 400.0, 20.0, 100.0);
        paper.want(at(180), wanted(5, 0));
        // Half of this step two are ready, half of it five.
        paper.settle(at(300), at(180), 400.0, 0.0, 100.0);
        let reaction = view(&paper);
        assert_eq!((reaction.ready, reaction.ordered.len()), (5, 0));
        assert_eq!((reaction.missed, reaction.missed_truly, reaction.demand), (300.0, 20.0, 950.0));
    }

    #[test]
    fn standbys_that_the_policy_asks_for_are_promoted_and_replaced() {
        let mut paper = Paper::default();
        paper.begin(at(0), 1, 0);
        paper.want(at(0), wanted(1, 2));
        paper.want(at(200), wanted(1, 2));
        paper.want(at(200), wanted(4, 2));
        let ready: Vec<_> = view(&paper).ordered.iter().map(|o| (o.instances, o.ready_at)).collect();
        assert_eq!(ready, [(2, at(201)), (1, at(380))]);
        paper.want(at(390), wanted(6, 2));
        assert_eq!(view(&paper).ordered[0], Ordered { instances: 2, at: at(390), ready_at: at(391) });
    }

    #[test]
    fn what_is_not_wanted_any_more_is_given_up_newest_first() {
        let mut paper = Paper::default();
        paper.begin(at(0), 2, 0);
        paper.want(at(0), wanted(4, 0));
        paper.want(at(10), wanted(7, 0));
        paper.want(at(20), wanted(3, 0));
        assert_eq!(view(&paper).ordered, [Ordered { instances: 1, at: at(0), ready_at: at(180) }]);
        paper.want(at(20), wanted(1, 0));
        assert_eq!((view(&paper).ready, view(&paper).ordered.len()), (1, 0));
    }

    #[test]
    fn what_is_kept_is_bounded_however_demand_jumps() {
        let mut paper = Paper::default();
        paper.begin(at(0), 0, 0);
        for n in 0..2_000 {
            paper.want(at(n), wanted(n as u32 % 400, 0));
        }
        assert!(paper.active_coming.len() <= ORDERS_MAX && paper.stretches.len() <= STRETCHES_MAX);
        assert!(view(&paper).ordered.is_sorted_by_key(|ordered| ordered.ready_at));
    }
}
