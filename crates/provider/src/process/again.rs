//! The process becomes another program. What would end a process that does not listen yet is held back until it does.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr::{from_ref, null_mut};

/// Executes a program in place of this one, with the same number and children; returns only why that failed. Signals that ask
/// it to stop or to start anew wait there for [`hear_signals`].
pub fn execute(program: &Path, arguments: impl IntoIterator<Item = OsString>) -> io::Error {
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: nothing but a change of the mask, which may be done at any time.
    unsafe { command.pre_exec(|| mask(libc::SIG_BLOCK)) };
    let failed = command.exec();
    let _ = mask(libc::SIG_UNBLOCK);
    failed
}

/// To be called when there are handlers for them.
///
/// # Errors
/// Of the system; none is known to occur.
pub fn hear_signals() -> io::Result<()> {
    mask(libc::SIG_UNBLOCK)
}

fn mask(how: i32) -> io::Result<()> {
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is filled in by the first call before it is used, and outlives all of them.
    let error = unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            libc::sigaddset(signals.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, from_ref(signals.assume_init_ref()), null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}
