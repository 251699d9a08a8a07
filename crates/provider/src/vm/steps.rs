//! The steps of a running machine: park, promote, stop, resize.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::config::VmConfig;
use super::{Shared, control};
use crate::cgroup::CgroupError;
use crate::error::ProviderError;
use crate::face::Promoted;
use crate::name::InstanceName;
use crate::process::blocking;
use crate::process::instance::Instance;
use crate::process::steps::{has_just_answered, reclaim, take_turn, verify};
use crate::spec::ResourceLimits;

/// Stops a machine, then freezes its process.
pub(super) async fn park(shared: &Arc<Shared>, name: &InstanceName) -> Result<(), ProviderError> {
    let (turn, instance) = take_turn(shared.machines.table(), name).await?;
    let shared = Arc::clone(shared);
    // A task of its own: half a park would be a machine that is neither parked nor serves.
    let parking = tokio::spawn(async move {
        let _turn = turn;
        if instance.info().parked {
            return Ok(());
        }
        control::execute(&shared.config, &instance, "stop the machine", "stop", json!({})).await?;
        let frozen = freeze(&instance).await;
        if frozen.is_err() {
            control::execute(&shared.config, &instance, "continue the machine", "cont", json!({})).await?;
        }
        if frozen.is_ok() && instance.record.reclaims {
            tokio::task::spawn_blocking(move || reclaim(&instance));
        }
        frozen
    });
    parking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Thaws its process, continues the machine, and verifies that it serves.
pub(super) async fn promote(shared: &Arc<Shared>, name: &InstanceName) -> Result<Promoted, ProviderError> {
    let (_turn, instance) = take_turn(shared.machines.table(), name).await?;
    let begin = Instant::now();
    if has_just_answered(&instance) {
        return Ok(Promoted { took: begin.elapsed() });
    }
    if instance.info().parked {
        thaw(&instance).await?;
        // The question is on its way while QEMU is told, and only what goes on can answer it.
        let (continued, verified) = tokio::join!(go_on(shared, &instance), verify(&instance, begin));
        return continued.and(verified);
    }
    verify(&instance, begin).await
}

/// Continues a machine whose process is thawed.
async fn go_on(shared: &Shared, instance: &Arc<Instance>) -> Result<(), ProviderError> {
    control::execute(&shared.config, instance, "continue the machine", "cont", json!({})).await?;
    instance.set_parked(false);
    // Nobody has to wait for it.
    let telling = Arc::clone(instance);
    tokio::spawn(async move { control::tell_time(&telling).await });
    Ok(())
}

/// Presses its power button. For [`crate::process::steps::stop`].
pub(super) async fn power_down(config: VmConfig, instance: Arc<Instance>) -> Result<(), CgroupError> {
    let thawing = Arc::clone(&instance);
    blocking(move || thawing.record.group.thaw()).await?;
    for command in ["cont", "system_powerdown"] {
        let step = "ask the machine to power down";
        if let Err(error) = control::execute(&config, &instance, step, command, json!({})).await {
            // It is killed after its grace.
            tracing::debug!(instance = %instance.record.name, %error, "cannot ask a machine to power down");
        }
    }
    Ok(())
}

/// Other limits: memory by its balloon, the rest by the control group of its process.
pub(super) async fn resize(
    shared: &Shared,
    instance: &Arc<Instance>,
    limits: ResourceLimits,
) -> Result<(), ProviderError> {
    let name = &instance.record.name;
    let invalid = |problem: String| ProviderError::InvalidSpec { name: name.clone(), problem };
    if let Some(problem) = limits.problem() {
        return Err(invalid(problem));
    }
    if limits.pids.is_some() {
        return Err(invalid("processes inside a machine cannot be limited from outside".to_owned()));
    }
    if let Some(bytes) = limits.memory_bytes {
        let (least, most) = memory(shared, name)?;
        if !(least..=most).contains(&bytes) {
            return Err(invalid(format!(
                "the memory of this machine can be from {} to {} MiB, not {} MiB",
                least >> 20,
                most >> 20,
                bytes >> 20
            )));
        }
        if least < most {
            balloon(shared, instance, bytes).await?;
        }
    }
    let limits = ResourceLimits { memory_bytes: None, ..limits };
    if limits != ResourceLimits::default() {
        let group = instance.record.group.clone();
        let resized = blocking(move || group.resize(&limits)).await;
        resized
            .map_err(|source| ProviderError::Cgroup { step: "change the limits of the instance", source })?;
    }
    Ok(())
}

/// A parked machine is told, too; it follows when it is continued.
async fn balloon(shared: &Shared, instance: &Arc<Instance>, bytes: u64) -> Result<(), ProviderError> {
    let is_parked = instance.info().parked;
    if is_parked {
        thaw(instance).await?;
    }
    let done =
        control::execute(&shared.config, instance, "change the memory", "balloon", json!({ "value": bytes }))
            .await;
    if is_parked {
        freeze(instance).await?;
    }
    done.map(drop)
}

/// After an earlier control plane died in the middle of parking or promoting.
pub(super) async fn put_right(shared: &Shared, name: &InstanceName) {
    let Some(instance) = shared.machines.table().find(name) else { return };
    let continued =
        control::execute(&shared.config, &instance, "continue the machine", "cont", json!({})).await;
    if let Err(error) = continued {
        tracing::warn!(instance = %name, %error, "cannot be sure that an adopted machine runs");
    }
}

/// Between what its memory can be changed, as it was written down at its start.
pub(super) fn memory(shared: &Shared, name: &InstanceName) -> Result<(u64, u64), ProviderError> {
    let path = shared.machines.table().state.folder(name).join(control::MEMORY_FILE);
    let read = fs::read(&path).and_then(|text| Ok(serde_json::from_slice::<Value>(&text)?));
    let value = read.map_err(super::order::failed("read", &path))?;
    let number = |key: &str| value.get(key).and_then(Value::as_u64);
    number("least")
        .zip(number("most"))
        .ok_or_else(|| super::order::failed("read", &path)(std::io::ErrorKind::InvalidData.into()))
}

async fn freeze(instance: &Arc<Instance>) -> Result<(), ProviderError> {
    let freezing = Arc::clone(instance);
    blocking(move || {
        let frozen = freezing.record.group.freeze();
        freezing.set_parked(frozen.is_ok());
        let name = freezing.record.name.clone();
        frozen.map_err(|source| ProviderError::Freezer { name, step: "freeze", source })
    })
    .await
}

async fn thaw(instance: &Arc<Instance>) -> Result<(), ProviderError> {
    let group = &instance.record.group;
    let thawed = if group.thaws_at_once() {
        group.thaw()
    } else {
        let group = group.clone();
        blocking(move || group.thaw()).await
    };
    let name = instance.record.name.clone();
    thawed.map_err(|source| ProviderError::Freezer { name, step: "thaw", source })
}
