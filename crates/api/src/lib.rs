//! Wire types of the HTTP API under `/api/v1`.
//!
//! One file per resource. They carry no behaviour and know no other crate of ours: the daemon converts its own
//! types into these in one place, the dashboard and the command line read them, and the OpenAPI document is
//! derived from them. That keeps the planner free to change its types without breaking a client.
//!
//! Conventions: a field's unit is the end of its name (`_ms` milliseconds, `_s` seconds, `_bytes`); an instant ends
//! in `at_ms` or `_ms` and counts milliseconds since the Unix epoch, UTC; demand, capacity and missed are in the
//! workload's own unit (`unit`); a share lies between 0 and 1; `null` in a column means not known. Columns of one
//! answer have the same length. Numbers are always finite. Within `v1` fields are added, never renamed or removed.

mod cache;
mod calendar;
mod endpoint;
mod error;
mod event;
mod explain;
mod forecast;
mod latency;
mod metric;
mod model;
mod node;
mod overrides;
mod plan;
mod proxy;
mod request;
mod samples;
mod series;
mod session;
mod shift;
mod status;
mod training;
mod workload;

pub use cache::CacheSummary;
pub use calendar::{CalendarAccepted, CalendarEvent, CalendarEvents, CalendarRequest, NewCalendarEvent};
pub use endpoint::{EndpointSummary, Endpoints, SlowTrace};
pub use error::ErrorBody;
pub use event::{Event, Events};
pub use explain::{Explanation, Reaction, ReactionCost, ReactionExplained, ReactionOrder, Seen, Sentence};
pub use forecast::{Forecast, ForecastMetric, Level, Levels, TrustFrom, Window};
pub use latency::LatencySummary;
pub use metric::{
    Metric, MetricColumn, MetricList, MetricSample, MetricSeries, MetricsAccepted, MetricsRequest,
};
pub use model::{Model, ModelDetail, ModelState, ModelTrial, Models, PromoteRequest, RollbackRequest};
pub use node::{Node, NodeHealth, Sharing};
pub use overrides::{
    ForecastOverride, ForecastOverrideRequest, ForecastOverrides, Override, OverrideRequest,
};
pub use plan::{Plan, PlanInputs, Plans, Reason, Size, Trust};
pub use proxy::ProxyRestartRequest;
pub use request::{RequestCost, RequestSample, Requests};
pub use samples::{PushedSample, SamplesAccepted, SamplesRequest};
pub use series::Series;
pub use session::{
    Session, SessionCounts, SessionHost, SessionProcess, SessionRequest, SessionState, SessionSummary,
    Sessions,
};
pub use shift::{ShiftCompared, ShiftStep, ShiftTurn};
pub use status::{HistoryState, HistoryStatus, Problem, ProxyStatus, Status};
pub use training::{Training, TrainingPause, TrainingRequest};
pub use workload::{
    Anomaly, Budget, Capacity, Counters, DemandSource, Instance, InstanceCounts, LeadTimes, Mode, Phase,
    PolicySummary, Role, WorkloadDetail, WorkloadSummary, Workloads,
};
