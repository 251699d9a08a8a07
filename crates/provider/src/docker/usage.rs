//! What a container has used: from its control group where we can see it, else from the engine.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerBlkioStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use super::error::EngineError;
use super::instance::Instance;
use super::table::Table;
use super::watch::EngineHealth;
use crate::error::ProviderError;
use crate::face::{Throttling, Traffic, Usage};
use crate::process::blocking;

/// What an instance has used so far. An engine that is known to be silent is not asked: many would wait for it.
pub(super) async fn usage(
    table: &Table,
    instance: &Arc<Instance>,
    health: EngineHealth,
) -> Result<Usage, ProviderError> {
    let looking = Arc::clone(instance);
    // A group that cannot be read any more is asked of the engine, which has the better words for it.
    let read = blocking(move || looking.place()?.group.as_ref()?.usage().ok()).await;
    if let Some(usage) = read.filter(|usage| usage.processes > 0) {
        return Ok(usage);
    }
    let engine = &table.engine;
    if health != EngineHealth::Answers {
        return Err(engine.failed("read the usage of the container")(EngineError::NoAnswer(engine.deadline)));
    }
    let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
    let asking = async {
        let mut stats = std::pin::pin!(engine.docker.stats(&instance.facts.id, Some(options)));
        stats.next().await.unwrap_or_else(|| Ok(ContainerStatsResponse::default()))
    };
    let stats = engine.ask("read the usage of the container", asking).await?;
    let of_engine = translate(stats);
    Ok(Usage { out_of_memory: Some(instance.oom_kills()), ..of_engine })
}

fn translate(stats: ContainerStatsResponse) -> Usage {
    let cpu = stats.cpu_stats.unwrap_or_default();
    let memory = stats.memory_stats.unwrap_or_default();
    let throttling = cpu
        .throttling_data
        .and_then(|data| Some(Throttling { periods: data.periods?, throttled: data.throttled_periods? }));
    let network = stats.networks.map(|networks| {
        networks.values().fold(Traffic::default(), |sum, one| Traffic {
            bytes_in: sum.bytes_in.saturating_add(one.rx_bytes.unwrap_or(0)),
            bytes_out: sum.bytes_out.saturating_add(one.tx_bytes.unwrap_or(0)),
        })
    });
    Usage {
        cpu_time: Duration::from_nanos(cpu.cpu_usage.and_then(|usage| usage.total_usage).unwrap_or(0)),
        memory_bytes: memory.usage.unwrap_or(0),
        working_bytes: working(&memory),
        processes: stats
            .pids_stats
            .and_then(|pids| pids.current)
            .map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX)),
        disk: stats.blkio_stats.and_then(|stats| disk(&stats)),
        network,
        instructions: None,
        throttling,
        out_of_memory: None,
    }
}

/// Without pages of files that the kernel would take back first.
fn working(memory: &ContainerMemoryStats) -> Option<u64> {
    let stats = memory.stats.as_ref()?;
    let spare = stats.get("total_inactive_file").or_else(|| stats.get("inactive_file"))?;
    Some(memory.usage?.saturating_sub(*spare))
}

fn disk(stats: &ContainerBlkioStats) -> Option<Traffic> {
    let entries = stats.io_service_bytes_recursive.as_ref()?;
    let sum = |wanted: &str| {
        let of = entries
            .iter()
            .filter(|entry| entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(wanted)));
        of.filter_map(|entry| entry.value).fold(0u64, u64::saturating_add)
    };
    Some(Traffic { bytes_in: sum("read"), bytes_out: sum("write") })
}
