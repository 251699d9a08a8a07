//! From the daemon's and the planner's types to those of the wire. Nothing else in the daemon makes `api` types of plans,
//! instances and events.

use ::forecast::{Anomaly, Ensemble, Notice, Timestamp, Trust};
use history::models::{ModelEvent, ModelId, ModelRecord, ModelState};
use history::{CalendarChange, CalendarRecord};
use planner::{Event, InstanceId, Phase, Plan, Reason, Role, SharingReason};
use provider::InstanceName;

use crate::config::{self, MarginConfig, WorkloadConfig};
use crate::instances::name_of;

pub(crate) mod explain;
mod forecast;
mod nodes;
pub(crate) mod overrides;
pub(crate) mod shift;

pub(crate) use self::forecast::{Asked, forecast, levels};
pub(crate) use nodes::{node, sharing};

pub(crate) fn trust(trust: &Trust) -> api::Trust {
    api::Trust {
        trusted: trust.is_trusted(),
        sentence: trust.to_string(),
        coverage: trust.coverage(),
        skill: trust.skill(),
    }
}

pub(crate) fn phase(phase: Phase) -> api::Phase {
    match phase {
        Phase::Starting => api::Phase::Starting,
        Phase::Ready => api::Phase::Ready,
        Phase::Draining => api::Phase::Draining,
        Phase::Halting => api::Phase::Halting,
        Phase::Halted => api::Phase::Halted,
        Phase::Stopping => api::Phase::Stopping,
        Phase::Stopped => api::Phase::Stopped,
        Phase::Failed => api::Phase::Failed,
    }
}

pub(crate) fn role(role: Role) -> api::Role {
    match role {
        Role::Standby => api::Role::Standby,
        Role::Active => api::Role::Active,
    }
}

pub(crate) fn mode(mode: config::Mode) -> api::Mode {
    match mode {
        config::Mode::Observe => api::Mode::Observe,
        config::Mode::Act => api::Mode::Act,
    }
}

pub(crate) fn plan(workload: &str, plan: &Plan) -> api::Plan {
    let inputs = &plan.inputs;
    let known = plan.trust.is_trusted() || inputs.forecast_total > 0.0;
    api::Plan {
        workload: workload.to_owned(),
        generation: plan.generation,
        at_ms: plan.at.as_millis(),
        active_wanted: plan.active_wanted,
        standby_wanted: plan.standby_wanted,
        size: plan.size.map(|size| api::Size { cpu_cores: size.cpu_cores, memory_bytes: size.memory_bytes }),
        trigger: plan.trigger.to_string(),
        trust: trust(&plan.trust),
        inputs: api::PlanInputs {
            demand_now: inputs.demand_now,
            floor: inputs.floor,
            q_active: inputs.q_active,
            q_standby: inputs.q_standby,
            window_active_steps: u32::try_from(inputs.window_active_steps).unwrap_or(u32::MAX),
            window_standby_steps: u32::try_from(inputs.window_standby_steps).unwrap_or(u32::MAX),
            forecast_active: known.then_some(inputs.forecast_active),
            forecast_total: known.then_some(inputs.forecast_total),
            capacity: inputs.capacity,
            clone_threshold: inputs.clone_threshold,
        },
        without_forecast: Some(explain::reaction(&plan.without_forecast)),
        reasons: plan
            .reasons
            .iter()
            .map(|reason| api::Reason { rule: rule(reason).to_owned(), sentence: reason.to_string() })
            .collect(),
    }
}

