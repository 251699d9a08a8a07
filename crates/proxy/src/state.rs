//! What all threads share about a workload and about a backend. It survives table changes: a backend's state belongs to
//! its id and address together, a workload's to its name.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use crate::admission::{Learner, Ledger};
use crate::cache::CacheCounters;
use crate::control::{BackendSpec, BackendStats, WorkloadStats};
use crate::counters::{BackendCounters, WorkloadCounters, merged, total};
use crate::hold::{Grant, WaitingRoom};
use crate::observe::LogWriter;
use crate::shedding::Shed;

/// Process-wide facts.
#[derive(Debug)]
pub(crate) struct Process {
    /// The moment that [`Process::elapsed`] counts from.
    epoch: Instant,
    /// Open client connections, all shards.
    pub(crate) connections: AtomicU32,
    learner: OnceLock<Learner>,
    log: OnceLock<LogWriter>,
}

impl Process {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            connections: AtomicU32::new(0),
            learner: OnceLock::new(),
            log: OnceLock::new(),
        }
    }

    /// Starts the thread that learns what requests cost, if it does not run yet.
    ///
    /// # Errors
    /// When there can be none.
    pub(crate) fn start_learner(&self) -> std::io::Result<()> {
        if self.learner.get().is_none() {
            let _ = self.learner.set(Learner::start()?);
        }
        Ok(())
    }

    /// Starts the thread that writes access logs, if it does not run yet.
    ///
    /// # Errors
    /// When there can be none.
    pub(crate) fn start_log(&self) -> std::io::Result<()> {
        if self.log.get().is_none() {
            let _ = self.log.set(LogWriter::start()?);
        }
        Ok(())
    }

    /// Where requests are written down, once a route has an access log.
    pub(crate) fn log(&self) -> Option<&LogWriter> {
        self.log.get()
    }

    /// Where costs are learned, once a route is admitted by them.
    pub(crate) fn learner(&self) -> Option<&Learner> {
        self.learner.get()
    }

    /// Time since the process started.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    /// The inverse of [`Process::elapsed`].
    pub(crate) fn instant(&self, elapsed: Duration) -> Instant {
        self.epoch + elapsed
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A workload.
#[derive(Debug)]
pub(crate) struct RouteState {
    pub(crate) workload: String,
    /// One per shard.
    pub(crate) counters: Box<[WorkloadCounters]>,
    pub(crate) waiting: WaitingRoom,
    pub(crate) shed: Shed,
}

impl RouteState {
    pub(crate) fn new(workload: &str, shards: usize) -> Self {
        Self {
            workload: workload.to_owned(),
            counters: (0..shards).map(|_| WorkloadCounters::default()).collect(),
            waiting: WaitingRoom::default(),
            shed: Shed::default(),
        }
    }

    /// Requests between their arrival and the end of their response.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended = total(&self.counters, |shard| &shard.completed)
            .wrapping_add(total(&self.counters, |shard| &shard.failed))
            .wrapping_add(total(&self.counters, |shard| &shard.cancelled));
        total(&self.counters, |shard| &shard.arrivals).saturating_sub(ended)
    }

    /// A reading of the counters, with the backends' left to the caller.
    pub(crate) fn stats(&self) -> WorkloadStats {
        let shards = &self.counters;
        let completed = total(shards, |shard| &shard.completed);
        let failed = total(shards, |shard| &shard.failed);
        let cancelled = total(shards, |shard| &shard.cancelled);
        // Read last, so that a request which ends meanwhile is counted as in flight rather than as minus one.
        let arrivals = total(shards, |shard| &shard.arrivals);
        let ended = completed.wrapping_add(failed).wrapping_add(cancelled);
        WorkloadStats {
            workload: self.workload.clone(),
            arrivals,
            completed,
            failed,
            rejected: total(shards, |shard| &shard.rejected),
            cancelled,
            held: total(shards, |shard| &shard.held),
            bytes_in: total(shards, |shard| &shard.bytes_in),
            bytes_out: total(shards, |shard| &shard.bytes_out),
            waiting: u32::try_from(self.waiting.occupied()).unwrap_or(u32::MAX),
            in_flight: u32::try_from(arrivals.saturating_sub(ended)).unwrap_or(u32::MAX),
            latency: merged(shards, |shard| &shard.latency),
            hold: merged(shards, |shard| &shard.hold),
            cache: CacheCounters::stats(shards),
            shedding: None,
            costs: Vec::new(),
            endpoints: Vec::new(),
            log_written: 0,
            log_dropped: 0,
            backends: Vec::new(),
        }
    }
}

