//! What the plan promises, one sentence each.

use forecast::{Naive, UntrustedReason};

use super::*;
use crate::policy::CapacityPolicy;

fn policy() -> WorkloadPolicy {
    WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Pinned(100.0))
}

/// Forecast needs four active and six in all; three and four were wanted before.
pub(crate) fn inputs(policy: &WorkloadPolicy) -> Inputs<'_> {
    Inputs {
        policy,
        generation: 7,
        now: Timestamp::from_millis(0),
        trigger: Trigger::Forecast,
        trust: Trust::Trusted { coverage: 0.9, skill: 0.2, naive: Naive::LastValue },
        basis: Basis::Quantiles,
        numbers: PlanInputs {
            rule_active: None,
            rule_total: None,
            demand_now: Some(310.0),
            floor: 310.0,
            q_active: 0.99,
            q_standby: 0.999,
            window_active_steps: 1,
            window_standby_steps: 2,
            forecast_active: 390.0,
            forecast_total: 600.0,
            forecast_hold: 400.0,
            forecast_keep: 350.0,
            clone_threshold: None,
            capacity: 100.0,
            lead_promote: Duration::from_millis(50),
            lead_cold: Duration::from_secs(30),
            stopped: None,
            missed_share: 0.0,
            awaits_reading: false,
        },
        bounds: Bounds::fixed(policy.replicas_min, policy.replicas_max, policy.standby_min),
        active_before: 3,
        total_before: 4,
        exist_before: 4,
        exist_lately: 0,
        total_lately: 0,
        keep_all: false,
        guard: None,
        pinned: None,
        starts_paused: None,
    }
}

fn says(plan: &Plan, text: &str) -> bool {
    plan.reasons.iter().any(|r| r.to_string().contains(text))
}

#[test]
fn each_tier_covers_its_own_forecast() {
    let policy = policy();
    let plan = plan(&inputs(&policy));
    assert_eq!((plan.active_wanted, plan.standby_wanted, plan.generation), (4, 2, 7));
    assert!(says(
        &plan,
        "Demand may reach 390 in the next 60 s (99 % quantile), which needs 4 active instances"
    ));
    assert!(says(&plan, "6 instances in all of 100"));
}

#[test]
fn demand_of_now_is_a_floor_whatever_the_forecast_says() {
    let policy = policy();
    let mut inputs = inputs(&policy);
    inputs.numbers.floor = 730.0;
    let plan = plan(&inputs);
    assert_eq!((plan.active_wanted, plan.standby_wanted), (8, 0));
    assert_eq!(plan.trigger, Trigger::Demand);
    assert!(says(&plan, "more than forecast"));
}

#[test]
fn active_instances_are_held_and_standbys_kept_while_they_are_needed_again_soon() {
    let policy = policy();
    let mut inputs = inputs(&policy);
    (inputs.active_before, inputs.total_before) = (9, 12);
    inputs.numbers.forecast_hold = 500.0;
    inputs.numbers.forecast_keep = 800.0;
    let plan = plan(&inputs);
    assert_eq!((plan.active_wanted, plan.total_wanted()), (5, 8));
    assert!(says(&plan, "1 active instance is not demoted"));
    assert!(says(&plan, "2 standbys are not stopped"));
}

#[test]
fn what_was_needed_just_now_is_not_stopped() {
    let policy = policy();
    let mut inputs = inputs(&policy);
    (inputs.total_before, inputs.total_lately) = (9, 8);
    assert_eq!(plan(&inputs).total_wanted(), 8);
    inputs.total_before = 6;
    assert_eq!(plan(&inputs).total_wanted(), 6, "it is no reason to start");
}

#[test]
fn nothing_is_given_up_while_a_reading_is_about_to_come() {
    let policy = policy();
    let mut inputs = inputs(&policy);
    (inputs.active_before, inputs.total_before) = (9, 12);
    inputs.numbers.awaits_reading = true;
    let waiting = plan(&inputs);
    assert_eq!((waiting.active_wanted, waiting.total_wanted()), (9, 12));
    assert!(says(&waiting, "Nothing is given up yet"));
    (inputs.active_before, inputs.total_before) = (1, 1);
    let growing = plan(&inputs);
    assert!(growing.active_wanted > 1 && !says(&growing, "Nothing is given up yet"));
}

