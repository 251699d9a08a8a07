//! Spares that workloads of one template share: who takes whose, and who must not.

use std::time::Duration;

use forecast::Timestamp;
use planner::{
    Action, ActionKind, CapacityPolicy, DecisionOverride, Event, InstanceId, Planner, Policy, Reason, Role,
    WarmthReason, WorkloadPolicy, lint,
};

fn workload(name: &str) -> WorkloadPolicy {
    let mut policy = WorkloadPolicy::new(name, Duration::from_secs(60), CapacityPolicy::Pinned(100.0));
    policy.replicas_min = 1;
    policy.shift.first_share = 1.0;
    policy.template = Some("base".to_owned());
    policy
}

/// Two workloads; the first has two parked spares, both have one instance that serves.
struct Two {
    planner: Planner,
    now: Timestamp,
}

impl Two {
    fn new() -> Two {
        let now = Timestamp::from_secs(0);
        let workloads = vec![workload("a"), workload("b")];
        let mut planner = Planner::new(Policy { workloads, ..Policy::default() }, 7, now).expect("valid");
        for (id, name, parked) in [(1, "a", false), (2, "b", false), (3, "a", true), (4, "a", true)] {
            let role = if parked { Role::Standby } else { Role::Active };
            let (workload, instance) = (name.into(), InstanceId::new(id));
            planner.handle(now, Event::InstanceAdopted { workload, instance, role, parked, node: None });
        }
        let mut two = Two { planner, now };
        two.pin("a", 1, 2);
        two.pin("b", 1, 0);
        two.work();
        two
    }

    fn pin(&mut self, name: &str, active: u32, standby: u32) {
        let decision = DecisionOverride {
            active: Some(active),
            standby: Some(standby),
            author: "test".to_owned(),
            reason: "a fixed number".to_owned(),
            expires: None,
        };
        self.planner.handle(self.now, Event::OverrideSet { workload: name.into(), decision });
    }

    /// Demand of both, which nobody pins any more.
    fn demand(&mut self, a: f64, b: f64) {
        for (name, demand_now) in [("a", a), ("b", b)] {
            let event = Event::LoadObserved { workload: name.into(), demand_now, in_flight: 0.0 };
            self.planner.handle(self.now, event);
        }
    }

    fn free(&mut self) {
        for name in ["a", "b"] {
            self.planner.handle(self.now, Event::OverrideCleared { workload: name.into() });
        }
    }

    /// Answers every order but starts; returns all.
    fn work(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        self.planner.handle_timeout(self.now);
        while let Some(action) = self.planner.poll_action() {
            let id = action.id;
            let took = Duration::from_millis(5);
            let event = match &action.kind {
                ActionKind::SetWeights { .. } => {
                    Some(Event::WeightsApplied { action: id, workload: action.workload.clone() })
                }
                ActionKind::Claim { instance, .. } | ActionKind::Promote { instance } => {
                    Some(Event::InstancePromoted { action: id, instance: *instance, took })
                }
                ActionKind::Park { instance } => {
                    Some(Event::InstanceParked { action: id, instance: *instance })
                }
                _ => None,
            };
            all.push(action);
            lint::check(&self.planner.snapshot()).expect("sound");
            if let Some(event) = event {
                self.planner.handle(self.now, event);
            }
        }
        all
    }

    fn of(&self, name: &str) -> Vec<u64> {
        let snapshot = self.planner.snapshot();
        let view = snapshot.workload(&name.into()).expect("known");
        view.instances.iter().map(|i| i.id().get()).collect()
    }
}

fn claims(actions: &[Action]) -> Vec<(String, u64)> {
    let claim = |action: &Action| match &action.kind {
        ActionKind::Claim { instance, from } => {
            Some((format!("{} of {from}", action.workload), instance.get()))
        }
        _ => None,
    };
    actions.iter().filter_map(claim).collect()
}

#[test]
fn who_lacks_an_instance_takes_the_spare_of_another_before_it_starts_one() {
    let mut two = Two::new();
    two.free();
    two.demand(50.0, 50.0);
    two.work();
    two.demand(50.0, 130.0);
    let actions = two.work();
    assert_eq!(claims(&actions), [("b of a".to_owned(), 3)]);
    let starts =
        actions.iter().filter(|a| a.workload.as_str() == "b" && matches!(a.kind, ActionKind::Start { .. }));
    let serving =
        |kind: &ActionKind| matches!(kind, ActionKind::SetWeights { weights } if weights.len() == 2);
    assert!(actions.iter().any(|a| a.workload.as_str() == "b" && serving(&a.kind)), "{actions:?}");
    assert!(two.of("b").contains(&3) && !two.of("a").contains(&3));
    // What it starts are spares of its own, none to serve now.
    for start in starts {
        assert!(matches!(start.kind, ActionKind::Start { park: true, .. }), "{start:?}");
    }
    let snapshot = two.planner.snapshot();
    let plan = snapshot.workload(&"b".into()).and_then(|view| view.plan).expect("a plan");
    let claimed = |reason: &Reason| matches!(reason, Reason::Warmth(WarmthReason::Claimed { .. }));
    assert!(plan.reasons.iter().any(claimed), "{:?}", plan.reasons);
}

#[test]
fn a_spare_that_its_holder_needs_itself_or_that_is_pinned_is_not_taken() {
    let mut two = Two::new();
    two.pin("b", 2, 0);
    assert_eq!(claims(&two.work()), [], "an operator has pinned the holder");
    let mut two = Two::new();
    two.free();
    two.demand(50.0, 50.0);
    two.work();
    two.demand(290.0, 250.0);
    assert_eq!(claims(&two.work()), [], "the holder promotes both");
}

#[test]
fn templates_with_what_they_cannot_be_used_with_are_refused() {
    let mut odd = workload("c");
    odd.step = Duration::from_secs(10);
    odd.tick = odd.step;
    let policy = Policy { workloads: vec![workload("a"), odd], ..Policy::default() };
    let errors = Planner::new(policy, 7, Timestamp::from_secs(0)).expect_err("different steps").0;
    assert!(errors.iter().all(|error| error.field == "template"), "{errors:?}");
    assert_eq!(errors.len(), 2);
}