/// A backend.
#[derive(Debug)]
pub(crate) struct BackendState {
    pub(crate) id: u64,
    pub(crate) addr: SocketAddr,
    /// The weight in force; 0 while it is not routed.
    weight: AtomicU32,
    routed: AtomicBool,
    /// Verdict of the active checks. A backend starts healthy: the control plane lists none that it has not verified.
    healthy: AtomicBool,
    /// Milliseconds since the process started; 0: not ejected.
    ejected_until_ms: AtomicU64,
    /// The ejection is because nobody listened: a good probe is then proof enough to end it.
    is_refused: AtomicBool,
    /// Ejections since the last answer: each lasts twice as long as the one before.
    ejections: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// When its slow start began, in milliseconds since the process started; 0: long ago.
    since_ms: AtomicU64,
    /// Requests admitted while the route limits them per backend.
    slots: AtomicU32,
    /// What requests have reserved of it.
    pub(crate) ledger: Ledger,
    /// Requests on it that have taken more than was reserved for them.
    pub(crate) outgrown: AtomicU32,
    /// One per shard.
    pub(crate) counters: Box<[BackendCounters]>,
    /// Rung when it is ejected, so that the active check looks at once.
    pub(crate) suspicion: Notify,
}

impl BackendState {
    pub(crate) fn new(spec: BackendSpec, shards: usize) -> Self {
        Self {
            id: spec.id,
            addr: spec.addr,
            weight: AtomicU32::new(spec.weight),
            routed: AtomicBool::new(true),
            healthy: AtomicBool::new(true),
            ejected_until_ms: AtomicU64::new(0),
            is_refused: AtomicBool::new(false),
            ejections: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            since_ms: AtomicU64::new(0),
            slots: AtomicU32::new(0),
            ledger: Ledger::default(),
            outgrown: AtomicU32::new(0),
            counters: (0..shards).map(|_| BackendCounters::default()).collect(),
            suspicion: Notify::new(),
        }
    }

    /// Takes over the weight of a new table; a backend that comes back is trusted anew.
    pub(crate) fn route(&self, weight: u32) {
        if !self.routed.swap(true, Ordering::Relaxed) {
            self.healthy.store(true, Ordering::Relaxed);
            self.readmit();
        }
        self.weight.store(weight, Ordering::SeqCst);
    }

    /// Its slow start begins.
    pub(crate) fn start_slowly(&self, elapsed: Duration) {
        let at = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(at.max(1), Ordering::Relaxed);
    }

    /// When its slow start began, or will begin with the end of its ejection; None if it never had one.
    pub(crate) fn since(&self) -> Option<Duration> {
        let since = self.since_ms.load(Ordering::Relaxed);
        let since = since.max(self.ejected_until_ms.load(Ordering::Relaxed));
        (since > 0).then(|| Duration::from_millis(since))
    }

    /// It is not in the table any more.
    pub(crate) fn unroute(&self) {
        self.weight.store(0, Ordering::SeqCst);
        self.routed.store(false, Ordering::Relaxed);
    }

    pub(crate) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Whether a request may be sent now, apart from the limit of requests in flight.
    pub(crate) fn is_usable(&self, elapsed: Duration) -> bool {
        self.weight.load(Ordering::Relaxed) > 0
            && self.healthy.load(Ordering::Relaxed)
            && !self.is_ejected(elapsed)
    }

