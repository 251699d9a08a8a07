//! Which rule to use: the one that was cheapest on paper among those that keep the budget.
//!
//! With two tiers the budget is shared: what is missed because too few were active, and what is missed because there were
//! too few at all. The pair is chosen that costs least together, so the price of a standby decides how generous each tier is
//! (the newsvendor's question, answered from what happened). A budget that is overspent in truth tightens the target (the
//! integral term of conformal PID control, Angelopoulos et al. 2023), so that long-run misses meet the budget for any demand
//! that more instances can serve at all. Rules whose extra cost buys nearly nothing (a spike that no level foresaw) are not
//! climbed to.

use super::{LEVELS, MarginControl, Rule};

/// What the rules are steered to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Aim {
    /// Share of the demand that may be missed.
    target: f64,
    /// Missing one instance-step is worth at most this many instance-steps.
    worth: f64,
}

impl Aim {
    /// For an error budget. `debt` is what was missed beyond the budget, as a share of the largest debt that is carried;
    /// below zero it is what was saved. A debt tightens the target and makes levels worth their price that would be too
    /// expensive otherwise.
    pub(crate) fn new(budget: f64, debt: f64) -> Aim {
        let owed = debt.clamp(0.0, 1.0);
        let worth = WORTH_MIN + (WORTH_MAX - WORTH_MIN) * owed;
        Aim { target: budget * (AIM - debt).clamp(TARGET_MIN, TARGET_MAX), worth: worth / budget }
    }
}

/// What an instance-step costs in each tier, relative to an active one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    /// Price of a standby.
    pub(crate) standby: f64,
    /// Price of what a standby is when it is given up: 0 where it is removed.
    pub(crate) below: f64,
    /// What colder levels are held to miss, in instance-steps.
    pub(crate) spent: f64,
}

/// A rule with what it would have cost (instance-steps) and missed (instance-steps).
#[derive(Debug, Clone, Copy)]
struct Entry {
    index: usize,
    cost: f64,
    missed: f64,
}

/// The rule of a single tier.
pub(crate) fn choose_one(control: &MarginControl, aim: Aim, capacity: f64, before: Option<Rule>) -> Rule {
    let allowed = aim.target * control.total() / capacity;
    let entries = control.entries(capacity, before, 0.0);
    let price = |entry: &Entry| entry.cost + aim.worth * (entry.missed - allowed).max(0.0);
    let Some(best) = least(entries.iter().copied(), price) else { return control.rule(LEVELS - 1) };
    control.spend(best, allowed, capacity, 0.0)
}

/// The rules of the active tier and of both tiers together.
pub(crate) fn choose_two(
    controls: (&MarginControl, &MarginControl),
    aim: Aim,
    capacity: f64,
    share: Share,
    before: Option<(Rule, Rule)>,
) -> (Rule, Rule) {
    let (active, total) = controls;
    let allowed = (aim.target * total.total() / capacity - share.spent).max(0.0);
    let prices = (1.0 - share.standby, share.standby - share.below);
    let price = |(a, t): &(Entry, Entry)| {
        prices.0 * a.cost + prices.1 * t.cost + aim.worth * (a.missed + t.missed - allowed).max(0.0)
    };
    let mut entries = (
        active.entries(capacity, before.map(|rules| rules.0), PAIR_DOUBT),
        total.entries(capacity, before.map(|rules| rules.1), PAIR_DOUBT),
    );
    leave_hopeless(&mut entries, prices, aim.worth, allowed, &price);
    let fronts = (pareto(entries.0), pareto(entries.1));
    let pairs = fronts.1.iter().flat_map(|t| fronts.0.iter().map(move |a| (*a, *t)));
    let Some((a, t)) = least(pairs, price) else { return (active.rule(LEVELS - 1), total.rule(LEVELS - 1)) };
    let left = (allowed - t.missed).max(0.0);
    (active.spend(a, left, capacity, PAIR_DOUBT), total.rule(t.index))
}

