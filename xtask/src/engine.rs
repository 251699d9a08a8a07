//! A Docker engine of our own, for the demo with containers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs in a folder of its own; ends, and the folder with it, when it is dropped.
pub(crate) struct Engine {
    dir: PathBuf,
    child: Child,
}

impl Engine {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(dockerd: &Path) -> Result<Engine> {
        let dir = std::env::temp_dir().join(format!("foreshadow-dockerd-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("daemon.json"), "{}")?;
        let option = |name: &str, file: &str| format!("--{name}={}", dir.join(file).display());
        let child = Command::new(dockerd)
            .args([option("data-root", "data"), option("exec-root", "exec"), option("pidfile", "pid")])
            .args([option("config-file", "daemon.json")])
            .arg(format!("--host=unix://{}", dir.join(SOCKET).display()))
            // Nothing of the machine's own network is touched.
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("log"))?)
            .spawn()
            .context("failed to start dockerd")?;
        let mut engine = Engine { dir, child };
        engine.wait_until_it_listens()?;
        Ok(engine)
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.dir.join(SOCKET).display())
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let begin = Instant::now();
        while !self.dir.join(SOCKET).exists() {
            if self.child.try_wait()?.is_some() || begin.elapsed() > START_TIME_MAX {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                bail!("dockerd does not run here: {}", log.lines().last().unwrap_or("it says nothing"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        // It leaves the mount of the namespace that containers in the host's network share.
        let _ = Command::new("umount").arg("-l").arg(self.dir.join("exec/netns/default")).status();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{} is left: {error}", self.dir.display());
        }
    }
}

const SOCKET: &str = "docker.sock";
const START_TIME_MAX: Duration = Duration::from_secs(40);
