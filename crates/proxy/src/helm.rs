//! The control thread's loop: clients of the control socket, signals, chores, the drain, and a handover on either side.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use balance::{Drain, DrainState};
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::ProxyOptions;
use crate::control::{FrameError, Request, Response};
use crate::director::Director;
use crate::handover::{Answer, Estate, Given, Giving, Heir, Question, Report};
use crate::run::{RunError, start};
use crate::server::{Call, ControlSocket, Visit, Visitors};

/// What the control thread has.
pub(crate) struct Helm<'a> {
    options: &'a ProxyOptions,
    director: Director,
    /// None: a successor has it.
    socket: Option<ControlSocket>,
    /// None while a successor may take the calls.
    visitors: Option<Visitors>,
    giving: Option<Giving>,
    heir: Option<Heir>,
    /// The predecessor's table is not understood: until when another must have come.
    untaught: Option<Instant>,
    epoch: Instant,
    drain: Option<Drain>,
}

/// What happens next.
enum Turn {
    Visit(Visit),
    Given(Option<Given>),
    Asked(Question),
    Terminate,
    Certificates,
    Judgement,
    ShardDied,
    Look,
}

impl<'a> Helm<'a> {
    pub(crate) fn new(options: &'a ProxyOptions, director: Director, socket: ControlSocket) -> Self {
        Self {
            options,
            director,
            socket: Some(socket),
            visitors: None,
            giving: None,
            heir: None,
            untaught: None,
            epoch: Instant::now(),
            drain: None,
        }
    }

    /// Runs until the proxy has ended.
    ///
    /// # Errors
    /// When it cannot start, or a shard has died.
    pub(crate) async fn run(
        &mut self,
        estate: Option<Estate>,
        mut deaths: mpsc::Receiver<()>,
    ) -> Result<(), RunError> {
        let mut signals = Signals::new(self.options.detached)?;
        if let Some(estate) = estate {
            self.succeed(&estate).await?;
        } else {
            self.open()?;
        }
        let mut certificates = interval(self.options.certificates_every.max(CERTIFICATES_EVERY_MIN));
        certificates.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tracing::info!(socket = %self.options.control_socket.display(), "proxy started");
        while !self.is_over().await? {
            match self.turn(&mut signals, &mut certificates, &mut deaths).await {
                Turn::Visit(Visit::Call(call)) => self.answer(call).await?,
                Turn::Visit(Visit::Successor(stream)) if self.may_give() => self.give(stream).await,
                // Closed, so the successor knows.
                Turn::Visit(Visit::Successor(_)) | Turn::Look => {}
                Turn::Given(given) => self.given(given).await?,
                Turn::Asked(question) => self.tell(question).await,
                Turn::Terminate => {
                    let limit =
                        if self.drain.is_some() { Duration::ZERO } else { self.options.drain_deadline };
                    self.end_within(limit).await;
                }
                Turn::Certificates => self.director.refresh_certificates(),
                Turn::Judgement => self.director.judge(),
                Turn::ShardDied => return Err(RunError::ShardDied),
            }
        }
        if let Some(heir) = &mut self.heir {
            heir.answer(&Answer::Report(self.director.report().await)).await;
        }
        Ok(())
    }

    async fn turn(
        &mut self,
        signals: &mut Signals,
        certificates: &mut Interval,
        deaths: &mut mpsc::Receiver<()>,
    ) -> Turn {
        tokio::select! {
            visit = next_visit(&mut self.visitors) => Turn::Visit(visit),
            given = outcome(&mut self.giving) => Turn::Given(given),
            question = next_question(&mut self.heir) => Turn::Asked(question),
            () = signals.terminate() => Turn::Terminate,
            _ = certificates.tick() => Turn::Certificates,
            _ = deaths.recv() => Turn::ShardDied,
            () = sleep(DRAIN_POLL), if self.drain.is_some() => Turn::Look,
            () = until(self.untaught) => Turn::Look,
            () = until(self.director.next_judgement()) => Turn::Judgement,
        }
    }

