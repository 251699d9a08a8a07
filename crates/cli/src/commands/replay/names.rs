//! What the policies are called in a report, and the colours they are drawn in.

use plotly::common::DashType;
use sim::replay::PolicyKind;

use crate::page::colour;

/// The name by which people know it. A star marks hindsight.
pub(super) fn title(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Foreshadow => "foreshadow",
        PolicyKind::Hpa => "Kubernetes HPA",
        PolicyKind::HpaWarmPool => "HPA with a warm pool",
        PolicyKind::Keda => "KEDA",
        PolicyKind::Kpa => "Knative KPA",
        PolicyKind::LastWeek => "same time last week",
        PolicyKind::Crane => "Crane",
        PolicyKind::PhpaLinear => "PHPA, linear",
        PolicyKind::PhpaHoltWinters => "PHPA, Holt-Winters",
        PolicyKind::Aws => "EC2 predictive scaling",
        PolicyKind::HybridHistogram => "hybrid histogram",
        PolicyKind::StaticPeak => "fixed at the peak*",
        PolicyKind::Oracle => "perfect foresight*",
    }
}

/// What it does, in a sentence.
pub(super) fn rule(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Foreshadow => {
            "forecasts demand as quantiles, starts instances ahead of it and keeps some ready without traffic"
        }
        PolicyKind::Hpa => {
            "the autoscaler of Kubernetes: a ratio to a target, every 15 s, on a metric that is a little old"
        }
        PolicyKind::HpaWarmPool => {
            "the same with ready instances beside it, of a fixed number, share or total (as Agones and EC2 warm pools)"
        }
        PolicyKind::Keda => "the same on an external metric that is polled every 30 s",
        PolicyKind::Kpa => {
            "Knative's autoscaler: the mean demand of a minute, and of six seconds when it panics"
        }
        PolicyKind::LastWeek => {
            "an HPA on the larger of the demand now and the half hour that followed this time last week"
        }
        PolicyKind::Crane => {
            "an HPA on the larger of the demand now and the peak of the next hour by signal processing"
        }
        PolicyKind::PhpaLinear => "an HPA on the larger of its own count and a line through its last counts",
        PolicyKind::PhpaHoltWinters => {
            "an HPA on the larger of its own count and a seasonal smoothing of its counts"
        }
        PolicyKind::Aws => {
            "target tracking, raised before each hour to the mean of that hour in the last two weeks; a stand-in, as the \
             forecast of EC2 is secret"
        }
        PolicyKind::HybridHistogram => {
            "from \"Serverless in the Wild\": keeps what was needed for as long as idle times usually last, up to four hours"
        }
        PolicyKind::StaticPeak => {
            "so many instances that the largest demand of the whole trace fits, all the time; hindsight"
        }
        PolicyKind::Oracle => {
            "the cheapest schedule for who knows all of the trace, with the same start-up time; hindsight"
        }
    }
}

/// The line of a policy in a plot of several.
pub(super) fn line(kind: PolicyKind) -> (&'static str, DashType) {
    match kind {
        PolicyKind::Foreshadow => (colour::FORESHADOW, DashType::Solid),
        PolicyKind::Hpa => (colour::RIVAL, DashType::Solid),
        PolicyKind::HpaWarmPool => (colour::RIVAL, DashType::Dash),
        PolicyKind::Keda => (colour::RIVAL, DashType::Dot),
        PolicyKind::Kpa => ("#cc79a7", DashType::Solid),
        PolicyKind::LastWeek => ("#009e73", DashType::Solid),
        PolicyKind::Crane => ("#c99700", DashType::Solid),
        PolicyKind::PhpaLinear => ("#a0693d", DashType::Dot),
        PolicyKind::PhpaHoltWinters => ("#a0693d", DashType::Solid),
        PolicyKind::Aws => ("#8a6fd1", DashType::Solid),
        PolicyKind::HybridHistogram => ("#2aa5a5", DashType::Solid),
        PolicyKind::StaticPeak => (colour::BOUND, DashType::Dash),
        PolicyKind::Oracle => (colour::BOUND, DashType::Dot),
    }
}
