//! Hot restarts, one after another, while as many requests come as go through: none may fail.

use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use super::contender::{Contender, Control, Ground, ours};
use super::contest::Rounds;
use super::load;
use crate::Setting;
use crate::rows::{Better, Rows, median};

/// A load without a restart beside one that always has one under way.
pub(crate) fn restarts(ground: &Ground, setting: &Setting, rounds: Rounds, rows: &mut Rows) -> Result<()> {
    let (mut contender, control) = ours(ground, &setting.foreshadow, &ground.backends(10))?;
    let url = format!("http://{}/", contender.plain);
    let load = || load::disturbed(&url, rounds.seconds);
    load()?;
    let (mut p99, mut per_s, mut values, mut lasted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut failed, mut asked) = (0.0, 0.0);
    for _ in 0..rounds.count {
        let still = load()?;
        ensure!(still.failed == 0.0, "{} requests failed without a restart", still.failed);
        let restarted = scope(|scope| {
            let load = scope.spawn(load);
            while !load.is_finished() {
                lasted.push(restart(&mut contender, &control)?.as_secs_f64() * 1e3);
            }
            load.join().map_err(|_| anyhow!("the load panicked"))?
        })?;
        p99.push(restarted.p99 / still.p99);
        per_s.push(restarted.outcome.per_s / still.outcome.per_s);
        values.push(restarted.p99);
        failed += restarted.failed;
        asked += restarted.outcome.requests;
    }
    let name = format!("proxy, {} hot restarts under load", lasted.len());
    let shown = format!("of {asked:.0}; a restart takes {:.0} ms", median(&lasted));
    rows.at_most(&format!("{name}: failed requests"), failed, "requests", 0.0, Some(shown));
    let shown = format!("{:.0} us", median(&values));
    rows.note(&format!("{name}: p99, of that without"), median(&p99), "ratio", Better::Lower, Some(shown));
    let title = format!("{name}: requests per second, of those without");
    rows.note(&title, median(&per_s), "ratio", Better::Higher, None);
    Ok(())
}

/// A restart, from its beginning to the end of the process before.
fn restart(contender: &mut Contender, control: &Control) -> Result<Duration> {
    let began = Instant::now();
    let mut before = std::mem::replace(&mut contender.process, control.succeed()?);
    while !before.has_ended() {
        ensure!(began.elapsed() < RESTART_MAX, "a predecessor does not end");
        sleep(Duration::from_millis(2));
    }
    Ok(began.elapsed())
}

const RESTART_MAX: Duration = Duration::from_secs(30);
