//! What is known and expected of a workload's demand, boiled down to the numbers of a plan.
//!
//! Holds the forecaster, the readings between steps, the margin control of each tier, the outage guard and the account of
//! the error budget. Everything here is about demand; nothing is about instances.

use std::collections::VecDeque;
use std::time::Duration;

use forecast::{Ensemble, Timestamp, UntrustedReason, WindowMax};

use crate::capacity::Capacity;
use crate::demand::LoadLevel;
use crate::guard::{COLLAPSE_QUANTILE, Guard};
use crate::lead::LeadTime;
use crate::margin::{
    Aim, Family, LEVELS, MarginControl, Mended, REACTIVES, Rule, Share, choose_one, choose_two,
};
use crate::overrides::ForecastOverrides;
use crate::plan::{hold_beside_standby, instances_for, standby_pays};
use crate::policy::WorkloadPolicy;
use crate::snapshot::Budget;
use crate::warmth::Shelf;

mod nowcast;
mod numbers;
mod overridden;
mod pool;
mod shelf;
mod suspicion;

pub(crate) use pool::steps_ahead;

/// Demand of one workload: past, present and expected.
#[derive(Debug, Clone)]
pub(crate) struct Outlook {
    forecaster: Ensemble,
    /// What it said last of the windows that are asked for again and again.
    known_windows: Vec<WindowMax>,
    /// The same as if the step that has begun were over, once demand was read in it.
    nowcast: Vec<WindowMax>,
    /// What operators know better.
    pub(crate) overrides: ForecastOverrides,
    pub(crate) load: LoadLevel,
    pub(crate) capacity: Capacity,
    pub(crate) lead_cold: LeadTime,
    pub(crate) lead_promote: LeadTime,
    /// Set where instances can be stopped with their disk kept.
    pub(crate) shelf: Option<Box<Shelf>>,
    pub(crate) guard: Guard,
    pub(crate) budget: Budget,
    active: MarginControl,
    total: MarginControl,
    reactive: MarginControl,
    /// What each tier goes by now.
    rules: Rules,
    /// Demand of the last steps, newest last.
    recent: VecDeque<f64>,
    /// The demand heard of last, from a step or a reading. It stays the floor until a newer one says otherwise.
    heard: Option<f64>,
    /// The highest demand seen, slowly forgotten.
    peak: f64,
    /// End of the last step that was reported, whether or not with a value.
    origin: Option<Timestamp>,
    /// The same until the first reading after it.
    unread: Option<Timestamp>,
    /// The clock was set back, and no step was learned since.
    set_back: bool,
    /// How long after the beginning of a step its first reading comes, as a share of the step.
    reading_delay: f64,
    missing_in_row: u32,
    /// Missed demand beyond the budget (or, below zero, still to spend), within bounds.
    debt: f64,
    /// Steps since the start (not those learned from). What is missed before the first instances can be up is no debt.
    steps_run: usize,
    /// The levels of the quantiles have decided on the coming step.
    played: bool,
    /// The lowest demand of the next step that the forecast thought possible.
    low_expected: f64,
    /// The highest one.
    high_expected: f64,
    /// Active instances that the plans of the last steps wanted, newest last.
    decided: VecDeque<u32>,
    /// The most active instances wanted since the last step.
    decided_max: u32,
    /// Instances that the coming step was expected to need, where spares are shared.
    expected: Option<u32>,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// All was learned from it.
    Learned,
    /// It is out of order, so that the forecaster refused it; but it is the newest that was heard of demand.
    Heard,
    /// It is no demand at all.
    Refused,
}

/// The rules in force: of each tier with a forecast, and without.
#[derive(Debug, Clone, Copy)]
struct Rules {
    active: Rule,
    total: Rule,
    reactive: Rule,
}

/// The forecast windows that a plan looks at, in steps.
#[derive(Debug, Clone, Copy)]
struct Windows {
    active: usize,
    hold: usize,
    total: usize,
    /// When there is one tier only: demand within it keeps an instance.
    hold_cold: usize,
    keep: usize,
}

