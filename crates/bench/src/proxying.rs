//! Our proxy beside HAProxy and nginx: the same upstream, the same load, rounds in turn.
//!
//! On a shared machine requests per second say more about the neighbours than about the proxy. CPU time for each request,
//! read from the scheduler, is what can be compared.

use anyhow::Result;

use crate::Setting;
use crate::rows::Rows;
use contender::Ground;
use contest::{KINDS, Rounds, added_latency};
use extras::{access_log, cache};
use restart::restarts;
use size::{idle_connections, idle_max, many_backends, swaps};

mod contender;
mod contest;
mod extras;
mod load;
mod restart;
mod size;

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let rounds =
        if setting.quick { Rounds { count: 2, seconds: 1 } } else { Rounds { count: 5, seconds: 3 } };
    let is_wanted = |key: &str| setting.takes(key);
    let folder = tempfile::tempdir()?;
    let ground = Ground::prepare(folder.path())?;
    let idle = idle_max()?;
    let contenders = ground.contenders(setting, idle)?;
    for kind in KINDS.iter().filter(|kind| is_wanted(kind.key)) {
        kind.measure(&contenders, &ground.upstream, rounds, rows)?;
    }
    if is_wanted("latency") {
        added_latency(&contenders, ground.backends(1)[0], rounds, folder.path(), rows)?;
    }
    drop(contenders);
    if is_wanted("idle") {
        // Fresh ones: what earlier load has left in their heaps would be counted as nobody's.
        idle_connections(&ground.contenders(setting, idle)?, rounds, rows, idle)?;
    }
    if is_wanted("backends") {
        many_backends(&ground, setting, rounds, rows)?;
    }
    if is_wanted("swaps") {
        swaps(&ground, setting, rounds, folder.path(), rows)?;
    }
    if is_wanted("restart") {
        restarts(&ground, setting, rounds, rows)?;
    }
    if is_wanted("cache") {
        cache(&ground, setting, rounds, rows)?;
    }
    if is_wanted("log") {
        access_log(&ground, setting, rounds, rows)?;
    }
    Ok(())
}
