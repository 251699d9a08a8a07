//! What the control loop keeps about one workload beside the planner.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forecast::{Ensemble, Timestamp};
use planner::{ActionId, FULL_WEIGHT, InstanceId, Plan, WorkloadId};
use provider::{Throttling, Traffic, Usage};
use proxy::control::{BackendSpec, Route, WorkloadStats};

use crate::config::{CapacityConfig, DemandSource, WorkloadConfig};
use crate::control_loop::ForecastOverrides;
use crate::control_loop::experience::Written;
use crate::control_loop::raises::Raises;
use crate::convert;
use crate::instances::Place;
use crate::knowledge::Knowledge;
use crate::measured::Measured;
use crate::recorder::{
    CPU_CORES, DISK_READ, DISK_WRITTEN, INSTRUCTIONS, MEMORY_BYTES, NETWORK_RECEIVED, NETWORK_SENT,
};
use crate::routes::{self, Weights};
use crate::sessions::Sessions;
use crate::signals::{Load, Meter, Pushed};

/// One workload.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) id: WorkloadId,
    pub(crate) config: Arc<WorkloadConfig>,
    pub(crate) meter: Meter,
    /// Set where demand is pushed.
    pub(crate) pushed: Option<Pushed>,
    /// Set where it has sessions.
    pub(crate) sessions: Option<Sessions>,
    pub(crate) places: BTreeMap<InstanceId, Place>,
    /// As ordered last.
    pub(crate) weights: Weights,
    /// Backends that an earlier daemon had in traffic and nobody can tell about: their engine is silent. They stay there.
    pub(crate) unasked: Vec<BackendSpec>,
    pub(crate) drains: Vec<Drain>,
    /// Promotions whose instance is not in a table in force yet, and when they were decided.
    pub(crate) promoting: BTreeMap<InstanceId, Instant>,
    /// When those promotions were decided whose instances a table on its way contains.
    pub(crate) shifting: BTreeMap<ActionId, Vec<Instant>>,
    /// What the planner has measured, as it is in the history.
    pub(crate) experience: Written,
    pub(crate) promotion: Measured,
    pub(crate) cold_start: Measured,
    pub(crate) load: Option<Load>,
    pub(crate) demand_last: Option<f64>,
    pub(crate) backends: BTreeMap<u64, BackendNow>,
    pub(crate) usage: BTreeMap<InstanceId, UsageNow>,
    /// Throttling at the last quick look.
    pub(crate) looks: BTreeMap<InstanceId, Throttling>,
    pub(crate) totals: Totals,
    pub(crate) latency_step: api::LatencySummary,
    /// What requests cost, as the proxy told last.
    pub(crate) costs: Vec<api::RequestCost>,
    /// What its cache did, as the proxy said last.
    pub(crate) cache: Option<proxy::control::CacheStats>,
    /// Its requests as the proxy counted them last.
    pub(crate) counted: Option<Arc<proxy::control::WorkloadStats>>,
    /// What was forecast for coming steps: low, median, high.
    pub(crate) ahead: BTreeMap<Timestamp, [f64; 3]>,
    pub(crate) forecaster: Arc<Ensemble>,
    /// Known beside demand.
    pub(crate) knowledge: Knowledge,
    /// When the first step began that the covariates in force are counted from.
    pub(crate) known_from: Option<Timestamp>,
    /// How much of what the forecast noticed is in the journal.
    pub(crate) noticed: u64,
    /// What its instances have on top of their size.
    pub(crate) raises: Raises,
    /// How many steps of traffic shifts are in the journal.
    pub(crate) shifts_noted: u64,
    /// External models by name, and whether each takes part; absent before it was heard of.
    pub(crate) external: BTreeMap<String, bool>,
    pub(crate) missed_shares: VecDeque<(Timestamp, f64)>,
    pub(crate) override_set_at: Option<Timestamp>,
    pub(crate) forecast_overrides: ForecastOverrides,
    /// Generation of the plan looked at last.
    pub(crate) plan_seen: Option<u64>,
    /// When a plan was recorded last, and its shape.
    pub(crate) plan_recorded: Option<(Timestamp, PlanShape)>,
}

/// An order to wait until nothing is in flight on an instance.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) action: ActionId,
    pub(crate) instance: InstanceId,
    /// Readings of older tables say nothing: requests could still have been sent.
    pub(crate) generation: u64,
    pub(crate) deadline: Timestamp,
}

/// A backend at the last reading.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BackendNow {
    pub(crate) in_flight: u32,
    pub(crate) healthy: bool,
    pub(crate) latency: Option<(Duration, Duration)>,
}

/// What an instance used lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsageNow {
    pub(crate) at: Instant,
    /// So far.
    pub(crate) total: Usage,
    /// Between the last two readings.
    pub(crate) rates: UsageRates,
}