impl Outlook {
    pub(crate) fn new(policy: &WorkloadPolicy, forecaster: Ensemble, samples_max: usize) -> Self {
        let budget = policy.objective.error_budget;
        let mut outlook = Outlook {
            forecaster,
            known_windows: Vec::new(),
            nowcast: Vec::new(),
            overrides: ForecastOverrides::default(),
            load: LoadLevel::default(),
            capacity: Capacity::new(policy.capacity),
            lead_cold: LeadTime::new(policy.lead_cold, samples_max),
            lead_promote: LeadTime::new(policy.lead_promote, samples_max),
            shelf: Shelf::of(policy, samples_max),
            guard: Guard::new(),
            budget: Budget { error_budget: budget, ..Budget::default() },
            active: MarginControl::forecasting_active(),
            total: MarginControl::forecasting(),
            reactive: MarginControl::reactive(policy.utilisation_untrusted, budget),
            rules: Rules {
                active: Rule { family: Family::Quantile, at: 0.0 },
                total: Rule { family: Family::Quantile, at: 0.0 },
                reactive: Rule { family: Family::Reactive, at: 0.0 },
            },
            recent: VecDeque::new(),
            heard: None,
            peak: 0.0,
            origin: None,
            unread: None,
            set_back: false,
            reading_delay: 1.0,
            missing_in_row: 0,
            debt: 0.0,
            steps_run: 0,
            played: false,
            low_expected: 0.0,
            high_expected: f64::INFINITY,
            decided: VecDeque::new(),
            decided_max: 0,
            expected: None,
        };
        outlook.choose_rules(policy);
        outlook
    }

    pub(crate) fn forecaster(&self) -> &Ensemble {
        &self.forecaster
    }

    /// The forecaster, about to say something else than before.
    pub(crate) fn forecaster_mut(&mut self) -> &mut Ensemble {
        self.known_windows.clear();
        self.nowcast.clear();
        &mut self.forecaster
    }

    /// Asks once for every window that the next plans look at.
    fn look_ahead(&mut self, policy: &WorkloadPolicy) {
        let Windows { active, hold, total, hold_cold, keep } = self.windows(policy, Duration::ZERO);
        let pays = standby_pays(policy, self.lead_promote.estimate(), self.lead_up(policy));
        let all = if pays { [1, active, hold, total, keep] } else { [1, active, total, hold_cold, keep] };
        self.known_windows.reserve_exact(all.len());
        for steps in all.into_iter().chain(self.shelf_windows(policy, Duration::ZERO)) {
            if self.known_windows.iter().all(|window| window.steps() != steps) {
                self.known_windows.push(self.forecaster.window_max(steps));
            }
        }
    }

    /// Takes in a complete step. `errors` tells that most of what serves now fails.
    pub(crate) fn observe_step(
        &mut self,
        policy: &WorkloadPolicy,
        now: Timestamp,
        step_start: Timestamp,
        demand: Option<f64>,
        missed: f64,
        errors: bool,
    ) -> Intake {
        let demand = demand.filter(|d| !d.is_nan());
        if demand.is_some_and(|d| !d.is_finite() || d < 0.0) {
            return Intake::Refused;
        }
        self.heard = demand.or(self.heard);
        let low_expected = self.low_expected;
        if self.forecaster_mut().observe(step_start, demand).is_err() {
            return if demand.is_some() { Intake::Heard } else { Intake::Refused };
        }
        self.origin = Some(step_start.saturating_add(policy.step));
        self.set_back = false;
        self.unread = self.origin;
        if let Some(demand) = demand {
            self.settle_accounts(policy, now, demand, missed);
        }
        self.suspect(policy, now, demand, low_expected, errors);
        self.look_ahead(policy);
        self.expect_step();
        self.play_levels(policy);
        Intake::Learned
    }

    /// Takes in a reading between steps. `now` is monotone.
    pub(crate) fn observe_load(
        &mut self,
        policy: &WorkloadPolicy,
        now: Timestamp,
        wall: Timestamp,
        demand_now: f64,
    ) {
        self.load.observe(now, demand_now);
        if let Some(origin) = self.unread.take() {
            let delay = wall.since(origin).min(policy.step).as_secs_f64() / policy.step.as_secs_f64();
            self.reading_delay += READING_DELAY_PACE * (delay - self.reading_delay);
        }
        self.heard = self.load.level(now, self.load_age_max(policy));
        self.foresee_from_reading(policy, wall);
    }

