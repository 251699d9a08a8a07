//! Asks an instance once whether it serves.
//!
//! A client library would bring pools, redirects and proxies, all of which are wrong here: a probe is one request on a
//! fresh connection, bounded in time and bytes, and its delay is part of every promotion. So it is written out:
//! connect, one `GET`, read the status.

mod fresh;
mod http2;
mod pause;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::spec::{InstanceSpec, Probe};

pub(crate) use fresh::LastAnswer;
pub(crate) use pause::Pauses;

/// Why a probe did not pass.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No connection.
    #[error("cannot connect to {addr}")]
    Connect {
        /// Where to.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The connection broke before the status was read.
    #[error("the connection broke before an answer")]
    Broken(#[source] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is not HTTP; its beginning.
    #[error("the answer is not HTTP: {0:?}")]
    NotHttp(String),
    /// The answer has another status than 200 to 299.
    #[error("answered with status {0}")]
    Status(u16),
    /// The image's own check does not pass; what it said last.
    #[error("the health check of the image says {0}")]
    HealthCheck(String),
}

/// Asks once; `Ok` when the probe passes within `time_max`.
///
/// # Errors
/// [`ProbeError`] says why it did not pass.
pub async fn ask(probe: &Probe, addr: SocketAddr, time_max: Duration) -> Result<(), ProbeError> {
    let asked = async {
        let mut stream =
            TcpStream::connect(addr).await.map_err(|source| ProbeError::Connect { addr, source })?;
        match probe {
            Probe::Tcp => Ok(()),
            Probe::Http { path } | Probe::Http2 { path } => {
                let status = match probe {
                    Probe::Http2 { .. } => http2::request(&mut stream, addr, path).await?,
                    _ => request(&mut stream, addr, path).await?,
                };
                // Hanging up in the middle of an answer makes some servers complain in their log.
                tokio::spawn(drain(stream));
                if (200..300).contains(&status) { Ok(()) } else { Err(ProbeError::Status(status)) }
            }
        }
    };
    timeout(time_max, asked).await.unwrap_or(Err(ProbeError::Timeout(time_max)))
}

/// Asks again and again until it passes, each time after a pause in proportion to the time waited so far: what is ready soon
/// is found soon, and what takes long is asked no more often than it matters.
pub(crate) async fn ask_until(
    spec: &InstanceSpec,
    addr: SocketAddr,
    deadline: Instant,
) -> Result<(), ProbeError> {
    let begin = Instant::now();
    let pauses = Pauses::new();
    let mut last = None;
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        last = match ask(&spec.probe, addr, spec.probe_timeout.min(time_left)).await {
            Ok(()) => return Ok(()),
            // Cut short by the deadline: what the probe before it found says more.
            Err(ProbeError::Timeout(_)) if time_left < spec.probe_timeout && last.is_some() => last.take(),
            Err(failure) => Some(failure),
        };
        let pause = pause_after(begin.elapsed(), last.as_ref()).min(spec.probe_interval);
        if timeout_at(deadline, pauses.wait(pause)).await.is_err() {
            return Err(last.unwrap_or(ProbeError::Timeout(spec.start_deadline)));
        }
    }
}

/// Until the next question to what was asked for `waited`.
fn pause_after(waited: Duration, last: Option<&ProbeError>) -> Duration {
    match last {
        // The kernel refuses; the instance does not even notice.
        Some(ProbeError::Connect { .. }) => {
            (waited / REFUSED_SHARE).max((waited / REFUSED_SHARE_FIRST).clamp(REFUSED_MIN, REFUSED_FIRST_MAX))
        }
        _ => (waited / PAUSE_SHARE).max(PROBE_INTERVAL_MIN),
    }
}

async fn request(stream: &mut TcpStream, addr: SocketAddr, path: &str) -> Result<u16, ProbeError> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: foreshadow-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    // One write is one packet; without delay is without effect for it.
    stream.write_all(request.as_bytes()).await.map_err(ProbeError::Broken)?;
    let mut answer = [0u8; STATUS_LINE_MAX];
    let mut filled = 0;
    loop {
        if let Some(end) = answer[..filled].iter().position(|byte| *byte == b'\n') {
            return status(&answer[..end]);
        }
        if filled == answer.len() {
            return Err(not_http(&answer));
        }
        match stream.read(&mut answer[filled..]).await.map_err(ProbeError::Broken)? {
            0 if filled == 0 => return Err(ProbeError::Broken(io::ErrorKind::UnexpectedEof.into())),
            0 => return Err(not_http(&answer[..filled])),
            read => filled += read,
        }
    }
}

/// The status of `HTTP/1.1 204 No Content` and the like (RFC 9112, section 4).
fn status(line: &[u8]) -> Result<u16, ProbeError> {
    let parsed = || {
        let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
        let (minor, rest) = rest.split_once(' ')?;
        let code = rest.split(|c: char| c.is_ascii_whitespace()).next()?;
        let digits = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
        if digits(minor, 1) && digits(code, 3) { code.parse().ok() } else { None }
    };
    parsed().ok_or_else(|| not_http(line))
}

fn not_http(answer: &[u8]) -> ProbeError {
    ProbeError::NotHttp(String::from_utf8_lossy(&answer[..answer.len().min(SHOWN_MAX)]).into_owned())
}

