//! Requests of heavy-tailed size through the proxy: whom balancing and admission let wait.
//!
//! The instances are sample services that serve a few requests at a time. Requests come by an open-loop Poisson process; how
//! large each is stands in its query. Sizes are those of a recorded inference service in tokens of its answers, where the trace is at
//! hand (`--traces`), else of a Pareto distribution. All policies get the very same requests.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use proxy::control::{
    Admission, Amount, BackendSpec, Class, Client, CostSpec, Measure, PolicySpec, Priority, Route, RouteTable,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::Setting;
use crate::rows::{Better, Rows, quantile};
use crate::running::{Running, wait_until_listening};

/// For balancing: many instances that serve one request at a time.
const SINGLE: Scene = Scene { instances: 8, slots: 1 };
/// For overload.
const SHARED: Scene = Scene { instances: 4, slots: 4 };
/// A request of the mean size takes this long.
const UNIT: Duration = Duration::from_millis(25);
/// Shape and bound of the sizes that are made up: few make up most of the work.
const SHAPE: f64 = 1.3;
const SIZE_MAX: f64 = 60.0;
const TRACE: &str = "llm_azure_2023/azure_llm_2023_code_requests.csv.gz";
/// Every fifth request is of the high class.
const HIGH_EVERY: usize = 5;
/// What a request of the high class is promised.
const BOUND: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(20);

/// What serves.
#[derive(Clone, Copy, Debug)]
struct Scene {
    instances: usize,
    /// Requests that each serves at a time.
    slots: usize,
}

/// A request to be sent.
#[derive(Clone, Copy, Debug)]
struct Planned {
    at: Duration,
    size: f64,
    is_high: bool,
}

/// What came of one.
#[derive(Clone, Copy, Debug)]
struct Done {
    is_high: bool,
    /// None: refused or failed.
    latency: Option<Duration>,
    /// How long serving it took.
    service: Duration,
}

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let seconds = if setting.quick { 8 } else { 40 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (sizes, of) = sizes(setting)?;
        balancing(setting, rows, (&sizes, of), seconds).await?;
        overload(setting, rows, &sizes, seconds).await
    })
}

/// At 80 % load: the slowest hundredth under each policy, as a whole and without the time that serving it takes.
async fn balancing(
    setting: &Setting,
    rows: &mut Rows,
    (sizes, of): (&[f64], &str),
    seconds: u64,
) -> Result<()> {
    let planned = plan(SINGLE, sizes, 0.8, seconds, 1);
    let policies = [
        ("least connections", 0.6, PolicySpec::LeastConnections),
        ("round robin", 0.4, PolicySpec::RoundRobin),
        ("least predicted work", 1.0, PolicySpec::LeastWork { header: Some("x-work".into()) }),
    ];
    let mut slowest = Vec::new();
    for (_, _, policy) in &policies {
        let policy = policy.clone();
        let done =
            run(&setting.foreshadow, SINGLE, &planned, |route| route.balancing.policy = policy).await?;
        let waited = |done: &Done| done.latency.map(|latency| latency.saturating_sub(done.service));
        slowest.push([p99_ms(&done, |_| true, |done| done.latency), p99_ms(&done, |_| true, waited)]);
    }
    let ours = slowest[2];
    for (place, (name, bar, _)) in policies.iter().enumerate().take(2) {
        for (kind, what) in ["p99", "p99 of waiting alone"].iter().enumerate() {
            let row =
                format!("admission: {what} of least predicted work at 80 % load of {of}, beside {name}");
            let peer = Some(format!("{:.0} ms, ours {:.0} ms", slowest[place][kind], ours[kind]));
            rows.at_most(&row, ours[kind] / slowest[place][kind], "ratio", *bar, peer);
        }
    }
    Ok(())
}

/// At 150 % load: what becomes of the requests of the high class, with a plain queue and with admission.
async fn overload(setting: &Setting, rows: &mut Rows, sizes: &[f64], seconds: u64) -> Result<()> {
    let planned = plan(SHARED, sizes, 1.5, seconds, 2);
    let queue = run(&setting.foreshadow, SHARED, &planned, |route| {
        (route.max_in_flight, route.hold, route.max_waiting) = (SHARED.slots as u32, PATIENCE, 100_000);
    })
    .await?;
    let admitted = run(&setting.foreshadow, SHARED, &planned, |route| {
        route.hold = PATIENCE;
        route.max_waiting = 1_000;
        route.admission = Some(admission());
    })
    .await?;
    let (plain, ours) = (
        p99_ms(&queue, |done| done.is_high, |done| done.latency),
        p99_ms(&admitted, |done| done.is_high, |done| done.latency),
    );
    let peer = Some(format!("plain queue: {plain:.0} ms"));
    rows.at_most(
        "admission: p99 of the high class at 150 % load",
        ours,
        "ms",
        BOUND.as_secs_f64() * 1e3,
        peer,
    );
    let served =
        |done: &[Done]| done.iter().filter(|done| done.latency.is_some()).count() as f64 / done.len() as f64;
    let high = |done: &[Done]| served(&done.iter().copied().filter(|done| done.is_high).collect::<Vec<_>>());
    rows.at_least(
        "admission: share of the high class served at 150 % load",
        high(&admitted),
        "",
        0.99,
        Some(format!("plain queue: {:.2}", high(&queue))),
    );
    rows.note(
        "admission: share of all served at 150 % load",
        served(&admitted),
        "",
        Better::Higher,
        Some(format!("plain queue: {:.2}", served(&queue))),
    );
    Ok(())
}