    /// Whether the drain is over.
    async fn is_over(&mut self) -> Result<bool, RunError> {
        if self.untaught.is_some_and(|until| until <= Instant::now()) {
            return Err(take_over("nobody has told a route table that this version understands".to_owned()));
        }
        let Some(drain) = self.drain else { return Ok(false) };
        self.director.refresh_predecessor().await;
        match drain.state(self.epoch.elapsed(), self.director.connections()) {
            DrainState::Busy { .. } => Ok(false),
            DrainState::Done => Ok(true),
            DrainState::Overdue { in_flight } => {
                tracing::warn!(connections = in_flight, "cut at the end of the drain");
                Ok(true)
            }
        }
    }

    /// Takes calls.
    fn open(&mut self) -> Result<(), RunError> {
        let visitors = self.socket.as_ref().map(ControlSocket::open).transpose();
        self.visitors = visitors.map_err(start("registering the control socket"))?;
        Ok(())
    }

    /// The control socket's path is to be cleared away by this proxy, or by another.
    fn set_ours(&mut self, is_ours: bool) {
        if let Some(socket) = &mut self.socket {
            socket.set_ours(is_ours);
        }
    }

    /// Does what a client asks.
    async fn answer(&mut self, call: Call) -> Result<(), RunError> {
        let director = &mut self.director;
        let mut shutdown = None;
        let response = match call.request {
            Request::SetTable(table) => match director.apply(table).await {
                Ok(generation) => Response::Applied { generation },
                Err(refusal) => Response::Refused(refusal),
            },
            Request::Table => Response::Table(director.table().clone()),
            Request::Stats => Response::Stats(Box::new(director.stats().await)),
            Request::Samples { workload, after } => director.samples(&workload, after),
            Request::Teach { workload, samples } => {
                Response::Taught { samples: director.teach(&workload, &samples) }
            }
            Request::Shutdown { deadline } => {
                shutdown = Some(deadline);
                Response::ShuttingDown
            }
        };
        if self.untaught.is_some() && matches!(response, Response::Applied { .. }) {
            self.settle().await?;
        }
        // The client may be gone; what it asked for is done all the same.
        let _ = call.reply.send(response);
        if let Some(deadline) = shutdown {
            let _ = timeout(ANSWER_LIMIT, call.written).await;
            self.end_within(deadline).await;
        }
        Ok(())
    }

    async fn end_within(&mut self, deadline: Duration) {
        if let Some(giving) = self.giving.take() {
            giving.withdraw().await;
        }
        self.director.drain().await;
        self.director.end_predecessor(deadline).await;
        self.drain = Some(Drain::begin(self.epoch.elapsed(), deadline));
    }

    /// Goes on where a predecessor is, which goes on itself if this fails.
    async fn succeed(&mut self, estate: &Estate) -> Result<(), RunError> {
        match estate.table() {
            Ok(table) => {
                let applied = self.director.apply(table).await;
                applied.map_err(|refusal| take_over(refusal.to_string()))?;
                self.settle().await?;
                self.open()
            }
            Err(error) => {
                tracing::warn!(%error, "the predecessor's route table is not understood; waiting for another");
                self.director.set_outline(estate);
                self.untaught = Some(Instant::now() + TEACHING_LIMIT);
                self.open()
            }
        }
    }

    /// Serves, and has all as its own when this returns. Where it has not, what it has accepted meanwhile is served first.
    async fn settle(&mut self) -> Result<(), RunError> {
        self.untaught = None;
        match self.director.settle(self.options.predecessor_drain).await {
            Ok(()) => {
                self.set_ours(true);
                tracing::info!("taken over from a predecessor");
                Ok(())
            }
            Err(reason) => {
                self.visitors = None;
                self.director.give_up().await;
                self.drain = Some(Drain::begin(self.epoch.elapsed(), self.options.drain_deadline));
                while !self.is_over().await? {
                    sleep(DRAIN_POLL).await;
                }
                Err(take_over(reason))
            }
        }
    }

