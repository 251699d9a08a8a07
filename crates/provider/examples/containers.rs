//! Measures how much sooner a parked container answers than a new one, beside the bare mechanism.
//!
//! `cargo run --release -p provider --example containers IMAGE [ROUNDS] [SOCKET]` wants an image that serves HTTP on the
//! port in PORT and the address in HOST. It prints percentiles in milliseconds: a start from the order to the first passing
//! probe, a promotion from the decision to a verified answer, and beside it the engine's own `unpause`, asked by hand over
//! its socket, and the freezer's file, written by hand, each with the same probe after it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use provider::{
    ContainerNetwork as Network, ContainerSpec, DockerConfig, DockerProvider, Endpoint, InstanceName,
    InstanceSpec, Probe, Provider, probe,
};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let image = arguments.next().ok_or("name an image")?;
    let rounds = arguments.next().map_or(Ok(100), |rounds| rounds.parse())?;
    let socket = PathBuf::from(arguments.next().unwrap_or_else(|| "/var/run/docker.sock".to_owned()));
    println!("{:36} {:>6} {:>9} {:>9} {:>9}", "what", "n", "p50 ms", "p99 ms", "max ms");
    for freezer in [false, true] {
        let state = tempfile::tempdir()?;
        let config = DockerConfig {
            endpoint: Endpoint::Unix(socket.clone()),
            freezer,
            ..DockerConfig::new(state.path())
        };
        let provider = DockerProvider::connect(config).await?;
        provider.adopt().await?;
        if !freezer {
            starts(&provider, &image, rounds).await?;
            bare_starts(&socket, &image, rounds).await?;
        }
        promotions(&provider, &image, rounds, freezer).await?;
        if !freezer {
            bare(&provider, &socket, rounds).await?;
        }
        provider.shutdown(GRACE).await?;
    }
    Ok(())
}

fn spec(name: &str, image: &str, network: Network) -> Result<InstanceSpec, Failure> {
    let mut spec = InstanceSpec::new(InstanceName::new(name)?, "measured", Vec::new());
    spec.env.insert("FORESHADOW_TEST_SERVICE".to_owned(), "normal".to_owned());
    spec.container = Some(ContainerSpec { network, ..ContainerSpec::new(image) });
    Ok(spec)
}

async fn starts(provider: &DockerProvider, image: &str, rounds: usize) -> Result<(), Failure> {
    let mut times = Vec::new();
    for index in 0..rounds.div_ceil(5) {
        let order = spec(&format!("cold-{index}"), image, Network::Host)?;
        let begin = Instant::now();
        let info = provider.start(order).await?;
        times.push(begin.elapsed());
        provider.stop(&info.name, GRACE).await?;
    }
    report("start, host's network", times);
    Ok(())
}

/// The same by the engine's API alone: create, start, ask until it serves.
async fn bare_starts(socket: &Path, image: &str, rounds: usize) -> Result<(), Failure> {
    let mut times = Vec::new();
    for index in 0..rounds.div_ceil(5) {
        let port = loopback::free_address().port();
        let body = format!(
            r#"{{"Image":"{image}","Env":["PORT={port}","FORESHADOW_TEST_SERVICE=normal"],"HostConfig":{{"NetworkMode":"host","Init":true}}}}"#
        );
        let name = format!("bare-{}-{index}", std::process::id());
        let begin = Instant::now();
        send(socket, "POST", &format!("/containers/create?name={name}"), &body)?;
        send(socket, "POST", &format!("/containers/{name}/start"), "")?;
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        while serve(addr).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(begin.elapsed());
        send(socket, "DELETE", &format!("/containers/{name}?force=1"), "")?;
    }
    report("bare create and start by the API", times);
    Ok(())
}

