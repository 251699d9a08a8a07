//! Sizes where nodes are finite: an instance grows into what is free, and what it gives back is there for others.

use std::time::Duration;

use planner::sizing::SizeReason;
use planner::{Event, InstanceId, NodePolicy, Reason, Resources, Size, SizingPolicy, WorkloadPolicy};

use crate::nodes::{GIB, Nodes, workload};

const MIB: u64 = 1 << 20;

fn size(cpu_cores: f64, mib: u64) -> Size {
    Size { cpu_cores, memory_bytes: mib * MIB }
}

/// A workload that needs little, begins with a core and 512 MiB, and may have up to four cores and 8 GiB.
fn sized(name: &str, priority: u8) -> WorkloadPolicy {
    let mut policy = workload(name, priority);
    policy.needs = Resources::new(0.1, 256 * MIB);
    let sizing = SizingPolicy::new(size(0.1, 64), size(4.0, 8_192), size(1.0, 512));
    let step = Duration::from_secs(60);
    policy.sizing = Some(SizingPolicy { cpu_bound: Some(false), step, every: step, ..sizing });
    policy
}

fn node(cores: f64, mib: u64) -> NodePolicy {
    NodePolicy::new("a", cores, mib * MIB)
}

fn planned(world: &Nodes, workload: &str) -> Size {
    let snapshot = world.planner.snapshot();
    snapshot.workload(&workload.into()).unwrap().plan.unwrap().size.unwrap()
}

/// The instance of a workload that has only one.
fn only(world: &Nodes, workload: &str) -> InstanceId {
    let mut own = world.running.iter().filter(|(_, (_, whose))| whose == workload).map(|(id, _)| *id);
    let one = own.next().expect("it has one");
    assert_eq!(own.next(), None);
    one
}

fn uses_memory(world: &mut Nodes, workload: &str, mib: u64) {
    let instance = only(world, workload);
    let memory_bytes = Some(mib * MIB);
    world.tell(Event::StrainObserved { workload: workload.into(), instance, memory_bytes, throttled: None });
    world.sleep(1);
}

fn has_no_room(world: &Nodes, workload: &str) -> bool {
    world.reasons(workload).iter().any(|reason| matches!(reason, Reason::Size(SizeReason::NoRoom { .. })))
}

#[test]
fn memory_is_raised_as_far_as_the_node_has_room_and_the_rest_when_there_is_more() {
    let other = WorkloadPolicy { replicas_min: 0, ..workload("other", 100) };
    let mut world = Nodes::new(&[sized("web", 100), other], &[node(4.0, 2_048)]);
    for name in ["web", "other"] {
        world.pin(name, 1, 0);
    }
    world.step(|_, _| 50.0);
    assert_eq!(planned(&world, "web"), size(1.0, 512));
    uses_memory(&mut world, "web", 490);
    assert!(planned(&world, "web").memory_bytes > 600 * MIB && !has_no_room(&world, "web"));
    uses_memory(&mut world, "web", 900);
    assert_eq!(planned(&world, "web").memory_bytes, GIB, "the other half is taken");
    assert!(has_no_room(&world, "web"), "{:?}", world.reasons("web"));
    let said = world.reasons("web").iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert!(said.contains("the nodes have room for 1.00 cores and 1024 MiB"), "{said}");
    world.pin("other", 0, 0);
    world.step(|_, _| 50.0);
    assert!(planned(&world, "web").memory_bytes > 1_100 * MIB && !has_no_room(&world, "web"));
    let instance = only(&world, "web");
    assert_eq!(world.sizes[&instance], planned(&world, "web"), "in force, in the same instance");
}

