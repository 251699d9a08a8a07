//! The process in front of a user's own model: it ends the model, with all that it started, when whoever asked for it is gone.
//!
//! A model reads from a pipe, so it notices the end of its reader only when it reads. One that computes for an hour would go on
//! after a `kill -9`, of which nobody is told. A signal on the parent's death would reach one process of several, and depends on the
//! thread that started it; so this one looks who its parent is.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgrp, getpid, getppid, kill_current_process_group};

/// Runs a command with this process's pipes as long as its parent is the process `user`. Returns the exit code to end with, as a
/// shell tells it.
///
/// # Errors
/// When there is no command, or it cannot be started.
pub fn tether(user: i32, command: &[OsString]) -> io::Result<u8> {
    let Some((program, words)) = command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command is given"));
    };
    let failed =
        |error: io::Error| io::Error::new(error.kind(), format!("failed to start {program:?}: {error}"));
    let mut child = Command::new(program).args(words).spawn().map_err(failed)?;
    let_go_of_pipes()?;
    loop {
        if getppid() != Pid::from_raw(user) {
            end(&mut child);
            return Ok(KILLED);
        }
        if let Some(status) = child.try_wait()? {
            let code = status.code().or(status.signal().map(|signal| BY_SIGNAL + signal));
            return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(KILLED));
        }
        std::thread::sleep(LOOK_UP);
    }
}

/// Whoever reads the command's output must see its end when the command closes it.
fn let_go_of_pipes() -> io::Result<()> {
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(rustix::stdio::dup2_stderr(&nothing)?)
}

fn end(child: &mut Child) {
    // Run by hand it may be in the group of somebody else.
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(Signal::KILL);
    }
    let _ = child.kill();
}

/// How long the command may outlive its user.
const LOOK_UP: Duration = Duration::from_millis(25);
/// As a shell tells that a signal ended a program.
const BY_SIGNAL: i32 = 128;
const KILLED: u8 = 137;
