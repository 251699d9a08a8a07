//! Making the snapshot that everybody else reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forecast::Timestamp;
use planner::{Instance, Phase, Reason, Role, Snapshot, WorkloadView};

use super::workload::Workload;
use super::{ControlLoop, PUBLISH_EVERY_MIN};
use crate::convert;
use crate::instances::name_of;
use crate::recorder::{Record, clock};
use crate::sessions::Sessions;
use crate::view::{View, WorkloadState};

impl ControlLoop {
    /// Makes a new snapshot if something changed and the last one is not brand new.
    pub(crate) fn publish_if_due(&mut self) {
        if self.published.stale && self.published.at.elapsed() >= PUBLISH_EVERY_MIN {
            self.publish();
        }
    }

    pub(crate) fn publish(&mut self) {
        self.say_rollouts();
        let elapsed = self.published.at.elapsed();
        self.published.at = Instant::now();
        self.published.stale = false;
        let snapshot = self.planner.snapshot();
        let mut states = Vec::with_capacity(self.workloads.len());
        for workload in &mut self.workloads {
            let Some(view) = snapshot.workload(&workload.id) else { continue };
            let counts = counts(view.instances);
            integrate(workload, counts, elapsed);
            states.push(WorkloadState {
                config: workload.config.clone(),
                detail: detail(workload, view, counts),
                costs: workload.costs.clone(),
                cache: workload.cache.filter(|_| workload.config.cache.is_some()),
                counted: workload.counted.clone(),
                forecaster: workload.forecaster.clone(),
            });
        }
        let view = View {
            proxy: self.proxy_status(),
            problems: self.problems.values().cloned().collect(),
            workloads: states,
            nodes: snapshot
                .nodes()
                .iter()
                .map(|node| convert::node(node, self.engine_nodes.health(node.policy.id.as_str())))
                .collect(),
            training: self.pausing.training.clone(),
        };
        self.view.send_replace(Arc::new(view));
    }

    /// Keeps the problem of new versions that are no good up to date.
    fn say_rollouts(&mut self) {
        let halted = |reason: &Reason| matches!(reason, Reason::Outdated { tried_again: Some(_), .. });
        let snapshot = self.planner.snapshot();
        let all = self.workloads.iter().filter(|workload| {
            let plan = snapshot.workload(&workload.id).and_then(|view| view.plan);
            plan.is_some_and(|plan| plan.reasons.iter().any(halted))
        });
        let names: Vec<&str> = all.map(Workload::name).collect();
        let message = format!(
            "the new version of {} was no good when it was tried; the one before serves on",
            names.join(", ")
        );
        let hint = "`foreshadow explain WORKLOAD` tells what went wrong; it is tried again by itself";
        self.problem_if(!names.is_empty(), "rollout_halted", message, hint);
    }

    /// The data plane, as far as it is known.
    pub(super) fn proxy_status(&self) -> api::ProxyStatus {
        api::ProxyStatus {
            connected: self.proxy.connected,
            pid: self.proxy.pid,
            generation: self.router.generation(),
            restarts: self.proxy.restarts,
        }
    }

    /// Writes steps of traffic shifts into the journal, and keeps plans that differ from the one before; a plan each tick that
    /// says the same again is not news.
    pub(crate) fn note_plans(&mut self) {
        let snapshot: Snapshot<'_> = self.planner.snapshot();
        for workload in &mut self.workloads {
            let Some(view) = snapshot.workload(&workload.id) else { continue };
            let known = std::mem::replace(&mut workload.shifts_noted, view.shifts.made());
            let made = view.shifts.since(known);
            self.notes.extend(made.map(|made| convert::shift::event(workload.name(), made)));
            let Some(plan) = view.plan else { continue };
            if !workload.is_news(plan) {
                continue;
            }
            let plan = convert::plan(workload.name(), plan);
            if let Ok(body) = serde_json::to_vec(&plan) {
                self.recorder.record(Record::Plan(history::PlanRecord {
                    at: Timestamp::from_millis(plan.at_ms),
                    workload: plan.workload.clone(),
                    generation: plan.generation,
                    body,
                }));
            }
            self.recent.push_plan(plan);
        }
    }
}

