//! Our proxy beside HAProxy: the same upstream, the same load, rounds in turn.
//!
//! On a shared machine requests per second say more about the neighbours than about the proxy. CPU time for each request,
//! read from the scheduler, is what can be compared; the ratio of medians is what is promised.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use proxy::control::{BackendSpec, Client, Route, RouteTable};

use crate::Setting;
use crate::rows::{Better, Rows, median};
use crate::running::{Running, cpu_seconds, free_address, wait_until_listening};

/// Connections of the load, all kept alive.
const CONNECTIONS: &str = "64";
/// Upstream servers behind each proxy.
const BACKENDS: usize = 2;

/// One proxy under load.
struct Contender {
    name: &'static str,
    process: Running,
    listen: SocketAddr,
    cpu_us: Vec<f64>,
    requests_per_s: Vec<f64>,
}

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let (rounds, seconds) = if setting.quick { (2, 1) } else { (7, 3) };
    let folder = tempfile::tempdir()?;
    let backends = (0..BACKENDS).map(|_| upstream(&setting.foreshadow)).collect::<Result<Vec<_>>>()?;
    let addresses: Vec<SocketAddr> = backends.iter().map(|(_, address)| *address).collect();
    let mut contenders =
        [ours(&setting.foreshadow, folder.path(), &addresses)?, haproxy(folder.path(), &addresses)?];
    for _ in 0..rounds {
        for contender in &mut contenders {
            contender.run(seconds)?;
        }
    }
    let [ours, theirs] = &contenders;
    let (cpu, cpu_peer) = (median(&ours.cpu_us), median(&theirs.cpu_us));
    let (rate, rate_peer) = (median(&ours.requests_per_s), median(&theirs.requests_per_s));
    let peer = |value: f64, unit: &str| Some(format!("{} {value:.1} {unit}", theirs.name));
    rows.at_most(
        "proxy: CPU for each request, of HAProxy's",
        cpu / cpu_peer,
        "ratio",
        1.25,
        peer(cpu_peer, "us"),
    );
    rows.note("proxy: CPU for each request", cpu, "us", Better::Lower, peer(cpu_peer, "us"));
    rows.note("proxy: requests per second", rate, "1/s", Better::Higher, peer(rate_peer, "1/s"));
    Ok(())
}

impl Contender {
    /// One round of load; keeps the CPU time for each request and the rate.
    fn run(&mut self, seconds: u32) -> Result<()> {
        let before = cpu_seconds(self.process.pid())?;
        let url = format!("http://{}/", self.listen);
        let output = Command::new("wrk")
            .args([
                "--threads",
                "1",
                "--connections",
                CONNECTIONS,
                "--duration",
                &format!("{seconds}s"),
                &url,
            ])
            .output()
            .context("wrk is missing; install it (Debian: wrk)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let used = cpu_seconds(self.process.pid())? - before;
        let requests = number_before(&text, " requests in").context("wrk printed no number of requests")?;
        if text.contains("Non-2xx") || requests == 0.0 {
            bail!("{} answered with errors:\n{text}", self.name);
        }
        self.cpu_us.push(used / requests * 1e6);
        self.requests_per_s.push(requests / f64::from(seconds));
        Ok(())
    }
}

/// The number that stands right before `mark`.
fn number_before(text: &str, mark: &str) -> Option<f64> {
    text.split(mark).next()?.split_whitespace().last()?.parse().ok()
}

fn upstream(foreshadow: &Path) -> Result<(Running, SocketAddr)> {
    let address = free_address()?;
    let port = address.port().to_string();
    let slots = ["--concurrency", "1000", "--service-time", "1ms"];
    let process =
        Running::start(Command::new(foreshadow).args(["sample-service", "--port", &port]).args(slots))?;
    wait_until_listening(address)?;
    Ok((process, address))
}

fn ours(foreshadow: &Path, folder: &Path, backends: &[SocketAddr]) -> Result<Contender> {
    let socket = folder.join("control");
    let listen = free_address()?;
    let process = Running::start(
        Command::new(foreshadow).args(["proxy", "--workers", "1", "--control-socket"]).arg(&socket),
    )?;
    let mut route = Route::new("measured", listen);
    route.backends =
        (1_u64..).zip(backends).map(|(id, addr)| BackendSpec { id, addr: *addr, weight: 1000 }).collect();
    let table = RouteTable { generation: 1, routes: vec![route] };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        for _ in 0..200 {
            if let Ok(client) = Client::connect(&socket).await {
                return client.set_table(table).await.context("the proxy refused the table");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the proxy does not answer on its control socket")
    })?;
    wait_until_listening(listen)?;
    Ok(Contender { name: "ours", process, listen, cpu_us: Vec::new(), requests_per_s: Vec::new() })
}

fn haproxy(folder: &Path, backends: &[SocketAddr]) -> Result<Contender> {
    let listen = free_address()?;
    let servers: String = backends
        .iter()
        .enumerate()
        .map(|(i, address)| format!("    server s{i} {address} check\n"))
        .collect();
    let configuration = format!(
        "global\n    nbthread 1\n    maxconn 4096\n\
         defaults\n    mode http\n    timeout client 30s\n    timeout server 30s\n    timeout connect 5s\n\
         frontend in\n    bind {listen}\n    default_backend out\n\
         backend out\n    balance random(2)\n    http-reuse always\n{servers}"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, configuration)?;
    let process = Running::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file))
        .context("HAProxy is missing; install it (Debian: haproxy)")?;
    wait_until_listening(listen)?;
    Ok(Contender { name: "HAProxy", process, listen, cpu_us: Vec::new(), requests_per_s: Vec::new() })
}
