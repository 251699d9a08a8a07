//! Notices the end of a process through its pidfd.
//!
//! A pidfd works for children and for adopted processes alike and cannot come to mean another process. The end itself
//! is seen first; the exit status is collected later, after everything else of the instance has been killed: until then
//! the pid, which is also the number of the process group, stays taken.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{WaitId, WaitIdOptions, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::face::ExitReason;

/// Watches one process.
#[derive(Debug)]
pub(super) struct ExitWatch {
    pidfd: AsyncFd<OwnedFd>,
    /// From the parent, if that is a template.
    told: Option<oneshot::Receiver<ExitReason>>,
}

impl ExitWatch {
    /// Begins to watch. Must be called inside a tokio runtime.
    pub(super) fn new(pidfd: OwnedFd) -> io::Result<ExitWatch> {
        // SAFETY: an owned descriptor stays open and the same as long as the value lives.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
        Ok(ExitWatch { pidfd, told: None })
    }

    /// Somebody else, its parent, may say how it ended.
    pub(super) fn told_by(self, told: Option<oneshot::Receiver<ExitReason>>) -> ExitWatch {
        ExitWatch { told, ..self }
    }

    /// Returns when the process has ended, all its threads included.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.pidfd.readable().await.map(drop)
    }

    /// Takes the process out of the process table if it is our child, and says how it ended.
    pub(super) fn reap(&self) -> ExitReason {
        match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitReason::Code(code),
                (None, Some(signal)) => ExitReason::Signal(signal),
                (None, None) => ExitReason::Unknown,
            },
            // Not our child: an adopted one. Its parent has the status.
            Ok(None) | Err(_) => ExitReason::Unknown,
        }
    }

    /// The same, and where another process is its parent, waits a moment for what that one says.
    pub(super) async fn reap_or_hear(&mut self) -> ExitReason {
        match (self.reap(), self.told.take()) {
            (ExitReason::Unknown, Some(told)) => match timeout(TOLD_TIME_MAX, told).await {
                Ok(Ok(reason)) => reason,
                Ok(Err(_)) | Err(_) => ExitReason::Unknown,
            },
            (reason, _) => reason,
        }
    }
}

/// How long a parent may take to say how its child ended.
const TOLD_TIME_MAX: Duration = Duration::from_millis(200);
