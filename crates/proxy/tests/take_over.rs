//! Hot restarts: a successor goes on with the listening sockets, and nobody notices.

#[path = "support/http2.rs"]
#[expect(dead_code, reason = "only its client is needed here")]
mod http2;
#[path = "support/process.rs"]
mod process;
mod support;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use process::Process;
use proxy::control::{BackendSpec, Client, Protocol, Route, RouteTable, TlsSpec};
use support::{Backend, Http, eventually, get, get_request, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Where requests and connections go, on a control socket in a folder of its own.
struct Stage {
    folder: tempfile::TempDir,
    web: SocketAddr,
    tcp: SocketAddr,
}

impl Stage {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            web: loopback::free_address(),
            tcp: loopback::free_address(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    fn routes(&self, web: BackendSpec, echo: BackendSpec) -> Vec<Route> {
        let mut http = Route::new("web", self.web);
        http.backends = vec![web];
        let mut tcp = Route::new("tcp", self.tcp);
        tcp.protocols.protocol = Protocol::Tcp;
        tcp.backends = vec![echo];
        vec![http, tcp]
    }
}

async fn set(client: &Client, generation: u64, routes: Vec<Route>) {
    let applied = client.set_table(RouteTable { generation, routes }).await;
    assert_eq!(applied.expect("applied"), generation);
}

/// Sends back what it gets; what begins as a request to upgrade is consented to first.
async fn echo() -> BackendSpec {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let answer = match &buffer[..count] {
                        head if head.starts_with(b"GET ") => UPGRADED.as_bytes(),
                        bytes => bytes,
                    };
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    BackendSpec { id: 9, addr, weight: 1000 }
}

async fn is_echoed(stream: &mut TcpStream, word: &str) -> bool {
    let mut back = vec![0; word.len()];
    stream.write_all(word.as_bytes()).await.is_ok()
        && stream.read_exact(&mut back).await.is_ok()
        && back == word.as_bytes()
}

/// Answers the length of what it was sent.
async fn measuring(id: u64) -> Backend {
    Backend::answering(id, |_, request| async move {
        match request.into_body().collect().await {
            Ok(body) => text(body.to_bytes().len().to_string()),
            Err(_) => text("broken"),
        }
    })
    .await
}

/// Clients that count.
#[derive(Default)]
struct Crowd {
    stop: AtomicBool,
    good: AtomicU64,
    goodbyes: AtomicU64,
    bad: std::sync::Mutex<Vec<String>>,
}

impl Crowd {
    fn count<E: std::fmt::Debug>(&self, kind: &str, result: Result<(), E>) {
        match result {
            Ok(()) => drop(self.good.fetch_add(1, Ordering::SeqCst)),
            Err(error) => self.bad.lock().expect("whole").push(format!("{kind}: {error:?}")),
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// Keeps its connection until it is told that it will be closed.
    async fn keep_alive(self: Arc<Self>, address: SocketAddr) {
        while self.goes_on() {
            let mut http = Http::connect(address).await;
            while self.goes_on() {
                let result = http.send(get_request("/")).await;
                let closes = result.as_ref().is_ok_and(|answer| {
                    answer.headers().get("connection").is_some_and(|value| value == "close")
                });
                let failed = result.is_err();
                self.count("kept alive", result.map(drop));
                if closes || failed {
                    self.goodbyes.fetch_add(1, Ordering::SeqCst);
                    break;
                }
            }
        }
    }

    /// A connection for each request.
    async fn afresh(self: Arc<Self>, address: SocketAddr) {
        while self.goes_on() {
            let result = async {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await?;
                match answer.starts_with(b"HTTP/1.1 200") {
                    true => Ok(()),
                    false => Err(std::io::Error::other(String::from_utf8_lossy(&answer).into_owned())),
                }
            };
            self.count("afresh", result.await);
        }
    }

    /// Several requests at once on one connection, until the proxy says goodbye; what it has not taken is sent again.
    async fn http2(self: Arc<Self>, address: SocketAddr) {
        while self.goes_on() {
            let mut sender = http2::connect(address).await;
            while self.goes_on() && sender.ready().await.is_ok() {
                let request = || {
                    let request = Request::get(format!("http://{address}/"));
                    request.body(http2::full("")).expect("a request")
                };
                let answers = [sender.send_request(request()), sender.send_request(request())];
                for answer in answers {
                    match answer.await {
                        Ok(answer) => {
                            self.count("HTTP/2", answer.into_body().collect().await.map(drop));
                        }
                        Err(error) if error.is_canceled() => {}
                        Err(error) => self.count("HTTP/2", Err(error)),
                    }
                }
            }
            self.goodbyes.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_restarts_under_load_lose_nothing_and_count_everything_once() {
    let stage = Stage::new();
    let (web, echo) = (measuring(1).await, echo().await);
    let (first, client) = Process::first(&stage.socket(), 2).await;
    let mut routes = stage.routes(web.spec(1000), echo);
    let upgrading = Route { workload: "upgrading".into(), ..Route::new("", loopback::free_address()) };
    let upgrading = Route { backends: vec![echo], ..upgrading };
    let upgrades = upgrading.listen;
    routes.push(upgrading);
    set(&client, 7, routes).await;

    let crowd = Arc::new(Crowd::default());
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        clients.spawn(Arc::clone(&crowd).keep_alive(stage.web));
    }
    for _ in 0..3 {
        clients.spawn(Arc::clone(&crowd).afresh(stage.web));
    }
    clients.spawn(Arc::clone(&crowd).http2(stage.web));

    let mut tunnel = TcpStream::connect(stage.tcp).await.expect("connected");
    assert!(is_echoed(&mut tunnel, "before").await);
    let mut websocket = TcpStream::connect(upgrades).await.expect("connected");
    websocket.write_all(UPGRADE.as_bytes()).await.expect("sent");
    let mut buffer = [0; 1024];
    let count = websocket.read(&mut buffer).await.expect("an answer");
    assert!(buffer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&buffer[..count]));
    let mut upload = TcpStream::connect(stage.web).await.expect("connected");
    let head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\na";
    upload.write_all(head.as_bytes()).await.expect("sent");

    let (mut processes, mut arrivals) = (vec![first], 0);
    // Fewer shards and more: each has a socket, and no socket is left without one.
    for workers in [3, 1, 2] {
        let so_far = crowd.good.load(Ordering::SeqCst);
        let (next, stats) = Process::successor(&stage.socket(), workers, &client).await;
        processes.push(next);
        assert_eq!(stats.generation, 7);
        let web = stats.workload("web").expect("its counters");
        assert!(web.arrivals > arrivals && web.in_flight > 0, "{web:?}");
        arrivals = web.arrivals;
        assert!(is_echoed(&mut tunnel, "tunnel").await);
        assert!(is_echoed(&mut websocket, "websocket").await);
        upload.write_all(b"a").await.expect("sent");
        let more = || async {
            if crowd.good.load(Ordering::SeqCst) > so_far + 200 { Ok(()) } else { Err("no load") }
        };
        eventually(more).await;
    }
    let stats = client.stats().await.expect("statistics");
    let tunnels: Vec<_> = stats.workloads.iter().map(|w| (w.workload.as_str(), w.in_flight)).collect();
    assert_eq!((tunnels[0], tunnels[1]), (("tcp", 1), ("upgrading", 1)), "they are open at the first");
    crowd.stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    assert!(crowd.bad.lock().expect("whole").is_empty(), "{:?}", crowd.bad);
    // Every kept connection was told at every restart.
    assert!(crowd.goodbyes.load(Ordering::SeqCst) >= 3 * 7, "{:?}", crowd.goodbyes);

    let count = upload.read(&mut buffer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&buffer[..count]);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n4"), "{answer}");
    drop((tunnel, websocket, upload));
    for old in &mut processes[..3] {
        assert!(old.ended().await.success());
    }
    let stats = client.stats().await.expect("statistics");
    let web = stats.workload("web").expect("its counters");
    let expected = crowd.good.load(Ordering::SeqCst) + 1;
    assert_eq!((web.arrivals, web.completed, web.failed, web.in_flight), (expected, expected, 0, 0));
    assert!(client.shutdown(Duration::from_secs(5)).await.is_ok());
    assert!(processes[3].ended().await.success());
    assert!(!stage.socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_fails_or_hangs_leaves_the_old_one_serving() {
    let stage = Stage::new();
    let (web, echo) = (measuring(1).await, echo().await);
    let (mut process, client) = Process::first(&stage.socket(), 2).await;
    let folder = stage.folder.path();
    let tls = TlsSpec { certificate: folder.join("site.pem"), key: folder.join("site.key") };
    let made = rcgen::generate_simple_self_signed(vec!["site".to_owned()]).expect("a certificate");
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).expect("written");
    std::fs::write(&tls.certificate, made.cert.pem()).expect("written");
    let mut routes = stage.routes(web.spec(1000), echo);
    let mut secure = Route::new("secure", loopback::free_address());
    secure.protocols.tls = Some(tls.clone());
    routes.push(secure);
    set(&client, 1, routes.clone()).await;

    // One that cannot serve this table.
    std::fs::remove_file(&tls.key).expect("removed");
    let mut failing = Process::spawn(&stage.socket(), 2, true);
    assert!(!failing.ended().await.success());
    assert_eq!(client.stats().await.expect("answers").pid, process.0.id());
    assert_eq!(get(stage.web, "/").await.1, "0");

    // One that takes everything and says nothing; then it dies.
    let mut hanging = UnixStream::connect(stage.socket()).await.expect("connected");
    hanging.write_all(&[0, 0, 0, 2, 0x81, 0]).await.expect("asked");
    let mut begin = [0; 6];
    hanging.read_exact(&mut begin).await.expect("an estate");
    assert_eq!(begin[4..], [0x81, 0]);
    assert_eq!(get(stage.web, "/").await.1, "0");
    // Two at once cannot have it.
    let mut second = Process::spawn(&stage.socket(), 2, true);
    drop(hanging);
    // The second one's turn came after the first had failed, and it cannot serve either.
    assert!(!second.ended().await.success());
    set(&client, 2, routes).await;
    assert_eq!(client.stats().await.expect("answers").pid, process.0.id());
    assert!(process.0.try_wait().expect("ours").is_none());
    assert_eq!(get(stage.web, "/").await.1, "0");
    let mut plain = Process::spawn(&stage.socket(), 2, false);
    assert!(!plain.ended().await.success(), "only a successor may come to a socket in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_predecessor_goes_to_no_backend_that_has_left_and_its_death_is_accounted_for() {
    let stage = Stage::new();
    let (old, new, echo) = (Backend::start(1).await, Backend::start(2).await, echo().await);
    let (mut first, client) = Process::first(&stage.socket(), 2).await;
    set(&client, 1, stage.routes(old.spec(1000), echo)).await;
    let mut kept = Http::connect(stage.web).await;
    assert_eq!(kept.get("/").await.body(), "1");
    let mut tunnel = TcpStream::connect(stage.tcp).await.expect("connected");
    assert!(is_echoed(&mut tunnel, "tunnel").await);
    let (_second, stats) = Process::successor(&stage.socket(), 1, &client).await;
    assert_eq!((stats.workload("web").expect("there").arrivals, stats.connections), (1, 2));
    set(&client, 2, stage.routes(new.spec(1000), BackendSpec { weight: 0, ..echo })).await;
    // The last request of a connection that the first still has.
    let answer = kept.get("/").await;
    assert_eq!(
        (answer.body().as_ref(), &answer.headers()["connection"]),
        (&b"2"[..], &"close".parse().expect("text"))
    );
    assert!(is_echoed(&mut tunnel, "drains").await);
    let stats = client.stats().await.expect("statistics");
    assert_eq!(stats.workload("tcp").expect("there").backend(9).expect("in use").in_flight, 1);
    first.0.kill().expect("killed");
    first.0.wait().expect("ended");
    let stats = eventually(|| async {
        let stats = client.stats().await.expect("statistics");
        if stats.connections == 0 { Ok(stats) } else { Err(stats) }
    })
    .await;
    let tcp = stats.workload("tcp").expect("there");
    assert_eq!((tcp.arrivals, tcp.failed, tcp.in_flight), (1, 1, 0));
    assert_eq!(stats.workload("web").expect("there").arrivals, 2);
    assert_eq!(get(stage.web, "/").await.1, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sockets_are_for_their_owner_only() {
    let stage = Stage::new();
    let (_process, client) = Process::first(&stage.socket(), 1).await;
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&stage.socket()), 0o600);
    let (_next, _) = Process::successor(&stage.socket(), 1, &client).await;
    assert_eq!(mode(&stage.socket()), 0o600);
    assert_eq!(mode(&stage.socket().with_extension("lock")), 0o600);
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: k\r\n\r\n";
