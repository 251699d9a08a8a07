//! Load by other people's programs, and what they say of it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Connections of the load, all kept alive.
pub(crate) const CONNECTIONS: u32 = 64;

/// What came of a load.
pub(crate) struct Outcome {
    pub(crate) requests: f64,
    pub(crate) per_s: f64,
}

/// As many requests as go through on [`CONNECTIONS`] connections by HTTP/1.1.
pub(crate) fn wrk(url: &str, seconds: u32) -> Result<Outcome> {
    let disturbed = disturbed(url, seconds)?;
    if disturbed.failed > 0.0 {
        bail!("{} requests to {url} failed", disturbed.failed);
    }
    Ok(disturbed.outcome)
}

/// What came of a load that something may have disturbed.
pub(crate) struct Disturbed {
    pub(crate) outcome: Outcome,
    /// Answered with an error, broken off, or not connected.
    pub(crate) failed: f64,
    /// The 99th percentile of latency, in microseconds.
    pub(crate) p99: f64,
}

/// The same load as [`wrk`], whatever it meets with.
pub(crate) fn disturbed(url: &str, seconds: u32) -> Result<Disturbed> {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--timeout", "10s", "--connections", &CONNECTIONS.to_string(), "--latency"])
        .args(["--duration", &format!("{seconds}s"), url])
        .output()
        .context("wrk is missing; install it (Debian: wrk)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let requests = number_before(&text, " requests in").context("wrk printed no number of requests")?;
    ensure!(requests > 0.0, "{url} does not answer:\n{text}");
    let line = |mark: &str| text.lines().find_map(|line| line.trim_start().strip_prefix(mark));
    let of_sockets = line("Socket errors:").unwrap_or_default().split_whitespace();
    let of_sockets: f64 = of_sockets.filter_map(|word| word.trim_end_matches(',').parse::<f64>().ok()).sum();
    let of_answers = line("Non-2xx or 3xx responses:").map_or(Ok(0.0), |count| count.trim().parse())?;
    let p99 = line("99%").and_then(|time| micros(time.trim())).context("wrk printed no percentiles")?;
    let outcome = Outcome { requests, per_s: requests / f64::from(seconds) };
    Ok(Disturbed { outcome, failed: of_sockets + of_answers, p99 })
}

/// A time as wrk writes it.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, micros)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * micros))
}

/// The same by HTTP/2: a quarter of the connections, four streams on each.
pub(crate) fn http2(url: &str, seconds: u32) -> Result<Outcome> {
    let streams = ["-c", &(CONNECTIONS / 4).to_string(), "-m", "4"].map(str::to_owned);
    let text = h2load(&[&streams[..], &["-D".into(), seconds.to_string(), url.into()]].concat())?;
    let requests = number_before(&text, " succeeded").context("h2load printed no number of requests")?;
    let failed = number_before(&text, " failed,").unwrap_or(f64::NAN);
    if failed != 0.0 || requests == 0.0 {
        bail!("{url} answered with errors:\n{text}");
    }
    Ok(Outcome { requests, per_s: requests / f64::from(seconds) })
}

/// Requests at an even rate, over in `seconds`: how long each took in microseconds, and how many failed.
pub(crate) fn paced(target: SocketAddr, rate: u32, seconds: u32, folder: &Path) -> Result<(Vec<f64>, usize)> {
    let log = folder.join("requests.tsv");
    // h2load appends.
    let _ = fs::remove_file(&log);
    let text = h2load(&[
        "--h1".into(),
        "-c".into(),
        PACED_CONNECTIONS.to_string(),
        "--rps".into(),
        (rate / PACED_CONNECTIONS).to_string(),
        "-n".into(),
        (rate * seconds).to_string(),
        format!("--log-file={}", log.display()),
        format!("http://{target}/"),
    ])?;
    let lines = fs::read_to_string(&log).with_context(|| format!("h2load logged nothing:\n{text}"))?;
    let mut took = Vec::new();
    for line in lines.lines() {
        let mut columns = line.split('\t').skip(1);
        if let (Some("200"), Some(micros)) = (columns.next(), columns.next()) {
            took.push(micros.parse().context("h2load's log has another shape")?);
        }
    }
    let failed = (rate * seconds) as usize - took.len();
    Ok((took, failed))
}

fn h2load(arguments: &[String]) -> Result<String> {
    let output = Command::new("h2load")
        .args(arguments)
        .output()
        .context("h2load is missing; install it (Debian: nghttp2-client)")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The number that stands right before `mark`.
fn number_before(text: &str, mark: &str) -> Option<f64> {
    text.split_once(mark)?.0.split_whitespace().last()?.parse().ok()
}

const PACED_CONNECTIONS: u32 = 20;
