//! What an engine does for its containers, without foreshadow: requests of its API, over one connection that stays.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::bed::Survivor;
use super::request::ask_until_answered;

/// A connection to an engine.
pub(super) struct Engine(SendRequest<Full<Bytes>>);

impl Engine {
    pub(super) async fn connect(socket: &Path) -> Result<Engine> {
        let stream = UnixStream::connect(socket).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Engine(sender))
    }

    async fn ask(&mut self, method: &str, target: &str, body: Value) -> Result<Value> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = hyper::Request::builder().method(method).uri(target).header("host", "engine");
        let request = request.header("content-type", "application/json").body(Full::new(body))?;
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{method} {target}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }

    /// The container of an instance.
    pub(super) async fn container(&mut self, survivor: &Survivor) -> Result<String> {
        let all = self.ask("GET", "/containers/json", Value::Null).await?;
        for container in all.as_array().context("a list")? {
            let id = container["Id"].as_str().context("an identifier")?;
            let facts = self.ask("GET", &format!("/containers/{id}/json"), Value::Null).await?;
            if facts["State"]["Pid"].as_u64() == Some(u64::from(survivor.pid)) {
                return Ok(id.to_owned());
            }
        }
        bail!("no container is {}", survivor.name)
    }

    pub(super) async fn set(&mut self, id: &str, is_frozen: bool) -> Result<()> {
        let step = if is_frozen { "pause" } else { "unpause" };
        self.ask("POST", &format!("/containers/{id}/{step}"), Value::Null).await?;
        Ok(())
    }

    /// From the order of a container like this one to its first byte, in milliseconds.
    pub(super) async fn cold(&mut self, survivor: &Survivor, id: &str, times: usize) -> Result<Vec<f64>> {
        let facts = self.ask("GET", &format!("/containers/{id}/json"), Value::Null).await?;
        let mut measured = Vec::with_capacity(times);
        for _ in 0..times {
            let addr = loopback::free_address();
            let ports = [survivor.addr, addr].map(|addr| addr.port().to_string());
            let mut order = facts["Config"].clone();
            // A daemon must not take it for its own.
            order["Labels"] = json!({});
            order["HostConfig"] = facts["HostConfig"].clone();
            let order: Value = serde_json::from_str(&order.to_string().replace(&ports[0], &ports[1]))?;
            let begin = Instant::now();
            let made = self.ask("POST", "/containers/create", order).await?;
            let id = made["Id"].as_str().context("an identifier")?;
            self.ask("POST", &format!("/containers/{id}/start"), Value::Null).await?;
            let answered = ask_until_answered(addr).await;
            self.ask("DELETE", &format!("/containers/{id}?force=true"), Value::Null).await?;
            measured.push(answered?.duration_since(begin).as_secs_f64() * 1e3);
        }
        Ok(measured)
    }
}
