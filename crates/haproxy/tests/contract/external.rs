//! The real HAProxy, as a process, with the configuration that the documentation tells users to write.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use haproxy::Haproxy;
use proxy::control::Router;

use crate::Subject;
use crate::support::eventually;

pub(crate) struct External {
    router: Haproxy,
    listen: SocketAddr,
    config: PathBuf,
    process: Child,
    _folder: tempfile::TempDir,
}

/// Whether it is on this machine; if not, the summary of all tests names this one.
pub(crate) fn is_here(test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let here = folders.map(|folder| folder.join("haproxy")).any(|program| program.is_file());
    if !here {
        skips::skip(test, "no haproxy on this machine");
    }
    here
}

fn spawn(config: &Path) -> Child {
    let folders = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("haproxy");
    command.env("PATH", folders).arg("-db").arg("-f").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

impl External {
    pub(crate) async fn balancing(balance: &str) -> External {
        let folder = tempfile::tempdir().expect("a folder");
        let (socket, config) = (folder.path().join("admin.sock"), folder.path().join("haproxy.cfg"));
        let listen = loopback::free_address();
        let text = format!(
            "global\n  stats socket {} level admin\n  nbthread 2\n\
             defaults\n  mode http\n  timeout connect 1s\n  timeout client 10s\n  timeout server 10s\n\
             frontend clients\n  bind {listen}\n  default_backend web\n\
             backend web\n  balance {balance}\n",
            socket.display()
        );
        std::fs::write(&config, text).expect("written");
        let router = Haproxy::new(socket, ["web".to_owned()]);
        let process = spawn(&config);
        let external = External { router, listen, config, process, _folder: folder };
        external.answers().await;
        external
    }

    async fn answers(&self) {
        eventually(|| self.router.stats()).await;
    }
}

impl Subject for External {
    type Router = Haproxy;

    async fn start() -> External {
        External::balancing("roundrobin").await
    }

    fn router(&self) -> &Haproxy {
        &self.router
    }

    fn listen(&self) -> SocketAddr {
        self.listen
    }

    async fn restart(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("waited for");
        let error = self.router.stats().await.expect_err("nobody answers");
        assert!(error.to_string().contains("admin.sock"), "{error}");
        self.process = spawn(&self.config);
        self.answers().await;
    }
}

impl Drop for External {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
