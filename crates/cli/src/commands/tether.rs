//! The process in front of a user's own model: it ends the model, with all that it started, when whoever asked for it is gone.
//!
//! A model reads from a pipe, so it notices the end of its reader only when it reads. One that computes for an hour would go on
//! after a `kill -9`, of which nobody is told. A signal on the parent's death would reach one process of several, and depends on the
//! thread that started it; so this one looks who its parent is.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, getpgrp, getpid, getppid, kill_current_process_group};

use crate::failure::{Failure, OrFail};

/// Options of `tether`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TetherArgs {
    /// The process that must live
    #[arg(value_name = "PID")]
    of: i32,
    /// What is run as long as it does
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// Runs the command with this process's pipes, and ends as it ends.
pub(crate) fn run(args: &TetherArgs) -> Result<(), Failure> {
    let (program, words) = args.command.split_first().ok_or_else(|| Failure::usage("no command is given"))?;
    let mut child =
        Command::new(program).args(words).spawn().or_failed(format!("failed to start {program}"))?;
    let_go_of_pipes()?;
    loop {
        if getppid() != Pid::from_raw(args.of) {
            end(&mut child);
            return Err(Failure::Ended(KILLED));
        }
        if let Some(status) = child.try_wait()? {
            let code = status.code().or(status.signal().map(|signal| BY_SIGNAL + signal));
            return Err(Failure::Ended(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(KILLED)));
        }
        std::thread::sleep(LOOK_UP);
    }
}

/// Whoever reads the command's output must see its end when the command closes it.
fn let_go_of_pipes() -> Result<(), Failure> {
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).or_failed("cannot let go of standard input")?;
    rustix::stdio::dup2_stdout(&nothing).or_failed("cannot let go of standard output")?;
    rustix::stdio::dup2_stderr(&nothing).or_failed("cannot let go of standard error")
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