impl UsageNow {
    /// Memory that cannot be had back, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.total.working_bytes.unwrap_or(self.total.memory_bytes)
    }

    /// What a reading says beside the one before, if there was one.
    pub(crate) fn read(at: Instant, total: Usage, before: Option<&UsageNow>) -> UsageNow {
        let rates = before.map_or_else(UsageRates::default, |before| {
            UsageRates::between(&before.total, &total, at.saturating_duration_since(before.at))
        });
        UsageNow { at, total, rates }
    }

    /// Everything known, by the name of its series.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let rates = &self.rates;
        [
            (CPU_CORES, rates.cpu_cores),
            (MEMORY_BYTES, Some(self.total.memory_bytes as f64)),
            (DISK_READ, rates.disk_read),
            (DISK_WRITTEN, rates.disk_written),
            (NETWORK_RECEIVED, rates.network_received),
            (NETWORK_SENT, rates.network_sent),
            (INSTRUCTIONS, rates.instructions),
        ]
        .into_iter()
        .filter_map(|(metric, value)| Some((metric, value?)))
    }
}

/// Use by the second; `None` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct UsageRates {
    pub(crate) cpu_cores: Option<f64>,
    pub(crate) disk_read: Option<f64>,
    pub(crate) disk_written: Option<f64>,
    pub(crate) network_received: Option<f64>,
    pub(crate) network_sent: Option<f64>,
    pub(crate) instructions: Option<f64>,
}

impl UsageRates {
    fn between(before: &Usage, now: &Usage, elapsed: Duration) -> UsageRates {
        let seconds = elapsed.as_secs_f64();
        if seconds <= 0.0 {
            return UsageRates::default();
        }
        // A count that fell began anew, or lost what an ended process had added: nothing is known of the time between.
        let rate = |before: Option<u64>, now: Option<u64>| Some(now?.checked_sub(before?)? as f64 / seconds);
        let by = |of: fn(&Traffic) -> u64| {
            let disk = rate(before.disk.as_ref().map(of), now.disk.as_ref().map(of));
            (disk, rate(before.network.as_ref().map(of), now.network.as_ref().map(of)))
        };
        let (disk_read, network_received) = by(|traffic| traffic.bytes_in);
        let (disk_written, network_sent) = by(|traffic| traffic.bytes_out);
        UsageRates {
            cpu_cores: Some(now.cpu_time.saturating_sub(before.cpu_time).as_secs_f64() / seconds),
            disk_read,
            disk_written,
            network_received,
            network_sent,
            instructions: rate(before.instructions, now.instructions),
        }
    }
}

/// Counts since the daemon started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) arrivals: u64,
    pub(crate) failed: u64,
    pub(crate) held: u64,
    /// Content of requests and of responses that the proxy passed on.
    pub(crate) traffic: [u64; 2],
    /// The same up to the last step.
    traffic_told: [u64; 2],
    /// The reading that the totals reach up to, with the start of its proxy.
    reading: Option<(u64, [u64; 5])>,
    pub(crate) active_instance_s: f64,
    pub(crate) standby_instance_s: f64,
}

impl Totals {
    /// Adds what was counted since the last reading; with another proxy, all that it has counted.
    pub(crate) fn read(&mut self, proxy_started_at: u64, stats: &WorkloadStats) {
        let now = [stats.arrivals, stats.failed, stats.held, stats.bytes_in, stats.bytes_out];
        let before = match self.reading {
            Some((started_at, before)) if started_at == proxy_started_at => before,
            Some(_) => [0; 5],
            // What an adopted proxy counted before belongs to an earlier daemon.
            None => now,
        };
        self.reading = Some((proxy_started_at, now));
        self.arrivals += now[0].saturating_sub(before[0]);
        self.failed += now[1].saturating_sub(before[1]);
        self.held += now[2].saturating_sub(before[2]);
        self.traffic[0] += now[3].saturating_sub(before[3]);
        self.traffic[1] += now[4].saturating_sub(before[4]);
    }

    /// Bytes passed on since this was asked for last: of requests, of responses.
    pub(crate) fn traffic_of_step(&mut self) -> [u64; 2] {
        let before = std::mem::replace(&mut self.traffic_told, self.traffic);
        [self.traffic[0] - before[0], self.traffic[1] - before[1]]
    }
}

/// What makes a plan worth keeping beside the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlanShape {
    pub(crate) counts: (u32, u32),
    pub(crate) trusted: bool,
    pub(crate) rules: Vec<&'static str>,
    /// Wanted and ready, had it only reacted.
    pub(crate) reaction: (u32, u32),
}

impl PlanShape {
    fn of(plan: &Plan) -> PlanShape {
        let reaction = &plan.without_forecast;
        PlanShape {
            counts: (plan.active_wanted, plan.standby_wanted),
            trusted: plan.trust.is_trusted(),
            rules: plan.reasons.iter().map(convert::rule).collect(),
            reaction: (reaction.wanted, reaction.ready),
        }
    }

