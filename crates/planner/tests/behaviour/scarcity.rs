//! Finite nodes: who yields to whom, where instances go, and what is moved before it must.

use std::time::Duration;

use forecast::Timestamp;
use planner::{
    ActionKind, Cause, Event, MoveCause, NodeId, NodePolicy, Planner, Policy, Reason, Resources, Role,
    SharingReason, TenantPolicy, Tier, WorkloadPolicy,
};

use crate::nodes::{GIB, Nodes, Order, node, spare, workload};

fn is_refused(cause: Cause) -> impl Fn(&SharingReason) -> bool {
    move |reason| matches!(reason, SharingReason::Refused { cause: said, .. } if *said == cause)
}

#[test]
fn a_higher_class_takes_standbys_first_then_active_instances_and_never_the_minimum() {
    let mut batch = workload("batch", 50);
    batch.replicas_min = 2;
    let mut world = Nodes::new(&[batch, workload("shop", 200)], &[node("a", 4.0), node("b", 4.0)]);
    world.pin("batch", 4, 3);
    world.pin("shop", 1, 0);
    world.sleep(120);
    assert_eq!((world.ready("batch"), world.ready("shop")), ((4, 3), (1, 0)));
    world.pin("shop", 3, 0);
    world.sleep(120);
    assert_eq!((world.ready("batch"), world.ready("shop")), ((4, 1), (3, 0)));
    assert!(world.says(
        "batch",
        |r| matches!(r, SharingReason::Preempted { instances: 2, by, class: 200 } if by.as_str() == "shop")
    ));
    assert!(world.says("batch", is_refused(Cause::Priority)));
    world.pin("shop", 5, 0);
    world.sleep(120);
    assert_eq!((world.ready("batch"), world.ready("shop")), ((3, 0), (5, 0)));
    world.pin("shop", 20, 0);
    world.sleep(120);
    assert_eq!((world.ready("batch"), world.ready("shop")), ((2, 0), (6, 0)));
    assert!(world.says("shop", is_refused(Cause::Supply)), "the rest is batch's minimum");
    // What was taken was drained before it was stopped.
    let drained = world.log.iter().filter(|o| matches!(o.action.kind, ActionKind::Drain { .. })).count();
    assert_eq!(drained, 2, "the two active ones");
    world.pin("shop", 1, 0);
    world.sleep(120);
    assert_eq!(world.ready("batch"), (4, 3), "all is given back");
    assert!(!world.says("batch", |r| matches!(r, SharingReason::Preempted { .. })));
}

#[test]
fn both_sides_of_a_preemption_are_told() {
    let mut world = Nodes::new(&[workload("batch", 50), workload("shop", 200)], &[node("a", 6.0)]);
    world.pin("batch", 5, 0);
    world.pin("shop", 1, 0);
    world.sleep(60);
    world.pin("shop", 3, 0);
    world.sleep(10);
    assert!(world.says(
        "shop",
        |r| matches!(r, SharingReason::Preempts { instances: 2, from, class: 50 } if from.as_str() == "batch")
    ));
    assert!(world.says("batch", |r| matches!(r, SharingReason::Preempted { instances: 2, .. })));
}

#[test]
fn at_the_first_plan_nobody_starts_what_a_higher_class_needs() {
    let mut low = workload("batch", 50);
    low.replicas_min = 6;
    low.replicas_max = 6;
    let mut high = workload("shop", 200);
    high.replicas_min = 4;
    low.standby_min = 4;
    low.replicas_max = 10;
    let mut world = Nodes::new(&[low, high], &[node("a", 12.0)]);
    world.sleep(120);
    assert_eq!((world.ready("batch"), world.ready("shop")), ((6, 2), (4, 0)));
    let stops = world.log.iter().filter(|o| matches!(o.action.kind, ActionKind::Stop { .. })).count();
    assert_eq!(stops, 0, "nothing was started in vain");
}