    /// Learns from a step of the past, in which nothing was decided.
    pub(crate) fn learn_step(
        &mut self,
        policy: &WorkloadPolicy,
        step_start: Timestamp,
        demand: Option<f64>,
        play: bool,
    ) -> bool {
        let demand = demand.filter(|d| !d.is_nan());
        if demand.is_some_and(|d| !d.is_finite() || d < 0.0)
            || self.forecaster_mut().observe(step_start, demand).is_err()
        {
            return false;
        }
        self.origin = Some(step_start.saturating_add(policy.step));
        if let Some(demand) = demand {
            if play {
                self.settle_levels(policy, demand, Mended::NEVER);
            }
            self.remember(policy, demand);
            self.heard = Some(demand);
        }
        if play {
            self.look_ahead(policy);
            self.expect_step();
            self.play_levels(policy);
        }
        true
    }

    /// The plan in force wants this many active instances.
    pub(crate) fn decided(&mut self, active: u32) {
        self.decided_max = self.decided_max.max(active);
        match self.decided.back_mut() {
            Some(newest) => *newest = active,
            None => self.decided.push_back(active),
        }
    }

    /// Books what a step has missed, both in truth and for every level of the margin controls.
    fn settle_accounts(&mut self, policy: &WorkloadPolicy, now: Timestamp, demand: f64, missed: f64) {
        let live = self.load.level(now, self.load_age_max(policy)).is_some();
        let capacity = self.capacity.estimate();
        let available = if live { Some(self.decided_max) } else { self.decided.iter().min().copied() };
        let own = available.map_or(0.0, |active| (demand - f64::from(active) * capacity).max(0.0));
        let reported = if missed.is_finite() { missed.clamp(0.0, demand) } else { 0.0 };
        self.budget.demand += demand;
        self.budget.missed += own.max(reported);
        self.steps_run += 1;
        if self.steps_run > self.lag(policy, self.lead_cold.estimate()) + STEPS_GRACE {
            let account = self.account(policy.objective.error_budget);
            self.debt += own.max(reported) - policy.objective.error_budget * demand;
            self.debt = self.debt.clamp(-account * DEBT_SAVED, account);
        }
        let mended = if live { self.mended(policy, demand) } else { Mended::NEVER };
        self.settle_levels(policy, demand, mended);
        self.remember(policy, demand);
        let keep = self.lag(policy, self.lead_of_active(policy)) + 1;
        let newest = self.decided.back().copied();
        self.decided.extend(newest);
        while self.decided.len() > keep {
            self.decided.pop_front();
        }
        self.decided_max = newest.unwrap_or(0);
    }

    fn settle_levels(&mut self, policy: &WorkloadPolicy, demand: f64, mended: Mended) {
        let capacity = self.capacity.estimate();
        let memory = memory_steps(policy);
        let ready = self.total.available(self.rules.total);
        if self.played {
            self.active.observe(demand, capacity, ready, mended, memory);
            let ready = self.shelf_in_use(policy).map_or(u32::MAX, Shelf::available);
            self.total.observe(demand, capacity, ready, Mended::NEVER, memory);
            if let Some(shelf) = &mut self.shelf {
                shelf.observe(demand, capacity, memory);
            }
        }
        self.reactive.observe(demand, capacity, u32::MAX, mended, memory);
        self.choose_rules(policy);
    }

