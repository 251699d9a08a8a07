//! The PROXY protocol at the listener.

mod support;

use std::time::Duration;

use support::{Backend, Proxy, raw, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn start() -> (Proxy, Backend) {
    let backend = Backend::answering(1, |_, request| async move {
        let field = |name: &str| request.headers().get(name).map_or("none", |v| v.to_str().unwrap_or("?"));
        text(format!("<{} {}>", field("x-forwarded-for"), field("x-forwarded-port")))
    })
    .await;
    let proxy = Proxy::start().await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.protocols.proxy_protocol.accept = true;
    proxy.set(1, route).await;
    (proxy, backend)
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_that_a_header_names_is_the_one_backends_hear_of() {
    let (proxy, _backend) = start().await;
    let v4 = [192, 0, 2, 7, 192, 0, 2, 1, 0x30, 0x39, 0x01, 0xbb];
    // With an extension behind the addresses.
    let mut v6 = [[0x20; 16], [0x21; 16]].concat();
    v6.extend([0x30, 0x39, 0x01, 0xbb, 0x04, 0x00, 0x01, 0x00]);
    let own = format!("<127.0.0.1 {}>", proxy.listen.port());
    for (header, told) in [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 443\r\n".to_vec(), "<192.0.2.7 443>"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n".to_vec(), "<2001:db8::7 443>"),
        (b"PROXY UNKNOWN\r\n".to_vec(), own.as_str()),
        (version_2(0x21, 0x11, &v4), "<192.0.2.7 443>"),
        (version_2(0x21, 0x21, &v6), "<2020:2020:2020:2020:2020:2020:2020:2020 443>"),
        (version_2(0x20, 0x11, &v4), own.as_str()),
        (version_2(0x20, 0x00, &[]), own.as_str()),
    ] {
        let answer = raw(proxy.listen, &[&header, REQUEST].concat()).await;
        assert!(answer.ends_with(told), "{header:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_in_pieces_is_read_and_anything_else_closes_the_connection() {
    let (proxy, backend) = start().await;
    let mut stream = TcpStream::connect(proxy.listen).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    for byte in b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 443\r\n" {
        stream.write_all(&[*byte]).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stream.write_all(REQUEST).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("<192.0.2.7 443>"), "{answer}");
    let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200)).into_bytes();
    for garbage in [
        REQUEST.to_vec(),
        long,
        b"PROXY TCP4 192.0.2.7 192.0.2.1 99999 443\r\n".to_vec(),
        version_2(0x21, 0x11, &[1; 5]),
        version_2(0x2f, 0x11, &[1; 12]),
        version_2(0x21, 0x11, &[1; 5000]),
    ] {
        let answer = raw(proxy.listen, &[&garbage, REQUEST].concat()).await;
        assert!(answer.is_empty(), "{garbage:?}: {answer}");
    }
    assert_eq!(backend.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_is_believed_only_where_it_is_expected() {
    let (proxy, backend) = start().await;
    let mut route = proxy.route(&[backend.spec(1000)]);
    route.protocols.proxy_protocol.accept = false;
    proxy.set(2, route).await;
    let forged = [b"PROXY TCP4 192.0.2.7 192.0.2.1 12345 443\r\n", REQUEST].concat();
    let answer = raw(proxy.listen, &forged).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(backend.requests(), 0);
}
