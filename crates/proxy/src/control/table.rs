//! The route table: what the control plane wants served, and where.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::admission::{Admission, AdmissionProblem};
use super::balancing::Balancing;
use super::cache::CacheSpec;
use super::observation::Observation;
use super::protocols::Protocols;
use super::shedding::Shedding;

/// Everything the proxy serves, replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Grows with every table. A smaller one than the applied is refused; the same one again is accepted only
    /// if the table is the same too.
    pub generation: u64,
    /// One route per workload, each with a listen address of its own.
    pub routes: Vec<Route>,
}

/// One workload: a listening address and the backends behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The workload's name; statistics are kept under it for as long as it stays in the table.
    pub workload: String,
    /// Where clients connect. A port of 0 is refused: the address must be the same in every generation.
    pub listen: SocketAddr,
    /// The routing targets. An instance that is not listed gets no traffic.
    pub backends: Vec<BackendSpec>,
    /// How backends are probed.
    pub health: HealthSpec,
    /// Time limits of requests on this route.
    pub timeouts: Timeouts,
    /// How long a request may wait while no backend is usable (none listed, all draining, unhealthy or
    /// full). Default 5 s. Longer: a late promotion still saves the request; shorter: clients hear of the
    /// trouble sooner. Zero: answer 503 at once.
    pub hold: Duration,
    /// How many requests may wait at once; one more is answered 503. Default 1024.
    pub max_waiting: usize,
    /// Requests at once per backend, over all shards; further ones wait like those without a backend.
    /// Default 0 = no limit.
    pub max_in_flight: u32,
    /// Requests are admitted and placed by what they are predicted to cost. Default none: whatever comes is passed on.
    pub admission: Option<Admission>,
    /// Which backend a request goes to.
    pub balancing: Balancing,
    /// What is spoken with clients and backends. Default HTTP without TLS.
    pub protocols: Protocols,
    /// Responses are kept for requests that ask the same. Default none.
    pub cache: Option<CacheSpec>,
    /// No more requests are let in at once than are answered in time. Default none: as many as come.
    pub shedding: Option<Shedding>,
    /// What is told of its requests beside the workload's counters. Default nothing.
    pub observation: Observation,
}

impl Route {
    /// A route without backends and with the defaults named at the fields.
    pub fn new(workload: impl Into<String>, listen: SocketAddr) -> Self {
        Self {
            workload: workload.into(),
            listen,
            backends: Vec::new(),
            health: HealthSpec::default(),
            timeouts: Timeouts::default(),
            hold: HOLD_DEFAULT,
            max_waiting: WAITING_DEFAULT,
            max_in_flight: 0,
            admission: None,
            balancing: Balancing::default(),
            protocols: Protocols::default(),
            cache: None,
            shedding: None,
            observation: Observation::default(),
        }
    }
}

/// One routing target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BackendSpec {
    /// The instance's id, unique within the route. State (health, latency, counters) belongs to id and address
    /// together and survives table changes for as long as both stay listed.
    pub id: u64,
    /// Where the instance answers HTTP/1.1.
    pub addr: SocketAddr,
    /// Share of traffic relative to the others; 1000 is a full share, 0 drains: no new request.
    pub weight: u32,
}

/// Active health checks of a route's backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// Path requested by `GET`; any 2xx is healthy. Empty (the default): no active checks.
    pub path: String,
    /// Pause between two probes of one backend. Default 1 s. Shorter finds a frozen instance sooner and
    /// costs that many more requests. A backend that is down is probed four times as often.
    pub interval: Duration,
    /// How long a probe may take, connect to response head. Default 1 s. It must be over before a frozen
    /// server, which still accepts connections, is noticed.
    pub timeout: Duration,
    /// Failed probes in a row until a backend is unhealthy. Default 3.
    pub fall: u32,
    /// Successful probes in a row until it is healthy again. Default 1.
    pub rise: u32,
}

impl HealthSpec {
    /// Probes of `path` with the default timing.
    pub fn http(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Whether backends are probed at all.
    pub fn is_active(&self) -> bool {
        !self.path.is_empty()
    }
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            path: String::new(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 1,
        }
    }
}

/// Time limits of requests on one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// TCP connect to a backend. Default 1.2 s: after 1 s the kernel sends again what was lost, and one lost packet need not
    /// cost an attempt.
    pub connect: Duration,
    /// From sending a request to a backend's response head. Default 60 s; then 504.
    pub response_head: Duration,
    /// Longest silence inside a request or response body. Default 60 s; then the exchange is cut.
    pub body_idle: Duration,
    /// How long an unused connection to a backend is kept. Default 15 s; keep it below the backend's own
    /// keep-alive limit, or requests meet connections that are just being closed.
    pub pool_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(1200),
            response_head: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            pool_idle: Duration::from_secs(15),
        }
    }
}

