//! The forecasting engine: what it costs, how accurate it is, and whether its intervals keep their word, beside peers that
//! run on the same data in the same run.

mod accuracy;
mod competition;
mod coverage;
mod events;
mod peers;
mod requests;
mod shortly;
mod sparse;
mod speed;

use std::time::Duration;

use anyhow::Result;

use crate::Setting;
use crate::rows::Rows;

/// Quantiles whose weighted pinball loss is averaged.
const QUANTILES: [f64; 4] = [0.05, 0.5, 0.9, 0.95];

/// What adds the rows of one part.
type Part<'a> = &'a dyn Fn(&mut Rows) -> Result<()>;

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let wanted = |part: &str| setting.takes(part);
    let with_peers = wanted("speed") || wanted("accuracy");
    let peers = if with_peers { peers::Peers::prepare() } else { peers::Peers::left_out() };
    let with_corpus = wanted("short") || wanted("coverage") || wanted("accuracy");
    let corpus = if with_corpus { crate::corpus::load(setting)? } else { Vec::new() };
    let parts: [(&str, Part<'_>); 8] = [
        ("speed", &|rows| speed::measure(setting, &peers, rows)),
        ("short", &|rows| shortly::measure(&corpus, rows)),
        ("coverage", &|rows| coverage::measure(&corpus, rows)),
        ("accuracy", &|rows| accuracy::measure(setting, &corpus, &peers, rows)),
        ("competition", &|rows| competition::measure(setting, rows)),
        ("events", &|rows| events::measure(setting, rows)),
        ("requests", &|rows| requests::measure(setting, rows)),
        ("sparse", &|rows| sparse::measure(setting, rows)),
    ];
    for (_, measure) in parts.into_iter().filter(|(part, _)| wanted(part)) {
        measure(rows)?;
    }
    Ok(())
}

/// What this thread has computed so far.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
