//! `/metrics`: what a monitoring system should know.
//!
//! Most numbers are read from the snapshot when they are asked for, so that they cost nothing otherwise; only
//! distributions are counted as they happen.

mod cache;
mod nodes;
mod shedding;
mod traffic;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

use crate::recorder::Health;
use crate::view::{View, WorkloadState};

/// Distributions, and the registry that prints everything.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    promotion: Family<Of, Histogram, fn() -> Histogram>,
    cold_start: Family<Of, Histogram, fn() -> Histogram>,
    plan: Histogram,
    action_failures: Family<Of, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    workload: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Quantile {
    workload: String,
    window: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CostName {
    workload: String,
    cost: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    workload: String,
    state: &'static str,
}

impl Metrics {
    pub(crate) fn new(view: watch::Receiver<Arc<View>>, history: Arc<Health>) -> Metrics {
        let mut registry = Registry::with_prefix("foreshadow");
        let metrics = Metrics {
            promotion: Family::new_with_constructor(promotion_histogram),
            cold_start: Family::new_with_constructor(cold_start_histogram),
            plan: Histogram::new(PLAN_BUCKETS),
            action_failures: Family::default(),
            registry: Registry::default(),
        };
        registry.register_with_unit(
            "promotion",
            "From the decision to promote an instance to the route table with it being in force",
            Unit::Seconds,
            metrics.promotion.clone(),
        );
        registry.register_with_unit(
            "cold_start",
            "From the decision to start an instance to its readiness",
            Unit::Seconds,
            metrics.cold_start.clone(),
        );
        registry.register_with_unit(
            "plan_duration",
            "Time to make a plan",
            Unit::Seconds,
            metrics.plan.clone(),
        );
        registry.register("action_failures", "Actions that failed", metrics.action_failures.clone());
        registry.register_collector(Box::new(Snapshots { view, history }));
        Metrics { registry, ..metrics }
    }

    pub(crate) fn promoted(&self, workload: &str, took: Duration) {
        self.promotion.get_or_create(&of(workload)).observe(took.as_secs_f64());
    }

    pub(crate) fn started(&self, workload: &str, took: Duration) {
        self.cold_start.get_or_create(&of(workload)).observe(took.as_secs_f64());
    }

    pub(crate) fn planned(&self, took: Duration) {
        self.plan.observe(took.as_secs_f64());
    }

    pub(crate) fn action_failed(&self, workload: &str) {
        self.action_failures.get_or_create(&of(workload)).inc();
    }

    /// Everything in the text format of OpenMetrics.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Reads the snapshot at each scrape.
#[derive(Debug)]
struct Snapshots {
    view: watch::Receiver<Arc<View>>,
    history: Arc<Health>,
}

impl Collector for Snapshots {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let view = self.view.borrow().clone();
        for (name, help, read) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for workload in &view.workloads {
                if let Some(value) = read(workload).filter(|value| value.is_finite()) {
                    metric.encode_family(&of(&workload.config.name))?.encode_gauge(&value)?;
                }
            }
        }
        for (name, help, read) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for workload in &view.workloads {
                let value = read(workload);
                metric
                    .encode_family(&of(&workload.config.name))?
                    .encode_counter::<NoLabelSet, f64, f64>(&value, None)?;
            }
        }
        encode_outdated(&mut encoder, &view)?;
        encode_instances(&mut encoder, &view)?;
        encode_forecast(&mut encoder, &view)?;
        encode_costs(&mut encoder, &view)?;
        cache::encode(&mut encoder, &view)?;
        nodes::encode(&mut encoder, &view)?;
        shedding::encode(&mut encoder, &view)?;
        traffic::encode(&mut encoder, &view)?;
        self.encode_own(&mut encoder, &view)
    }
}