    fn is_ejected(&self, elapsed: Duration) -> bool {
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        until != 0 && elapsed.as_millis() < u128::from(until)
    }

    /// The end of its ejection, if that is in the future.
    pub(crate) fn ejected_until(&self, elapsed: Duration) -> Option<Duration> {
        self.is_ejected(elapsed).then(|| Duration::from_millis(self.ejected_until_ms.load(Ordering::Relaxed)))
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// The verdict of the active checks; true when it changed.
    pub(crate) fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::Relaxed) != healthy
    }

    /// Ends an ejection for a refused connection; true when there was one.
    pub(crate) fn readmit_refused(&self) -> bool {
        let is_refused = self.is_refused.load(Ordering::Relaxed);
        if is_refused {
            self.readmit();
        }
        is_refused
    }

    fn readmit(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.ejections.store(0, Ordering::Relaxed);
        self.is_refused.store(false, Ordering::Relaxed);
        self.ejected_until_ms.store(0, Ordering::Relaxed);
    }

    /// It answered a request. Usually nothing has to be written.
    pub(crate) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.ejections.load(Ordering::Relaxed) != 0 {
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// It failed a request in a way that may pass: the [`FAILURES_MAX`]th in a row ejects it, unless it is
    /// `alone`: slow or flaky is better than nothing.
    pub(crate) fn failed(&self, elapsed: Duration, alone: bool) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= FAILURES_MAX && !alone {
            self.eject(elapsed);
        }
    }

    /// Nobody listens there: left out at once.
    pub(crate) fn refused(&self, elapsed: Duration) {
        if !self.is_ejected(elapsed) {
            self.is_refused.store(true, Ordering::Relaxed);
            self.eject(elapsed);
        }
    }

    /// Leaves it out, for longer each time.
    pub(crate) fn eject(&self, elapsed: Duration) {
        let before = self.ejections.fetch_add(1, Ordering::Relaxed);
        self.leave_out(elapsed, EJECTION.saturating_mul(1 << before.min(8)).min(EJECTION_MAX));
    }

    /// Gets no requests for a time.
    pub(crate) fn leave_out(&self, elapsed: Duration, lasts: Duration) {
        let until = u64::try_from((elapsed + lasts).as_millis()).unwrap_or(u64::MAX);
        self.ejected_until_ms.store(until, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        tracing::info!(backend = self.id, addr = %self.addr, ?lasts, "backend ejected");
        self.suspicion.notify_one();
    }

    /// Requests it works on, all shards.
    pub(crate) fn in_flight(&self) -> u32 {
        let sum = total(&self.counters, |shard| &shard.in_flight);
        // Shards are read one after another; a sum below zero is a request that moved on meanwhile.
        u32::try_from(sum as i64).unwrap_or(0)
    }

    /// Predicted work of these, all shards, in the units of [`Choice`](crate::choice::Choice).
    pub(crate) fn work(&self) -> u64 {
        let sum = total(&self.counters, |shard| &shard.work);
        u64::try_from(sum as i64).unwrap_or(0)
    }

    /// Whether fewer than `limit` slots are taken.
    pub(crate) fn has_slot(&self, limit: u32) -> bool {
        self.slots.load(Ordering::SeqCst) < limit
    }

    /// How many slots are taken.
    pub(crate) fn slots_taken(&self) -> u32 {
        self.slots.load(Ordering::Relaxed)
    }

    fn take_slot(&self, limit: u32) -> bool {
        let taken = |slots| (slots < limit).then_some(slots + 1);
        self.slots.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken).is_ok()
    }

    pub(crate) fn stats(&self, elapsed: Duration) -> BackendStats {
        let shards = &self.counters;
        BackendStats {
            id: self.id,
            addr: self.addr,
            weight: self.weight(),
            routed: self.routed.load(Ordering::Relaxed),
            requests: total(shards, |shard| &shard.requests),
            errors: total(shards, |shard| &shard.errors),
            retries: total(shards, |shard| &shard.retries),
            in_flight: self.in_flight(),
            outgrown: self.outgrown.load(Ordering::Relaxed),
            healthy: self.is_healthy(),
            ejected: self.is_ejected(elapsed),
            latency: merged(shards, |shard| &shard.latency),
        }
    }
}

