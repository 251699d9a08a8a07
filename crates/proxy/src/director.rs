//! The control thread's owner of the route table: validates a new one, opens what must be opened, hands it to the shards and
//! waits until all of them use it.

mod succession;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use balance::Ring;

use crate::admission::RouteCosts;
use crate::cache::RouteCache;
use crate::control::{Amount, PolicySpec, Refusal, RequestSample, Response, Route, RouteTable, Stats};
use crate::handover::{Predecessor, Sockets};
use crate::health::HealthCheck;
use crate::observe::RouteObserver;
use crate::outliers::OutlierWatch;
use crate::shard::Command;
use crate::shedding::LimitWatch;
use crate::socket::{more_listeners, open_listeners};
use crate::state::{BackendState, Process, RouteState, unix_ms};
use crate::tls::{BadFile, Tls};
use crate::view::{AppliedRoute, AppliedTable};

/// Owns the table in force.
#[derive(Debug)]
pub(crate) struct Director {
    process: Arc<Process>,
    shards: Vec<mpsc::Sender<Command>>,
    table: RouteTable,
    /// Told instead of the table before the first one, where a predecessor's is not understood.
    outline: Option<RouteTable>,
    /// Listening sockets of a predecessor that are not in use yet.
    inherited: Sockets,
    predecessor: Option<Predecessor>,
    /// By workload.
    routes: BTreeMap<String, DirectedRoute>,
    started_at: u64,
    is_draining: bool,
}

/// A route with what the control thread keeps about it.
#[derive(Debug)]
struct DirectedRoute {
    state: Arc<RouteState>,
    backends: Vec<Arc<BackendState>>,
    /// Out of the table, with requests still in flight.
    leaving: Vec<Arc<BackendState>>,
    checks: Vec<HealthCheck>,
    costs: Option<Arc<RouteCosts>>,
    cache: Option<Arc<RouteCache>>,
    observer: Option<Arc<RouteObserver>>,
    outliers: Option<OutlierWatch>,
    limit: Option<LimitWatch>,
    /// What the ring was made of, and the ring.
    ring: (Vec<(u64, u32)>, Arc<Ring>),
    tls: Option<Arc<Tls>>,
}

impl Director {
    pub(crate) fn new(process: Arc<Process>, shards: Vec<mpsc::Sender<Command>>) -> Self {
        Self {
            process,
            shards,
            table: RouteTable::default(),
            outline: None,
            inherited: Sockets::new(),
            predecessor: None,
            routes: BTreeMap::new(),
            started_at: unix_ms(),
            is_draining: false,
        }
    }

    pub(crate) fn table(&self) -> &RouteTable {
        self.outline.as_ref().unwrap_or(&self.table)
    }

