//! Sizes: what instances may use, and that size and count do not fight.

use std::collections::BTreeMap;
use std::time::Duration;

use planner::sizing::{BanditOff, SizeReason};
use planner::{
    ActionKind, CapacityPolicy, Event, InstanceId, Plan, Reason, Size, SizingMode, SizingPolicy,
    WorkloadPolicy,
};

use crate::world::{Uses, World};

const MIB: u64 = 1 << 20;

fn size(cpu_cores: f64, mib: u64) -> Size {
    Size { cpu_cores, memory_bytes: mib * MIB }
}

/// Instances of one core serve 100; sizes from a tenth of a core to 8 cores.
fn policy() -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new("web", Duration::from_secs(300), CapacityPolicy::Pinned(100.0));
    policy.tick = Duration::from_secs(10);
    policy.replicas_max = 30;
    policy.lead_cold = Duration::from_secs(60);
    policy.sizing = Some(SizingPolicy::new(size(0.1, 32), size(8.0, 16_384), size(1.0, 512)));
    policy
}

fn world(policy: WorkloadPolicy, memory_mib: u64) -> World {
    let mut world = World::new(policy);
    world.loads = true;
    world.uses = Some(Uses { cores: 0.01, memory: memory_mib * MIB });
    world
}

fn plan(world: &World) -> Plan {
    world.planner.snapshot().workloads()[0].plan.unwrap().clone()
}

fn planned(world: &World) -> Size {
    plan(world).size.unwrap()
}

/// The sizes ordered since an index of the log, without repetitions.
fn ordered(world: &World, since: usize) -> Vec<Size> {
    let mut sizes: Vec<Size> = world.log[since..]
        .iter()
        .filter_map(|entry| match &entry.action.kind {
            ActionKind::Resize { size, .. } => Some(*size),
            _ => None,
        })
        .collect();
    sizes.dedup();
    sizes
}

/// Changes of the number of instances since an index of the log.
fn moves(world: &World, since: usize) -> usize {
    let moved = |kind: &ActionKind| {
        matches!(kind, ActionKind::Start { .. } | ActionKind::Promote { .. } | ActionKind::Drain { .. })
    };
    world.log[since..].iter().filter(|entry| moved(&entry.action.kind)).count()
}

fn noisy(level: f64) -> impl Fn(f64) -> f64 {
    move |seconds| level * (1.0 + 0.05 * (seconds / 37.0).sin() * (seconds / 11.0).cos())
}

fn daily(seconds: f64) -> f64 {
    let day = 1.0 - (seconds / 86_400.0 * std::f64::consts::TAU).cos();
    noisy(200.0 + 500.0 * day)(seconds)
}

const DAY: usize = 288;

#[test]
fn without_a_policy_for_it_nobody_speaks_of_sizes() {
    let mut world = world(WorkloadPolicy { sizing: None, ..policy() }, 100);
    world.run(DAY / 4, noisy(450.0));
    assert_eq!(plan(&world).size, None);
    assert!(ordered(&world, 0).is_empty() && world.sizes.is_empty());
}

#[test]
fn under_steady_demand_neither_size_nor_count_moves() {
    // Little or much memory: where it is on the edge whether fewer and larger instances are cheaper, that is decided late.
    for (bound, memory) in [(Some(true), 50), (Some(true), 4_000), (Some(false), 200), (None, 200)] {
        let mut policy = policy();
        policy.sizing.as_mut().unwrap().cpu_bound = bound;
        let mut world = world(policy, memory);
        world.run(3 * DAY, noisy(1_000.0));
        let since = world.log.len();
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        let (mut least_serve, mut most_serve) = (usize::MAX, 0);
        for _ in 0..2 * DAY {
            world.run(1, noisy(1_000.0));
            (low, high) = (low.min(world.capacity()), high.max(world.capacity()));
            let serving = world.serving().len();
            (least_serve, most_serve) = (least_serve.min(serving), most_serve.max(serving));
        }
        let sizes = ordered(&world, since);
        assert!(sizes.len() <= 1, "{bound:?} {memory}: {sizes:?}");
        // With one more or less in the noise, as without sizes.
        assert!(most_serve - least_serve <= 1, "{bound:?} {memory}: from {least_serve} to {most_serve}");
        let most = world.sizes.values().map(|size| size.cpu_cores).fold(0.0, f64::max);
        if bound != Some(false) {
            // What is needed, one for rounding up, and one more.
            let most = 1_050.0 + 200.0 * most;
            assert!(low >= 950.0 && high < most, "{bound:?} {memory}: from {low} to {high}");
        }
    }
}

