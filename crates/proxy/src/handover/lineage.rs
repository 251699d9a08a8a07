//! Counters of a proxy and its predecessors as those of one: whoever reads them sees neither a gap nor a request twice.

use super::message::Report;
use crate::control::{Amount, BackendStats, CacheStats, CostStats, EndpointStats, Stats, WorkloadStats};

/// What a predecessor said of itself last.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    report: Report,
    /// None: in another version.
    stats: Option<Stats>,
    /// It has ended, and what it was working on with it.
    pub(crate) is_over: bool,
}

impl Past {
    pub(crate) fn new(report: Report) -> Self {
        let stats = report.stats();
        Self { report, stats, is_over: false }
    }

    /// All counters, where they are understood.
    pub(crate) fn stats(&self) -> Option<&Stats> {
        self.stats.as_ref()
    }

    /// Client connections that are still open.
    pub(crate) fn connections(&self) -> u32 {
        if self.is_over { 0 } else { self.report.connections }
    }

    /// Adds it to a reading of this proxy's own.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.connections += self.connections();
        let Some(past) = &self.stats else { return self.add_in_flight(stats) };
        stats.started_at = past.started_at;
        for workload in &mut stats.workloads {
            if let Some(past) = past.workload(&workload.workload) {
                add_workload(workload, past, self.is_over);
            }
        }
    }

    /// What its counters are is not known; what its backends are busy with is.
    fn add_in_flight(&self, stats: &mut Stats) {
        if self.is_over {
            return;
        }
        for (name, id, addr, in_flight) in &self.report.in_flight {
            let Some(workload) = stats.workloads.iter_mut().find(|w| w.workload == *name) else { continue };
            workload.in_flight += in_flight;
            match workload.backends.iter_mut().find(|b| (b.id, b.addr) == (*id, *addr)) {
                Some(backend) => backend.in_flight += in_flight,
                None => workload.backends.push(BackendStats {
                    id: *id,
                    addr: *addr,
                    weight: 0,
                    routed: false,
                    requests: 0,
                    errors: 0,
                    retries: 0,
                    in_flight: *in_flight,
                    outgrown: 0,
                    healthy: true,
                    ejected: false,
                    latency: Default::default(),
                }),
            }
        }
    }
}

fn add_workload(to: &mut WorkloadStats, past: &WorkloadStats, is_over: bool) {
    to.arrivals += past.arrivals;
    to.completed += past.completed;
    to.failed += past.failed;
    to.rejected += past.rejected;
    to.cancelled += past.cancelled;
    to.held += past.held;
    to.bytes_in += past.bytes_in;
    to.bytes_out += past.bytes_out;
    if is_over {
        // Cut with it.
        to.failed += u64::from(past.in_flight);
    } else {
        to.waiting += past.waiting;
        to.in_flight += past.in_flight;
    }
    to.latency.merge(&past.latency);
    to.hold.merge(&past.hold);
    to.log_written += past.log_written;
    to.log_dropped += past.log_dropped;
    add_cache(&mut to.cache, &past.cache);
    for (class, shed) in to.shedding.iter_mut().flat_map(|shedding| &mut shedding.shed) {
        let past = past.shedding.iter().flat_map(|shedding| &shedding.shed).find(|(past, _)| past == class);
        *shed += past.map_or(0, |(_, shed)| *shed);
    }
    for cost in &mut to.costs {
        if let Some(past) = past.costs.iter().find(|past| past.name == cost.name) {
            add_cost(cost, past, is_over);
        }
    }
    for endpoint in &mut to.endpoints {
        if let Some(past) = past.endpoints.iter().find(|past| past.endpoint == endpoint.endpoint) {
            add_endpoint(endpoint, past);
        }
    }
    for past in &past.backends {
        match to.backends.iter_mut().find(|b| (b.id, b.addr) == (past.id, past.addr)) {
            Some(backend) => add_backend(backend, past, is_over),
            None if past.in_flight > 0 && !is_over => {
                to.backends.push(BackendStats { weight: 0, routed: false, ..past.clone() });
            }
            None => {}
        }
    }
}

