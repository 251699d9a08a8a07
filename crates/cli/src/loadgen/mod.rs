//! An open-loop HTTP load generator.
//!
//! Arrival times are fixed beforehand and never wait for answers, as real users do not. It runs in a thread of its own with its own
//! runtime, so that a busy control plane in the same process cannot slow the clock that judges it. Connections are kept alive and
//! bounded; a request that finds none free waits for one, and the waiting counts as latency.

pub(crate) mod record;
pub(crate) mod schedule;

mod client;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use self::client::Pool;
use self::record::{Outcome, Record, Request};
use self::schedule::Schedule;

/// The most requests in flight; what is due beyond that counts as failed without being sent.
const IN_FLIGHT_MAX: usize = 20_000;

/// Where and how to send.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The proxy's listening address.
    pub(crate) address: SocketAddr,
    /// Path to ask for.
    pub(crate) path: String,
    /// A request without a complete answer by then has failed.
    pub(crate) timeout: Duration,
    /// Answers after this are late. Only the live counters need it.
    pub(crate) bound: Duration,
    /// The most open connections.
    pub(crate) connections_max: usize,
}

/// Counters to look at while a run is under way.
#[derive(Debug, Default)]
pub(crate) struct Live {
    sent: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
}

impl Live {
    /// Requests sent, failed and late so far.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.sent), read(&self.failed), read(&self.late))
    }
}

/// A run under way in its own thread.
#[derive(Debug)]
pub(crate) struct Run {
    thread: Option<JoinHandle<std::io::Result<Record>>>,
    live: Arc<Live>,
    cancelled: Arc<AtomicBool>,
    started: Instant,
}

impl Run {
    /// Starts sending; the first offset of the schedule is now.
    ///
    /// # Errors
    /// When the system refuses another thread.
    pub(crate) fn start(schedule: Arc<Schedule>, target: Target) -> std::io::Result<Run> {
        let live = Arc::new(Live::default());
        let cancelled = Arc::new(AtomicBool::new(false));
        let started = Instant::now();
        let thread = std::thread::Builder::new().name("load".into()).spawn({
            let (live, cancelled) = (Arc::clone(&live), Arc::clone(&cancelled));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let local = tokio::task::LocalSet::new();
                Ok(local.block_on(&runtime, drive(started, &schedule, target, &live, &cancelled)))
            }
        })?;
        Ok(Run { thread: Some(thread), live, cancelled, started })
    }

    /// The counters so far.
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// When offset zero was.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Whether everything was sent and answered or given up.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Sends nothing more. What is in flight still ends.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Waits for the last answer and returns what was seen. Blocks; call it off the async runtime or after [`Run::is_finished`].
    ///
    /// # Errors
    /// When the generator's runtime could not be built.
    pub(crate) fn finish(mut self) -> std::io::Result<Record> {
        let Some(thread) = self.thread.take() else { return Ok(Record::default()) };
        thread.join().map_err(|_| std::io::Error::other("the load generator panicked"))?
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.cancel();
    }
}

async fn drive(
    started: Instant,
    schedule: &Schedule,
    target: Target,
    live: &Arc<Live>,
    cancelled: &AtomicBool,
) -> Record {
    let pool = Rc::new(Pool::new(target.address, target.connections_max));
    let target = Rc::new(target);
    let mut requests = Vec::with_capacity(schedule.arrivals().len());
    let mut flying: JoinSet<Request> = JoinSet::new();
    for &due in schedule.arrivals() {
        let at = started + due;
        while Instant::now() < at {
            tokio::select! {
                biased;
                Some(ended) = flying.join_next() => requests.push(note(ended)),
                () = tokio::time::sleep_until(at.into()) => {}
            }
        }
        if cancelled.load(Ordering::Relaxed) {
            break;
        }
        live.sent.fetch_add(1, Ordering::Relaxed);
        while let Some(ended) = flying.try_join_next() {
            requests.push(note(ended));
        }
        if flying.len() >= IN_FLIGHT_MAX {
            live.failed.fetch_add(1, Ordering::Relaxed);
            requests.push(Request { due, latency: at.elapsed(), outcome: Outcome::Failed });
            continue;
        }
        flying.spawn_local(one(Rc::clone(&pool), Rc::clone(&target), at, due, Arc::clone(live)));
    }
    while let Some(ended) = flying.join_next().await {
        requests.push(note(ended));
    }
    Record::new(requests)
}

/// Sends one request and waits for its end, no longer than the timeout counted from when it was due.
async fn one(pool: Rc<Pool>, target: Rc<Target>, at: Instant, due: Duration, live: Arc<Live>) -> Request {
    let deadline = at + target.timeout;
    let answered = tokio::time::timeout_at(deadline.into(), pool.request(&target.path)).await;
    let latency = at.elapsed();
    let outcome = match answered {
        Ok(Ok(status)) if status.is_success() => Outcome::Answered,
        Ok(Ok(_)) | Ok(Err(_)) | Err(_) => Outcome::Failed,
    };
    match outcome {
        Outcome::Failed => live.failed.fetch_add(1, Ordering::Relaxed),
        Outcome::Answered => live.late.fetch_add(u64::from(latency > target.bound), Ordering::Relaxed),
    };
    Request { due, latency, outcome }
}

fn note(ended: Result<Request, tokio::task::JoinError>) -> Request {
    match ended {
        Ok(request) => request,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
