//! Watches the engine: its events tell the end of a container at once; a regular comparison finds what happened while it
//! did not tell, removes what nobody knows, and notices an engine that is gone or hangs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, EventMessage};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::error::EngineError;
use super::instance::{Instance, Parked};
use super::table::Table;
use super::{mark, steps};
use crate::error::ProviderError;
use crate::face::ExitReason;

/// Whether an engine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineHealth {
    /// It did when it was asked last.
    Answers,
    /// It did not.
    Lost {
        /// Why.
        reason: String,
        /// When it answered last, or since when it has been asked in vain.
        since: std::time::Instant,
    },
}

/// Watches until it is dropped.
pub(super) async fn watch_over(table: Arc<Table>, health: watch::Sender<EngineHealth>) {
    let mut pause = RECONNECT_MIN;
    let heard = Mutex::new(Instant::now());
    loop {
        let begin = Instant::now();
        let error = watch_once(&table, &health, &heard).await;
        let since = heard.lock().unwrap_or_else(PoisonError::into_inner).into_std();
        let lost = EngineHealth::Lost { reason: error.to_string(), since };
        health.send_if_modified(|health| match health {
            EngineHealth::Lost { .. } => false,
            EngineHealth::Answers => {
                tracing::warn!(engine = %table.engine.name, %error, "the engine does not answer");
                *health = lost;
                true
            }
        });
        // One that was good for a while gets a quick try.
        pause = if begin.elapsed() > RECONNECT_MAX { RECONNECT_MIN } else { (pause * 2).min(RECONNECT_MAX) };
        sleep(pause).await;
    }
}

/// One connection's worth of events. `heard`: when the engine said last that it is there.
async fn watch_once(
    table: &Arc<Table>,
    health: &watch::Sender<EngineHealth>,
    heard: &Mutex<Instant>,
) -> EngineError {
    let pinging = async {
        loop {
            if let Err(error) = table.engine.ping().await {
                return error;
            }
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            sleep(table.config.check_interval).await;
        }
    };
    tokio::select! {
        error = pinging => error,
        error = follow(table, health) => error,
    }
}

/// Follows the events and compares, until either fails.
async fn follow(table: &Arc<Table>, health: &watch::Sender<EngineHealth>) -> EngineError {
    if *health.borrow() != EngineHealth::Answers {
        match table.engine.agree().await {
            Ok(()) => {}
            Err(ProviderError::Engine { source, .. }) => return source,
            Err(other) => return EngineError::Odd(other.to_string()),
        }
    }
    let filters: HashMap<String, Vec<String>> = [
        ("type", vec!["container".to_owned()]),
        ("event", ["die", "kill", "oom", "destroy"].map(str::to_owned).to_vec()),
        ("label", vec![table.owner.label()]),
    ]
    .map(|(key, values)| (key.to_owned(), values))
    .into();
    let options = EventsOptionsBuilder::new().filters(&filters).build();
    let mut events = std::pin::pin!(table.engine.docker.events(Some(options)));
    let comparing = async {
        let mut pause = COMPARE_FIRST;
        loop {
            if let Err(error) = compare(table).await {
                return error;
            }
            let answers = health.send_if_modified(|health| {
                let was_lost = *health != EngineHealth::Answers;
                *health = EngineHealth::Answers;
                was_lost
            });
            if answers {
                tracing::info!(engine = %table.engine.name, "the engine answers again");
            }
            // The second look is soon: events began at about the time of the first.
            sleep(pause.min(table.config.check_interval)).await;
            pause = table.config.check_interval;
        }
    };
    let mut comparing = std::pin::pin!(comparing);
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some(Ok(event)) => note(table, &event),
                Some(Err(error)) => return EngineError::from_client(error, table.engine.deadline),
                None => return EngineError::Odd("the engine tells no more events".to_owned()),
            },
            error = &mut comparing => return error,
        }
    }
}

fn note(table: &Arc<Table>, event: &EventMessage) {
    let Some(actor) = &event.actor else { return };
    let Some(instance) = actor.id.as_deref().and_then(|id| table.find_by_id(id)) else { return };
    let attribute = |key: &str| actor.attributes.as_ref()?.get(key)?.parse::<i64>().ok();
    match event.action.as_deref() {
        Some("die") => ended(table, &instance, reason(attribute("exitCode"))),
        Some("destroy") => ended(table, &instance, ExitReason::Unknown),
        Some("oom") => instance.count_oom_kill(),
        // 9 and 15: somebody else wants its end.
        Some("kill") if matches!(attribute("signal"), Some(9 | 15)) => let_die(&instance),
        _ => {}
    }
}

