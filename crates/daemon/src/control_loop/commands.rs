//! What operators and other programs ask of the control loop.

use std::time::Duration;

use forecast::Timestamp;
use history::CalendarChange;
use planner::{DecisionOverride, Event, FORECAST_OVERRIDES_MAX};
use thiserror::Error;
use tokio::sync::oneshot;

use super::ControlLoop;
use super::pushing::Taken;
use super::restarting::ProxyRestart;
use super::sessions::Answered;
use crate::knowledge::Knowledge;
use crate::recorder::clock;
use crate::sessions::SessionRefusal;
use crate::signals::PushRefusal;

/// A question to the control loop, with where the answer goes. The caller may be gone by then.
#[derive(Debug)]
pub(crate) enum Command {
    SetOverride {
        workload: String,
        request: api::OverrideRequest,
        reply: oneshot::Sender<Result<api::Override, CommandError>>,
    },
    ClearOverride {
        workload: String,
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    SetForecastOverride {
        workload: String,
        request: api::ForecastOverrideRequest,
        reply: oneshot::Sender<Result<api::ForecastOverride, CommandError>>,
    },
    ClearForecastOverride {
        workload: String,
        id: u64,
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    Push {
        workload: String,
        samples: Vec<api::PushedSample>,
        reply: oneshot::Sender<Result<Taken, CommandError>>,
    },
    OpenSession {
        workload: String,
        request: api::SessionRequest,
        reply: oneshot::Sender<Result<Answered, CommandError>>,
    },
    RenewSession {
        workload: String,
        session: String,
        reply: oneshot::Sender<Result<Answered, CommandError>>,
    },
    CloseSession {
        workload: String,
        session: String,
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    LookAtSession {
        workload: String,
        session: String,
        reply: oneshot::Sender<Result<api::Session, CommandError>>,
    },
    ListSessions {
        workload: String,
        limit: usize,
        reply: oneshot::Sender<Result<api::Sessions, CommandError>>,
    },
    /// What is known beside the demand of some workloads has changed.
    Know {
        known: Vec<(String, Knowledge)>,
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    /// It is on disk already; nobody waits.
    CalendarChanged(CalendarChange),
    PauseTraining {
        request: api::TrainingRequest,
        reply: oneshot::Sender<Result<api::Training, CommandError>>,
    },
    ResumeTraining {
        request: api::TrainingRequest,
        reply: oneshot::Sender<Result<api::Training, CommandError>>,
    },
    RestartProxy(ProxyRestart),
    /// The repository has another champion. Nobody waits: the change is made, and takes effect in the background.
    ChampionChanged {
        workload: String,
        model: String,
    },
}

/// Why the control loop refused.
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    #[error("there is no workload named {0}")]
    UnknownWorkload(String),
    #[error("workload {0} counts its demand at the proxy and takes no samples")]
    NotPushed(String),
    #[error("there are {FORECAST_OVERRIDES_MAX} overrides of this forecast already")]
    TooManyOverrides,
    #[error("there is no override {0} of this forecast")]
    UnknownOverride(u64),
    #[error("the override does not end after its beginning, within the next 366 days")]
    NoTime,
    #[error(transparent)]
    Samples(#[from] PushRefusal),
    #[error(
        "training of models is paused already, since {} by {} ({})",
        Timestamp::from_millis(.0.since_ms),
        .0.author,
        .0.reason
    )]
    TrainingPaused(api::TrainingPause),
    #[error("training of models is not paused")]
    TrainingNotPaused,
    #[error("requests go through a HAProxy, which foreshadow does not restart")]
    NotOurProxy,
    #[error("the proxy is being restarted already")]
    ProxyRestarting,
    #[error("the proxy was not restarted: {0}")]
    ProxyRestart(String),
    #[error("workload {0} has no sessions")]
    NoSessions(String),
    #[error(transparent)]
    Session(#[from] SessionRefusal),
}

impl ControlLoop {
    pub(crate) fn command(&mut self, command: Command) {
        match command {
            Command::SetOverride { workload, request, reply } => {
                let answer = self.set_override(&workload, request);
                self.settle();
                self.publish();
                let _ = reply.send(answer);
            }
            Command::ClearOverride { workload, reply } => {
                let answer = self.clear_override(&workload);
                self.settle();
                self.publish();
                let _ = reply.send(answer);
            }
            Command::SetForecastOverride { workload, request, reply } => {
                let answer = self.set_forecast_override(&workload, request);
                self.settle();
                self.publish();
                let _ = reply.send(answer);
            }
            Command::ClearForecastOverride { workload, id, reply } => {
                let answer = self.clear_forecast_override(&workload, id);
                self.settle();
                self.publish();
                let _ = reply.send(answer);
            }
            Command::PauseTraining { request, reply } => {
                let answer = self.pause_training(request);
                self.settle();
                self.publish();
                let _ = reply.send(answer);
            }
            Command::ResumeTraining { request, reply } => {
                let answer = self.resume_training(&request);
                self.settle();
                self.publish();
                let _ = reply.send(answer);
            }
            Command::RestartProxy(restart) => self.restart_proxy(restart),
            Command::ChampionChanged { workload, model } => self.champion_changed(&workload, &model),
            Command::Push { workload, samples, reply } => {
                let answer = self.push(&workload, &samples);
                self.settle();
                let _ = reply.send(answer);
            }
            Command::Know { known, reply } => {
                for (workload, knowledge) in known {
                    if let Some(index) = self.index_of(&workload) {
                        self.learn_of(index, knowledge);
                    }
                }
                self.settle();
                self.publish();
                let _ = reply.send(Ok(()));
            }
            Command::OpenSession { workload, request, reply } => {
                let answer = self.open_session(&workload, &request);
                self.settle();
                let _ = reply.send(answer);
            }
            Command::RenewSession { workload, session, reply } => {
                let _ = reply.send(self.renew_session(&workload, &session));
            }
            Command::CloseSession { workload, session, reply } => {
                let answer = self.close_session(&workload, &session);
                self.settle();
                let _ = reply.send(answer);
            }
            Command::LookAtSession { workload, session, reply } => {
                let _ = reply.send(self.look_at_session(&workload, &session));
            }
            Command::ListSessions { workload, limit, reply } => {
                let _ = reply.send(self.list_sessions(&workload, limit));
            }
            Command::CalendarChanged(change) => self.calendar_changed(&change),
        }
    }

    pub(super) fn find(&self, workload: &str) -> Result<usize, CommandError> {
        self.index_of(workload).ok_or_else(|| CommandError::UnknownWorkload(workload.to_owned()))
    }

    fn set_override(
        &mut self,
        workload: &str,
        request: api::OverrideRequest,
    ) -> Result<api::Override, CommandError> {
        let now = clock();
        let expires = request.expires_in_s.map(|seconds| {
            now + Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(EXPIRY_MAX).min(EXPIRY_MAX)
        });
        let set = api::Override {
            workload: workload.to_owned(),
            active: request.active,
            standby: request.standby,
            author: request.author,
            reason: request.reason,
            set_at_ms: now.as_millis(),
            expires_at_ms: expires.map(|at| at.as_millis()),
        };
        let index = self.find(workload)?;
        self.put_override(index, &set);
        if let Ok(body) = serde_json::to_vec(&set) {
            self.recorder.record_at_once(override_key(workload), body);
        }
        Ok(set)
    }

    /// Puts an override into force that was just set, or that an earlier daemon had.
    pub(crate) fn put_override(&mut self, index: usize, set: &api::Override) {
        let decision = DecisionOverride {
            active: set.active,
            standby: set.standby,
            author: set.author.clone(),
            reason: set.reason.clone(),
            expires: set.expires_at_ms.map(Timestamp::from_millis),
        };
        self.workloads[index].override_set_at = Some(Timestamp::from_millis(set.set_at_ms));
        let workload = self.workloads[index].id.clone();
        self.handle(index, Event::OverrideSet { workload, decision });
    }

    fn clear_override(&mut self, workload: &str) -> Result<(), CommandError> {
        let index = self.find(workload)?;
        let id = self.workloads[index].id.clone();
        let pinned = self.planner.snapshot().workload(&id).is_some_and(|view| view.pinned.is_some());
        self.workloads[index].override_set_at = None;
        self.recorder.record_at_once(override_key(workload), Vec::new());
        if pinned {
            self.handle(index, Event::OverrideCleared { workload: id });
        }
        Ok(())
    }
}

/// Key of the override in force of a workload; an empty value is none.
pub(crate) fn override_key(workload: &str) -> String {
    format!("override/{workload}")
}

/// Longest life of an override that expires.
const EXPIRY_MAX: Duration = Duration::from_secs(366 * 86_400);