fn admission() -> Admission {
    let cost = |name: &str, measure, per_instance: f64| CostSpec {
        name: name.into(),
        measure,
        per_instance: Amount::from_f64(per_instance),
        quantile_milli: 500,
        is_spent: false,
        initial: Amount::from_f64(1.0),
    };
    let class = |name: &str, deadline| Class { name: name.into(), deadline };
    Admission {
        numbers: vec!["query:work".parse().expect("a place in a request")],
        costs: vec![
            cost("at_once", Measure::One, SHARED.slots as f64),
            cost("seconds", Measure::Duration, 1e6),
        ],
        priority: Priority {
            header: "x-priority".into(),
            classes: vec![class("high", None), class("low", Some(Duration::from_secs(1)))],
            default: 1,
        },
        ..Admission::new()
    }
}

/// Sizes to draw from, with a mean of 1, and what they are.
fn sizes(setting: &Setting) -> Result<(Vec<f64>, &'static str)> {
    let trace = setting.traces.as_ref().map(|folder| folder.join(TRACE)).filter(|file| file.exists());
    let (mut sizes, of): (Vec<f64>, _) = match trace {
        Some(file) => {
            let mut rows = csv::Reader::from_reader(flate2::read::GzDecoder::new(File::open(&file)?));
            let tokens = rows.records().map(|row| -> Result<f64> {
                row?.get(2)
                    .and_then(|text| text.parse().ok())
                    .with_context(|| format!("{}: no tokens", file.display()))
            });
            (tokens.collect::<Result<_>>()?, "recorded token counts")
        }
        None => {
            let size = |i: u32| (1.0 - (f64::from(i) + 0.5) / 1e4).powf(-1.0 / SHAPE).min(SIZE_MAX);
            ((0..10_000).map(size).collect(), "Pareto sizes")
        }
    };
    let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
    sizes.iter_mut().for_each(|size| *size /= mean);
    Ok((sizes, of))
}

/// Requests that offer `load` of what the instances can do.
fn plan(scene: Scene, sizes: &[f64], load: f64, seconds: u64, seed: u64) -> Vec<Planned> {
    let mut random = fastrand::Rng::with_seed(seed);
    let rate = load * (scene.instances * scene.slots) as f64 / UNIT.as_secs_f64();
    let mut at = 0.0;
    let mut planned = Vec::new();
    loop {
        at += -(1.0 - random.f64()).ln() / rate;
        if at >= seconds as f64 {
            return planned;
        }
        let is_high = planned.len() % HIGH_EVERY == 0;
        let size = sizes[random.usize(..sizes.len())];
        planned.push(Planned { at: Duration::from_secs_f64(at), size, is_high });
    }
}

/// The 99th percentile over those that count; one that was refused took for ever.
fn p99_ms(done: &[Done], counts: impl Fn(&Done) -> bool, took: impl Fn(&Done) -> Option<Duration>) -> f64 {
    let ms = |done: &Done| took(done).map_or(f64::INFINITY, |took| took.as_secs_f64() * 1e3);
    quantile(&done.iter().filter(|done| counts(done)).map(ms).collect::<Vec<_>>(), 0.99)
}

/// Sends all of it through a fresh proxy to fresh instances.
async fn run(
    foreshadow: &Path,
    scene: Scene,
    planned: &[Planned],
    change: impl FnOnce(&mut Route),
) -> Result<Vec<Done>> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("control");
    let mut services = Vec::new();
    let mut backends = Vec::new();
    for id in 1..=scene.instances as u64 {
        let address = loopback::free_address();
        let arguments = ["sample-service", "--port", &address.port().to_string(), "--queue", "100000"];
        let (slots, unit) = (scene.slots.to_string(), format!("{}ms", UNIT.as_millis()));
        let mut command = Command::new(foreshadow);
        command.args(arguments).args(["--concurrency", &slots, "--service-time", &unit]);
        services.push(Running::start(&mut command)?);
        wait_until_listening(address)?;
        backends.push(BackendSpec { id, addr: address, weight: 1000 });
    }
    let _proxy = Running::start(
        Command::new(foreshadow).args(["proxy", "--workers", "1", "--control-socket"]).arg(&socket),
    )?;
    let mut route = Route::new("measured", loopback::free_address());
    route.backends = backends;
    change(&mut route);
    let listen = route.listen;
    let client = connect(&socket).await?;
    client
        .set_table(RouteTable { generation: 1, routes: vec![route] })
        .await
        .context("the table was refused")?;
    let began = Instant::now();
    let sent = planned.iter().map(|planned| {
        let planned = *planned;
        tokio::spawn(async move {
            let due = began + planned.at;
            sleep_until(due).await;
            let answered = timeout(PATIENCE * 2, ask(listen, planned)).await;
            let is_served = matches!(answered, Ok(Ok(true)));
            let service = UNIT.mul_f64(planned.size);
            Done { is_high: planned.is_high, latency: is_served.then(|| due.elapsed()), service }
        })
    });
    let sent: Vec<_> = sent.collect();
    let mut done = Vec::with_capacity(sent.len());
    for sent in sent {
        done.push(sent.await?);
    }
    Ok(done)
}

async fn connect(socket: &Path) -> Result<Client> {
    for _ in 0..200 {
        if let Ok(client) = Client::connect(socket).await {
            return Ok(client);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("the proxy does not answer on its control socket")
}

/// One request on a connection of its own; whether it was served.
async fn ask(listen: SocketAddr, planned: Planned) -> Result<bool> {
    let mut stream = TcpStream::connect(listen).await?;
    stream.set_nodelay(true)?;
    let (size, class) = (planned.size, if planned.is_high { "high" } else { "low" });
    let head = format!(
        "GET /?work={size:.3} HTTP/1.1\r\nhost: bench\r\nx-work: {size:.3}\r\nx-priority: {class}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