/// The stable name of a rule.
pub(crate) fn rule(reason: &Reason) -> &'static str {
    match reason {
        Reason::ForecastNeeds { .. } => "forecast_needs",
        Reason::MarginNeeds { .. } => "margin_needs",
        Reason::RuleNeeds { .. } => "rule_needs",
        Reason::ReactiveNeeds { .. } => "reactive_needs",
        Reason::DemandFloor { .. } => "demand_floor",
        Reason::CloneThreshold { .. } => "clone_threshold",
        Reason::ForecastOverridden(_) => "forecast_overridden",
        Reason::Scope(_) => "scope",
        Reason::Untrusted { .. } => "untrusted",
        Reason::Doubted { .. } => "doubted",
        Reason::NoSignal => "no_signal",
        Reason::HeldActive { .. } => "held_active",
        Reason::KeptStandby { .. } => "kept_standby",
        Reason::AwaitsReading => "awaits_reading",
        Reason::ScaleInBlocked { .. } => "scale_in_blocked",
        Reason::AtMinimum { .. } => "at_minimum",
        Reason::AtMaximum { .. } => "at_maximum",
        Reason::NoStandbyTier { .. } => "no_standby_tier",
        Reason::Override { .. } => "override",
        Reason::BudgetOverspent { .. } => "budget_overspent",
        Reason::Outdated { .. } => "outdated",
        Reason::RampSkipped { .. } => "ramp_skipped",
        Reason::ShiftRolledBack { .. } => "shift_rolled_back",
        Reason::StartsPaused { .. } => "starts_paused",
        Reason::Size(_) => "size",
        Reason::Profile(_) => "profile",
        Reason::StandbyShort { .. } => "standby_short",
        Reason::Sharing(reason) => sharing_rule(reason),
        Reason::Sessions(_) => "sessions",
        Reason::Warmth(_) => "warmth",
    }
}

fn sharing_rule(reason: &SharingReason) -> &'static str {
    match reason {
        SharingReason::Refused { .. } => "refused",
        SharingReason::Preempted { .. } => "preempted",
        SharingReason::Preempts { .. } => "preempts",
        SharingReason::WaitsForRoom { .. } => "waits_for_room",
        SharingReason::Placed { .. } => "placed",
        SharingReason::Moved { .. } => "moved",
        SharingReason::Shielded { .. } => "shielded",
        SharingReason::NodeLost { .. } => "node_lost",
    }
}

pub(crate) fn policy(w: &WorkloadConfig) -> api::PolicySummary {
    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    api::PolicySummary {
        step_ms: ms(w.step),
        tick_ms: ms(w.tick),
        replicas_min: w.replicas.min,
        replicas_max: w.replicas.max,
        standby_min: w.standby.min,
        standby_max: w.standby.max,
        standby_price: w.standby.price,
        error_budget: w.error_budget,
        latency_bound_ms: w.latency_bound.map(|bound| bound.as_secs_f64() * 1e3),
        hold_ms: ms(w.hold),
        margin: match w.margin {
            MarginConfig::Controlled => "controlled".to_owned(),
            MarginConfig::Fixed(share) => share.to_string(),
        },
        time_zone: w.time_zone.clone(),
        demand: match w.demand {
            config::DemandSource::Proxy => api::DemandSource::Proxy,
            config::DemandSource::Push => api::DemandSource::Push,
            config::DemandSource::Cost => api::DemandSource::Cost,
            config::DemandSource::Sessions => api::DemandSource::Sessions,
        },
        command: w.command.clone(),
    }
}

/// The latest anomalies of a workload, newest first.
pub(crate) fn anomalies(forecaster: &Ensemble, unit: &str) -> Vec<api::Anomaly> {
    let mut found: Vec<api::Anomaly> = forecaster
        .notices(0)
        .filter_map(|notice| match notice {
            Notice::Anomaly(Anomaly { at, value, expected, nearest, p_value }) => Some(api::Anomaly {
                at_ms: at.as_millis(),
                value: *value,
                expected: *expected,
                nearest: *nearest,
                p_value: *p_value,
                sentence: notice.sentence(unit),
            }),
            Notice::NewNormal { .. }
            | Notice::OutageBegan { .. }
            | Notice::OutageEnded { .. }
            | Notice::Responded { .. } => None,
        })
        .collect();
    found.reverse();
    found.truncate(ANOMALIES_SHOWN);
    found
}

