//! Whatever happens in whatever order: no panic, no broken invariant, and in the end what was wanted.

use std::time::Duration;

use forecast::{Adjustment, Change, Timestamp};
use jiff::civil::time;
use planner::{
    Action, ActionId, ActionKind, CapacityPolicy, CloneThreshold, Days, DecisionOverride, Event,
    ForecastOverride, InstanceId, Limits, NodePolicy, Planner, Policy, Resources, Role, Scope, SessionPolicy,
    SessionType, Size, SizingMode, SizingPolicy, StoppedLevel, WorkloadId, WorkloadPolicy, lint,
};
use proptest::prelude::*;

/// One thing that a hostile world does.
#[derive(Debug, Clone)]
enum Deed {
    /// Time passes (or jumps, by milliseconds).
    Time(i64),
    Timeout,
    /// Fetches orders.
    Fetch(u8),
    /// Answers one of the orders fetched, well or badly; it stays in the list, so that it may be answered again.
    Answer {
        which: usize,
        well: bool,
    },
    /// Answers an order that may not exist, about an instance that may not exist.
    Nonsense {
        action: u64,
        instance: u64,
        kind: u8,
    },
    Demand {
        value: Option<f64>,
        ago: i64,
        missed: f64,
    },
    Load {
        value: f64,
        in_flight: f64,
    },
    Backend {
        instance: u64,
        requests: u64,
        errors: u64,
        millis: u64,
    },
    Usage {
        instance: u64,
        cores: f64,
        memory: u64,
        throttled: Option<f64>,
    },
    OutOfMemory(u64),
    Sessions {
        instance: u64,
        sessions: u32,
    },
    Exit(u64),
    Unhealthy(u64),
    Healthy(u64),
    Adopt {
        instance: u64,
        active: bool,
        parked: bool,
    },
    AdoptHalted(u64),
    Outdated(u64),
    Pin {
        active: Option<u32>,
        standby: Option<u32>,
        expires: Option<i64>,
    },
    Unpin,
    /// Overrides the forecast from so many seconds ahead (or ago) on.
    Know {
        id: u64,
        kind: u8,
        size: f64,
        from: i64,
        length: i64,
    },
    Forget(u64),
    Node {
        which: u8,
        lost: bool,
    },
}

fn odd_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..2_000.0,
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-1.0),
        1 => Just(1e300),
        1 => Just(0.0),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let instance = 0u64..40;
    prop_oneof![
        6 => (0i64..120_000).prop_map(Deed::Time),
        1 => (-10_000_000_000i64..10_000_000_000).prop_map(Deed::Time),
        6 => Just(Deed::Timeout),
        6 => (0u8..20).prop_map(Deed::Fetch),
        16 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(which, well)| Deed::Answer { which, well }),
        2 => (0u64..200, 0u64..40, 0u8..9).prop_map(|(action, instance, kind)| Deed::Nonsense { action, instance, kind }),
        6 => (prop::option::weighted(0.9, odd_number()), -100_000i64..200_000, odd_number())
            .prop_map(|(value, ago, missed)| Deed::Demand { value, ago, missed }),
        4 => (odd_number(), odd_number()).prop_map(|(value, in_flight)| Deed::Load { value, in_flight }),
        3 => (instance.clone(), 0u64..1000, 0u64..1000, 0u64..100_000)
            .prop_map(|(instance, requests, errors, millis)| Deed::Backend { instance, requests, errors, millis }),
        6 => (instance.clone(), odd_number(), any::<u64>(), prop::option::of(odd_number()))
            .prop_map(|(instance, cores, memory, share)| Deed::Usage {
                instance,
                cores: cores / 1_000.0,
                memory: memory >> (memory % 40),
                throttled: share.map(|share| share / 2_000.0),
            }),
        1 => instance.clone().prop_map(Deed::OutOfMemory),
        3 => (instance.clone(), 0u32..4).prop_map(|(instance, sessions)| Deed::Sessions { instance, sessions }),
        2 => instance.clone().prop_map(Deed::Exit),
        2 => instance.clone().prop_map(Deed::Unhealthy),
        2 => instance.clone().prop_map(Deed::Healthy),
        1 => (instance, any::<bool>(), any::<bool>())
            .prop_map(|(instance, active, parked)| Deed::Adopt { instance, active, parked }),
        1 => (0u64..40).prop_map(Deed::AdoptHalted),
        1 => (0u64..40).prop_map(Deed::Outdated),
        1 => (prop::option::of(0u32..50), prop::option::of(0u32..50), prop::option::of(-1_000i64..1_000_000))
            .prop_map(|(active, standby, expires)| Deed::Pin { active, standby, expires }),
        1 => Just(Deed::Unpin),
        2 => (0u64..40, 0u8..3, odd_number(), -600i64..3_600, -60i64..7_200)
            .prop_map(|(id, kind, size, from, length)| Deed::Know { id, kind, size, from, length }),
        1 => (0u64..40).prop_map(Deed::Forget),
        2 => (0u8..4, any::<bool>()).prop_map(|(which, lost)| Deed::Node { which, lost }),
    ]
}

