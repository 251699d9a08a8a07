//! Child processes that end with the measurement, and what the system says of a process's CPU time.

use std::fs;
use std::net::{SocketAddr, TcpStream};
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
        Running::start_with(command, Stdio::null())
    }

    /// Starts `command` with this input; what it prints is thrown away.
    pub(crate) fn start_with(command: &mut Command, input: Stdio) -> Result<Running> {
        let shown = format!("{command:?}");
        let child = command
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {shown}"))?;
        Ok(Running { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Ends it without a chance to clean up.
    pub(crate) fn kill(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let begin = Instant::now();
        while asked.is_ok() && begin.elapsed() < STOP_DEADLINE {
            if self.has_ended() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        // It did not end by itself; nothing that fails here could be mended here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// CPU time that all threads of a process and of its children have used, in seconds (from the scheduler, in nanoseconds).
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut total = 0_u64;
    for process in family(pid)? {
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let run_time = text.split_whitespace().next().unwrap_or("0");
            total += run_time.parse::<u64>().context("schedstat has another shape")?;
        }
    }
    Ok(total as f64 / 1e9)
}

/// Memory that a process and its children have resident, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for process in family(pid)? {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        total += kilobytes.context("/proc has another shape")? * 1024.0;
    }
    Ok(total)
}

/// A process and its children; nginx works in the latter.
fn family(pid: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().map(str::parse::<u32>);
    Ok(std::iter::once(Ok(pid)).chain(children).collect::<Result<_, _>>()?)
}

/// Files that this process and its children may open at most.
pub(crate) fn open_files_max() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).context("/proc has another shape")
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
