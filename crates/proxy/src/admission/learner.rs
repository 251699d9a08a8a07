//! The thread that learns what requests cost, beside the traffic: nothing waits for it, and what it cannot keep up with is left
//! out and counted.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::costs::RouteCosts;
use super::facts::Facts;
use super::ledger::Need;
use crate::control::{Amount, COSTS_MAX, RequestSample};
use crate::state::unix_ms;

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Lesson {
    pub(crate) costs: Arc<RouteCosts>,
    pub(crate) facts: Facts,
    pub(crate) expected: Need,
    pub(crate) need: Need,
    /// NaN where not known.
    pub(crate) measured: [f64; COSTS_MAX],
    pub(crate) backend: u64,
    pub(crate) waited: Duration,
}

/// The way to the thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Learner {
    lessons: SyncSender<Lesson>,
    left_out: AtomicU64,
}

impl Learner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be none.
    pub(crate) fn start() -> io::Result<Learner> {
        let (lessons, inbox) = sync_channel(LESSONS_MAX);
        thread::Builder::new().name("learner".to_owned()).spawn(move || Class::default().attend(&inbox))?;
        Ok(Learner { lessons, left_out: AtomicU64::new(0) })
    }

    /// Passes on what a request has cost.
    pub(crate) fn teach(&self, lesson: Lesson) {
        if self.lessons.try_send(lesson).is_err() {
            let before = self.left_out.fetch_add(1, Ordering::Relaxed);
            if before.is_power_of_two() {
                tracing::warn!(left_out = before + 1, "requests cost more time to learn from than there is");
            }
        }
    }
}

/// What the thread keeps.
#[derive(Default)]
struct Class {
    /// By address: the routes that it has heard of, and what each had given back when its pace was measured.
    routes: BTreeMap<usize, (Weak<RouteCosts>, Need)>,
}

impl Class {
    fn attend(mut self, inbox: &Receiver<Lesson>) {
        let mut looked = Instant::now();
        loop {
            match inbox.recv_timeout(PAUSE) {
                Ok(lesson) => self.learn(lesson),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let since = looked.elapsed();
            if since >= PAUSE {
                looked = Instant::now();
                self.look_after(since);
            }
        }
    }

    fn learn(&mut self, lesson: Lesson) {
        let Lesson { costs, facts, expected, need, measured, backend, waited } = lesson;
        let key = Arc::as_ptr(&costs) as usize;
        self.routes.entry(key).or_insert_with(|| (Arc::downgrade(&costs), Need::default()));
        costs.learn(&facts, &expected, &measured);
        costs.keep(RequestSample {
            number: 0,
            at: unix_ms(),
            endpoint: facts.endpoint.into_owned(),
            class: facts.class,
            numbers: facts.numbers.to_vec(),
            names: facts.names,
            reserved: need.iter().map(|micros| Amount::from_micros(*micros)).collect(),
            measured: measured.to_vec(),
            waited_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
            backend,
        });
    }

    /// Measures how fast requests are served, and trains what is due.
    fn look_after(&mut self, since: Duration) {
        self.routes.retain(|_, (costs, _)| costs.strong_count() > 0);
        for (costs, before) in self.routes.values_mut() {
            if let Some(costs) = costs.upgrade() {
                *before = costs.measure_pace(before, since.as_secs_f64());
                costs.train();
            }
        }
    }
}

/// Requests that may wait to be learned from.
const LESSONS_MAX: usize = 4096;
/// How often the pace is measured and training looked for.
const PAUSE: Duration = Duration::from_millis(500);
