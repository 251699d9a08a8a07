//! The HTTP API, the metrics and the dashboard, on one address.
//!
//! Handlers read the published snapshot, the memory of recent things and the history; only commands reach the control
//! loop. Every answer that is not 2xx carries `{error, hint}`. There is no login: the address is a loopback one unless
//! the configuration says otherwise, and [`guard`] keeps web pages of other origins from using it.

mod assets;
mod calendar;
mod columns;
mod endpoints;
mod explain;
mod failure;
mod forecast_overrides;
mod guard;
mod knowledge;
mod metric_forecast;
mod metrics;
mod models;
mod openapi;
mod proxy;
mod query;
mod read;
mod requests;
mod server;
mod sessions;
mod training;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use forecast::Timestamp;
use history::Store;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

use crate::control_loop::Command;
use crate::metric_forecast::MetricForecasts;
use crate::metrics::Metrics;
use crate::models::Repository;
use crate::recent::Recent;
use crate::recorder::Health;
use crate::view::View;

pub(crate) use server::serve;

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) store: Arc<Store>,
    pub(crate) models: Repository,
    pub(crate) recent: Arc<Recent>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) metric_forecasts: Arc<MetricForecasts>,
    pub(crate) started_at: Timestamp,
    pub(crate) address: SocketAddr,
    /// Places for large bodies, of which few may be in memory at a time.
    pub(crate) transfers: Semaphore,
    /// Held from a change of what is known until the control loop has it, so that none overtakes a later one.
    pub(crate) knowledge: Mutex<()>,
}

/// How many large bodies may be in memory at a time.
pub(crate) const TRANSFERS_MAX: usize = 2;

impl Api {
    fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }
}

/// Everything that is served.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let v1 = Router::new()
        .route("/status", get(read::status))
        .route("/workloads", get(read::workloads))
        .route("/workloads/{id}", get(read::workload))
        .route("/workloads/{id}/series", get(read::series))
        .route("/workloads/{id}/forecast", get(read::forecast))
        .route("/workloads/{id}/levels", get(read::levels))
        .route("/workloads/{id}/plan", get(read::plan))
        .route("/workloads/{id}/plans", get(read::plans))
        .route("/workloads/{id}/samples", post(write::push_samples))
        .route("/workloads/{id}/override", put(write::set_override).delete(write::clear_override))
        .route(
            "/workloads/{id}/forecast-overrides",
            get(forecast_overrides::list).post(forecast_overrides::set),
        )
        .route("/workloads/{id}/forecast-overrides/{override}", delete(forecast_overrides::clear))
        .route("/workloads/{id}/explain", get(explain::explain))
        .route("/workloads/{id}/requests", get(requests::list))
        .route("/workloads/{id}/endpoints", get(endpoints::list))
        .route("/workloads/{id}/sessions", get(sessions::list).post(sessions::open))
        .route(
            "/workloads/{id}/sessions/{session}",
            get(sessions::show).put(sessions::renew).delete(sessions::close),
        )
        .route("/events", get(read::events))
        .route("/workloads/{id}/events", get(calendar::list).post(calendar::announce))
        .route("/workloads/{id}/events/{event}", delete(calendar::remove))
        .route("/workloads/{id}/metrics", get(metrics::list).post(metrics::push))
        .route("/workloads/{id}/metrics/{metric}", get(metrics::show))
        .route("/workloads/{id}/metrics/{metric}/forecast", get(metric_forecast::forecast))
        .route("/models", get(models::list))
        .route("/models/import", post(models::import))
        .route("/models/{id}", get(models::show))
        .route("/models/{id}/promote", post(models::promote))
        .route("/models/{id}/export", get(models::export))
        .route("/workloads/{id}/models/{model}/rollback", post(models::rollback))
        .route("/training", get(training::show))
        .route("/training/pause", post(training::pause))
        .route("/training/resume", post(training::resume))
        .route("/proxy/restart", post(proxy::restart))
        .route("/openapi.json", get(openapi::document));
    Router::new()
        .nest("/api/v1", v1)
        .route("/metrics", get(read::metrics))
        .route("/", get(assets::page))
        .route("/assets/{name}", get(assets::asset))
        .fallback(failure::not_found)
        .method_not_allowed_fallback(failure::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(guard::in_time))
        .layer(from_fn_with_state(api.clone(), guard::own_host))
        .layer(from_fn(guard::security_headers))
        .with_state(api)
}

/// Largest request body.
const BODY_BYTES_MAX: usize = 1 << 20;