#[test]
fn processor_time_is_lent_only_as_long_as_nobody_needs_it() {
    let workloads = [sized("web", 100), WorkloadPolicy { replicas_min: 0, ..workload("other", 100) }];
    let mut world = Nodes::new(&workloads, &[node(2.5, 4_096)]);
    world.pin("web", 1, 0);
    world.pin("other", 0, 0);
    world.step(|_, _| 50.0);
    assert_eq!(planned(&world, "web").cpu_cores, 1.0);
    world.pin("other", 2, 0);
    world.step(|_, _| 50.0);
    assert_eq!(world.on("a", "other"), 2, "as if nothing were lent: {:?}", world.reasons("other"));
    let instance = only(&world, "web");
    assert_eq!(world.sizes[&instance].cpu_cores, 0.5, "what is left");
    assert!(has_no_room(&world, "web"));
    world.pin("other", 0, 0);
    world.step(|_, _| 50.0);
    assert_eq!(world.sizes[&instance].cpu_cores, 0.5, "not back and forth");
    (0..10).for_each(|_| world.step(|_, _| 50.0));
    assert_eq!(world.sizes[&instance].cpu_cores, 1.0);
}

#[test]
fn a_higher_class_is_lent_processor_time_first() {
    let mut world = Nodes::new(&[sized("web", 100), sized("high", 200)], &[node(1.5, 4_096)]);
    for name in ["web", "high"] {
        world.pin(name, 1, 0);
    }
    (0..2).for_each(|_| world.step(|_, _| 50.0));
    assert_eq!((planned(&world, "high").cpu_cores, planned(&world, "web").cpu_cores), (1.0, 0.5));
}

/// Whoever asked first had it, whatever its class.
#[test]
fn memory_that_becomes_free_goes_to_the_higher_class_first() {
    let other = WorkloadPolicy { replicas_min: 0, ..workload("other", 100) };
    let mut world = Nodes::new(&[sized("web", 100), sized("high", 200), other], &[node(8.0, 2_048)]);
    for name in ["web", "high", "other"] {
        world.pin(name, 1, 0);
    }
    world.step(|_, _| 50.0);
    for name in ["web", "high"] {
        uses_memory(&mut world, name, 1_000);
        assert!(has_no_room(&world, name) && planned(&world, name).memory_bytes == 512 * MIB);
    }
    world.pin("other", 0, 0);
    // The lower class asks every second, and so before the higher one when there is room at last.
    for _ in 0..6 {
        world.sleep(1);
        world.pin("web", 1, 0);
    }
    let rest = planned(&world, "web").memory_bytes;
    assert!(
        (700 * MIB..900 * MIB).contains(&rest),
        "what the higher one cannot use is not kept back: {rest}"
    );
    world.step(|_, _| 50.0);
    let (web, high) = (planned(&world, "web").memory_bytes, planned(&world, "high").memory_bytes);
    assert!(high >= 1_150 * MIB && !has_no_room(&world, "high"), "{high}");
    assert!(web == rest && web + high == 2 * GIB && has_no_room(&world, "web"), "{web} {high}");
}

/// It asks for its size before the higher class looks again.
#[test]
fn the_first_instance_of_a_lower_class_takes_nothing_that_a_higher_one_lacks() {
    let other = WorkloadPolicy { replicas_min: 0, ..workload("other", 100) };
    let late = WorkloadPolicy { replicas_min: 0, ..sized("late", 100) };
    let mut world = Nodes::new(&[late, sized("high", 200), other], &[node(8.0, 1_536)]);
    for (name, count) in [("late", 0), ("high", 1), ("other", 1)] {
        world.pin(name, count, 0);
    }
    world.step(|_, _| 50.0);
    uses_memory(&mut world, "high", 1_000);
    assert!(has_no_room(&world, "high") && planned(&world, "high").memory_bytes == 512 * MIB);
    world.pin("other", 0, 0);
    while world.on("a", "other") > 0 {
        world.sleep(1);
    }
    world.pin("late", 1, 0);
    let rest = planned(&world, "late").memory_bytes;
    assert!((256 * MIB..400 * MIB).contains(&rest), "what the higher one cannot use: {rest}");
    world.step(|_, _| 50.0);
    assert!(planned(&world, "high").memory_bytes >= 1_150 * MIB && !has_no_room(&world, "high"));
}

#[test]
fn of_those_who_ask_at_once_the_higher_class_gets_memory_first() {
    let one = |name, class| WorkloadPolicy { replicas_min: 1, replicas_max: 1, ..sized(name, class) };
    let mut world = Nodes::new(&[one("web", 100), one("high", 200)], &[node(8.0, 896)]);
    world.step(|_, _| 50.0);
    let memory = |name| planned(&world, name).memory_bytes / MIB;
    assert_eq!((memory("high"), memory("web")), (512, 384));
}

