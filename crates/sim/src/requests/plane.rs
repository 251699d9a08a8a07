//! The data plane: requests that arrive, the router that spreads them over the instances, and the account of all that.
//!
//! Between two changes of the fleet or of the route table nothing but requests happens, so they are worked off in one
//! stretch when the next change is due. An instance that loses its place in the table finishes what it has.

use std::collections::BTreeMap;
use std::time::Duration;

use balance::{Weights, p2c};
use forecast::Timestamp;

use super::Settings;
use super::arrivals::Arrivals;
use super::server::{Fate, Left, Limits, Server};
use super::service::Sampler;
use super::tally::{Row, Tally};
use crate::demand::Demand;
use crate::world::{Account, Count, Fleet, Ledger, Stage, Totals};

/// Requests, router, instances and the account.
pub(super) struct Plane {
    limits: Limits,
    begin: Timestamp,
    now: Timestamp,
    score_from: Timestamp,
    arrivals: Arrivals,
    sampler: Sampler,
    rng: fastrand::Rng,
    router: Router,
    /// Instances without a place in the table, and what they still have.
    apart: BTreeMap<u64, Server>,
    curve: Curve,
    ledger: Ledger,
    row: Row,
    rows: Vec<Row>,
    tally: Tally,
    /// Everything that arrived, scored or not.
    arrived: u64,
    /// What left since the last reading, on instances that are gone or refused by the router.
    elsewhere: Left,
}

/// The demand from the beginning of the requests on.
struct Curve {
    values: Vec<Option<f64>>,
    step: Duration,
    slot: usize,
}

/// The route table in force, and the instances in it.
#[derive(Default)]
struct Router {
    table: Vec<(u64, u32)>,
    weights: Weights,
    relative: Vec<f64>,
    servers: Vec<Server>,
    /// Mean latency of the instances, in seconds: what is assumed of unknown ones.
    baseline_s: f64,
    refreshed: u64,
}

/// What an instance did since the last reading.
pub(super) struct Backend {
    pub(super) instance: u64,
    pub(super) left: Left,
    pub(super) in_flight: u32,
}

impl Plane {
    /// Nothing has arrived yet. `demand` is in requests per second.
    pub(super) fn new(demand: &Demand, settings: &Settings) -> Plane {
        let options = &settings.world;
        let from = settings.from;
        let first = demand.slot_at(from).unwrap_or(0);
        let curve = Curve { values: demand.values()[first..].to_vec(), step: demand.step(), slot: 0 };
        let score_from = options.score_from.unwrap_or(from);
        let mut ledger = Ledger::new(options.capacity, from, score_from);
        ledger.begin_step(curve.values.first().copied().flatten(), curve.step);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Plane {
            limits: Limits {
                slots: settings.slots,
                in_flight_max: settings.in_flight_max,
                timeout: nanos(settings.timeout),
                bound: nanos(settings.bound),
            },
            begin: from,
            now: from,
            score_from,
            arrivals: match &settings.arrivals {
                Some(times) => Arrivals::given(times),
                None => Arrivals::poisson(demand, from, options.seed ^ SEED_ARRIVALS),
            },
            sampler: settings.service.sampler(),
            rng: fastrand::Rng::with_seed(options.seed ^ SEED_SERVICE),
            router: Router::default(),
            apart: BTreeMap::new(),
            curve,
            ledger,
            row: Row::new(from),
            rows: Vec::new(),
            tally: Tally::default(),
            arrived: 0,
            elsewhere: Left::default(),
        }
    }

    /// Requests that have arrived since the beginning.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// What left since the last reading: in all, and by instance in the table.
    pub(super) fn read(&mut self) -> (Left, Vec<Backend>) {
        let now = self.nanos(self.now);
        let mut all = std::mem::take(&mut self.elsewhere);
        let baseline = self.router.baseline_s;
        let mut backends = Vec::with_capacity(self.router.servers.len());
        for ((instance, _), server) in self.router.table.iter().zip(&mut self.router.servers) {
            server.settle(now, &self.limits, baseline);
            let left = std::mem::take(&mut server.left);
            all.add(&left);
            backends.push(Backend { instance: *instance, left, in_flight: server.in_flight() });
        }
        for server in self.apart.values_mut() {
            server.settle(now, &self.limits, baseline);
            all.add(&std::mem::take(&mut server.left));
        }
        (all, backends)
    }

    /// Requests that are waiting or being served.
    pub(super) fn in_flight(&self) -> u32 {
        self.router.servers.iter().chain(self.apart.values()).map(Server::in_flight).sum()
    }

    /// The results: rows over time, sums of the requests, sums of the instances.
    pub(super) fn finish(self) -> (Vec<Row>, Tally, Totals) {
        (self.rows, self.tally, self.ledger.totals())
    }

