//! What is said of protocols in the file reaches the proxy.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