#[test]
fn what_would_cost_another_its_least_is_not_given() {
    let [mut web, mut other] = [sized("web", 200), workload("other", 100)];
    (web.needs, other.needs) = (Resources::new(0.1, 512 * MIB), Resources::new(0.1, 1_300 * MIB));
    let mut world = Nodes::new(&[web, other], &[node(4.0, 2_048)]);
    for name in ["web", "other"] {
        world.pin(name, 1, 0);
    }
    world.step(|_, _| 50.0);
    for _ in 0..4 {
        world.tell(Event::OutOfMemory { workload: "web".into(), instance: InstanceId::new(1) });
        world.step(|_, _| 50.0);
    }
    assert_eq!((world.on("a", "web"), world.on("a", "other")), (1, 1));
    assert_eq!(planned(&world, "web").memory_bytes, 748 * MIB, "all that is left beside it");
    assert!(has_no_room(&world, "web"));
}

#[test]
fn who_was_killed_for_lack_of_memory_gets_it_and_there_is_room_for_fewer() {
    let mut web = sized("web", 100);
    web.needs = Resources::new(0.1, 512 * MIB);
    let mut world = Nodes::new(&[web], &[node(8.0, 2_048)]);
    world.pin("web", 4, 0);
    world.step(|_, _| 300.0);
    assert_eq!(world.on("a", "web"), 4);
    world.starved = true;
    world.tell(Event::OutOfMemory { workload: "web".into(), instance: InstanceId::new(1) });
    world.step(|_, _| 300.0);
    let planned = planned(&world, "web");
    assert!(planned.memory_bytes >= 612 * MIB, "{planned:?}");
    assert_eq!(world.on("a", "web"), 3, "{:?}", world.reasons("web"));
    assert!(world.running.keys().all(|id| world.sizes[id] == planned), "in force");
    world.starved = false;
    world.step(|_, _| 300.0);
    assert!(3 * planned.memory_bytes <= 2 * GIB, "and all of it fits");
}

#[test]
fn a_larger_size_leaves_room_for_the_least_of_another() {
    let names = ["a", "b", "c"];
    let workloads = names.map(|name| {
        let mut policy = sized(name, 100);
        policy.sizing.as_mut().unwrap().initial = size(1.0, 1_536);
        policy
    });
    let nodes = ["x", "y"].map(|name| NodePolicy::new(name, 8.0, 2_048 * MIB));
    let mut world = Nodes::new(&workloads, &nodes);
    for name in names {
        world.pin(name, 1, 0);
    }
    (0..2).for_each(|_| world.step(|_, _| 50.0));
    let there: Vec<usize> = names.iter().map(|name| world.on("x", name) + world.on("y", name)).collect();
    assert_eq!(there, [1, 1, 1], "{:?}", world.sizes);
}

#[test]
fn more_instances_are_each_lent_less() {
    let mut world = Nodes::new(&[sized("web", 100)], &[node(4.0, 4_096)]);
    world.pin("web", 4, 0);
    world.step(|_, _| 100.0);
    assert_eq!((world.on("a", "web"), planned(&world, "web").cpu_cores), (4, 1.0), "all of the node");
    world.pin("web", 8, 0);
    (0..2).for_each(|_| world.step(|_, _| 100.0));
    assert_eq!(world.on("a", "web"), 8, "{:?}", world.reasons("web"));
    assert!(world.running.keys().all(|id| world.sizes[id].cpu_cores == 0.5), "{:?}", world.sizes);
}

#[test]
fn a_least_size_that_fits_nowhere_is_refused() {
    let mut web = sized("web", 100);
    web.sizing.as_mut().unwrap().least = size(1.0, 512);
    let policy = planner::Policy {
        workloads: vec![web],
        limits: planner::Limits::default(),
        nodes: vec![node(0.5, 2_048)],
        tenants: Vec::new(),
    };
    let said = policy.validate_sharing().unwrap_err().to_string();
    assert!(said.contains("`sizing.least` must fit on one of the nodes"), "{said}");
}
