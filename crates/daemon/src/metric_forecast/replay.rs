//! Replaying a series through the online core, from the beginning or from where an earlier replay of the same stood.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use forecast::{Config, Ensemble, Timestamp};
use history::SeriesKey;
use jiff::tz::TimeZone;

use super::{Aggregate, Found, Refusal};
use crate::config::WorkloadConfig;
use crate::knowledge::Knowledge;

/// What a kept replay is of. Whether it is of the very same values is another question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    workload: String,
    metric: String,
    labels: BTreeMap<String, String>,
    aggregate: Option<Aggregate>,
    step: Duration,
    horizon: u32,
}

impl Key {
    pub(super) fn new(found: &Found, horizon: u32) -> Key {
        let asked = &found.asked;
        Key {
            workload: asked.workload.name.clone(),
            metric: asked.metric.clone(),
            labels: match found.keys.as_slice() {
                [SeriesKey { labels, .. }] => labels.clone(),
                _ => asked.labels.clone(),
            },
            aggregate: asked.aggregate,
            step: found.pace.step,
            horizon,
        }
    }
}

/// What a core is told before the first value.
#[derive(Debug)]
pub(super) struct Setting {
    config: Config,
    horizon: u32,
    known: Knowledge,
}

impl Setting {
    /// For a series in the steps of this workload, to be forecast so many steps ahead.
    pub(super) fn new(
        workload: &WorkloadConfig,
        cells: &[(Timestamp, f64)],
        known: Knowledge,
        ahead: usize,
    ) -> Setting {
        let step_ms = workload.step.as_millis().max(1);
        let configured = workload.forecast_horizon.map_or(0, |horizon| horizon.as_millis() / step_ms);
        let wanted = ahead.max(usize::try_from(configured).unwrap_or(usize::MAX));
        // Few different ones, so that questions of different reach share what is kept.
        let horizon = HORIZONS.into_iter().find(|&steps| wanted <= steps as usize).unwrap_or(HORIZON_LAST);
        let config = Config {
            // The configuration was checked, so the zone exists.
            time_zone: workload.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok()),
            horizon_max: workload.step.saturating_mul(horizon),
            non_negative: cells.iter().all(|(_, value)| *value >= 0.0),
            ..Config::new(workload.step)
        };
        Setting { config, horizon, known }
    }

    pub(super) fn horizon(&self) -> u32 {
        self.horizon
    }

    /// A core that has been told all but values.
    fn core(&self, origin: Timestamp) -> Result<Ensemble, Refusal> {
        let mut core = Ensemble::new(self.config.clone(), &[])?;
        core.announce(&self.known.events);
        core.know(Arc::new(self.known.covariates(origin, self.config.step)));
        Ok(core)
    }

    /// Tells this setting followed by these values from all others.
    fn mark(&self, cells: &[(Timestamp, f64)]) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.known.mark(&mut hasher);
        hasher.write_u8(u8::from(self.config.non_negative));
        for (at, value) in cells {
            hasher.write_i64(at.as_millis());
            hasher.write_u64(value.to_bits());
        }
        hasher.finish()
    }
}

/// A core after the first of the values of a series.
#[derive(Debug)]
pub(super) struct Kept {
    core: Ensemble,
    steps: usize,
    mark: u64,
}

/// The core at the end of all values, and one to be kept for the next time, when that is another than before.
pub(super) fn run(
    setting: &Setting,
    kept: Option<&Kept>,
    cells: &[(Timestamp, f64)],
    end: Timestamp,
) -> Result<(Ensemble, Option<Kept>), Refusal> {
    let step = setting.config.step;
    let kept = kept.filter(|kept| cells.get(..kept.steps).is_some_and(|of| setting.mark(of) == kept.mark));
    let (mut core, done) = match (kept, cells.first()) {
        (Some(kept), _) => (kept.core.clone(), kept.steps),
        (None, first) => (setting.core(first.map_or(end, |cell| cell.0))?, 0),
    };
    // The newest steps may still get values that come late.
    let late = end.saturating_sub(step * GRACE_STEPS);
    let settled = cells.partition_point(|(at, _)| *at < late).max(done);
    follow(&mut core, &cells[done..settled])?;
    let keep = (settled > done).then(|| Kept {
        core: core.clone(),
        steps: settled,
        mark: setting.mark(&cells[..settled]),
    });
    follow(&mut core, &cells[settled..])?;
    // Younger steps than that are not missing, but only not known yet.
    let known_to = cells.last().map(|cell| cell.0);
    if known_to.is_some_and(|last| last + step < late) {
        core.observe(late - step, None)?;
    }
    Ok((core, keep))
}

fn follow(core: &mut Ensemble, cells: &[(Timestamp, f64)]) -> Result<(), Refusal> {
    for (at, value) in cells {
        core.observe(*at, Some(*value))?;
    }
    Ok(())
}

/// Steps that a value may be late.
const GRACE_STEPS: u32 = 2;
/// Horizons that are learned, in steps.
const HORIZONS: [u32; 3] = [288, 1024, HORIZON_LAST];
const HORIZON_LAST: u32 = forecast::HORIZON_STEPS_MAX as u32;
