//! The description of the API, derived from the handlers and the wire types.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::OpenApi;

use super::{
    calendar, endpoints, explain, forecast_overrides, metric_forecast, metrics, models, proxy, read,
    requests, sessions, training, write,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "foreshadow",
        description = "Predictive autoscaler. Instants are milliseconds since 1970 (UTC); demand is in the workload's unit. \
                       Every answer that is not 2xx carries what was wrong and what to do.",
    ),
    paths(
        read::status,
        read::workloads,
        read::workload,
        read::series,
        read::forecast,
        read::levels,
        read::plan,
        read::plans,
        read::events,
        read::metrics,
        write::push_samples,
        write::set_override,
        write::clear_override,
        forecast_overrides::list,
        forecast_overrides::set,
        forecast_overrides::clear,
        explain::explain,
        requests::list,
        endpoints::list,
        sessions::list,
        sessions::open,
        sessions::show,
        sessions::renew,
        sessions::close,
        calendar::list,
        calendar::announce,
        calendar::remove,
        metrics::list,
        metrics::push,
        metrics::show,
        metric_forecast::forecast,
        models::list,
        models::show,
        models::promote,
        models::rollback,
        models::export,
        models::import,
        training::show,
        training::pause,
        training::resume,
        proxy::restart,
    )
)]
struct Document;

/// The OpenAPI document.
pub(crate) async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str())
}

static TEXT: LazyLock<String> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_describes_every_address_and_the_error_body() {
        let document: serde_json::Value = serde_json::from_str(&TEXT).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        for path in [
            "/api/v1/status",
            "/api/v1/workloads/{id}/override",
            "/api/v1/workloads/{id}/samples",
            "/api/v1/workloads/{id}/levels",
            "/api/v1/workloads/{id}/sessions",
            "/api/v1/workloads/{id}/metrics/{metric}/forecast",
            "/api/v1/training/pause",
            "/metrics",
        ] {
            assert!(paths.contains_key(path), "{path}");
        }
        assert_eq!(paths.len(), 34);
        for schema in ["ErrorBody", "WorkloadDetail", "Plan", "Series", "Forecast", "Override"] {
            assert!(document["components"]["schemas"].get(schema).is_some(), "{schema}");
        }
    }
}