fn answer(action: &Action, well: bool) -> Event {
    let id = action.id;
    if !well {
        return Event::ActionFailed {
            action: id,
            instance: action.kind.instance(),
            reason: "injected".to_owned(),
        };
    }
    let took = Duration::from_millis(700);
    match &action.kind {
        ActionKind::Start { instance, .. } => Event::InstanceReady { action: id, instance: *instance, took },
        ActionKind::Park { instance } => Event::InstanceParked { action: id, instance: *instance },
        ActionKind::Promote { instance } | ActionKind::Claim { instance, .. } => {
            Event::InstancePromoted { action: id, instance: *instance, took }
        }
        ActionKind::Resize { instance, .. } => Event::InstanceResized { action: id, instance: *instance },
        ActionKind::SetWeights { .. } => {
            Event::WeightsApplied { action: id, workload: action.workload.clone() }
        }
        ActionKind::Drain { instance } => Event::InstanceDrained { action: id, instance: *instance },
        ActionKind::Halt { instance } => Event::InstanceHalted { action: id, instance: *instance },
        ActionKind::Restart { instance } => Event::InstanceReady { action: id, instance: *instance, took },
        ActionKind::Stop { instance } => Event::InstanceStopped { action: id, instance: *instance },
    }
}

/// Three of a kind, and a spare one.
fn node(which: u8) -> NodePolicy {
    NodePolicy { spare: which == 3, ..NodePolicy::new(format!("node-{which}"), 4.0, 8 << 30) }
}

fn nonsense(action: u64, instance: u64, kind: u8) -> Event {
    let (action, instance) = (ActionId::new(action), InstanceId::new(instance));
    let took = Duration::from_secs(86_400 * 365);
    match kind {
        0 => Event::InstanceReady { action, instance, took },
        1 => Event::InstanceParked { action, instance },
        2 => Event::InstancePromoted { action, instance, took },
        3 => Event::InstanceDrained { action, instance },
        4 => Event::InstanceStopped { action, instance },
        5 => Event::WeightsApplied { action, workload: "web".into() },
        6 => Event::InstanceHalted { action, instance },
        7 => Event::ActionFailed { action, instance: None, reason: String::new() },
        _ => Event::ActionFailed { action, instance: Some(instance), reason: String::new() },
    }
}

/// Other bounds for half of each day.
fn morning() -> Scope {
    Scope {
        name: "morning".into(),
        days: Days::all(),
        except: Days { holidays: true, ..Days::NONE },
        from: time(0, 0, 0, 0),
        to: time(12, 0, 0, 0),
        replicas_min: Some(4),
        replicas_max: Some(9),
        standby_min: Some(2),
    }
}

struct Chaos {
    planner: Planner,
    now: Timestamp,
    orders: Vec<Action>,
}

