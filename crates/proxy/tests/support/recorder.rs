//! A backend that reads requests as strictly as a backend can, and keeps all of them, byte for byte.

#![expect(unreachable_pub, reason = "part of a test")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use proxy::control::BackendSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http2_support::{Http2Backend, full};

/// One request as it stood on the wire.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Request line and fields, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// "none", "length" or "chunked", or "frames" by HTTP/2; "unfinished" where the connection ended first, "nonsense" where it cannot be read.
    pub framing: &'static str,
}

impl Seen {
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Every value of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

pub struct Recorder {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(read_requests(stream, Arc::clone(&kept)));
            }
        });
        Self { addr, seen }
    }

    /// By HTTP/2; heads are kept as if they were text of HTTP/1.1, the authority as the host.
    pub async fn start_http2() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let backend = Http2Backend::start(move |request| {
            let kept = Arc::clone(&kept);
            async move {
                let (parts, body) = request.into_parts();
                let target = parts.uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
                let host = parts.uri.authority().map_or("", |authority| authority.as_str());
                let mut head = format!("{} {target} HTTP/2\r\nhost: {host}", parts.method);
                for (name, value) in &parts.headers {
                    head += &format!("\r\n{name}: {}", lossy(value.as_bytes()));
                }
                let (body, framing) = match body.collect().await {
                    Ok(body) => (body.to_bytes().to_vec(), "frames"),
                    Err(_) => (Vec::new(), "unfinished"),
                };
                kept.lock().expect("whole").push(Seen { head, body, framing });
                http::Response::new(full(target))
            }
        });
        Self { addr: backend.await.spec.addr, seen }
    }

    pub fn spec(&self) -> BackendSpec {
        BackendSpec { id: 1, addr: self.addr, weight: 1000 }
    }

    /// What came since it was last asked.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("whole"))
    }
}

/// Answers each with its target as the body, so that a client sees whose answer it has got.
async fn read_requests(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut bytes = Vec::new();
    let keep = |request: Seen| seen.lock().expect("whole").push(request);
    loop {
        let end = loop {
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                break end;
            }
            if !more(&mut stream, &mut bytes).await {
                if !bytes.is_empty() {
                    keep(Seen { head: lossy(&bytes), body: Vec::new(), framing: "unfinished" });
                }
                return;
            }
        };
        let head = lossy(&bytes[..end]);
        bytes.drain(..end + 4);
        let mut request = Seen { head, body: Vec::new(), framing: "none" };
        request.framing = read_body(&mut stream, &mut bytes, &mut request).await;
        let target = request.target().to_owned();
        let is_whole = !matches!(request.framing, "unfinished" | "nonsense");
        keep(request);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
        if !is_whole || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_body(stream: &mut TcpStream, bytes: &mut Vec<u8>, request: &mut Seen) -> &'static str {
    let (lengths, codings) = (request.values("content-length"), request.values("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => "none",
        ([length], []) => {
            let Ok(length) = length.parse::<usize>() else { return "nonsense" };
            match take(stream, bytes, length).await {
                Some(body) => {
                    request.body = body;
                    "length"
                }
                None => "unfinished",
            }
        }
        ([], ["chunked"]) => read_chunks(stream, bytes, &mut request.body).await,
        _ => "nonsense",
    }
}

/// The trailer section is kept as part of the body, behind it.
async fn read_chunks(stream: &mut TcpStream, bytes: &mut Vec<u8>, body: &mut Vec<u8>) -> &'static str {
    loop {
        let Some(line) = take_line(stream, bytes).await else { return "unfinished" };
        let Ok(size) = usize::from_str_radix(&line, 16) else { return "nonsense" };
        if size == 0 {
            break;
        }
        let Some(chunk) = take(stream, bytes, size + 2).await else { return "unfinished" };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else { return "nonsense" };
        body.extend_from_slice(chunk);
    }
    loop {
        match take_line(stream, bytes).await {
            None => return "unfinished",
            Some(line) if line.is_empty() => return "chunked",
            Some(line) => body.extend_from_slice(line.as_bytes()),
        }
    }
}

async fn take(stream: &mut TcpStream, bytes: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while bytes.len() < count {
        if !more(stream, bytes).await {
            return None;
        }
    }
    Some(bytes.drain(..count).collect())
}

async fn take_line(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = find(bytes, b"\r\n") {
            let line = lossy(&bytes[..end]);
            bytes.drain(..end + 2);
            return Some(line);
        }
        if !more(stream, bytes).await {
            return None;
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer).await {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            bytes.extend_from_slice(&buffer[..count]);
            true
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