/// What the journal says about something that the forecast noticed.
pub(crate) fn notice(at: Timestamp, workload: &str, unit: &str, notice: &Notice) -> api::Event {
    let (kind, sentence) = (notice.kind(), notice.sentence(unit));
    api::Event {
        at_ms: at.as_millis(),
        workload: Some(workload.to_owned()),
        kind: kind.to_owned(),
        instance: None,
        message: if kind == "anomaly" { format!("anomaly: {sentence}") } else { sentence },
        took_ms: None,
        shift: None,
    }
}

/// An event of a calendar.
pub(crate) fn calendar_event(record: &CalendarRecord) -> api::CalendarEvent {
    api::CalendarEvent {
        id: record.id,
        name: record.event.name.clone(),
        kind: record.event.kind.clone(),
        start_ms: record.event.start.as_millis(),
        end_ms: record.event.end.as_millis(),
        magnitude: record.event.magnitude,
        author: record.author.clone(),
        noted_at_ms: record.noted_at.as_millis(),
    }
}

/// What the journal says about a change of a calendar.
pub(crate) fn calendar_change(change: &CalendarChange) -> api::Event {
    api::Event {
        at_ms: change.at.as_millis(),
        workload: Some(change.workload.clone()),
        kind: CalendarChange::KIND.to_owned(),
        instance: None,
        message: change.message(),
        took_ms: None,
        shift: None,
    }
}

/// A model version in one line.
pub(crate) fn model(record: &ModelRecord) -> api::Model {
    let described = &record.described;
    api::Model {
        id: record.id.get(),
        workload: described.workload.clone(),
        model: described.model.clone(),
        state: match record.state {
            ModelState::Challenger => api::ModelState::Challenger,
            ModelState::Champion => api::ModelState::Champion,
            ModelState::Retired => api::ModelState::Retired,
        },
        trained_at_ms: described.trained_at.as_millis(),
        data_from_ms: described.data_from.as_millis(),
        data_to_ms: described.data_to.as_millis(),
        scores: described.scores.clone(),
        size_bytes: record.bytes,
    }
}

/// Everything about a model version.
pub(crate) fn model_detail(record: &ModelRecord) -> api::ModelDetail {
    api::ModelDetail {
        summary: model(record),
        since_ms: record.since.as_millis(),
        why: record.why.clone(),
        features: record.described.features.clone(),
        parent: record.described.parent.map(ModelId::get),
        replaced: record.replaced.map(ModelId::get),
        imported_from: record.imported_from.map(ModelId::get),
        code_version: record.described.code_version.clone(),
        sha256: record.fingerprint.to_string(),
        trial: record.trial.as_ref().map(|trial| api::ModelTrial {
            against: trial.against.get(),
            loss: trial.loss.clone(),
            from_ms: trial.from.as_millis(),
            to_ms: trial.to.as_millis(),
            outcomes: trial.outcomes,
            champion_loss: trial.champion,
            challenger_loss: trial.challenger,
            gain: trial.gain(),
            gain_error: trial.gain_error,
        }),
    }
}

/// What the file of an exported version is called, in letters that every file system and header takes.
pub(crate) fn model_file_name(record: &ModelRecord, extension: &str) -> String {
    let plain = |name: &str| -> String {
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
    };
    format!("{}-{}-{}.{extension}", plain(record.workload()), plain(record.model()), record.id)
}

/// What the journal says about a change of a model.
pub(crate) fn model_event(event: &ModelEvent) -> api::Event {
    api::Event {
        at_ms: event.at.as_millis(),
        workload: Some(event.workload.clone()),
        kind: event.kind().to_owned(),
        instance: None,
        message: event.message(),
        took_ms: None,
        shift: None,
    }
}

