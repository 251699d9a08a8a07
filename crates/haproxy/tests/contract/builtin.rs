//! The built-in proxy, in a thread of this process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use proxy::control::Client;
use proxy::{ProxyOptions, RunError, run};

use crate::Subject;
use crate::support::eventually;

pub(crate) struct Builtin {
    client: Client,
    socket: PathBuf,
    listen: SocketAddr,
    thread: Option<JoinHandle<Result<(), RunError>>>,
    _folder: tempfile::TempDir,
}

fn start(socket: &Path) -> JoinHandle<Result<(), RunError>> {
    let options = ProxyOptions { workers: 2, ..ProxyOptions::new(socket) };
    std::thread::spawn(|| run(options))
}

impl Subject for Builtin {
    type Router = Client;

    async fn start() -> Builtin {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("control");
        let thread = Some(start(&socket));
        let client = eventually(|| Client::connect(&socket)).await;
        Builtin { client, socket, listen: loopback::free_address(), thread, _folder: folder }
    }

    fn router(&self) -> &Client {
        &self.client
    }

    fn listen(&self) -> SocketAddr {
        self.listen
    }

    async fn restart(&mut self) {
        self.client.shutdown(Duration::ZERO).await.expect("it ends");
        let thread = self.thread.take().expect("it runs");
        let ended = tokio::task::spawn_blocking(|| thread.join().expect("no panic")).await;
        ended.expect("joined").expect("an orderly end");
        self.thread = Some(start(&self.socket));
        eventually(|| Client::connect(&self.socket)).await;
    }
}
