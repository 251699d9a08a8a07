//! From decision to first byte: a parked instance beside a cold start of the same instance, through a running daemon.
//!
//! A request waits at the proxy while nothing is active. Then an operator's override asks for one active instance, and
//! the clock runs from sending that override until the waiting request has its answer. It holds everything a real
//! decision needs: the planner's turn, the thaw, the verifying probe, the swap of the route table, the request itself.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use daemon::client::Client;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Setting;
use crate::rows::{Better, Rows, quantile};
use crate::running::{Running, free_address, wait_until_listening};

const WORKLOAD: &str = "measured";
/// Start-up delay of the sample service.
const STARTUP_MS: u64 = 500;
/// How long a state that was asked for may take.
const STATE_DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for the request to be waiting at the proxy, and for the daemon to be idle again.
const SETTLE: Duration = Duration::from_millis(60);

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let (promotions, cold_starts) = if setting.quick { (20, 3) } else { (200, 15) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (warm, cold) = runtime.block_on(async {
        let bed = TestBed::start(&setting.foreshadow).await?;
        let warm = bed.repeat(promotions, 1).await.context("promotions")?;
        let cold = bed.repeat(cold_starts, 0).await.context("cold starts")?;
        anyhow::Ok((warm, cold))
    })?;
    let cold_p50 = quantile(&cold, 0.5);
    let beside = |q: f64| Some(format!("cold start {:.0} ms", quantile(&cold, q)));
    rows.at_most("promotion: decision to first byte, median", quantile(&warm, 0.5), "ms", 5.0, beside(0.5));
    rows.at_most("promotion: decision to first byte, p99", quantile(&warm, 0.99), "ms", 25.0, beside(0.99));
    let own = cold_p50 - STARTUP_MS as f64;
    rows.note(
        "cold start: our part beyond the service's own start-up, median",
        own,
        "ms",
        Better::Lower,
        None,
    );
    Ok(())
}

/// A daemon with one workload, a client of its API, and the address of its proxy.
struct TestBed {
    client: Client,
    proxy: SocketAddr,
    _daemon: Running,
    _state: tempfile::TempDir,
}

impl TestBed {
    async fn start(foreshadow: &Path) -> Result<TestBed> {
        let state = tempfile::tempdir()?;
        let (api, proxy) = (free_address()?, free_address()?);
        let config = state.path().join("foreshadow.toml");
        fs::write(&config, configuration(foreshadow, api, proxy))?;
        let daemon = Running::start(std::process::Command::new(foreshadow).arg("run").arg(&config))?;
        wait_until_listening(api)?;
        Ok(TestBed { client: Client::new(api), proxy, _daemon: daemon, _state: state })
    }

    /// Measures `times` first bytes in milliseconds, with `standby` parked instances before each.
    async fn repeat(&self, times: usize, standby: u32) -> Result<Vec<f64>> {
        let mut measured = Vec::with_capacity(times);
        for _ in 0..times {
            self.pin(0, standby).await?;
            self.wait_for(standby).await?;
            measured.push(self.first_byte().await?);
        }
        Ok(measured)
    }

    async fn first_byte(&self) -> Result<f64> {
        let waiting = tokio::spawn(request(self.proxy));
        tokio::time::sleep(SETTLE).await;
        let begin = Instant::now();
        self.pin(1, 0).await?;
        let answered = waiting.await??;
        Ok(answered.duration_since(begin).as_secs_f64() * 1e3)
    }

    async fn pin(&self, active: u32, standby: u32) -> Result<()> {
        let request = api::OverrideRequest {
            active: Some(active),
            standby: Some(standby),
            author: String::from("bench"),
            reason: String::from("measuring promotions"),
            expires_in_s: None,
        };
        self.client.set_override(WORKLOAD, &request).await?;
        Ok(())
    }

    /// Waits until nothing is active and exactly `parked` instances are parked.
    async fn wait_for(&self, parked: u32) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < STATE_DEADLINE {
            let counts = self.client.workload(WORKLOAD).await?.summary.counts;
            let others = counts.active + counts.starting + counts.draining + counts.stopping;
            if others == 0 && counts.parked == parked && counts.standby == parked {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("no state with {parked} parked and no active instances within {} s", STATE_DEADLINE.as_secs())
    }
}

/// Sends one request through the proxy; the instant at which its answer began.
async fn request(proxy: SocketAddr) -> Result<Instant> {
    let stream = TcpStream::connect(proxy).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::get("/").header("host", "measured").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let answered = Instant::now();
    if !response.status().is_success() {
        bail!("the waiting request was answered {}", response.status());
    }
    response.into_body().collect().await?;
    driver.abort();
    Ok(answered)
}

fn configuration(foreshadow: &Path, api: SocketAddr, proxy: SocketAddr) -> String {
    format!(
        r#"
[server]
listen = "{api}"
state_dir = "state"

[[workload]]
name = "{WORKLOAD}"
command = [{foreshadow:?}, "sample-service", "--port", "{{port}}", "--service-time", "1ms", "--startup", "{STARTUP_MS}ms"]
listen = "{proxy}"
step = "1s"
tick = "250ms"
capacity = 100
replicas = {{ min = 0, max = 4 }}
probe = "/healthz"
probe_interval = "50ms"
hold = "1s"
shift = {{ first_share = 1 }}
"#
    )
}
