//! What one shard knows about the routes: its part of the table, and what it has learned about the backends itself
//! (latency, idle connections). Thread-local throughout, so a pick meets neither lock nor contended counter.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{PeakEwma, RetryBudget, Weights, p2c};
use hyper::client::conn::http1::SendRequest;

use crate::body::RequestBody;
use crate::control::Route;
use crate::counters::{BackendCounters, WorkloadCounters};
use crate::multiplex::Multiplex;
use crate::pool::Pool;
use crate::state::{BackendState, Process, RouteState, Slot};
use crate::tls::Tls;

/// A table as the control thread hands it to the shards.
#[derive(Debug)]
pub(crate) struct AppliedTable {
    pub(crate) routes: Vec<AppliedRoute>,
}

/// One route of it, with the shared states it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct AppliedRoute {
    pub(crate) spec: Arc<Route>,
    pub(crate) state: Arc<RouteState>,
    /// In the order of the specification's backends.
    pub(crate) backends: Vec<Arc<BackendState>>,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// A route as one shard sees it; replaced as a whole when the table changes.
#[derive(Debug)]
pub(crate) struct ShardRoute {
    shard: usize,
    process: Arc<Process>,
    pub(crate) spec: Arc<Route>,
    pub(crate) state: Arc<RouteState>,
    pub(crate) backends: Vec<Rc<ShardBackend>>,
    weights: Weights,
    relative: Vec<f64>,
    memory: Rc<RouteMemory>,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// What outlives a table change.
#[derive(Debug)]
struct RouteMemory {
    /// The backends' mean latency estimate in seconds: what an unknown one is assumed to have.
    baseline_s: Cell<f64>,
    budget: RefCell<RetryBudget>,
}

/// A chosen backend.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) backend: Rc<ShardBackend>,
    pub(crate) slot: Option<Slot>,
}

impl ShardRoute {
    /// The route of a new table, with what was known under the old one.
    pub(crate) fn new(
        applied: AppliedRoute,
        before: Option<&ShardRoute>,
        shard: usize,
        process: &Arc<Process>,
        pool_max: usize,
    ) -> Self {
        let known = |state: &Arc<BackendState>| {
            before?.backends.iter().find(|backend| Arc::ptr_eq(&backend.state, state)).cloned()
        };
        let backends = applied
            .backends
            .into_iter()
            .map(|state| known(&state).unwrap_or_else(|| Rc::new(ShardBackend::new(state, shard, pool_max))));
        let backends: Vec<_> = backends.collect();
        let weights = Weights::new(applied.spec.backends.iter().map(|spec| spec.weight));
        let memory =
            before.map_or_else(|| Rc::new(RouteMemory::new(process)), |before| Rc::clone(&before.memory));
        let route = Self {
            shard,
            process: Arc::clone(process),
            relative: (0..weights.len()).map(|index| weights.relative(index)).collect(),
            spec: applied.spec,
            state: applied.state,
            backends,
            weights,
            memory,
            tls: applied.tls,
        };
        route.refresh_baseline(Instant::now());
        route
    }