/// What the journal says about an event of the planner; `None` for the observations that come every tick.
pub(crate) fn event(at: Timestamp, workload: &str, event: &Event) -> Option<api::Event> {
    let of = |kind: &str, instance: Option<InstanceId>, message: String| api::Event {
        at_ms: at.as_millis(),
        workload: Some(workload.to_owned()),
        kind: kind.to_owned(),
        instance: instance.map(|id| name_of(workload, id).as_str().to_owned()),
        message,
        took_ms: None,
        shift: None,
    };
    let name = |id: &InstanceId| -> InstanceName { name_of(workload, *id) };
    let with = |took: &std::time::Duration, event: api::Event| api::Event {
        took_ms: Some(took.as_secs_f64() * 1e3),
        ..event
    };
    Some(match event {
        Event::InstanceReady { instance, took, .. } => {
            let message = format!("{} is ready after {took:.1?}", name(instance));
            with(took, of("instance_ready", Some(*instance), message))
        }
        Event::InstanceParked { instance, .. } => {
            of("instance_parked", Some(*instance), format!("{} stands by, frozen", name(instance)))
        }
        Event::InstancePromoted { instance, took, .. } => {
            let message = format!("{} was thawed and verified in {took:.1?}", name(instance));
            with(took, of("instance_promoted", Some(*instance), message))
        }
        Event::InstanceDrained { instance, .. } => of(
            "instance_drained",
            Some(*instance),
            format!("{} has answered its last request", name(instance)),
        ),
        Event::InstanceStopped { instance, .. } => {
            of("instance_stopped", Some(*instance), format!("{} has stopped", name(instance)))
        }
        Event::InstanceHalted { instance, .. } => of(
            "instance_halted",
            Some(*instance),
            format!("{} has stopped and keeps its disk", name(instance)),
        ),
        Event::InstancesOutdated { instances, .. } => {
            let names: Vec<String> = instances.iter().map(|id| name(id).to_string()).collect();
            let message = format!("of an earlier version, and to be replaced: {}", names.join(", "));
            of("instances_outdated", None, message)
        }
        Event::HaltedAdopted { instance, .. } => of(
            "instance_adopted",
            Some(*instance),
            format!("{} was found stopped, with its disk", name(instance)),
        ),
        Event::ActionFailed { instance, reason, .. } => of("action_failed", *instance, reason.clone()),
        Event::InstanceExited { instance, reason, .. } => {
            of("instance_exited", Some(*instance), format!("{} ended by itself: {reason}", name(instance)))
        }
        Event::InstanceUnhealthy { instance, reason, .. } => {
            of("instance_unhealthy", Some(*instance), format!("{} is unhealthy: {reason}", name(instance)))
        }
        Event::InstanceHealthy { instance, .. } => {
            of("instance_healthy", Some(*instance), format!("{} is healthy again", name(instance)))
        }
        Event::InstanceAdopted { instance, role, parked, .. } => {
            let what = match (role, parked) {
                (Role::Active, _) => "active",
                (Role::Standby, true) => "standby, frozen",
                (Role::Standby, false) => "standby",
            };
            of("instance_adopted", Some(*instance), format!("{} was found running, {what}", name(instance)))
        }
        Event::OverrideSet { decision, .. } => {
            let count = |n: Option<u32>| n.map_or("as planned".to_owned(), |n| n.to_string());
            let message = format!(
                "{} pinned active {} and standby {}: {}",
                decision.author,
                count(decision.active),
                count(decision.standby),
                decision.reason
            );
            of("override_set", None, message)
        }
        Event::OverrideCleared { .. } => of("override_cleared", None, "the override was removed".to_owned()),
        Event::ForecastOverrideSet { forecast, .. } => {
            of("forecast_override_set", None, format!("override {}: {forecast}", forecast.id))
        }
        Event::ForecastOverrideCleared { id, .. } => {
            of("forecast_override_cleared", None, format!("override {id} of the forecast was removed"))
        }
        Event::OutOfMemory { instance, .. } => {
            of("out_of_memory", Some(*instance), format!("{} ran out of memory", name(instance)))
        }
        Event::DemandObserved { .. }
        | Event::UsageObserved { .. }
        | Event::StrainObserved { .. }
        | Event::SessionsHeld { .. }
        | Event::InstanceResized { .. }
        | Event::LoadObserved { .. }
        | Event::BackendObserved { .. }
        | Event::WeightsApplied { .. }
        | Event::NodeAppeared { .. }
        | Event::NodeLost { .. } => return None,
    })
}

/// Anomalies in the answer about a workload.
const ANOMALIES_SHOWN: usize = 20;
