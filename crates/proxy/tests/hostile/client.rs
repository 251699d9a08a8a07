//! A client that reads answers as strictly as a client can, and a backend that sends what it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxy::control::BackendSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
    /// It came to its end as its head says.
    pub(crate) is_whole: bool,
}

/// Sends requests of these methods in one piece, and returns everything that comes back until the proxy closes. That it does
/// not is one answer more.
pub(crate) async fn converse(address: SocketAddr, methods: &[&str], text: &str) -> Vec<Answer> {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let mut answers = read(&String::from_utf8_lossy(&bytes), methods);
    if ended.is_err() {
        let open = "the connection stayed open".to_owned();
        answers.push(Answer { status: 0, head: open, body: String::new(), is_whole: false });
    }
    answers
}

/// The answers to requests of these methods, and what is left over as one more that is not whole.
fn read(text: &str, methods: &[&str]) -> Vec<Answer> {
    let (mut rest, mut answers) = (text, Vec::new());
    let mut methods = methods.iter();
    while !rest.is_empty() {
        let Some((head, after)) = rest.split_once("\r\n\r\n") else { break };
        let Some(status) = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)?.parse().ok()) else {
            break;
        };
        rest = after;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let Some(method) = methods.next() else { break };
        let (body, is_whole);
        (body, rest, is_whole) = read_body(head, after, status, method);
        answers.push(Answer { status, head: head.to_owned(), body, is_whole });
    }
    if !rest.is_empty() {
        answers.push(Answer { status: 0, head: rest.to_owned(), body: String::new(), is_whole: false });
    }
    answers
}

fn read_body<'a>(head: &str, rest: &'a str, status: u16, method: &str) -> (String, &'a str, bool) {
    let values = |name: &str| -> Vec<String> {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
            .collect()
    };
    if method == "HEAD" || status == 204 || status == 304 {
        return (String::new(), rest, true);
    }
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([length], []) => match length.parse::<usize>() {
            Ok(length) if length <= rest.len() => (rest[..length].to_owned(), &rest[length..], true),
            Ok(_) => (rest.to_owned(), "", false),
            Err(_) => (String::new(), rest, false),
        },
        ([], [coding]) if coding == "chunked" => read_chunks(rest),
        ([], []) => (rest.to_owned(), "", true),
        _ => (String::new(), rest, false),
    }
}

/// The trailer section is kept as part of the body, behind it.
fn read_chunks(mut rest: &str) -> (String, &str, bool) {
    let mut body = String::new();
    loop {
        let Some((line, after)) = rest.split_once("\r\n") else { return (body, "", false) };
        let Ok(size) = usize::from_str_radix(line, 16) else { return (body, rest, false) };
        rest = after;
        if size == 0 {
            break;
        }
        let Some(chunk) = rest.get(..size) else { return (body + rest, "", false) };
        body.push_str(chunk);
        let Some(after) = rest[size..].strip_prefix("\r\n") else { return (body, "", false) };
        rest = after;
    }
    loop {
        let Some((line, after)) = rest.split_once("\r\n") else { return (body, "", false) };
        rest = after;
        if line.is_empty() {
            return (body, rest, true);
        }
        body.push_str(line);
    }
}

/// What a backend says to a request for `/evil`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) answer: &'static [u8],
    /// Said a moment later, when the first answer has been read; empty: nothing.
    pub(crate) later: &'static [u8],
    /// Said again and again, until nobody listens; empty: nothing.
    pub(crate) endless: &'static [u8],
    pub(crate) closes: bool,
}

/// Does as the script says; any other request is answered with its target as the body.
pub(crate) struct Hostile {
    addr: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Hostile {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let script = Arc::new(Mutex::new(Script { answer: b"", later: b"", endless: b"", closes: true }));
        let read = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(play(stream, Arc::clone(&read)));
            }
        });
        Self { addr, script }
    }

    pub(crate) fn spec(&self) -> BackendSpec {
        BackendSpec { id: 1, addr: self.addr, weight: 1000 }
    }

    pub(crate) fn will_say(&self, script: Script) {
        *self.script.lock().expect("whole") = script;
    }
}

async fn play(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            match stream.read_buf(&mut bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes.drain(..end + 4);
        let target = head.split(' ').nth(1).unwrap_or_default();
        if target != "/evil" {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        let script = *script.lock().expect("whole");
        if stream.write_all(script.answer).await.is_err() {
            return;
        }
        while !script.endless.is_empty() {
            if stream.write_all(script.endless).await.is_err() {
                return;
            }
        }
        if !script.later.is_empty() {
            tokio::time::sleep(LATER).await;
            if stream.write_all(script.later).await.is_err() {
                return;
            }
        }
        if script.closes {
            return;
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than the proxy takes to have the connection back in its pool.
pub(crate) const LATER: Duration = Duration::from_millis(30);
