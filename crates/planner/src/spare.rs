//! Spare instances that workloads of one template share: ready and parked, and whoever needs one takes it.
//!
//! A spare must be in somebody's table, so each member holds a share of the pool among its standbys; a member without one
//! of its own takes one of another, which is a promotion that assigns it (`Claim`). What each would hold alone is cut to its
//! share, so that all shares together are the pool.
//!
//! How large the pool is, is decided as all margins here: every level of a grid says how many instances all members together
//! may need beyond their active ones before a spare is replaced (a quantile of the sum of what each may need, over the lead
//! time as measured), and is played on paper with what they really needed. An active instance that its own workload does
//! not need helps nobody else, so it is what each lacks that is summed. Of the levels that miss no more than the private standbys would have
//! missed on the same demand, or than the error budget allows, the one that cost least is used. So the forecast says how
//! many, the lead time how far it looks, and the accuracy of late which quantile.

mod sum;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use forecast::Timestamp;

pub(crate) use sum::Needs;
use sum::{Together, together};

use crate::margin::{Call, settle};
use crate::policy::{About, Mode, Policy, PolicyError, WorkloadPolicy};

/// What a member would do alone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Alone {
    /// Active instances that its plan wants.
    pub(crate) active: u32,
    /// Standbys that it would hold alone.
    pub(crate) standby: u32,
    /// Its share of the pool.
    pub(crate) share: u32,
}

/// What a member says when a step is over.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// Whole instances that its demand needed.
    pub(crate) needed: u32,
    /// What it was expected to need at the median.
    pub(crate) expected: u32,
    /// What it may need within the refill lead.
    pub(crate) needs: Needs,
    /// Its forecast is trusted.
    pub(crate) trusted: bool,
}

/// The numbers behind the size of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sized {
    /// Spares that the pool is to have.
    pub(crate) spares: u32,
    /// Active instances of all members when that was decided; those that came since were spares.
    active: u32,
    /// Probability with which more are needed, as far as forecasts say.
    pub(crate) tail: f64,
    pub(crate) correlation: f64,
    pub(crate) lead: Duration,
}

/// The workloads of one template and what they share.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) template: String,
    /// Their places in the policy.
    pub(crate) members: Vec<usize>,
    alone: Vec<Alone>,
    /// Members that have reported the step that began then.
    reported: BTreeSet<usize>,
    step: Option<Timestamp>,
    budget: f64,
    price: f64,
    together: Together,
    levels: Vec<Book>,
    /// What the members alone would have missed.
    apart: f64,
    /// Decisions of the steps of one lead time, newest last.
    decided: VecDeque<Decided>,
    needed_mean: f64,
    steps: f64,
    pub(crate) size: Option<Sized>,
}

/// What was decided for a step.
#[derive(Debug, Clone)]
struct Decided {
    /// Spares, by level.
    levels: Vec<u32>,
    /// What each member had and would have had alone.
    members: Vec<Alone>,
}

impl Decided {
    /// Instances that each member lacks beyond its active ones, and `standby` of its own.
    fn lacking(&self, said: &[Said], standby: fn(&Alone) -> u32) -> u32 {
        let each = self.members.iter().zip(said);
        each.map(|(member, said)| said.needed.saturating_sub(member.active + standby(member))).sum()
    }

