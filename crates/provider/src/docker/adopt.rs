//! After a restart of the control plane: takes over the containers that run, and clears away the rest.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bollard::models::ContainerSummary;

use super::instance::{Instance, Parked};
use super::table::Table;
use super::{logs, mark, start};
use crate::error::ProviderError;
use crate::face::InstanceInfo;

/// Finds the containers with our mark.
pub(super) async fn adopt(table: &Arc<Table>) -> Result<Vec<InstanceInfo>, ProviderError> {
    let engine = &table.engine;
    let found = engine.list(&table.owner.label()).await.map_err(engine.failed("list the containers"))?;
    let mut adopted = Vec::new();
    for container in &found {
        let Some(id) = container.id.as_deref() else { continue };
        let name = container.labels.as_ref().and_then(mark::instance);
        if name.is_some_and(|name| table.knows(name.as_str())) {
            continue;
        }
        match take_over(table, id, container).await? {
            Some(info) => adopted.push(info),
            None => clear(table, id, container).await?,
        }
    }
    adopted.sort_by(|a, b| a.name.cmp(&b.name));
    forget_marks(table);
    table.knows_all.store(true, Ordering::Relaxed);
    Ok(adopted)
}

/// None: it does not run, or its start was not completed, or its marks are damaged.
async fn take_over(
    table: &Arc<Table>,
    id: &str,
    container: &ContainerSummary,
) -> Result<Option<InstanceInfo>, ProviderError> {
    let Some(facts) = container.labels.as_ref().and_then(|labels| mark::read(id, labels)) else {
        return Ok(None);
    };
    let completed = fs::read_to_string(table.state.record(&facts.name)).is_ok_and(|mark| mark.trim() == id);
    if !completed {
        return Ok(None);
    }
    let engine = &table.engine;
    let inspected = match engine.inspect(id).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other.map_err(engine.failed("inspect the container"))?,
    };
    let running = inspected.state.as_ref().and_then(|state| state.running) == Some(true);
    let Some(place) = start::place(table, id, &inspected, None).filter(|_| running) else { return Ok(None) };
    let paused = inspected.state.as_ref().and_then(|state| state.paused) == Some(true);
    let frozen = place.group.as_ref().is_some_and(|group| group.is_frozen().unwrap_or(false));
    let instance = Instance::new(facts);
    instance.set_place(place);
    instance.set_parked(match (paused, frozen) {
        (true, _) => Parked::ByEngine,
        (false, true) => Parked::ByFile,
        (false, false) => Parked::No,
    });
    instance.set_ready();
    table.insert(&instance);
    Ok(instance.info())
}

async fn clear(table: &Arc<Table>, id: &str, container: &ContainerSummary) -> Result<(), ProviderError> {
    tracing::info!(container = id, "removing a container that ended, or whose start was never completed");
    if let Some(facts) = container.labels.as_ref().and_then(|labels| mark::read(id, labels)) {
        logs::keep(table, &Instance::new(facts)).await;
    }
    thaw(table, id).await;
    table.engine.remove(id).await.map_err(table.engine.failed("remove a container"))
}

/// What is frozen behind the engine's back cannot be killed where control groups are of version 1.
async fn thaw(table: &Table, id: &str) {
    let Ok(inspected) = table.engine.inspect(id).await else { return };
    if let Some(group) = start::place(table, id, &inspected, None).and_then(|place| place.group) {
        let _ = group.thaw();
    }
}

/// Marks of containers that are no more.
fn forget_marks(table: &Table) {
    for entry in fs::read_dir(table.state.records()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_none_or(|name| !table.knows(name)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
