//! How far above the median to provision: learned online, so that missed demand meets the error budget.
//!
//! A quantile of the forecast says how often demand is above it, not how much of it is then missed, and capacity comes in
//! whole instances; so the level that spends exactly the budget cannot be computed, only found. Classic adaptive
//! conformal control moves one level by the miss of the level in force, and with budgets of a thousandth it sees a miss too
//! rarely to move well. But demand is observed in full also when it is missed. So every rule of a grid (see [`family`]) is
//! played at every step on paper: what it would have decided, with the same delays, what that would have cost, and what it
//! would have missed. [`choice`] picks from these books.

use std::collections::VecDeque;

mod choice;
mod family;
mod lately;

pub(crate) use choice::{Aim, Share, choose_cheap, choose_one, choose_two};
pub use family::MarginRule;
pub(crate) use family::{FAMILIES, FAMILIES_ACTIVE, Family, LEVELS, Levels, REACTIVES, Rule, Sight};
use lately::Lately;

/// What one rule would decide now: what is needed at once, and what is not given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) need: u32,
    pub(crate) keep: u32,
}

/// The rule of both tiers: go up to the need at once, go down only to what is kept.
pub(crate) fn settle(before: u32, call: Call) -> u32 {
    call.need.max(before.min(call.keep))
}

/// How readings within a step mend a shortage, whatever the rule that left it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mended {
    /// Share of the step that is over by then.
    pub(crate) after: f64,
    /// The instances that there are from then on, if they were fewer before.
    pub(crate) to: u32,
}

impl Mended {
    /// Nobody looked before the step was over.
    pub(crate) const NEVER: Mended = Mended { after: 1.0, to: 0 };
}

/// Plays all rules of one tier on paper.
#[derive(Debug, Clone)]
pub(crate) struct MarginControl {
    families: &'static [Family],
    /// One for each level of each family, as are the decisions of a step.
    books: Vec<Book>,
    prior: [f64; LEVELS],
    demand: f64,
    prior_weight: f64,
    steps: f64,
    demand_mean: f64,
    /// What was decided for the steps of one lead time, newest last.
    decisions: VecDeque<Vec<u32>>,
    lately: Lately,
}

#[derive(Debug, Clone, Copy, Default)]
struct Book {
    missed: f64,
    /// The sum of the squares of what was missed: how much of it hangs on a few steps.
    squares: f64,
    cost: f64,
}

impl MarginControl {
    /// Rules that look at the forecast.
    pub(crate) fn forecasting() -> Self {
        Self::new(FAMILIES, Family::Quantile.prior(0.0, 0.0))
    }

    /// Rules that look at the forecast, of the active tier beside a standby tier.
    pub(crate) fn forecasting_active() -> Self {
        Self::new(&FAMILIES_ACTIVE, Family::Quantile.prior(0.0, 0.0))
    }

    /// Multiples of the demand of now: target utilisations from 1 down. The prior holds that `utilisation` spends exactly
    /// `budget`.
    pub(crate) fn reactive(utilisation: f64, budget: f64) -> Self {
        Self::new(&[Family::Reactive], Family::Reactive.prior(utilisation, budget))
    }

    fn new(families: &'static [Family], prior: [f64; LEVELS]) -> Self {
        MarginControl {
            families,
            books: vec![Book::default(); families.len() * LEVELS],
            prior,
            demand: 0.0,
            prior_weight: PRIOR_STEPS,
            steps: 0.0,
            demand_mean: 0.0,
            decisions: VecDeque::new(),
            lately: Lately::default(),
        }
    }

    /// Lets every rule decide on the coming step, by what the levels of its family need and what they keep. `lag` is the lead
    /// time of the tier in steps: capacity counts only once it has been wanted for that long. What was needed within
    /// `lately` steps or twice as many is kept.
    pub(crate) fn decide(
        &mut self,
        lag: usize,
        lately: usize,
        need: impl Fn(Family) -> Levels<u32>,
        keep: impl Fn(Family) -> Levels<u32>,
    ) {
        let rows = lag.min(LAG_MAX) + 1;
        let mut oldest = Vec::new();
        while self.decisions.len() >= rows {
            oldest = self.decisions.pop_front().unwrap_or_default();
        }
        // The row that is no longer looked at takes up the new one.
        if let Some(newest) = self.decisions.back() {
            oldest.clone_from(newest);
        }
        if lately > 0 {
            self.lately.begin_step(lately, self.books.len());
        }
        self.settle_all(oldest, need, keep);
    }

