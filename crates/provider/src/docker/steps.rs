//! The steps of a running instance: park, promote, resize, stop, and what becomes of one that ended by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep, timeout};

use super::error::EngineError;
use super::instance::{Instance, Parked, Place};
use super::table::Table;
use super::{create, logs, watch};
use crate::cgroup::CgroupError;
use crate::error::ProviderError;
use crate::face::{ExitReason, Promoted, ProviderEvent};
use crate::name::InstanceName;
use crate::probe::ask;
use crate::process::blocking;
use crate::spec::{Probe, ResourceLimits};

/// Freezes an instance.
pub(super) async fn park(table: &Arc<Table>, name: &InstanceName) -> Result<(), ProviderError> {
    let (_turn, instance) = take_turn(table, name).await?;
    if instance.parked() != Parked::No {
        return Ok(());
    }
    freeze(table, &instance).await?;
    if instance.facts.reclaims {
        tokio::task::spawn_blocking(move || reclaim(&instance));
    }
    Ok(())
}

/// Takes memory back from an instance until it is promoted.
fn reclaim(instance: &Instance) {
    let name = &instance.facts.name;
    let group = instance.place().and_then(|place| place.group.as_ref());
    match group.and_then(|group| group.reclaim(|| instance.parked() != Parked::No)) {
        Some(bytes) => tracing::debug!(instance = %name, bytes, "memory of a parked instance was given back"),
        None => tracing::warn!(instance = %name, "memory of parked instances cannot be given back here"),
    }
}

async fn freeze(table: &Table, instance: &Arc<Instance>) -> Result<(), ProviderError> {
    let name = &instance.facts.name;
    if table.config.freezer && !instance.facts.health_check {
        let freezing = Arc::clone(instance);
        let frozen = blocking(move || freezing.place()?.group.as_ref().map(|group| group.freeze())).await;
        match frozen {
            Some(Ok(())) => {
                instance.set_parked(Parked::ByFile);
                return Ok(());
            }
            Some(Err(error)) => {
                tracing::debug!(%name, %error, "the freezer cannot be used, the engine is asked")
            }
            None => {}
        }
    }
    let engine = &table.engine;
    let mut tries = 1;
    while let Err(error) = hold(table, instance, true).await {
        // The answer may be lost, not the freeze: nothing must stay frozen that we take for running.
        let _ = engine.call(engine.docker.unpause_container(&instance.facts.id)).await;
        // Its runtime gives up where the kernel does not get every thread to stand still at once, as on a busy machine.
        let fails = matches!(error, EngineError::Refused { status: 500, .. });
        if !fails || instance.reason().is_some() || tries == PAUSE_TRIES {
            return Err(after(table, instance, "pause the container", error).await);
        }
        tries += 1;
    }
    instance.set_parked(Parked::ByEngine);
    Ok(())
}

/// Thaws an instance and verifies that it serves.
pub(super) async fn promote(table: &Arc<Table>, name: &InstanceName) -> Result<Promoted, ProviderError> {
    let (turn, instance) = take_turn(table, name).await?;
    let addr = placed(&instance)?.addr;
    let begin = Instant::now();
    if instance.parked() == Parked::No && instance.reason().is_none() && instance.last_answer.is_fresh() {
        return Ok(Promoted { took: begin.elapsed() });
    }
    // A task of its own, and the next step's turn comes after it: half a thaw must not be left behind.
    let mut thawing = tokio::spawn({
        let (table, instance) = (Arc::clone(table), Arc::clone(&instance));
        async move { thaw(&table, &instance).await.map(|()| turn) }
    });
    let facts = &instance.facts;
    let _turn = tokio::select! {
        biased;
        // The engine still keeps its books when the instance already answers. A connection says nothing: the kernel makes
        // it for a frozen process, too.
        Ok(()) = ask(&facts.probe, addr, facts.probe_timeout), if facts.probe != Probe::Tcp => {
            instance.set_parked(Parked::No);
            instance.last_answer.note();
            return Ok(Promoted { took: begin.elapsed() });
        }
        thawed = &mut thawing => {
            thawed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?
        }
    };
    tokio::select! {
        biased;
        reason = instance.ended() => Err(ProviderError::Exited { name: name.clone(), reason }),
        asked = ask(&facts.probe, addr, facts.probe_timeout) => match asked {
            Ok(()) => {
                instance.last_answer.note();
                Ok(Promoted { took: begin.elapsed() })
            }
            Err(source) => match instance.reason() {
                Some(reason) => Err(ProviderError::Exited { name: name.clone(), reason }),
                None => Err(ProviderError::Unverified { name: name.clone(), source }),
            },
        },
    }
}