impl RouteTable {
    /// Every reason why this table cannot be applied, none if it can.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), Vec<TableProblem>> {
        let mut problems = Vec::new();
        let (mut workloads, mut listens) = (BTreeSet::new(), BTreeSet::new());
        if self.routes.len() > ROUTES_MAX {
            problems.push(TableProblem::TooManyRoutes(self.routes.len()));
        }
        let backends = self.routes.iter().map(|route| route.backends.len()).sum();
        if backends > BACKENDS_MAX {
            problems.push(TableProblem::TooManyBackends(backends));
        }
        let endpoints = self.routes.iter().map(|route| route.observation.endpoints.len()).sum();
        if endpoints > ENDPOINTS_MAX {
            problems.push(TableProblem::TooManyEndpoints(endpoints));
        }
        for route in &self.routes {
            if !workloads.insert(route.workload.as_str()) {
                problems.push(TableProblem::DuplicateWorkload(route.workload.clone()));
            }
            if !listens.insert(route.listen) {
                problems.push(TableProblem::DuplicateListen(route.listen));
            }
            route.problems(&mut problems);
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl Route {
    fn problems(&self, problems: &mut Vec<TableProblem>) {
        let workload = || self.workload.clone();
        if self.listen.port() == 0 {
            problems.push(TableProblem::ListenPortZero(workload()));
        }
        let mut ids = BTreeSet::new();
        for backend in &self.backends {
            if !ids.insert(backend.id) {
                problems.push(TableProblem::DuplicateBackend { workload: workload(), id: backend.id });
            }
            if backend.addr.port() == 0 || backend.addr.ip().is_unspecified() {
                problems.push(TableProblem::BackendAddress { workload: workload(), addr: backend.addr });
            }
        }
        if self.health.is_active() {
            if !self.health.path.starts_with('/') || self.health.path.parse::<http::Uri>().is_err() {
                problems
                    .push(TableProblem::HealthPath { workload: workload(), path: self.health.path.clone() });
            }
            if self.health.interval < HEALTH_INTERVAL_MIN || self.health.timeout.is_zero() {
                problems.push(TableProblem::HealthTiming(workload()));
            }
            if self.health.fall == 0 || self.health.rise == 0 {
                problems.push(TableProblem::HealthCounts(workload()));
            }
        }
        let timeouts = &self.timeouts;
        for (name, value) in [
            ("connect", timeouts.connect),
            ("response_head", timeouts.response_head),
            ("body_idle", timeouts.body_idle),
            ("pool_idle", timeouts.pool_idle),
        ] {
            if value.is_zero() || value > TIMEOUT_MAX {
                problems.push(TableProblem::Timeout { workload: workload(), name });
            }
        }
        let admission = self.admission.iter().flat_map(Admission::problems);
        problems.extend(admission.map(|problem| TableProblem::Admission { workload: workload(), problem }));
        if self.hold > TIMEOUT_MAX {
            problems.push(TableProblem::Timeout { workload: workload(), name: "hold" });
        }
        self.balancing.problems(&self.workload, problems);
        let protocols = self.protocols.problems().into_iter();
        problems.extend(protocols.map(|reason| TableProblem::Protocols { workload: workload(), reason }));
        let cache = self.cache.as_ref().and_then(CacheSpec::problem).into_iter();
        problems.extend(cache.map(|rule| TableProblem::Cache { workload: workload(), rule }));
        let both = "requests are admitted by cost or shed by latency, not both";
        let both = (self.shedding.is_some() && self.admission.is_some()).then_some(both);
        let shedding = self.shedding.as_ref().and_then(Shedding::problem).or(both).into_iter();
        problems.extend(shedding.map(|rule| TableProblem::Shedding { workload: workload(), rule }));
        let observation = self.observation.problems(self.protocols.protocol).into_iter();
        problems.extend(observation.map(|reason| TableProblem::Observation { workload: workload(), reason }));
    }
}

/// Why a table cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// More routes than the proxy serves.
    #[error("{0} routes, at most {ROUTES_MAX} are served")]
    TooManyRoutes(usize),
    /// More backends, over all routes, than the proxy serves.
    #[error("{0} backends, at most {BACKENDS_MAX} are served")]
    TooManyBackends(usize),
    /// More endpoints, over all routes, than are counted apart.
    #[error("{0} endpoints, at most {ENDPOINTS_MAX} are counted apart")]
    TooManyEndpoints(usize),
    /// Two routes carry one workload name.
    #[error("workload {0} is listed twice")]
    DuplicateWorkload(String),
    /// Two routes want one address.
    #[error("two routes listen on {0}")]
    DuplicateListen(SocketAddr),
    /// The address would differ from generation to generation.
    #[error("workload {0}: the listen port must not be 0")]
    ListenPortZero(String),
    /// Two backends of one route carry one id.
    #[error("workload {workload}: backend {id} is listed twice")]
    DuplicateBackend {
        /// The route's workload.
        workload: String,
        /// The repeated id.
        id: u64,
    },
    /// Nothing can be reached there.
    #[error("workload {workload}: backend address {addr} cannot be connected to")]
    BackendAddress {
        /// The route's workload.
        workload: String,
        /// The address.
        addr: SocketAddr,
    },
    /// Not a path.
    #[error("workload {workload}: health path {path:?} is not an absolute path")]
    HealthPath {
        /// The route's workload.
        workload: String,
        /// The path as given.
        path: String,
    },
    /// Interval or timeout out of range.
    #[error(
        "workload {0}: the health interval must be at least {HEALTH_INTERVAL_MIN:?} and its timeout above 0"
    )]
    HealthTiming(String),
    /// Zero probes decide nothing.
    #[error("workload {0}: health fall and rise must be at least 1")]
    HealthCounts(String),
    /// Requests cannot be admitted like this.
    #[error("workload {workload}: admission: {problem}")]
    Admission {
        /// The route's workload.
        workload: String,
        /// What is wrong.
        problem: AdmissionProblem,
    },
    /// A time limit out of range.
    #[error("workload {workload}: {name} must be above 0 and at most {TIMEOUT_MAX:?}")]
    Timeout {
        /// The route's workload.
        workload: String,
        /// The field's name.
        name: &'static str,
    },
    /// Balancing that cannot work.
    #[error("workload {workload}: {rule}")]
    Balancing {
        /// The route's workload.
        workload: String,
        /// What is not so.
        rule: &'static str,
    },
    /// A cache that cannot work.
    #[error("workload {workload}: {rule}")]
    Cache {
        /// The route's workload.
        workload: String,
        /// What is not so.
        rule: &'static str,
    },
    /// Shedding that cannot work.
    #[error("workload {workload}: {rule}")]
    Shedding {
        /// The route's workload.
        workload: String,
        /// What is not so.
        rule: &'static str,
    },
    /// Protocols that do not fit together.
    #[error("workload {workload}: {reason}")]
    Protocols {
        /// The route's workload.
        workload: String,
        /// The rest of the sentence.
        reason: String,
    },
    /// Requests cannot be told of like this.
    #[error("workload {workload}: {reason}")]
    Observation {
        /// The route's workload.
        workload: String,
        /// The rest of the sentence.
        reason: String,
    },
}