#[test]
fn tenants_of_one_class_share_by_weight_and_no_further_than_their_quota() {
    let names = ["one", "two", "three"];
    let workloads: Vec<WorkloadPolicy> = names
        .iter()
        .map(|name| WorkloadPolicy { tenant: Some((*name).to_owned()), ..workload(name, 100) })
        .collect();
    let mut tenants: Vec<TenantPolicy> = names.iter().map(|name| TenantPolicy::new(*name)).collect();
    tenants[1].weight = 2.0;
    tenants[2].quota = Some(Resources::new(3.0, 64 * GIB));
    let nodes = [node("a", 6.0), node("b", 6.0)];
    let mut world = Nodes::with(&workloads, &nodes, &tenants, &[]);
    for name in names {
        world.pin(name, 20, 0);
    }
    world.sleep(240);
    let ready: Vec<usize> = names.iter().map(|name| world.ready(name).0).collect();
    assert_eq!(ready, [3, 6, 3]);
    assert!(world.says("one", is_refused(Cause::Share)));
    assert!(world.says("three", is_refused(Cause::Quota)));
    world.pin("two", 1, 0);
    world.sleep(240);
    assert_eq!(world.ready("one").0, 8, "what one leaves goes to those who may have it");
    assert_eq!(world.ready("three").0, 3);
}

#[test]
fn instances_of_a_workload_spread_over_places_and_the_cheaper_node_comes_first() {
    let at = |name: &str, place: &str, price: f64| NodePolicy {
        place: place.to_owned(),
        price,
        ..node(name, 8.0)
    };
    let nodes = [at("dear", "north", 3.0), at("cheap", "north", 1.0), at("far", "south", 2.0)];
    let mut world = Nodes::new(&[workload("web", 100)], &nodes);
    world.pin("web", 1, 0);
    world.sleep(60);
    assert_eq!(world.on("cheap", "web"), 1);
    world.pin("web", 4, 0);
    world.sleep(60);
    assert_eq!((world.on("far", "web"), world.on("dear", "web") + world.on("cheap", "web")), (2, 2));
}

#[test]
fn a_lost_node_is_made_up_for_elsespreadat_the_cost_of_the_lower_class() {
    let mut world =
        Nodes::new(&[workload("batch", 50), workload("shop", 200)], &[node("a", 4.0), node("b", 4.0)]);
    world.pin("batch", 4, 0);
    world.pin("shop", 4, 0);
    world.sleep(120);
    world.lose("a");
    world.sleep(120);
    assert_eq!((world.ready("shop").0, world.ready("batch").0), (3, 1));
    assert!(world.running.values().all(|(node, _)| node.as_str() == "b"));
    world.tell(Event::NodeAppeared { node: node("a", 4.0) });
    world.sleep(120);
    assert_eq!((world.ready("shop").0, world.ready("batch").0), (4, 4));
}

#[test]
fn a_closed_node_keeps_what_is_on_it_and_gets_nothing_new_until_it_is_opened() {
    let mut world = Nodes::new(&[workload("web", 50)], &[node("a", 4.0), node("b", 4.0)]);
    world.pin("web", 4, 0);
    world.sleep(60);
    let closed = NodePolicy { closed: true, ..node("a", 4.0) };
    world.tell(Event::NodeAppeared { node: closed });
    world.pin("web", 6, 0);
    world.sleep(120);
    assert_eq!((world.on("a", "web"), world.on("b", "web"), world.ready("web").0), (2, 4, 6));
    world.pin("web", 8, 0);
    world.sleep(120);
    assert_eq!((world.on("a", "web"), world.ready("web").0), (2, 6), "the rest waits");
    assert!(world.says("web", |r| matches!(r, SharingReason::WaitsForRoom { .. })));
    world.tell(Event::NodeAppeared { node: node("a", 4.0) });
    world.sleep(120);
    assert_eq!((world.on("a", "web"), world.ready("web").0), (4, 8));
}

#[test]
fn adopted_instances_take_the_room_they_are_found_in() {
    let mut world = Nodes::new(&[workload("web", 100)], &[node("a", 2.0), node("b", 4.0)]);
    for n in 1..=3 {
        world.running.insert(planner::InstanceId::new(n), (NodeId::from("a"), "web".to_owned()));
        world.tell(Event::InstanceAdopted {
            workload: "web".into(),
            instance: planner::InstanceId::new(n),
            role: Role::Active,
            parked: false,
            node: Some("a".into()),
        });
    }
    world.pin("web", 5, 0);
    world.sleep(60);
    assert_eq!(
        (world.on("a", "web"), world.on("b", "web")),
        (3, 2),
        "what was found there is kept, none is added"
    );
}

