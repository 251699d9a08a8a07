//! What an event says, as far as any rule here is concerned.

use forecast::Timestamp;
use planner::{DecisionOverride, Event};

/// One piece of news. Instances are numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum News<'a> {
    /// A step of demand is over; none when it was not seen.
    Step { start: Timestamp, demand: Option<f64> },
    /// Demand between steps.
    Load(f64),
    /// An instance is gone: stopped, or by itself.
    Gone { instance: u64, by_itself: bool },
    /// A start was completed.
    Ready(u64),
    /// An order to freeze was carried out.
    Parked { order: u64, instance: u64 },
    /// An instance is stopped with its disk kept.
    Halted(u64),
    /// An order to thaw was carried out.
    Promoted { order: u64, instance: u64 },
    /// Health checks say that an instance does not answer.
    Unhealthy(u64),
    /// They say that it does.
    Healthy(u64),
    /// An instance failed most of its requests.
    Failing(u64),
    /// An order was not carried out.
    Failed,
    /// An operator pins counts.
    Pinned(&'a DecisionOverride),
    /// No longer.
    Freed,
    /// An operator knows better than the forecast, or no longer does.
    Overridden,
    /// A route table is in force.
    TableApplied,
    /// An instance holds so many sessions.
    Holds { instance: u64, sessions: u32 },
    /// An instance of an earlier control plane was found.
    Adopted { instance: u64, parked: bool },
    /// One was found that is stopped with its disk kept.
    HaltedFound(u64),
}

impl News<'_> {
    /// What the event says; `None` when no rule looks at it.
    pub(super) fn of(event: &Event) -> Option<News<'_>> {
        Some(match event {
            Event::DemandObserved { step_start, demand, .. } => {
                News::Step { start: *step_start, demand: *demand }
            }
            Event::LoadObserved { demand_now, .. } => News::Load(*demand_now),
            Event::BackendObserved { instance, requests, errors, .. } if errors * 2 > *requests => {
                News::Failing(instance.get())
            }
            Event::InstanceExited { instance, .. } => {
                News::Gone { instance: instance.get(), by_itself: true }
            }
            Event::InstanceStopped { instance, .. } => {
                News::Gone { instance: instance.get(), by_itself: false }
            }
            Event::InstanceParked { action, instance } => {
                News::Parked { order: action.get(), instance: instance.get() }
            }
            Event::InstanceHalted { instance, .. } => News::Halted(instance.get()),
            Event::HaltedAdopted { instance, .. } => News::HaltedFound(instance.get()),
            Event::InstancePromoted { action, instance, .. } => {
                News::Promoted { order: action.get(), instance: instance.get() }
            }
            Event::InstanceReady { instance, .. } => News::Ready(instance.get()),
            Event::InstanceUnhealthy { instance, .. } => News::Unhealthy(instance.get()),
            Event::InstanceHealthy { instance, .. } => News::Healthy(instance.get()),
            Event::ActionFailed { .. } => News::Failed,
            Event::OverrideSet { decision, .. } => News::Pinned(decision),
            Event::OverrideCleared { .. } => News::Freed,
            Event::ForecastOverrideSet { .. } | Event::ForecastOverrideCleared { .. } => News::Overridden,
            Event::InstanceAdopted { instance, parked, .. } => {
                News::Adopted { instance: instance.get(), parked: *parked }
            }
            Event::WeightsApplied { .. } => News::TableApplied,
            Event::SessionsHeld { instance, sessions, .. } => {
                News::Holds { instance: instance.get(), sessions: *sessions }
            }
            Event::BackendObserved { .. }
            | Event::UsageObserved { .. }
            | Event::StrainObserved { .. }
            | Event::OutOfMemory { .. }
            | Event::InstanceResized { .. }
            | Event::InstancesOutdated { .. }
            | Event::InstanceDrained { .. }
            | Event::NodeAppeared { .. }
            | Event::NodeLost { .. } => return None,
        })
    }
}
