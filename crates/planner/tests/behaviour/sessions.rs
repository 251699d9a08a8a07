//! Instances that hold sessions: drained, not cut.

use std::time::Duration;

use crate::world::World;
use planner::{
    CapacityPolicy, Event, InstanceId, Phase, Policy, Reason, Role, SessionPolicy, SessionReason,
    SessionType, WorkloadPolicy,
};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// How long sessions are waited for.
const DRAIN: Duration = secs(1_800);

fn policy() -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("game", secs(60), CapacityPolicy::Pinned(1.0));
    policy.lead_cold = secs(20);
    policy.tick = secs(10);
    policy.shift.first_share = 1.0;
    let types = vec![SessionType::new("casual", 1, 0.1), SessionType::new("tournament", 9, 0.2)];
    policy.sessions = Some(SessionPolicy { drain: DRAIN, ..SessionPolicy::new(types) });
    policy
}

fn id(n: u64) -> InstanceId {
    InstanceId::new(n)
}

fn hold(world: &mut World, instance: u64, sessions: u32) {
    world.tell(Event::SessionsHeld { workload: "game".into(), instance: id(instance), sessions });
}

/// Pinned at so many instances, all serving, with these sessions on them.
fn settled(policy: WorkloadPolicy, sessions: &[u32]) -> World {
    let mut world = World::new(policy);
    world.pin(sessions.len() as u32, 0);
    world.sleep(secs(120));
    assert_eq!(world.ready(Role::Active), sessions.len());
    for (n, sessions) in sessions.iter().enumerate() {
        hold(&mut world, n as u64 + 1, *sessions);
    }
    world
}

/// What the plan in force says about sessions.
fn said(world: &World) -> Vec<String> {
    let snapshot = world.planner.snapshot();
    let reasons = &snapshot.workloads()[0].plan.unwrap().reasons;
    let about = reasons.iter().filter(|reason| matches!(reason, Reason::Sessions(_)));
    about.map(Reason::to_string).collect()
}

fn phase(world: &World, n: u64) -> Option<Phase> {
    let snapshot = world.planner.snapshot();
    let found = snapshot.workloads()[0].instances.iter().find(|i| i.id() == id(n));
    found.map(|i| i.phase())
}

#[test]
fn those_with_the_fewest_sessions_drain_first_and_the_youngest_among_equals() {
    let mut world = settled(policy(), &[4, 1, 9, 1]);
    let mark = world.log.len();
    world.pin(3, 0);
    assert_eq!(world.words(mark), ["table 1:1000 2:1000 3:1000 4:0"]);
    world.pin(1, 0);
    assert_eq!(world.words(mark).last().unwrap(), "table 1:0 2:0 3:1000 4:0");
    assert_eq!(said(&world), ["3 instances wait for 6 sessions to end."]);
}

#[test]
fn an_instance_is_stopped_only_after_its_last_session_ended() {
    let mut world = settled(policy(), &[5, 3]);
    let mark = world.log.len();
    world.pin(1, 0);
    world.sleep(secs(900));
    assert_eq!(world.words(mark), ["table 1:1000 2:0"], "far beyond the usual deadline of a drain");
    assert_eq!(said(&world), ["1 instance waits for 3 sessions to end."]);
    hold(&mut world, 2, 1);
    world.sleep(secs(60));
    assert_eq!(phase(&world, 2), Some(Phase::Draining));
    hold(&mut world, 2, 0);
    world.sleep(secs(60));
    assert_eq!(world.words(mark), ["table 1:1000 2:0", "drain 2", "table 1:1000", "stop 2"]);
    assert_eq!(said(&world), [""; 0]);
}

#[test]
fn an_instance_whose_time_is_over_is_given_up_and_the_plan_says_so() {
    let mut world = settled(policy(), &[5, 3]);
    let mark = world.log.len();
    let began = world.now;
    world.pin(1, 0);
    world.sleep(DRAIN.saturating_sub(secs(1)));
    assert_eq!(phase(&world, 2), Some(Phase::Draining));
    world.sleep(secs(3));
    let drained =
        world.log[mark..].iter().find(|e| e.action.kind == planner::ActionKind::Drain { instance: id(2) });
    assert_eq!(drained.map(|entry| entry.at.since(began)), Some(DRAIN), "woken at the very time");
    let cut = SessionReason::Cut { instance: id(2), sessions: 3 };
    assert_eq!(said(&world), [cut.to_string()]);
    world.sleep(secs(60));
    assert_eq!(phase(&world, 2), None);
}

#[test]
fn an_instance_that_is_wanted_again_comes_back_with_its_sessions() {
    let mut world = settled(policy(), &[5, 3, 1]);
    world.pin(1, 0);
    world.sleep(DRAIN / 2);
    let mark = world.log.len();
    world.pin(2, 0);
    assert_eq!(world.words(mark), ["table 1:1000 2:1000 3:0"], "the one with more sessions");
    world.sleep(secs(60));
    world.pin(1, 0);
    world.sleep(DRAIN / 2 + secs(60));
    assert_eq!((phase(&world, 2), phase(&world, 3)), (Some(Phase::Draining), None), "its time began anew");
}

#[test]
fn a_session_that_began_just_before_the_drain_ended_is_not_cut() {
    let mut world = settled(policy(), &[5, 0]);
    let mark = world.log.len();
    world.pin(1, 0);
    world.sleep(Duration::from_millis(150));
    assert_eq!(world.words(mark), ["table 1:1000 2:0", "drain 2"]);
    hold(&mut world, 2, 2);
    world.sleep(secs(300));
    assert_eq!(phase(&world, 2), Some(Phase::Draining), "drained of requests, but not of sessions");
    hold(&mut world, 2, 0);
    world.sleep(secs(60));
    assert_eq!(phase(&world, 2), None);
}