fn counts(instances: &[Instance]) -> api::InstanceCounts {
    let mut counts = api::InstanceCounts::default();
    for instance in instances {
        counts.outdated += u32::from(instance.outdated() && instance.phase() != Phase::Stopping);
        match (instance.phase(), instance.role()) {
            (Phase::Starting, _) => counts.starting += 1,
            (Phase::Ready, Role::Active) => counts.active += 1,
            (Phase::Ready, Role::Standby) => {
                counts.standby += 1;
                counts.parked += u32::from(instance.parked());
            }
            (Phase::Draining, _) => counts.draining += 1,
            (Phase::Halting | Phase::Stopping, _) => counts.stopping += 1,
            (Phase::Halted | Phase::Stopped | Phase::Failed, _) => {}
        }
    }
    counts
}

/// Adds the time since the last snapshot to the instance-seconds.
fn integrate(workload: &mut Workload, counts: api::InstanceCounts, elapsed: Duration) {
    let busy = counts.active + counts.starting + counts.draining;
    workload.totals.active_instance_s += f64::from(busy) * elapsed.as_secs_f64();
    workload.totals.standby_instance_s += f64::from(counts.standby) * elapsed.as_secs_f64();
}

fn detail(workload: &Workload, view: &WorkloadView<'_>, counts: api::InstanceCounts) -> api::WorkloadDetail {
    // Not `sum`, which of nothing is minus zero.
    let active_weight = view.table.iter().fold(0.0, |sum, (_, weight)| sum + f64::from(*weight));
    api::WorkloadDetail {
        summary: summary(workload, view, counts),
        policy: convert::policy(&workload.config),
        instances: view.instances.iter().map(|instance| row(workload, view, instance)).collect(),
        capacity: api::Capacity {
            per_instance: view.capacity,
            learned: matches!(workload.config.capacity, crate::config::CapacityConfig::LearnFrom(_)),
            active: active_weight / f64::from(planner::FULL_WEIGHT) * view.capacity,
            standby: f64::from(counts.standby) * view.capacity,
        },
        lead_times: api::LeadTimes {
            cold_ms: view.lead_cold.as_secs_f64() * 1e3,
            promote_ms: view.lead_promote.as_secs_f64() * 1e3,
        },
        promotion_ms: workload.promotion.summary(),
        cold_start_ms: workload.cold_start.summary(),
        latency_ms: workload.latency_step,
        budget: budget(workload, view),
        plan: view.plan.map(|plan| convert::plan(workload.name(), plan)),
        decision_override: view.pinned.map(|pinned| api::Override {
            workload: workload.name().to_owned(),
            active: pinned.active,
            standby: pinned.standby,
            author: pinned.author.clone(),
            reason: pinned.reason.clone(),
            set_at_ms: workload.override_set_at.unwrap_or_default().as_millis(),
            expires_at_ms: pinned.expires.map(Timestamp::as_millis),
        }),
        forecast_overrides: workload.forecast_overrides.at(clock()),
        anomalies: convert::anomalies(view.forecaster, &workload.config.unit),
        counters: api::Counters {
            arrivals: workload.totals.arrivals,
            failed: workload.totals.failed,
            held: workload.totals.held,
            starts: view.counters.starts,
            promotions: view.counters.promotions,
            anomalies: view.forecaster.anomalies_found(),
            stops: view.counters.stops,
            exits: view.counters.exits,
            out_of_memory: view.counters.out_of_memory,
            action_failures: view.counters.actions_failed,
            stale_events: view.counters.events_stale,
            active_instance_s: workload.totals.active_instance_s,
            standby_instance_s: workload.totals.standby_instance_s,
        },
    }
}

