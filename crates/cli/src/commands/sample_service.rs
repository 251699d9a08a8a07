//! The sample service: a small HTTP/1.1 server with a known capacity, used by the demo and by anyone who tries foreshadow out.
//!
//! Its capacity is exact by construction: `concurrency` requests are served at a time, each takes `service_time`, so
//! `concurrency / service_time` requests a second is the most it can do. It waits instead of computing, so that twenty of them share
//! two cores with the load generator and the proxy without disturbing what is measured. Requests beyond the slots wait in a
//! bounded queue; beyond that the answer is 503 at once, as a server that protects itself does.
//!
//! Requests may be of unlike size: `?work=3.5` takes 3.5 service times, and the answer says so in `x-work`.
//!
//! Starting takes `startup` (an image pulled, a model loaded, a cache filled): the port is open, but `/healthz` and everything
//! else answers 503 until it is over. In a machine that is `saved`, probes pass as long as they come to the first address that was
//! probed, which is that of the machine to be saved: what is restored from it, under another address, has all of its start before it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use clap::Args;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::failure::{Failure, OrFail};
use crate::values;

/// A connection whose request head takes longer than this is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Work that one request may ask for.
const WORK_MAX: f64 = 1e6;
/// The field of a response that says how many service times it took, rounded up.
const WORK_DONE: &str = "x-work";
/// The most concurrent slots one sample service offers.
const CONCURRENCY_MAX: u32 = 10_000;

/// Options of the sample service.
#[derive(Args, Clone, Debug)]
pub(crate) struct SampleServiceArgs {
    /// Port to listen on
    #[arg(long)]
    port: u16,
    /// Address to listen on
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST)]
    host: Ipv4Addr,
    /// Requests served at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONCURRENCY_MAX)))]
    concurrency: u32,
    /// How long each request takes
    #[arg(long, default_value = "40ms", value_parser = values::duration)]
    service_time: Duration,
    /// Spread of the service time: each is drawn evenly from +- this share of it
    #[arg(long, default_value_t = 0.0, value_parser = values::share)]
    jitter: f64,
    /// Requests that may wait for a slot; the next one gets 503. Default: four times the concurrency
    #[arg(long)]
    queue: Option<usize>,
    /// How long it takes to become ready
    #[arg(long, default_value = "0s", value_parser = values::duration_or_zero)]
    startup: Duration,
    /// Begin that time in machines restored from a snapshot of this one; until then only pass probes
    #[arg(long)]
    saved: bool,
    /// Seed of the jitter
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What all connections share.
struct Service {
    slots: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
    service_time: Duration,
    jitter: f64,
    seed: u64,
    served: AtomicUsize,
    start: Start,
    port: u16,
}

/// When it is ready.
struct Start {
    takes: Duration,
    /// Where the machine that is saved was probed.
    saved_at: OnceLock<String>,
    /// When it is over; not known in that machine.
    over_at: OnceLock<Instant>,
}

impl Start {
    fn new(takes: Duration, saved: bool, now: Instant) -> Start {
        let over_at = if saved { OnceLock::new() } else { (now + takes).into() };
        Start { takes, saved_at: OnceLock::new(), over_at }
    }

    /// Whether a request may be answered; `probed` is the address of one that is a probe.
    fn is_over(&self, probed: Option<&str>, now: Instant) -> bool {
        let over_at = match (self.over_at.get(), probed) {
            (Some(at), _) => at,
            (None, None) => return false,
            (None, Some(address)) if self.saved_at.get_or_init(|| address.to_owned()) == address => {
                return true;
            }
            (None, Some(_)) => self.over_at.get_or_init(|| now + self.takes),
        };
        now >= *over_at
    }
}