async fn promotions(
    provider: &DockerProvider,
    image: &str,
    rounds: usize,
    freezer: bool,
) -> Result<(), Failure> {
    let info = provider.start(spec("standby", image, Network::Host)?).await?;
    let (mut parks, mut promotions, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begin = Instant::now();
        provider.park(&info.name).await?;
        parks.push(begin.elapsed());
        // A standby has been still for a while when it is needed.
        tokio::time::sleep(PARKED).await;
        let begin = Instant::now();
        provider.promote(&info.name).await?;
        promotions.push(begin.elapsed());
        let begin = Instant::now();
        provider.promote(&info.name).await?;
        warm.push(begin.elapsed());
    }
    let by = if freezer { "freezer" } else { "engine" };
    report(&format!("park, by the {by}"), parks);
    report(&format!("promotion, by the {by}"), promotions);
    report("probe of a running one", warm);
    Ok(())
}

/// The same without us: the engine's API by hand, and the freezer's file by hand.
async fn bare(provider: &DockerProvider, socket: &Path, rounds: usize) -> Result<(), Failure> {
    let info = provider.list().pop().ok_or("it runs")?;
    let container = format!("foreshadow-{}-{}", provider.owner(), info.name);
    let mut times = Vec::new();
    for _ in 0..rounds {
        ask(socket, &format!("/containers/{container}/pause"))?;
        tokio::time::sleep(PARKED).await;
        let begin = Instant::now();
        ask(socket, &format!("/containers/{container}/unpause"))?;
        serve(info.addr).await?;
        times.push(begin.elapsed());
    }
    report("bare unpause of the engine's API", times);
    let Some((file, freeze, thaw)) = freezer_of(info.pid) else { return Ok(()) };
    let mut times = Vec::new();
    for _ in 0..rounds {
        std::fs::write(&file, freeze)?;
        tokio::time::sleep(PARKED).await;
        let begin = Instant::now();
        std::fs::write(&file, thaw)?;
        serve(info.addr).await?;
        times.push(begin.elapsed());
    }
    report("bare write to the freezer's file", times);
    Ok(())
}

async fn serve(addr: SocketAddr) -> Result<(), Failure> {
    Ok(probe::ask(&Probe::Http { path: "/".to_owned() }, addr, Duration::from_secs(1)).await?)
}

fn ask(socket: &Path, target: &str) -> Result<(), Failure> {
    send(socket, "POST", target, "")
}

fn send(socket: &Path, method: &str, target: &str, body: &str) -> Result<(), Failure> {
    let mut stream = UnixStream::connect(socket)?;
    let head = "Host: engine\r\nContent-Type: application/json";
    write!(stream, "{method} {target} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = [0u8; 512];
    let read = stream.read(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..read]);
    if answer.starts_with("HTTP/1.1 20") { Ok(()) } else { Err(answer.into()) }
}

/// The file that freezes a container, with the words for it: version 2 where it has such a group.
fn freezer_of(pid: u32) -> Option<(PathBuf, &'static str, &'static str)> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let below = |prefix: &str| groups.lines().find_map(|line| line.split_once(prefix)).map(|(_, path)| path);
    let candidates = [
        (below("0::/"), ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].as_slice(), "cgroup.freeze", "1", "0"),
        (below(":freezer:/"), ["/sys/fs/cgroup/freezer"].as_slice(), "freezer.state", "FROZEN", "THAWED"),
    ];
    candidates.into_iter().find_map(|(path, roots, file, freeze, thaw)| {
        let path = path.filter(|path| path.contains("docker") || path.contains("libpod"))?;
        let files = roots.iter().map(|root| Path::new(root).join(path).join(file));
        files.into_iter().find(|file| file.exists()).map(|file| (file, freeze, thaw))
    })
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1;
        times[index].as_secs_f64() * 1e3
    };
    println!("{what:36} {:6} {:9.3} {:9.3} {:9.3}", times.len(), at(0.5), at(0.99), at(1.0));
}

const PARKED: Duration = Duration::from_millis(5);
const GRACE: Duration = Duration::from_secs(5);