async fn thaw(table: &Table, instance: &Instance) -> Result<(), ProviderError> {
    match (instance.parked(), &placed(instance)?.group) {
        (Parked::No, _) => return Ok(()),
        // One short write, fit for an async thread.
        (Parked::ByFile, Some(group)) => group.thaw().map_err(|source| ProviderError::Freezer {
            name: instance.facts.name.clone(),
            step: "thaw",
            source,
        })?,
        (Parked::ByFile | Parked::ByEngine, _) => {
            if let Err(error) = hold(table, instance, false).await {
                return Err(after(table, instance, "unpause the container", error).await);
            }
        }
    }
    instance.set_parked(Parked::No);
    Ok(())
}

/// Has the engine hold a container still, or let it go on.
///
/// The engine hears of each pause a second time, from below and later, and believes that instead of what it has done since.
/// So if it says that all is as it should be already, it is asked again for a moment; after that, it is so.
async fn hold(table: &Table, instance: &Instance, still: bool) -> Result<(), EngineError> {
    let (engine, id) = (&table.engine, &instance.facts.id);
    let end = Instant::now() + HEARSAY;
    loop {
        let asked = if still {
            engine.call(engine.docker.pause_container(id)).await
        } else {
            engine.call(engine.docker.unpause_container(id)).await
        };
        match asked {
            Err(EngineError::Refused { message, .. })
                if message.contains(if still { "already paused" } else { "not paused" }) =>
            {
                if Instant::now() > end {
                    return Ok(());
                }
            }
            other => return other,
        }
        sleep(HEARSAY_PAUSE).await;
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
    let (_turn, instance) = take_turn(table, name).await?;
    let (engine, step) = (&table.engine, "change the limits of the container");
    let update = engine.docker.update_container(&instance.facts.id, create::update(&limits));
    match engine.call(update).await {
        Ok(()) => {
            limit_further(&instance, limits).await;
            Ok(())
        }
        Err(error) if error.is_unknown_order() => match limit(&instance, create::nearer(limits)).await {
            Some(Ok(())) => {
                limit_further(&instance, limits).await;
                Ok(())
            }
            Some(Err(source)) => Err(unless_ended(&instance, ProviderError::Cgroup { step, source }).await),
            None => Err(after(table, &instance, step, error).await),
        },
        Err(error) => Err(after(table, &instance, step, error).await),
    }
}

/// Sets the limits that the engine does not know, where the container's control group is ours to write; elsewhere they are
/// reported in the log and not enforced.
pub(super) async fn limit_further(instance: &Arc<Instance>, limits: ResourceLimits) {
    let further = create::further(limits);
    if further == ResourceLimits::default() {
        return;
    }
    match limit(instance, further).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::warn!(instance = %instance.facts.name, %error, "some limits cannot be enforced");
        }
        None => {
            tracing::warn!(instance = %instance.facts.name, "some limits cannot be enforced on this engine")
        }
    }
}

/// Sets limits by the container's control group; `None` where that is not ours to write.
async fn limit(instance: &Arc<Instance>, limits: ResourceLimits) -> Option<Result<(), CgroupError>> {
    let limited = Arc::clone(instance);
    blocking(move || Some(limited.place()?.group.as_ref()?.resize(&limits))).await
}