#[test]
fn a_guard_keeps_what_there_is_and_lets_it_grow() {
    let policy = policy();
    let mut inputs = inputs(&policy);
    (inputs.active_before, inputs.total_before) = (9, 12);
    inputs.guard = Some((GuardCause::SignalMissing, Timestamp::from_millis(60_000)));
    let blocked = plan(&inputs);
    assert_eq!((blocked.active_wanted, blocked.total_wanted()), (9, 12));
    assert!(says(&blocked, "Scale-in is blocked at 9 active until 1970-01-01T00:01:00Z"));
    inputs.numbers.forecast_active = 1_150.0;
    assert_eq!(plan(&inputs).active_wanted, 12);
}

#[test]
fn bounds_bind_and_say_so() {
    let mut policy = policy();
    policy.replicas_max = 3;
    let cut = plan(&inputs(&policy));
    assert_eq!((cut.active_wanted, cut.standby_wanted), (3, 0));
    assert!(says(&cut, "Cut to the maximum of 3 active instances"));
    policy.replicas_max = 100;
    policy.replicas_min = 10;
    let raised = plan(&inputs(&policy));
    assert_eq!(raised.active_wanted, 10, "the minimum is one of serving instances");
    policy.replicas_min = 0;
    policy.standby_max = 1;
    assert_eq!(plan(&inputs(&policy)).standby_wanted, 1);
    policy.standby_max = 50;
    policy.standby_min = 5;
    assert_eq!(plan(&inputs(&policy)).standby_wanted, 5);
}

#[test]
fn nothing_is_routed_to_when_nothing_is_needed_and_no_minimum_is_set() {
    let mut policy = policy();
    policy.replicas_min = 0;
    let mut inputs = inputs(&policy);
    inputs.numbers = PlanInputs { demand_now: Some(0.0), capacity: 100.0, ..inputs.numbers };
    inputs.numbers.floor = 0.0;
    inputs.numbers.forecast_active = 0.0;
    inputs.numbers.forecast_hold = 0.0;
    inputs.numbers.forecast_total = 0.0;
    inputs.numbers.forecast_keep = 0.0;
    assert_eq!(plan(&inputs).total_wanted(), 0);
}

#[test]
fn a_promotion_as_slow_as_a_start_leaves_one_tier() {
    let policy = policy();
    let mut inputs = inputs(&policy);
    inputs.numbers.lead_promote = Duration::from_secs(28);
    let plan = plan(&inputs);
    assert_eq!((plan.active_wanted, plan.standby_wanted), (6, 0));
    assert!(says(&plan, "No standbys: one costs 20 % of an active instance and takes 28 s to promote"));
}

#[test]
fn an_untrusted_forecast_is_named_with_its_reason() {
    let policy = policy();
    let mut inputs = inputs(&policy);
    inputs.trust = Trust::Untrusted { reason: UntrustedReason::SignalMissing { steps: 4 } };
    inputs.basis = Basis::Reactive { utilisation: 0.7 };
    assert!(says(
        &plan(&inputs),
        "no value for the last 4 steps); planned from the demand of now at 70 % utilisation"
    ));
}

#[test]
fn an_operator_wins_within_the_maximum() {
    let mut policy = policy();
    policy.replicas_max = 20;
    let pin = DecisionOverride {
        active: Some(15),
        standby: Some(15),
        author: "ada".to_owned(),
        reason: "sale".to_owned(),
        expires: None,
    };
    let mut inputs = inputs(&policy);
    inputs.pinned = Some(&pin);
    let plan = plan(&inputs);
    assert_eq!((plan.active_wanted, plan.standby_wanted), (15, 5));
    assert_eq!(plan.trigger, Trigger::Operator);
    assert!(says(&plan, "Pinned by ada: 15 active and 15 standby until cleared (sale)."));
}

#[test]
fn whole_divisions_are_not_rounded_up() {
    assert_eq!(instances_for(0.3, 0.1, 100), 3);
    assert_eq!(instances_for(0.31, 0.1, 100), 4);
    assert_eq!(instances_for(f64::NAN, 0.1, 100), 0);
    assert_eq!(instances_for(1e300, 0.1, 100), 101);
}