#[test]
fn a_restart_with_full_nodes_stops_nobody() {
    let mut world = Nodes::new(&[workload("batch", 50), workload("shop", 200)], &[node("a", 6.0)]);
    for n in 1..=6 {
        let (instance, whose) = (planner::InstanceId::new(n), if n <= 2 { "batch" } else { "shop" });
        world.running.insert(instance, (NodeId::from("a"), whose.to_owned()));
        world.tell(Event::InstanceAdopted {
            workload: whose.into(),
            instance,
            role: Role::Active,
            parked: false,
            node: Some("a".into()),
        });
    }
    // The lower class is heard first, and asks for all that is left and more.
    world.pin("batch", 5, 0);
    world.pin("shop", 4, 0);
    world.sleep(60);
    assert_eq!((world.ready("batch").0, world.ready("shop").0), (2, 4));
    let disturbed = |o: &&Order| !matches!(o.action.kind, ActionKind::SetWeights { .. });
    assert_eq!(world.log.iter().filter(disturbed).count(), 0, "{:?}", world.log);
}

#[test]
fn what_breaks_a_rule_is_refused_with_every_error() {
    let mut web = workload("web", 100);
    (web.tenant, web.replicas_min) = (Some("nobody".to_owned()), 9);
    let mut idle = workload("idle", 100);
    idle.needs = Resources::NONE;
    let mut wide = workload("wide", 100);
    wide.needs = Resources::new(5.0, GIB);
    let mut bad = node("a", 0.0);
    (bad.price, bad.overcommit) = (-1.0, 0.5);
    let tenant = TenantPolicy { weight: 0.0, quota: Some(Resources::NONE), ..TenantPolicy::new("team") };
    let policy = Policy {
        workloads: vec![web, idle, wide],
        nodes: vec![bad, node("b", 4.0), node("b", 4.0)],
        tenants: vec![tenant.clone(), TenantPolicy::new("team"), TenantPolicy::new("")],
        ..Policy::default()
    };
    let text = Planner::new(policy, 1, Timestamp::from_millis(0)).unwrap_err().to_string();
    for part in [
        "node `a`: `cores` must be above 0",
        "node `a`: `price` must be 0 or a positive number",
        "node `a`: `overcommit` must be from 1 to 16",
        "node `b`: `id` must not be used twice",
        "tenant `team`: `weight` must be from 0.001 to 1,000,000",
        "tenant `team`: `quota` must be above 0",
        "tenant `team`: `name` must not be used twice",
        "tenant ``: `name` must not be empty",
        "workload `web`: `tenant` must be one of the tenants",
        "workload `idle`: `needs` must be above 0 where nodes are given",
        "workload `wide`: `needs` must fit on one of the nodes",
        "nodes: `size` must hold replicas_min of every workload",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

const STEP: Duration = Duration::from_secs(300);

/// A day that peaks at an hour, with a little unrest.
fn day(at: Timestamp, mean: f64, swing: f64, peak_hour: f64) -> f64 {
    let hours = at.as_millis() as f64 / 3.6e6;
    let mut rng = fastrand::Rng::with_seed((hours * 12.0) as u64);
    let wave = ((hours - peak_hour) / 24.0 * std::f64::consts::TAU).cos();
    (mean + swing * wave) * (1.0 + 0.02 * (rng.f64() - 0.5))
}

fn history(days: usize, demand: impl Fn(Timestamp) -> f64) -> Vec<(Timestamp, Option<f64>)> {
    let at = |n: usize| Timestamp::from_millis(n as i64 * STEP.as_millis() as i64);
    (0..days * 288).map(|n| (at(n), Some(demand(at(n))))).collect()
}

fn daily(name: &str, priority: u8) -> WorkloadPolicy {
    WorkloadPolicy { step: STEP, hold: STEP, tick: Duration::from_secs(60), ..workload(name, priority) }
}

#[test]
fn before_a_foreseen_bottleneck_the_lower_class_is_moved_to_spare_nodes_and_comes_back_after_it() {
    // The shop needs up to nine cores at noon; batch always holds three of the ten normal ones.
    let demand = |at: usize, now: Timestamp| if at == 0 { 280.0 } else { day(now, 450.0, 350.0, 12.0) };
    let mut batch = daily("batch", 50);
    batch.replicas_min = 3;
    let histories = [history(6, |at| demand(0, at)), history(6, |at| demand(1, at))];
    let nodes = [node("a", 5.0), node("b", 5.0), spare("s", 4.0)];
    let mut world = Nodes::with(&[batch, daily("shop", 200)], &nodes, &[], &histories);
    let (mut moved_at, mut short_at) = (None, None);
    for step in 0..288 {
        world.step(demand);
        let hour = step as f64 / 12.0;
        if step == 36 {
            assert_eq!(world.on("s", "batch"), 0, "nothing is moved before it is foreseen");
            world.served_least.clear();
        }
        if world.on("s", "batch") > 0 && moved_at.is_none() {
            moved_at = Some(hour);
        }
        let snapshot = world.planner.snapshot();
        let grant = snapshot.workloads()[1].grant.unwrap();
        if grant.refused.is_some() && short_at.is_none() {
            short_at = Some(hour);
        }
        drop(snapshot);
        if step == 144 {
            assert!(world.on("s", "batch") >= 1, "it stands aside at noon");
            assert!(world.says("shop", |r| matches!(r, SharingReason::Shielded { .. })));
        }
    }
    let moved_at = moved_at.expect("batch was moved");
    assert!((4.0..11.0).contains(&moved_at), "moved at {moved_at}");
    assert_eq!(short_at, None, "nobody was refused anything");
    let aside = world.moves.values().filter(|why| matches!(why, MoveCause::Bottleneck { .. })).count();
    let back = world.moves.values().filter(|why| matches!(why, MoveCause::Calm)).count();
    assert!((1..=3).contains(&aside) && back == aside, "there and back once: {:?}", world.moves);
    assert!(world.served_least["batch"] >= 3, "each replacement served before its predecessor left");
    assert_eq!(world.on("s", "batch"), 0, "spare nodes are cleared in the evening");
}

#[test]
fn through_a_scarce_day_the_highest_class_lacks_nothing_and_nobody_is_started_and_stopped_all_the_time() {
    let peaks = [("low", 50, 14.0), ("mid", 100, 10.0), ("top", 200, 12.0)];
    let demand = |at: usize, now: Timestamp| day(now, 450.0, 350.0, peaks[at].2);
    let workloads: Vec<WorkloadPolicy> = peaks.iter().map(|(name, class, _)| daily(name, *class)).collect();
    let histories: Vec<_> = (0..3).map(|at| history(6, move |now| demand(at, now))).collect();
    let nodes = [node("a", 6.0), node("b", 6.0), node("c", 6.0)];
    let mut world = Nodes::with(&workloads, &nodes, &[], &histories);
    let mut refused = [0; 3];
    for _ in 0..288 {
        world.step(demand);
        // What came last is weighed at once.
        world.sleep(0);
        for (at, view) in world.planner.snapshot().workloads().iter().enumerate() {
            // What was asked for after the last weighing waits for the next tick.
            let short = |reason: &Reason| match reason {
                Reason::Sharing(SharingReason::Refused { tier: Tier::Active, cause, .. }) => {
                    *cause != Cause::Pending
                }
                _ => false,
            };
            refused[at] += u32::from(view.plan.unwrap().reasons.iter().any(short));
        }
    }
    assert_eq!((refused[2], refused[1]), (0, 0), "eighteen cores hold two of them at any time");
    assert!(refused[0] > 12, "noon is scarce: {refused:?}");
    let starts = |name: &str| {
        let own = world.log.iter().filter(|o| o.action.workload.as_str() == name);
        own.filter(|o| matches!(o.action.kind, ActionKind::Start { .. })).count()
    };
    let starts = [starts("low"), starts("mid"), starts("top")];
    assert!(starts.iter().all(|starts| *starts <= 24), "{starts:?}");
}

#[test]
fn a_node_whose_cores_are_promised_twice_is_relieved_before_it_peaks_above_them() {
    let wide =
        |name: &str, priority| WorkloadPolicy { tick: Duration::from_secs(60), ..workload(name, priority) };
    let nodes = [NodePolicy { overcommit: 2.0, ..node("a", 4.0) }, node("b", 4.0)];
    let mut world = Nodes::new(&[wide("low", 50), wide("high", 200)], &nodes);
    world.lose("b");
    world.pin("low", 3, 0);
    world.pin("high", 4, 0);
    world.sleep(120);
    assert_eq!((world.on("a", "low"), world.on("a", "high")), (3, 4), "promised almost twice");
    world.tell(Event::NodeAppeared { node: nodes[1].clone() });
    world.served_least.clear();
    for _ in 0..90 {
        world.step(|at, _| if at == 0 { 150.0 } else { 200.0 });
    }
    assert!(world.moves.values().any(|why| matches!(why, MoveCause::NodePeak { .. })), "{:?}", world.moves);
    let on = |node, workload| world.on(node, workload);
    let spread = (on("a", "low"), on("b", "low"), on("a", "high"), on("b", "high"));
    assert!(spread.1 > 0 && spread.2 == 4, "the lower class goes: {spread:?}");
    assert_eq!(world.served_least["low"], 3);
    let snapshot = world.planner.snapshot();
    assert!(snapshot.nodes()[0].forecast_peak() <= 4.0 * 1.05, "{}", snapshot.nodes()[0].forecast_peak());
}

#[test]
fn workloads_that_look_alike_are_one_group_and_stay_apart() {
    let peaks = [12.0, 12.5, 0.0];
    let demand = |at: usize, now: Timestamp| day(now, 250.0, 200.0, peaks[at]);
    let workloads = [daily("shop", 100), daily("site", 100), daily("night", 100)];
    let histories: Vec<_> =
        (0..3).map(|at| history(6, move |now| day(now, 250.0, 200.0, peaks[at]))).collect();
    let mut world = Nodes::with(&workloads, &[node("a", 16.0), node("b", 16.0)], &[], &histories);
    for _ in 0..3 {
        world.step(demand);
    }
    let snapshot = world.planner.snapshot();
    let groups: Vec<Option<u32>> = snapshot.workloads().iter().map(|w| w.group).collect();
    assert!(groups[0].is_some() && groups[0] == groups[1] && groups[0] != groups[2], "{groups:?}");
}

#[test]
fn without_nodes_nothing_is_said_about_them() {
    let mut web = workload("web", 100);
    web.replicas_min = 3;
    let policy = Policy { workloads: vec![web], ..Policy::default() };
    let mut planner = Planner::new(policy, 1, Timestamp::from_millis(0)).unwrap();
    planner.handle_timeout(Timestamp::from_millis(0));
    let mut starts = 0;
    while let Some(action) = planner.poll_action() {
        assert!(matches!(action.kind, ActionKind::Start { node: None, .. }));
        starts += 1;
    }
    let snapshot = planner.snapshot();
    assert_eq!((starts, snapshot.nodes().len(), snapshot.supply()), (3, 0, None));
    assert_eq!((snapshot.workloads()[0].grant, snapshot.workloads()[0].group), (None, None));
}

/// Found by fault simulation: when the time for a move was over while its replacement was there but not good yet, both
/// counted again, one more than `replicas_max`.
#[test]
fn a_move_that_takes_too_long_is_not_given_up_while_there_is_no_place_for_both() {
    let wide =
        |name: &str, priority| WorkloadPolicy { tick: Duration::from_secs(60), ..workload(name, priority) };
    let nodes = [NodePolicy { overcommit: 2.0, ..node("a", 4.0) }, node("b", 4.0)];
    let low = WorkloadPolicy { replicas_max: 3, ..wide("low", 50) };
    let mut world = Nodes::new(&[low, wide("high", 200)], &nodes);
    world.lose("b");
    world.pin("low", 3, 0);
    world.pin("high", 4, 0);
    world.sleep(120);
    world.tell(Event::NodeAppeared { node: nodes[1].clone() });
    for _ in 0..90 {
        world.step(|at, _| if at == 0 { 150.0 } else { 200.0 });
        if world.on("b", "low") > 0 {
            break;
        }
    }
    assert!(world.on("b", "low") > 0, "a replacement was started");
    // Every replacement turns out to be no good, for longer than the move may take. The linter watches.
    let moving = |world: &Nodes| world.planner.snapshot().workloads()[0].instances.iter().any(|i| i.moving());
    for _ in 0..120 {
        let new = world.running.iter().filter(|(_, (node, whose))| node.as_str() == "b" && whose == "low");
        for instance in new.map(|(id, _)| *id).collect::<Vec<_>>() {
            let reason = "timeout".to_owned();
            world.tell(Event::InstanceUnhealthy { workload: "low".into(), instance, reason });
        }
        world.sleep(5);
    }
    for _ in 0..20 {
        world.step(|at, _| if at == 0 { 150.0 } else { 200.0 });
    }
    assert!(!moving(&world), "with good replacements the move ends");
}