impl Chaos {
    /// `nodes`: how many nodes there are; 0 for unlimited room.
    fn new(seed: u64, nodes: u8) -> Chaos {
        let mut web =
            WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Learned { initial: 100.0 });
        web.tick = Duration::from_secs(10);
        web.replicas_max = 20;
        web.standby_min = 1;
        if !seed.is_multiple_of(3) {
            let size = |cpu_cores, memory_bytes| Size { cpu_cores, memory_bytes };
            // Memory that is used is not given up: on nodes, not more than there is for all.
            let memory_most = if nodes == 0 { 1 << 34 } else { 1 << 30 };
            let mut sizing =
                SizingPolicy::new(size(0.1, 1 << 20), size(8.0, memory_most), size(1.0, 1 << 28));
            sizing.mode = if seed.is_multiple_of(2) { SizingMode::Bandit } else { SizingMode::Rules };
            sizing.cpu_bound = [None, Some(false), Some(true)][(seed % 7 % 3) as usize];
            web.objective.latency_bound = Some(Duration::from_secs(1));
            web.sizing = Some(sizing);
        }
        if web.sizing.is_none() || seed.is_multiple_of(2) {
            web.sizing = None;
            web.stopped = Some(StoppedLevel { price: 0.02, lead: Duration::from_secs(1) });
        }
        if seed % 5 < 3 {
            let types = vec![SessionType::new("game", 1, 0.1)];
            let drain = Duration::from_secs(600);
            web.sessions = Some(SessionPolicy { drain, ..SessionPolicy::new(types) });
        }
        if seed % 11 < 5 {
            web.clone_threshold =
                Some([CloneThreshold::Learned, CloneThreshold::Fixed(0.6)][(seed % 2) as usize]);
            web = web.with_scopes(vec![morning()], vec!["DE".into()]);
        }
        let mut batch = WorkloadPolicy::new("batch", Duration::from_secs(60), CapacityPolicy::Pinned(10.0));
        batch.replicas_min = 0;
        batch.replicas_max = 3;
        (web.needs, batch.needs) = (Resources::new(1.0, 1 << 30), Resources::new(2.5, 1 << 29));
        batch.priority = 150;
        let limits = Limits { starts_in_flight: 4, instances: 24, actions_queued: 16, history: 8 };
        let now = Timestamp::from_millis(1_700_000_000_000);
        if nodes == 0 && web.sizing.is_none() && web.sessions.is_none() {
            (web.template, batch.template) = (Some("base".to_owned()), Some("base".to_owned()));
        }
        let nodes = (0..nodes).map(node).collect();
        let planner = Planner::new(
            Policy { workloads: vec![web, batch], limits, nodes, ..Policy::default() },
            seed,
            now,
        )
        .unwrap();
        Chaos { planner, now, orders: Vec::new() }
    }

    fn tell(&mut self, event: Event) {
        self.planner.handle(self.now, event);
    }

    fn perform(&mut self, deed: Deed) {
        let web = || WorkloadId::from("web");
        match deed {
            Deed::Time(millis) => self.now = Timestamp::from_millis(self.now.as_millis() + millis),
            Deed::Timeout => self.planner.handle_timeout(self.now),
            Deed::Fetch(n) => {
                for _ in 0..n {
                    self.orders.extend(self.planner.poll_action());
                }
            }
            Deed::Answer { which, well } => {
                if !self.orders.is_empty() {
                    let event = answer(&self.orders[which % self.orders.len()], well);
                    self.tell(event);
                }
            }
            Deed::Nonsense { action, instance, kind } => self.tell(nonsense(action, instance, kind)),
            Deed::Demand { value, ago, missed } => {
                let step_start = Timestamp::from_millis(self.now.as_millis() - ago);
                self.tell(Event::DemandObserved { workload: web(), step_start, demand: value, missed });
            }
            Deed::Load { value, in_flight } => {
                self.tell(Event::LoadObserved { workload: web(), demand_now: value, in_flight });
            }
            Deed::Backend { instance, requests, errors, millis } => self.tell(Event::BackendObserved {
                workload: web(),
                instance: InstanceId::new(instance),
                requests,
                errors,
                latency_p50: Duration::from_millis(millis / 2),
                latency_p99: Duration::from_millis(millis),
                latencies: Vec::new(),
                in_flight: 3,
            }),
            Deed::Usage { instance, cores, memory, throttled } => {
                let (workload, instance) = (web(), InstanceId::new(instance));
                self.tell(Event::UsageObserved {
                    workload: workload.clone(),
                    instance,
                    cpu_cores: cores,
                    memory_bytes: memory,
                    throttled,
                });
                let memory_bytes = (!memory.is_multiple_of(3)).then_some(memory / 2);
                self.tell(Event::StrainObserved { workload, instance, memory_bytes, throttled });
            }
            Deed::OutOfMemory(n) => {
                self.tell(Event::OutOfMemory { workload: web(), instance: InstanceId::new(n) });
            }
            Deed::Sessions { instance, sessions } => {
                let instance = InstanceId::new(instance);
                self.tell(Event::SessionsHeld { workload: web(), instance, sessions });
            }
            Deed::Exit(n) => {
                let instance = InstanceId::new(n);
                self.tell(Event::InstanceExited { workload: web(), instance, reason: String::new() });
            }
            Deed::Unhealthy(n) => {
                let instance = InstanceId::new(n);
                self.tell(Event::InstanceUnhealthy { workload: web(), instance, reason: String::new() });
            }
            Deed::Healthy(n) => {
                self.tell(Event::InstanceHealthy { workload: web(), instance: InstanceId::new(n) });
            }
            Deed::Adopt { instance, active, parked } => {
                let role = if active { Role::Active } else { Role::Standby };
                let (instance, node) = (InstanceId::new(instance), Some(node(instance as u8 % 5).id));
                self.tell(Event::InstanceAdopted { workload: web(), instance, role, parked, node });
            }
            Deed::Outdated(n) => {
                self.tell(Event::InstancesOutdated {
                    workload: web(),
                    instances: (n / 2..=n).map(InstanceId::new).collect(),
                });
            }
            Deed::AdoptHalted(n) => {
                let (instance, node) = (InstanceId::new(n), (n % 3 > 0).then(|| node(n as u8 % 5).id));
                self.tell(Event::HaltedAdopted { workload: web(), instance, node });
            }
            Deed::Pin { active, standby, expires } => self.tell(Event::OverrideSet {
                workload: web(),
                decision: DecisionOverride {
                    active,
                    standby,
                    author: "chaos".to_owned(),
                    reason: "none".to_owned(),
                    expires: expires.map(|millis| Timestamp::from_millis(self.now.as_millis() + millis)),
                },
            }),
            Deed::Node { which, lost: true } => {
                self.tell(Event::NodeLost { node: node(which).id });
            }
            Deed::Node { which, lost: false } => self.tell(Event::NodeAppeared { node: node(which) }),
            Deed::Know { id, kind, size, from, length } => {
                let change = match kind {
                    0 => Change::Scale(size / 100.0),
                    1 => Change::Add(size - 500.0),
                    _ => Change::Replace(size),
                };
                let at = |secs: i64| Timestamp::from_millis(self.now.as_millis() + secs * 1_000);
                let adjustment = Adjustment { from: at(from), to: at(from + length), change };
                let (author, reason) = ("chaos".to_owned(), "none".to_owned());
                let forecast = ForecastOverride { id, adjustment, author, reason };
                self.tell(Event::ForecastOverrideSet { workload: web(), forecast });
            }
            Deed::Forget(id) => self.tell(Event::ForecastOverrideCleared { workload: web(), id }),
            Deed::Unpin => self.tell(Event::OverrideCleared { workload: web() }),
        }
    }

    /// From here on everything works: sessions end, every order is answered well, time goes on.
    fn calm_down(&mut self, rounds: usize) {
        let snapshot = self.planner.snapshot();
        let held = snapshot.workloads()[0].instances.iter().filter(|i| i.sessions() > 0);
        let held: Vec<InstanceId> = held.map(planner::Instance::id).collect();
        for instance in held {
            self.tell(Event::SessionsHeld { workload: "web".into(), instance, sessions: 0 });
        }
        for _ in 0..rounds {
            self.now = self.now.saturating_add(Duration::from_secs(5));
            self.planner.handle_timeout(self.now);
            let mut orders = 0;
            while let Some(action) = self.planner.poll_action() {
                orders += 1;
                assert!(orders < 1_000, "orders that undo each other: {action:?}");
                let event = answer(&action, true);
                self.tell(event);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_every_invariant_and_converges(
        seed in any::<u64>(),
        nodes in prop_oneof![Just(0u8), Just(3), Just(4)],
        deeds in prop::collection::vec(deed(), 1..400),
    ) {
        let mut chaos = Chaos::new(seed, nodes);
        for deed in deeds {
            let told = format!("{deed:?}");
            chaos.perform(deed);
            let checked = lint::check(&chaos.planner.snapshot());
            prop_assert!(checked.is_ok(), "after {told}: {:?}", checked.unwrap_err());
            if let Some((at, _)) = chaos.planner.poll_timeout() {
                prop_assert!(at >= chaos.planner.snapshot().now());
            }
        }
        for which in 0..nodes {
            chaos.perform(Deed::Node { which, lost: false });
        }
        chaos.tell(Event::OverrideSet {
            workload: "web".into(),
            decision: DecisionOverride {
                active: Some(3),
                standby: Some(2),
                author: "test".to_owned(),
                reason: "convergence".to_owned(),
                expires: None,
            },
        });
        // Longer than an hour, and the time that a move takes: so often it is looked anew at who may better be elsewhere.
        chaos.calm_down(900);
        let snapshot = chaos.planner.snapshot();
        let web = &snapshot.workloads()[0];
        let routed: Vec<u32> = web.table.iter().map(|entry| entry.1).collect();
        prop_assert_eq!(routed, vec![1000; 3], "{:?}", web.instances);
        let parked = web.instances.iter().filter(|i| i.parked()).count();
        prop_assert_eq!(parked, 2);
        let stopped = web.plan.map_or(0, |plan| plan.stopped_wanted);
        // On nodes the level below parked is only filled by what is given up.
        let least = if nodes == 0 { 5 + stopped as usize } else { 5 };
        prop_assert!((least..=5 + stopped as usize).contains(&web.instances.len()));
        let size = web.plan.and_then(|plan| plan.size);
        prop_assert!(web.instances.iter().all(|i| size.is_none() || i.size() == size));
    }

    #[test]
    fn the_same_events_give_the_same_orders(
        seed in any::<u64>(), nodes in 0u8..4, deeds in prop::collection::vec(deed(), 1..100),
    ) {
        let run = || {
            let mut chaos = Chaos::new(seed, nodes);
            for deed in &deeds {
                chaos.perform(deed.clone());
            }
            chaos.calm_down(20);
            format!("{:?} {:?}", chaos.orders, chaos.planner.snapshot().workloads()[0].instances)
        };
        prop_assert_eq!(run(), run());
    }
}
