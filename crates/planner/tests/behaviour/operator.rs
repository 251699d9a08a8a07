//! What people say beside the data: overrides of the forecast, bounds of the calendar, clone thresholds; and what reacting
//! alone would have done.

use std::time::Duration;

use forecast::{Adjustment, Change, Timestamp};
use jiff::civil::time;
use planner::{
    CapacityPolicy, CloneThreshold, Days, Event, ForecastOverride, Plan, Reason, Role, Scope, StoppedLevel,
    WorkloadPolicy,
};

use crate::world::World;

const STEP: Duration = Duration::from_secs(300);
const HOUR_STEPS: usize = 12;
const DAYS: i64 = 6;

/// One instance serves 50; a start takes ten minutes.
fn policy() -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("web", STEP, CapacityPolicy::Pinned(50.0));
    policy.lead_cold = Duration::from_secs(600);
    policy.lead_promote = Duration::from_millis(100);
    policy.tick = Duration::from_secs(60);
    policy.shift.first_share = 1.0;
    policy
}

fn history(demand: impl Fn(f64) -> f64) -> Vec<(Timestamp, Option<f64>)> {
    let sample = |n: i64| (Timestamp::from_secs(n * 300), Some(demand(n as f64 * 300.0)));
    (0..DAYS * 288).map(sample).collect()
}

/// A little under two instances, with noise.
fn calm(secs: f64) -> f64 {
    let mut rng = fastrand::Rng::with_seed((secs / 300.0) as u64);
    85.0 + 10.0 * rng.f64()
}

/// From nine to five eight times as much.
fn office(secs: f64) -> f64 {
    let hour = (secs / 3600.0).rem_euclid(24.0);
    if (9.0..17.0).contains(&hour) { 8.0 * calm(secs) } else { calm(secs) }
}

/// An hour of the first day of the world, which begins at midnight.
fn hour(hours: i64) -> Timestamp {
    Timestamp::from_secs(DAYS * 86_400 + hours * 3_600)
}

fn overridden(id: u64, from: i64, to: i64, change: Change) -> Event {
    let adjustment = Adjustment { from: hour(from), to: hour(to), change };
    let forecast = ForecastOverride { id, adjustment, author: "ana".into(), reason: "a launch".into() };
    Event::ForecastOverrideSet { workload: "web".into(), forecast }
}

fn plan(world: &World) -> Plan {
    world.planner.snapshot().workloads()[0].plan.expect("a plan").clone()
}

fn says(world: &World, wanted: impl Fn(&Reason) -> bool) -> bool {
    plan(world).reasons.iter().any(wanted)
}

#[test]
fn an_overridden_forecast_is_prepared_for_and_forgotten_when_it_is_over() {
    let mut world = World::with_history(policy(), &history(calm));
    world.tell(overridden(1, 3, 4, Change::Scale(4.0)));
    world.run(2 * HOUR_STEPS, calm);
    assert!(world.ready(Role::Active) <= 3 && !says(&world, |r| matches!(r, Reason::ForecastOverridden(_))));
    world.run(HOUR_STEPS, calm);
    assert!(world.ready(Role::Active) + world.ready(Role::Standby) >= 7, "started before it begins");
    world.sleep(Duration::from_secs(1));
    assert!(world.ready(Role::Active) >= 7, "{} active when it begins", world.ready(Role::Active));
    assert!(says(&world, |r| r.to_string().contains("overridden by ana because \"a launch\" until")));
    world.run(3 * HOUR_STEPS, calm);
    assert!(world.ready(Role::Active) <= 3, "{} active afterwards", world.ready(Role::Active));
    assert!(world.planner.snapshot().workloads()[0].forecast_overrides.is_empty());
}

