//! The task of one template: starts it, hears what it says, hands it orders one after the other, and clears it away.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::exit::ExitWatch;
use super::super::{blocking, output};
use super::message::Message;
use super::socket::Socket;
use crate::cgroup::Group;
use crate::face::ExitReason;

/// An order for a clone.
#[derive(Debug)]
pub(super) struct Fork {
    pub(super) message: String,
    pub(super) descriptors: Vec<OwnedFd>,
    /// Dropped without an answer when the template fails.
    pub(super) answer: oneshot::Sender<Result<Forked, String>>,
}

/// A clone, born in its own group or in that of its template, and waiting for the word to go on.
#[derive(Debug)]
pub(super) struct Forked {
    /// As the template says; not verified.
    pub(super) pid: u32,
    /// The group of the template.
    pub(super) group: Group,
    /// How it ended, if its template ever says.
    pub(super) exit: oneshot::Receiver<ExitReason>,
}

/// How far a template is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It initialises.
    Starting,
    /// It forks on order; into the group of the clone, if it says so.
    Ready { into_group: bool },
    /// It is gone and cleared away, since this moment.
    Ended(Instant),
}

/// A template that runs.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) group: Group,
    pub(super) pidfd: OwnedFd,
    pub(super) socket: OwnedFd,
    pub(super) log: PathBuf,
}

/// Lives as long as somebody can send orders and the template keeps to the protocol. The error says why it did not.
pub(super) async fn run(
    process: Process,
    init_max: Duration,
    orders: &mut mpsc::Receiver<Fork>,
    state: &watch::Sender<State>,
) -> Result<(), String> {
    let Process { group, pidfd, socket, log } = process;
    let watching = ExitWatch::new(pidfd).and_then(|exit| Ok((exit, Socket::new(socket)?)));
    let (exit, socket) = match watching {
        Ok(watching) => watching,
        Err(error) => {
            clear(group).await;
            return Err(format!("it cannot be watched: {error}"));
        }
    };
    let mut template = Template { socket, group: group.clone(), clones: BTreeMap::new() };
    let outcome = tokio::select! {
        biased;
        outcome = template.serve(init_max, orders, state) => outcome,
        ended = exit.ended() => Err(ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned())),
    };
    // It ends by itself when its socket closes, and may clean up; a failed one is not asked.
    drop(template);
    if outcome.is_ok() {
        let _ = timeout(END_TIME_MAX, exit.ended()).await;
    }
    clear(group).await;
    let reason = exit.reap();
    outcome.map_err(|problem| match output::quote(&log) {
        last_words if last_words.is_empty() => format!("{problem} ({reason}); it wrote nothing"),
        last_words => format!("{problem} ({reason}); it wrote:\n{last_words}"),
    })
}

async fn clear(group: Group) {
    if let Err(error) = blocking(move || group.destroy()).await {
        tracing::warn!(%error, "not everything of a template could be cleared away");
    }
}

struct Template {
    socket: Socket,
    group: Group,
    /// Who waits for the ends of which clones.
    clones: BTreeMap<u32, oneshot::Sender<ExitReason>>,
}

impl Template {
    /// `Ok` when nobody can order any more.
    async fn serve(
        &mut self,
        init_max: Duration,
        orders: &mut mpsc::Receiver<Fork>,
        state: &watch::Sender<State>,
    ) -> Result<(), String> {
        let init_end = Instant::now() + init_max;
        let mut is_ready = false;
        loop {
            tokio::select! {
                biased;
                message = self.hear() => match message? {
                    Message::Ready { into_group } if !is_ready => {
                        is_ready = true;
                        state.send_replace(State::Ready { into_group });
                    }
                    Message::Error(error) if !is_ready => return Err(format!("it cannot initialise: {error}")),
                    other => return Err(format!("it said {other:?} unasked")),
                },
                order = orders.recv() => match order {
                    Some(order) => self.fork(order).await?,
                    None => return Ok(()),
                },
                () = sleep_until(init_end), if !is_ready => {
                    return Err(format!("it was not ready within {init_max:?}"));
                }
            }
        }
    }

    /// One clone. The error is one of the template, after which it is not to be trusted.
    async fn fork(&mut self, order: Fork) -> Result<(), String> {
        let Fork { message, descriptors, answer } = order;
        match timeout(FORK_TIME_MAX, self.socket.send(&message, &descriptors)).await {
            Ok(Ok(())) => {}
            // Longer than a packet can be: the order's fault.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                let _ = answer.send(Err("its environment is too long for a message".to_owned()));
                return Ok(());
            }
            Ok(Err(error)) => return Err(hung_up(&error)),
            Err(_) => return Err(format!("it took no order within {FORK_TIME_MAX:?}")),
        }
        // From now on only the template and the clone have them.
        drop(descriptors);
        let heard = timeout(FORK_TIME_MAX, self.hear()).await;
        match heard.map_err(|_| format!("it did not fork within {FORK_TIME_MAX:?}"))?? {
            Message::Forked(pid) => {
                let (ended, exit) = oneshot::channel();
                self.clones.retain(|_, waiting| !waiting.is_closed());
                self.clones.insert(pid, ended);
                let _ = answer.send(Ok(Forked { pid, group: self.group.clone(), exit }));
                Ok(())
            }
            Message::Error(error) => {
                let _ = answer.send(Err(error));
                Ok(())
            }
            other => Err(format!("it answered {other:?} to an order")),
        }
    }

    /// The next message that is not about the end of a clone. Nothing is lost when the future is dropped.
    async fn hear(&mut self) -> Result<Message, String> {
        loop {
            let packet = self.socket.receive().await.map_err(|error| hung_up(&error))?;
            let packet = packet.ok_or("it closed its socket")?;
            match Message::parse(&packet) {
                Some(Message::Exited(pid, reason)) => {
                    if let Some(waiting) = self.clones.remove(&pid) {
                        let _ = waiting.send(reason);
                    }
                }
                Some(message) => return Ok(message),
                None => return Err(format!("it said {:?}", String::from_utf8_lossy(&packet))),
            }
        }
    }
}

fn hung_up(error: &io::Error) -> String {
    format!("its socket broke: {error}")
}

/// Longest wait for one fork. It takes a millisecond; a machine short of everything may take a hundred.
const FORK_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a template may take to end once its socket is closed.
const END_TIME_MAX: Duration = Duration::from_millis(500);
