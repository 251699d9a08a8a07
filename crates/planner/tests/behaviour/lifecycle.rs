//! The life of instances: what is ordered, in which order, and what happens when it goes wrong.

use std::time::Duration;

use crate::world::{Entry, World};
use forecast::Timestamp;
use planner::{ActionKind, CapacityPolicy, Event, InstanceId, Phase, Role, ShiftPolicy, WorkloadPolicy};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn policy() -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("web", secs(60), CapacityPolicy::Pinned(100.0));
    policy.lead_cold = secs(20);
    policy.lead_promote = Duration::from_millis(50);
    policy.tick = secs(10);
    policy.shift.first_share = 1.0;
    policy
}

/// Pinned at this many instances, all ready.
fn settled(policy: WorkloadPolicy, active: u32, standby: u32) -> World {
    let mut world = World::new(policy);
    world.pin(active, standby);
    world.sleep(secs(120));
    assert_eq!(world.ready(Role::Active), active as usize);
    assert_eq!(world.ready(Role::Standby), standby as usize);
    world
}

fn id(n: u64) -> InstanceId {
    InstanceId::new(n)
}

#[test]
fn an_instance_is_promoted_before_it_is_routed_to_and_a_spare_is_parked() {
    let world = settled(policy(), 1, 1);
    assert_eq!(world.words(0), ["start 1", "start 2", "promote 1", "park 2", "table 1:1000"]);
}

#[test]
fn shrinking_goes_in_stages_and_the_last_stage_is_the_stop() {
    let mut world = settled(policy(), 2, 0);
    let mark = world.log.len();
    world.pin(1, 1);
    world.sleep(secs(10));
    assert_eq!(world.words(mark), ["table 1:1000 2:0", "drain 2", "table 1:1000", "park 2"]);
    let mark = world.log.len();
    world.pin(1, 0);
    world.sleep(secs(10));
    assert_eq!(world.words(mark), ["stop 2"]);
}

#[test]
fn a_demotion_is_undone_without_a_new_promotion_while_it_still_drains() {
    let mut world = settled(policy(), 2, 0);
    world.faults.drops_answers = true;
    let mark = world.log.len();
    world.pin(1, 1);
    world.pin(2, 0);
    assert_eq!(world.words(mark).last().unwrap(), "table 1:1000 2:1000");
    assert_eq!(world.ready(Role::Active), 2);
}

#[test]
fn when_an_active_instance_dies_it_leaves_the_table_first_and_a_standby_takes_over() {
    let mut world = settled(policy(), 2, 1);
    let mark = world.log.len();
    world.tell(Event::InstanceExited {
        workload: "web".into(),
        instance: id(1),
        reason: "killed".to_owned(),
    });
    world.sleep(secs(60));
    assert_eq!(
        world.words(mark),
        ["table 2:1000", "promote 3", "start 4", "table 2:1000 3:1000", "park 4"],
        "the table comes first, then the standby, then the replacement"
    );
}

#[test]
fn a_dead_instance_leaves_the_table_at_once_though_tables_have_failed() {
    let mut world = settled(policy(), 2, 0);
    let workload = || "web".into();
    world.faults.drops_answers = true;
    world.tell(Event::InstanceUnhealthy { workload: workload(), instance: id(2), reason: "timeout".into() });
    let mut failed = 0;
    while failed < 4 {
        let table = world.log.pop_if(|entry| matches!(entry.action.kind, ActionKind::SetWeights { .. }));
        if let Some(Entry { action, .. }) = table {
            failed += 1;
            let (action, reason) = (action.id, "refused".to_owned());
            world.tell(Event::ActionFailed { action, instance: None, reason });
        } else {
            world.sleep(secs(1));
        }
    }
    let mark = world.log.len();
    world.tell(Event::InstanceExited { workload: workload(), instance: id(1), reason: "killed".to_owned() });
    assert_eq!(world.words(mark)[0].trim(), "table");
}

