//! `foreshadow proxy`: the data plane's process. `foreshadow run` starts it; nobody else needs to.

use std::path::PathBuf;

use clap::Args;
use proxy::{ProxyOptions, RunError};

use crate::failure::Failure;

/// Options of `proxy`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProxyArgs {
    /// Unix socket to take route tables on
    #[arg(long)]
    control_socket: PathBuf,
    /// Threads that serve. Default: one per core
    #[arg(long, default_value_t = 0)]
    workers: usize,
}

/// Serves until told to end.
pub(crate) fn run(args: &ProxyArgs) -> Result<(), Failure> {
    let mut options = ProxyOptions::new(&args.control_socket);
    options.workers = args.workers;
    proxy::run(options).map_err(|error| match &error {
        RunError::AlreadyRunning { .. } | RunError::Socket { .. } => Failure::Usage(error.into()),
        RunError::Start { .. } | RunError::ShardDied => Failure::Failed(error.into()),
    })
}