    /// Puts a table in force.
    ///
    /// # Errors
    /// The reason; then nothing has changed.
    pub(crate) async fn apply(&mut self, table: RouteTable) -> Result<u64, Refusal> {
        if self.is_draining {
            return Err(Refusal::ShuttingDown);
        }
        let generation = table.generation;
        if generation < self.table.generation {
            return Err(Refusal::StaleGeneration { offered: generation, applied: self.table.generation });
        }
        if generation == self.table.generation && table == self.table {
            return Ok(generation);
        }
        if generation == self.table.generation {
            return Err(Refusal::GenerationReused { generation });
        }
        table.validate().map_err(|problems| Refusal::InvalidTable {
            problems: problems.iter().map(ToString::to_string).collect(),
        })?;
        self.put(table).await?;
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.follow(&self.table).await;
        }
        Ok(generation)
    }

    /// Puts a valid table in force here.
    async fn put(&mut self, table: RouteTable) -> Result<(), Refusal> {
        let generation = table.generation;
        if table.routes.iter().any(|route| route.admission.is_some()) {
            let started = self.process.start_learner();
            started.map_err(|error| Refusal::Failed { reason: error.to_string() })?;
        }
        if table.routes.iter().any(|route| route.observation.access_log.is_some()) {
            let started = self.process.start_log();
            started.map_err(|error| Refusal::Failed { reason: error.to_string() })?;
        }
        let mut certificates = self.load_certificates(&table)?;
        let opened = self.open_new(&table)?;
        // Nothing can be refused from here on.
        let routes: Vec<_> = table
            .routes
            .iter()
            .map(|route| self.direct(route, certificates.remove(route.workload.as_str())))
            .collect();
        let listed: BTreeSet<&str> = table.routes.iter().map(|route| route.workload.as_str()).collect();
        for (workload, route) in &mut self.routes {
            if !listed.contains(workload.as_str()) {
                route.backends.iter().for_each(|backend| backend.unroute());
            }
        }
        self.routes.retain(|workload, _| listed.contains(workload.as_str()));
        let is_first = self.table.generation == 0;
        self.table = table;
        self.outline = None;
        self.inherited.clear();
        self.hand_out(AppliedTable { routes }, opened).await?;
        if is_first {
            self.inherit_health();
        }
        self.check_health();
        tracing::info!(generation, "route table applied");
        Ok(())
    }

    /// Listening sockets for the addresses that are not open yet; all or none.
    fn open_new(&self, table: &RouteTable) -> Result<Vec<(SocketAddr, Vec<TcpListener>)>, Refusal> {
        let open: BTreeSet<_> = self.table.routes.iter().map(|route| route.listen).collect();
        let new = table.routes.iter().filter(|route| !open.contains(&route.listen));
        new.map(|route| match self.open(route.listen) {
            Ok(sockets) => Ok((route.listen, sockets)),
            Err(error) => Err(Refusal::Listen {
                workload: route.workload.clone(),
                listen: route.listen,
                reason: error.to_string(),
            }),
        })
        .collect()
    }

    /// Sockets for every shard: new ones, or at least those of a predecessor.
    fn open(&self, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
        let Some(inherited) = self.inherited.get(&address) else {
            return open_listeners(address, self.shards.len());
        };
        let mut sockets = inherited.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
        sockets.extend(more_listeners(address, self.shards.len().saturating_sub(sockets.len()))?);
        Ok(sockets)
    }

    /// The certificates of those routes that have one, by workload; those in use are kept.
    fn load_certificates(&self, table: &RouteTable) -> Result<BTreeMap<String, Arc<Tls>>, Refusal> {
        let mut loaded = BTreeMap::new();
        for route in &table.routes {
            let Some(spec) = &route.protocols.tls else { continue };
            let protocol = route.protocols.protocol;
            let before = self.routes.get(&route.workload).and_then(|before| before.tls.clone());
            let tls = match before.filter(|tls| tls.is_of(spec, protocol)) {
                Some(tls) => tls,
                None => Arc::new(Tls::load(spec, protocol).map_err(|BadFile { file, reason }| {
                    Refusal::Tls { workload: route.workload.clone(), file, reason }
                })?),
            };
            loaded.insert(route.workload.clone(), tls);
        }
        Ok(loaded)
    }

    /// Reads certificates again whose files have changed.
    pub(crate) fn refresh_certificates(&self) {
        for (workload, route) in &self.routes {
            if let Some(tls) = &route.tls {
                tls.refresh(workload);
            }
        }
    }

    /// Finds or makes the states that belong to a route and brings them up to date.
    fn direct(&mut self, spec: &Route, tls: Option<Arc<Tls>>) -> AppliedRoute {
        let (shards, elapsed) = (self.shards.len(), self.process.elapsed(Instant::now()));
        // Where all are new, nobody is newer than the others.
        let is_known = self.routes.contains_key(&spec.workload);
        let route = self.routes.entry(spec.workload.clone()).or_insert_with(|| DirectedRoute {
            state: Arc::new(RouteState::new(&spec.workload, shards)),
            backends: Vec::new(),
            leaving: Vec::new(),
            checks: Vec::new(),
            costs: None,
            cache: None,
            observer: None,
            outliers: None,
            limit: None,
            ring: Default::default(),
            tls: None,
        });
        route.tls.clone_from(&tls);
        let mut known: BTreeMap<_, _> = route
            .backends
            .drain(..)
            .chain(route.leaving.drain(..))
            .map(|backend| ((backend.id, backend.addr), backend))
            .collect();
        for listed in &spec.backends {
            let backend = known.remove(&(listed.id, listed.addr));
            let was_without_weight = backend.as_ref().is_none_or(|backend| backend.weight() == 0);
            let backend = backend.unwrap_or_else(|| Arc::new(BackendState::new(*listed, shards)));
            if is_known && was_without_weight && listed.weight > 0 {
                backend.start_slowly(elapsed);
            }
            backend.route(listed.weight);
            route.backends.push(backend);
        }
        for backend in known.into_values() {
            backend.unroute();
            route.leaving.push(backend);
        }
        route.forget_left();
        route.renew_costs(spec);
        route.cache = RouteCache::renewed(route.cache.take(), spec.cache.as_ref(), shards);
        route.watch(spec, elapsed);
        route.limit = LimitWatch::renewed(route.limit.take(), spec.shedding.as_ref(), &route.state, elapsed);
        let before = route.observer.take();
        route.observer = RouteObserver::renewed(before, &spec.workload, &spec.observation, shards);
        AppliedRoute {
            spec: Arc::new(spec.clone()),
            state: Arc::clone(&route.state),
            costs: route.costs.clone(),
            cache: route.cache.clone(),
            observer: route.observer.clone(),
            backends: route.backends.clone(),
            ring: route.ring(spec),
            tls,
        }
    }

    /// When backends are to be compared next, as time since the process started.
    pub(crate) fn next_judgement(&self) -> Option<Instant> {
        let outliers = self.routes.values().filter_map(|route| Some(route.outliers.as_ref()?.due()));
        let limits = self.routes.values().filter_map(|route| Some(route.limit.as_ref()?.due()));
        outliers.chain(limits).min().map(|due| self.process.instant(due))
    }

    /// Compares backends where it is time.
    pub(crate) fn judge(&mut self) {
        let elapsed = self.process.elapsed(Instant::now());
        for spec in &self.table.routes {
            let Some(route) = self.routes.get_mut(&spec.workload) else { continue };
            if let (Some(watch), Some(outliers)) = (&mut route.outliers, &spec.balancing.outliers) {
                watch.judge(outliers, &route.backends, elapsed);
            }
            if let Some(limit) = &mut route.limit {
                limit.judge(&route.state, &route.backends, elapsed);
            }
        }
    }

    /// Gives every shard the table and waits until all use it.
    async fn hand_out(
        &self,
        table: AppliedTable,
        opened: Vec<(SocketAddr, Vec<TcpListener>)>,
    ) -> Result<(), Refusal> {
        let table = Arc::new(table);
        let mut sockets: Vec<Vec<_>> = self.shards.iter().map(|_| Vec::new()).collect();
        for (address, listeners) in opened {
            for (index, listener) in listeners.into_iter().enumerate() {
                sockets[index % self.shards.len()].push((address, listener));
            }
        }
        let mut sockets = sockets.into_iter();
        self.ask_shards(|done| Command::Apply {
            table: Arc::clone(&table),
            opened: sockets.next().unwrap_or_default(),
            done,
        })
        .await?;
        Ok(())
    }

    /// Asks every shard, in their order, and waits for all answers.
    async fn ask_shards<T>(
        &self,
        mut command: impl FnMut(oneshot::Sender<T>) -> Command,
    ) -> Result<Vec<T>, Refusal> {
        let mut waiting = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (sender, answer) = oneshot::channel();
            shard.send(command(sender)).await.map_err(|_| shard_failed())?;
            waiting.push(answer);
        }
        let mut answers = Vec::with_capacity(self.shards.len());
        for answer in waiting {
            let answered = timeout(ACKNOWLEDGE_LIMIT, answer).await.map_err(|_| shard_failed())?;
            answers.push(answered.map_err(|_| shard_failed())?);
        }
        Ok(answers)
    }

    /// Starts, keeps and ends health checks as the table says.
    fn check_health(&mut self) {
        for spec in &self.table.routes {
            let Some(route) = self.routes.get_mut(&spec.workload) else { continue };
            let mut before = std::mem::take(&mut route.checks);
            let upstream = spec.protocols.upstream;
            before.retain(|check| check.spec == spec.health && check.upstream == upstream);
            for backend in &route.backends {
                let kept = before.iter().position(|check| Arc::ptr_eq(&check.backend, backend));
                match kept {
                    Some(index) => route.checks.push(before.swap_remove(index)),
                    None if spec.health.is_active() => route.checks.push(HealthCheck::begin(
                        Arc::clone(backend),
                        Arc::clone(&route.state),
                        spec.health.clone(),
                        upstream,
                        Arc::clone(&self.process),
                    )),
                    // Nobody would ever find it healthy again.
                    None => drop(backend.set_healthy(true)),
                }
            }
        }
    }

    /// Reads all counters, a predecessor's included.
    pub(crate) async fn stats(&mut self) -> Stats {
        let mut stats = self.own_stats();
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.refresh().await;
            predecessor.add_to(&mut stats);
        }
        stats
    }

    fn own_stats(&mut self) -> Stats {
        let (now, at) = (Instant::now(), unix_ms());
        let elapsed = self.process.elapsed(now);
        let workloads = self.routes.values_mut().map(|route| {
            route.forget_left();
            let mut stats = route.state.stats();
            let backends = route.backends.iter().chain(&route.leaving);
            stats.backends = backends.map(|backend| backend.stats(elapsed)).collect();
            if let Some(cache) = &route.cache {
                cache.tell(&mut stats.cache);
            }
            stats.costs = route
                .costs
                .as_ref()
                .map(|costs| costs.stats(|cost| route.reserved(cost)))
                .unwrap_or_default();
            stats.shedding = route.limit.as_ref().map(|limit| limit.tell(&route.state.shed));
            if let Some(observer) = &route.observer {
                observer.tell(&mut stats, now, at);
            }
            stats
        });
        Stats {
            at,
            started_at: self.started_at,
            pid: std::process::id(),
            generation: self.table.generation,
            workloads: workloads.collect(),
            connections: self.process.connections.load(Ordering::Relaxed),
        }
    }

    /// Request samples of a workload that are numbered above `after`.
    pub(crate) fn samples(&self, workload: &str, after: u64) -> Response {
        let costs = self.routes.get(workload).and_then(|route| route.costs.as_ref());
        let samples = costs.map(|costs| costs.samples_after(after)).unwrap_or_default();
        Response::Samples { started_at: self.started_at, samples }
    }

    /// Has the cost models of a workload learn from what was measured before; returns how much that was.
    pub(crate) fn teach(&self, workload: &str, samples: &[RequestSample]) -> usize {
        let costs = self.routes.get(workload).and_then(|route| route.costs.as_ref());
        costs.map_or(0, |costs| {
            samples.iter().for_each(|sample| costs.recall(sample));
            samples.len()
        })
    }

    /// Open client connections, those at a predecessor included.
    pub(crate) fn connections(&self) -> u32 {
        let before = self.predecessor.as_ref().map_or(0, Predecessor::connections);
        self.process.connections.load(Ordering::Relaxed) + before
    }

    /// Makes every shard close its listeners and end its connections as they become idle.
    pub(crate) async fn drain(&mut self) {
        self.is_draining = true;
        for shard in &self.shards {
            // A dead shard has nothing to drain; its death is noticed elsewhere.
            let _ = shard.send(Command::Drain).await;
        }
    }
}

