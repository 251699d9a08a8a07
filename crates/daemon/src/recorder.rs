//! Writes history: one thread, one durable write each second, bounded memory.
//!
//! The control loop must never wait for a disk, so it hands records over without blocking. While the disk is full or
//! failing, records wait here up to a bound, then the oldest are dropped and counted; serving goes on, and writing goes
//! on by itself once there is room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use forecast::Timestamp;
use history::{Batch, EventRecord, HistoryError, PlanRecord, RequestRecord, Retention, Sample, Store};
use tokio::sync::oneshot;

use crate::error::chain;
use crate::recent::METRICS;

/// Something to be remembered.
#[derive(Debug)]
pub(crate) enum Record {
    Samples(Vec<Sample>),
    Event(EventRecord),
    Plan(PlanRecord),
    Requests(Vec<RequestRecord>),
    /// A small value under a key.
    Value(String, Vec<u8>),
    /// The same at once; whoever waits is told whether it is on disk.
    Durable(String, Vec<u8>, oneshot::Sender<bool>),
    /// No value under this key any more.
    Removed(String),
}

/// Where records are left; dropping it writes what is left and ends the thread.
#[derive(Debug)]
pub(crate) struct Recorder {
    sender: Option<SyncSender<Record>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Health>,
}

/// How writing goes.
#[derive(Debug, Default)]
pub(crate) struct Health {
    written: AtomicU64,
    dropped: AtomicU64,
    failure: Mutex<Option<(api::HistoryState, String)>>,
}