    fn active(&self) -> u32 {
        self.members.iter().map(|member| member.active).sum()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Book {
    missed: f64,
    cost: f64,
}

impl Pool {
    fn new(template: String) -> Pool {
        Pool {
            template,
            members: Vec::new(),
            alone: Vec::new(),
            reported: BTreeSet::new(),
            step: None,
            budget: f64::INFINITY,
            price: 0.0,
            together: Together::default(),
            levels: vec![Book::default(); TAILS.len() + BEYOND as usize],
            apart: 0.0,
            decided: VecDeque::new(),
            needed_mean: 0.0,
            steps: 0.0,
            size: None,
        }
    }

    fn join(&mut self, index: usize, policy: &WorkloadPolicy) {
        self.members.push(index);
        self.alone.push(Alone::default());
        self.budget = self.budget.min(policy.objective.error_budget);
        self.price = self.price.max(policy.prices.standby / policy.prices.active);
    }

    /// A member has reported a step; whether all have, or the next one has begun.
    pub(crate) fn report(&mut self, index: usize, step: Timestamp) -> bool {
        let over = self.step.is_some_and(|before| step > before) && !self.reported.is_empty();
        if self.step.is_none_or(|before| step >= before) {
            if over || self.step != Some(step) {
                self.reported.clear();
            }
            self.step = Some(step);
            self.reported.insert(index);
        }
        let all = self.reported.len() == self.members.len();
        if all {
            self.reported.clear();
        }
        over || all
    }

    /// A step is over: books it for every level, and sizes the pool anew. `lag`: steps that a refill takes.
    pub(crate) fn settle(&mut self, said: &[Said], lag: usize, lead: Duration) {
        self.book(said);
        let fade = 1.0 - 1.0 / MEMORY_STEPS;
        let errors = said.iter().map(|s| (f64::from(s.needed), f64::from(s.expected)));
        self.together.observe(errors, fade);
        let beyond = said.iter().zip(&self.alone).map(|(said, alone)| said.needs.beyond(alone.active));
        let members: Vec<Needs> = beyond.collect();
        let sum = members.iter().fold(Needs::none(), |sum, needs| sum.plus(needs));
        let correlation = self.together.correlation();
        let wants = |level: usize| {
            let beyond = (level + 1).saturating_sub(TAILS.len());
            together(&members, &sum, TAILS[level - beyond], correlation) + beyond as u32
        };
        let keep = lag.min(LAG_MAX) + 1;
        let levels = (0..self.levels.len()).map(wants).collect();
        let before = self.size.map_or(0, |size| size.spares);
        self.decided.push_back(Decided { levels, members: self.alone.clone() });
        while self.decided.len() > keep {
            self.decided.pop_front();
        }
        let level = self.choose();
        let active = self.decided.back().map_or(0, Decided::active);
        let need = self.decided.back().map_or(0, |decided| decided.levels[level]);
        // What was wanted in all within one refill is not given up: replacing it would hardly be over.
        let lately = self.decided.iter().map(|decided| decided.levels[level] + decided.active()).max();
        let keep = lately.unwrap_or(0).saturating_sub(active);
        let spares = settle(before, Call { need, keep });
        let proven = self.steps >= STEPS_PROVEN && said.iter().all(|s| s.trusted);
        let tail = TAILS[level.min(TAILS.len() - 1)];
        self.size = proven.then_some(Sized { spares, active, tail, correlation, lead });
    }

    fn book(&mut self, said: &[Said]) {
        if self.decided.is_empty() {
            return;
        }
        let fade = 1.0 - 1.0 / MEMORY_STEPS;
        let needed: u32 = said.iter().map(|s| s.needed).sum();
        self.steps = (self.steps + 1.0).min(MEMORY_STEPS);
        self.needed_mean += (f64::from(needed) - self.needed_mean) / self.steps;
        let lacking: Vec<u32> = self.decided.iter().map(|decided| decided.lacking(said, |_| 0)).collect();
        for (k, book) in self.levels.iter_mut().enumerate() {
            let short = lacking
                .iter()
                .zip(&self.decided)
                .map(|(lack, decided)| lack.saturating_sub(decided.levels[k]));
            let newest = self.decided.back().map_or(0, |decided| decided.levels[k]);
            book.missed = book.missed * fade + f64::from(short.max().unwrap_or(0));
            book.cost = book.cost * fade + f64::from(newest);
        }
        let missed = self.decided.iter().map(|decided| decided.lacking(said, |member| member.standby)).max();
        self.apart = self.apart * fade + f64::from(missed.unwrap_or(0));
    }

    /// The level that cost least of those that missed no more than they may.
    fn choose(&self) -> usize {
        let seen = self.needed_mean * self.steps;
        let allowed = self.apart.max(BUDGET_SHARE * self.budget * seen);
        let price = |level: usize| {
            let book = self.levels[level];
            let believed = PRIOR_STEPS * (1.0 - self.steps / MEMORY_STEPS).max(0.0) * self.needed_mean;
            let tail = TAILS[level.min(TAILS.len() - 1)];
            let missed = book.missed + believed * tail * MISS_OF_TAIL;
            self.price * book.cost + WORTH / self.budget * (missed - allowed).max(0.0)
        };
        let best = (0..self.levels.len()).min_by(|a, b| price(*a).total_cmp(&price(*b)));
        best.unwrap_or(self.levels.len() - 1)
    }

    /// What a member holds of the pool, if it would hold `alone` otherwise: whatever the others leave of it.
    fn share(&mut self, slot: usize, alone: Alone, most: u32, bound: bool) -> Share {
        self.alone[slot] = Alone { share: alone.standby, ..alone };
        let private: u32 = self.alone.iter().map(|a| a.standby).sum();
        let active: u32 = self.alone.iter().map(|a| a.active).sum();
        let left = |size: Sized| size.spares.saturating_sub(active.saturating_sub(size.active));
        let size = self.size.map_or(private, left).min(private);
        if !bound {
            let others: u32 = self.alone.iter().map(|a| a.share).sum::<u32>() - alone.standby;
            self.alone[slot].share =
                size.saturating_sub(others).min(alone.standby.max(size.div_ceil(2))).min(most);
        }
        Share { share: self.alone[slot].share, size, private }
    }
}

/// A member's part of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) share: u32,
    /// Spares in the whole pool.
    pub(crate) size: u32,
    /// What all members would hold without it.
    pub(crate) private: u32,
}

/// All pools of a planner.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pools {
    pub(crate) list: Vec<Pool>,
    /// By workload: its pool, and its slot there.
    of: BTreeMap<usize, (usize, usize)>,
    /// Members with orders to give; others may lend them first.
    pub(crate) deferred: BTreeSet<usize>,
    /// Orders are given now.
    pub(crate) serving: bool,
}