    /// Names the rules to go by from now on.
    fn choose_rules(&mut self, policy: &WorkloadPolicy) {
        let aim = self.aim(policy.objective.error_budget);
        let capacity = self.capacity.estimate();
        let before = self.played.then_some(self.rules);
        self.rules.reactive = choose_one(&self.reactive, aim, capacity, Some(self.rules.reactive));
        let (below, spent) = self.choose_shelf(policy, aim);
        if standby_pays(policy, self.lead_promote.estimate(), self.lead_up(policy)) {
            let share = Share { standby: policy.prices.standby / policy.prices.active, below, spent };
            let before = before.map(|rules| (rules.active, rules.total));
            let controls = (&self.active, &self.total);
            (self.rules.active, self.rules.total) = choose_two(controls, aim, capacity, share, before);
        } else {
            self.rules.total = choose_one(&self.total, aim, capacity, before.map(|rules| rules.total));
            self.rules.active = self.rules.total;
        }
    }

    /// Whether the rules are played and the best of them is used. Also where the forecast has been no help or was too bold:
    /// the rules that do without it compete on paper, and what was cheapest there is better known than any score of the
    /// forecast.
    fn is_controlled(&self) -> bool {
        self.forecaster.trust().is_trusted() || (self.is_doubted() && self.total.is_proven())
    }

    fn is_doubted(&self) -> bool {
        use UntrustedReason::{ClaimsMissed, CoverageLost, NoSkill, SeldomBusy};
        let reason = self.forecaster.trust().reason();
        matches!(reason, Some(NoSkill { .. } | CoverageLost { .. } | ClaimsMissed { .. } | SeldomBusy { .. }))
    }

    fn expect_step(&mut self) {
        let window = self.window(1);
        self.low_expected = window.quantile(COLLAPSE_QUANTILE);
        self.high_expected = window.quantile(SURPRISE_QUANTILE);
    }

    fn remember(&mut self, policy: &WorkloadPolicy, demand: f64) {
        // No window is longer than the longest that a plan looks at, or than instances are held.
        let held = (hold_beside_standby(policy).as_secs_f64() / policy.step.as_secs_f64()).ceil() as usize;
        let most = held.clamp(WINDOW_STEPS_MAX, RECENT_STEPS_MAX);
        if self.recent.len() == most {
            self.recent.pop_front();
        } else if self.recent.len() == self.recent.capacity() {
            self.recent.reserve_exact(self.recent.len().max(4).min(most - self.recent.len()));
        }
        self.recent.push_back(demand);
        self.peak = (self.peak * PEAK_FADE).max(demand);
    }

    /// Lets every rule of the margin controls decide on the coming step.
    fn play_levels(&mut self, policy: &WorkloadPolicy) {
        let max = policy.replicas_max;
        let capacity = self.capacity.estimate();
        let count = |demand: f64| instances_for(demand, capacity, max);
        let (promote, cold) = (self.lead_promote.estimate(), self.lead_up(policy));
        let pays = standby_pays(policy, promote, cold);
        let windows = self.windows(policy, Duration::ZERO);
        // Rules are judged only where they are used, or may be.
        self.played = self.forecaster.trust().is_trusted() || self.is_doubted();
        if pays {
            let (need, hold) = (self.sight(windows.active), self.sight_to_keep(windows.hold));
            let lag = self.lag(policy, promote);
            let kept = |all: Family| if all.holds() { all.levels(&hold).map(count) } else { [0; LEVELS] };
            self.active.decide(lag, 0, |all| all.levels(&need).map(count), kept);
        }
        let need = self.sight(windows.total);
        let lag = self.lag(policy, cold);
        if pays {
            let keep = count(self.window(windows.keep).quantile(KEEP_QUANTILE));
            self.total.decide(lag, lag.max(1), |all| all.levels(&need).map(count), |_| [keep; LEVELS]);
        } else {
            let hold = self.sight_to_keep(windows.hold_cold);
            self.total.decide(lag, 0, |all| all.levels(&need).map(count), |all| all.levels(&hold).map(count));
        }
        self.play_shelf(policy);
        let lag = self.lag(policy, if pays { promote } else { cold });
        let floor = self.floor_of_steps(policy);
        let recent_hold = self.recent_max(windows.hold);
        let at = |level: f64| move |_: Family| REACTIVES.map(|factor| count(level * factor));
        self.reactive.decide(lag, 0, at(floor), at(recent_hold));
    }

    /// What the rules are steered to.
    fn aim(&self, budget: f64) -> Aim {
        let account = self.account(budget);
        Aim::new(budget, if account > 0.0 { self.debt / account } else { 0.0 })
    }