#[test]
fn an_unhealthy_instance_leaves_the_table_and_comes_back_when_it_is_healthy() {
    let mut world = settled(policy(), 2, 1);
    let mark = world.log.len();
    world.tell(Event::InstanceUnhealthy {
        workload: "web".into(),
        instance: id(1),
        reason: "timeout".to_owned(),
    });
    world.sleep(secs(5));
    assert_eq!(world.words(mark), ["table 2:1000", "promote 3", "table 2:1000 3:1000"]);
    let mark = world.log.len();
    world.tell(Event::InstanceHealthy { workload: "web".into(), instance: id(1) });
    world.sleep(secs(60));
    let back = ["table 1:1000 2:1000 3:0", "drain 3", "table 1:1000 2:1000", "park 3"];
    assert_eq!(world.words(mark), back, "nothing was started or stopped for a short illness");
}

#[test]
fn an_instance_that_stays_unhealthy_is_replaced() {
    let mut world = settled(policy(), 2, 1);
    let mark = world.log.len();
    world.tell(Event::InstanceUnhealthy {
        workload: "web".into(),
        instance: id(1),
        reason: "timeout".to_owned(),
    });
    world.sleep(secs(120));
    assert!(world.words(mark).contains(&"stop 1".to_owned()));
    assert_eq!(world.ready(Role::Active), 2);
    assert_eq!(world.ready(Role::Standby), 1);
}

#[test]
fn another_is_started_beside_one_that_is_unhealthy_for_as_long_as_that_takes() {
    let quick = WorkloadPolicy { lead_cold: secs(3), ..policy() };
    let mut world = settled(quick, 1, 0);
    let mark = world.log.len();
    let (workload, instance) = ("web".into(), id(1));
    world.tell(Event::InstanceUnhealthy { workload, instance, reason: "status 500".to_owned() });
    world.sleep(secs(2));
    assert_eq!(world.words(mark), ["table "], "it may come back");
    world.sleep(secs(8));
    assert_eq!(world.ready(Role::Active), 2, "{:?}", world.words(mark));
    assert!(!world.words(mark).contains(&"stop 1".to_owned()), "it still may");
    world.tell(Event::InstanceHealthy { workload: "web".into(), instance: id(1) });
    world.sleep(secs(120));
    assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (1, 0));
}

#[test]
fn failed_starts_are_retried_together_after_growing_pauses() {
    let mut world = World::new(policy());
    world.faults.all_starts_fail = true;
    world.pin(3, 0);
    world.sleep(secs(300));
    let starts: Vec<Timestamp> = world
        .log
        .iter()
        .filter(|e| matches!(e.action.kind, ActionKind::Start { .. }))
        .map(|e| e.at)
        .collect();
    assert!((18..31).contains(&starts.len()), "{} starts in five minutes", starts.len());
    let pauses: Vec<Duration> = starts.windows(2).map(|w| w[1].since(w[0])).collect();
    let longest = pauses.iter().max().unwrap();
    assert!(pauses.iter().rev().take(4).any(|last| last == longest), "they grow: {pauses:?}");
    assert!(*longest >= secs(60), "{pauses:?}");
    world.faults.all_starts_fail = false;
    world.sleep(secs(600));
    assert_eq!(world.ready(Role::Active), 3, "it recovers by itself");
}

#[test]
fn a_large_fleet_does_not_come_back_two_at_a_time_once_starts_succeed() {
    let mut policy = policy();
    (policy.lead_cold, policy.replicas_max) = (secs(100), 60);
    let mut world = World::new(policy);
    world.faults.start_fails = (1..=5).collect();
    world.pin(1, 0);
    world.sleep(secs(60));
    world.pin(60, 0);
    world.sleep(secs(600));
    assert_eq!(world.ready(Role::Active), 60);
}

#[test]
fn a_start_that_never_becomes_ready_is_stopped_at_its_deadline_and_replaced() {
    let mut policy = policy();
    policy.deadlines.start = secs(40);
    let mut world = World::new(policy);
    world.faults.start_hangs.insert(1);
    world.pin(1, 0);
    world.sleep(secs(120));
    assert_eq!(world.words(0)[..3], ["start 1", "stop 1", "start 2"]);
    assert_eq!(world.ready(Role::Active), 1);
}

