//! The steps of a running instance: park, promote, stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use super::blocking;
use super::instance::Instance;
use super::table::Table;
use crate::cgroup::CgroupError;
use crate::error::ProviderError;
use crate::face::Promoted;
use crate::name::InstanceName;
use crate::probe::ask;
use crate::spec::ResourceLimits;

/// Freezes an instance.
pub(super) async fn park(table: &Arc<Table>, name: &InstanceName) -> Result<(), ProviderError> {
    let (turn, instance) = take_turn(table, name).await?;
    let parked = Arc::clone(&instance);
    blocking(move || {
        // The turn ends with the freeze, not with the caller's patience.
        let _turn = turn;
        let frozen = instance.record.group.freeze();
        instance.set_parked(frozen.is_ok());
        frozen.map_err(|source| ProviderError::Freezer {
            name: instance.record.name.clone(),
            step: "freeze",
            source,
        })
    })
    .await?;
    if parked.record.reclaims {
        tokio::task::spawn_blocking(move || reclaim(&parked));
    }
    Ok(())
}

/// Takes memory back from an instance until it is promoted.
pub(crate) fn reclaim(instance: &Instance) {
    let name = &instance.record.name;
    match instance.record.group.reclaim(|| instance.is_parked()) {
        Some(bytes) => tracing::debug!(instance = %name, bytes, "memory of a parked instance was given back"),
        None => tracing::warn!(instance = %name, "memory of parked instances cannot be given back here"),
    }
}

/// Thaws an instance and verifies that it serves.
pub(super) async fn promote(table: &Arc<Table>, name: &InstanceName) -> Result<Promoted, ProviderError> {
    let (_turn, instance) = take_turn(table, name).await?;
    let begin = Instant::now();
    if has_just_answered(&instance) {
        return Ok(Promoted { took: begin.elapsed() });
    }
    let group = &instance.record.group;
    let thawed = if group.thaws_at_once() {
        group.thaw()
    } else {
        let instance = Arc::clone(&instance);
        blocking(move || instance.record.group.thaw()).await
    };
    thawed.map_err(|source| ProviderError::Freezer { name: name.clone(), step: "thaw", source })?;
    instance.set_parked(false);
    verify(&instance, begin).await
}

/// Whether an instance runs and has just said that it serves, as one does whose start was completed a moment ago.
pub(crate) fn has_just_answered(instance: &Instance) -> bool {
    !instance.is_parked() && !instance.has_ended() && instance.last_answer.is_fresh()
}

/// Asks an instance that was thawed at `begin` once whether it serves.
pub(crate) async fn verify(instance: &Instance, begin: Instant) -> Result<Promoted, ProviderError> {
    let name = &instance.record.name;
    let record = &instance.record;
    tokio::select! {
        biased;
        ended = instance.ended() => Err(ProviderError::Exited { name: name.clone(), reason: ended.reason }),
        asked = ask(&record.probe, record.addr, record.probe_timeout) => match asked {
            Ok(()) => {
                instance.last_answer.note();
                Ok(Promoted { took: begin.elapsed() })
            }
            Err(source) => Err(ProviderError::Unverified { name: name.clone(), source }),
        },
    }
}

/// Gives an instance other limits.
pub(super) async fn resize(
    table: &Arc<Table>,
    name: &InstanceName,
    limits: ResourceLimits,
) -> Result<(), ProviderError> {
    if let Some(problem) = limits.problem() {
        return Err(ProviderError::InvalidSpec { name: name.clone(), problem });
    }
    let (turn, instance) = take_turn(table, name).await?;
    blocking(move || {
        let _turn = turn;
        let resized = instance.record.group.resize(&limits);
        resized.map_err(|source| ProviderError::Cgroup { step: "change the limits of the instance", source })
    })
    .await
}

/// Ends an instance and everything it has started.
pub(crate) async fn stop<Asking: Future<Output = Result<(), CgroupError>>>(
    table: &Arc<Table>,
    name: &InstanceName,
    grace: Duration,
    ask: impl FnOnce(Arc<Instance>) -> Asking,
) -> Result<(), ProviderError> {
    let turn = table.turn(name).ok_or_else(|| ProviderError::Unknown(name.clone()))?;
    table.call_off(name);
    let _turn = turn.lock_owned().await;
    // Whatever took its turn before may have ended it.
    let Some(instance) = table.find(name) else { return Ok(()) };
    instance.want_end(Instant::now() + grace);
    let asked = ask(Arc::clone(&instance)).await;
    instance.set_parked(false);
    if let Err(error) = asked {
        tracing::debug!(instance = %name, %error, "cannot ask an instance to end; it is killed");
    } else if let Ok(ended) = timeout(grace, instance.ended()).await
        && ended.is_clean
    {
        return Ok(());
    }
    if instance.kill().await.is_clean {
        return Ok(());
    }
    // Once more, for the reason.
    let again = Arc::clone(&instance);
    let destroyed = blocking(move || again.record.group.destroy()).await;
    destroyed.map_err(|source| ProviderError::Stop { name: name.clone(), source })
}

/// Asks all processes of an instance to end.
pub(super) async fn terminate(instance: Arc<Instance>) -> Result<(), CgroupError> {
    blocking(move || {
        // A frozen process cannot hear the request to end.
        let thawed = instance.record.group.thaw();
        instance.record.group.terminate(instance.record.pid);
        thawed
    })
    .await
}

/// Waits for the turn of a ready instance.
pub(crate) async fn take_turn(
    table: &Arc<Table>,
    name: &InstanceName,
) -> Result<(OwnedMutexGuard<()>, Arc<Instance>), ProviderError> {
    let unknown = || ProviderError::Unknown(name.clone());
    let turn = table.turn(name).ok_or_else(unknown)?;
    let is_ready = table.find(name).is_some_and(|instance| instance.is_ready());
    if !is_ready {
        return Err(ProviderError::NotReady(name.clone()));
    }
    let turn = turn.lock_owned().await;
    let instance = table.find(name).ok_or_else(unknown)?;
    Ok((turn, instance))
}