/// What served after each order about it, as the orders say.
fn capacities(world: &World) -> Vec<f64> {
    let (mut sizes, mut table, mut all) = (BTreeMap::new(), Vec::new(), Vec::new());
    for entry in &world.log {
        match &entry.action.kind {
            ActionKind::Start { instance, size: Some(size), .. } | ActionKind::Resize { instance, size } => {
                sizes.insert(*instance, size.cpu_cores);
            }
            ActionKind::SetWeights { weights } => table.clone_from(weights),
            _ => continue,
        }
        let serving = table.iter().filter(|(_, weight)| *weight > 0);
        all.push(serving.map(|(id, _)| 100.0 * sizes[id]).sum());
    }
    all
}

/// Found in a test of steady demand: all eleven were made larger before eight of them left.
#[test]
fn only_those_that_are_to_stay_are_made_larger() {
    let mut policy = policy();
    policy.sizing.as_mut().unwrap().cpu_bound = Some(true);
    let mut world = world(policy, 4_000);
    world.run(DAY, noisy(1_000.0));
    let larger = world.log.iter().filter_map(|entry| match &entry.action.kind {
        ActionKind::Resize { instance, size } if size.cpu_cores > 1.0 => Some(*instance),
        _ => None,
    });
    assert_eq!(larger.collect::<Vec<_>>(), world.serving(), "those, and each of them once");
    assert!((3..=4).contains(&world.serving().len()), "{:?}", world.serving());
    let all = capacities(&world);
    let enough = all.iter().position(|capacity| *capacity >= 1_000.0).unwrap();
    let least = all[enough..].iter().copied().fold(f64::INFINITY, f64::min);
    let most = all[enough..].iter().copied().fold(0.0, f64::max);
    assert!(least >= 1_000.0 && most < 2_300.0, "from {least} to {most}");
    assert!(world.missed_share() < 0.001, "{}", world.missed_share());
}

#[test]
fn those_that_come_larger_serve_in_proportion_beside_those_that_cannot_grow() {
    let mut policy = policy();
    policy.sizing.as_mut().unwrap().cpu_bound = Some(true);
    let mut world = world(policy, 4_000);
    world.faults.no_resize = true;
    world.run(DAY, noisy(1_000.0));
    let before = world.serving().len();
    world.run(4, noisy(2_000.0));
    let (oldest, newest) = (world.table[0], *world.table.last().unwrap());
    let larger = planned(&world).cpu_cores;
    assert_eq!((world.sizes[&oldest.0].cpu_cores, world.sizes[&newest.0].cpu_cores), (1.0, larger));
    assert!(larger > 2.0);
    assert_eq!((f64::from(oldest.1), newest.1), ((1_000.0 / larger).round(), 1_000));
    // Ten more of the small ones would have been needed, before any margin.
    assert!(world.serving().len() < before + 10, "{before} and then {:?}", world.table);
    assert!(world.capacity() >= 2_000.0, "{}", world.capacity());
}

#[test]
fn over_days_the_count_moves_and_the_size_hardly_does() {
    let mut policy = policy();
    policy.sizing.as_mut().unwrap().cpu_bound = Some(true);
    let mut world = world(policy, 2_000);
    world.run(3 * DAY, daily);
    (world.demand, world.missed) = (0.0, 0.0);
    let since = world.log.len();
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for _ in 0..4 * DAY {
        world.run(1, daily);
        low = low.min(world.capacity());
        high = high.max(world.capacity());
    }
    assert!(ordered(&world, since).len() <= 1, "one size for all days: {:?}", ordered(&world, since));
    assert!(moves(&world, since) > 8, "the count follows demand");
    assert!(world.missed_share() < 0.002, "{}", world.missed_share());
    assert!(high < 1.5 * 1_260.0, "the peak of 1,260 is met by {high}");
    assert!(low < 0.5 * high, "from {low} to {high}");
}

#[test]
fn a_heavy_footprint_makes_few_large_instances_and_no_shortage_on_the_way() {
    let mut policy = policy();
    policy.sizing.as_mut().unwrap().cpu_bound = Some(true);
    let mut world = world(policy, 4_000);
    world.settle(noisy(1_000.0));
    world.run(DAY, noisy(1_000.0));
    let size = planned(&world);
    assert!(size.cpu_cores >= 2.0, "{size:?}");
    assert!(world.serving().len() <= 7, "{:?}", world.table);
    assert!(world.missed_share() < 0.001, "{}", world.missed_share());
    let reasons = plan(&world).reasons;
    assert!(reasons.iter().any(|r| matches!(r, Reason::Size(SizeReason::Together { .. }))), "{reasons:?}");
}

