//! One request by hand, and the instant at which its answer began.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longest wait for an answer, and for a server that is being started.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);
/// A server that does not listen yet is tried again this often: what is measured here is a mechanism, not our patience.
const RETRY_REFUSED: Duration = Duration::from_micros(50);
/// One that broke a connection off is tried again this often.
const RETRY: Duration = Duration::from_millis(1);
/// Between two requests to a server at rest.
const BETWEEN: Duration = Duration::from_millis(20);
/// A machine takes connections before anything listens in it.
const SILENCE: Duration = Duration::from_millis(200);

/// A request that was sent and has no answer yet.
pub(super) struct Waiting(JoinHandle<Result<Instant>>);

impl Waiting {
    pub(super) async fn at(addr: SocketAddr) -> Result<Waiting> {
        Waiting::over(TcpStream::connect(addr).await?).await
    }

    async fn over(mut stream: TcpStream) -> Result<Waiting> {
        stream.write_all(REQUEST).await?;
        Ok(Waiting(tokio::spawn(async move { answer(&mut stream).await })))
    }

    pub(super) async fn answered(self) -> Result<Instant> {
        timeout(ANSWER_DEADLINE, self.0).await.context("no answer")??
    }
}

/// Asks once.
pub(super) async fn ask(addr: SocketAddr) -> Result<Instant> {
    Waiting::at(addr).await?.answered().await
}

/// Asks until a server that is being started answers.
pub(super) async fn ask_until_answered(addr: SocketAddr) -> Result<Instant> {
    let begin = Instant::now();
    while begin.elapsed() < ANSWER_DEADLINE {
        // On a thread of its own, which can sleep for less than the runtime's millisecond.
        let stream = tokio::task::spawn_blocking(move || connect(addr, begin)).await??;
        let asked = async { Waiting::over(TcpStream::from_std(stream)?).await?.answered().await };
        if let Ok(Ok(answered)) = timeout(SILENCE, asked).await {
            return Ok(answered);
        }
        sleep(RETRY).await;
    }
    bail!("nothing answers at {addr}")
}

/// The first connection that is not refused.
fn connect(addr: SocketAddr, begin: Instant) -> Result<std::net::TcpStream> {
    loop {
        match std::net::TcpStream::connect(addr) {
            Ok(stream) => {
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) if begin.elapsed() > ANSWER_DEADLINE => return Err(error.into()),
            Err(_) => std::thread::sleep(RETRY_REFUSED),
        }
    }
}

/// How long answers take where nothing is in the way, in milliseconds.
pub(super) async fn answers(addr: SocketAddr, times: usize) -> Result<Vec<f64>> {
    let mut measured = Vec::with_capacity(times);
    for _ in 0..times {
        sleep(BETWEEN).await;
        let begin = Instant::now();
        measured.push(ask(addr).await?.duration_since(begin).as_secs_f64() * 1e3);
    }
    Ok(measured)
}

async fn answer(stream: &mut TcpStream) -> Result<Instant> {
    let mut begin = vec![0; GOOD.len()];
    stream.read_exact(&mut begin[..1]).await?;
    let answered = Instant::now();
    stream.read_exact(&mut begin[1..]).await?;
    if begin != GOOD {
        bail!("the answer begins with {:?}", String::from_utf8_lossy(&begin));
    }
    Ok(answered)
}

const GOOD: &[u8] = b"HTTP/1.1 200";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: measured\r\nConnection: close\r\n\r\n";