    /// The largest debt that is carried: more than that was missed in an outage that no margin could have covered.
    fn account(&self, budget: f64) -> f64 {
        budget * self.recent_mean() * ACCOUNT_STEPS
    }

    fn recent_mean(&self) -> f64 {
        let n = self.recent.len().min(MEAN_STEPS);
        if n == 0 { 0.0 } else { self.recent.iter().rev().take(n).sum::<f64>() / n as f64 }
    }

    fn lag(&self, policy: &WorkloadPolicy, lead: Duration) -> usize {
        let exact = lead.as_secs_f64() / policy.step.as_secs_f64();
        ((exact - PART_STEP).ceil().max(0.0) as usize).min(WINDOW_STEPS_MAX)
    }

    pub(crate) fn lead_of_active(&self, policy: &WorkloadPolicy) -> Duration {
        let (promote, cold) = (self.lead_promote.estimate(), self.lead_up(policy));
        if standby_pays(policy, promote, cold) { promote } else { cold }
    }

    /// How a shortage was mended in a step of this demand, as readings came in between.
    fn mended(&self, policy: &WorkloadPolicy, demand: f64) -> Mended {
        let mend = self.lead_of_active(policy).as_secs_f64() / policy.step.as_secs_f64();
        let after = (mend + self.reading_delay).min(1.0);
        let to = instances_for(demand, self.capacity.estimate(), policy.replicas_max);
        Mended { after, to: if self.mends_in_time(policy) { to } else { 0 } }
    }

    pub(crate) fn load_age_max(&self, policy: &WorkloadPolicy) -> Duration {
        policy.tick.saturating_mul(LOAD_AGE_TICKS)
    }
}

/// How long the margin controls remember.
fn memory_steps(policy: &WorkloadPolicy) -> f64 {
    (MEMORY_BUDGETS / policy.objective.error_budget).clamp(MEMORY_STEPS_MIN, MEMORY_STEPS_MAX)
}

/// A window may miss this part of a step at its end.
const PART_STEP: f64 = 0.1;
/// Demand above this many times the highest seen or expected is not provisioned for.
const PEAK_FACTOR: f64 = 1.5;
/// Offsets and fixed sizes come in parts of the highest demand seen, but no less than an instance.
const UNIT: f64 = 0.05;
/// The highest demand seen halves in about 7,000 steps.
const PEAK_FADE: f64 = 0.9999;
/// With one tier only, an instance is kept when it is needed again within so many cold lead times: a start costs one, and
/// while it lasts demand may be missed. Measured: two is worse, four no better.
const HOLD_COLD_LEADS: u32 = 3;
/// A standby is kept when this quantile of what is expected until its break-even needs it: to start one that is missed costs
/// more than its start, as demand is missed meanwhile. Measured: the median stops too many, 0.9 keeps too many.
const KEEP_QUANTILE: f64 = 0.7;
const WINDOW_STEPS_MAX: usize = 300;
const RECENT_STEPS_MAX: usize = 512;
const MEAN_STEPS: usize = 100;
/// However old the last step, no more than this is added to the windows.
const ELAPSED_STEPS_MAX: u32 = 20;
const LOAD_AGE_TICKS: u32 = 3;
/// Demand above this quantile of the forecast is a surprise: what else the forecast says is not relied upon.
const SURPRISE_QUANTILE: f64 = 0.999;
const READING_DELAY_PACE: f64 = 0.1;
/// The pool of an untrusted forecast is this much wider.
const WIDER: f64 = 1.25;
const MEMORY_BUDGETS: f64 = 5.0;
const MEMORY_STEPS_MIN: f64 = 2_000.0;
const MEMORY_STEPS_MAX: f64 = 10_000.0;
/// A debt of what is allowed for this many steps brings the target down to its minimum.
const ACCOUNT_STEPS: f64 = 2_000.0;
const STEPS_GRACE: usize = 1;
/// What is not spent is carried up to this share of the largest debt.
const DEBT_SAVED: f64 = 0.5;