/// The right to one request on a backend whose route limits them; given back, or handed to the request that has waited
/// longest, when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) backend: Arc<BackendState>,
    route: Arc<RouteState>,
    process: Arc<Process>,
    limit: u32,
    /// It came back from a receiver that has left; the sender goes on with the next in line.
    is_unwanted: bool,
}

impl Slot {
    /// Takes one of `limit` slots.
    pub(crate) fn take(
        backend: &Arc<BackendState>,
        route: &Arc<RouteState>,
        process: &Arc<Process>,
        limit: u32,
    ) -> Option<Self> {
        backend.take_slot(limit).then(|| Self {
            backend: Arc::clone(backend),
            route: Arc::clone(route),
            process: Arc::clone(process),
            limit,
            is_unwanted: false,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.backend.slots.fetch_sub(1, Ordering::SeqCst);
        if self.is_unwanted || !self.backend.is_usable(self.process.elapsed(Instant::now())) {
            return;
        }
        // Where requests are placed by cost, a free place is not all that one needs.
        if self.route.waiting.is_by_cost() {
            return self.route.waiting.nudge();
        }
        while let Some(waiter) = self.route.waiting.pop_first() {
            let limit = self.route.shed.limit().unwrap_or(self.limit);
            let grant = match Self::take(&self.backend, &self.route, &self.process, limit) {
                Some(slot) => Grant::Slot(slot),
                // Somebody else was quicker; the one in line goes back to its place.
                None => Grant::Look,
            };
            match waiter.send(grant) {
                Ok(()) => return,
                Err(Grant::Slot(mut slot)) => slot.is_unwanted = true,
                Err(Grant::Look | Grant::Leave) => {}
            }
        }
    }
}

/// Failures in a row (connect timeouts, broken connections, missing response heads) that eject a backend.
const FAILURES_MAX: u32 = 5;
/// The first ejection; each following one without an answer between them is twice as long.
const EJECTION: Duration = Duration::from_secs(1);
const EJECTION_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> BackendState {
        BackendState::new(
            BackendSpec { id: 1, addr: "127.0.0.1:9".parse().expect("literal"), weight: 1000 },
            1,
        )
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_refused_connection_ejects_at_once_and_longer_each_time() {
        let backend = backend();
        backend.refused(at(0));
        assert!(!backend.is_usable(at(999)) && backend.is_usable(at(1000)));
        backend.refused(at(1000));
        assert!(!backend.is_usable(at(2999)) && backend.is_usable(at(3000)));
        backend.answered();
        backend.refused(at(3000));
        assert!(backend.is_usable(at(4000)));
    }

    #[test]
    fn failures_in_a_row_eject_and_an_answer_between_them_forgives() {
        let backend = backend();
        (0..4).for_each(|_| backend.failed(at(0), false));
        backend.answered();
        (0..4).for_each(|_| backend.failed(at(0), false));
        assert!(backend.is_usable(at(0)));
        backend.failed(at(0), false);
        assert!(!backend.is_usable(at(0)));
    }

    #[test]
    fn the_last_backend_is_not_ejected_for_being_flaky() {
        let backend = backend();
        (0..50).for_each(|_| backend.failed(at(0), true));
        assert!(backend.is_usable(at(0)));
    }

    #[test]
    fn a_backend_that_returns_to_the_table_is_trusted_anew() {
        let backend = backend();
        backend.set_healthy(false);
        backend.refused(at(0));
        backend.unroute();
        backend.route(500);
        assert!(backend.is_usable(at(0)));
    }
}
