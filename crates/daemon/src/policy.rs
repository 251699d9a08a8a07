//! From a configured workload to the planner's policy.

use forecast::watch::{RefitSchedule, RetrainConfig};
use planner::{
    CapacityPolicy, Deadlines, Limits, Margin, Mode, Objective, Policy, Prices, ShiftPolicy, WorkloadPolicy,
};

use crate::config::{
    self, CapacityConfig, Config, MarginConfig, NeedsConfig, NodeConfig, RetrainSchedule, TenantConfig,
    WorkloadConfig,
};

pub(crate) fn policy(config: &Config) -> Policy {
    Policy {
        workloads: config.workloads.iter().map(workload_policy).collect(),
        limits: Limits::default(),
        nodes: config.nodes.iter().map(NodeConfig::policy).collect(),
        tenants: config.tenants.iter().map(TenantConfig::policy).collect(),
    }
}

/// The planner's policy for a configured workload, as `run` and `replay` both use it.
pub fn workload_policy(w: &WorkloadConfig) -> WorkloadPolicy {
    let capacity = match w.capacity {
        CapacityConfig::Pinned(units) => CapacityPolicy::Pinned(units),
        CapacityConfig::LearnFrom(initial) => CapacityPolicy::Learned { initial },
    };
    let base = WorkloadPolicy::new(w.name.as_str(), w.step, capacity);
    let policy = WorkloadPolicy {
        tick: w.tick,
        // The configuration was checked, so the zone exists.
        time_zone: w.time_zone.as_deref().and_then(|name| jiff::tz::TimeZone::get(name).ok()),
        replicas_min: w.replicas.min,
        replicas_max: w.replicas.max,
        standby_min: w.standby.min,
        standby_max: w.standby.max,
        objective: Objective { error_budget: w.error_budget, latency_bound: w.latency_bound },
        prices: Prices { active: 1.0, standby: w.standby.price, start: w.start_cost.unwrap_or(w.lead_cold) },
        stopped: w.stopped,
        lead_cold: w.lead_cold,
        lead_promote: w.lead_promote,
        hold: w.hold,
        horizon: w.forecast_horizon,
        models: w.models.clone(),
        retraining: Some(retraining(w)),
        guests: w.external.iter().map(|name| crate::externals::seat(name)).collect(),
        margin: match w.margin {
            MarginConfig::Controlled => Margin::Controlled,
            MarginConfig::Fixed(safety_margin) => Margin::Fixed { safety_margin },
        },
        clone_threshold: w.clone_threshold,
        shift: ShiftPolicy {
            first_share: w.shift.first_share,
            step_every: w.shift.step_every,
            ..ShiftPolicy::default()
        },
        deadlines: Deadlines {
            start: w.deadlines.start,
            promote: w.deadlines.promote,
            park: w.deadlines.park,
            drain: w.deadlines.drain,
            // The provider kills after the configured time; the order is late only some time after that.
            stop: w.deadlines.stop + STOP_SLACK,
            ..Deadlines::default()
        },
        sizing: w.sizing.clone(),
        profiles: w.profiles,
        sessions: w.sessions.as_ref().map(|sessions| sessions.policy(capacity.initial())),
        mode: match w.mode {
            config::Mode::Observe => Mode::Observe,
            config::Mode::Act => Mode::Act,
        },
        priority: w.priority,
        tenant: w.tenant.clone(),
        needs: w.needs().map(NeedsConfig::size).unwrap_or_default(),
        ..base
    };
    policy.with_scopes(w.scopes.clone(), w.holidays.clone())
}

/// The settings over what suits the step.
fn retraining(w: &WorkloadConfig) -> RetrainConfig {
    let (settings, base) = (&w.retrain, RetrainConfig::for_step(w.step));
    // Nought turns off what has a default.
    let or_off = |given: Option<f64>, default: Option<f64>| given.or(default).filter(|value| *value > 0.0);
    RetrainConfig {
        schedule: match settings.schedule {
            None => base.schedule,
            Some(RetrainSchedule::Never) => RefitSchedule::Never,
            Some(RetrainSchedule::Every(every)) => RefitSchedule::Every(every),
        },
        growth: or_off(settings.growth, base.growth),
        refit_gap: settings.gap.unwrap_or(base.refit_gap),
        patience: settings.patience.unwrap_or(base.patience),
        deploy_settles: settings.deploy_settles.unwrap_or(base.deploy_settles),
        mae_max: settings.mae_max,
        rmse_max: settings.rmse_max,
        pinball_max: settings.pinball_max,
        coverage_min: or_off(settings.coverage_min, base.coverage_min),
    }
}

const STOP_SLACK: std::time::Duration = std::time::Duration::from_secs(10);
