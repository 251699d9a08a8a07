//! Whole days: what is ready before demand comes, what is kept when it vanishes, and what of the budget is spent.

use std::time::Duration;

use forecast::Timestamp;
use planner::{CapacityPolicy, Event, Reason, Role, WorkloadPolicy};

use crate::world::World;

const STEP: Duration = Duration::from_secs(300);
const DAY_STEPS: usize = 288;
const DAY_SECS: f64 = 86_400.0;

fn policy() -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("web", STEP, CapacityPolicy::Pinned(50.0));
    policy.lead_cold = Duration::from_secs(600);
    policy.lead_promote = Duration::from_millis(100);
    policy.tick = Duration::from_secs(60);
    policy.shift.first_share = 1.0;
    policy
}

/// 100 at night, 900 by day, with steep flanks.
fn day(secs: f64) -> f64 {
    let phase = (secs / DAY_SECS).rem_euclid(1.0);
    let hill = (-((phase - 0.5) / 0.12).powi(4)).exp();
    100.0 + 800.0 * hill
}

/// Multiplicative noise that depends on nothing but time.
fn noise(secs: f64, size: f64) -> f64 {
    let mut rng = fastrand::Rng::with_seed((secs / 300.0) as u64);
    let sum: f64 = (0..6).map(|_| rng.f64() - 0.5).sum();
    1.0 + size * sum * 1.41
}

/// The same with a little noise, as history always has.
fn human(secs: f64) -> f64 {
    day(secs) * noise(secs, 0.03)
}

fn history(days: usize, demand: impl Fn(f64) -> f64) -> Vec<(Timestamp, Option<f64>)> {
    (0..days * DAY_STEPS)
        .map(|n| {
            let secs = n as f64 * STEP.as_secs_f64();
            (Timestamp::from_millis(secs as i64 * 1000), Some(demand(secs)))
        })
        .collect()
}

fn reasons(world: &World) -> Vec<Reason> {
    let snapshot = world.planner.snapshot();
    snapshot.workloads()[0].plan.unwrap().reasons.clone()
}

#[test]
fn standbys_are_ready_before_the_peak_and_a_forecastable_ramp_misses_nothing() {
    let mut world = World::with_history(policy(), &history(6, human));
    world.settle(human);
    let needed = |secs: f64| (day(secs) / 50.0).ceil() as usize;
    let (mut ahead, mut rises) = (0, 0);
    for step in 4..DAY_STEPS {
        world.run(1, human);
        let now = (step + 1) as f64 * 300.0;
        if needed(now + 300.0) > needed(now) {
            rises += 1;
            let ready = world.ready(Role::Active) + world.ready(Role::Standby);
            ahead += usize::from(ready >= needed(now + 300.0));
        }
    }
    assert!(rises > 10 && ahead * 10 >= rises * 9, "ready ahead of {ahead} of {rises} rises");
    assert!(world.missed_share() < 5e-4, "missed {}", world.missed_share());
    let needed_seconds: f64 = (0..8640).map(|n| (day(f64::from(n) * 10.0) / 50.0).ceil() * 10.0).sum();
    let cost = (world.active_seconds + 0.2 * world.standby_seconds) / needed_seconds;
    assert!(cost < 1.25, "cost {cost} of the least possible");
}

#[test]
fn the_pool_follows_the_forecast_and_is_not_constant() {
    let mut world = World::with_history(policy(), &history(6, human));
    let mut pools = Vec::new();
    for _ in 0..DAY_STEPS {
        world.run(1, day);
        let snapshot = world.planner.snapshot();
        pools.push(snapshot.workloads()[0].plan.unwrap().standby_wanted);
    }
    let (most, least) = (*pools.iter().max().unwrap(), *pools.iter().min().unwrap());
    assert!(most >= 8, "the morning ramp needs a pool, largest was {most}");
    assert!(least <= 1, "the night needs next to none, smallest was {least}");
}

#[test]
fn the_budget_is_kept_on_a_noisy_series() {
    let noisy = |secs: f64| day(secs) * noise(secs, 0.25);
    let mut policy = policy();
    policy.objective.error_budget = 0.005;
    let mut world = World::with_history(policy, &history(6, noisy));
    let offset = 6.0 * DAY_SECS;
    world.settle(|secs| noisy(secs + offset));
    world.run(6 * DAY_STEPS, |secs| noisy(secs + offset));
    assert!(world.missed_share() < 0.0075, "missed {}", world.missed_share());
    let budget = world.planner.snapshot().workloads()[0].budget;
    assert!(budget.missed_share() > 0.0002, "nothing was saved: {budget:?}");
}

#[test]
fn an_outage_does_not_shrink_the_fleet_and_the_returning_crowd_is_served() {
    let mut world = World::with_history(policy(), &history(6, human));
    world.run(DAY_STEPS / 2, day);
    let before = world.ready(Role::Active);
    assert!(before >= 18);
    world.run(5, |_| 0.0);
    assert!(world.ready(Role::Active) >= before, "{} of {before}", world.ready(Role::Active));
    assert!(reasons(&world).iter().any(|r| matches!(r, Reason::ScaleInBlocked { .. })));
    let missed = world.missed;
    world.run(3, day);
    assert_eq!(world.missed, missed, "the crowd came back to a full fleet");
}

#[test]
fn a_real_end_of_demand_shrinks_the_fleet_after_the_guard_time() {
    let mut world = World::with_history(policy(), &history(6, human));
    world.run(DAY_STEPS / 2, day);
    world.run(DAY_STEPS, |_| 5.0);
    assert!(world.ready(Role::Active) <= 3, "{} still active after a day", world.ready(Role::Active));
}

