//! Proxies as processes of their own, one after another on the same control socket.

#![expect(unreachable_pub, reason = "each test file uses its own part of this")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use proxy::control::{Client, Stats};

use crate::support::eventually;

/// A proxy's process; killed with the test.
pub struct Process(pub Child);

impl Process {
    /// Starts the first.
    pub async fn first(socket: &Path, workers: usize) -> (Self, Client) {
        let process = Self::spawn(socket, workers, false);
        (process, eventually(|| Client::connect(socket)).await)
    }

    /// Starts a successor and waits until it answers.
    pub async fn successor(socket: &Path, workers: usize, client: &Client) -> (Self, Stats) {
        let process = Self::spawn(socket, workers, true);
        let stats = eventually(|| async {
            match client.stats().await {
                Ok(stats) if stats.pid == process.0.id() => Ok(stats),
                other => Err(other),
            }
        });
        let stats = stats.await;
        (process, stats)
    }

    pub fn spawn(socket: &Path, workers: usize, take_over: bool) -> Self {
        let mut command = Command::new(program());
        command.arg(socket).arg(workers.to_string()).stdin(Stdio::null()).env("PROXY_DETACHED", "1");
        if take_over {
            command.env("PROXY_TAKE_OVER", "1");
        }
        Self(command.spawn().expect("the example starts"))
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        for _ in 0..2000 {
            if let Some(status) = self.0.try_wait().expect("ours") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {} does not end", self.0.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the test's path");
    let program = test.parent().and_then(Path::parent).expect("a target folder").join("examples/proxy");
    assert!(
        program.exists(),
        "{} is missing: build it with `cargo build -p proxy --examples`",
        program.display()
    );
    program
}
