//! Settings of the Docker provider: one engine each.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::process::INSTANCES_MAX;

/// Settings of a provider of containers on one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// Folder for the identity, the marks of finished starts, the last output of ended containers, and the lock; made
    /// when missing. One provider at a time. An engine shared by several control planes needs a folder for each.
    pub state_dir: PathBuf,
    /// Where the engine is. Default: the Unix socket `/var/run/docker.sock`.
    pub endpoint: Endpoint,
    /// The address of the engine's machine on which ports are published and reached. Default 127.0.0.1, which is only
    /// right for this machine's engine.
    pub address: IpAddr,
    /// Park and promote by the container's own freezer file instead of the API: under a millisecond instead of tens. Only
    /// for an engine on this machine, and where we may write the file; else, and for containers whose image's health
    /// check is in use, the API does it. The engine does not see it: it lists such containers as running.
    /// Default false.
    pub freezer: bool,
    /// Longest wait for one answer of the engine, images that are pulled excepted. Default 20 s. Shorter: a hanging engine
    /// is noticed sooner, and a busy one mistaken for it.
    pub deadline: Duration,
    /// Longest wait for an image that is pulled. Default 10 min.
    pub pull_deadline: Duration,
    /// How often the containers of the engine are compared with what we know. Default 2 s. The end of a container is
    /// known at once; this finds what happened while the engine did not tell.
    pub check_interval: Duration,
    /// Longest wait for the answer to "are you there", which is asked once a check interval. Default 3 s. An engine that does
    /// not give it is said to be lost, whatever else it does.
    pub ping_deadline: Duration,
    /// Most instances at a time. Default [`INSTANCES_MAX`].
    pub instances_max: usize,
}

impl DockerConfig {
    /// The default settings with this state folder: this machine's engine.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> DockerConfig {
        DockerConfig {
            state_dir: state_dir.into(),
            endpoint: Endpoint::Unix(PathBuf::from("/var/run/docker.sock")),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            freezer: false,
            deadline: Duration::from_secs(20),
            pull_deadline: Duration::from_secs(600),
            check_interval: Duration::from_secs(2),
            ping_deadline: Duration::from_secs(3),
            instances_max: INSTANCES_MAX,
        }
    }
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket of this machine.
    Unix(PathBuf),
    /// A port. Without TLS whoever reaches it is root of that machine.
    Tcp {
        /// Name or address.
        host: String,
        /// Usually 2376 with TLS.
        port: u16,
        /// Certificates.
        tls: Option<TlsFiles>,
    },
    /// The program `ssh`, which runs `docker system dial-stdio` over there. Keys, known hosts and the like are ssh's own
    /// affair; it is never allowed to ask a question.
    Ssh {
        /// `user@host`, or a name of ssh's configuration.
        destination: String,
        /// Another port than ssh's own choice.
        port: Option<u16>,
        /// The engine's socket over there, if it is not the usual one.
        socket: Option<PathBuf>,
        /// Further arguments for ssh.
        arguments: Vec<String>,
    },
}

/// PEM files of a mutual TLS authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whom to trust.
    pub ca: PathBuf,
    /// Our certificate, with its chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            Endpoint::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
            Endpoint::Ssh { destination, port: Some(port), .. } => write!(f, "ssh://{destination}:{port}"),
            Endpoint::Ssh { destination, port: None, .. } => write!(f, "ssh://{destination}"),
        }
    }
}