impl Health {
    pub(crate) fn status(&self) -> api::HistoryStatus {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (state, detail) = match failure {
            None => (api::HistoryState::Ok, None),
            Some((state, detail)) => (state, Some(detail)),
        };
        api::HistoryStatus {
            state,
            detail,
            records_written: self.written.load(Ordering::Relaxed),
            records_dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Another way to leave records. The thread ends only when all are gone.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sender: SyncSender<Record>,
    health: Arc<Health>,
}

impl Inbox {
    /// As [`Recorder::record`].
    pub(crate) fn record(&self, record: Record) {
        if self.sender.try_send(record).is_err() {
            self.health.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Recorder {
    /// Starts the thread.
    pub(crate) fn start(store: Arc<Store>) -> std::io::Result<Recorder> {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let health = Arc::new(Health::default());
        let (pending, waiting) = (Batch::default(), Vec::new());
        let writer = Writer { store, health: health.clone(), pending, waiting, next_upkeep: Instant::now() };
        let thread =
            std::thread::Builder::new().name("history".into()).spawn(move || writer.run(&receiver))?;
        Ok(Recorder { sender: Some(sender), thread: Some(thread), health })
    }

    /// A way of its own for another task, which must end before this does.
    pub(crate) fn inbox(&self) -> Option<Inbox> {
        let sender = self.sender.clone()?;
        Some(Inbox { sender, health: self.health.clone() })
    }

    pub(crate) fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Hands a record over; it is dropped and counted when the queue is full.
    pub(crate) fn record(&self, record: Record) {
        if let Some(inbox) = self.inbox() {
            inbox.record(record);
        }
    }

    /// Hands over what must not be lost with the daemon: it is written without waiting for more.
    pub(crate) fn record_at_once(&self, key: String, value: Vec<u8>) {
        let (told, _) = oneshot::channel();
        self.record(Record::Durable(key, value, told));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    store: Arc<Store>,
    health: Arc<Health>,
    pending: Batch,
    /// Those who want to know when what is pending is on disk.
    waiting: Vec<oneshot::Sender<bool>>,
    next_upkeep: Instant,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Record>) {
        let mut next_write = Instant::now() + WRITE_EVERY;
        loop {
            match receiver.recv_timeout(next_write.saturating_duration_since(Instant::now())) {
                Ok(record) => {
                    self.take(record);
                    if !self.waiting.is_empty() {
                        // All that has come meanwhile shares one flush of the disk.
                        while self.waiting.len() < WAITING_MAX
                            && self.pending.samples.len() < SAMPLES_AT_ONCE
                            && let Ok(record) = receiver.try_recv()
                        {
                            self.take(record);
                        }
                        self.write();
                    } else if self.pending.samples.len() >= SAMPLES_AT_ONCE
                        && self.health.status().state == api::HistoryState::Ok
                    {
                        // More than comes in a second else: what waits must not reach the bound.
                        self.write();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.write();
                    self.upkeep();
                    next_write = Instant::now() + WRITE_EVERY;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.write();
                    return;
                }
            }
        }
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Samples(samples) => self.pending.samples.extend(samples),
            Record::Event(event) => self.pending.events.push(event),
            Record::Plan(plan) => self.pending.plans.push(plan),
            Record::Requests(requests) => self.pending.requests.extend(requests),
            Record::Value(key, value) => {
                self.pending.values.retain(|(other, _)| *other != key);
                self.pending.values.push((key, value));
            }
            Record::Durable(key, value, told) => {
                self.waiting.push(told);
                self.take(Record::Value(key, value));
            }
            Record::Removed(key) => {
                self.pending.values.retain(|(other, _)| *other != key);
                self.pending.removed.push(key);
            }
        }
        let mut dropped = trim(&mut self.pending.samples, SAMPLES_PENDING_MAX);
        dropped += trim(&mut self.pending.events, RECORDS_PENDING_MAX);
        dropped += trim(&mut self.pending.plans, RECORDS_PENDING_MAX);
        dropped += trim(&mut self.pending.requests, RECORDS_PENDING_MAX);
        self.health.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
    }

    fn write(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let count = self.pending.len() as u64;
        let written = self.store.write(&self.pending);
        for told in std::mem::take(&mut self.waiting) {
            let _ = told.send(written.is_ok());
        }
        let failure = match written {
            Ok(()) => {
                self.pending = Batch::default();
                self.health.written.fetch_add(count, Ordering::Relaxed);
                None
            }
            Err(error @ HistoryError::NoSpace { .. }) => Some((api::HistoryState::Full, chain(&error))),
            Err(
                error @ (HistoryError::NotFinite { .. }
                | HistoryError::Name { .. }
                | HistoryError::Limit { .. }),
            ) => {
                // A record that can never be written must not hold up all others.
                tracing::error!(error = chain(&error), "history refuses a batch; it is dropped");
                self.pending = Batch::default();
                self.health.dropped.fetch_add(count, Ordering::Relaxed);
                None
            }
            Err(error) => Some((api::HistoryState::Failing, chain(&error))),
        };
        let mut state = self.health.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*state, &failure) {
            (None, Some((_, detail))) => {
                tracing::error!(detail, "history cannot be written; serving goes on")
            }
            (Some(_), None) => tracing::info!("history is written again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *state = failure;
    }

    /// Packs and forgets old records, a bounded amount each time.
    fn upkeep(&mut self) {
        if Instant::now() < self.next_upkeep {
            return;
        }
        self.next_upkeep = Instant::now() + UPKEEP_EVERY;
        let now = clock();
        let work = || -> Result<(), HistoryError> {
            for _ in 0..UPKEEP_ROUNDS_MAX {
                if !self.store.compact(now)?.more {
                    break;
                }
            }
            self.store.retain(&retention(), now)?;
            Ok(())
        };
        if let Err(error) = work() {
            tracing::warn!(error = chain(&error), "history upkeep failed; it is tried again");
        }
    }
}

/// The time of day as the whole daemon counts it.
pub(crate) fn clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

fn retention() -> Retention {
    Retention {
        samples: Some(SAMPLES_KEPT),
        metrics: USAGE.iter().map(|metric| ((*metric).to_owned(), USAGE_KEPT)).collect(),
        events: Some(EVENTS_KEPT),
        plans: Some(EVENTS_KEPT),
        requests: Some(USAGE_KEPT),
    }
}

fn trim<T>(records: &mut Vec<T>, max: usize) -> usize {
    let excess = records.len().saturating_sub(max);
    records.drain(..excess);
    excess
}

/// What each instance uses, as series with the label `instance`, kept for a shorter time; under the same names
/// behind [`TOTAL_PREFIX`], without label, the sums over all instances of a workload.
pub(crate) const USAGE: [&str; 7] =
    [CPU_CORES, MEMORY_BYTES, DISK_READ, DISK_WRITTEN, NETWORK_RECEIVED, NETWORK_SENT, INSTRUCTIONS];
pub(crate) const CPU_CORES: &str = "cpu_cores";
pub(crate) const MEMORY_BYTES: &str = "memory_bytes";
pub(crate) const DISK_READ: &str = "disk_read_bytes_per_s";
pub(crate) const DISK_WRITTEN: &str = "disk_written_bytes_per_s";
pub(crate) const NETWORK_RECEIVED: &str = "network_received_bytes_per_s";
pub(crate) const NETWORK_SENT: &str = "network_sent_bytes_per_s";
pub(crate) const INSTRUCTIONS: &str = "instructions_per_s";
pub(crate) const TOTAL_PREFIX: &str = "total_";
/// What the proxy tells beside the series of the charts.
pub(crate) const LATENCY_P90_MS: &str = "latency_p90_ms";
pub(crate) const LATENCY_P95_MS: &str = "latency_p95_ms";
pub(crate) const LATENCY_MAX_MS: &str = "latency_max_ms";
/// Requests that arrived in the step.
pub(crate) const REQUESTS: &str = "requests";
/// Content of requests, and of responses, that went through the proxy.
pub(crate) const PROXIED_RECEIVED: &str = "proxied_received_bytes_per_s";
pub(crate) const PROXIED_SENT: &str = "proxied_sent_bytes_per_s";
/// Requests open at the end of the step.
pub(crate) const SESSIONS: &str = "sessions";

/// What reacting alone would have done in a step, and what was missed in truth; see `planner::ReactionStep`.
pub(crate) const REACTION_DEMAND: &str = "reaction_demand";
pub(crate) const REACTION_MISSED: &str = "reaction_missed";
pub(crate) const REACTION_MISSED_TRULY: &str = "reaction_missed_truly";
pub(crate) const REACTION_READY: &str = "reaction_ready";
/// Most sessions of a type (label `type`) in the step: those that had a place, and those that waited for one.
pub(crate) const SESSIONS_HELD: &str = "sessions_held";
pub(crate) const SESSIONS_WAITING: &str = "sessions_waiting";

/// Whether the daemon writes series of this name itself.
pub(crate) fn is_own_metric(metric: &str) -> bool {
    let usage = metric.strip_prefix(TOTAL_PREFIX).unwrap_or(metric);
    let reaction = [REACTION_DEMAND, REACTION_MISSED, REACTION_MISSED_TRULY, REACTION_READY];
    let further = [
        LATENCY_P90_MS,
        LATENCY_P95_MS,
        LATENCY_MAX_MS,
        REQUESTS,
        PROXIED_RECEIVED,
        PROXIED_SENT,
        SESSIONS,
        SESSIONS_HELD,
        SESSIONS_WAITING,
    ];
    METRICS.contains(&metric)
        || USAGE.contains(&usage)
        || further.contains(&metric)
        || reaction.contains(&metric)
}

const WRITE_EVERY: Duration = Duration::from_secs(1);
const UPKEEP_EVERY: Duration = Duration::from_secs(60);
const UPKEEP_ROUNDS_MAX: usize = 8;
/// Records on their way to the thread.
const QUEUE_MAX: usize = 16_384;
/// Samples that are written without waiting for the second to be over.
const SAMPLES_AT_ONCE: usize = 10_000;
/// Samples, and records of the other kinds, that wait while nothing can be written.
const SAMPLES_PENDING_MAX: usize = 50_000;
const RECORDS_PENDING_MAX: usize = 5_000;
const DAY: Duration = Duration::from_secs(86_400);
const SAMPLES_KEPT: Duration = Duration::from_secs(400 * DAY.as_secs());
const USAGE_KEPT: Duration = Duration::from_secs(30 * DAY.as_secs());
const EVENTS_KEPT: Duration = Duration::from_secs(90 * DAY.as_secs());
/// How many may wait for one flush of the disk.
const WAITING_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use history::SeriesKey;

    use super::*;

    #[test]
    fn what_was_handed_over_is_on_disk_when_the_recorder_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(dir.path()).expect("a store"));
        let recorder = Recorder::start(store.clone()).expect("a thread");
        let key = SeriesKey::new("web", "demand");
        recorder.record(Record::Samples(vec![Sample::new(key.clone(), Timestamp::from_secs(1), 5.0)]));
        recorder.record(Record::Value("a".into(), b"1".to_vec()));
        recorder.record(Record::Value("a".into(), b"2".to_vec()));
        let health = recorder.health();
        drop(recorder);
        assert_eq!(store.last(&key).expect("read"), Some((Timestamp::from_secs(1), 5.0)));
        assert_eq!(store.get("a").expect("read"), Some(b"2".to_vec()));
        assert_eq!(health.status().records_written, 2);
    }

    #[test]
    fn more_than_may_wait_comes_in_a_second_and_none_is_dropped() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(dir.path()).expect("a store"));
        let recorder = Recorder::start(store.clone()).expect("a thread");
        let key = SeriesKey::new("web", "demand");
        let at = |n: usize| Timestamp::from_secs(n as i64);
        let count = SAMPLES_PENDING_MAX + SAMPLES_AT_ONCE;
        for first in (0..count).step_by(1000) {
            let samples = (first..first + 1000).map(|n| Sample::new(key.clone(), at(n), 1.0)).collect();
            recorder.record(Record::Samples(samples));
        }
        let health = recorder.health();
        drop(recorder);
        assert_eq!(health.status().records_dropped, 0);
        assert_eq!(store.scan(&key, at(0), at(count)).expect("read").count(), count);
    }

    #[test]
    fn a_record_that_can_never_be_written_holds_up_no_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(dir.path()).expect("a store"));
        let recorder = Recorder::start(store.clone()).expect("a thread");
        recorder.record(Record::Value(String::new(), Vec::new()));
        recorder.record(Record::Samples(vec![Sample::new(
            SeriesKey::new("web", "demand"),
            Timestamp::from_secs(1),
            f64::NAN,
        )]));
        let health = recorder.health();
        drop(recorder);
        let status = health.status();
        assert_eq!((status.state, status.records_written), (api::HistoryState::Ok, 0));
        assert!(status.records_dropped > 0);
    }

    #[test]
    fn whoever_waits_for_the_disk_is_told_and_a_removed_value_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(dir.path()).expect("a store"));
        let recorder = Recorder::start(store.clone()).expect("a thread");
        for (key, value) in [("a", b"1"), ("b", b"2")] {
            let (told, on_disk) = oneshot::channel();
            recorder.record(Record::Durable(key.into(), value.to_vec(), told));
            assert_eq!(on_disk.blocking_recv(), Ok(true));
            assert_eq!(store.get(key).expect("read"), Some(value.to_vec()));
        }
        recorder.record(Record::Removed("a".into()));
        recorder.record(Record::Removed("b".into()));
        recorder.record(Record::Value("b".into(), b"3".to_vec()));
        drop(recorder);
        assert_eq!(store.get("a").expect("read"), None);
        assert_eq!(store.get("b").expect("read"), Some(b"3".to_vec()));
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_go_first() {
        let mut records: Vec<u32> = (0..10).collect();
        assert_eq!(trim(&mut records, 4), 6);
        assert_eq!(records, [6, 7, 8, 9]);
    }
}
