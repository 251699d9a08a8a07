//! What the commands that talk to a running daemon share: where it is, and a runtime to talk in.

use std::future::Future;
use std::net::SocketAddr;

use clap::Args;
use daemon::client::{Client, ClientError};

use crate::failure::{Failure, OrFail};

/// Where the daemon answers.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RemoteArgs {
    /// Address of the daemon's API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878")]
    api: SocketAddr,
}

impl RemoteArgs {
    /// Asks the daemon.
    pub(crate) fn ask<T, F>(self, question: impl FnOnce(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .or_failed("cannot start an async runtime")?;
        runtime.block_on(question(Client::new(self.api))).map_err(as_failure)
    }
}

/// What was asked wrongly is a usage error; a daemon that is not there, or broken, is a failure, and so is a sensible
/// wish that the daemon's state does not allow.
fn as_failure(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused { status: 409, .. } => Failure::Failed(error.into()),
        ClientError::Refused { status: 400..=499, .. } => Failure::Usage(error.into()),
        ClientError::Refused { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Broken { .. }
        | ClientError::TimedOut { .. }
        | ClientError::NotUnderstood { .. } => Failure::Failed(error.into()),
    }
}