#[test]
fn an_overridden_forecast_is_prepared_for_on_the_coldest_level_first() {
    let mut policy = policy();
    policy.stopped = Some(StoppedLevel { price: 0.03, lead: Duration::from_secs(30) });
    let mut world = World::with_history(policy, &history(calm));
    world.run(2 * HOUR_STEPS + 6, calm);
    let before = plan(&world);
    world.tell(overridden(1, 3, 4, Change::Scale(4.0)));
    world.run(4, calm);
    let ahead = plan(&world);
    let stopped = |plan: &Plan| plan.inputs.stopped.expect("a level that pays").forecast;
    assert!(stopped(&before) < 200.0 && stopped(&ahead) >= 4.0 * 85.0, "{before:?}\n{ahead:?}");
    assert!(ahead.total_wanted() + ahead.stopped_wanted >= 7, "{ahead:?}");
    // What was about to be stopped comes back instead of being replaced by what starts cold.
    world.run(2, calm);
    world.sleep(Duration::from_secs(65));
    assert!(world.ready(Role::Active) >= 7, "{} active when it begins", world.ready(Role::Active));
}

#[test]
fn an_override_teaches_the_forecaster_nothing() {
    let mut worlds = [0, 1].map(|_| World::with_history(policy(), &history(calm)));
    worlds[0].tell(overridden(1, 0, 5, Change::Replace(900.0)));
    for world in &mut worlds {
        world.run(4 * HOUR_STEPS, calm);
    }
    assert!(worlds[0].ready(Role::Active) >= 18 && worlds[1].ready(Role::Active) <= 3);
    let said = |world: &World| format!("{:?}", world.planner.snapshot().workloads()[0].forecaster);
    assert!(said(&worlds[0]) == said(&worlds[1]), "both have seen the same");
}

#[test]
fn an_override_that_is_too_low_takes_nothing_from_the_demand_that_is_seen() {
    let mut world = World::with_history(policy(), &history(calm));
    world.run(HOUR_STEPS, calm);
    world.tell(overridden(1, 0, 9, Change::Replace(0.0)));
    world.run(2 * HOUR_STEPS, calm);
    assert!(world.ready(Role::Active) >= 2, "{} active", world.ready(Role::Active));
    world.tell(Event::ForecastOverrideCleared { workload: "web".into(), id: 1 });
    assert!(!says(&world, |r| matches!(r, Reason::ForecastOverridden(_))));
}

#[test]
fn where_nobody_forecasts_yet_an_override_is_of_the_demand_that_goes_on() {
    let mut world = World::new(policy());
    let adjustment =
        |change| Adjustment { from: Timestamp::from_secs(0), to: Timestamp::from_secs(86_400), change };
    let forecast = ForecastOverride {
        id: 1,
        adjustment: adjustment(Change::Add(500.0)),
        author: "ana".into(),
        reason: "first day".into(),
    };
    world.run(2, calm);
    let before = plan(&world);
    assert!(!before.trust.is_trusted() && before.active_wanted < 10);
    world.tell(Event::ForecastOverrideSet { workload: "web".into(), forecast });
    assert!(plan(&world).active_wanted >= 12, "{}", plan(&world).active_wanted);
}

fn scope() -> Scope {
    Scope {
        name: "office hours".into(),
        days: Days::all(),
        except: Days::NONE,
        from: time(8, 0, 0, 0),
        to: time(18, 0, 0, 0),
        replicas_min: Some(12),
        replicas_max: Some(40),
        standby_min: Some(2),
    }
}

#[test]
fn a_minimum_of_the_calendar_is_met_when_it_begins_and_given_up_when_it_ends() {
    let mut policy = policy();
    (policy.replicas_max, policy.standby_max) = (10, 6);
    let mut world = World::with_history(policy.with_scopes(vec![scope()], Vec::new()), &history(calm));
    world.run(8 * HOUR_STEPS - 4, calm);
    assert!(plan(&world).total_wanted() <= 4, "not twenty minutes before: {}", plan(&world).total_wanted());
    world.run(3, calm);
    assert!(
        says(&world, |r| r.to_string().contains("\"office hours\" begins at")),
        "{:?}",
        plan(&world).reasons
    );
    world.run(1, calm);
    assert!(world.ready(Role::Active) >= 12, "{} active at eight", world.ready(Role::Active));
    assert!(says(&world, |r| r
        .to_string()
        .contains("\"office hours\" is in force until 1970-01-07T18:00:00Z")));
    world.run(HOUR_STEPS, calm);
    assert!(world.ready(Role::Standby) >= 2);
    world.run(10 * HOUR_STEPS, calm);
    assert!(
        plan(&world).total_wanted() <= 4 && plan(&world).active_wanted >= 2,
        "{:?}",
        plan(&world).reasons
    );
}

