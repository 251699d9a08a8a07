//! What is said of protocols in the file reaches the proxy.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::certificates::Certificate;
use crate::support::{Stage, eventually, pin};

/// Everything that comes back for these bytes.
async fn talk(stage: &Stage, bytes: &str) -> String {
    let mut stream = TcpStream::connect(stage.web).await.expect("connected");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A connection that is refused may be reset.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_workload_behind_another_proxy_is_served_and_counted() {
    let stage = Stage::new("protocol = \"tcp\"\nproxy_protocol = { accept = true }");
    let _daemon = stage.start();
    let client = stage.client();
    pin(&client, 1, 0).await;
    let header = "PROXY TCP4 192.0.2.7 192.0.2.1 12345 443\r\n";
    let request = "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    let answer = talk(&stage, &format!("{header}{request}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(talk(&stage, request).await, "", "there was no header");
    eventually("the connection is counted", async || {
        let detail = client.workload("web").await.ok()?;
        (detail.counters.arrivals == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_speak_nothing_but_http2_start_are_parked_and_serve() {
    let stage = Stage::new("upstream = \"http2\"\nenv = { HTTP2 = \"1\" }");
    let _daemon = stage.start();
    pin(&stage.client(), 1, 1).await;
    let answer = talk(&stage, "GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// One request by HTTP/1.1 on a connection that stays open: its answer's first line.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await.expect("sent");
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes).await.expect("an answer");
    String::from_utf8_lossy(&bytes[..count]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_ends_at_the_listener_and_a_renewed_certificate_is_used_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Certificate::write(folder.path());
    let stage = Stage::new(&format!(
        "tls = {{ certificate = {:?}, key = {:?} }}",
        first.spec.certificate, first.spec.key
    ));
    let daemon = stage.start();
    let client = stage.client();
    pin(&client, 1, 0).await;
    let mut old = first.connect(stage.web, &["http/1.1"]).await.expect("shaken");
    assert_eq!(ask(&mut old).await, "HTTP/1.1 200 OK");
    assert!(
        !talk(&stage, "GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n").await.contains("HTTP/")
    );

    let second = Certificate::write(folder.path());
    let mut new =
        eventually("the new certificate", async || second.connect(stage.web, &["http/1.1"]).await.ok()).await;
    assert_eq!(ask(&mut new).await, "HTTP/1.1 200 OK");
    assert!(first.connect(stage.web, &[]).await.is_err(), "the old certificate is still shown");
    assert_eq!(ask(&mut old).await, "HTTP/1.1 200 OK", "on the connection from before");

    // The next control plane finds the route as it is, and TLS is spoken all the while.
    daemon.kill();
    assert_eq!(ask(&mut new).await, "HTTP/1.1 200 OK");
    let _daemon = stage.start();
    eventually("adopted", async || client.workload("web").await.ok()).await;
    let mut newest = second.connect(stage.web, &["h2", "http/1.1"]).await.expect("shaken");
    assert_eq!(newest.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let _ = newest.shutdown().await;
    assert_eq!(ask(&mut old).await, "HTTP/1.1 200 OK");
}
