//! What the proxy speaks with clients and instances: `protocol`, `tls`, `upstream`, `upgrades`, `proxy_protocol`, `forwarded`,
//! and the limits `timeouts`, `tunnel_idle`, `body_max`, `body_rate_min` and `body_grace`.

use std::path::PathBuf;
use std::time::Duration;

use proxy::control::{
    Forwarded, Protocol, Protocols, ProxyProtocol, ProxyVersion, Route, Timeouts, TlsSpec, Upstream,
};

use super::entry::Entry;
use super::model::WorkloadConfig;
use super::quantity::{format_bytes, format_duration};
use super::section::Section;

/// These keys of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolsConfig {
    /// `protocol`: `"http"` or `"tcp"` (bytes are passed on; one connection counts as one request). Default `"http"`.
    ///
    /// `tls = { certificate, key }`: PEM files, relative to the configuration file. TLS ends at the proxy; changed files are
    /// found within seconds and used from then on. Default none.
    ///
    /// `upstream`: `"http1"` or `"http2"` (without TLS, with prior knowledge; gRPC needs it): what instances speak, also
    /// to a `probe` that is a path. Default `"http1"`.
    ///
    /// `upgrades`: protocols that a client may upgrade an HTTP/1.1 connection to. Default `["websocket"]`; `h2c` never.
    ///
    /// `proxy_protocol = { accept, send }`: with `accept = true` every connection must begin with a header of the PROXY
    /// protocol; `send = "v1"` or `"v2"` sends one to the instances of a TCP workload. Default neither.
    ///
    /// `forwarded`: `"append"` keeps the forwarding fields that clients send and adds to them, `"replace"` drops them. Default
    /// `"append"`; use the other where clients connect directly.
    ///
    /// `tunnel_idle`: longest silence of a TCP connection or an upgraded one. Default `1h`.
    ///
    /// `body_rate_min`: bytes per second that a request body must bring while it is waited for. Default 240; 0: any. Higher
    /// frees instances from slow clients sooner, and cuts poor connections. `body_grace`: allowed beyond that. Default `20s`.
    ///
    /// `body_max`: most bytes of a request body, such as `"10MiB"`; a longer one is answered 413. Default none.
    pub protocols: Protocols,
    /// `timeouts = { connect, response_head, body_idle, pool_idle }`: how long an instance may take to accept a connection
    /// (`1200ms`) and to answer (`1m`), how long a body may be silent (`1m`), and how long an unused connection to an instance is kept
    /// (`15s`). Longer for calls that are long conversations.
    pub timeouts: Timeouts,
}

impl ProtocolsConfig {
    /// Puts them into the workload's route.
    pub(crate) fn apply(&self, route: &mut Route) {
        route.protocols = self.protocols.clone();
        route.timeouts = self.timeouts.clone();
    }
}

/// Reads them.
pub(super) fn read(s: &mut Section<'_>, config: &mut ProtocolsConfig) {
    let p = &mut config.protocols;
    s.read("protocol", &mut p.protocol, |e| e.word(&[("http", Protocol::Http), ("tcp", Protocol::Tcp)]));
    s.read("tls", &mut p.tls, |e| tls(e).map(Some));
    s.read("upstream", &mut p.upstream, |e| {
        e.word(&[("http1", Upstream::Http1), ("http2", Upstream::Http2)])
    });
    s.read("upgrades", &mut p.upgrades, |e| {
        Some(e.texts()?.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    });
    s.read("proxy_protocol", &mut p.proxy_protocol, proxy_protocol);
    s.read("forwarded", &mut p.forwarded, |e| {
        e.word(&[("append", Forwarded::Append), ("replace", Forwarded::Replace)])
    });
    s.read("tunnel_idle", &mut p.tunnel_idle, |e| e.duration(MOMENT..=WEEK));
    s.read("body_rate_min", &mut p.body_rate_min, |e| e.count(0..=RATE_MAX));
    s.read("body_max", &mut p.body_bytes_max, |e| e.bytes(0..=1 << 50).map(Some));
    s.read("body_grace", &mut p.body_grace, |e| e.duration(Duration::ZERO..=WEEK));
    s.read("timeouts", &mut config.timeouts, timeouts);
}

/// What does not fit together.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    for problem in w.protocols.protocols.problems() {
        let hint = "leave one of the keys out";
        s.report("protocol", format!("does not fit: {problem}"), hint);
    }
}