    fn nanos(&self, at: Timestamp) -> u64 {
        u64::try_from(at.since(self.begin).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Brings the router to what holds now.
    fn reroute(&mut self, fleet: &Fleet, table: Option<&BTreeMap<u64, u32>>) {
        let weight = |instance: u64| {
            table.map_or(planner::FULL_WEIGHT, |table| table.get(&instance).copied().unwrap_or(0))
        };
        let active = || {
            let routed = |(instance, stage)| (stage == Stage::Active).then(|| (instance, weight(instance)));
            fleet.iter().filter_map(routed).filter(|(_, weight)| *weight > 0)
        };
        if active().eq(self.router.table.iter().copied()) {
            return;
        }
        let now = self.nanos(self.now);
        let before = std::mem::take(&mut self.router.table);
        self.apart.extend(before.into_iter().map(|(id, _)| id).zip(self.router.servers.drain(..)));
        for (instance, weight) in active() {
            let server = self.apart.remove(&instance).unwrap_or_else(|| Server::new(self.limits.slots));
            self.router.table.push((instance, weight));
            self.router.servers.push(server);
        }
        let (limits, baseline, elsewhere) = (&self.limits, self.router.baseline_s, &mut self.elsewhere);
        self.apart.retain(|instance, server| {
            server.settle(now, limits, baseline);
            elsewhere.add(&std::mem::take(&mut server.left));
            fleet.stage(*instance).is_some() || server.in_flight() > 0
        });
        self.router.weights = Weights::new(self.router.table.iter().map(|(_, weight)| *weight));
        let count = self.router.table.len();
        self.router.relative = (0..count).map(|index| self.router.weights.relative(index)).collect();
    }

    /// Works off everything that arrives before `until`.
    fn serve(&mut self, until: u64) {
        let scored = self.now >= self.score_from;
        while let Some(now) = self.arrivals.next_before(until) {
            self.arrived += 1;
            let work = self.sampler.draw(&mut self.rng);
            let fate = self.router.send(now, work, &self.limits, &mut self.rng);
            if fate == Fate::Refused {
                self.elsewhere.requests += 1;
                self.elsewhere.failed += 1;
            }
            self.row.count(fate, &self.limits);
            if scored {
                self.tally.count(fate, &self.limits);
            }
        }
    }

    fn end_slot(&mut self) {
        self.curve.slot += 1;
        let next = self.curve.values.get(self.curve.slot).copied().flatten();
        self.ledger.begin_step(next, self.curve.step);
        let row = std::mem::replace(&mut self.row, Row::new(self.now));
        self.rows.push(row.closed(self.curve.step));
    }
}

impl Account for Plane {
    fn advance(&mut self, to: Timestamp, fleet: &Fleet, table: Option<&BTreeMap<u64, u32>>) {
        self.reroute(fleet, table);
        while self.now < to && self.curve.slot < self.curve.values.len() {
            let slots = u32::try_from(self.curve.slot + 1).unwrap_or(u32::MAX);
            let end = self.begin + self.curve.step * slots;
            let until = to.min(end);
            self.serve(self.nanos(until));
            self.row.occupy(fleet, until.since(self.now));
            self.ledger.advance(until, fleet);
            self.now = until;
            if until == end {
                self.end_slot();
            }
        }
    }

    fn count(&mut self, what: Count) {
        self.ledger.count(what);
    }

    fn drain_time(&self, instance: u64) -> Duration {
        let at = |id: &(u64, u32)| id.0 == instance;
        let routed = self.router.table.iter().position(at).map(|index| &self.router.servers[index]);
        let server = routed.or_else(|| self.apart.get(&instance));
        let last = server.and_then(Server::last_departure).unwrap_or(0);
        Duration::from_nanos(last.saturating_sub(self.nanos(self.now)))
    }
}

impl Router {
    /// Chooses an instance as the built-in proxy does, and gives it the request.
    fn send(&mut self, now: u64, work: u64, limits: &Limits, rng: &mut fastrand::Rng) -> Fate {
        if now >= self.refreshed + BASELINE_EVERY {
            self.refresh(now);
        }
        let (servers, relative, baseline) = (&mut self.servers, &self.relative, self.baseline_s);
        let chosen = match servers.len() {
            1 => Some(0),
            _ => p2c::pick(
                &self.weights,
                || rng.u64(..),
                |index| {
                    let server = &mut servers[index];
                    server.settle(now, limits, baseline);
                    server.has_room(limits).then(|| {
                        let latency = server.latency_s(now, baseline).unwrap_or(baseline);
                        p2c::cost(latency, baseline, server.in_flight(), relative[index])
                    })
                },
            ),
        };
        let Some(index) = chosen else { return Fate::Refused };
        if servers.len() == 1 {
            servers[index].settle(now, limits, baseline);
        }
        servers[index].take(now, work, limits)
    }

    fn refresh(&mut self, now: u64) {
        self.refreshed = now;
        let baseline = self.baseline_s;
        let known = self.servers.iter().filter_map(|server| server.latency_s(now, baseline));
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), latency| (sum + latency, count + 1.0));
        if count > 0.0 {
            self.baseline_s = sum / count;
        }
    }
}

impl Left {
    fn add(&mut self, other: &Left) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.late += other.late;
        self.latency.merge(&other.latency);
    }
}

/// The mean latency is brought up to date this often, in nanoseconds.
const BASELINE_EVERY: u64 = 100_000_000;
const SEED_ARRIVALS: u64 = 0x61;
const SEED_SERVICE: u64 = 0x73;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_on_its_way_to_a_full_share_gets_its_weight() {
        let limits = Limits { slots: 4, in_flight_max: 100, timeout: u64::MAX, bound: u64::MAX };
        let weights = [1000, 1000, 100];
        let mut router = Router {
            table: (1..).zip(weights).collect(),
            weights: Weights::new(weights),
            servers: vec![Server::new(4); 3],
            ..Router::default()
        };
        router.relative = (0..3).map(|index| router.weights.relative(index)).collect();
        let mut rng = fastrand::Rng::with_seed(1);
        let count = 50_000;
        // 120 requests/s that take 50 ms each: six at a time.
        for n in 0..count {
            assert!(matches!(router.send(n * 8_333_333, 50_000_000, &limits, &mut rng), Fate::Answered(_)));
        }
        router.servers.iter_mut().for_each(|server| server.settle(u64::MAX, &limits, 0.0));
        let shares = router.servers.iter().map(|server| server.left.requests as f64 / count as f64);
        let shares: Vec<f64> = shares.collect();
        assert!((shares[2] - 100.0 / 2100.0).abs() < 0.02, "{shares:?}");
        assert!((shares[0] - shares[1]).abs() < 0.03, "{shares:?}");
    }
}
