//! What backends are told of the client: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::control::Forwarded;

/// How a client connection is described to backends; made once per connection.
#[derive(Clone, Debug)]
pub(crate) struct ClientNames {
    /// The client's address.
    pub(crate) ip: HeaderValue,
    /// The address it connected to, for requests without a host.
    pub(crate) host: HeaderValue,
    /// The port of that.
    port: HeaderValue,
    /// `http` or `https`.
    scheme: HeaderValue,
    is_v6: bool,
}

impl ClientNames {
    /// Of a client at `peer` that connected to `listen`.
    pub(crate) fn new(peer: SocketAddr, listen: SocketAddr, is_tls: bool) -> Self {
        let text = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        let ip = peer.ip().to_canonical();
        Self {
            ip: text(ip.to_string()),
            host: text(listen.to_string()),
            port: HeaderValue::from(listen.port()),
            scheme: HeaderValue::from_static(if is_tls { "https" } else { "http" }),
            is_v6: matches!(ip, IpAddr::V6(_)),
        }
    }
}

/// Whether a proxy says whom it speaks for in such a field.
pub(crate) fn is_said_in(name: &str) -> bool {
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

/// Tells the backend of the client. The request has its one host already, and others of these fields only where `is_told`.
pub(crate) fn tell(headers: &mut HeaderMap, client: &ClientNames, policy: Forwarded, is_told: bool) {
    if is_told && policy == Forwarded::Replace {
        for name in
            [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, X_FORWARDED_PORT, X_REAL_IP, FORWARDED]
        {
            headers.remove(name);
        }
    } else if is_told {
        return append(headers, client);
    }
    // Once, instead of by doubling.
    headers.reserve(4);
    headers.insert(X_FORWARDED_FOR, client.ip.clone());
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(X_FORWARDED_HOST, host);
    }
    headers.insert(X_FORWARDED_PORT, client.port.clone());
    headers.insert(X_FORWARDED_PROTO, client.scheme.clone());
}

/// Goes on where somebody in front has begun.
fn append(headers: &mut HeaderMap, client: &ClientNames) {
    let mut names = headers.get_all(X_FORWARDED_FOR).iter();
    let value = match names.next() {
        None => client.ip.clone(),
        // One field, so that no reader stops at a forged first one.
        Some(first) => joined(std::iter::once(first).chain(names), &client.ip),
    };
    headers.insert(X_FORWARDED_FOR, value);
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.entry(X_FORWARDED_PORT).or_insert_with(|| client.port.clone());
    headers.entry(X_FORWARDED_PROTO).or_insert_with(|| client.scheme.clone());
    if headers.contains_key(FORWARDED) {
        let value = joined(headers.get_all(FORWARDED).iter(), &element(client));
        headers.insert(FORWARDED, value);
    }
}

/// This hop as `Forwarded` describes it. Only added where somebody in front has begun.
fn element(client: &ClientNames) -> HeaderValue {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("unknown").to_owned();
    let (ip, scheme) = (text(&client.ip), text(&client.scheme));
    let ip = if client.is_v6 { format!("\"[{ip}]\"") } else { ip };
    HeaderValue::try_from(format!("for={ip};proto={scheme}"))
        .unwrap_or(HeaderValue::from_static("for=unknown"))
}

fn joined<'a>(values: impl Iterator<Item = &'a HeaderValue>, last: &HeaderValue) -> HeaderValue {
    let mut joined = Vec::new();
    for value in values {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(last.as_bytes());
    HeaderValue::from_bytes(&joined).unwrap_or_else(|_| last.clone())
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sent: &[(&'static str, &str)], policy: Forwarded) -> Vec<(String, String)> {
        let peer = "[2001:db8::7]:1234".parse().expect("literal");
        let client = ClientNames::new(peer, "192.0.2.1:8443".parse().expect("literal"), true);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("site"));
        for (name, value) in sent {
            headers.append(*name, value.parse().expect("a value"));
        }
        tell(&mut headers, &client, policy, !sent.is_empty());
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().expect("text").to_owned())
        };
        let mut told: Vec<_> = headers.iter().map(text).filter(|(name, _)| name != "host").collect();
        told.sort();
        told
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    const FORGED: &[(&str, &str)] = &[
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-for", "8.8.8.8"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "outer"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=9.9.9.9"),
        ("x-real-ip", "9.9.9.9"),
    ];

    #[test]
    fn what_nobody_has_said_is_set() {
        let own = pairs(&[
            ("x-forwarded-for", "2001:db8::7"),
            ("x-forwarded-host", "site"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(told(&[], Forwarded::Append), own);
        assert_eq!(told(FORGED, Forwarded::Replace), own);
    }

    #[test]
    fn a_proxy_in_front_is_believed_and_the_client_appended() {
        let expected = pairs(&[
            ("forwarded", "for=9.9.9.9, for=\"[2001:db8::7]\";proto=https"),
            ("x-forwarded-for", "9.9.9.9, 8.8.8.8, 2001:db8::7"),
            ("x-forwarded-host", "outer"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "9.9.9.9"),
        ]);
        assert_eq!(told(FORGED, Forwarded::Append), expected);
    }
}