#[test]
fn a_missing_signal_does_not_shrink_the_fleet() {
    let mut world = World::with_history(policy(), &history(6, human));
    world.run(DAY_STEPS * 62 / 100, day);
    let before = world.ready(Role::Active);
    for _ in 0..4 {
        let event = Event::DemandObserved {
            workload: world.workload.clone(),
            step_start: world.now,
            demand: None,
            missed: 0.0,
        };
        world.sleep(STEP);
        world.tell(event);
    }
    assert!(world.ready(Role::Active) >= before);
    let (active, guarded) = {
        let snapshot = world.planner.snapshot();
        (snapshot.workloads()[0].plan.unwrap().active_wanted as usize, reasons(&world))
    };
    assert!(active >= before, "{guarded:?}");
}

#[test]
fn the_forecast_carries_the_plan_through_a_missing_signal() {
    let mut world = World::with_history(policy(), &history(6, human));
    // 08:20, in the night's last calm: 100 become 780 within the next 70 minutes.
    world.run(100, human);
    let before = world.ready(Role::Active);
    for _ in 0..14 {
        let event = Event::DemandObserved {
            workload: world.workload.clone(),
            step_start: world.now,
            demand: None,
            missed: 0.0,
        };
        world.sleep(STEP);
        world.tell(event);
    }
    let needed = (day(114.0 * 300.0) / 50.0).ceil() as usize;
    assert!(needed > 2 * before, "{needed} of {before}");
    // Seventy minutes ahead of what was seen last, and on the steepest part of the day: within one of what is needed.
    assert!(world.ready(Role::Active) + 1 >= needed, "{} of {needed}", world.ready(Role::Active));
}

#[test]
fn demand_seen_now_is_served_although_nobody_foresaw_it() {
    let mut policy = policy();
    policy.lead_cold = Duration::from_secs(30);
    let mut world = World::with_history(policy, &history(6, human));
    world.loads = true;
    world.run(12, day);
    let surprise = |_| 420.0;
    world.run(1, surprise);
    assert!(world.ready(Role::Active) >= 9, "within one step, not after it: {}", world.ready(Role::Active));
}

#[test]
fn without_a_trusted_forecast_it_is_reactive_and_says_so() {
    let mut world = World::new(policy());
    world.run(6, |_| 350.0);
    let (active, standby) = {
        let snapshot = world.planner.snapshot();
        let plan = snapshot.workloads()[0].plan.unwrap();
        (plan.active_wanted, plan.standby_wanted)
    };
    assert!((9..=11).contains(&active), "350 at 70 % of 50 each: {active}");
    assert!(standby >= 2, "a wider pool: {standby}");
    let text: Vec<String> = reasons(&world).iter().map(ToString::to_string).collect();
    assert!(text.iter().any(|t| t.starts_with("The forecast is not used (untrusted:")), "{text:?}");
}

#[test]
fn standbys_that_cost_as_much_as_active_instances_are_not_kept() {
    let mut policy = policy();
    policy.prices.standby = 1.0;
    let mut world = World::with_history(policy, &history(6, human));
    world.settle(day);
    world.run(DAY_STEPS / 2, day);
    let snapshot = world.planner.snapshot();
    let plan = snapshot.workloads()[0].plan.unwrap();
    assert_eq!(plan.standby_wanted, 0);
    assert!(plan.reasons.iter().any(|r| matches!(r, Reason::NoStandbyTier { .. })));
    assert!(world.missed_share() < 0.002, "missed {}", world.missed_share());
}

#[test]
fn a_fixed_margin_is_what_it_says() {
    let mut policy = policy();
    policy.margin = planner::Margin::Fixed { safety_margin: 0.5 };
    policy.tick = STEP;
    let mut world = World::with_history(policy, &history(6, |_| 400.0));
    world.run(12, |_| 400.0);
    let snapshot = world.planner.snapshot();
    let plan = snapshot.workloads()[0].plan.unwrap();
    assert!(
        (12..=13).contains(&plan.active_wanted),
        "1.5 times 400 in instances of 50: {}",
        plan.active_wanted
    );
}

#[test]
fn the_same_inputs_give_the_same_orders() {
    let run = || {
        let mut world = World::with_history(policy(), &history(3, day));
        world.loads = true;
        world.faults.start_fails.extend([3, 5, 8]);
        world.run(DAY_STEPS / 2, |secs| day(secs) * noise(secs, 0.2));
        world.log
    };
    assert_eq!(run(), run());
}

#[test]
fn after_the_clock_was_set_back_demand_is_served_and_a_missing_signal_takes_nothing_away() {
    let mut policy = policy();
    policy.guard = Duration::from_secs(1_800);
    let mut world = World::with_history(policy, &history(2, |_| 300.0));
    world.settle(|_| 300.0);
    let tell = |world: &mut World, demand: Option<f64>| {
        world.sleep(STEP);
        let step_start = Timestamp::from_millis(world.now.as_millis() - STEP.as_millis() as i64);
        world.tell(Event::DemandObserved { workload: "web".into(), step_start, demand, missed: 0.0 });
    };
    world.now = Timestamp::from_millis(world.now.as_millis() - 36_000_000);
    world.planner.handle_timeout(world.now);
    (0..8).for_each(|_| tell(&mut world, Some(900.0)));
    let serving = world.ready(Role::Active);
    assert!(serving >= 18, "{serving} serve what 18 can");
    tell(&mut world, None);
    world.tell(Event::LoadObserved { workload: "web".into(), demand_now: 30.0, in_flight: 1.0 });
    assert!(
        reasons(&world).iter().any(|r| matches!(r, Reason::ScaleInBlocked { .. })),
        "{:?}",
        reasons(&world)
    );
    world.sleep(STEP);
    assert!(world.ready(Role::Active) >= serving);
}