fn summary(
    workload: &Workload,
    view: &WorkloadView<'_>,
    counts: api::InstanceCounts,
) -> api::WorkloadSummary {
    let demand_now = match (&workload.pushed, &workload.sessions) {
        (_, Some(sessions)) => Some(sessions.wanted()),
        (Some(_), None) => workload.demand_last,
        (None, None) => workload.load.map(|load| load.rate),
    };
    api::WorkloadSummary {
        name: workload.name().to_owned(),
        mode: convert::mode(workload.config.mode),
        unit: workload.config.unit.clone(),
        listen: workload.config.listen.map(|listen| listen.to_string()),
        demand_now,
        counts,
        active_wanted: view.plan.map_or(0, |plan| plan.active_wanted),
        standby_wanted: view.plan.map_or(0, |plan| plan.standby_wanted),
        trust: convert::trust(&view.plan.map_or_else(|| view.forecaster.trust(), |plan| plan.trust)),
        overridden: view.pinned.is_some(),
        outage_since_ms: view.forecaster.outage_since().map(Timestamp::as_millis),
        sharing: convert::sharing(view),
        sessions: workload.sessions.as_ref().map(Sessions::summary),
        cache: cache(workload),
    }
}

fn cache(workload: &Workload) -> Option<api::CacheSummary> {
    let (spec, stats) = (workload.config.cache.as_ref()?, workload.cache?);
    Some(api::CacheSummary {
        hit_rate: stats.hit_rate(),
        spared: stats.spared(),
        entries: stats.entries,
        bytes: stats.bytes,
        bytes_max: spec.bytes_max,
        evictions: stats.evictions,
    })
}

fn row(workload: &Workload, view: &WorkloadView<'_>, instance: &Instance) -> api::Instance {
    let id = instance.id();
    let place = workload.places.get(&id);
    let backend = workload.backends.get(&id.get());
    let usage = workload.usage.get(&id);
    let latency = backend.and_then(|backend| backend.latency);
    api::Instance {
        id: id.get(),
        name: name_of(workload.name(), id).as_str().to_owned(),
        phase: convert::phase(instance.phase()),
        role: convert::role(instance.role()),
        parked: instance.parked(),
        weight: instance.weight(),
        since_ms: instance.since().as_millis(),
        pid: place.map(|place| place.pid),
        address: place.map(|place| place.address.to_string()),
        healthy: backend.map(|backend| backend.healthy),
        in_flight: backend.map_or(0, |backend| backend.in_flight),
        latency_p50_ms: latency.map(|(p50, _)| p50.as_secs_f64() * 1e3),
        latency_p99_ms: latency.map(|(_, p99)| p99.as_secs_f64() * 1e3),
        cpu_cores: usage.and_then(|usage| usage.rates.cpu_cores),
        memory_bytes: usage.map(|usage| usage.total.memory_bytes),
        disk_read_bytes_per_s: usage.and_then(|usage| usage.rates.disk_read),
        disk_written_bytes_per_s: usage.and_then(|usage| usage.rates.disk_written),
        network_received_bytes_per_s: usage.and_then(|usage| usage.rates.network_received),
        network_sent_bytes_per_s: usage.and_then(|usage| usage.rates.network_sent),
        instructions_per_s: usage.and_then(|usage| usage.rates.instructions),
        node: instance.node().map(ToString::to_string),
        sessions: workload.sessions.as_ref().map(|sessions| sessions.on(id)),
        shift: view
            .shifts
            .last_of(id)
            .into_iter()
            .map(|made| convert::shift::step(workload.name(), made))
            .collect(),
    }
}

fn budget(workload: &Workload, view: &WorkloadView<'_>) -> api::Budget {
    let share = (view.budget.demand > 0.0).then(|| view.budget.missed_share());
    api::Budget {
        allowed: view.budget.error_budget,
        missed_share: share,
        remaining: share.map(|share| 1.0 - share / view.budget.error_budget.max(f64::MIN_POSITIVE)),
        steps: view.forecaster.observed(),
        timestamps_ms: workload.missed_shares.iter().map(|(at, _)| at.as_millis()).collect(),
        missed_shares: workload.missed_shares.iter().map(|(_, share)| *share).collect(),
    }
}