#[test]
fn what_is_limited_by_something_else_shrinks_to_what_it_uses() {
    let mut world = world(policy(), 100);
    world.uses = Some(Uses { cores: 0.002, memory: 100 * MIB });
    world.run(2 * DAY, noisy(1_000.0));
    let size = planned(&world);
    assert!((0.15..0.4).contains(&size.cpu_cores), "{size:?}");
    assert!((100 * MIB..160 * MIB).contains(&size.memory_bytes), "{size:?}");
    assert!(world.serving().iter().all(|id| world.sizes[id] == size));
}

#[test]
fn out_of_memory_raises_at_once_and_is_remembered() {
    let mut world = world(WorkloadPolicy { replicas_min: 2, replicas_max: 2, ..policy() }, 300);
    world.run(DAY, noisy(100.0));
    let before = planned(&world).memory_bytes;
    assert!(before < 400 * MIB);
    let instance = InstanceId::new(1);
    world.tell(Event::OutOfMemory { workload: "web".into(), instance });
    let after = planned(&world).memory_bytes;
    assert!(after >= (before + 100 * MIB).max(before + before / 5), "{before} to {after}");
    world.sleep(Duration::from_secs(2));
    assert_eq!(world.sizes[&instance].memory_bytes, after);
    world.run(DAY, noisy(100.0));
    assert!(planned(&world).memory_bytes >= after, "remembered");
}

#[test]
fn memory_is_not_taken_away_below_the_peak_of_the_day() {
    let mut world = world(WorkloadPolicy { replicas_min: 2, replicas_max: 2, ..policy() }, 100);
    world.run(DAY / 2, noisy(100.0));
    world.uses = Some(Uses { cores: 0.01, memory: 480 * MIB });
    world.run(1, noisy(100.0));
    world.uses = Some(Uses { cores: 0.01, memory: 100 * MIB });
    for _ in 0..DAY / 2 {
        world.run(1, noisy(100.0));
        assert!(planned(&world).memory_bytes >= 480 * MIB);
    }
    world.run(2 * DAY, noisy(100.0));
    assert!(planned(&world).memory_bytes < 400 * MIB, "{:?}", planned(&world));
}

#[test]
fn throttling_raises_processor_time_at_once() {
    let mut world = world(WorkloadPolicy { replicas_min: 1, replicas_max: 1, ..policy() }, 100);
    world.run(DAY, noisy(30.0));
    let before = planned(&world);
    assert!(before.cpu_cores < 0.45, "{before:?}");
    world.run(1, noisy(90.0));
    assert!(planned(&world).cpu_cores > 0.85, "{:?}", planned(&world));
}

#[test]
fn a_provider_that_cannot_resize_is_not_asked_again_and_again() {
    let mut policy = policy();
    policy.sizing.as_mut().unwrap().cpu_bound = Some(false);
    let mut world = world(policy, 100);
    world.faults.no_resize = true;
    world.run(DAY, noisy(450.0));
    assert!(planned(&world).memory_bytes < 200 * MIB);
    let asked = world.log.iter().filter(|e| matches!(e.action.kind, ActionKind::Resize { .. })).count();
    assert!((3..300).contains(&asked), "{asked} in a day");
    assert!(plan(&world).reasons.contains(&Reason::Size(SizeReason::NotLive)));
    world.run(4, noisy(1_500.0));
    let newest = *world.serving().last().unwrap();
    assert!(world.sizes[&newest].memory_bytes < 200 * MIB, "new ones get the planned size");
}

#[test]
fn the_bandit_is_off_until_use_is_forecast_and_latency_known() {
    let mut policy = policy();
    policy.objective.latency_bound = Some(Duration::from_millis(100));
    policy.sizing.as_mut().unwrap().mode = SizingMode::Bandit;
    (policy.replicas_min, policy.replicas_max) = (5, 5);
    let mut world = world(policy, 100);
    let off = |world: &World| {
        plan(world).reasons.iter().find_map(|r| match r {
            Reason::Size(SizeReason::BanditOff(why)) => Some(*why),
            _ => None,
        })
    };
    world.run(1, noisy(450.0));
    assert_eq!(off(&world), Some(BanditOff::Untrusted));
    world.run(2 * DAY, daily);
    assert_eq!(off(&world), Some(BanditOff::NoLatency));
    assert!(planned(&world).cpu_cores >= 0.4, "as the rules say: {:?}", planned(&world));
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let mut policy = policy();
    let sizing = policy.sizing.as_mut().unwrap();
    (sizing.initial, sizing.cpu_quantile) = (size(16.0, 512), 1.0);
    sizing.mode = SizingMode::Bandit;
    let fields: Vec<&str> = policy.validate().unwrap_err().iter().map(|e| e.field).collect();
    assert_eq!(fields, ["sizing.initial", "sizing.cpu_quantile", "sizing.mode"]);
}

