//! Child processes that end with the measurement, free ports, and what the system says of a process's CPU time.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a server may take to accept connections.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long an orderly end may take before the process is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// A process that is stopped in an orderly way when dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts `command` without input; what it prints is thrown away.
    pub(crate) fn start(command: &mut Command) -> Result<Running> {
        let shown = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {shown}"))?;
        Ok(Running { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let begin = Instant::now();
        while asked.is_ok() && begin.elapsed() < STOP_DEADLINE {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        // It did not end by itself; nothing that fails here could be mended here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address with a port that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on the loopback address")?;
    Ok(listener.local_addr()?)
}

/// Waits until something accepts connections at `address`.
pub(crate) fn wait_until_listening(address: SocketAddr) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < START_DEADLINE {
        if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    bail!("nothing listens at {address} after {} s", START_DEADLINE.as_secs())
}

/// CPU time that all threads of a process have used, in seconds (from the scheduler, in nanoseconds).
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut total = 0_u64;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let run_time = text.split_whitespace().next().unwrap_or("0");
        total += run_time.parse::<u64>().context("schedstat has another shape")?;
    }
    Ok(total as f64 / 1e9)
}