impl Snapshots {
    fn encode_own(&self, encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
        let history = self.history.status();
        let own = [
            ("proxy_up", "1 while the proxy answers", f64::from(u8::from(view.proxy.connected))),
            (
                "route_table_generation",
                "Generation of the route table in force",
                view.proxy.generation as f64,
            ),
            ("problems", "Problems that need attention", view.problems.len() as f64),
            (
                "history_writable",
                "1 while history takes writes",
                f64::from(u8::from(history.state == api::HistoryState::Ok)),
            ),
            (
                "training_paused",
                "1 while the training of models is paused",
                f64::from(u8::from(view.training.paused.is_some())),
            ),
            ("history_records_dropped", "Records that could not be written", history.records_dropped as f64),
        ];
        for (name, help, value) in own {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

fn encode_costs(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    type Read = fn(&api::RequestCost) -> f64;
    let gauges: [(&str, &str, Read); 3] = [
        ("request_cost_per_instance", "How much of a cost one instance has", |cost| cost.per_instance),
        ("request_cost_reserved", "Reserved for requests that run", |cost| cost.reserved),
        ("request_cost_waiting", "Wanted by requests that wait", |cost| cost.waiting),
    ];
    let counters: [(&str, &str, Read); 3] = [
        ("request_cost_arrived", "Expected of requests that arrived", |cost| cost.arrived),
        ("request_cost_expected", "Expected of requests that were measured", |cost| cost.expected),
        ("request_cost_measured", "Cost of requests that were measured", |cost| cost.measured),
    ];
    let labels = |workload: &WorkloadState, cost: &api::RequestCost| CostName {
        workload: workload.config.name.clone(),
        cost: cost.name.clone(),
    };
    let all = || view.workloads.iter().flat_map(|w| w.costs.iter().map(move |cost| (w, cost)));
    for (name, help, read) in gauges {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (workload, cost) in all() {
            metric.encode_family(&labels(workload, cost))?.encode_gauge(&read(cost))?;
        }
    }
    for (name, help, read) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (workload, cost) in all() {
            let family = labels(workload, cost);
            metric.encode_family(&family)?.encode_counter::<NoLabelSet, f64, f64>(&read(cost), None)?;
        }
    }
    Ok(())
}

fn encode_instances(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let mut metric = encoder.encode_descriptor("instances", "Instances by state", None, MetricType::Gauge)?;
    for workload in &view.workloads {
        let counts = workload.detail.summary.counts;
        let states = [
            ("starting", counts.starting),
            ("active", counts.active),
            ("standby", counts.standby),
            ("draining", counts.draining),
            ("stopping", counts.stopping),
        ];
        for (state, count) in states {
            let labels = State { workload: workload.config.name.clone(), state };
            metric.encode_family(&labels)?.encode_gauge(&f64::from(count))?;
        }
    }
    Ok(())
}

fn encode_outdated(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let help = "Instances of an earlier version, which are to be replaced";
    let mut metric = encoder.encode_descriptor("instances_outdated", help, None, MetricType::Gauge)?;
    for workload in &view.workloads {
        let labels = Of { workload: workload.config.name.clone() };
        metric.encode_family(&labels)?.encode_gauge(&f64::from(workload.detail.summary.counts.outdated))?;
    }
    Ok(())
}

fn encode_forecast(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let help = "Largest demand expected in the window of the plan, at the quantile of the plan";
    let mut metric = encoder.encode_descriptor("forecast_demand", help, None, MetricType::Gauge)?;
    for workload in &view.workloads {
        let Some(plan) = &workload.detail.plan else { continue };
        for (window, value) in
            [("active", plan.inputs.forecast_active), ("total", plan.inputs.forecast_total)]
        {
            let labels = Quantile { workload: workload.config.name.clone(), window };
            if let Some(value) = value {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
    }
    Ok(())
}

fn of(workload: &str) -> Of {
    Of { workload: workload.to_owned() }
}

fn promotion_histogram() -> Histogram {
    Histogram::new(PROMOTION_BUCKETS)
}

fn cold_start_histogram() -> Histogram {
    Histogram::new(COLD_START_BUCKETS)
}

type Gauge = (&'static str, &'static str, fn(&WorkloadState) -> Option<f64>);
type Count = (&'static str, &'static str, fn(&WorkloadState) -> f64);

const GAUGES: [Gauge; 11] = [
    ("demand", "Demand now, in the workload's unit", |w| w.detail.summary.demand_now),
    ("active_wanted", "Active instances wanted", |w| Some(f64::from(w.detail.summary.active_wanted))),
    ("standby_wanted", "Standby instances wanted", |w| Some(f64::from(w.detail.summary.standby_wanted))),
    ("capacity_per_instance", "Demand one instance serves", |w| Some(w.detail.capacity.per_instance)),
    ("lead_cold_seconds", "Lead time of a new instance", |w| Some(w.detail.lead_times.cold_ms / 1e3)),
    ("lead_promote_seconds", "Lead time of a promotion", |w| Some(w.detail.lead_times.promote_ms / 1e3)),
    ("missed_share", "Share of demand that found no capacity", |w| w.detail.budget.missed_share),
    ("error_budget", "Share of demand that may find no capacity", |w| Some(w.detail.budget.allowed)),
    ("forecast_trusted", "1 while the forecast is relied on", |w| {
        Some(f64::from(u8::from(w.detail.summary.trust.trusted)))
    }),
    ("outage_suspected", "1 while demand is silent as in an outage", |w| {
        Some(f64::from(u8::from(w.detail.summary.outage_since_ms.is_some())))
    }),
    ("latency_p99_seconds", "99th percentile at the proxy over the last step", |w| {
        w.detail.latency_ms.p99.map(|ms| ms / 1e3)
    }),
];

const COUNTERS: [Count; 11] = [
    ("requests", "Requests that arrived at the proxy", |w| w.detail.counters.arrivals as f64),
    ("requests_failed", "Requests without a usable answer", |w| w.detail.counters.failed as f64),
    ("requests_held", "Requests that waited for an instance", |w| w.detail.counters.held as f64),
    ("anomalies", "Values of demand of another kind than those before", |w| {
        w.detail.counters.anomalies as f64
    }),
    ("starts", "Instances started", |w| w.detail.counters.starts as f64),
    ("promotions", "Promotions from standby to active", |w| w.detail.counters.promotions as f64),
    ("stops", "Instances stopped", |w| w.detail.counters.stops as f64),
    ("exits", "Instances that ended by themselves", |w| w.detail.counters.exits as f64),
    ("out_of_memory", "Instances, or processes of them, killed for lack of memory", |w| {
        w.detail.counters.out_of_memory as f64
    }),
    ("stale_events", "Results that came too late", |w| w.detail.counters.stale_events as f64),
    ("active_instance_seconds", "Time integral of active instances", |w| w.detail.counters.active_instance_s),
];

const PROMOTION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const COLD_START_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const PLAN_BUCKETS: [f64; 10] = [1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 1.0];
