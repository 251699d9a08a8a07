//! A hot restart of the proxy that somebody asks for: the proxy's watcher starts the successor, the control loop tells of it.

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::{CommandError, ControlLoop};

/// Who wants a restart and why, with where the answer goes.
#[derive(Debug)]
pub(crate) struct ProxyRestart {
    pub(crate) by: api::ProxyRestartRequest,
    pub(crate) reply: oneshot::Sender<Result<api::ProxyStatus, CommandError>>,
}

impl ControlLoop {
    /// Leaves it with the watcher, whose news answer it.
    pub(super) fn restart_proxy(&self, restart: ProxyRestart) {
        let (restart, refusal) = match &self.proxy.restarter {
            None => (restart, CommandError::NotOurProxy),
            Some(restarter) => match restarter.try_send(restart) {
                Ok(()) => return,
                Err(TrySendError::Full(restart) | TrySendError::Closed(restart)) => {
                    (restart, CommandError::ProxyRestarting)
                }
            },
        };
        let _ = restart.reply.send(Err(refusal));
    }

    /// A successor serves, as this process, or does not.
    pub(super) fn proxy_succeeded(&mut self, restart: ProxyRestart, result: Result<Option<u32>, String>) {
        let api::ProxyRestartRequest { author, reason } = restart.by;
        let answer = match result {
            Ok(pid) => {
                let number = |pid: Option<u32>| pid.map_or("unknown".to_owned(), |pid| pid.to_string());
                let before = number(std::mem::replace(&mut self.proxy.pid, pid));
                let now = number(pid);
                let message = format!(
                    "the proxy was restarted: process {now} took over from {before} ({author}: {reason})"
                );
                self.note_own("proxy_replaced", message);
                self.proxy.connected = true;
                Ok(self.proxy_status())
            }
            Err(why) => {
                self.note_own(
                    "proxy_kept",
                    format!("the proxy was not restarted ({author}: {reason}): {why}"),
                );
                Err(CommandError::ProxyRestart(why))
            }
        };
        self.settle();
        self.publish();
        let _ = restart.reply.send(answer);
    }
}