/// A look at the first instance.
fn look(world: &mut World, memory_mib: u64, throttled: f64) {
    world.tell(Event::StrainObserved {
        workload: "web".into(),
        instance: InstanceId::new(1),
        memory_bytes: Some(memory_mib * MIB),
        throttled: Some(throttled),
    });
    world.sleep(Duration::from_millis(250));
}

#[test]
fn memory_near_its_limit_is_raised_at_once_and_said_so() {
    let mut world = world(WorkloadPolicy { replicas_min: 1, replicas_max: 1, ..policy() }, 100);
    world.run(1, noisy(30.0));
    assert_eq!(planned(&world).memory_bytes, 512 * MIB);
    look(&mut world, 455, 0.0);
    assert_eq!(planned(&world).memory_bytes, 512 * MIB, "there is a tenth left");
    look(&mut world, 465, 0.0);
    let raised = planned(&world).memory_bytes;
    assert!((660 * MIB..1_024 * MIB).contains(&raised), "{raised}");
    assert_eq!(world.sizes[&InstanceId::new(1)].memory_bytes, raised, "in force");
    let said = plan(&world).reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert!(said.contains("of its 512 MiB; raised to"), "{said}");
    // What grows fast is met before it is there.
    look(&mut world, 560, 0.0);
    assert!(planned(&world).memory_bytes > raised, "{:?}", planned(&world));
    // The most that is allowed is the end.
    (0..8).for_each(|n| look(&mut world, 3_000 * n, 0.0));
    assert_eq!(planned(&world).memory_bytes, 16_384 * MIB);
    world.run(DAY / 4, noisy(30.0));
    assert_eq!(planned(&world).memory_bytes, 16_384 * MIB, "the peak of the day is kept");
}

/// Found by fault simulation: whenever an instance that had been ill was back, its memory grew to what the others used, all were
/// given more for what seemed to come, and soon less again.
#[test]
fn memory_that_grows_to_what_others_use_raises_nothing_and_beyond_it_does() {
    let mut world = world(WorkloadPolicy { replicas_min: 2, replicas_max: 2, ..policy() }, 400);
    world.run(1, noisy(30.0));
    let since = world.log.len();
    for memory_mib in [400, 100, 380, 400] {
        look(&mut world, memory_mib, 0.0);
    }
    assert!(ordered(&world, since).is_empty(), "{:?}", ordered(&world, since));
    look(&mut world, 430, 0.0);
    assert!(planned(&world).memory_bytes > 600 * MIB, "{:?}", planned(&world));
}

#[test]
fn hard_throttling_is_answered_within_a_second_and_not_before_it_is_believed() {
    let mut world = world(WorkloadPolicy { replicas_min: 1, replicas_max: 1, ..policy() }, 100);
    world.run(1, noisy(30.0));
    let since = world.log.len();
    (0..3).for_each(|_| look(&mut world, 100, 0.9));
    assert!(ordered(&world, since).is_empty(), "half a second is a start, or a burst");
    look(&mut world, 100, 0.9);
    let raised = planned(&world);
    assert!(raised.cpu_cores >= 2.0, "{raised:?}");
    assert_eq!(ordered(&world, since), [raised]);
    (0..8).for_each(|_| look(&mut world, 100, 0.3));
    assert_eq!(planned(&world), raised, "a little is left to the rounds");
    (0..40).for_each(|_| look(&mut world, 100, 1.0));
    assert_eq!(planned(&world).cpu_cores, 8.0, "up to the most that is allowed");
}

#[test]
fn where_the_count_answers_demand_throttling_raises_no_size() {
    let mut policy = policy();
    policy.sizing.as_mut().unwrap().cpu_bound = Some(true);
    let mut world = world(policy, 100);
    world.run(1, noisy(30.0));
    let before = planned(&world).cpu_cores;
    (0..20).for_each(|_| look(&mut world, 100, 0.9));
    assert_eq!(planned(&world).cpu_cores, before);
}
