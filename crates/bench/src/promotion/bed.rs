//! A daemon with one workload, and the time from a decision of its operator to the first byte of an answer.
//!
//! A request waits at the proxy while nothing is active. Then an operator's override asks for one active instance, and
//! the clock runs from sending that override until the waiting request has its answer. It holds everything a real
//! decision needs: the planner's turn, the thaw, the verifying probe, the swap of the route table, the request itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use daemon::client::Client;

use super::request::{Waiting, ask};
use crate::running::{Running, cpu_seconds, wait_until_listening};

const WORKLOAD: &str = "measured";
/// How long a state that was asked for may take; an emulated machine needs seconds to boot.
const STATE_DEADLINE: Duration = Duration::from_secs(120);
/// Long enough for the request to be waiting, and for what was done before to be over.
pub(super) const SETTLE: Duration = Duration::from_millis(60);

/// An instance that has outlived its daemon.
pub(super) struct Survivor {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) addr: SocketAddr,
}

/// See the module.
pub(super) struct TestBed {
    foreshadow: PathBuf,
    config: PathBuf,
    api: SocketAddr,
    client: Client,
    proxy: SocketAddr,
    daemon: Running,
    _state: tempfile::TempDir,
}

impl TestBed {
    /// `server` are lines for the section of this name, `workload` those that say what an instance is.
    pub(super) fn start(foreshadow: &Path, server: &str, workload: &str) -> Result<TestBed> {
        let state = tempfile::tempdir()?;
        let (api, proxy) = (loopback::free_address(), loopback::free_address());
        let config = state.path().join("foreshadow.toml");
        fs::write(&config, configuration(api, proxy, server, workload))?;
        let foreshadow = foreshadow.to_owned();
        let daemon = run(&foreshadow, &config, api)?;
        Ok(TestBed { foreshadow, config, api, client: Client::new(api), proxy, daemon, _state: state })
    }

    /// Measures `times` first bytes in milliseconds, with `standby` parked instances before each.
    pub(super) async fn repeat(&self, times: usize, standby: u32) -> Result<Vec<f64>> {
        let mut measured = Vec::with_capacity(times);
        for _ in 0..times {
            self.pin(0, standby).await?;
            self.wait_for(0, standby).await?;
            measured.push(self.first_byte().await?);
        }
        Ok(measured)
    }

    async fn first_byte(&self) -> Result<f64> {
        let waiting = Waiting::at(self.proxy).await?;
        tokio::time::sleep(SETTLE).await;
        let begin = Instant::now();
        self.pin(1, 0).await?;
        Ok(waiting.answered().await?.duration_since(begin).as_secs_f64() * 1e3)
    }

    /// Processor time that a parked instance uses meanwhile, in milliseconds.
    pub(super) async fn parked(&self, time: Duration) -> Result<f64> {
        self.pin(0, 1).await?;
        self.wait_for(0, 1).await?;
        let pid = self.instance().await?.pid.context("it has no pid")?;
        let before = cpu_seconds(pid)?;
        tokio::time::sleep(time).await;
        Ok((cpu_seconds(pid)? - before) * 1e3)
    }

    async fn instance(&self) -> Result<api::Instance> {
        let mut instances = self.client.workload(WORKLOAD).await?.instances;
        let instance = instances.pop().context("there is no instance")?;
        ensure!(instances.is_empty(), "{} instances instead of one", instances.len() + 1);
        Ok(instance)
    }

    /// Kills the daemon and hands its only instance, which serves on, to `look`. Afterwards a new daemon takes it over and
    /// ends it.
    pub(super) async fn outlive<T>(mut self, look: impl AsyncFnOnce(&Survivor) -> Result<T>) -> Result<T> {
        self.pin(1, 0).await?;
        self.wait_for(1, 0).await?;
        let instance = self.instance().await?;
        let addr = instance.address.as_deref().context("it has no address")?.parse()?;
        let survivor = Survivor { pid: instance.pid.context("it has no pid")?, name: instance.name, addr };
        self.daemon.kill();
        ask(survivor.addr).await.context("the instance ended with its daemon")?;
        let seen = look(&survivor).await;
        self.daemon = run(&self.foreshadow, &self.config, self.api)?;
        self.wait_for(1, 0).await?;
        seen
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

    /// Waits until so many instances are active and parked, and none is on its way.
    async fn wait_for(&self, active: u32, parked: u32) -> Result<()> {
        let begin = Instant::now();
        while begin.elapsed() < STATE_DEADLINE {
            let counts = self.client.workload(WORKLOAD).await?.summary.counts;
            let others = counts.starting + counts.draining + counts.stopping;
            if others == 0 && counts.active == active && counts.parked == parked && counts.standby == parked {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let deadline = STATE_DEADLINE.as_secs();
        bail!("no state with {active} active and {parked} parked instances within {deadline} s")
    }
}

fn run(foreshadow: &Path, config: &Path, api: SocketAddr) -> Result<Running> {
    let daemon = Running::start(Command::new(foreshadow).arg("run").arg(config))?;
    wait_until_listening(api)?;
    Ok(daemon)
}

fn configuration(api: SocketAddr, proxy: SocketAddr, server: &str, workload: &str) -> String {
    format!(
        r#"
[server]
listen = "{api}"
state_dir = "state"
{server}

[[workload]]
name = "{WORKLOAD}"
{workload}
listen = "{proxy}"
step = "1s"
tick = "250ms"
capacity = 100
replicas = {{ min = 0, max = 4 }}
probe = "/"
probe_interval = "50ms"
hold = "1s"
wait = "100s"
shift = {{ first_share = 1 }}
"#
    )
}