#[test]
fn a_maximum_of_the_calendar_holds_only_in_its_hours() {
    let calmer = Scope { replicas_min: None, replicas_max: Some(3), standby_min: None, ..scope() };
    let mut world = World::with_history(policy().with_scopes(vec![calmer], Vec::new()), &history(office));
    world.run(10 * HOUR_STEPS, office);
    assert_eq!(plan(&world).total_wanted(), 3);
    assert!(says(&world, |r| matches!(r, Reason::AtMaximum { maximum: 3, .. })));
    let late = |secs: f64| office(secs - 4.0 * 3600.0);
    world.run(9 * HOUR_STEPS, late);
    assert!(plan(&world).active_wanted > 3, "{:?}", plan(&world).reasons);
}

#[test]
fn a_fixed_threshold_keeps_the_active_ones_below_it() {
    let mut policy = policy();
    policy.clone_threshold = Some(CloneThreshold::Fixed(0.5));
    let mut world = World::with_history(policy, &history(calm));
    world.run(HOUR_STEPS, calm);
    for _ in 0..HOUR_STEPS {
        world.run(1, calm);
        let plan = plan(&world);
        let seen = plan.inputs.demand_now.expect("seen");
        assert!(seen <= 0.5 * 50.0 * f64::from(plan.active_wanted), "{seen}: {}", plan.active_wanted);
    }
    assert!(says(&world, |r| matches!(r, Reason::CloneThreshold { .. })), "{:?}", plan(&world).reasons);
    let snapshot = world.planner.snapshot();
    let levels = snapshot.workloads()[0].trigger_levels(4);
    assert!(levels.iter().all(|(level, _)| level.demand == f64::from(level.instances - 1) * 25.0));
}

#[test]
fn a_learned_threshold_is_a_share_that_asks_for_no_less_than_all() {
    let mut policy = policy();
    policy.clone_threshold = Some(CloneThreshold::Learned);
    let mut world = World::with_history(policy, &history(calm));
    world.run(2 * HOUR_STEPS, calm);
    let plan = plan(&world);
    let share = plan.inputs.clone_threshold.expect("learned");
    assert!(share > 0.2 && share <= 1.0, "{share}");
    assert!(plan.inputs.demand_now.expect("seen") <= share * 50.0 * f64::from(plan.active_wanted));
}

#[test]
fn reacting_alone_orders_when_demand_is_there_and_misses_what_the_forecast_serves() {
    let mut world = World::with_history(policy(), &history(office));
    world.run(8 * HOUR_STEPS, office);
    let before = plan(&world).without_forecast;
    world.run(HOUR_STEPS + 1, office);
    let now = plan(&world);
    let alone = &now.without_forecast;
    assert!(now.active_wanted >= 14 && alone.ready <= 4, "{} {}", now.active_wanted, alone.ready);
    assert_eq!(alone.utilisation, 0.7);
    let order = alone.ordered.first().expect("ordered by now");
    assert!(order.at >= hour(9) && order.ready_at.since(order.at) == Duration::from_secs(600), "{order:?}");
    world.run(HOUR_STEPS, office);
    let later = plan(&world).without_forecast;
    assert!(later.ordered.is_empty() && later.ready >= 20, "{later:?}");
    let (missed, truly) = (later.missed - before.missed, later.missed_truly - before.missed_truly);
    assert!(missed > 1_000.0 && truly < 0.05 * missed, "{missed} {truly}");
}
