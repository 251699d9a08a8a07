//! A small client of the HTTP API, for the command line and for tests.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::TcpStream;

/// A failed request.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nothing answers there.
    #[error("no daemon answers at {address}; start one with `foreshadow run CONFIG`, or name its address")]
    Unreachable {
        /// Where it was looked for.
        address: SocketAddr,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The connection broke, or the answer was not HTTP.
    #[error("the request to {address} failed")]
    Broken {
        /// Where.
        address: SocketAddr,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("the daemon at {address} did not answer within {} s", REQUEST_TIMEOUT.as_secs())]
    TimedOut {
        /// Where.
        address: SocketAddr,
    },
    /// The daemon refused the request.
    #[error("{}; {}", .body.error, .body.hint)]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        body: api::ErrorBody,
    },
    /// The answer is not what this version understands.
    #[error("the answer of the daemon at {address} is not understood; is it of another version?")]
    NotUnderstood {
        /// Where.
        address: SocketAddr,
        /// Why it failed.
        source: serde_json::Error,
    },
}

/// Talks to one daemon; each call opens its own connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    address: SocketAddr,
}

impl Client {
    /// For the daemon at `address`.
    pub fn new(address: SocketAddr) -> Client {
        Client { address }
    }

    /// The daemon at a glance.
    pub async fn status(&self) -> Result<api::Status, ClientError> {
        self.call("GET", "/api/v1/status", None::<&()>).await
    }

    /// All workloads.
    pub async fn workloads(&self) -> Result<api::Workloads, ClientError> {
        self.call("GET", "/api/v1/workloads", None::<&()>).await
    }

    /// Everything about one workload.
    pub async fn workload(&self, name: &str) -> Result<api::WorkloadDetail, ClientError> {
        self.call("GET", &format!("/api/v1/workloads/{}", escaped(name)), None::<&()>).await
    }

    /// The last plan, or the one in force at `at_ms`.
    pub async fn plan(&self, name: &str, at_ms: Option<i64>) -> Result<api::Plan, ClientError> {
        let query = at_ms.map(|at| format!("?at={at}")).unwrap_or_default();
        self.call("GET", &format!("/api/v1/workloads/{}/plan{query}", escaped(name)), None::<&()>).await
    }

    /// The decision of now, or of `at_ms`, explained.
    pub async fn explain(&self, name: &str, at_ms: Option<i64>) -> Result<api::Explanation, ClientError> {
        let query = at_ms.map(|at| format!("?at={at}")).unwrap_or_default();
        self.call("GET", &format!("/api/v1/workloads/{}/explain{query}", escaped(name)), None::<&()>).await
    }

    /// The overrides of a forecast that are not over.
    pub async fn forecast_overrides(&self, name: &str) -> Result<api::ForecastOverrides, ClientError> {
        self.call("GET", &format!("/api/v1/workloads/{}/forecast-overrides", escaped(name)), None::<&()>)
            .await
    }

    /// Overrides a forecast for a time.
    pub async fn override_forecast(
        &self,
        name: &str,
        request: &api::ForecastOverrideRequest,
    ) -> Result<api::ForecastOverride, ClientError> {
        self.call("POST", &format!("/api/v1/workloads/{}/forecast-overrides", escaped(name)), Some(request))
            .await
    }

    /// Takes an override of a forecast back.
    pub async fn remove_forecast_override(&self, name: &str, id: u64) -> Result<(), ClientError> {
        let path = format!("/api/v1/workloads/{}/forecast-overrides/{id}", escaped(name));
        self.exchange("DELETE", &path, None::<&()>).await.map(|_| ())
    }

    /// Recent plans, newest first.
    pub async fn plans(&self, name: &str, limit: usize) -> Result<api::Plans, ClientError> {
        self.call("GET", &format!("/api/v1/workloads/{}/plans?limit={limit}", escaped(name)), None::<&()>)
            .await
    }

