//! A Docker engine of our own, for the demo with containers.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
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
    /// Starts it, and waits until it answers.
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
        engine.wait_until_it_answers()?;
        Ok(engine)
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.dir.join(SOCKET).display())
    }

    fn answers(&self) -> bool {
        let mut answer = String::new();
        let asked = UnixStream::connect(self.dir.join(SOCKET)).and_then(|mut stream| {
            stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        asked.is_ok() && answer.ends_with("OK")
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let begin = Instant::now();
        while !self.answers() {
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
        // It leaves mounts in its folder.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for point in points.filter(|point| Path::new(point).starts_with(&self.dir)) {
            let _ = Command::new("umount").arg("-l").arg(point).status();
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{} is left: {error}", self.dir.display());
        }
    }
}

const SOCKET: &str = "docker.sock";
const START_TIME_MAX: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_answers_and_leaves_nothing() {
        let Some(dockerd) = crate::packages::find_program("dockerd") else {
            return eprintln!("SKIPPED an engine of our own: there is no dockerd");
        };
        let engine = match Engine::start(&dockerd) {
            Ok(engine) => engine,
            Err(why) => return eprintln!("SKIPPED an engine of our own: {why:#}"),
        };
        let (dir, pid) = (engine.dir.clone(), engine.child.id());
        assert!(engine.answers());
        drop(engine);
        assert!(!dir.exists() && !Path::new(&format!("/proc/{pid}")).exists());
    }
}