#[test]
fn an_unhealthy_instance_is_replaced_at_once_but_stopped_after_its_sessions() {
    let mut world = settled(policy(), &[5, 3]);
    let mark = world.log.len();
    world.tell(Event::InstanceUnhealthy {
        workload: "game".into(),
        instance: id(1),
        reason: "timeout".to_owned(),
    });
    world.sleep(secs(300));
    assert!(world.words(mark).contains(&"promote 3".to_owned()), "{:?}", world.words(mark));
    assert!(phase(&world, 1).is_some());
    assert_eq!(said(&world), ["1 instance waits for 5 sessions to end."]);
    hold(&mut world, 1, 0);
    world.sleep(secs(60));
    assert_eq!(phase(&world, 1), None);
}

/// Found by fault simulation: two instances that had been unhealthy and held sessions kept both places of a workload, served
/// nobody any more, and let nobody else start until the time to wait for their sessions was over.
#[test]
fn instances_that_recover_serve_again_when_they_hold_sessions() {
    let mut world = settled(WorkloadPolicy { replicas_max: 2, ..policy() }, &[5, 3]);
    let health = |n| (planner::WorkloadId::from("game"), id(n));
    for n in [1, 2] {
        let (workload, instance) = health(n);
        world.tell(Event::InstanceUnhealthy { workload, instance, reason: "timeout".to_owned() });
    }
    world.sleep(secs(60));
    assert!(world.serving().is_empty());
    for n in [1, 2] {
        let (workload, instance) = health(n);
        world.tell(Event::InstanceHealthy { workload, instance });
    }
    world.sleep(secs(60));
    assert_eq!(world.serving(), [id(1), id(2)]);
}

/// Found by fault simulation: the same, where a restart found them without traffic because they were unhealthy.
#[test]
fn instances_found_unhealthy_serve_again_when_they_recover_and_hold_sessions() {
    let mut world = World::new(WorkloadPolicy { replicas_max: 2, ..policy() });
    let workload = planner::WorkloadId::from("game");
    for (n, sessions) in [(101, 5), (102, 3)] {
        let (workload, instance, role) = (workload.clone(), id(n), Role::Standby);
        world.tell(Event::InstanceAdopted {
            workload: workload.clone(),
            instance,
            role,
            parked: false,
            node: None,
        });
        hold(&mut world, n, sessions);
        world.tell(Event::InstanceUnhealthy { workload, instance, reason: "timeout".to_owned() });
    }
    world.pin(2, 0);
    world.sleep(secs(60));
    assert!(world.serving().is_empty());
    for n in [101, 102] {
        world.tell(Event::InstanceHealthy { workload: workload.clone(), instance: id(n) });
    }
    world.sleep(secs(60));
    assert_eq!(world.serving(), [id(101), id(102)]);
}

/// Found by fault simulation: the only instance there was had answered its promotion too late. Until its sessions had ended, it
/// was neither used nor replaced.
#[test]
fn a_promotion_that_succeeds_too_late_is_made_use_of_while_sessions_are_waited_for() {
    let mut world = World::new(WorkloadPolicy { replicas_max: 1, ..policy() });
    world.promote = secs(15);
    let (workload, instance) = (planner::WorkloadId::from("game"), id(101));
    let (role, parked, node) = (Role::Standby, false, None);
    world.tell(Event::InstanceAdopted { workload, instance, role, parked, node });
    hold(&mut world, 101, 3);
    world.pin(1, 0);
    world.sleep(secs(14));
    assert_eq!(said(&world), ["1 instance waits for 3 sessions to end."], "it was given up");
    world.sleep(secs(2));
    assert_eq!(world.serving(), [instance]);
    assert_eq!(said(&world), [""; 0]);
    world.sleep(DRAIN + secs(60));
    assert_eq!(world.serving(), [instance], "and stays");
}

#[test]
fn an_instance_that_recovers_while_it_drains_gets_no_more_time() {
    let mut world = settled(policy(), &[5, 3]);
    let began = world.now;
    world.pin(1, 0);
    let (workload, instance) = (planner::WorkloadId::from("game"), id(2));
    world.tell(Event::InstanceUnhealthy {
        workload: workload.clone(),
        instance,
        reason: "timeout".to_owned(),
    });
    world.sleep(secs(60));
    world.tell(Event::InstanceHealthy { workload, instance });
    world.sleep_until(began.saturating_add(DRAIN + secs(60)));
    assert_eq!(phase(&world, 2), None);
}

#[test]
fn without_a_policy_for_sessions_they_change_nothing() {
    let run = |sessions: &[u32]| {
        let mut world = settled(WorkloadPolicy { sessions: None, ..policy() }, sessions);
        world.pin(1, 0);
        world.sleep(secs(120));
        world.words(0)
    };
    assert_eq!(run(&[4, 1, 9]), run(&[0, 0, 0]));
}

#[test]
fn a_policy_whose_sessions_do_not_fit_is_refused() {
    let mut workload = policy();
    workload.sessions.as_mut().unwrap().processes = 8;
    let policy = Policy { workloads: vec![workload], ..Policy::default() };
    let errors = planner::Planner::new(policy, 1, forecast::Timestamp::from_millis(0)).unwrap_err();
    let told = "workload `game`: `sessions.types.weight` must fit into one process";
    assert_eq!(errors.to_string(), told);
}