    /// Lets every rule decide once more on the step that it decided on last, as more is known by now.
    pub(crate) fn decide_again(
        &mut self,
        need: impl Fn(Family) -> Levels<u32>,
        keep: impl Fn(Family) -> Levels<u32>,
    ) {
        let Some(mut decided) = self.decisions.pop_back() else { return };
        match self.decisions.back() {
            Some(before) => decided.clone_from(before),
            None => decided.clear(),
        }
        self.settle_all(decided, need, keep);
    }

    /// Turns what was decided before, if anything was, into what is decided now.
    fn settle_all(
        &mut self,
        mut decided: Vec<u32>,
        need: impl Fn(Family) -> Levels<u32>,
        keep: impl Fn(Family) -> Levels<u32>,
    ) {
        let first = decided.is_empty();
        decided.resize(self.books.len(), 0);
        for (f, &family) in self.families.iter().enumerate() {
            let (at, need) = (f * LEVELS, need(family));
            let decided = &mut decided[at..at + LEVELS];
            // What is kept matters only where less is needed than there was.
            if first || need.iter().zip(&*decided).all(|(need, before)| need >= before) {
                decided.copy_from_slice(&need);
            } else {
                let mut keep = keep(family);
                self.lately.raise(at, &mut keep);
                let calls = need.into_iter().zip(keep).map(|(need, keep)| Call { need, keep });
                decided.iter_mut().zip(calls).for_each(|(decided, call)| *decided = settle(*decided, call));
            }
            self.lately.note(at, &need);
        }
        self.decisions.push_back(decided);
    }

    /// The demand of the step that was decided on last. `limit` is the number of instances that there were to use at
    /// most; a shortage was mended as `mended` says.
    pub(crate) fn observe(
        &mut self,
        demand: f64,
        capacity: f64,
        limit: u32,
        mended: Mended,
        memory_steps: f64,
    ) {
        let Some(newest) = self.decisions.back() else { return };
        let fade = 1.0 - 1.0 / memory_steps.max(2.0);
        self.demand = self.demand * fade + demand;
        self.prior_weight *= fade;
        self.steps = (self.steps + 1.0).min(memory_steps.max(2.0));
        self.demand_mean += (demand - self.demand_mean) / self.steps;
        // Row by row, for the rows of a long lead time are many.
        let mut available = [limit; FAMILIES_ACTIVE.len() * LEVELS];
        for decided in &self.decisions {
            for (available, decided) in available.iter_mut().zip(decided) {
                *available = (*available).min(*decided);
            }
        }
        let demand = demand.min(f64::from(limit) * capacity);
        for ((book, &newest), &available) in self.books.iter_mut().zip(newest).zip(&available) {
            let served = f64::from(available) * capacity;
            let lacked = (demand - served).max(0.0) * mended.after;
            book.missed = book.missed * fade + lacked;
            book.squares = book.squares * fade * fade + lacked * lacked;
            let raised = f64::from(mended.to.min(limit).saturating_sub(newest));
            book.cost = book.cost * fade + f64::from(newest) + raised * (1.0 - mended.after);
        }
        // The next decision comes down from what was there in the end.
        if let Some(newest) = self.decisions.back_mut() {
            newest.iter_mut().for_each(|newest| *newest = (*newest).max(mended.to.min(limit)));
        }
    }

    /// Enough was played to know what each rule is worth.
    pub(crate) fn is_proven(&self) -> bool {
        self.steps >= STEPS_PROVEN
    }

    /// The instances that a rule had available for the step that comes.
    pub(crate) fn available(&self, rule: Rule) -> u32 {
        let family = self.families.iter().position(|family| *family == rule.family).unwrap_or(0);
        let k = family * LEVELS + (rule.at.round().max(0.0) as usize).min(LEVELS - 1);
        self.decisions.iter().map(|decided| decided[k]).min().unwrap_or(u32::MAX)
    }
}

/// Other families than the first are used once they were played for so many steps.
const STEPS_PROVEN: f64 = 200.0;
/// The prior counts as much as this many steps of mean demand.
const PRIOR_STEPS: f64 = 150.0;
/// Decisions remembered for the lead time, in steps.
const LAG_MAX: usize = 300;

#[cfg(test)]
mod tests;