async fn drain(mut stream: TcpStream) {
    let reading = async {
        let mut buffer = vec![0u8; 4096];
        for _ in 0..DRAIN_READS_MAX {
            if !stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
    };
    let _ = timeout(DRAIN_TIME_MAX, reading).await;
}

/// The shortest pause between two readiness probes that reach the instance; it grows up to the ordered one.
const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// A pause is the time waited so far, divided by this.
const PAUSE_SHARE: u32 = 20;
/// The same where nothing listens yet. Each probe costs 30 microseconds, so that a start of half a minute costs 150 ms.
const REFUSED_SHARE: u32 = 1000;
/// At first what has been forked, and listens at once, must not wait longer for us than we for it.
const REFUSED_SHARE_FIRST: u32 = 8;
const REFUSED_MIN: Duration = Duration::from_micros(100);
const REFUSED_FIRST_MAX: Duration = Duration::from_micros(500);
/// The longest status line that is read, in bytes.
const STATUS_LINE_MAX: usize = 1024;
/// How much of an answer that is not HTTP is shown, in bytes.
const SHOWN_MAX: usize = 60;
/// How long and how often the rest of an answer is read for politeness.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(500);
const DRAIN_READS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn ask_a_server_that_says(answer: &'static [u8]) -> Result<(), ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0u8; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:"));
            for part in answer.chunks(7) {
                // The probe may have seen enough and hung up.
                let _ = stream.write_all(part).await;
            }
        });
        let asked = ask(&Probe::Http { path: "/health".to_owned() }, addr, Duration::from_secs(5)).await;
        server.await.expect("the server did not panic");
        asked
    }

    #[tokio::test]
    async fn statuses_of_the_200s_pass() {
        ask_a_server_that_says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("passes");
        ask_a_server_that_says(b"HTTP/1.0 204\r\n\r\n").await.expect("passes");
    }

    #[tokio::test]
    async fn other_answers_do_not_pass() {
        let not_ready = ask_a_server_that_says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        assert!(matches!(not_ready, Err(ProbeError::Status(503))), "{not_ready:?}");
        for answer in
            [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 2xx\r\n", b"HTTP/1.1 20000 OK\r\n", b"HTTP/1.1 200"]
        {
            let asked = ask_a_server_that_says(answer).await;
            assert!(matches!(asked, Err(ProbeError::NotHttp(_))), "{asked:?}");
        }
        let silent = ask_a_server_that_says(b"").await;
        assert!(matches!(silent, Err(ProbeError::Broken(_))), "{silent:?}");
        let endless = ask_a_server_that_says(&[b'x'; 4096]).await;
        assert!(matches!(endless, Err(ProbeError::NotHttp(_))), "{endless:?}");
    }

    #[tokio::test]
    async fn servers_of_http2_are_asked_in_their_language() {
        // Settings, their acknowledgement, an interim answer, then one of each status.
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
        let interim = [0, 0, 5, 1, 4, 0, 0, 0, 1, 0x08, 3, b'1', b'0', b'3'];
        let answer = |status| [&settings[..], &interim, &[0, 0, 1, 1, 4, 0, 0, 0, 1, status]].concat();
        let ask_one_that_says = async |bytes: Vec<u8>| {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let addr = listener.local_addr().expect("an address");
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.expect("a request");
                assert!(request[..read].starts_with(b"PRI * HTTP/2.0"), "{request:?}");
                // The probe may have seen enough and hung up.
                let _ = stream.write_all(&bytes).await;
            });
            let probe = Probe::Http2 { path: "/health".to_owned() };
            let asked = ask(&probe, addr, Duration::from_secs(5)).await;
            server.await.expect("the server did not panic");
            asked
        };
        ask_one_that_says(answer(0x88)).await.expect("passes");
        let not_ready = ask_one_that_says(answer(0x8e)).await;
        assert!(matches!(not_ready, Err(ProbeError::Status(500))), "{not_ready:?}");
        let other = ask_one_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
        assert!(matches!(other, Err(ProbeError::NotHttp(_))), "{other:?}");
        let refused =
            ask_one_that_says([&settings[..], &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7]].concat()).await;
        assert!(matches!(refused, Err(ProbeError::Broken(_))), "{refused:?}");
        let silent = ask_one_that_says(settings.to_vec()).await;
        assert!(matches!(silent, Err(ProbeError::Broken(_))), "{silent:?}");
    }

    #[test]
    fn pauses_grow_with_the_time_waited() {
        let refused = ProbeError::Connect {
            addr: "127.0.0.1:1".parse().expect("literal"),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        let micros = |waited, last| pause_after(Duration::from_micros(waited), last).as_micros();
        let waited = [0, 2_000, 100_000, 2_000_000];
        assert_eq!(waited.map(|waited| micros(waited, Some(&refused))), [100, 250, 500, 2_000]);
        assert_eq!(waited.map(|waited| micros(waited, None)), [1_000, 1_000, 5_000, 100_000]);
        let (mut waited, mut probes) = (0, 0_u64);
        while waited < 30_000_000 {
            waited += u64::try_from(micros(waited, Some(&refused))).expect("short");
            probes += 1;
        }
        assert!((4_000..6_000).contains(&probes), "{probes} in half a minute");
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_times_out() {
        let addr = loopback::free_address();
        let listener = TcpListener::bind(addr).await.expect("free");
        let time_max = Duration::from_millis(50);
        let http = ask(&Probe::Http { path: "/".to_owned() }, addr, time_max).await;
        assert!(matches!(http, Err(ProbeError::Timeout(_))), "{http:?}");
        ask(&Probe::Tcp, addr, time_max).await.expect("the kernel accepts");
        drop(listener);
        let refused = ask(&Probe::Tcp, addr, time_max).await;
        assert!(matches!(refused, Err(ProbeError::Connect { .. })), "{refused:?}");
    }
}
