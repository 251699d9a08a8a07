//! The invariants of the planner, stated once. Tests, the simulator and debug builds call [`check`] after every step.

use std::collections::{BTreeMap, BTreeSet};

use forecast::Timestamp;

use crate::action::FULL_WEIGHT;
use crate::ids::{InstanceId, NodeId, WorkloadId};
use crate::instance::{Instance, Order, Phase, Role};
use crate::scarcity::{Cause, Resources};
use crate::snapshot::{Snapshot, WorkloadView};

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("workload `{workload}`: {rule}")]
pub struct Violation {
    /// The workload.
    pub workload: WorkloadId,
    /// The instance, when it is about one.
    pub instance: Option<InstanceId>,
    /// What is wrong, as a sentence.
    pub rule: String,
}

/// Checks every invariant.
///
/// # Errors
/// Every violation found.
pub fn check(snapshot: &Snapshot<'_>) -> Result<(), Vec<Violation>> {
    let mut violations = Vec::new();
    for view in snapshot.workloads() {
        let mut lint = Lint { view, violations: &mut violations };
        lint.instances_are_a_table();
        lint.orders_are_single();
        lint.plan_is_within_bounds();
        lint.routes_are_safe();
        lint.weights_match_the_table();
        lint.numbers_are_finite();
        lint.sessions_are_not_cut(snapshot.internal);
        let rows = view.instances.len();
        lint.require(rows <= snapshot.limits().instances as usize, None, || {
            format!("{rows} instances are too many")
        });
    }
    nodes_hold_what_is_on_them(snapshot, &mut violations);
    minimums_come_first(snapshot, &mut violations);
    let queued = snapshot.queued();
    if queued > snapshot.limits().actions_queued {
        violations.push(Violation {
            workload: WorkloadId::from(""),
            instance: None,
            rule: format!("{queued} orders are queued, more than allowed"),
        });
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// No node is promised above its size (what was found on it apart), no more is granted than there is, and the account of
/// each node is that of the instances on it.
fn nodes_hold_what_is_on_them(snapshot: &Snapshot<'_>, violations: &mut Vec<Violation>) {
    let Some((supply, granted)) = snapshot.supply() else { return };
    let mut refuse = |rule: String| {
        violations.push(Violation { workload: WorkloadId::from(""), instance: None, rule });
    };
    // Memory that instances cannot live without is counted before the claims are weighed anew.
    if !granted.fits(supply) && snapshot.cluster.is_some_and(|cluster| !cluster.stale) {
        refuse(format!("{granted} are granted of {supply}"));
    }
    let workloads = snapshot.workloads();
    let each = workloads.iter().map(|w| w.grant.map_or(Resources::NONE, |g| w.booked.times(g.total())));
    let sum = each.fold(Resources::NONE, Resources::plus);
    if sum != granted {
        refuse(format!("{granted} are said to be granted, but it is {sum}"));
    }
    let mut on: BTreeMap<&NodeId, Resources> = BTreeMap::new();
    for view in workloads {
        for node in view.instances.iter().filter_map(Instance::node) {
            let used = on.entry(node).or_default();
            *used = used.plus(view.booked);
        }
    }
    for view in workloads.iter().filter(|view| view.policy.sizing.is_some()) {
        for i in view.instances.iter().filter(|i| i.node.is_some() && i.memory_held() > view.booked.memory) {
            refuse(format!("instance {} may use {} bytes, more than is booked", i.id, i.memory_held()));
        }
    }
    for node in snapshot.nodes() {
        let used = on.get(&node.policy.id).copied().unwrap_or_default();
        if used != node.used {
            refuse(format!("node {} is said to hold {}, but it is {used}", node.policy.id, node.used));
        }
        let (planned, room) = (used.minus(node.adopted), node.policy.room());
        if node.up && !planned.fits(room) {
            refuse(format!("node {} was given {planned}, more than {room}", node.policy.id));
        }
        if !node.up && used != Resources::NONE {
            refuse(format!("node {} is lost and still holds {used}", node.policy.id));
        }
    }
}

/// Nobody lacks a minimum that others' instances beyond theirs would have room for, once all claims were weighed.
fn minimums_come_first(snapshot: &Snapshot<'_>, violations: &mut Vec<Violation>) {
    let Some(cluster) = snapshot.cluster.filter(|cluster| !cluster.stale) else { return };
    let beyond = cluster.members.iter().filter(|member| member.acts).map(|member| {
        let minimum = member.grant.active.min(member.claim.minimum);
        member.claim.needs.times(member.grant.total() - minimum)
    });
    let room = cluster.supply.size.minus(cluster.granted).plus(beyond.fold(Resources::NONE, Resources::plus));
    for member in &cluster.members {
        let least = member.claim.minimum.min(member.claim.active).min(member.most);
        let bound = member.grant.refused.is_some_and(|refused| refused.cause == Cause::Quota);
        if member.acts && member.grant.active < least && !bound && member.claim.needs.fits(room) {
            violations.push(Violation {
                workload: member.id.clone(),
                instance: None,
                rule: format!("{} active granted, less than the minimum of {least}", member.grant.active),
            });
        }
    }
}

struct Lint<'a, 'b> {
    view: &'a WorkloadView<'a>,
    violations: &'b mut Vec<Violation>,
}

impl Lint<'_, '_> {
    fn require(&mut self, ok: bool, instance: Option<&Instance>, rule: impl FnOnce() -> String) {
        if !ok {
            self.violations.push(Violation {
                workload: self.view.policy.id.clone(),
                instance: instance.map(Instance::id),
                rule: rule(),
            });
        }
    }

    fn instances_are_a_table(&mut self) {
        let view = self.view;
        let sorted = view.instances.windows(2).all(|pair| pair[0].id < pair[1].id);
        self.require(sorted, None, || "instances are not in order of distinct ids".to_owned());
        for i in view.instances {
            let gone = matches!(i.phase, Phase::Stopped | Phase::Failed);
            self.require(!gone, Some(i), || format!("instance {} is gone but still in the table", i.id));
        }
        let kept = view.instances.iter().filter(|i| i.phase != Phase::Stopping && !i.moving()).count();
        let within = kept <= view.policy.replicas_max as usize || view.counters.adopted > 0;
        self.require(within, None, || format!("{kept} instances are kept, more than replicas_max"));
    }

    fn orders_are_single(&mut self) {
        let view = self.view;
        let mut seen = BTreeSet::new();
        for i in view.instances {
            if let Some(action) = i.pending() {
                self.require(seen.insert(action), Some(i), || {
                    format!("order {action} is about two instances")
                });
            }
            let starting = i.phase == Phase::Starting;
            let shelf = matches!(i.phase, Phase::Halting | Phase::Halted);
            self.require(!(shelf && i.role == Role::Active), Some(i), || {
                format!("instance {} is stopped with its disk kept but active", i.id)
            });
            let bare = i.phase != Phase::Halted || i.node.is_none();
            self.require(bare, Some(i), || format!("instance {} is stopped but takes room", i.id));
            self.require(!(starting && i.parked), Some(i), || {
                format!("instance {} is parked before it is ready", i.id)
            });
        }
    }

    fn plan_is_within_bounds(&mut self) {
        let view = self.view;
        let Some(plan) = view.plan else { return };
        let policy = view.policy;
        let total = plan.total_wanted() + plan.stopped_wanted;
        self.require(total <= policy.replicas_max, None, || {
            format!("{total} wanted, more than replicas_max")
        });
        if view.pinned.is_none() && !plan.pinned() {
            let refused = view.grant.is_some_and(|grant| grant.refused.is_some());
            self.require(refused || plan.active_wanted >= policy.replicas_min, None, || {
                format!("{} active wanted, less than replicas_min", plan.active_wanted)
            });
            let standby = plan.standby_wanted;
            self.require(standby <= policy.standby_max, None, || {
                format!("{standby} standbys wanted, more than allowed")
            });
        }
        if let (Some(size), Some(sizing)) = (plan.size, &policy.sizing) {
            self.require(sizing.bounded(size) == size, None, || {
                format!("{size:?} is planned, which the policy does not allow")
            });
        }
        let granted =
            view.grant.is_none_or(|g| plan.active_wanted <= g.active && plan.standby_wanted <= g.standby);
        self.require(granted, None, || format!("more is wanted than was granted: {:?}", view.grant));
        self.require(!plan.reasons.is_empty(), None, || "the plan has no reasons".to_owned());
    }

    fn routes_are_safe(&mut self) {
        let view = self.view;
        for (id, weight) in view.table {
            let Some(i) = view.instances.iter().find(|i| i.id == *id) else {
                self.require(false, None, || format!("instance {id} is routed to but unknown"));
                continue;
            };
            self.require(*weight <= FULL_WEIGHT, Some(i), || {
                format!("weight {weight} of instance {id} is above a full share")
            });
            let verified = i.role == Role::Active && !i.parked;
            self.require(verified || *weight == 0, Some(i), || {
                format!("instance {id} is routed to but not verified")
            });
            self.require(!i.parked, Some(i), || format!("instance {id} is in the route table but parked"));
            let ready = matches!(i.phase, Phase::Ready | Phase::Draining);
            self.require(*weight == 0 || ready, Some(i), || {
                format!("instance {id} is routed to but not ready")
            });
        }
    }

    fn weights_match_the_table(&mut self) {
        let view = self.view;
        for i in view.instances {
            let entry = view.table.iter().find(|entry| entry.0 == i.id).map_or(0, |entry| entry.1);
            self.require(entry == i.weight, Some(i), || {
                format!("instance {} has weight {} but {entry} in the table", i.id, i.weight)
            });
            self.require(i.weight == 0 || !i.parked, Some(i), || {
                format!("instance {} is parked with a weight", i.id)
            });
        }
    }

    /// What holds sessions is neither stopped nor frozen before the time to wait for them is over.
    fn sessions_are_not_cut(&mut self, now: Timestamp) {
        for i in self.view.instances.iter().filter(|i| i.held(now)) {
            let freezes = i.parked || i.pending.is_some_and(|p| p.order == Order::Park);
            let kept = i.phase != Phase::Stopping && !freezes;
            self.require(kept, Some(i), || {
                format!("instance {} is given up with {} sessions on it", i.id, i.sessions)
            });
        }
    }

    fn numbers_are_finite(&mut self) {
        let view = self.view;
        let capacity = view.capacity;
        self.require(capacity.is_finite() && capacity > 0.0, None, || format!("capacity is {capacity}"));
        let Some(plan) = view.plan else { return };
        let n = &plan.inputs;
        let numbers = [
            n.floor,
            n.q_active,
            n.q_standby,
            n.forecast_active,
            n.forecast_total,
            n.forecast_hold,
            n.forecast_keep,
        ];
        self.require(numbers.iter().all(|x| x.is_finite()), None, || {
            format!("numbers of the plan are not finite: {n:?}")
        });
        let levels = [n.q_active, n.q_standby];
        self.require(levels.iter().all(|q| *q > 0.0 && *q < 1.0), None, || {
            format!("levels are not probabilities: {levels:?}")
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forecast::{Config, Ensemble, Timestamp};

    use super::*;
    use crate::policy::{CapacityPolicy, Limits, Policy, WorkloadPolicy};
    use crate::scarcity::{Cluster, Grant, NodePolicy};
    use crate::shift::ShiftLog;
    use crate::snapshot::{Budget, Counters};

    /// What the linter says about these instances and this table.
    fn said(instances: &[Instance], table: &[(u64, u32)]) -> Vec<String> {
        said_on(instances, table, None)
    }

    fn said_on(instances: &[Instance], table: &[(u64, u32)], cluster: Option<&Cluster>) -> Vec<String> {
        let step = Duration::from_secs(60);
        let mut policy = WorkloadPolicy::new("web", step, CapacityPolicy::Pinned(1.0));
        policy.replicas_max = 2;
        policy.needs = Resources::new(1.0, 1);
        let table: Vec<(InstanceId, u32)> =
            table.iter().map(|(id, weight)| (InstanceId::new(*id), *weight)).collect();
        let forecaster = Ensemble::new(Config::new(step), &[]).unwrap();
        let limits = Limits::default();
        let shifts = ShiftLog::default();
        let view = WorkloadView {
            policy: &policy,
            instances,
            plan: None,
            forecaster: &forecaster,
            capacity: 1.0,
            lead_cold: step,
            lead_promote: step,
            lead_restart: None,
            table: &table,
            budget: Budget::default(),
            pinned: None,
            forecast_overrides: &[],
            reaction: None,
            shifts: &shifts,
            counters: Counters::default(),
            grant: cluster.map(|cluster| cluster.members[0].grant),
            booked: cluster.map_or(Resources::NONE, |cluster| cluster.members[0].claim.needs),
            group: None,
        };
        let now = Timestamp::from_millis(0);
        let snapshot = Snapshot {
            now,
            internal: now,
            limits: &limits,
            queued: 0,
            clock_jumps: 0,
            stale: 0,
            workloads: vec![view],
            cluster,
        };
        check(&snapshot).err().unwrap_or_default().into_iter().map(|v| v.to_string()).collect()
    }

    fn instance(id: u64, phase: Phase, role: Role, weight: u32) -> Instance {
        let mut instance = Instance::new(InstanceId::new(id), phase, role, Timestamp::from_millis(0));
        instance.weight = weight;
        instance
    }

    /// Two standbys on a node with room for one, as far as the planner's books go.
    fn crowded() -> (Cluster, Vec<Instance>) {
        let mut web = WorkloadPolicy::new("web", Duration::from_secs(60), CapacityPolicy::Pinned(1.0));
        web.needs = Resources::new(1.0, 1);
        let nodes = vec![NodePolicy::new("a", 1.0, 8)];
        let policy = Policy { workloads: vec![web], nodes, ..Policy::default() };
        let mut cluster = *Cluster::new(&policy, Timestamp::from_millis(0)).unwrap();
        let mut fleet = Vec::new();
        for id in 1..=2 {
            cluster.take(0, 0, false);
            let mut standby = instance(id, Phase::Ready, Role::Standby, 0);
            standby.node = Some("a".into());
            fleet.push(standby);
        }
        (cluster, fleet)
    }

    #[test]
    fn a_node_with_more_than_it_has_and_a_minimum_that_was_passed_over_are_found() {
        let (mut cluster, fleet) = crowded();
        assert_eq!(
            said_on(&fleet, &[], Some(&cluster)),
            ["workload ``: node a was given 2 cores and 0 MiB, more than 1 core and 0 MiB"]
        );
        assert!(said_on(&fleet[..1], &[], Some(&cluster))[0].contains("is said to hold 2 cores"));
        (cluster.stale, cluster.granted) = (false, Resources::NONE);
        cluster.members[0].grant = Grant::default();
        let said = said_on(&fleet, &[], Some(&cluster));
        assert!(said.iter().any(|v| v.contains("0 active granted, less than the minimum of 1")), "{said:?}");
        cluster.granted = Resources::new(2.0, 2);
        let said = said_on(&fleet, &[], Some(&cluster));
        assert!(said.iter().any(|v| v.contains("are granted of 1 core and")), "{said:?}");
    }

    #[test]
    fn a_sound_table_is_accepted() {
        let fleet =
            [instance(1, Phase::Ready, Role::Active, 1000), instance(2, Phase::Draining, Role::Active, 0)];
        assert_eq!(said(&fleet, &[(1, 1000), (2, 0)]), [""; 0]);
    }

    #[test]
    fn unsafe_routes_are_found() {
        let mut parked = instance(1, Phase::Ready, Role::Active, 1000);
        parked.parked = true;
        assert!(said(&[parked], &[(1, 1000)]).iter().any(|v| v.contains("parked")));
        let standby = instance(1, Phase::Ready, Role::Standby, 1000);
        assert!(said(&[standby], &[(1, 1000)]).iter().any(|v| v.contains("not verified")));
        let starting = instance(1, Phase::Starting, Role::Active, 1000);
        assert!(said(&[starting], &[(1, 1000)]).iter().any(|v| v.contains("not ready")));
        assert_eq!(said(&[], &[(9, 1000)]), ["workload `web`: instance 9 is routed to but unknown"]);
    }

    #[test]
    fn what_is_given_up_with_sessions_on_it_is_found() {
        let mut stopping = instance(1, Phase::Stopping, Role::Active, 0);
        stopping.sessions = 3;
        assert!(said(std::slice::from_ref(&stopping), &[])[0].contains("given up with 3 sessions"));
        let mut parked = instance(1, Phase::Ready, Role::Standby, 0);
        (parked.parked, parked.sessions) = (true, 1);
        parked.held_until = Some(Timestamp::from_millis(1));
        assert!(said(std::slice::from_ref(&parked), &[])[0].contains("given up with 1 session"));
        stopping.held_until = Some(Timestamp::from_millis(0));
        assert_eq!(said(&[stopping], &[]), [""; 0], "its time is over");
    }

    #[test]
    fn weights_and_counts_that_do_not_fit_are_found() {
        let active = instance(1, Phase::Ready, Role::Active, 500);
        assert!(said(&[active], &[(1, 1000)]).iter().any(|v| v.contains("weight 500 but 1000")));
        let fleet: Vec<Instance> = (1..=3).map(|id| instance(id, Phase::Ready, Role::Standby, 0)).collect();
        assert_eq!(said(&fleet, &[]), ["workload `web`: 3 instances are kept, more than replicas_max"]);
        let gone = instance(1, Phase::Stopped, Role::Standby, 0);
        assert!(said(&[gone], &[]).iter().any(|v| v.contains("gone but still")));
        let swapped =
            [instance(2, Phase::Ready, Role::Standby, 0), instance(1, Phase::Ready, Role::Standby, 0)];
        assert!(said(&swapped, &[]).iter().any(|v| v.contains("order of distinct ids")));
    }
}