impl DirectedRoute {
    /// Keeps what is known of costs for as long as the table asks for the same.
    fn renew_costs(&mut self, spec: &Route) {
        let kept = self.costs.take();
        self.costs = spec.admission.as_ref().map(|admission| match kept {
            Some(costs) if costs.is_about(admission) => {
                costs.renew(admission);
                costs
            }
            Some(_) | None => Arc::new(RouteCosts::new(admission)),
        });
        self.state.waiting.set_by_cost(self.costs.is_some());
    }

    /// Reserved of one cost, over all backends.
    fn reserved(&self, cost: usize) -> Amount {
        let backends = self.backends.iter().chain(&self.leaving);
        Amount::from_micros(backends.map(|backend| backend.ledger.reserved(cost).micros()).sum())
    }

    /// Begins or ends the watch for outliers; one that goes on keeps what it has seen.
    fn watch(&mut self, spec: &Route, elapsed: Duration) {
        let begin = |outliers| OutlierWatch::new(outliers, &self.backends, elapsed);
        let watch = self.outliers.take();
        self.outliers =
            spec.balancing.outliers.as_ref().map(|outliers| watch.unwrap_or_else(|| begin(outliers)));
    }

    /// The ring of a route that hashes, made anew when its backends or weights have changed.
    fn ring(&mut self, spec: &Route) -> Arc<Ring> {
        let hashes = matches!(spec.balancing.policy, PolicySpec::Hash { .. });
        let listed = spec.backends.iter().filter(|_| hashes).map(|backend| (backend.id, backend.weight));
        let listed: Vec<_> = listed.collect();
        if self.ring.0 != listed {
            self.ring = (listed.clone(), Arc::new(Ring::new(listed)));
        }
        Arc::clone(&self.ring.1)
    }

    fn forget_left(&mut self) {
        self.leaving.retain(|backend| backend.in_flight() > 0);
    }
}

fn shard_failed() -> Refusal {
    Refusal::Failed { reason: "a shard does not answer".to_owned() }
}

/// A shard applies a table within microseconds unless it has died.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(10);
