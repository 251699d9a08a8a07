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

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let answer = self.exchange(method, path, body).await?;
        serde_json::from_slice(&answer)
            .map_err(|source| ClientError::NotUnderstood { address: self.address, source })
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, ClientError> {
        let request = async {
            let body = match body {
                Some(body) => Bytes::from(
                    serde_json::to_vec(body)
                        .map_err(|source| ClientError::NotUnderstood { address: self.address, source })?,
                ),
                None => Bytes::new(),
            };
            let (status, answer) = self.send(method, path, body).await?;
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

    async fn send(&self, method: &str, path: &str, body: Bytes) -> Result<(u16, Bytes), ClientError> {
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
            .header("content-type", "application/json")
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

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 20;