    /// Recent events, newest first.
    pub async fn events(&self, limit: usize) -> Result<api::Events, ClientError> {
        self.call("GET", &format!("/api/v1/events?limit={limit}"), None::<&()>).await
    }

    /// Observed columns between two instants.
    pub async fn series(&self, name: &str, from_ms: i64, to_ms: i64) -> Result<api::Series, ClientError> {
        self.call(
            "GET",
            &format!("/api/v1/workloads/{}/series?from={from_ms}&to={to_ms}", escaped(name)),
            None::<&()>,
        )
        .await
    }

    /// The forecast of the next `horizon`.
    pub async fn forecast(&self, name: &str, horizon: Duration) -> Result<api::Forecast, ClientError> {
        let path = format!("/api/v1/workloads/{}/forecast?horizon={}ms", escaped(name), horizon.as_millis());
        self.call("GET", &path, None::<&()>).await
    }

    /// When demand exceeds what the instances serve, within the next `horizon`.
    pub async fn levels(&self, name: &str, horizon: Duration) -> Result<api::Levels, ClientError> {
        let path = format!("/api/v1/workloads/{}/levels?horizon={}ms", escaped(name), horizon.as_millis());
        self.call("GET", &path, None::<&()>).await
    }

    /// Pins counts.
    pub async fn set_override(
        &self,
        name: &str,
        request: &api::OverrideRequest,
    ) -> Result<api::Override, ClientError> {
        self.call("PUT", &format!("/api/v1/workloads/{}/override", escaped(name)), Some(request)).await
    }

    /// Removes the pin, if there is one.
    pub async fn clear_override(&self, name: &str) -> Result<(), ClientError> {
        self.exchange("DELETE", &format!("/api/v1/workloads/{}/override", escaped(name)), None::<&()>)
            .await
            .map(|_| ())
    }

    /// Sends demand of a workload with `demand = "push"`.
    pub async fn push(
        &self,
        name: &str,
        request: &api::SamplesRequest,
    ) -> Result<api::SamplesAccepted, ClientError> {
        self.call("POST", &format!("/api/v1/workloads/{}/samples", escaped(name)), Some(request)).await
    }

    /// Asks for a place for a session, or where it is.
    pub async fn open_session(
        &self,
        name: &str,
        request: &api::SessionRequest,
    ) -> Result<api::Session, ClientError> {
        self.call("POST", &format!("/api/v1/workloads/{}/sessions", escaped(name)), Some(request)).await
    }

    /// Renews the lease of a session.
    pub async fn renew_session(&self, name: &str, session: &str) -> Result<api::Session, ClientError> {
        self.call("PUT", &session_path(name, session), None::<&()>).await
    }

    /// Where a session is.
    pub async fn session(&self, name: &str, session: &str) -> Result<api::Session, ClientError> {
        self.call("GET", &session_path(name, session), None::<&()>).await
    }

    /// Ends a session.
    pub async fn close_session(&self, name: &str, session: &str) -> Result<(), ClientError> {
        self.exchange("DELETE", &session_path(name, session), None::<&()>).await.map(|_| ())
    }

    /// The sessions of a workload, at most `limit` by name, and the instances that hold them.
    pub async fn sessions(&self, name: &str, limit: usize) -> Result<api::Sessions, ClientError> {
        let path = format!("/api/v1/workloads/{}/sessions?limit={limit}", escaped(name));
        self.call("GET", &path, None::<&()>).await
    }

    /// What the requests of a workload cost, and the newest that were kept.
    pub async fn requests(&self, name: &str, limit: usize) -> Result<api::Requests, ClientError> {
        let path = format!("/api/v1/workloads/{}/requests?limit={limit}", escaped(name));
        self.call("GET", &path, None::<&()>).await
    }

    /// Requests of a workload by endpoint.
    pub async fn endpoints(&self, name: &str) -> Result<api::Endpoints, ClientError> {
        self.call("GET", &format!("/api/v1/workloads/{}/endpoints", escaped(name)), None::<&()>).await
    }

