//! What the proxy has counted. Every counter is cumulative since the proxy started (or the workload or backend
//! first appeared): the reader subtracts two readings.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::request_sample::CostStats;
use super::shedding::SheddingStats;

/// One reading of all counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// When it was read, milliseconds since the Unix epoch.
    pub at: u64,
    /// When this proxy started, milliseconds since the Unix epoch: another value means that counters began anew. One that took over
    /// from another goes on with its counters, and so with its start.
    pub started_at: u64,
    /// Process id of the proxy.
    pub pid: u32,
    /// Generation of the applied table, 0 before the first.
    pub generation: u64,
    /// Open client connections.
    pub connections: u32,
    /// Sorted by workload.
    pub workloads: Vec<WorkloadStats>,
}

impl Stats {
    /// The counters of one workload.
    pub fn workload(&self, workload: &str) -> Option<&WorkloadStats> {
        self.workloads.iter().find(|stats| stats.workload == workload)
    }
}

/// Counters of one workload, as its clients see it. On a TCP route each connection counts as one request, answered when a
/// backend has taken it.
///
/// `arrivals = completed + failed + cancelled + in_flight` whenever nothing moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadStats {
    /// The workload's name.
    pub workload: String,
    /// Requests whose head was received, and those of a cache's own.
    pub arrivals: u64,
    /// Answered below status 500 and delivered to the end: by a backend, or by the proxy itself where a request may not be
    /// passed on (4xx).
    pub completed: u64,
    /// Answered with 5xx (by a backend or by the proxy), or the response broke off.
    pub failed: u64,
    /// The part of `failed` that found no capacity: waited for nothing, or the waiting room was full (503).
    pub rejected: u64,
    /// The client went away first.
    pub cancelled: u64,
    /// Requests that had to wait for a backend, whatever became of them.
    pub held: u64,
    /// Content of requests passed on, heads left out; and of tunnels and TCP connections.
    pub bytes_in: u64,
    /// Content of backends' responses passed on, heads left out; as above.
    pub bytes_out: u64,
    /// Requests waiting for a backend now (they are part of `in_flight`).
    pub waiting: u32,
    /// Requests between their head's arrival and the end of their response.
    pub in_flight: u32,
    /// From the request head's arrival to the response head, waiting and retries included; requests that were
    /// answered by a backend only.
    pub latency: Histogram,
    /// How long held requests waited.
    pub hold: Histogram,
    /// What the route's cache did; all zero without one.
    pub cache: CacheStats,
    /// What was shed, where the route does.
    pub shedding: Option<SheddingStats>,
    /// What requests cost, where the route admits them by that; in the order of the route's costs.
    pub costs: Vec<CostStats>,
    /// Requests by endpoint, in the order of the route's endpoints, then the others; empty where they are not told apart.
    pub endpoints: Vec<EndpointStats>,
    /// Lines given to the access log.
    pub log_written: u64,
    /// Lines that the access log had no time or no room for.
    pub log_dropped: u64,
    /// In table order, then those that left the table with requests still in flight.
    pub backends: Vec<BackendStats>,
}

impl WorkloadStats {
    /// The counters of one backend.
    pub fn backend(&self, id: u64) -> Option<&BackendStats> {
        self.backends.iter().find(|stats| stats.id == id)
    }
}

/// Counters of a route's cache. Each of the requests that the cache may answer counts once, as one of `hits`, `stale`,
/// `collapsed`, `misses`, `revalidated`, `rescued`; those of its own, besides, as `refreshes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Answered with a fresh response; no backend was asked.
    pub hits: u64,
    /// Answered with a stale one while another was fetched (`stale-while-revalidate`, or the client allowed it).
    pub stale: u64,
    /// Answered with what another request had just asked for.
    pub collapsed: u64,
    /// Passed on; the backend answered in full.
    pub misses: u64,
    /// Passed on with validators; the backend confirmed what was kept (304).
    pub revalidated: u64,
    /// Passed on; the backend failed, and the client got what was kept (`stale-if-error`).
    pub rescued: u64,
    /// Passed on because a cache has no part in them: other methods, requests that say so.
    pub bypassed: u64,
    /// Requests of the cache's own, to renew what is stale. They are among the route's arrivals.
    pub refreshes: u64,
    /// Responses (addresses; each with all its variants) kept now.
    pub entries: u64,
    /// Bytes they take now.
    pub bytes: u64,
    /// Responses that had to make room for others.
    pub evictions: u64,
}

impl CacheStats {
    /// Requests that no backend saw.
    pub fn spared(&self) -> u64 {
        self.hits + self.stale + self.collapsed
    }

    /// The share of the requests that a cache has a part in which no backend saw; none before the first.
    pub fn hit_rate(&self) -> Option<f64> {
        let all = self.spared() + self.misses + self.revalidated + self.rescued;
        (all > 0).then(|| self.spared() as f64 / all as f64)
    }
}

/// Counters of one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStats {
    /// The instance's id.
    pub id: u64,
    /// Its address.
    pub addr: SocketAddr,
    /// Its weight in the applied table.
    pub weight: u32,
    /// Whether the applied table lists it. False: it left, and its last requests are finishing.
    pub routed: bool,
    /// Attempts sent or tried to be sent to it.
    pub requests: u64,
    /// Attempts that ended in a 5xx, a refused or broken connection, or a timeout. A pooled connection that the
    /// backend had closed is not an error.
    pub errors: u64,
    /// The part of `errors` that was tried again elsewhere, unseen by the client.
    pub retries: u64,
    /// Requests it is working on.
    pub in_flight: u32,
    /// Of these, those that have taken more than was reserved for them; 0 where requests are not admitted by cost.
    pub outgrown: u32,
    /// By active checks: false after `fall` failed probes, until `rise` good ones.
    pub healthy: bool,
    /// By its answers to requests: true while it is left out for a time.
    pub ejected: bool,
    /// From choosing the backend to its response head (connecting included).
    pub latency: Histogram,
}

/// Counters of one kind of requests, each counted when it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStats {
    /// The template, or [`OTHER_ENDPOINT`](super::OTHER_ENDPOINT).
    pub endpoint: String,
    /// By the first digit of the status: 1xx (what has become a tunnel) to 5xx, by whomever it was answered.
    pub statuses: [u64; 5],
    /// The part of those below 500 whose response broke off.
    pub broken: u64,
    /// Not answered before the client went away.
    pub unanswered: u64,
    /// From the request head's arrival to the response head, of all that were answered.
    pub latency: Histogram,
    /// The slowest request of the last minute that has a trace which somebody keeps.
    pub slow: Option<SlowTrace>,
}

impl EndpointStats {
    /// All requests that are over.
    pub fn requests(&self) -> u64 {
        self.statuses.iter().fold(self.unanswered, |sum, count| sum.saturating_add(*count))
    }

    /// Those that failed: 5xx, or broken off.
    pub fn errors(&self) -> u64 {
        self.statuses[4].saturating_add(self.broken)
    }
}

/// A request that took long, by its trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowTrace {
    /// The trace id as W3C Trace Context writes it.
    pub trace_id: String,
    /// To the response head, in microseconds.
    pub took_us: u64,
    /// When it was over, milliseconds since the Unix epoch.
    pub at: u64,
}
