//! What one shard knows about the routes: its part of the table, and what it has learned about the backends itself
//! (latency, idle connections). Thread-local throughout, so a pick meets neither lock nor contended counter.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{Dispatcher, PeakEwma, RetryBudget, Ring, SCAN_MAX};

use crate::admission::RouteCosts;
use crate::cache::RouteCache;
use crate::control::{PolicySpec, Route};
use crate::counters::{BackendCounters, WorkloadCounters};
use crate::link::Link;
use crate::multiplex::Multiplex;
use crate::observe::RouteObserver;
use crate::pool::Pool;
use crate::state::{BackendState, Process, RouteState};
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
    /// Where requests are admitted by what they cost.
    pub(crate) costs: Option<Arc<RouteCosts>>,
    /// Where responses are kept.
    pub(crate) cache: Option<Arc<RouteCache>>,
    /// Where something is told of its requests.
    pub(crate) observer: Option<Arc<RouteObserver>>,
    /// In the order of the specification's backends.
    pub(crate) backends: Vec<Arc<BackendState>>,
    /// Where keys are at home, if the route hashes; the same for all shards.
    pub(crate) ring: Arc<Ring>,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// A route as one shard sees it; replaced as a whole when the table changes.
#[derive(Debug)]
pub(crate) struct ShardRoute {
    shard: usize,
    process: Arc<Process>,
    pub(crate) spec: Arc<Route>,
    pub(crate) state: Arc<RouteState>,
    pub(crate) costs: Option<Arc<RouteCosts>>,
    /// Where responses are kept.
    pub(crate) cache: Option<Arc<RouteCache>>,
    pub(crate) observer: Option<Arc<RouteObserver>>,
    pub(crate) backends: Vec<Rc<ShardBackend>>,
    pub(crate) dispatcher: Dispatcher,
    /// Tokens of sticky cookies in their order, with the backends' places.
    pub(crate) homes: Vec<(u64, usize)>,
    /// Places of the backends without weight.
    pub(crate) draining: Vec<usize>,
    usable_weight: Cell<f64>,
    memory: Rc<RouteMemory>,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// What outlives a table change.
#[derive(Debug)]
struct RouteMemory {
    /// The backends' mean latency estimate in seconds: what an unknown one is assumed to have.
    baseline_s: Cell<f64>,
    /// The usual work in a request, by what requests said; 0 before the first.
    work: Cell<f32>,
    budget: RefCell<RetryBudget>,
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
        let (listed, balancing) = (&applied.spec.backends, &applied.spec.balancing);
        let weights = listed.iter().map(|spec| spec.weight);
        let dispatcher = Dispatcher::with_ring(balancing.policy.policy(), weights, applied.ring);
        let tokens = balancing.sticky.iter().flat_map(|sticky| {
            listed.iter().enumerate().map(|(index, spec)| (sticky.token(spec.id, spec.addr), index))
        });
        let mut homes: Vec<_> = tokens.collect();
        homes.sort_unstable();
        let draining = (0..listed.len()).filter(|&index| listed[index].weight == 0).collect();
        let retries = balancing.retries;
        let terms = (f64::from(retries.percent) / 100.0, f64::from(retries.per_second_min));
        let memory = match before {
            None => Rc::new(RouteMemory::new(process, terms)),
            Some(before) => {
                before.memory.budget.borrow_mut().set_terms(terms.0, terms.1);
                Rc::clone(&before.memory)
            }
        };
        let route = Self {
            shard,
            process: Arc::clone(process),
            spec: applied.spec,
            state: applied.state,
            costs: applied.costs,
            cache: applied.cache,
            observer: applied.observer,
            backends,
            dispatcher,
            homes,
            draining,
            usable_weight: Cell::new(0.0),
            memory,
            tls: applied.tls,
        };
        route.refresh(Instant::now());
        route
    }

    /// Brings what is kept about the backends as a whole up to date; called now and then.
    pub(crate) fn refresh(&self, now: Instant) {
        self.refresh_baseline(now);
        if matches!(self.spec.balancing.policy, PolicySpec::Hash { .. }) && self.backends.len() > SCAN_MAX {
            self.usable_weight.set(self.totals(now).weight);
        }
    }

    fn refresh_baseline(&self, now: Instant) {
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

    pub(crate) fn shard(&self) -> usize {
        self.shard
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// What an unknown backend's latency is assumed to be, in seconds.
    pub(crate) fn baseline_s(&self) -> f64 {
        self.memory.baseline_s.get()
    }

    /// The weight of the usable backends at the last sweep.
    pub(crate) fn usable_weight(&self) -> f64 {
        self.usable_weight.get()
    }

    /// The work to expect of a request: what it names itself, or the usual. `named` is None where requests name none.
    pub(crate) fn expected_work(&self, named: Option<Option<f32>>) -> f32 {
        let usual = &self.memory.work;
        match named {
            // All cost the same then, in whatever unit.
            None => self.baseline_s().max(WORK_MIN) as f32,
            Some(None) => usual.get().max(WORK_MIN as f32),
            Some(Some(work)) => {
                let before = usual.get();
                usual.set(if before == 0.0 { work } else { before + (work - before) * WORK_NEWS });
                work
            }
        }
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
    fn new(process: &Process, (share, per_second_min): (f64, f64)) -> Self {
        let budget = RetryBudget::new(share, per_second_min, process.elapsed(Instant::now()));
        Self { baseline_s: Cell::new(0.0), work: Cell::new(0.0), budget: RefCell::new(budget) }
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

    /// Its estimated latency in seconds.
    pub(crate) fn latency_s(&self, elapsed: Duration, baseline_s: f64, decay: Duration) -> f64 {
        self.ewma.get().estimate(elapsed, baseline_s, decay)
    }

    pub(crate) fn counters(&self) -> &BackendCounters {
        &self.state.counters[self.shard]
    }

    /// Takes a connection back whose response has been read to its end. A draining backend's is closed.
    pub(crate) fn put_back(self: &Rc<Self>, connection: Link) {
        if self.state.weight() == 0 {
            return;
        }
        if let Some(busy) = self.pool.put(connection) {
            // Rare: the backend answered before it had read the whole request.
            let backend = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let mut busy = busy;
                let ready = tokio::time::timeout(LATE_REQUEST, busy.becomes_ready()).await;
                if ready.unwrap_or(false) && backend.state.weight() > 0 {
                    let _ = backend.pool.put(busy);
                }
            });
        }
    }
}

/// The time constant of latency estimates.
pub(crate) const DECAY: Duration = Duration::from_secs(5);
/// No request is expected to be less work.
const WORK_MIN: f64 = 1e-3;
/// What one request's word changes of the usual work.
const WORK_NEWS: f32 = 0.01;
/// How long a connection may take to finish sending a request that is already answered.
const LATE_REQUEST: Duration = Duration::from_secs(1);
