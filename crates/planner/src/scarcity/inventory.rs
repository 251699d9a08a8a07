//! What there is to run on, and who shares it: nodes and tenants as the user gives them, and the rules they must keep.

use std::collections::{BTreeMap, BTreeSet};

use super::resources::Resources;
use crate::ids::NodeId;
use crate::policy::{About, Policy, PolicyError, PolicyErrors, WorkloadPolicy};

/// One machine that instances run on.
#[derive(Debug, Clone, PartialEq)]
pub struct NodePolicy {
    /// Its name; distinct.
    pub id: NodeId,
    /// Its cores and memory, as far as instances may have them.
    pub size: Resources,
    /// What sort of machine it is, for people. Default empty.
    pub kind: String,
    /// Price per hour, in any currency; only comparisons matter. Default 0.
    pub price: f64,
    /// The place whose failure takes it down together with others there: a rack, a zone. Default empty.
    pub place: String,
    /// Kept free: used when nothing else has room, and to move instances to before a bottleneck. Default false.
    pub spare: bool,
    /// Cores may be promised this many times over, because peaks seldom meet; memory never. 1 to 16. Above 1, no instance
    /// is put where the forecast peak of all that runs there would exceed the cores. Default 1.
    pub overcommit: f64,
    /// It takes no new instances for now; those on it stay. Default false.
    pub closed: bool,
}

impl NodePolicy {
    /// A node of this size with defaults for everything else.
    pub fn new(id: impl Into<NodeId>, cores: f64, memory: u64) -> NodePolicy {
        NodePolicy {
            id: id.into(),
            size: Resources::new(cores, memory),
            kind: String::new(),
            price: 0.0,
            place: String::new(),
            spare: false,
            overcommit: 1.0,
            closed: false,
        }
    }

    /// What may be promised to instances on it.
    pub fn room(&self) -> Resources {
        Resources { millicores: (self.size.millicores as f64 * self.overcommit) as u64, ..self.size }
    }

