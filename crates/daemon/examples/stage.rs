//! Plays the parts that the integration tests need as processes of their own: `stage proxy --control-socket PATH [--take-over]`,
//! `stage service PORT[,PORT]..`, `stage tether PID COMMAND..`, `stage daemon CONFIG`.
//!
//! The service answers every path with its process id. Its environment may slow it down: `START_MS` before it
//! listens, `SERVE_MS` for each request; a query `sleep_ms=N` asks for another time, `work_ms=N` for so much processor time, and
//! `hold_mib=N` for so much memory that it keeps. `CACHE_CONTROL` is what its answers say of being kept. With `HTTP2` it speaks
//! that, and nothing else.

use std::convert::Infallible;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use daemon::{BuildOptions, Config, Daemon, End, chain};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use http_body_util::Full;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["proxy", "--control-socket", socket, rest @ ..] => {
            let mut options = proxy::ProxyOptions::new(PathBuf::from(socket));
            options.workers = 2;
            options.take_over = rest.contains(&"--take-over");
            Ok(proxy::run(options)?)
        }
        ["service", ports] => {
            let ports: Vec<u16> = ports.split(',').map(str::parse).collect::<Result<_, _>>()?;
            runtime()?.block_on(async {
                let mut services = tokio::task::JoinSet::new();
                for port in ports {
                    services.spawn(async move { service(port).await.map_err(|error| error.to_string()) });
                }
                Ok(services.join_next().await.ok_or("no port")???)
            })
        }
        ["tether", user, command @ ..] => {
            let command: Vec<OsString> = command.iter().map(OsString::from).collect();
            std::process::exit(i32::from(daemon::external_model::tether(user.parse()?, &command)?))
        }
        ["daemon", config] => runtime()?.block_on(control_plane(Path::new(config))),
        other => Err(format!("no such part: {other:?}").into()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

async fn control_plane(path: &Path) -> Result<(), Box<dyn Error>> {
    let config = Config::parse(&std::fs::read_to_string(path)?, path)?;
    let mut terminated = signal(SignalKind::terminate())?;
    // A limit on file sizes stands for a full disk; with a handler, writes fail instead of ending the process.
    let _too_large = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    match Daemon::build(config, BuildOptions::of_process()?).await {
        Ok(daemon) => {
            println!("ready {}", daemon.api_address());
            let stop = async move {
                terminated.recv().await;
                End::Stop
            };
            Ok(daemon.run(stop).await.map(drop)?)
        }
        Err(error) => {
            println!("refused {}", chain(&error));
            std::process::exit(1)
        }
    }
}

async fn service(port: u16) -> Result<(), Box<dyn Error>> {
    tokio::time::sleep(from_environment("START_MS")).await;
    let serve_time = from_environment("SERVE_MS");
    let kept = std::env::var("CACHE_CONTROL").ok().map(|text| text.parse::<HeaderValue>()).transpose()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let kept = kept.clone();
        let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let kept = kept.clone();
            async move {
                let query = request.uri().query();
                let asked = |key: &str| query.and_then(|query| query.strip_prefix(key)?.parse::<u64>().ok());
                if let Some(mib) = asked("hold_mib=") {
                    hold(mib);
                }
                if let Some(millis) = asked("work_ms=") {
                    // On a thread of its own, so that probes are answered meanwhile.
                    let _ = tokio::task::spawn_blocking(move || work(Duration::from_millis(millis))).await;
                }
                tokio::time::sleep(asked("sleep_ms=").map_or(serve_time, Duration::from_millis)).await;
                let body = Bytes::from(std::process::id().to_string());
                let mut response = hyper::Response::new(Full::new(body));
                response.headers_mut().extend(kept.map(|kept| (CACHE_CONTROL, kept)));
                Ok::<_, Infallible>(response)
            }
        });
        let stream = TokioIo::new(stream);
        match std::env::var_os("HTTP2") {
            None => drop(tokio::spawn(http1::Builder::new().serve_connection(stream, answer))),
            Some(_) => {
                let builder = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(stream, answer));
            }
        }
    }
}

/// Keeps so much memory for good.
fn hold(mib: u64) {
    // Written to, or the kernel would give no page.
    std::mem::forget(vec![1u8; (mib << 20) as usize]);
}

/// Uses so much processor time of this thread.
fn work(time: Duration) {
    let used = || {
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanos = told.split(' ').next().and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.unwrap_or(u64::MAX))
    };
    let end = used().saturating_add(time);
    while used() < end {
        std::hint::black_box((0..10_000).fold(1u64, |product, n| product.wrapping_mul(n | 1)));
    }
}

fn from_environment(name: &str) -> Duration {
    let millis = std::env::var(name).ok().and_then(|value| value.parse().ok());
    Duration::from_millis(millis.unwrap_or(0))
}
