//! The control loop: the one task that owns the planner.
//!
//! Everything that happens reaches it as an input: results of orders, readings of the proxy, events of the provider,
//! commands of operators, time. After each input it lets the planner decide, hands out the orders, and publishes a
//! snapshot. It never waits for any of them: orders run in tasks of their own, tables are left with the router, records
//! with the recorder. So the way from a decision to its effect is as short as the work itself.

mod commands;
mod deploys;
mod experience;
mod forecast_overrides;
mod knowing;
mod nodes;
mod observe;
mod orders;
mod pausing;
mod publish;
mod pushing;
mod raises;
mod restarting;
mod sessions;
mod sizes;
mod training;
mod unwell;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecast::Timestamp;
use planner::{Event, Planner};
use provider::{Provider, ProviderEvent, Providers};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

pub(crate) use commands::{Command, CommandError, override_key};
pub(crate) use deploys::Deploys;
pub(crate) use forecast_overrides::ForecastOverrides;
pub(crate) use nodes::EngineNodes;
pub(crate) use orders::NEXT_INSTANCE_KEY;
pub(crate) use pausing::Pausing;
pub(crate) use raises::RAISE_KINDS;
pub(crate) use restarting::ProxyRestart;
pub(crate) use sessions::Answered;
pub(crate) use unwell::Unwell;
pub(crate) use workload::Workload;

use crate::convert;
use crate::externals::{Externals, Heard};
use crate::instances::Done;
use crate::left_children::LeftChildren;
use crate::metrics::Metrics;
use crate::nodes::EngineNews;
use crate::proxy_process::ProxyNews;
use crate::recent::Recent;
use crate::recorder::{Record, Recorder, clock};
use crate::router::{Applied, Router};
use crate::trainer::{Trainer, TrainingDone};
use crate::usage::Readings;
use crate::view::View;

/// The control loop's state.
pub(crate) struct ControlLoop {
    pub(crate) planner: Planner,
    pub(crate) provider: Arc<Providers>,
    pub(crate) router: Router,
    pub(crate) recorder: Recorder,
    pub(crate) recent: Arc<Recent>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) view: watch::Sender<Arc<View>>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) proxy: ProxyState,
    /// Set where a workload has batch models.
    pub(crate) trainer: Option<Trainer>,
    pub(crate) pausing: Pausing,
    /// Announced, and not here yet.
    pub(crate) deploys: Deploys,
    pub(crate) externals: Externals,
    /// Orders under way, with the workload they belong to.
    pub(crate) executions: JoinSet<(usize, Done)>,
    pub(crate) engine_nodes: EngineNodes,
    pub(crate) unwell: Unwell,
    /// Taking back what runs on nodes, and stopping what nobody wants.
    pub(crate) node_work: JoinSet<()>,
    /// Raises being put in force.
    pub(crate) raising: JoinSet<raises::Raised>,
    /// Problems that hold now, by kind.
    pub(crate) problems: BTreeMap<&'static str, api::Problem>,
    pub(crate) published: Published,
    /// What happened in this turn, written down when the orders are out.
    pub(crate) notes: Vec<api::Event>,
    /// When the loop began, by both clocks.
    pub(crate) began: (Timestamp, Instant),
    /// When the chores that no input causes were done last.
    pub(crate) tidied: Instant,
    /// Of the program that this process was before.
    pub(crate) left_children: LeftChildren,
    /// Smallest number that no instance of this state folder has had.
    pub(crate) next_instance: u64,
}

/// The proxy as the control loop sees it.
#[derive(Debug, Default)]
pub(crate) struct ProxyState {
    pub(crate) connected: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<u64>,
    pub(crate) restarts: u64,
    /// The table in force is not known to be the wanted one.
    pub(crate) table_doubtful: bool,
    /// What is said beside the problem that it does not answer.
    pub(crate) silent_hint: &'static str,
    /// Takes wishes for a restart; none where the proxy is not ours.
    pub(crate) restarter: Option<mpsc::Sender<ProxyRestart>>,
}

/// When the snapshot was made, and the integrals in it.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) at: Instant,
    pub(crate) stale: bool,
}