    /// Whether a plan like this is worth keeping so long after another.
    fn is_news_after(&self, other: &PlanShape, elapsed: Duration) -> bool {
        let counts =
            (self.counts, self.trusted, self.reaction) != (other.counts, other.trusted, other.reaction);
        counts || (self.rules != other.rules && elapsed >= REASONS_EVERY) || elapsed >= PLAN_EVERY
    }
}

impl Workload {
    /// Whether a plan that was looked at now is to be kept. One that says the same again is no news for a while.
    pub(crate) fn is_news(&mut self, plan: &Plan) -> bool {
        if self.plan_seen.replace(plan.generation) == Some(plan.generation) {
            return false;
        }
        let shape = PlanShape::of(plan);
        let news = self.plan_recorded.as_ref().is_none_or(|(at, before)| {
            // A clock that was set back is news, too.
            let elapsed = if plan.at < *at { PLAN_EVERY } else { plan.at.since(*at) };
            shape.is_news_after(before, elapsed)
        });
        if news {
            self.plan_recorded = Some((plan.at, shape));
        }
        news
    }

    pub(crate) fn new(
        config: Arc<WorkloadConfig>,
        forecaster: Arc<Ensemble>,
        last_step: Option<Timestamp>,
    ) -> Workload {
        let capacity = match config.capacity {
            CapacityConfig::Pinned(units) | CapacityConfig::LearnFrom(units) => units,
        };
        Workload {
            id: WorkloadId::from(config.name.as_str()),
            meter: Meter::new(config.step, config.tick, config.latency_bound)
                .by_cost(config.demand == DemandSource::Cost),
            pushed: match config.demand {
                DemandSource::Proxy | DemandSource::Cost | DemandSource::Sessions => None,
                DemandSource::Push => Some(Pushed::new(config.step, last_step)),
            },
            sessions: config.sessions.as_ref().map(|sessions| Sessions::new(sessions, capacity)),
            config,
            places: BTreeMap::new(),
            weights: Weights::new(),
            unasked: Vec::new(),
            drains: Vec::new(),
            promoting: BTreeMap::new(),
            shifting: BTreeMap::new(),
            experience: Written::default(),
            promotion: Measured::default(),
            cold_start: Measured::default(),
            load: None,
            demand_last: None,
            backends: BTreeMap::new(),
            usage: BTreeMap::new(),
            looks: BTreeMap::new(),
            totals: Totals::default(),
            latency_step: api::LatencySummary::default(),
            costs: Vec::new(),
            cache: None,
            counted: None,
            ahead: BTreeMap::new(),
            // What it noticed while it learned the past is not news.
            noticed: forecaster.noticed(),
            forecaster,
            raises: Raises::default(),
            shifts_noted: 0,
            knowledge: Knowledge::default(),
            known_from: None,
            external: BTreeMap::new(),
            missed_shares: VecDeque::new(),
            override_set_at: None,
            forecast_overrides: ForecastOverrides::default(),
            plan_seen: None,
            plan_recorded: None,
        }
    }

    /// Whether the proxy counts its demand.
    pub(crate) fn metered(&self) -> bool {
        matches!(self.config.demand, DemandSource::Proxy | DemandSource::Cost)
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// Its wanted route; `None` where nothing is routed.
    pub(crate) fn route(&self) -> Option<Route> {
        let mut route = routes::route(&self.config, &self.weights, &self.places)?;
        route.backends.extend_from_slice(&self.unasked);
        Some(route)
    }

    /// Whether an instance that was found is one of those that stayed in traffic. It is like any other from now on.
    pub(crate) fn claim(&mut self, instance: InstanceId, found: &Place) -> bool {
        let is_it = |backend: &BackendSpec| backend.id == instance.get();
        let Some(index) = self.unasked.iter().position(is_it) else { return false };
        let backend = self.unasked.swap_remove(index);
        let is_same = backend.addr == found.address;
        if is_same {
            self.weights.push((instance, backend.weight.min(FULL_WEIGHT)));
        }
        is_same
    }

    /// Forgets an instance that is gone.
    pub(crate) fn forget(&mut self, instance: InstanceId) {
        self.places.remove(&instance);
        self.promoting.remove(&instance);
        self.usage.remove(&instance);
        self.looks.remove(&instance);
    }

    /// Remembers the missed share up to a step.
    pub(crate) fn note_missed_share(&mut self, at: Timestamp, share: f64) {
        if self.missed_shares.len() == MISSED_SHARES_MAX {
            self.missed_shares.pop_front();
        }
        self.missed_shares.push_back((at, share));
    }
}

/// Plans of which only the reasons differ are kept no more often than this, ...
const REASONS_EVERY: Duration = Duration::from_secs(5);
/// ... and one that says the same again this often, with its numbers.
const PLAN_EVERY: Duration = Duration::from_secs(300);
/// Steps of the missed share kept for display.
const MISSED_SHARES_MAX: usize = 240;
