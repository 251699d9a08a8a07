//! Taking hold of everything the daemon needs, and letting go of it.

use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;

use crate::config::Config;
use crate::error::DaemonError;

/// What does not belong into a configuration file.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Program and first arguments that run the proxy; `--control-socket PATH` is appended. Normally
    /// `[current_exe, "proxy"]`.
    pub proxy_command: Vec<OsString>,
    /// Seed of the planner's randomness.
    pub seed: u64,
}

impl BuildOptions {
    /// The proxy as a hidden subcommand of the running program.
    ///
    /// # Errors
    /// When the path of the running program cannot be found out.
    pub fn of_process() -> std::io::Result<BuildOptions> {
        let program = std::env::current_exe()?;
        Ok(BuildOptions { proxy_command: vec![program.into(), "proxy".into()], seed: 0 })
    }
}

/// A daemon that holds its state folder, its API address and its data plane, ready to run.
#[derive(Debug)]
pub struct Daemon {
    api_address: SocketAddr,
}

impl Daemon {
    /// Opens the state folder, binds the API address, finds or starts the proxy, adopts the instances that run.
    ///
    /// # Errors
    /// Anything that keeps the daemon from serving, each with what to do.
    pub async fn build(_config: Config, _options: BuildOptions) -> Result<Daemon, DaemonError> {
        Err(DaemonError::Unfinished)
    }

    /// Address of the HTTP API and dashboard; the real port where port 0 was configured.
    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// Serves until `shutdown` completes, then stops every instance and the proxy.
    ///
    /// # Errors
    /// A failure that ended it, or one during the orderly shutdown.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), DaemonError> {
        shutdown.await;
        Ok(())
    }
}
