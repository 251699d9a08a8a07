//! Active health checks: one task per backend on the control thread.
//!
//! A probe is a whole HTTP exchange on a fresh connection with a time limit, because a frozen server still accepts
//! connections. The reverse error matters as much: an overloaded backend answers probes late, and taking it out sends its
//! load to the others until all are out. So a late probe counts only if the backend has answered no request either while it ran.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::control::{HealthSpec, Upstream};
use crate::counters::total;
use crate::state::{BackendState, Process, RouteState};
use crate::tasks::{ConnectionTasks, CutOnDrop};

/// The checks of one backend; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct HealthCheck {
    pub(crate) spec: HealthSpec,
    pub(crate) backend: Arc<BackendState>,
    pub(crate) upstream: Upstream,
    task: JoinHandle<()>,
}

impl HealthCheck {
    /// Begins to check. Must be called on the control thread's runtime.
    pub(crate) fn begin(
        backend: Arc<BackendState>,
        route: Arc<RouteState>,
        spec: HealthSpec,
        upstream: Upstream,
        process: Arc<Process>,
    ) -> Self {
        let checked = Arc::clone(&backend);
        let task = tokio::task::spawn_local(check(checked, route, spec.clone(), upstream, process));
        Self { spec, backend, upstream, task }
    }
}

