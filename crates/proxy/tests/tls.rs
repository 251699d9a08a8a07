//! TLS at the listener.

#[path = "support/tls.rs"]
mod certificates;
mod support;

use std::time::Duration;

use bytes::Bytes;
use certificates::Certificate;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy::control::{ControlError, Refusal, RouteTable, TlsSpec};
use support::{Backend, Proxy, eventually, raw, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers with the forwarding fields it was sent.
async fn backend() -> Backend {
    Backend::answering(1, |_, request| async move {
        let field = |name: &str| request.headers().get(name).map_or("none", |v| v.to_str().unwrap_or("?"));
        text(format!("{} {}", field("x-forwarded-proto"), field("x-forwarded-for")))
    })
    .await
}

async fn proxy_with(spec: &TlsSpec, backend: &Backend) -> Proxy {
    let proxy = Proxy::start_with(|options| options.certificates_every = Duration::from_millis(20)).await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.protocols.tls = Some(spec.clone());
    proxy.set(1, route).await;
    proxy
}

/// One request by HTTP/1.1 on an open connection.
async fn ask<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut S) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await.expect("sent");
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.ends_with("127.0.0.1") {
        let count = stream.read(&mut buffer).await.expect("an answer");
        assert!(count > 0, "ended after {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_are_negotiated_and_backends_told_of_https() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, backend) = (Certificate::write(folder.path()), backend().await);
    let proxy = proxy_with(&certificate.spec, &backend).await;
    let mut stream = certificate.connect(proxy.listen, &["http/1.1"]).await.expect("shaken");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = ask(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("https 127.0.0.1"), "{answer}");

    let stream = certificate.connect(proxy.listen, &["h2", "http/1.1"]).await.expect("shaken");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.expect("speaks HTTP/2");
    tokio::spawn(connection);
    let request = Request::get("https://site/").body(Empty::<Bytes>::new()).expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(answer.into_body().collect().await.expect("a body").to_bytes(), "https 127.0.0.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_nothing_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, backend) = (Certificate::write(folder.path()), backend().await);
    let proxy = proxy_with(&certificate.spec, &backend).await;
    let answer = raw(proxy.listen, b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    assert!(!answer.contains("HTTP/"), "{answer}");
    let answer = raw(proxy.listen, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!answer.contains("HTTP/"), "{answer}");
    assert_eq!(backend.requests(), 0);
    assert_eq!(proxy.stats().await.workloads[0].arrivals, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_certificate_is_used_and_no_connection_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, backend) = (Certificate::write(folder.path()), backend().await);
    let proxy = proxy_with(&first.spec, &backend).await;
    let mut old = first.connect(proxy.listen, &[]).await.expect("shaken");
    ask(&mut old).await;

    // Nonsense is not used; the old one stays.
    std::fs::write(&first.spec.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("written");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut still = first.connect(proxy.listen, &[]).await.expect("shaken with the old one");
    ask(&mut still).await;

    let second = Certificate::write(folder.path());
    let mut new = eventually(|| second.connect(proxy.listen, &[])).await;
    ask(&mut new).await;
    assert!(first.connect(proxy.listen, &[]).await.is_err(), "the old certificate is still shown");
    ask(&mut old).await;
    ask(&mut still).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_refuse_the_table_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = backend().await;
    let good = Certificate::write(folder.path());
    let proxy = proxy_with(&good.spec, &backend).await;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty"), "").expect("written");
    let other = rcgen::generate_simple_self_signed(vec!["site".to_owned()]).expect("a certificate");
    std::fs::write(path("other.key"), other.signing_key.serialize_pem()).expect("written");
    let spec = |certificate: &str, key: &str| TlsSpec { certificate: path(certificate), key: path(key) };
    for (spec, file, said) in [
        (spec("missing", "site.key"), "missing", "No such file"),
        (spec("empty", "site.key"), "empty", "no certificate"),
        (spec("site.pem", "empty"), "empty", "no private key"),
        (spec("site.pem", "."), "", "not a file"),
        (spec("site.pem", "other.key"), "other.key", "cannot be used"),
    ] {
        let mut route = proxy.route(&[backend.spec(1000)]);
        route.protocols.tls = Some(spec);
        match proxy.client.set_table(RouteTable { generation: 2, routes: vec![route] }).await {
            Err(ControlError::Refused(Refusal::Tls { workload, file: named, reason })) => {
                assert_eq!((workload.as_str(), named), ("web", path(file)), "{reason}");
                assert!(reason.contains(said), "{reason}");
            }
            other => panic!("{said}: {other:?}"),
        }
    }
    let mut stream = good.connect(proxy.listen, &[]).await.expect("the old table is in force");
    ask(&mut stream).await;
}
