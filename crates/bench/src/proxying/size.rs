//! What many backends, many idle connections and many changes of the table cost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Control, Ground, haproxy, ours, route};
use super::contest::{PACED_RATE, Rounds, by_peer};
use super::load;
use crate::Setting;
use crate::rows::{Better, Rows, median, quantile};
use crate::running::{cpu_seconds, open_files_max, resident_bytes};

/// CPU for each request over a thousand backends, beside ten; and what so many cost HAProxy, since some of it is the kernel's.
pub(crate) fn many_backends(
    ground: &Ground,
    setting: &Setting,
    rounds: Rounds,
    rows: &mut Rows,
) -> Result<()> {
    let connections = load::CONNECTIONS as usize;
    let [few, many] = [10, 1000].map(|count| ground.backends(count));
    let ours = [ours(ground, &setting.foreshadow, &few)?.0, ours(ground, &setting.foreshadow, &many)?.0];
    let theirs = [haproxy(ground, &few, connections)?, haproxy(ground, &many, connections)?];
    for contender in ours.iter().chain(&theirs) {
        // Until nearly every backend has a connection.
        cpu_per_request(contender, 2)?;
    }
    let (mut own, mut other, mut beside, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.count {
        let measure = |contender: &Contender| cpu_per_request(contender, rounds.seconds);
        let [few, many] = [measure(&ours[0])?, measure(&ours[1])?];
        let [their_few, their_many] = [measure(&theirs[0])?, measure(&theirs[1])?];
        own.push(many / few);
        other.push(their_many / their_few);
        beside.push(many / their_many);
        values.push(few);
    }
    let shown = format!("over 10 backends {:.1} us; HAProxy {:.2}", median(&values), median(&other));
    let title = "proxy: CPU for each request over 1,000 backends, of that over 10";
    rows.at_most(title, median(&own), "ratio", BACKENDS_BAR, Some(shown));
    let title = "proxy: CPU for each request over 1,000 backends, of HAProxy's";
    rows.at_most(title, median(&beside), "ratio", 1.0, None);
    Ok(())
}

/// Memory of an idle connection beside HAProxy's, and what so many of them cost the requests beside them.
pub(crate) fn idle_connections(
    contenders: &[Contender],
    rounds: Rounds,
    rows: &mut Rows,
    count: usize,
) -> Result<()> {
    let mut ratios = Vec::new();
    let mut bytes = Vec::new();
    for contender in contenders {
        let alone: Vec<f64> =
            (0..rounds.count).map(|_| cpu_per_request(contender, rounds.seconds)).collect::<Result<_>>()?;
        let before = resident_bytes(contender.process.pid())?;
        let idle = (0..count).map(|_| idle_connection(contender.plain)).collect::<Result<Vec<_>>>()?;
        // What a connection gives back while it rests, an allocator returns when there is something to do.
        sleep(RESTED);
        let beside: Vec<f64> =
            (0..rounds.count).map(|_| cpu_per_request(contender, rounds.seconds)).collect::<Result<_>>()?;
        let after = resident_bytes(contender.process.pid())?;
        drop(idle);
        bytes.push((after - before) / count as f64);
        ratios.push(median(&beside) / median(&alone));
    }
    let named = format!("proxy, {count} idle connections");
    let shown = format!("ours {:.0} bytes; {}", bytes[0], by_peer(contenders, &bytes[1..], " bytes"));
    rows.at_most(
        // nginx has most of it from its start on.
        &format!("{named}: memory of each, of HAProxy's"),
        bytes[0] / bytes[1],
        "ratio",
        1.0,
        Some(shown),
    );
    let shown = by_peer(contenders, &ratios[1..], "");
    rows.note(
        &format!("{named}: CPU for each request, of that without them"),
        ratios[0],
        "ratio",
        Better::Lower,
        Some(shown),
    );
    Ok(())
}

/// How many idle connections there may be: a proxy needs up to three files for each that it lets in.
pub(crate) fn idle_max() -> Result<usize> {
    Ok(IDLE.min((open_files_max()? / 3).saturating_sub(500) / 500 * 500))
}

/// A connection that has had one answer.
fn idle_connection(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 1024];
    let count = stream.read(&mut answer).context("an idle connection got no answer")?;
    ensure!(answer[..count].starts_with(b"HTTP/1.1 200"), "an idle connection was refused");
    Ok(stream)
}

/// A thousand tables under an even load: no request may fail.
pub(crate) fn swaps(
    ground: &Ground,
    setting: &Setting,
    rounds: Rounds,
    folder: &Path,
    rows: &mut Rows,
) -> Result<()> {
    let seconds = rounds.seconds * 3;
    let (contender, mut control) = ours(ground, &setting.foreshadow, &ground.backends(10))?;
    let (mut still, mut swapped, mut lost) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds.count.min(3) {
        let (took, failed) = load::paced(contender.plain, PACED_RATE, seconds, folder)?;
        still.push(quantile(&took, 0.99));
        let (took, unanswered) = std::thread::scope(|scope| {
            let load = scope.spawn(|| load::paced(contender.plain, PACED_RATE, seconds, folder));
            swap_tables(&mut control, ground, contender.plain, Duration::from_secs(seconds.into()))?;
            load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?
        })?;
        swapped.push(quantile(&took, 0.99));
        lost += failed + unanswered;
    }
    let name = "proxy, 1,000 route tables under load";
    rows.at_most(&format!("{name}: failed requests"), lost as f64, "requests", 0.0, None);
    let shown = Some(format!("without {:.0} us", median(&still)));
    rows.note(&format!("{name}: p99"), median(&swapped), "us", Better::Lower, shown);
    Ok(())
}

/// [`SWAPS`] tables, evenly over most of `time`; each has lost one backend of the one before and got another.
fn swap_tables(control: &mut Control, ground: &Ground, listen: SocketAddr, time: Duration) -> Result<()> {
    let backends = ground.backends(20);
    let began = Instant::now();
    for swap in 1..=SWAPS {
        let mut route = route("plain", listen, &backends);
        let spare = swap as usize % 10;
        route.backends.rotate_left(spare);
        route.backends.truncate(10);
        control.set(vec![route])?;
        let due = time.mul_f64(0.9 * f64::from(swap) / f64::from(SWAPS));
        sleep(due.saturating_sub(began.elapsed()));
    }
    Ok(())
}

fn cpu_per_request(contender: &Contender, seconds: u32) -> Result<f64> {
    let before = cpu_seconds(contender.process.pid())?;
    let outcome = load::wrk(&format!("http://{}/", contender.plain), seconds)?;
    Ok((cpu_seconds(contender.process.pid())? - before) / outcome.requests * 1e6)
}

const SWAPS: u32 = 1000;
const IDLE: usize = 10_000;
const BACKENDS_BAR: f64 = 1.1;
/// After this a silent connection has given back what it can.
const RESTED: Duration = Duration::from_secs(4);