impl Drop for HealthCheck {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn check(
    backend: Arc<BackendState>,
    route: Arc<RouteState>,
    spec: HealthSpec,
    upstream: Upstream,
    process: Arc<Process>,
) {
    let mut streak = Streak::default();
    // Its control plane has just asked it, and the requests that waited for it are on their way. One that fails them is suspected,
    // and asked at once.
    let _ = timeout(FIRST_PAUSE.min(spec.interval), backend.suspicion.notified()).await;
    loop {
        // A draining backend may be parked at any moment and gets no requests anyway.
        if backend.weight() > 0 {
            let answered_before = total(&backend.counters, |shard| &shard.responses);
            let probe = probe(&backend, &spec, upstream).await;
            let is_answering = answered_before != total(&backend.counters, |shard| &shard.responses);
            if probe == Probe::Refused {
                backend.refused(process.elapsed(Instant::now()));
            }
            if let Some(is_healthy) = streak.count(probe, is_answering, &spec) {
                conclude(&backend, &route, is_healthy, process.elapsed(Instant::now()));
            }
        }
        let is_down = !backend.is_usable(process.elapsed(Instant::now())) && backend.weight() > 0;
        let pause = if is_down { (spec.interval / HURRY).max(PAUSE_MIN) } else { spec.interval };
        let _ = timeout(pause, backend.suspicion.notified()).await;
        // However often it is suspected, probes keep a distance.
        sleep(PAUSE_MIN.min(pause)).await;
    }
}

fn conclude(backend: &BackendState, route: &RouteState, is_healthy: bool, elapsed: Duration) {
    let is_changed = backend.set_healthy(is_healthy);
    let is_readmitted = is_healthy && backend.readmit_refused();
    if is_changed {
        tracing::info!(workload = route.workload, backend = backend.id, addr = %backend.addr, is_healthy, "health changed");
    }
    if is_healthy && (is_changed || is_readmitted) {
        backend.start_slowly(elapsed);
        route.waiting.release();
    }
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// A 2xx in time.
    Good,
    /// An answer that is not, or a broken connection.
    Bad,
    /// Nobody listens.
    Refused,
    /// Nothing in time.
    Late,
}

/// Probes in a row with the same result.
#[derive(Debug, Default)]
struct Streak {
    good: u32,
    bad: u32,
}

impl Streak {
    /// Counts a probe; the verdict, if the streak is long enough for one.
    fn count(&mut self, probe: Probe, is_answering: bool, spec: &HealthSpec) -> Option<bool> {
        match probe {
            Probe::Good => {
                self.bad = 0;
                self.good = self.good.saturating_add(1);
                (self.good >= spec.rise).then_some(true)
            }
            Probe::Late if is_answering => None,
            Probe::Bad | Probe::Refused | Probe::Late => {
                self.good = 0;
                self.bad = self.bad.saturating_add(1);
                (self.bad >= spec.fall).then_some(false)
            }
        }
    }
}

async fn probe(backend: &BackendState, spec: &HealthSpec, upstream: Upstream) -> Probe {
    match timeout(spec.timeout, exchange(backend, spec, upstream)).await {
        Ok(Ok(true)) => Probe::Good,
        Ok(Ok(false)) => Probe::Bad,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Probe::Refused,
        Ok(Err(_)) => Probe::Bad,
        Err(_) => Probe::Late,
    }
}

async fn exchange(backend: &BackendState, spec: &HealthSpec, upstream: Upstream) -> std::io::Result<bool> {
    let stream = TokioIo::new(TcpStream::connect(backend.addr).await?);
    match upstream {
        Upstream::Http1 => exchange_http1(stream, backend, spec).await,
        Upstream::Http2 => exchange_http2(stream, backend, spec).await,
    }
}

async fn exchange_http2(
    stream: TokioIo<TcpStream>,
    backend: &BackendState,
    spec: &HealthSpec,
) -> std::io::Result<bool> {
    let tasks = ConnectionTasks::default();
    let _guard = CutOnDrop(tasks.clone());
    let handshake = hyper::client::conn::http2::handshake(tasks, stream).await;
    let (mut sender, connection) = handshake.map_err(std::io::Error::other)?;
    let request = Request::get(format!("http://{}{}", backend.addr, spec.path))
        .header(USER_AGENT, "foreshadow-health")
        .body(Empty::<Bytes>::new())
        .map_err(std::io::Error::other)?;
    let sending = sender.send_request(request);
    tokio::pin!(sending, connection);
    let response = tokio::select! {
        response = &mut sending => response,
        _ = &mut connection => sending.await,
    };
    Ok(response.map_err(std::io::Error::other)?.status().is_success())
}

async fn exchange_http1(
    stream: TokioIo<TcpStream>,
    backend: &BackendState,
    spec: &HealthSpec,
) -> std::io::Result<bool> {
    let handshake = hyper::client::conn::http1::handshake(stream).await;
    let (mut sender, connection) = handshake.map_err(std::io::Error::other)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = spec.path.parse().map_err(std::io::Error::other)?;
    let host = HeaderValue::try_from(backend.addr.to_string()).map_err(std::io::Error::other)?;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("foreshadow-health"));
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let sending = sender.send_request(request);
    tokio::pin!(sending, connection);
    let response = tokio::select! {
        response = &mut sending => response,
        // The connection may end in the very moment that it delivers the response.
        _ = &mut connection => sending.await,
    };
    Ok(response.map_err(std::io::Error::other)?.status().is_success())
}

/// How long a backend that was just listed is left to its first requests.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A backend that is down is probed this many times as often.
const HURRY: u32 = 4;
/// Least pause between two probes.
const PAUSE_MIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> HealthSpec {
        HealthSpec { fall: 3, rise: 2, ..HealthSpec::http("/") }
    }

    #[test]
    fn a_verdict_takes_a_streak() {
        let mut streak = Streak::default();
        let verdicts: Vec<_> = [
            Probe::Bad,
            Probe::Late,
            Probe::Good,
            Probe::Bad,
            Probe::Refused,
            Probe::Late,
            Probe::Good,
            Probe::Good,
        ]
        .into_iter()
        .map(|probe| streak.count(probe, false, &spec()))
        .collect();
        assert_eq!(verdicts, [None, None, None, None, None, Some(false), None, Some(true)]);
    }

    #[test]
    fn late_probes_of_a_backend_that_answers_requests_count_for_nothing() {
        let mut streak = Streak::default();
        assert!((0..9).all(|_| streak.count(Probe::Late, true, &spec()).is_none()));
        (0..2).for_each(|_| assert_eq!(streak.count(Probe::Late, false, &spec()), None));
        assert_eq!(streak.count(Probe::Late, false, &spec()), Some(false));
    }
}
