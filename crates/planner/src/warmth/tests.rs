//! What a stopped level promises, one sentence each.

use super::*;
use crate::plan::plan;
use crate::plan::tests::inputs;
use crate::policy::CapacityPolicy;
use crate::reason::GuardCause;

/// A new instance takes half a minute, one from its disk five seconds for a twentieth of the price.
fn policy() -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Pinned(100.0));
    policy.stopped = Some(StoppedLevel { price: 0.05, lead: Duration::from_secs(5) });
    policy
}

/// Four active and two standby are wanted, and this demand is to be covered within the cold lead time.
fn with_shelf(policy: &WorkloadPolicy, forecast: f64, forecast_keep: f64) -> Inputs<'_> {
    let mut inputs = inputs(policy);
    inputs.numbers.stopped = Some(StoppedInputs {
        lead: Duration::from_secs(5),
        forecast,
        forecast_keep,
        quantile: 0.9999,
        rule: None,
        window_steps: 3,
    });
    inputs
}

fn says(plan: &Plan, text: &str) -> bool {
    plan.reasons.iter().any(|r| r.to_string().contains(text))
}

#[test]
fn what_a_new_instance_would_be_too_late_for_is_stopped_beside_the_others() {
    let policy = policy();
    let plan = plan(&with_shelf(&policy, 880.0, 0.0));
    assert_eq!((plan.active_wanted, plan.standby_wanted, plan.stopped_wanted), (4, 2, 3));
    assert!(
        says(&plan, "9 instances in all must exist, 3 of them may be stopped and restarted in 5 s"),
        "{:?}",
        plan.reasons
    );
}

#[test]
fn warmer_levels_come_first_and_the_maximum_bounds_them_all() {
    let mut policy = policy();
    let plan_of = |policy: &WorkloadPolicy, forecast| plan(&with_shelf(policy, forecast, 0.0)).stopped_wanted;
    assert_eq!(plan_of(&policy, 300.0), 0, "six run already");
    policy.replicas_max = 7;
    assert_eq!(plan_of(&policy, 5_000.0), 1);
}

#[test]
fn stopped_instances_stay_while_keeping_them_is_cheaper_than_a_start() {
    let policy = policy();
    let mut inputs = with_shelf(&policy, 600.0, 0.0);
    inputs.exist_before = 10;
    assert_eq!(plan(&inputs).stopped_wanted, 0);
    inputs.exist_lately = 8;
    let kept = plan(&inputs);
    assert_eq!(kept.stopped_wanted, 2);
    assert!(
        says(&kept, "2 stopped instances are not removed: needed again within 10 min"),
        "{:?}",
        kept.reasons
    );
    inputs.guard = Some((GuardCause::SignalMissing, Timestamp::from_millis(1)));
    assert_eq!(plan(&inputs).stopped_wanted, 4, "none is removed while scale-in is blocked");
}

#[test]
fn a_level_that_does_not_pay_is_named_and_a_workload_without_one_says_nothing() {
    let policy = policy();
    let plan_without = plan(&inputs(&policy));
    assert!(says(&plan_without, "No stopped instances: one costs 5 % of an active instance"));
    assert_eq!(plan_without.stopped_wanted, 0);
    let bare = WorkloadPolicy { stopped: None, ..policy };
    assert!(!plan(&inputs(&bare)).reasons.iter().any(|r| matches!(r, Reason::Warmth(_))));
}

#[test]
fn a_level_pays_only_if_it_is_clearly_cheaper_than_parking_and_quicker_than_a_start() {
    let policy = policy();
    let level = |price, secs| StoppedLevel { price, lead: Duration::from_secs(secs) };
    let pays = |level: StoppedLevel| level.pays(&policy, level.lead, policy.lead_cold);
    assert!(pays(level(0.05, 5)));
    assert!(!pays(level(0.195, 5)), "a standby costs 0.2");
    assert!(!pays(level(0.05, 25)), "a start takes 30 s");
}

#[test]
fn waiting_pays_for_as_long_as_it_costs_less_than_coming_back() {
    let policy = policy();
    // A restart takes a sixth of a start, and a standby costs 0.15 more than being stopped.
    assert_eq!(break_even_restart(&policy), Some(Duration::from_secs(5).mul_f64(1.0 / (0.2 - 0.05))));
    assert_eq!(break_even_stopped(&policy), Some(Duration::from_secs(600)));
    assert_eq!(break_even_stopped(&WorkloadPolicy { stopped: None, ..policy }), None);
}

#[test]
fn what_had_to_exist_is_remembered_for_half_to_all_of_the_break_even_time() {
    let policy = policy();
    let needing = |forecast| plan(&with_shelf(&policy, forecast, 0.0));
    let mut lately = Lately::default();
    let at = Timestamp::from_secs;
    lately.remember(at(0), &policy, &needing(900.0));
    lately.remember(at(250), &policy, &needing(100.0));
    assert_eq!(lately.most(), 9);
    lately.remember(at(301), &policy, &needing(100.0));
    assert_eq!(lately.most(), 9, "half of ten minutes later it is in the stretch before");
    lately.remember(at(602), &policy, &needing(100.0));
    assert_eq!(lately.most(), 6, "what runs");
}
