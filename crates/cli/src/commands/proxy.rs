//! `foreshadow proxy`: the data plane's process, which `foreshadow run` starts, with its successors; and restarting it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use proxy::{ProxyOptions, RunError};

use super::remote::{MaybeByArgs, RemoteArgs, answer};
use super::status;
use crate::failure::Failure;

/// Options of `proxy`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ProxyArgs {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    process: ProcessArgs,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Have another process take the proxy's place; no connection is lost
    ///
    /// It runs the program as it is on disk now, and gets the listening sockets, the route table and the counters. If it cannot
    /// serve, the one that runs goes on. What is kept of a `cache` is lost.
    Restart(RestartArgs),
}

/// What `foreshadow run` gives; by hand only for a proxy without a daemon.
#[derive(Args, Clone, Debug)]
struct ProcessArgs {
    /// Be the proxy, and take route tables on this Unix socket
    #[arg(long, value_name = "SOCKET")]
    control_socket: Option<PathBuf>,
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

#[derive(Args, Clone, Debug)]
struct RestartArgs {
    #[command(flatten)]
    by: MaybeByArgs,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl ProxyArgs {
    /// Whether it is the proxy itself that runs.
    pub(crate) fn serves(&self) -> bool {
        self.what.is_none()
    }
}

/// Restarts, or serves until told to end. `user` is the author when none is named.
pub(crate) fn run(args: &ProxyArgs, user: String) -> Result<(), Failure> {
    match (&args.what, &args.process.control_socket) {
        (Some(What::Restart(args)), _) => restart(args, user),
        (None, Some(socket)) => serve(&args.process, ProxyOptions::new(socket)),
        (None, None) => Err(Failure::usage(
            "say `foreshadow proxy restart`, or name the socket of a proxy without a daemon by `--control-socket`",
        )),
    }
}

fn restart(args: &RestartArgs, user: String) -> Result<(), Failure> {
    let reason = args.by.reason("restarted on the command line");
    let request = api::ProxyRestartRequest { author: args.by.author(user), reason };
    let proxy = args.remote.ask(|client| async move { client.restart_proxy(&request).await })?;
    answer(args.json, &proxy, |proxy| format!("restarted; proxy: {}\n", status::proxy(proxy)))
}

fn serve(args: &ProcessArgs, mut options: ProxyOptions) -> Result<(), Failure> {
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