    /// Checks the node by itself.
    ///
    /// # Errors
    /// Every rule that is broken.
    pub fn validate(&self) -> Result<(), Vec<PolicyError>> {
        let mut errors = Vec::new();
        let mut require = |ok: bool, field: &'static str, rule: &'static str| {
            if !ok {
                errors.push(PolicyError { about: About::Node(self.id.clone()), field, rule });
            }
        };
        require(!self.id.as_str().is_empty(), "id", "must not be empty");
        require(self.size.millicores > 0, "cores", "must be above 0");
        require(self.size.memory > 0, "memory", "must be above 0");
        require(self.price.is_finite() && self.price >= 0.0, "price", "must be 0 or a positive number");
        let within = (1.0..=OVERCOMMIT_MAX).contains(&self.overcommit);
        require(within, "overcommit", "must be from 1 to 16");
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Someone to whom workloads belong.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantPolicy {
    /// The name that workloads give as their `tenant`; distinct.
    pub name: String,
    /// Share of what is scarce, relative to the other tenants of the same priority class. Default 1.
    pub weight: f64,
    /// All its instances together get no more than this. Default `None`.
    pub quota: Option<Resources>,
}

impl TenantPolicy {
    /// A tenant with weight 1 and no quota.
    pub fn new(name: impl Into<String>) -> TenantPolicy {
        TenantPolicy { name: name.into(), weight: 1.0, quota: None }
    }
}

impl Policy {
    /// Checks nodes, tenants, and what workloads say about them; the workloads themselves are checked one by one.
    ///
    /// # Errors
    /// Every rule that is broken.
    pub fn validate_sharing(&self) -> Result<(), PolicyErrors> {
        let mut errors = Vec::new();
        validate(self, &mut errors);
        if errors.is_empty() { Ok(()) } else { Err(PolicyErrors(errors)) }
    }
}

/// The tenant of each workload, as an index into the tenants; those that name none share the one after the last.
pub(crate) fn tenants_of(policy: &Policy) -> Vec<usize> {
    let by_name: BTreeMap<&str, usize> =
        policy.tenants.iter().enumerate().map(|(at, tenant)| (tenant.name.as_str(), at)).collect();
    let of = |w: &WorkloadPolicy| w.tenant.as_deref().and_then(|name| by_name.get(name)).copied();
    policy.workloads.iter().map(|w| of(w).unwrap_or(policy.tenants.len())).collect()
}

/// Checks nodes, tenants, and what workloads say about them.
pub(crate) fn validate(policy: &Policy, errors: &mut Vec<PolicyError>) {
    check_nodes(policy, errors);
    check_tenants(policy, errors);
    let known: BTreeSet<&str> = policy.tenants.iter().map(|t| t.name.as_str()).collect();
    for w in &policy.workloads {
        let mut refuse = |field: &'static str, rule: &'static str| {
            errors.push(PolicyError { about: About::Workload(w.id.clone()), field, rule });
        };
        if w.tenant.as_deref().is_some_and(|name| !known.contains(name)) {
            refuse("tenant", "must be one of the tenants");
        }
        if policy.nodes.is_empty() {
            continue;
        }
        if w.needs == Resources::NONE {
            refuse("needs", "must be above 0 where nodes are given");
        } else if !policy.nodes.iter().any(|n| w.needs.fits(n.size)) {
            refuse("needs", "must fit on one of the nodes");
        } else if !policy.nodes.iter().any(|n| w.needs_least().fits(n.size)) {
            refuse("sizing.least", "must fit on one of the nodes");
        }
    }
    if !policy.nodes.is_empty() {
        check_minimums(policy, errors);
    }
}

fn check_nodes(policy: &Policy, errors: &mut Vec<PolicyError>) {
    let mut seen = BTreeSet::new();
    for node in &policy.nodes {
        errors.extend(node.validate().err().unwrap_or_default());
        if !seen.insert(&node.id) {
            let about = About::Node(node.id.clone());
            errors.push(PolicyError { about, field: "id", rule: "must not be used twice" });
        }
    }
}

fn check_tenants(policy: &Policy, errors: &mut Vec<PolicyError>) {
    let mut seen = BTreeSet::new();
    for tenant in &policy.tenants {
        let mut refuse = |field: &'static str, rule: &'static str| {
            errors.push(PolicyError { about: About::Tenant(tenant.name.clone()), field, rule });
        };
        if tenant.name.is_empty() {
            refuse("name", "must not be empty");
        }
        if !seen.insert(tenant.name.as_str()) {
            refuse("name", "must not be used twice");
        }
        if !(WEIGHT_MIN..=WEIGHT_MAX).contains(&tenant.weight) {
            refuse("weight", "must be from 0.001 to 1,000,000");
        }
        if tenant.quota.is_some_and(|quota| quota.millicores == 0 || quota.memory == 0) {
            refuse("quota", "must be above 0");
        }
    }
}

/// What is promised to everybody must be there while all nodes are.
fn check_minimums(policy: &Policy, errors: &mut Vec<PolicyError>) {
    let of = |ws: &mut dyn Iterator<Item = &WorkloadPolicy>| {
        ws.fold(Resources::NONE, |sum, w| sum.plus(w.needs_least().times(w.replicas_min)))
    };
    let supply = policy.nodes.iter().fold(Resources::NONE, |sum, node| sum.plus(node.room()));
    if !of(&mut policy.workloads.iter()).fits(supply) {
        let about = About::Nodes;
        errors.push(PolicyError { about, field: "size", rule: "must hold replicas_min of every workload" });
    }
    for tenant in &policy.tenants {
        let own = |w: &&WorkloadPolicy| w.tenant.as_deref() == Some(tenant.name.as_str());
        let minimums = of(&mut policy.workloads.iter().filter(own));
        if tenant.quota.is_some_and(|quota| !minimums.fits(quota)) {
            let about = About::Tenant(tenant.name.clone());
            errors.push(PolicyError {
                about,
                field: "quota",
                rule: "must hold replicas_min of its workloads",
            });
        }
    }
}

const OVERCOMMIT_MAX: f64 = 16.0;
const WEIGHT_MIN: f64 = 1e-3;
const WEIGHT_MAX: f64 = 1e6;