/// Where inputs come from.
pub(crate) struct Inlets {
    pub(crate) applied: mpsc::Receiver<Applied>,
    pub(crate) proxy: mpsc::Receiver<ProxyNews>,
    pub(crate) provider: broadcast::Receiver<ProviderEvent>,
    pub(crate) usage: mpsc::Receiver<Readings>,
    pub(crate) engines: mpsc::Receiver<EngineNews>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Closed where nothing is trained.
    pub(crate) trained: mpsc::Receiver<TrainingDone>,
    /// Closed where no model is external.
    pub(crate) heard: mpsc::Receiver<Heard>,
}

impl ControlLoop {
    /// Runs until the commands end or another inlet ends that must not; says which.
    pub(crate) async fn run(
        &mut self,
        inlets: &mut Inlets,
        stop: impl Future<Output = ()>,
    ) -> Result<(), &'static str> {
        tokio::pin!(stop);
        self.settle();
        loop {
            let wake = self.sleep_for();
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                Some(done) = self.executions.join_next(), if !self.executions.is_empty() => match done {
                    Ok((workload, done)) => self.order_done(workload, done),
                    Err(error) => tracing::error!(%error, "an order's task failed"),
                },
                applied = inlets.applied.recv() => match applied {
                    Some(applied) => self.table_applied(applied),
                    None => return Err("route table writer"),
                },
                event = inlets.provider.recv() => self.provider_event(event)?,
                command = inlets.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return Err("HTTP API"),
                },
                news = inlets.proxy.recv() => match news {
                    Some(news) => self.proxy_news(news),
                    None => return Err("proxy's watcher"),
                },
                readings = inlets.usage.recv() => match readings {
                    Some(Readings::Usage(readings)) => self.usage_read(readings),
                    Some(Readings::Strain(readings)) => self.strain_read(readings),
                    None => return Err("usage reader"),
                },
                Some(news) = inlets.engines.recv() => self.engine_news(news),
                Some(done) = inlets.trained.recv() => self.training_done(done),
                Some(heard) = inlets.heard.recv() => self.heard(heard),
                () = tokio::time::sleep(wake) => {}
            }
            self.time_passed();
            self.settle();
            self.tidy_up();
            self.publish_if_due();
        }
    }

    /// Tells the planner something that happened and notes it in the journal.
    pub(crate) fn handle(&mut self, workload: usize, event: Event) {
        let now = clock();
        self.notes.extend(convert::event(now, self.workloads[workload].name(), &event));
        if let Event::ActionFailed { reason, .. } = &event {
            self.metrics.action_failed(self.workloads[workload].name());
            tracing::warn!(workload = self.workloads[workload].name(), reason, "an action failed");
        }
        self.planner.handle(now, event);
        self.published.stale = true;
    }

    /// Writes an event into the journal.
    fn note(&mut self, event: api::Event) {
        tracing::info!(kind = event.kind, workload = event.workload.as_deref(), "{}", event.message);
        if let Ok(body) = serde_json::to_vec(&event) {
            self.recorder.record(Record::Event(history::EventRecord {
                at: Timestamp::from_millis(event.at_ms),
                workload: event.workload.clone(),
                kind: event.kind.clone(),
                body,
            }));
        }
        self.recent.push_event(event);
    }

    /// Notes an event that concerns no single workload.
    pub(crate) fn note_own(&mut self, kind: &str, message: String) {
        let at_ms = clock().as_millis();
        self.notes.push(api::Event {
            at_ms,
            workload: None,
            kind: kind.to_owned(),
            instance: None,
            message,
            took_ms: None,
            shift: None,
        });
    }

    /// Hands out all orders the planner has, and notes its plans.
    pub(crate) fn settle(&mut self) {
        let mut orders = 0;
        for _ in 0..SETTLE_ROUNDS_MAX {
            while let Some(action) = self.planner.poll_action() {
                self.carry_out(action);
                orders += 1;
            }
            if !self.settle_sessions() {
                break;
            }
        }
        self.note_plans();
        for note in std::mem::take(&mut self.notes) {
            self.note(note);
        }
        if orders > 0 {
            self.published.stale = true;
        }
        self.lint();
    }

    fn time_passed(&mut self) {
        let now = clock();
        if self.planner.poll_timeout().is_some_and(|(at, _)| at <= now) {
            let begun = Instant::now();
            self.planner.handle_timeout(now);
            self.metrics.planned(begun.elapsed());
            self.published.stale = true;
        }
    }

    /// Chores that no input causes, a few times a second.
    fn tidy_up(&mut self) {
        if self.tidied.elapsed() < TIDY_EVERY {
            return;
        }
        self.tidied = Instant::now();
        let now = clock();
        self.close_silent_steps(now);
        self.watch_sessions(now);
        self.expire_drains(now);
        self.deploy_what_is_due(now);
        self.history_health();
        self.left_children.reap();
        self.note_experience();
        self.ask_unwell();
        while self.node_work.try_join_next().is_some() {}
        self.settle();
    }

    fn provider_event(
        &mut self,
        event: Result<ProviderEvent, broadcast::error::RecvError>,
    ) -> Result<(), &'static str> {
        match event {
            Ok(ProviderEvent::Exited { name, reason }) => {
                self.blame_memory(&name, reason);
                self.exited(&name, reason.to_string());
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {
                // Some exits were missed: whatever the provider no longer knows has ended.
                let alive = self.provider.list();
                let gone: Vec<_> = self
                    .workloads
                    .iter()
                    .flat_map(|workload| workload.places.values())
                    .filter(|place| !alive.iter().any(|info| info.name == place.name))
                    .map(|place| place.name.clone())
                    .collect();
                for name in gone {
                    self.exited(&name, "unknown reason".to_owned());
                }
            }
            Err(broadcast::error::RecvError::Closed) => return Err("provider"),
        }
        Ok(())
    }

    /// How long nothing has to be done unless an input comes.
    fn sleep_for(&self) -> Duration {
        let planned = self.planner.poll_timeout().map_or(SLEEP_MAX, |(at, _)| at.since(clock()));
        let publish = if self.published.stale {
            PUBLISH_EVERY_MIN.saturating_sub(self.published.at.elapsed())
        } else {
            SLEEP_MAX
        };
        // The clock can be set back, and steps end although nothing happens.
        planned.min(publish).min(SLEEP_MAX)
    }

    /// Debug builds check the planner's invariants after every input.
    fn lint(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        if let Err(violations) = planner::lint::check(&self.planner.snapshot()) {
            let message = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            tracing::error!(message, "the planner breaks its invariants");
            self.problem("plan_violation", message, "please report this with the history folder");
        }
    }

    pub(crate) fn problem(&mut self, kind: &'static str, message: String, hint: &str) {
        let since_ms = self.problems.get(kind).map_or_else(|| clock().as_millis(), |known| known.since_ms);
        let problem = api::Problem { kind: kind.to_owned(), since_ms, message, hint: hint.to_owned() };
        self.problems.insert(kind, problem);
        self.published.stale = true;
    }

    pub(crate) fn problem_if(&mut self, holds: bool, kind: &'static str, message: String, hint: &str) {
        match holds {
            true => self.problem(kind, message, hint),
            false => drop(self.solved(kind)),
        }
    }

    /// Whether the problem was there.
    pub(crate) fn solved(&mut self, kind: &'static str) -> bool {
        let there = self.problems.remove(kind).is_some();
        self.published.stale |= there;
        there
    }

    pub(crate) fn index_of(&self, workload: &str) -> Option<usize> {
        self.workloads.iter().position(|candidate| candidate.name() == workload)
    }
}

/// Time between two rounds of chores.
const TIDY_EVERY: Duration = Duration::from_millis(200);
/// How often sessions are looked at again after what they led to.
const SETTLE_ROUNDS_MAX: usize = 8;
/// Longest sleep without an input.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// Shortest time between two snapshots, so that a burst of inputs does not make a burst of them.
pub(crate) const PUBLISH_EVERY_MIN: Duration = Duration::from_millis(20);