#[test]
fn a_promotion_that_fails_or_hangs_is_given_to_another_standby_and_the_bad_one_is_stopped() {
    for hang in [false, true] {
        let mut world = settled(policy(), 1, 2);
        if hang {
            world.faults.promote_hangs.insert(2);
        } else {
            world.faults.promote_fails.insert(2);
        }
        let mark = world.log.len();
        world.pin(2, 1);
        world.sleep(secs(120));
        let words = world.words(mark);
        assert_eq!(words[0], "promote 2");
        assert!(words.contains(&"promote 3".to_owned()) && words.contains(&"stop 2".to_owned()), "{words:?}");
        assert!(!words.iter().any(|w| w.contains("2:")), "the bad one was never routed to: {words:?}");
        assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (2, 1));
    }
}

#[test]
fn answers_that_never_come_do_not_stall_anything() {
    let mut world = settled(policy(), 2, 1);
    world.faults.drops_answers = true;
    world.pin(1, 0);
    world.sleep(secs(300));
    world.faults.drops_answers = false;
    world.pin(2, 1);
    world.sleep(secs(900));
    assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (2, 1));
}

#[test]
fn stale_and_repeated_answers_are_ignored_and_counted() {
    let mut world = settled(policy(), 1, 1);
    let before = world.planner.snapshot().events_stale();
    let old = world.log[0].action.id;
    let mark = world.log.len();
    let took = secs(1);
    world.tell(Event::InstanceReady { action: old, instance: id(1), took });
    world.tell(Event::InstancePromoted { action: old, instance: id(2), took });
    world.tell(Event::InstanceStopped { action: old, instance: id(1) });
    world.tell(Event::WeightsApplied { action: old, workload: "web".into() });
    world.tell(Event::ActionFailed { action: old, instance: None, reason: String::new() });
    world.tell(Event::InstanceExited { workload: "web".into(), instance: id(99), reason: String::new() });
    world.tell(Event::InstanceHealthy { workload: "nobody".into(), instance: id(1) });
    assert_eq!(world.planner.snapshot().events_stale() - before, 7);
    assert_eq!(world.words(mark), [""; 0]);
    assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (1, 1));
}

#[test]
fn instances_of_an_earlier_control_plane_are_adopted_as_they_are() {
    let mut world = World::new(policy());
    let adopt = |n, role, parked| Event::InstanceAdopted {
        workload: "web".into(),
        instance: id(n),
        role,
        parked,
        node: None,
    };
    world.tell(adopt(7, Role::Active, false));
    world.tell(adopt(3, Role::Active, false));
    world.tell(adopt(9, Role::Standby, true));
    world.tell(adopt(9, Role::Standby, true));
    assert_eq!(world.log.len(), 0, "nothing is ordered before the first plan");
    world.sleep(secs(60));
    assert_eq!(world.words(0), ["table 3:1000 7:1000"], "what runs is kept, only the table is confirmed");
    world.pin(3, 1);
    world.sleep(secs(60));
    assert!(world.words(0).contains(&"start 10".to_owned()), "new ids are above the adopted ones");
}

#[test]
fn the_clock_may_jump_either_way() {
    let mut world = settled(policy(), 2, 1);
    for jump in [-86_400_000i64, 400_000_000, -1_000, 31_536_000_000] {
        world.now = Timestamp::from_millis(world.now.as_millis() + jump);
        let mark = world.log.len();
        world.planner.handle_timeout(world.now);
        world.sleep(secs(60));
        assert_eq!(world.words(mark), [""; 0], "after a jump of {jump} ms");
    }
    world.pin(3, 1);
    world.sleep(secs(60));
    assert_eq!((world.ready(Role::Active), world.ready(Role::Standby)), (3, 1));
    assert!(world.planner.snapshot().clock_jumps() >= 3);
}