impl Pools {
    /// Workloads that act and name the same template share a pool.
    pub(crate) fn new(policy: &Policy) -> Pools {
        let mut pools = Pools::default();
        for (index, workload) in policy.workloads.iter().enumerate() {
            let Some(template) = workload.template.as_ref().filter(|_| workload.mode == Mode::Act) else {
                continue;
            };
            let known = pools.list.iter().position(|pool| pool.template == *template);
            let at = known.unwrap_or_else(|| {
                pools.list.push(Pool::new(template.clone()));
                pools.list.len() - 1
            });
            pools.of.insert(index, (at, pools.list[at].members.len()));
            pools.list[at].join(index, workload);
        }
        pools
    }

    /// The pool of a workload.
    pub(crate) fn pool(&mut self, index: usize) -> Option<&mut Pool> {
        let (pool, _) = self.of.get(&index)?;
        self.list.get_mut(*pool)
    }

    /// The share of a workload in its pool, at most `most`. `bound`: it must keep what it would hold alone.
    pub(crate) fn share(
        &mut self,
        index: usize,
        alone: Alone,
        most: u32,
        bound: bool,
    ) -> Option<(Share, &Pool)> {
        let (pool, slot) = *self.of.get(&index)?;
        let pool = self.list.get_mut(pool)?;
        let share = pool.share(slot, alone, most, bound);
        Some((share, pool))
    }

    /// A member has given one of its spares away.
    pub(crate) fn gave(&mut self, index: usize) {
        if let Some((pool, slot)) = self.of.get(&index).copied() {
            let share = &mut self.list[pool].alone[slot].share;
            *share = share.saturating_sub(1);
        }
    }

    /// Whether the orders of a workload wait until others were asked to lend.
    pub(crate) fn defers(&mut self, index: usize) -> bool {
        let waits = !self.serving && self.of.contains_key(&index);
        if waits {
            self.deferred.insert(index);
        }
        waits
    }
}

/// Rules for workloads that share a template.
pub(crate) fn validate(policy: &Policy, errors: &mut Vec<PolicyError>) {
    for workload in &policy.workloads {
        let Some(template) = &workload.template else { continue };
        let mut require = |ok: bool, rule: &'static str| {
            if !ok {
                errors.push(PolicyError {
                    about: About::Workload(workload.id.clone()),
                    field: "template",
                    rule,
                });
            }
        };
        let same = |other: &WorkloadPolicy| other.step == workload.step;
        let siblings = || policy.workloads.iter().filter(|other| other.template.as_ref() == Some(template));
        require(!template.is_empty(), "must not be empty");
        require(policy.nodes.is_empty(), "cannot be used where nodes are given");
        require(workload.sizing.is_none(), "cannot be used where instances are sized");
        require(workload.sessions.is_none(), "cannot be used where instances hold sessions");
        require(siblings().all(same), "must have the same step in all its workloads");
    }
}

/// Tail probabilities of the first levels; each further level adds an instance to the last.
const TAILS: [f64; 16] =
    [0.5, 0.3, 0.2, 0.12, 0.07, 0.04, 0.025, 0.015, 0.008, 0.004, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 1e-5];
const BEYOND: u32 = 8;
const LAG_MAX: usize = 300;
/// How long the books remember.
const MEMORY_STEPS: f64 = 3_000.0;
/// Until so many steps were played each member keeps what it would hold alone.
const STEPS_PROVEN: f64 = 100.0;
/// The pool may miss this part of the error budget, or what the members alone would have missed.
const BUDGET_SHARE: f64 = 0.01;
/// Missing one instance-step is worth this many instance-steps, divided by the budget: as of margins with a debt, because a
/// pool that is short fails several workloads at once.
const WORTH: f64 = 2.0;
/// What is believed of a level beforehand counts as much as so many steps, and fades.
const PRIOR_STEPS: f64 = 150.0;
const MISS_OF_TAIL: f64 = 0.1;