/// Thaws what is frozen behind the engine's back, or its death would wait for a thaw.
fn let_die(instance: &Instance) {
    let group = instance.place().and_then(|place| place.group.as_ref());
    if let Some(group) = group.filter(|_| instance.parked() == Parked::ByFile)
        && let Err(error) = group.thaw()
    {
        tracing::debug!(instance = %instance.facts.name, %error, "cannot be thawed");
    }
}

/// Notes the end of an instance; if nobody wanted it, it is cleared away and reported.
fn ended(table: &Arc<Table>, instance: &Arc<Instance>, reason: ExitReason) {
    if instance.note_end(reason) {
        tokio::spawn(steps::clear_away(Arc::clone(table), Arc::clone(instance), reason));
    }
}

/// Shells and engines say 128 and the number of the signal.
fn reason(exit_code: Option<i64>) -> ExitReason {
    match exit_code.and_then(|code| i32::try_from(code).ok()) {
        Some(code @ 129..=192) => ExitReason::Signal(code - 128),
        Some(code) => ExitReason::Code(code),
        None => ExitReason::Unknown,
    }
}

/// Compares what the engine has with what we know.
async fn compare(table: &Arc<Table>) -> Result<(), EngineError> {
    let known = table.instances();
    let found = table.engine.list(&table.owner.label()).await?;
    for container in &found {
        let Some(id) = container.id.as_deref() else { continue };
        match table.find_by_id(id) {
            Some(instance) if has_ended(container) => check(table, &instance).await,
            Some(_) => {}
            None => sweep(table, id, container).await,
        }
    }
    for instance in known {
        if !found.iter().any(|container| container.id.as_deref() == Some(&instance.facts.id)) {
            ended(table, &instance, ExitReason::Unknown);
        }
    }
    Ok(())
}

fn has_ended(container: &ContainerSummary) -> bool {
    use ContainerSummaryStateEnum as State;
    matches!(container.state, Some(State::EXITED | State::DEAD | State::REMOVING))
}

/// Removes a container with our mark that belongs to no instance: of a start that was undone while the engine did not
/// listen, for example.
async fn sweep(table: &Arc<Table>, id: &str, container: &ContainerSummary) {
    let name = container.labels.as_ref().and_then(mark::instance);
    // One of this name may be on its way into the table.
    let maybe_known = name.as_ref().is_some_and(|name| table.knows(name.as_str()));
    if !table.knows_all() || maybe_known {
        return;
    }
    tracing::warn!(container = id, "removing a container that belongs to no instance");
    if let Err(error) = table.engine.remove(id).await {
        tracing::warn!(container = id, %error, "cannot be removed");
    }
}

/// Asks the engine about one instance, and notes its end.
pub(super) async fn check(table: &Arc<Table>, instance: &Arc<Instance>) {
    match table.engine.inspect(&instance.facts.id).await {
        Ok(found) => {
            if let Some(reason) = end_of(&found) {
                ended(table, instance, reason);
            }
        }
        Err(error) if error.is_not_found() => ended(table, instance, ExitReason::Unknown),
        Err(error) => tracing::debug!(instance = %instance.facts.name, %error, "cannot be looked at"),
    }
}

/// Looks again and again; ends when the instance has. A net below the engine's events.
pub(super) async fn check_often(table: &Arc<Table>, instance: &Arc<Instance>) {
    while instance.reason().is_none() {
        sleep(CHECK_INTERVAL).await;
        check(table, instance).await;
    }
}

fn end_of(found: &ContainerInspectResponse) -> Option<ExitReason> {
    use bollard::models::ContainerStateStatusEnum as Status;
    let state = found.state.as_ref()?;
    matches!(state.status, Some(Status::EXITED | Status::DEAD | Status::REMOVING))
        .then(|| reason(state.exit_code))
}

/// Pauses between two tries to reach an engine.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// When the second comparison of a new connection is due.
const COMPARE_FIRST: Duration = Duration::from_millis(300);
/// How often one instance is looked at while its end or readiness is waited for.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