#[test]
fn a_promoted_instance_gets_its_traffic_in_doubling_steps() {
    let mut policy = policy();
    policy.shift = ShiftPolicy { first_share: 0.1, ..ShiftPolicy::default() };
    let mut world = settled(policy, 2, 1);
    let mark = world.log.len();
    world.pin(3, 0);
    world.sleep(secs(20));
    let tables: Vec<String> = world.words(mark).into_iter().filter(|w| w.starts_with("table")).collect();
    assert_eq!(
        tables,
        [
            "table 1:1000 2:1000 3:100",
            "table 1:1000 2:1000 3:200",
            "table 1:1000 2:1000 3:400",
            "table 1:1000 2:1000 3:800",
            "table 1:1000 2:1000 3:1000"
        ]
    );
}

#[test]
fn an_instance_that_is_worse_than_its_peers_is_taken_back_and_replaced() {
    let mut policy = policy();
    policy.shift = ShiftPolicy { first_share: 0.1, ..ShiftPolicy::default() };
    let mut world = settled(policy, 2, 1);
    world.pin(3, 0);
    let mark = world.log.len();
    for _ in 0..6 {
        for n in [1, 2, 3] {
            world.tell(Event::BackendObserved {
                workload: "web".into(),
                instance: id(n),
                requests: 100,
                errors: if n == 3 { 30 } else { 0 },
                latency_p50: Duration::from_millis(10),
                latency_p99: Duration::from_millis(30),
                latencies: Vec::new(),
                in_flight: 1,
            });
        }
        world.sleep(secs(1));
    }
    let words = world.words(mark);
    assert!(words.contains(&"table 1:1000 2:1000 3:0".to_owned()), "{words:?}");
    assert!(words.contains(&"stop 3".to_owned()), "{words:?}");
    let snapshot = world.planner.snapshot();
    let told = snapshot.workloads()[0].shifts.last_of(id(3));
    let turns: Vec<_> = told.iter().map(|step| (step.turn.name(), step.from, step.to)).collect();
    assert_eq!(turns, [("began", 0, 100), ("halted", 100, 100), ("taken_back", 100, 0)]);
    let why = told[2].turn.compared().expect("compared");
    assert!(why.errors > 30.0 && why.peers_errors == 0.0 && why.evidence > 1e6, "{why:?}");
    world.sleep(secs(60));
    assert_eq!(world.ready(Role::Active), 3, "another one took its place");
}

#[test]
fn the_ramp_is_skipped_when_all_capacity_is_needed_at_once() {
    let mut policy = policy();
    policy.shift = ShiftPolicy { first_share: 0.1, ..ShiftPolicy::default() };
    let mut world = settled(policy, 2, 1);
    world.tell(Event::LoadObserved { workload: "web".into(), demand_now: 250.0, in_flight: 10.0 });
    let mark = world.log.len();
    world.pin(3, 0);
    world.sleep(secs(1));
    assert!(world.words(mark).contains(&"table 1:1000 2:1000 3:1000".to_owned()), "{:?}", world.words(mark));
    let snapshot = world.planner.snapshot();
    let reasons: Vec<String> =
        snapshot.workloads()[0].plan.unwrap().reasons.iter().map(|r| r.to_string()).collect();
    assert!(reasons.iter().any(|r| r.contains("takes its full share at once")), "{reasons:?}");
}

#[test]
fn an_override_wins_and_ends_by_itself() {
    let mut world = World::new(policy());
    world.tell(Event::OverrideSet {
        workload: "web".into(),
        decision: planner::DecisionOverride {
            active: Some(4),
            standby: None,
            author: "ada".to_owned(),
            reason: "launch".to_owned(),
            expires: Some(world.now.saturating_add(secs(600))),
        },
    });
    world.sleep(secs(300));
    assert_eq!(world.ready(Role::Active), 4);
    let text: Vec<String> = {
        let snapshot = world.planner.snapshot();
        snapshot.workloads()[0].plan.unwrap().reasons.iter().map(|r| r.to_string()).collect()
    };
    assert!(
        text.contains(&"Pinned by ada: 4 active until 1970-01-01T00:10:00Z (launch).".to_owned()),
        "{text:?}"
    );
    world.sleep(secs(400));
    let snapshot = world.planner.snapshot();
    assert!(snapshot.workloads()[0].pinned.is_none());
    assert!(!snapshot.workloads()[0].plan.unwrap().pinned());
}