/// The rule of a level that is cheap beside the others: each instance-step is worth keeping until it costs more than what is
/// missed without it, whatever the budget would allow. Returns what the rule misses, in instance-steps, too.
pub(crate) fn choose_cheap(
    control: &MarginControl,
    aim: Aim,
    capacity: f64,
    price: f64,
    before: Option<Rule>,
) -> (Rule, f64) {
    let entries = control.entries(capacity, before, 0.0);
    let total = |entry: &Entry| price * entry.cost + aim.worth * entry.missed;
    least(entries.iter().copied(), total)
        .map_or((control.rule(LEVELS - 1), 0.0), |best| (control.rule(best.index), best.missed))
}

/// Takes out what no best pair has: whoever, beside the best of both of the other tier, costs more than a pair at hand.
fn leave_hopeless(
    entries: &mut (Vec<Entry>, Vec<Entry>),
    prices: (f64, f64),
    worth: f64,
    allowed: f64,
    price: &impl Fn(&(Entry, Entry)) -> f64,
) {
    let apart = |entries: &[Entry], price: f64| {
        least(entries.iter().copied(), |entry| price * entry.cost + worth * entry.missed)
    };
    let (Some(a), Some(t)) = (apart(&entries.0, prices.0), apart(&entries.1, prices.1)) else { return };
    let bound = price(&(a, t)) * (1.0 + 1e-6);
    let leave = |entries: &mut Vec<Entry>, own: f64, others: &[Entry], other: f64| {
        let start = (f64::INFINITY, f64::INFINITY);
        let (cost, missed) =
            others.iter().fold(start, |best, entry| (best.0.min(entry.cost), best.1.min(entry.missed)));
        let lowest = |e: &Entry| own * e.cost + other * cost + worth * (e.missed + missed - allowed).max(0.0);
        entries.retain(|entry| lowest(entry) <= bound);
    };
    leave(&mut entries.0, prices.0, &entries.1, prices.1);
    leave(&mut entries.1, prices.1, &entries.0, prices.0);
    leave(&mut entries.0, prices.0, &entries.1, prices.1);
}

fn least<T: Copy>(all: impl Iterator<Item = T>, price: impl Fn(&T) -> f64) -> Option<T> {
    let mut best: Option<(f64, T)> = None;
    for one in all {
        let price = price(&one);
        // The first among equals: the lowest level of the first family.
        if best.is_none_or(|best| price < best.0 * (1.0 - 1e-9)) {
            best = Some((price, one));
        }
    }
    best.map(|best| best.1)
}

/// Without those that cost more and miss no less than another, the one that misses least first.
fn pareto(mut entries: Vec<Entry>) -> Vec<Entry> {
    let order = |a: &Entry, b: &Entry| a.missed.total_cmp(&b.missed).then(a.cost.total_cmp(&b.cost));
    entries.sort_unstable_by(|a, b| order(a, b).then(a.index.cmp(&b.index)));
    let mut cheapest = f64::INFINITY;
    entries.retain(|entry| {
        let keeps = entry.cost < cheapest;
        cheapest = cheapest.min(entry.cost);
        keeps
    });
    entries
}

impl MarginControl {
    /// Demand that was played, and what is believed beforehand.
    fn total(&self) -> f64 {
        self.demand + self.prior_weight * self.demand_mean.max(f64::MIN_POSITIVE)
    }

    fn rule(&self, index: usize) -> Rule {
        Rule { family: self.families[index / LEVELS], at: (index % LEVELS) as f64 }
    }

    /// What a rule is held to miss: what it missed on paper, `doubt` standard errors more, and what is believed beforehand.
    fn missed(&self, index: usize, doubt: f64) -> f64 {
        let believed = self.prior_weight * self.demand_mean.max(f64::MIN_POSITIVE);
        let book = &self.books[index];
        book.missed + doubt * book.squares.sqrt() + self.prior[index % LEVELS] * believed
    }

