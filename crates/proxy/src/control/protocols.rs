//! Which protocols a route speaks with its clients and with its backends.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The protocols of one route. The default is HTTP without TLS on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocols {
    /// What is passed on: HTTP requests, or the bytes of TCP connections.
    pub protocol: Protocol,
    /// TLS ends at the listener, for HTTP and TCP alike. Default none. Connections without TLS are then refused.
    pub tls: Option<TlsSpec>,
    /// How backends are spoken to. HTTP only.
    pub upstream: Upstream,
    /// What a connection may become by `Upgrade` (HTTP/1.1 only), in lower case; other requests to upgrade are passed on as
    /// plain ones. Default `websocket`. `h2c` is refused: it would open a tunnel around the proxy.
    pub upgrades: Vec<String>,
    /// The PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// What becomes of the forwarding fields that clients send.
    pub forwarded: Forwarded,
    /// Longest silence, in both directions together, of a TCP connection or of one that was upgraded. Default 1 h; then it is
    /// closed.
    pub tunnel_idle: Duration,
    /// Bytes per second that a request body to an HTTP/1.1 backend must bring on average while it is waited for. Default
    /// 240; 0: any. Those to HTTP/2 backends, which may be long conversations, are only bound by `body_idle`.
    pub body_rate_min: u32,
    /// Bytes of a request body. Default none: any. A longer one is answered 413, or 400 where its length was not announced.
    pub body_bytes_max: Option<u64>,
    /// How long a request body may be waited for beyond what `body_rate_min` allows. Default 20 s.
    pub body_grace: Duration,
}

impl Default for Protocols {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http,
            tls: None,
            upstream: Upstream::Http1,
            upgrades: vec!["websocket".to_owned()],
            proxy_protocol: ProxyProtocol::default(),
            forwarded: Forwarded::Append,
            tunnel_idle: Duration::from_secs(3600),
            body_rate_min: 240,
            body_bytes_max: None,
            body_grace: Duration::from_secs(20),
        }
    }
}

/// What is passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/2 requests, each to a backend of its own.
    #[default]
    Http,
    /// The bytes of a connection; its backend is chosen when it arrives. Counted as one request.
    Tcp,
}

/// How backends are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upstream {
    /// HTTP/1.1, one request at a time on a connection.
    #[default]
    Http1,
    /// HTTP/2 without TLS and with prior knowledge, many requests on a connection. Needed for gRPC.
    Http2,
}

/// Files with a certificate and its key. They are read by the proxy's process, and read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSpec {
    /// PEM: the server's certificate, then those between it and the root.
    pub certificate: PathBuf,
    /// PEM: the private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// The PROXY protocol: the client's address, written before the first byte of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyProtocol {
    /// Every connection must begin with a header of version 1 or 2, from a proxy in front. Default false. Only safe where
    /// nobody else can connect: the header is believed.
    pub accept: bool,
    /// Backends of a TCP route are sent a header of this version. Default none.
    pub send: Option<ProxyVersion>,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What becomes of `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `Forwarded` as clients send them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forwarded {
    /// The client is appended to the addresses; the other fields are set where they are missing. For a proxy behind another.
    #[default]
    Append,
    /// Replaced by what this proxy knows itself. For one that clients reach directly.
    Replace,
}

impl Protocols {
    /// Every reason why these cannot be applied, as the rest of a sentence about the workload.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let is_tcp = self.protocol == Protocol::Tcp;
        if is_tcp && self.upstream == Upstream::Http2 {
            problems.push("TCP has no HTTP/2 backends".to_owned());
        }
        if !is_tcp && self.proxy_protocol.send.is_some() {
            problems.push("the PROXY protocol is only sent to backends of a TCP route".to_owned());
        }
        if self.upgrades.len() > UPGRADES_MAX {
            problems.push(format!("more than {UPGRADES_MAX} upgrades"));
        }
        for upgrade in &self.upgrades {
            let is_token = |c: char| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '/' | '_' | '+')
            };
            if upgrade.is_empty() || upgrade.len() > UPGRADE_BYTES_MAX || !upgrade.chars().all(is_token) {
                problems.push(format!("{upgrade:?} is not a protocol to upgrade to"));
            }
            if upgrade == "h2c" {
                problems.push("an upgrade to h2c would open a tunnel around the proxy".to_owned());
            }
        }
        if self.tunnel_idle.is_zero() || self.tunnel_idle > LIMIT_MAX {
            problems.push(format!("tunnel_idle must be above 0 and at most {LIMIT_MAX:?}"));
        }
        if self.body_grace > LIMIT_MAX {
            problems.push(format!("body_grace must be at most {LIMIT_MAX:?}"));
        }
        problems
    }

    /// Whether a connection begins with an HTTP request's first byte.
    pub(crate) fn is_plain_http(&self) -> bool {
        self.protocol == Protocol::Http && self.tls.is_none() && !self.proxy_protocol.accept
    }
}

const UPGRADES_MAX: usize = 16;
const UPGRADE_BYTES_MAX: usize = 64;
const LIMIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_together_is_said() {
        assert!(Protocols::default().problems().is_empty());
        let odd = Protocols {
            protocol: Protocol::Tcp,
            upstream: Upstream::Http2,
            upgrades: vec!["h2c".into(), "Web Socket".into()],
            tunnel_idle: Duration::ZERO,
            ..Protocols::default()
        };
        assert_eq!(odd.problems().len(), 4);
        let send = ProxyProtocol { accept: false, send: Some(ProxyVersion::V2) };
        let odd = Protocols { proxy_protocol: send, ..Protocols::default() };
        assert_eq!(odd.problems().len(), 1);
    }
}
