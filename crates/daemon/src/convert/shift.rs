//! The steps of a traffic shift, from the planner's types to those of the wire.

use planner::{Compared, FULL_WEIGHT, ShiftMove, ShiftTurn};

use crate::instances::name_of;

/// One step.
pub(crate) fn step(workload: &str, made: &ShiftMove) -> api::ShiftStep {
    let name = name_of(workload, made.instance);
    let share = |weight: u32| f64::from(weight) / f64::from(FULL_WEIGHT);
    api::ShiftStep {
        at_ms: made.at.as_millis(),
        instance: name.as_str().to_owned(),
        turn: match made.turn {
            ShiftTurn::Began => api::ShiftTurn::Began,
            ShiftTurn::Grew(_) => api::ShiftTurn::Grew,
            ShiftTurn::Halted(_) => api::ShiftTurn::Halted,
            ShiftTurn::TakenBack(_) => api::ShiftTurn::TakenBack,
            ShiftTurn::AllAtOnce { .. } => api::ShiftTurn::AllAtOnce,
        },
        from: share(made.from),
        to: share(made.to),
        compared: made.turn.compared().map(compared),
        sentence: made.sentence(&name),
    }
}

fn compared(of: &Compared) -> api::ShiftCompared {
    api::ShiftCompared {
        requests: of.requests,
        errors: of.errors,
        peers_requests: of.peers_requests,
        peers_errors: of.peers_errors,
        errors_usual: of.errors_usual,
        quantile: of.slower.map(|slower| slower.quantile),
        slow_ms: of.slower.map(|slower| slower.bound.as_secs_f64() * 1e3),
        slow: of.slower.map(|slower| slower.requests),
        slow_usual: of.slower.map(|slower| slower.usual),
        e_value: of.evidence,
        e_value_limit: Compared::LIMIT,
        too_few: of.too_few,
    }
}

/// What the journal says about a step.
pub(crate) fn event(workload: &str, made: &ShiftMove) -> api::Event {
    let step = step(workload, made);
    api::Event {
        at_ms: step.at_ms,
        workload: Some(workload.to_owned()),
        kind: KIND.to_owned(),
        instance: Some(step.instance.clone()),
        message: step.sentence.clone(),
        took_ms: None,
        shift: Some(step),
    }
}

/// The kind of those events.
pub(crate) const KIND: &str = "shift_step";
