//! Other people's tests against the proxy: clients that never come to an end, and HTTP/2 load. `cargo xtask test` installs them.

mod support;
#[path = "support/tls.rs"]
mod tls;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use support::{Backend, Http, Proxy};
use tls::Certificate;
use tokio::process::Command;

/// A proxy with short limits, over a backend with long answers under `/long` and short ones elsewhere.
async fn stage() -> (Backend, Proxy) {
    // Shared: to write it anew for each request would take longer than to send it.
    let long = Bytes::from(vec![b'x'; LONG]);
    let backend = Backend::answering(1, move |_, request| {
        let body = if request.uri().path() == "/long" { long.clone() } else { Bytes::from_static(b"short") };
        async { Response::new(Full::new(body)) }
    })
    .await;
    let proxy = Proxy::start_with(|options| options.limits.head_time = Duration::from_secs(2)).await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.protocols.body_grace = Duration::from_secs(2);
    route.timeouts.body_idle = Duration::from_secs(2);
    proxy.set(1, route).await;
    (backend, proxy)
}

/// Runs slowhttptest, and beside it a client that must be served all the while. What slowhttptest says at its end.
async fn attacked(proxy: &Proxy, path: &str, mode: &[&str]) -> Option<String> {
    let program = program("slowhttptest", "slow clients by slowhttptest")?;
    let url = format!("http://{}{path}", proxy.listen);
    let common = ["-c", "300", "-r", "300", "-l", "8", "-p", "2", "-u", &url];
    let attack = Command::new(program).args(mode).args(common).kill_on_drop(true).output();
    let mut attack = std::pin::pin!(attack);
    let mut asked = 0;
    let output = loop {
        let probe = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let began = Instant::now();
            let answer = Http::connect(proxy.listen).await.get("/").await;
            (answer.status(), began.elapsed())
        };
        tokio::select! {
            output = &mut attack => break output.expect("it runs"),
            (status, took) = probe => {
                assert_eq!(status, 200, "while attacked by {mode:?}");
                assert!(took < PATIENCE, "while attacked by {mode:?}: {took:?}");
                asked += 1;
            }
        }
    };
    assert!(asked > 20, "only {asked} requests beside the attack");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("service available"), "{said}");
    assert!(
        said.lines().filter(|line| line.contains("service available")).all(|line| line.contains("YES")),
        "{said}"
    );
    Some(said)
}

/// Whether the proxy itself has ended every connection of the attack.
fn all_ended(said: &str) -> bool {
    said.contains("No open connections left")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_never_end_are_cut_and_stop_nobody() {
    let (_backend, proxy) = stage().await;
    if let Some(said) = attacked(&proxy, "/", &["-H", "-i", "1", "-x", "8"]).await {
        assert!(all_ended(&said), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_end_are_cut_and_stop_nobody() {
    let (_backend, proxy) = stage().await;
    if let Some(said) = attacked(&proxy, "/", &["-B", "-i", "1", "-s", "8192", "-x", "8"]).await {
        assert!(all_ended(&said), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_never_read_stop_nobody() {
    let (_backend, proxy) = stage().await;
    attacked(&proxy, "/long", &["-X", "-w", "8", "-y", "16", "-n", "2", "-z", "8", "-k", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_of_h2load_fails() {
    let Some(program) = program("h2load", "HTTP/2 by h2load") else { return };
    let (backend, proxy) = stage().await;
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::write(folder.path());
    for scheme in ["http", "https"] {
        let mut route = proxy.route(&[backend.spec(1000)]);
        route.protocols.tls = (scheme == "https").then(|| certificate.spec.clone());
        proxy.set(if scheme == "https" { 3 } else { 2 }, route).await;
        if scheme == "https" {
            let stream = certificate.connect(proxy.listen, &["h2"]).await.expect("TLS");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        }
        for path in ["/", "/long"] {
            let (count, url) =
                (if path == "/" { "5000" } else { "50" }, format!("{scheme}://{}{path}", proxy.listen));
            let load = Command::new(&program).args(["-n", count, "-c", "10", "-m", "20", &url]).output();
            let output =
                tokio::time::timeout(Duration::from_secs(60), load).await.expect("it ends").expect("it runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                said.contains(&format!("{count} succeeded, 0 failed, 0 errored, 0 timeout")),
                "{url}: {said}"
            );
            assert!(said.contains(&format!("status codes: {count} 2xx")), "{url}: {said}");
        }
    }
}

/// The program, unless it is missing: then that is noted.
fn program(name: &str, part: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skips::skip(part, &format!("no {name} on this machine"));
    }
    found
}

/// Bytes of a long answer. Three hundred of more would keep a busy machine from anything else, the test's backend first.
const LONG: usize = 1024 * 1024;

/// The longest that a request beside an attack may take. Connections of an attack last longer, and a busy machine costs less.
const PATIENCE: Duration = Duration::from_secs(5);