#[test]
fn observing_only_gives_no_orders() {
    let mut policy = policy();
    policy.mode = planner::Mode::Observe;
    let mut world = World::new(policy);
    world.run(5, |_| 500.0);
    assert_eq!(world.log.len(), 0);
    assert!(world.planner.snapshot().workloads()[0].plan.unwrap().active_wanted >= 5);
}

#[test]
fn orders_are_bounded_and_given_later_when_the_queue_is_full() {
    let mut policy = policy();
    policy.deadlines.start = secs(600);
    let limits = planner::Limits { actions_queued: 3, starts_in_flight: 64, ..planner::Limits::default() };
    let start = Timestamp::from_millis(0);
    let mut planner = planner::Planner::new(
        planner::Policy { workloads: vec![policy.clone()], limits, ..planner::Policy::default() },
        1,
        start,
    )
    .unwrap();
    planner.handle(
        start,
        Event::OverrideSet {
            workload: "web".into(),
            decision: planner::DecisionOverride {
                active: Some(10),
                standby: None,
                author: String::new(),
                reason: String::new(),
                expires: None,
            },
        },
    );
    let mut seen = 0;
    for round in 1..=4 {
        while planner.poll_action().is_some() {
            seen += 1;
        }
        assert_eq!(seen, (round * 3).min(10));
        let later = start.saturating_add(secs(10 * round));
        planner.handle_timeout(later);
    }
    let snapshot = planner.snapshot();
    assert_eq!(snapshot.workloads()[0].instances.iter().filter(|i| i.phase() == Phase::Starting).count(), 10);
}

#[test]
fn a_policy_is_refused_with_every_error_at_once() {
    let mut bad = policy();
    bad.replicas_min = 5;
    bad.replicas_max = 2;
    bad.objective.error_budget = 0.0;
    let limits = planner::Limits::default();
    let errors = planner::Planner::new(
        planner::Policy { workloads: vec![bad, policy(), policy()], limits, ..planner::Policy::default() },
        1,
        Timestamp::from_millis(0),
    )
    .unwrap_err();
    let text = errors.to_string();
    assert!(text.contains("`replicas_min` must be at most replicas_max"), "{text}");
    assert!(text.contains("`objective.error_budget`"), "{text}");
    assert!(text.contains("must not be used twice"), "{text}");
}

/// One reading of a backend; with so many requests of 100 failed.
fn reading(instance: u64, errors: u64) -> Event {
    let latency = Duration::from_millis(20);
    Event::BackendObserved {
        workload: "web".into(),
        instance: id(instance),
        requests: 100,
        errors,
        latency_p50: latency,
        latency_p99: latency * 3,
        latencies: Vec::new(),
        in_flight: 1,
    }
}

#[test]
fn an_instance_that_fails_its_requests_while_its_probe_passes_is_replaced_if_its_peers_do_better() {
    let replaced = |errors_of_peer: u64, errors: u64| {
        let mut world = settled(policy(), 2, 0);
        let mark = world.log.len();
        for _ in 0..12 {
            world.tell(reading(1, errors_of_peer));
            world.tell(reading(2, errors));
            world.sleep(secs(5));
        }
        world.words(mark)
    };
    let words = replaced(0, 100);
    assert_eq!(words[0], "table 1:1000 2:0", "{words:?}");
    for word in ["drain 2", "stop 2", "start 3"] {
        assert!(words.iter().any(|said| said == word), "{word}: {words:?}");
    }
    assert_eq!(replaced(0, 20), [""; 0], "some errors");
    assert_eq!(replaced(100, 100), [""; 0], "what all of them fail at is not their fault");
}