    /// Brings what is assumed of unknown backends up to date; called now and then.
    pub(crate) fn refresh_baseline(&self, now: Instant) {
        let elapsed = self.process.elapsed(now);
        let known = self.backends.iter().map(|backend| backend.ewma.get()).filter(|ewma| !ewma.is_fresh());
        let before = self.memory.baseline_s.get();
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), ewma| {
            (sum + ewma.estimate(elapsed, before, DECAY), count + 1.0)
        });
        if count > 0.0 {
            self.memory.baseline_s.set(sum / count);
        }
    }

    /// Whether its connections begin with a request.
    pub(crate) fn is_plain_http(&self) -> bool {
        self.spec.protocols.is_plain_http()
    }

    pub(crate) fn counters(&self) -> &WorkloadCounters {
        &self.state.counters[self.shard]
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Picks a backend by weighted P2C and peak EWMA, those in `avoid` only when there is no other.
    pub(crate) fn choose(
        &self,
        now: Instant,
        avoid: &[u64],
        mut random: impl FnMut() -> u64,
    ) -> Option<Choice> {
        let choice = self.choose_among(now, avoid, &mut random);
        if choice.is_none() && !avoid.is_empty() { self.choose_among(now, &[], &mut random) } else { choice }
    }

    fn choose_among(&self, now: Instant, avoid: &[u64], random: &mut impl FnMut() -> u64) -> Option<Choice> {
        let elapsed = self.process.elapsed(now);
        let baseline = self.memory.baseline_s.get();
        let limit = self.spec.max_in_flight;
        // Another shard may take the last slot between choosing and taking; then there is one backend less to look at.
        for _ in 0..=self.backends.len() {
            let index = p2c::pick(&self.weights, &mut *random, |index| {
                let backend = &self.backends[index];
                let state = &backend.state;
                let usable = state.is_usable(elapsed)
                    && (limit == 0 || state.has_slot(limit))
                    && !avoid.contains(&state.id);
                usable.then(|| {
                    let latency = backend.ewma.get().estimate(elapsed, baseline, DECAY);
                    p2c::cost(latency, baseline, state.in_flight(), self.relative[index])
                })
            })?;
            let backend = &self.backends[index];
            let slot = match limit {
                0 => None,
                limit => match Slot::take(&backend.state, &self.state, &self.process, limit) {
                    Some(slot) => Some(slot),
                    None => continue,
                },
            };
            return Some(Choice { backend: Rc::clone(backend), slot });
        }
        None
    }

    /// This shard's part of a backend that another shard has handed a slot of.
    pub(crate) fn backend_of(&self, state: &Arc<BackendState>) -> Option<&Rc<ShardBackend>> {
        self.backends.iter().find(|backend| Arc::ptr_eq(&backend.state, state))
    }

    /// Whether no other backend than this one is usable.
    pub(crate) fn is_alone(&self, backend: &ShardBackend, elapsed: Duration) -> bool {
        let others = self.backends.iter().filter(|other| !Arc::ptr_eq(&other.state, &backend.state));
        !others.into_iter().any(|other| other.state.is_usable(elapsed))
    }

    /// When the first ejection ends, if any backend with weight is ejected.
    pub(crate) fn first_readmission(&self, now: Instant) -> Option<Instant> {
        let elapsed = self.process.elapsed(now);
        let ejected =
            self.backends.iter().filter(|backend| backend.state.weight() > 0 && backend.state.is_healthy());
        let first = ejected.filter_map(|backend| backend.state.ejected_until(elapsed)).min()?;
        Some(self.process.instant(first))
    }

    /// Learns from an answer.
    pub(crate) fn observe(&self, backend: &ShardBackend, now: Instant, latency: Duration, is_error: bool) {
        let elapsed = self.process.elapsed(now);
        let mut ewma = backend.ewma.get();
        let was_fresh = ewma.is_fresh();
        if is_error {
            ewma.observe_failure(elapsed, latency, DECAY);
        } else {
            ewma.observe(elapsed, latency, self.memory.baseline_s.get(), DECAY);
        }
        backend.ewma.set(ewma);
        if was_fresh {
            self.refresh_baseline(now);
        }
    }

    /// Counts a request for the retry budget.
    pub(crate) fn deposit(&self) {
        self.memory.budget.borrow_mut().deposit();
    }

    /// Whether one more retry is affordable.
    pub(crate) fn affords_retry(&self, now: Instant) -> bool {
        self.memory.budget.borrow_mut().withdraw(self.process.elapsed(now))
    }
}

impl RouteMemory {
    fn new(process: &Process) -> Self {
        let budget = RetryBudget::new(RETRY_SHARE, RETRIES_PER_SECOND_MIN, process.elapsed(Instant::now()));
        Self { baseline_s: Cell::new(0.0), budget: RefCell::new(budget) }
    }
}

/// A backend as one shard sees it.
#[derive(Debug)]
pub(crate) struct ShardBackend {
    pub(crate) state: Arc<BackendState>,
    shard: usize,
    ewma: Cell<PeakEwma>,
    pub(crate) pool: Pool,
    pub(crate) multiplex: Rc<Multiplex>,
}

impl ShardBackend {
    fn new(state: Arc<BackendState>, shard: usize, pool_max: usize) -> Self {
        Self {
            state,
            shard,
            ewma: Cell::new(PeakEwma::new()),
            pool: Pool::new(pool_max),
            multiplex: Rc::default(),
        }
    }

    pub(crate) fn counters(&self) -> &BackendCounters {
        &self.state.counters[self.shard]
    }

    /// Takes a connection back whose response has been read to its end. A draining backend's is closed.
    pub(crate) fn put_back(self: &Rc<Self>, connection: SendRequest<RequestBody>) {
        if self.state.weight() == 0 {
            return;
        }
        if let Some(busy) = self.pool.put(connection) {
            // Rare: the backend answered before it had read the whole request.
            let backend = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let mut busy = busy;
                let is_ready =
                    tokio::time::timeout(LATE_REQUEST, busy.ready()).await.is_ok_and(|ready| ready.is_ok());
                if is_ready && backend.state.weight() > 0 {
                    let _ = backend.pool.put(busy);
                }
            });
        }
    }
}

/// The time constant of latency estimates.
const DECAY: Duration = Duration::from_secs(5);
/// Retries per request.
const RETRY_SHARE: f64 = 0.2;
/// Retries that even an idle route affords, per shard.
const RETRIES_PER_SECOND_MIN: f64 = 10.0;
/// How long a connection may take to finish sending a request that is already answered.
const LATE_REQUEST: Duration = Duration::from_secs(1);