/// Ends an instance and everything it has started.
pub(super) async fn stop(
    table: &Arc<Table>,
    name: &InstanceName,
    grace: Duration,
) -> Result<(), ProviderError> {
    let turn = table.turn(name).ok_or_else(|| ProviderError::Unknown(name.clone()))?;
    table.call_off(name);
    let _turn = turn.lock_owned().await;
    // Whatever took its turn before may have ended it.
    let Some(instance) = table.find(name) else { return Ok(()) };
    instance.want_end();
    let engine = &table.engine;
    let id = &instance.facts.id;
    if let Some(place) = instance.place()
        && instance.reason().is_none()
    {
        // A frozen process cannot hear the request to end.
        let asked = match thaw(table, &instance).await {
            Ok(()) => {
                engine.kill(id, &place.stop_signal).await.map_err(engine.failed("ask the container to end"))
            }
            Err(error) => Err(error),
        };
        match asked {
            Ok(()) => tokio::select! {
                _ = timeout(grace, instance.ended()) => {}
                () = watch::check_often(table, &instance) => {}
            },
            Err(error) => tracing::debug!(instance = %name, %error, "cannot be asked to end; it is killed"),
        }
    }
    logs::keep(table, &instance).await;
    engine.remove(id).await.map_err(engine.failed("remove the container"))?;
    table.remove(&instance);
    Ok(())
}

/// Clears an instance away that ended by itself, and reports it.
pub(super) async fn clear_away(table: Arc<Table>, instance: Arc<Instance>, reason: ExitReason) {
    let name = instance.facts.name.clone();
    let reason = why(&table, &instance, reason).await;
    tracing::info!(instance = %name, %reason, "a container ended by itself");
    logs::keep(&table, &instance).await;
    if let Err(error) = table.engine.remove(&instance.facts.id).await {
        tracing::warn!(instance = %name, %error, "an ended container is left for now");
    }
    table.remove(&instance);
    table.report(ProviderEvent::Exited { name, reason });
}

/// Whether what was killed was so for lack of memory: the engine knows, perhaps a moment later.
async fn why(table: &Table, instance: &Instance, reason: ExitReason) -> ExitReason {
    if reason != ExitReason::Signal(KILLED) {
        return reason;
    }
    for _ in 0..OOM_LOOKS {
        let found = table.engine.inspect(&instance.facts.id).await;
        let told = found.is_ok_and(|found| found.state.and_then(|state| state.oom_killed) == Some(true));
        if told || instance.oom_kills() > 0 {
            return ExitReason::OutOfMemory;
        }
        sleep(OOM_PAUSE).await;
    }
    reason
}

/// A failed call, or rather the end of the instance if that is why it failed.
async fn after(table: &Table, instance: &Instance, step: &'static str, error: EngineError) -> ProviderError {
    let is_refused = matches!(error, EngineError::Refused { .. });
    let error = table.engine.failed(step)(error);
    if is_refused { unless_ended(instance, error).await } else { error }
}

/// The error, unless the instance turns out to have ended.
async fn unless_ended(instance: &Instance, error: ProviderError) -> ProviderError {
    match timeout(END_PATIENCE, instance.ended()).await {
        Ok(reason) => ProviderError::Exited { name: instance.facts.name.clone(), reason },
        Err(_) => error,
    }
}

fn placed(instance: &Instance) -> Result<&Place, ProviderError> {
    instance.place().ok_or_else(|| ProviderError::NotReady(instance.facts.name.clone()))
}

/// Waits for the turn of a ready instance.
async fn take_turn(
    table: &Arc<Table>,
    name: &InstanceName,
) -> Result<(OwnedMutexGuard<()>, Arc<Instance>), ProviderError> {
    let unknown = || ProviderError::Unknown(name.clone());
    let turn = table.turn(name).ok_or_else(unknown)?;
    if !table.find(name).is_some_and(|instance| instance.is_ready()) {
        return Err(ProviderError::NotReady(name.clone()));
    }
    let turn = turn.lock_owned().await;
    let instance = table.find(name).ok_or_else(unknown)?;
    Ok((turn, instance))
}

/// The number of the signal that the kernel kills with.
const KILLED: i32 = 9;
/// How often an engine is asked to pause a container that it fails to pause.
const PAUSE_TRIES: u32 = 3;
/// How often, and with which pause, the engine is asked whether memory was the cause.
const OOM_LOOKS: u32 = 3;
const OOM_PAUSE: Duration = Duration::from_millis(30);
/// How long an engine may believe what it hears late, and how often it is asked meanwhile.
const HEARSAY: Duration = Duration::from_millis(500);
const HEARSAY_PAUSE: Duration = Duration::from_millis(10);
/// How long the end of an instance may take to be told after a call has failed for it.
const END_PATIENCE: Duration = Duration::from_millis(200);