    /// Events in the calendar of a workload that touch a range of time; a missing end is the daemon's default.
    pub async fn calendar(
        &self,
        name: &str,
        from_ms: Option<i64>,
        to_ms: Option<i64>,
    ) -> Result<api::CalendarEvents, ClientError> {
        let [from, to] = [from_ms, to_ms].map(|at| at.map(|at| at.to_string()));
        let query = query(&[("from", from.as_deref()), ("to", to.as_deref())]);
        self.call("GET", &format!("/api/v1/workloads/{}/events{query}", escaped(name)), None::<&()>).await
    }

    /// Announces events.
    pub async fn announce(
        &self,
        name: &str,
        request: &api::CalendarRequest,
    ) -> Result<api::CalendarAccepted, ClientError> {
        self.call("POST", &format!("/api/v1/workloads/{}/events", escaped(name)), Some(request)).await
    }

    /// Calls an event off.
    pub async fn remove_event(
        &self,
        name: &str,
        id: u64,
        author: &str,
        reason: &str,
    ) -> Result<(), ClientError> {
        let query = query(&[("author", Some(author)), ("reason", Some(reason))]);
        let path = format!("/api/v1/workloads/{}/events/{id}{query}", escaped(name));
        self.exchange("DELETE", &path, None::<&()>).await.map(|_| ())
    }

    /// All series kept of a workload.
    pub async fn metrics(&self, name: &str) -> Result<api::MetricList, ClientError> {
        self.call("GET", &format!("/api/v1/workloads/{}/metrics", escaped(name)), None::<&()>).await
    }

