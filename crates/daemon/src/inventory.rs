//! How large nodes are whose size the configuration leaves out: as their engine says, or as this machine is.

use std::fs;
use std::thread;

use planner::{NodePolicy, Resources};
use provider::{EngineHealth, Providers};

use crate::config::{Config, NodeConfig};
use crate::error::chain;

/// Cores and memory in bytes.
pub(crate) type Size = (f64, u64);

/// Fills in what can be found out now. An engine that does not answer is asked again when it does.
pub(crate) async fn fill(config: &mut Config, provider: &Providers) {
    for node in config.nodes.iter_mut().filter(|node| is_open(node)) {
        if let Some((cores, memory)) = size_of(&node.name, provider).await {
            tracing::info!(node = node.name, cores, memory, "the size of a node was asked for");
            node.cores = node.cores.or(Some(cores));
            node.memory = node.memory.or(Some(memory));
        }
    }
}

/// Whether something of its size is not known.
pub(crate) fn is_open(node: &NodeConfig) -> bool {
    node.cores.is_none() || node.memory.is_none()
}

/// The size of a node; `None` where its engine does not say.
pub(crate) async fn size_of(node: &str, provider: &Providers) -> Option<Size> {
    let Some((_, engine)) = provider.engines().find(|(name, _)| *name == node) else { return own_size() };
    if *engine.health().borrow() != EngineHealth::Answers {
        return None;
    }
    match engine.size().await {
        Ok(size) => Some((f64::from(size.cores), size.memory_bytes)),
        Err(error) => {
            tracing::warn!(node, error = chain(&error), "the size of a node is not known");
            None
        }
    }
}

/// A node with what the configuration had left open.
pub(crate) fn filled(node: &NodeConfig, (cores, memory): Size) -> NodePolicy {
    let size = Resources::new(node.cores.unwrap_or(cores), node.memory.unwrap_or(memory));
    NodePolicy { size, ..node.policy() }
}

fn own_size() -> Option<Size> {
    let cores = thread::available_parallelism().ok()?.get() as f64;
    Some((cores, memory_in(&fs::read_to_string("/proc/meminfo").ok()?)?))
}

/// All memory, from what the kernel says of it.
fn memory_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_memory_there_is() {
        let text = "MemTotal:       24606964 kB\nMemFree:         1000 kB\n";
        assert_eq!(memory_in(text), Some(24_606_964 * 1024));
        assert_eq!(memory_in("MemFree: 1000 kB\n"), None);
        let (cores, memory) = own_size().expect("this machine has a size");
        assert!(cores >= 1.0 && memory > 1 << 20, "{cores} {memory}");
    }
}