    /// Whether a successor gets anything.
    fn may_give(&self) -> bool {
        self.drain.is_none() && self.untaught.is_none()
    }

    /// Begins to hand over. No table is put in force and no call taken until the outcome is known.
    async fn give(&mut self, stream: UnixStream) {
        match self.all().await {
            Ok((estate, report, files)) => {
                self.visitors = None;
                self.giving = Some(Giving::begin(stream, estate, report, files));
            }
            Err(error) => tracing::warn!(%error, "nothing can be handed over"),
        }
    }

    /// What a successor gets, the control socket's descriptors first.
    async fn all(&mut self) -> Result<(Estate, Report, Vec<OwnedFd>), FrameError> {
        let mut files = self.socket.as_ref().map(ControlSocket::lend).transpose()?.unwrap_or_default();
        let (estate, report, sockets) = self.director.estate().await?;
        files.extend(sockets);
        Ok((estate, report, files))
    }

    /// The successor serves, or never will.
    async fn given(&mut self, given: Option<Given>) -> Result<(), RunError> {
        self.giving = None;
        let Some(given) = given else { return self.open() };
        let drain = given.drain;
        // Should it end now in any way, the path is the successor's.
        self.set_ours(false);
        match given.settle().await {
            Ok(heir) => {
                self.director.give_up().await;
                self.socket = None;
                self.heir = Some(heir);
                self.drain = Some(Drain::begin(self.epoch.elapsed(), drain));
                tracing::info!(
                    ?drain,
                    connections = self.director.connections(),
                    "a successor has taken over"
                );
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a successor died at the last moment; this proxy goes on");
                self.set_ours(true);
                self.open()
            }
        }
    }

    /// Answers the successor.
    async fn tell(&mut self, question: Question) {
        let answer = match question {
            Question::Follow { routes } => {
                self.director.follow(&routes).await;
                Answer::Followed
            }
            Question::Report => Answer::Report(self.director.report().await),
            Question::End { deadline } => {
                self.end_within(deadline).await;
                Answer::Ending
            }
            Question::Sockets | Question::Serving { .. } => {
                Answer::Withdrawn { reason: "all is handed over".to_owned() }
            }
        };
        if let Some(heir) = &mut self.heir {
            heir.answer(&answer).await;
        }
    }
}

fn take_over(reason: String) -> RunError {
    RunError::TakeOver { reason }
}

async fn next_visit(visitors: &mut Option<Visitors>) -> Visit {
    let visit = match visitors {
        Some(visitors) => visitors.inbox.recv().await,
        None => None,
    };
    match visit {
        Some(visit) => visit,
        None => std::future::pending().await,
    }
}

async fn outcome(giving: &mut Option<Giving>) -> Option<Given> {
    match giving {
        Some(giving) => giving.outcome().await,
        None => std::future::pending().await,
    }
}

async fn next_question(heir: &mut Option<Heir>) -> Question {
    match heir {
        Some(heir) => heir.question().await,
        None => std::future::pending().await,
    }
}

/// Waits for a moment, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// The signals that end the proxy; others that a terminal sends are ignored.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    is_detached: bool,
}

impl Signals {
    fn new(is_detached: bool) -> Result<Self, RunError> {
        let on = |kind| signal(kind).map_err(start("handling signals"));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hang_up: on(SignalKind::hangup())?,
            is_detached,
        })
    }

    /// Returns when the proxy should end.
    async fn terminate(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => if !self.is_detached { return },
                _ = self.hang_up.recv() => {}
            }
        }
    }
}

/// How long the end waits for the client that asked for it to be answered.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How often a drain looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(10);
const CERTIFICATES_EVERY_MIN: Duration = Duration::from_millis(10);
/// How long a successor waits for a table that it understands. The predecessor's patience is longer.
const TEACHING_LIMIT: Duration = Duration::from_secs(20);