    /// The series of one metric between two instants.
    pub async fn metric(
        &self,
        name: &str,
        metric: &str,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<api::Metric, ClientError> {
        let path = format!("/api/v1/workloads/{}/metrics/{}", escaped(name), escaped(metric));
        self.call("GET", &format!("{path}?from={from_ms}&to={to_ms}"), None::<&()>).await
    }

    /// A forecast of a metric, asked for with these parameters of the API.
    pub async fn metric_forecast(
        &self,
        name: &str,
        metric: &str,
        asked: &[(&str, String)],
    ) -> Result<api::Forecast, ClientError> {
        let given: Vec<_> = asked.iter().map(|(key, value)| (*key, Some(value.as_str()))).collect();
        let (path, query) = (format!("/api/v1/workloads/{}/metrics", escaped(name)), query(&given));
        self.call("GET", &format!("{path}/{}/forecast{query}", escaped(metric)), None::<&()>).await
    }

    /// Sends metrics of any name.
    pub async fn push_metrics(
        &self,
        name: &str,
        request: &api::MetricsRequest,
    ) -> Result<api::MetricsAccepted, ClientError> {
        self.call("POST", &format!("/api/v1/workloads/{}/metrics", escaped(name)), Some(request)).await
    }

    /// Model versions, oldest first, of one workload, kind or state where one is named.
    pub async fn models(
        &self,
        workload: Option<&str>,
        model: Option<&str>,
        state: Option<&str>,
    ) -> Result<api::Models, ClientError> {
        let query = query(&[("workload", workload), ("model", model), ("state", state)]);
        self.call("GET", &format!("/api/v1/models{query}"), None::<&()>).await
    }

    /// Everything about one model version.
    pub async fn model(&self, id: u64) -> Result<api::ModelDetail, ClientError> {
        self.call("GET", &format!("/api/v1/models/{id}"), None::<&()>).await
    }

    /// Puts a model version in charge.
    pub async fn promote_model(
        &self,
        id: u64,
        request: &api::PromoteRequest,
    ) -> Result<api::ModelDetail, ClientError> {
        self.call("POST", &format!("/api/v1/models/{id}/promote"), Some(request)).await
    }

    /// Puts the version back in charge that the champion replaced.
    pub async fn roll_back_model(
        &self,
        workload: &str,
        model: &str,
        request: &api::RollbackRequest,
    ) -> Result<api::ModelDetail, ClientError> {
        let path = format!("/api/v1/workloads/{}/models/{}/rollback", escaped(workload), escaped(model));
        self.call("POST", &path, Some(request)).await
    }

    /// A model version as the content of a file.
    pub async fn export_model(&self, id: u64) -> Result<Bytes, ClientError> {
        self.exchange("GET", &format!("/api/v1/models/{id}/export"), None::<&()>).await
    }

    /// Takes in an exported model version as a challenger.
    pub async fn import_model(
        &self,
        content: Bytes,
        author: &str,
        reason: &str,
        workload: Option<&str>,
    ) -> Result<api::ModelDetail, ClientError> {
        let query = query(&[("author", Some(author)), ("reason", Some(reason)), ("workload", workload)]);
        let path = format!("/api/v1/models/import{query}");
        let answer = self.exchange_bytes("POST", &path, "application/octet-stream", content).await?;
        self.understand(&answer)
    }

    /// Whether models are trained.
    pub async fn training(&self) -> Result<api::Training, ClientError> {
        self.call("GET", "/api/v1/training", None::<&()>).await
    }

    /// Lets trainings of models wait.
    pub async fn pause_training(&self, request: &api::TrainingRequest) -> Result<api::Training, ClientError> {
        self.call("POST", "/api/v1/training/pause", Some(request)).await
    }

    /// Has another process take the proxy's place; answers when it serves.
    pub async fn restart_proxy(
        &self,
        request: &api::ProxyRestartRequest,
    ) -> Result<api::ProxyStatus, ClientError> {
        self.call("POST", "/api/v1/proxy/restart", Some(request)).await
    }

    /// Lets trainings of models go on.
    pub async fn resume_training(
        &self,
        request: &api::TrainingRequest,
    ) -> Result<api::Training, ClientError> {
        self.call("POST", "/api/v1/training/resume", Some(request)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let answer = self.exchange(method, path, body).await?;
        self.understand(&answer)
    }

    fn understand<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer)
            .map_err(|source| ClientError::NotUnderstood { address: self.address, source })
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, ClientError> {
        let body = match body {
            Some(body) => Bytes::from(
                serde_json::to_vec(body)
                    .map_err(|source| ClientError::NotUnderstood { address: self.address, source })?,
            ),
            None => Bytes::new(),
        };
        self.exchange_bytes(method, path, "application/json", body).await
    }

    async fn exchange_bytes(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let request = async {
            let (status, answer) = self.send(method, path, kind, body).await?;
            if (200..300).contains(&status) {
                return Ok(answer);
            }
            let body = serde_json::from_slice(&answer).unwrap_or_else(|_| api::ErrorBody {
                error: format!("the daemon answered {status}"),
                hint: "is this the address of a foreshadow daemon?".to_owned(),
            });
            Err(ClientError::Refused { status, body })
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::TimedOut { address: self.address }),
        }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<(u16, Bytes), ClientError> {
        let address = self.address;
        let broken =
            |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Broken { address, source };
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| ClientError::Unreachable { address, source })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| broken(e.into()))?;
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.to_string())
            .header("content-type", kind)
            .header("connection", "close")
            .body(Full::new(body))
            .map_err(|e| broken(e.into()))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| broken(e.into()))?;
            let status = response.status().as_u16();
            let answer =
                Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(broken)?;
            Ok((status, answer.to_bytes()))
        };
        tokio::pin!(exchange);
        tokio::pin!(connection);
        tokio::select! {
            result = &mut exchange => result,
            _ = &mut connection => exchange.await,
        }
    }
}

fn session_path(workload: &str, session: &str) -> String {
    format!("/api/v1/workloads/{}/sessions/{}", escaped(workload), escaped(session))
}

/// A name as one segment of a path.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The parameters that are given, as the end of an address.
fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(key, value)| Some(format!("{key}={}", escaped((*value)?))));
    let joined = given.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

/// Longer than the daemon takes at most: what it has to say then tells more.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(16);
const ANSWER_BYTES_MAX: usize = 64 << 20;
