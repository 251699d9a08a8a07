//! The proxy as a process: signals, and death without a farewell. Runs the example `proxy`, which cargo builds with the tests.

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use http::StatusCode;
use proxy::control::Client;
use rustix::process::{Pid, Signal, kill_process};
use support::{Backend, eventually, get};

struct Process {
    child: Child,
    listen: SocketAddr,
    client: Client,
}

impl Process {
    async fn start(socket: &Path, backend: SocketAddr) -> Self {
        let listen = loopback::free_address();
        let mut command = Command::new(example());
        command.arg(socket).args(["2", &listen.to_string(), &backend.to_string()]).env("PROXY_DETACHED", "1");
        let child = command.spawn().expect("the example runs");
        let client = eventually(|| Client::connect(socket)).await;
        eventually(|| async {
            (client.stats().await.expect("answers").generation == 1).then_some(()).ok_or("no table")
        })
        .await;
        Self { child, listen, client }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    }

    async fn ended(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.child.wait().expect("waited")).await.expect("joined")
    }
}

fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let folder = test.parent().and_then(Path::parent).expect("target folder");
    folder.join("examples").join("proxy")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_proxy_ignores_the_terminal_and_drains_on_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::slow(1, Duration::from_millis(500)).await;
    let process = Process::start(&folder.path().join("control"), backend.addr).await;
    process.signal(Signal::INT);
    process.signal(Signal::HUP);
    let listen = process.listen;
    let running = tokio::spawn(async move { get(listen, "/").await });
    eventually(|| async {
        (process.client.stats().await.expect("answers").workloads[0].in_flight == 1).then_some(()).ok_or(())
    })
    .await;
    process.signal(Signal::TERM);
    assert_eq!(running.await.expect("answered").0, StatusCode::OK);
    assert!(process.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_of_a_killed_proxy_is_taken_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control");
    let backend = Backend::start(1).await;
    let killed = Process::start(&socket, backend.addr).await;
    killed.signal(Signal::KILL);
    killed.ended().await;
    assert!(socket.exists());
    let next = Process::start(&socket, backend.addr).await;
    assert_eq!(get(next.listen, "/").await.0, StatusCode::OK);
    next.signal(Signal::TERM);
    assert!(next.ended().await.success());
}
