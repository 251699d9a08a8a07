//! `docker`: where an engine of containers is, under `[server]` for the only one or under each `[[node]]`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use provider::{DockerConfig, Endpoint, TlsFiles};

use super::entry::Entry;
use super::model::Config;
use super::quantity::format_duration;
use super::write::quoted;

/// `docker = { endpoint, address, tls, freezer, deadline, lost_after }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// `endpoint`: `"unix:///var/run/docker.sock"` (the default), `"tcp://HOST:PORT"` or `"ssh://USER@HOST"`.
    pub endpoint: Endpoint,
    /// `address`: where its published ports are reached. Default 127.0.0.1; required for an engine elsewhere.
    pub address: IpAddr,
    /// `freezer`: park by the container's own freezer file. Default false; only for an engine of this machine.
    pub freezer: bool,
    /// `deadline`: longest wait for an answer of the engine. Default 20 s.
    pub deadline: Duration,
    /// `lost_after`: silence of engine and instances after which its node is lost. Default 10 s. Shorter: replacements come
    /// sooner, also when it would have come back.
    pub lost_after: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let DockerConfig { endpoint, address, freezer, deadline, .. } = DockerConfig::new("");
        Self { endpoint, address, freezer, deadline, lost_after: Duration::from_secs(10) }
    }
}

impl EngineConfig {
    /// What its provider is told.
    pub(crate) fn provider(&self, state_dir: PathBuf) -> DockerConfig {
        let default = DockerConfig::new(state_dir);
        DockerConfig {
            endpoint: self.endpoint.clone(),
            address: self.address,
            freezer: self.freezer,
            deadline: self.deadline,
            // It must be known to be silent when the question is whether its instances are, too.
            check_interval: default.check_interval.min(self.lost_after / 5),
            ping_deadline: default.ping_deadline.min(self.lost_after / 3),
            ..default
        }
    }
}

impl Config {
    /// The engines of containers by node; without nodes there is one, with an empty name.
    pub(crate) fn engines(&self) -> Vec<(&str, &EngineConfig)> {
        if self.nodes.is_empty() {
            return vec![("", &self.server.docker)];
        }
        let all = self.nodes.iter();
        all.map(|node| (node.name.as_str(), node.docker.as_ref().unwrap_or(&self.server.docker))).collect()
    }
}

/// Reads it.
pub(super) fn engine(e: &Entry<'_>) -> Option<EngineConfig> {
    let mut s = e.section("{ endpoint = \"unix:///var/run/docker.sock\" }")?;
    let mut config = EngineConfig::default();
    s.read("endpoint", &mut config.endpoint, endpoint);
    let mut files = None;
    s.read("tls", &mut files, |e| tls(e).map(Some));
    let is_near = matches!(config.endpoint, Endpoint::Unix(_));
    let mut address = is_near.then_some(config.address);
    s.read("address", &mut address, |e| match e.text()?.parse() {
        Ok(address) => Some(Some(address)),
        Err(_) => e.refuse("is no IP address", "write one such as \"10.0.0.2\""),
    });
    s.read("freezer", &mut config.freezer, Entry::flag);
    s.read("deadline", &mut config.deadline, |e| {
        e.duration(Duration::from_millis(100)..=Duration::from_secs(600))
    });
    s.read("lost_after", &mut config.lost_after, |e| {
        e.duration(Duration::from_secs(3)..=Duration::from_secs(3600))
    });
    match (&mut config.endpoint, files) {
        (Endpoint::Tcp { tls, .. }, files) => *tls = files,
        (_, Some(_)) => s.report("tls", "is only for an engine at tcp://", "leave it out"),
        (_, None) => {}
    }
    if config.freezer && !is_near {
        s.report("freezer", "is only for an engine of this machine", "leave it out");
    }
    if address.is_none() {
        s.report("address", "is missing: published ports are elsewhere", "add `address = \"10.0.0.2\"`");
    }
    s.finish();
    config.address = address?;
    Some(config)
}

fn endpoint(e: &Entry<'_>) -> Option<Endpoint> {
    let text = e.text()?;
    let parsed = match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Some(Endpoint::Unix(PathBuf::from(path))),
        Some(("tcp", place)) => {
            host_and_port(place).and_then(|(host, port)| Some(Endpoint::Tcp { host, port: port?, tls: None }))
        }
        Some(("ssh", place)) => host_and_port(place).map(|(destination, port)| Endpoint::Ssh {
            destination,
            port,
            socket: None,
            arguments: Vec::new(),
        }),
        Some(_) | None => None,
    };
    parsed.or_else(|| {
        e.refuse(
            format!("{text:?} is no endpoint"),
            "write \"unix:///var/run/docker.sock\", \"tcp://HOST:2376\" or \"ssh://USER@HOST\"",
        )
    })
}

fn host_and_port(place: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (place, None),
    };
    // ssh must not take it for an option.
    let is_name = !host.is_empty() && !host.starts_with('-') && !host.contains(['/', ' ']);
    is_name.then(|| (host.to_owned(), port))
}

fn tls(e: &Entry<'_>) -> Option<TlsFiles> {
    let mut s = e.section("{ ca = \"ca.pem\", cert = \"cert.pem\", key = \"key.pem\" }")?;
    let ca = s.required("ca", "\"ca.pem\"", Entry::path);
    let cert = s.required("cert", "\"cert.pem\"", Entry::path);
    let key = s.required("key", "\"key.pem\"", Entry::path);
    s.finish();
    Some(TlsFiles { ca: ca?, cert: cert?, key: key? })
}

/// As it is written in a file.
pub(super) fn write(engine: &EngineConfig) -> String {
    let file = |path: &Path| quoted(&path.display().to_string());
    let mut parts = vec![
        format!("endpoint = {}", quoted(&engine.endpoint.to_string())),
        format!("address = {}", quoted(&engine.address.to_string())),
        format!("freezer = {}", engine.freezer),
        format!("deadline = {}", quoted(&format_duration(engine.deadline))),
        format!("lost_after = {}", quoted(&format_duration(engine.lost_after))),
    ];
    if let Endpoint::Tcp { tls: Some(TlsFiles { ca, cert, key }), .. } = &engine.endpoint {
        parts.push(format!("tls = {{ ca = {}, cert = {}, key = {} }}", file(ca), file(cert), file(key)));
    }
    format!("{{ {} }}", parts.join(", "))
}