fn tls(e: &Entry<'_>) -> Option<TlsSpec> {
    let mut s = e.section("{ certificate = \"site.pem\", key = \"site.key\" }")?;
    let certificate = s.required("certificate", "\"site.pem\"", file);
    let key = s.required("key", "\"site.key\"", file);
    s.finish();
    Some(TlsSpec { certificate: certificate?, key: key? })
}

fn file(e: &Entry<'_>) -> Option<PathBuf> {
    let path = e.path()?;
    if path.is_file() && path.to_str().is_some() {
        return Some(path);
    }
    e.refuse(format!("there is no file `{}`", path.display()), "name a PEM file")
}

fn proxy_protocol(e: &Entry<'_>) -> Option<ProxyProtocol> {
    let mut s = e.section("{ accept = true }")?;
    let mut read = ProxyProtocol::default();
    s.read("accept", &mut read.accept, Entry::flag);
    s.read("send", &mut read.send, |e| {
        e.word(&[("v1", ProxyVersion::V1), ("v2", ProxyVersion::V2)]).map(Some)
    });
    s.finish();
    Some(read)
}

fn timeouts(e: &Entry<'_>) -> Option<Timeouts> {
    let mut s = e.section("{ connect = \"1s\", response_head = \"1m\" }")?;
    let mut t = Timeouts::default();
    for (key, slot) in [
        ("connect", &mut t.connect),
        ("response_head", &mut t.response_head),
        ("body_idle", &mut t.body_idle),
        ("pool_idle", &mut t.pool_idle),
    ] {
        s.read(key, slot, |e| e.duration(MOMENT..=DAY));
    }
    s.finish();
    Some(t)
}

/// Keys and values as they are written in TOML.
pub(super) fn write(
    config: &ProtocolsConfig,
    quoted: impl Fn(&str) -> String,
) -> Vec<(&'static str, String)> {
    let (p, t) = (&config.protocols, &config.timeouts);
    let time = |time| quoted(&format_duration(time));
    let word = |is_first: bool, first: &str, second: &str| quoted(if is_first { first } else { second });
    let upgrades: Vec<String> = p.upgrades.iter().map(|name| quoted(name)).collect();
    let send = p.proxy_protocol.send.map(|v| word(v == ProxyVersion::V1, "v1", "v2"));
    let send = send.map_or_else(String::new, |version| format!(", send = {version}"));
    let mut lines = vec![
        ("protocol", word(p.protocol == Protocol::Http, "http", "tcp")),
        ("upstream", word(p.upstream == Upstream::Http1, "http1", "http2")),
        ("upgrades", format!("[{}]", upgrades.join(", "))),
        ("proxy_protocol", format!("{{ accept = {}{send} }}", p.proxy_protocol.accept)),
        ("forwarded", word(p.forwarded == Forwarded::Append, "append", "replace")),
        ("tunnel_idle", time(p.tunnel_idle)),
        ("body_rate_min", p.body_rate_min.to_string()),
        ("body_grace", time(p.body_grace)),
        (
            "timeouts",
            format!(
                "{{ connect = {}, response_head = {}, body_idle = {}, pool_idle = {} }}",
                time(t.connect),
                time(t.response_head),
                time(t.body_idle),
                time(t.pool_idle)
            ),
        ),
    ];
    if let Some(bytes) = p.body_bytes_max {
        lines.push(("body_max", quoted(&format_bytes(bytes))));
    }
    if let Some(TlsSpec { certificate, key }) = &p.tls {
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        let value = format!("{{ certificate = {}, key = {} }}", quoted(&certificate), quoted(&key));
        lines.push(("tls", value));
    }
    lines
}

const RATE_MAX: u32 = 1 << 30;
const MOMENT: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
