//! Keys about protocols.

use std::path::Path;
use std::time::Duration;

use proxy::control::{Forwarded, Protocol, ProxyVersion, Upstream};

use super::{mistake, parse, workload};
use crate::config::{Config, ProtocolsConfig};

#[test]
fn protocols_are_read_written_and_put_into_the_route() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["site.pem", "site.key"] {
        std::fs::write(folder.path().join(name), "").expect("written");
    }
    let text = workload(
        r#"
tls = { certificate = "site.pem", key = "site.key" }
upstream = "http2"
upgrades = ["WebSocket", "mqtt"]
proxy_protocol = { accept = true }
forwarded = "replace"
tunnel_idle = "5m"
body_rate_min = 0
body_grace = "1s"
body_max = "10MiB"
timeouts = { response_head = "1h", body_idle = "2h" }
"#,
    );
    let config =
        Config::parse_in(&text, &folder.path().join("web.toml"), &super::surroundings()).expect("valid");
    let read = &config.workloads[0].protocols;
    let p = &read.protocols;
    assert_eq!(p.tls.as_ref().map(|tls| tls.key.as_path()), Some(&*folder.path().join("site.key")));
    assert_eq!((p.upstream, p.forwarded, p.upgrades.len()), (Upstream::Http2, Forwarded::Replace, 2));
    assert_eq!((p.proxy_protocol.accept, p.body_rate_min), (true, 0));
    assert_eq!(p.body_bytes_max, Some(10 << 20));
    assert_eq!(read.timeouts.body_idle, Duration::from_secs(7200));
    let again = Config::parse_in(&config.to_toml(), Path::new("web.toml"), &super::surroundings());
    assert_eq!(again.expect("valid").workloads[0].protocols, *read);

    let mut route = proxy::control::Route::new("web", "127.0.0.1:1".parse().expect("literal"));
    read.apply(&mut route);
    assert_eq!((&route.protocols, &route.timeouts), (p, &read.timeouts));
}

#[test]
fn tcp_with_its_own_header_is_read_and_nothing_is_as_before() {
    let text = workload("protocol = \"tcp\"\nproxy_protocol = { send = \"v2\" }");
    let config = parse(&text).expect("valid");
    let p = &config.workloads[0].protocols.protocols;
    assert_eq!((p.protocol, p.proxy_protocol.send), (Protocol::Tcp, Some(ProxyVersion::V2)));
    assert_eq!(parse(&config.to_toml()).expect("valid").workloads[0].protocols.protocols, *p);
    assert_eq!(parse(&workload("")).expect("valid").workloads[0].protocols, ProtocolsConfig::default());
}

#[test]
fn protocols_that_make_no_sense_are_refused() {
    for (more, part) in [
        ("tls = { certificate = \"none.pem\" }", "there is no file"),
        ("tls = { cert = \"none.pem\" }", "tls.cert"),
        ("upstream = \"http3\"", "\"http1\" or \"http2\""),
        ("protocol = \"tcp\"\nupstream = \"http2\"", "no HTTP/2 backends"),
        ("upgrades = [\"h2c\"]", "around the proxy"),
        ("upgrades = [\"a b\"]", "not a protocol"),
        ("proxy_protocol = { send = \"v1\" }", "TCP route"),
        ("proxy_protocol = { send = \"v3\" }", "\"v1\" or \"v2\""),
        ("proxy_protocol = { acept = true }", "did you mean `accept`?"),
        ("forwarded = \"trust\"", "\"append\" or \"replace\""),
        ("timeouts = { connect = \"0s\" }", "out of range"),
    ] {
        let said = if more.starts_with("tls") {
            parse(&workload(more)).expect_err(more).to_string()
        } else {
            mistake(more)
        };
        assert!(said.contains(part), "{more}: {said}");
    }
}
