//! What QEMU does for its machines, without foreshadow: commands of its control socket, and a plain start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::bed::Survivor;
use super::process::Again;
use super::request::ask_until_answered;

/// A connection to the control socket, which takes one at a time.
pub(super) struct Control(BufReader<UnixStream>);

impl Control {
    /// That of a machine which runs.
    pub(super) async fn of(survivor: &Survivor) -> Result<Control> {
        Self::connect(&PathBuf::from(format!("/proc/{}/cwd/control", survivor.pid))).await
    }

    async fn connect(path: &Path) -> Result<Control> {
        let begin = Instant::now();
        let stream = loop {
            match UnixStream::connect(path).await {
                Ok(stream) => break stream,
                Err(error) if begin.elapsed() > CONNECT_DEADLINE => bail!("{}: {error}", path.display()),
                Err(_) => sleep(RETRY).await,
            }
        };
        let mut control = Control(BufReader::new(stream));
        control.say(r#"{"execute":"qmp_capabilities"}"#).await?;
        Ok(control)
    }

    async fn say(&mut self, command: &str) -> Result<String> {
        self.0.get_mut().write_all(format!("{command}\n").as_bytes()).await?;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            if line.contains("\"return\"") {
                return Ok(line);
            }
            if line.is_empty() || line.contains("\"error\"") {
                bail!("{command}: {line}");
            }
        }
    }

    pub(super) async fn set(&mut self, is_frozen: bool) -> Result<()> {
        let step = if is_frozen { r#"{"execute":"stop"}"# } else { r#"{"execute":"cont"}"# };
        self.say(step).await.map(drop)
    }

    async fn restore(&mut self) -> Result<()> {
        self.say(
            r#"{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"x-ignore-shared","state":true}]}}"#,
        )
        .await?;
        self.say(r#"{"execute":"migrate-incoming","arguments":{"uri":"exec:cat state"}}"#).await?;
        while !self.say(r#"{"execute":"query-migrate"}"#).await?.contains("\"completed\"") {
            sleep(RETRY).await;
        }
        self.set(false).await
    }
}

/// From the start of QEMU with the same command line to the first byte, in milliseconds: by booting, or where the machine
/// was restored, by restoring the same snapshot.
pub(super) async fn cold(survivor: &Survivor, times: usize) -> Result<Vec<f64>> {
    let state = fs::read_link(format!("/proc/{}/cwd/state", survivor.pid)).ok();
    let mut measured = Vec::with_capacity(times);
    for _ in 0..times {
        let again = Again::of(survivor)?;
        let dir = tempfile::tempdir()?;
        if let Some(state) = &state {
            std::os::unix::fs::symlink(state, dir.path().join("state"))?;
        }
        let begin = Instant::now();
        let mut running = again.run(dir.path())?;
        let restored = async {
            if state.is_some() {
                Control::connect(&dir.path().join("control")).await?.restore().await?;
            }
            ask_until_answered(again.addr).await
        };
        let answered = restored.await;
        running.kill();
        measured.push(answered?.duration_since(begin).as_secs_f64() * 1e3);
    }
    Ok(measured)
}

const CONNECT_DEADLINE: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(1);