/// Serves until the process is ended.
pub(crate) fn run(args: &SampleServiceArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_failed("cannot start the sample service")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &SampleServiceArgs) -> Result<(), Failure> {
    let start = Start::new(args.startup, args.saved, Instant::now());
    let address = SocketAddr::from((args.host, args.port));
    let listener = TcpListener::bind(address)
        .await
        .or_usage(format!("cannot listen on {address}; choose another port with --port"))?;
    let service = Arc::new(Service {
        slots: Semaphore::new(args.concurrency as usize),
        waiting: AtomicUsize::new(0),
        waiting_max: args.queue.unwrap_or(4 * args.concurrency as usize),
        service_time: args.service_time,
        jitter: args.jitter,
        seed: args.seed,
        served: AtomicUsize::new(0),
        start,
        port: args.port,
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: give the open connections time to end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let service = Arc::clone(&service);
                async move { Ok::<_, Infallible>(service.answer(request).await) }
            });
            // A client that goes away mid-request is its own affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let is_probe = request.uri().path() == "/healthz";
        let address = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.start.is_over(is_probe.then_some(address), Instant::now()) {
            return response(StatusCode::SERVICE_UNAVAILABLE, "starting\n".into());
        }
        if is_probe {
            return response(StatusCode::OK, "ok\n".into());
        }
        let permit = match self.slots.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let Some(_waiting) = Waiting::enter(&self.waiting, self.waiting_max) else {
                    return response(StatusCode::SERVICE_UNAVAILABLE, "queue full\n".into());
                };
                match self.slots.acquire().await {
                    Ok(permit) => permit,
                    Err(_) => return response(StatusCode::SERVICE_UNAVAILABLE, "closing\n".into()),
                }
            }
        };
        let work = work_of(&request);
        tokio::time::sleep(self.next_service_time().mul_f64(work)).await;
        drop(permit);
        let mut response = response(StatusCode::OK, format!("served by {}\n", self.port));
        response.headers_mut().insert(WORK_DONE, HeaderValue::from(work.ceil() as u64));
        response
    }

    fn next_service_time(&self) -> Duration {
        let number = self.served.fetch_add(1, Ordering::Relaxed) as u64;
        if self.jitter == 0.0 {
            return self.service_time;
        }
        let mut rng = fastrand::Rng::with_seed(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
        self.service_time.mul_f64(1.0 + self.jitter * (2.0 * rng.f64() - 1.0))
    }
}

/// A place in the bounded queue, given back on drop, also when the client goes away while waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn enter(waiting: &AtomicUsize, waiting_max: usize) -> Option<Waiting<'_>> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < waiting_max).then_some(count + 1)
            })
            .ok()
            .map(|_| Waiting(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `?work=3.5`: this request takes 3.5 service times.
fn work_of(request: &Request<Incoming>) -> f64 {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let asked = pairs.filter_map(|pair| pair.strip_prefix("work=")).find_map(|work| work.parse().ok());
    asked.filter(|work: &f64| (0.0..=WORK_MAX).contains(work)).unwrap_or(1.0)
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_restored_starts_and_what_is_saved_only_passes_probes() {
        let (zero, takes) = (Instant::now(), Duration::from_secs(4));
        let after = |seconds| zero + Duration::from_secs(seconds);
        let plain = Start::new(takes, false, zero);
        assert!(!plain.is_over(Some("a"), after(3)) && plain.is_over(None, after(4)));

        let saved = Start::new(takes, true, zero);
        assert!(!saved.is_over(None, after(9)));
        // The answer to the first may be lost; however long it takes, the second passes.
        assert!(saved.is_over(Some("a"), after(9)) && saved.is_over(Some("a"), after(20)));
        assert!(!saved.is_over(None, after(20)), "it never serves");
        assert!(!saved.is_over(Some("b"), after(30)) && !saved.is_over(Some("b"), after(33)));
        assert!(!saved.is_over(None, after(33)) && saved.is_over(None, after(34)));
        assert!(saved.is_over(Some("b"), after(34)));
    }

    #[test]
    fn the_queue_is_bounded_and_places_come_back() {
        let waiting = AtomicUsize::new(0);
        let first = Waiting::enter(&waiting, 1);
        assert!(first.is_some());
        assert!(Waiting::enter(&waiting, 1).is_none());
        drop(first);
        assert!(Waiting::enter(&waiting, 1).is_some());
    }
}
