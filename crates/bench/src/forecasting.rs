//! The forecasting engine: what it costs, how accurate it is, and whether its intervals keep their word, beside peers that
//! run on the same data in the same run.

mod accuracy;
mod corpus;
mod coverage;
mod peers;
mod shortly;
mod speed;

use std::time::Duration;

use anyhow::Result;

use crate::Setting;
use crate::rows::Rows;

/// Quantiles whose weighted pinball loss is averaged.
const QUANTILES: [f64; 4] = [0.05, 0.5, 0.9, 0.95];

pub(crate) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let peers = peers::Peers::prepare();
    let corpus = corpus::load(setting)?;
    speed::measure(setting, &peers, rows)?;
    shortly::measure(&corpus, rows)?;
    coverage::measure(&corpus, rows)?;
    accuracy::measure(setting, &corpus, &peers, rows)
}

/// What this thread has computed so far.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0))
}
