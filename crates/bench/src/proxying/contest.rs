//! The same load on every proxy in turn. What counts is the median, over the rounds, of our value by theirs.

use std::path::Path;

use anyhow::Result;

use super::contender::Contender;
use super::load::{self, Outcome};
use crate::rows::{Better, Rows, median, quantile};
use crate::running::{Running, cpu_seconds};

/// One kind of load.
pub(crate) struct Kind {
    /// Chooses it by `--only`.
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    path: &'static str,
    protocol: Protocol,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Tls,
    Http2Tls,
}

pub(crate) const KINDS: &[Kind] = &[
    Kind { key: "small", name: "small responses", path: "/", protocol: Protocol::Http1 },
    Kind { key: "large", name: "100 kB responses", path: "/large", protocol: Protocol::Http1 },
    Kind { key: "tls", name: "TLS", path: "/", protocol: Protocol::Tls },
    Kind { key: "http2", name: "HTTP/2 with TLS", path: "/", protocol: Protocol::Http2Tls },
];

/// How long it is measured.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    pub(crate) seconds: u32,
}

/// Responses that may be kept.
pub(crate) const KEPT: &[Kind] = &[
    Kind { key: "cache", name: "13 bytes", path: "/kept", protocol: Protocol::Http1 },
    Kind { key: "cache", name: "100 kB", path: "/kept-large", protocol: Protocol::Http1 },
];

/// What one proxy needed, round by round, and what the upstream did for it.
#[derive(Default)]
pub(crate) struct Series {
    pub(crate) cpu_us: Vec<f64>,
    pub(crate) per_s: Vec<f64>,
    pub(crate) upstream_us: Vec<f64>,
}

impl Kind {
    /// Adds the rows of this kind.
    pub(crate) fn measure(
        &self,
        contenders: &[Contender],
        upstream: &Running,
        rounds: Rounds,
        rows: &mut Rows,
    ) -> Result<()> {
        let series = self.series(contenders, upstream, rounds)?;
        self.report(contenders, &series, rows);
        Ok(())
    }

    /// Loads one after another, in rounds, so that what else the machine does comes upon all of them.
    pub(crate) fn series(
        &self,
        contenders: &[Contender],
        upstream: &Running,
        rounds: Rounds,
    ) -> Result<Vec<Series>> {
        let mut series: Vec<Series> = contenders.iter().map(|_| Series::default()).collect();
        for contender in contenders {
            self.load(contender, 1)?;
        }
        for _ in 0..rounds.count {
            for (contender, series) in contenders.iter().zip(&mut series) {
                let before = (cpu_seconds(contender.process.pid())?, cpu_seconds(upstream.pid())?);
                let outcome = self.load(contender, rounds.seconds)?;
                let used = cpu_seconds(contender.process.pid())? - before.0;
                let behind = cpu_seconds(upstream.pid())? - before.1;
                series.cpu_us.push(used / outcome.requests * 1e6);
                series.upstream_us.push(behind / outcome.requests * 1e6);
                series.per_s.push(outcome.per_s);
            }
        }
        Ok(series)
    }

    fn load(&self, contender: &Contender, seconds: u32) -> Result<Outcome> {
        match self.protocol {
            Protocol::Http1 => load::wrk(&format!("http://{}{}", contender.plain, self.path), seconds),
            Protocol::Tls => load::wrk(&format!("https://{}{}", contender.tls, self.path), seconds),
            Protocol::Http2Tls => load::http2(&format!("https://{}{}", contender.tls, self.path), seconds),
        }
    }

    fn report(&self, contenders: &[Contender], series: &[Series], rows: &mut Rows) {
        let name = self.name;
        let cpu: Vec<&[f64]> = series.iter().map(|series| &series.cpu_us[..]).collect();
        let per_s: Vec<&[f64]> = series.iter().map(|series| &series.per_s[..]).collect();
        let worst = ratios(&cpu).into_iter().fold(f64::MIN, f64::max);
        let title = format!("proxy, {name}: CPU for each request, of the better peer's");
        rows.at_most(&title, worst, "ratio", 1.0, Some(by_peer(contenders, &ratios(&cpu), "")));
        let values: Vec<f64> = cpu.iter().map(|values| median(values)).collect();
        let shown = by_peer(contenders, &values[1..], " us");
        let title = format!("proxy, {name}: CPU for each request");
        let upstream_us: Vec<f64> = series.iter().map(|series| median(&series.upstream_us)).collect();
        let shown = format!("{shown}; upstream {:.1} us", median(&upstream_us));
        rows.note(&title, values[0], "us", Better::Lower, Some(shown));
        let worst = ratios(&per_s).into_iter().fold(f64::MAX, f64::min);
        let values: Vec<f64> = per_s.iter().map(|values| median(values)).collect();
        let shown = format!("{:.0}/s; {}", values[0], by_peer(contenders, &values[1..], "/s"));
        let title = format!("proxy, {name}: requests per second, of the better peer's");
        rows.at_least(&title, worst, "ratio", 1.0, Some(shown));
    }
}

/// What each proxy adds to the 99th percentile of latency at an even rate that none of them finds hard.
pub(crate) fn added_latency(
    contenders: &[Contender],
    direct: std::net::SocketAddr,
    rounds: Rounds,
    folder: &Path,
    rows: &mut Rows,
) -> Result<()> {
    let mut added: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::new()).collect();
    let mut bare = Vec::new();
    for _ in 0..rounds.count {
        let without = p99(direct, rounds.seconds, folder)?;
        bare.push(without);
        for (contender, added) in contenders.iter().zip(&mut added) {
            added.push(p99(contender.plain, rounds.seconds, folder)? - without);
        }
    }
    let values: Vec<f64> = added.iter().map(|values| median(values)).collect();
    let best = values[1..].iter().copied().fold(f64::MAX, f64::min);
    // Not a ratio: on a busy machine a difference of two percentiles may be anything, even negative.
    let title = format!("proxy: p99 added at {PACED_RATE}/s, above the better peer's");
    let shown = by_peer(contenders, &values[1..], " us");
    let shown = format!("ours {:.0} us; {shown}; without a proxy p99 is {:.0} us", values[0], median(&bare));
    rows.at_most(&title, values[0] - best, "us", 0.0, Some(shown));
    Ok(())
}

/// The 99th percentile of latency at the even rate, in microseconds.
fn p99(target: std::net::SocketAddr, seconds: u32, folder: &Path) -> Result<f64> {
    let (took, failed) = load::paced(target, PACED_RATE, seconds, folder)?;
    anyhow::ensure!(failed == 0, "{failed} requests to {target} failed");
    Ok(quantile(&took, 0.99))
}

/// For each peer, the median over the rounds of the first contender's value by the peer's.
fn ratios(series: &[&[f64]]) -> Vec<f64> {
    series[1..].iter().map(|peer| ratio(series[0], peer)).collect()
}

/// The median over the rounds of one value by the other of the same round.
pub(crate) fn ratio(values: &[f64], by: &[f64]) -> f64 {
    median(&values.iter().zip(by).map(|(value, by)| value / by).collect::<Vec<_>>())
}

/// The peers' values, each behind its name.
pub(crate) fn by_peer(contenders: &[Contender], values: &[f64], unit: &str) -> String {
    let digits = |value: f64| if value >= 1000.0 { 0 } else { 2 };
    let shown = contenders[1..].iter().zip(values);
    let shown = shown.map(|(peer, value)| format!("{} {value:.*}{unit}", peer.name, digits(*value)));
    shown.collect::<Vec<_>>().join(", ")
}

pub(crate) const PACED_RATE: u32 = 2000;