/// What it keeps now, and the room that takes, is not among it: the other's is lost.
fn add_cache(to: &mut CacheStats, past: &CacheStats) {
    to.hits += past.hits;
    to.stale += past.stale;
    to.collapsed += past.collapsed;
    to.misses += past.misses;
    to.revalidated += past.revalidated;
    to.rescued += past.rescued;
    to.bypassed += past.bypassed;
    to.refreshes += past.refreshes;
    to.evictions += past.evictions;
}

fn add_cost(to: &mut CostStats, past: &CostStats, is_over: bool) {
    let add =
        |to: &mut Amount, past: Amount| *to = Amount::from_micros(to.micros().saturating_add(past.micros()));
    add(&mut to.arrived, past.arrived);
    add(&mut to.expected, past.expected);
    add(&mut to.measured, past.measured);
    to.outgrown += past.outgrown;
    to.hopeless += past.hopeless;
    if !is_over {
        add(&mut to.reserved, past.reserved);
        add(&mut to.waiting, past.waiting);
    }
}

fn add_endpoint(to: &mut EndpointStats, past: &EndpointStats) {
    to.statuses.iter_mut().zip(past.statuses).for_each(|(to, past)| *to += past);
    to.broken += past.broken;
    to.unanswered += past.unanswered;
    to.latency.merge(&past.latency);
}

fn add_backend(to: &mut BackendStats, past: &BackendStats, is_over: bool) {
    to.requests += past.requests;
    to.errors += past.errors;
    to.retries += past.retries;
    to.latency.merge(&past.latency);
    if !is_over {
        to.in_flight += past.in_flight;
        to.outgrown += past.outgrown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(id: u64, requests: u64, in_flight: u32) -> BackendStats {
        BackendStats {
            id,
            addr: "127.0.0.1:81".parse().expect("literal"),
            weight: 1000,
            routed: true,
            requests,
            errors: 0,
            retries: 0,
            in_flight,
            outgrown: 0,
            healthy: true,
            ejected: false,
            latency: Default::default(),
        }
    }

    fn reading(arrivals: u64, in_flight: u32, backends: Vec<BackendStats>) -> Stats {
        let workload = WorkloadStats {
            workload: "web".into(),
            arrivals,
            completed: arrivals - u64::from(in_flight),
            in_flight,
            backends,
            ..WorkloadStats::default()
        };
        Stats { started_at: arrivals, connections: in_flight, workloads: vec![workload], ..Stats::default() }
    }

    #[test]
    fn counters_go_on_growing_over_a_restart_and_what_is_cut_has_failed() {
        let before = reading(100, 3, vec![backend(1, 90, 1), backend(2, 10, 2)]);
        let mut past = Past::new(Report::new(&before));
        let own = reading(7, 1, vec![backend(1, 7, 1)]);
        let mut both = own.clone();
        past.add_to(&mut both);
        assert_eq!((both.started_at, both.connections), (100, 4));
        let web = both.workload("web").expect("there");
        assert_eq!((web.arrivals, web.completed, web.failed, web.in_flight), (107, 103, 0, 4));
        let busy: Vec<_> = web.backends.iter().map(|b| (b.id, b.requests, b.in_flight, b.routed)).collect();
        // The one that only the predecessor uses may not be stopped yet.
        assert_eq!(busy, [(1, 97, 2, true), (2, 10, 2, false)]);
        past.is_over = true;
        let mut after = own;
        past.add_to(&mut after);
        let web = after.workload("web").expect("there");
        assert_eq!((web.arrivals, web.completed, web.failed, web.in_flight), (107, 103, 3, 1));
        assert_eq!((web.backends.len(), after.connections), (1, 1));
    }

    #[test]
    fn counters_of_another_version_begin_anew_but_what_is_in_flight_is_known() {
        let mut report = Report::new(&reading(100, 3, vec![backend(1, 90, 1), backend(2, 10, 2)]));
        report.stats[0] += 1;
        let mut stats = reading(7, 1, vec![backend(1, 7, 1)]);
        Past::new(report).add_to(&mut stats);
        let web = stats.workload("web").expect("there");
        assert_eq!((stats.started_at, web.completed, web.in_flight), (7, 6, 4));
        let busy: Vec<_> = web.backends.iter().map(|b| (b.id, b.in_flight)).collect();
        assert_eq!(busy, [(1, 2), (2, 2)]);
    }
}