    fn entries(&self, capacity: f64, before: Option<Rule>, doubt: f64) -> Vec<Entry> {
        // What is believed beforehand about misses costs as much per step as what was seen.
        let scale = 1.0 + self.prior_weight / self.steps.max(1.0);
        let proven = if self.is_proven() { self.families.len() } else { 1 };
        let mut entries = Vec::with_capacity(proven * LEVELS);
        for (place, &family) in self.families[..proven].iter().enumerate() {
            let newcomer = place > 0 && before.is_none_or(|rule| rule.family != family);
            let dearer = if newcomer { NEWCOMER } else { 1.0 };
            entries.extend((place * LEVELS..(place + 1) * LEVELS).map(|index| Entry {
                index,
                cost: self.books[index].cost * scale * dearer,
                missed: self.missed(index, doubt) / capacity,
            }));
        }
        entries
    }

    /// Goes down from a level towards the one below it until what may be missed is missed. Misses fall ever more slowly along
    /// the grid, so a straight line between two levels errs on the safe side.
    fn spend(&self, best: Entry, allowed: f64, capacity: f64, doubt: f64) -> Rule {
        let mut rule = self.rule(best.index);
        if rule.at >= 1.0 && best.missed < allowed {
            let above = self.missed(best.index - 1, doubt) / capacity;
            if above > allowed {
                rule.at -= ((allowed - best.missed) / (above - best.missed)).clamp(0.0, 1.0);
            }
        }
        rule
    }
}

/// Missing one instance-step is worth this many instance-steps, divided by the budget, without a debt.
const WORTH_MIN: f64 = 0.3;
/// The same with the largest debt.
const WORTH_MAX: f64 = 1.0;
/// Without a debt, a little less than the budget is aimed at.
const AIM: f64 = 0.95;
/// The best of very many pairs looks better on paper than it is; so what each of its rules missed counts for so many standard
/// errors more. Measured: 0.7 to 2 help about as much, and with a single tier, whose rules are few, nothing does.
const PAIR_DOUBT: f64 = 1.0;
const TARGET_MIN: f64 = 0.02;
const TARGET_MAX: f64 = 1.5;
/// Other families than the first are used when they cost less by this factor.
const NEWCOMER: f64 = 1.01;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn entries(numbers: Vec<(f64, f64)>) -> Vec<Entry> {
        let entry = |(index, (cost, missed))| Entry { index, cost, missed };
        numbers.into_iter().enumerate().map(entry).collect()
    }

    proptest! {
        #[test]
        fn nothing_that_is_left_out_beats_what_is_left(
            active in vec((0.0..100.0f64, 0.0..5.0f64), 1..40),
            total in vec((0.0..100.0f64, 0.0..5.0f64), 1..40),
            standby in 0.0..1.0f64,
            worth in 0.1..1e3f64,
            allowed in 0.0..5.0f64,
        ) {
            let prices = (1.0 - standby, standby);
            let price = |(a, t): &(Entry, Entry)| {
                prices.0 * a.cost + prices.1 * t.cost + worth * (a.missed + t.missed - allowed).max(0.0)
            };
            let cheapest = |(a, t): &(Vec<Entry>, Vec<Entry>)| {
                let pairs = t.iter().flat_map(|t| a.iter().map(move |a| (*a, *t)));
                least(pairs, price).map(|pair| price(&pair))
            };
            let all = (entries(active), entries(total));
            let mut left = all.clone();
            leave_hopeless(&mut left, prices, worth, allowed, &price);
            let fronts = (pareto(left.0), pareto(left.1));
            let (all, left) = (cheapest(&all).unwrap(), cheapest(&fronts).unwrap());
            // What is nearly as cheap counts as equal.
            prop_assert!(left <= all * (1.0 + 1e-6) + 1e-9, "{left} {all}");
        }
    }
}