const HOLD_DEFAULT: Duration = Duration::from_secs(5);
const WAITING_DEFAULT: usize = 1024;
/// Most routes of one table.
const ROUTES_MAX: usize = 512;
/// Most backends over all routes of one table.
const BACKENDS_MAX: usize = 4096;
/// Most endpoints over all routes of one table: their statistics must fit into a frame beside those of the backends.
const ENDPOINTS_MAX: usize = 2048;
const HEALTH_INTERVAL_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("a literal address")
    }

    #[test]
    fn every_problem_of_a_table_is_reported_at_once() {
        let mut first = Route::new("web", address("127.0.0.1:8000"));
        first.backends = vec![
            BackendSpec { id: 1, addr: address("127.0.0.1:9000"), weight: 1000 },
            BackendSpec { id: 1, addr: address("0.0.0.0:9001"), weight: 1000 },
        ];
        first.health = HealthSpec { path: "health".into(), fall: 0, ..HealthSpec::default() };
        let second = Route::new("web", address("127.0.0.1:8000"));
        let problems = RouteTable { generation: 1, routes: vec![first, second] }.validate();
        assert_eq!(problems.expect_err("refused").len(), 6);
    }

    #[test]
    fn a_route_with_defaults_is_valid() {
        let table = RouteTable { generation: 1, routes: vec![Route::new("web", address("[::1]:8000"))] };
        assert_eq!(table.validate(), Ok(()));
    }
}
