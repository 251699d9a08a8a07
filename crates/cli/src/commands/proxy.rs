//! `foreshadow proxy`: the data plane's process. `foreshadow run` starts it, and its successors; nobody else needs to.

use std::path::PathBuf;
use std::time::Duration;

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
    /// Go on in place of the proxy that runs on the control socket, with its listening sockets; no connection is lost
    #[arg(long)]
    take_over: bool,
    /// How long connections may stay open at that proxy
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    predecessor_drain: Duration,
}

/// Serves until told to end.
pub(crate) fn run(args: &ProxyArgs) -> Result<(), Failure> {
    let mut options = ProxyOptions::new(&args.control_socket);
    options.workers = args.workers;
    options.take_over = args.take_over;
    options.predecessor_drain = args.predecessor_drain;
    proxy::run(options).map_err(|error| match &error {
        RunError::AlreadyRunning { .. } | RunError::Socket { .. } => Failure::Usage(error.into()),
        RunError::Start { .. } | RunError::TakeOver { .. } | RunError::ShardDied => {
            Failure::Failed(error.into())
        }
    })
}
