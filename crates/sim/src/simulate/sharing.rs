//! Nodes, tenants and priorities that the planner itself shares out, in some simulations.

use planner::{NodePolicy, Resources, TenantPolicy, WorkloadPolicy};

use super::setup::Setup;
use super::shape::between;

/// What the workloads share.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// The nodes, `node-0` and so on.
    pub nodes: Vec<NodePolicy>,
    /// Who shares them.
    pub tenants: Vec<TenantPolicy>,
}

impl Sharing {
    /// For one simulation in four; the policies of the workloads are told.
    pub(super) fn draw(seed: u64, setups: &mut [Setup]) -> Option<Sharing> {
        let mut rng = fastrand::Rng::with_seed(seed ^ SHARING_SALT);
        let rng = &mut rng;
        if rng.u32(0..4) > 0 {
            return None;
        }
        let tenants: Vec<TenantPolicy> = (0..rng.usize(0..3))
            .map(|n| TenantPolicy {
                weight: between(rng, 0.5, 4.0),
                ..TenantPolicy::new(format!("team-{n}"))
            })
            .collect();
        let mut most = Resources::NONE;
        let mut largest = Resources::NONE;
        for setup in setups.iter_mut() {
            let policy = &mut setup.policy;
            let (cores, gib) = (between(rng, 0.1, 4.0), between(rng, 0.1, 8.0));
            policy.needs = match &policy.sizing {
                None => Resources::new(cores, (gib * GIB) as u64),
                // From the least size to the first; there may be no room for more.
                Some(sizing) => {
                    let memory = sizing.initial.memory_bytes as f64 * gib / 8.0;
                    Resources::new(sizing.initial.cpu_cores * cores / 4.0, memory as u64)
                        .at_least(sizing.least.resources())
                }
            };
            policy.priority = [50, 100, 100, 200][rng.usize(0..4)];
            policy.tenant = rng.choice(&tenants).filter(|_| !tenants.is_empty()).map(|t| t.name.clone());
            most = most.plus(policy.needs.times(policy.replicas_max));
            largest.millicores = largest.millicores.max(policy.needs.millicores);
            largest.memory = largest.memory.max(memory_most(policy));
        }
        let count = rng.usize(1..6);
        // From far too little to more than enough, but every instance fits on every node.
        let part = between(rng, 0.2, 1.5) / count as f64;
        let nodes = (0..count).map(|n| {
            let size = part * between(rng, 0.5, 1.5);
            let cores = (most.cores() * size).max(largest.cores());
            let memory = ((most.memory as f64 * size) as u64).max(largest.memory);
            NodePolicy {
                spare: n > 0 && rng.u32(0..8) == 0,
                overcommit: if rng.u32(0..4) == 0 { between(rng, 1.0, 3.0) } else { 1.0 },
                ..NodePolicy::new(name(n).as_str(), cores, memory)
            }
        });
        let mut nodes: Vec<NodePolicy> = nodes.collect();
        // The least of everybody must fit, or the policy is refused, or some could not live.
        let least = setups.iter().map(|Setup { policy, .. }| {
            Resources { memory: memory_most(policy), ..policy.needs }.times(policy.replicas_min.max(1))
        });
        let least = least.fold(Resources::NONE, Resources::plus);
        nodes[0].size = Resources {
            millicores: nodes[0].size.millicores.max(least.millicores),
            memory: nodes[0].size.memory.max(least.memory),
        };
        Some(Sharing { nodes, tenants })
    }

    /// The number of a node.
    pub(super) fn number(&self, id: &planner::NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == *id)
    }
}

/// Bytes that an instance may come to use.
fn memory_most(policy: &WorkloadPolicy) -> u64 {
    policy.sizing.as_ref().map_or(0, |sizing| sizing.most.memory_bytes).max(policy.needs.memory)
}

fn name(node: usize) -> String {
    format!("node-{node}")
}

const GIB: f64 = (1u64 << 30) as f64;
const SHARING_SALT: u64 = 0x5AA2_E001;
