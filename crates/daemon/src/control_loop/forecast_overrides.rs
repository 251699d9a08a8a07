//! Overrides of the forecast as the control loop keeps them: numbered, written down, and back after a restart.

use std::time::Duration;

use forecast::Timestamp;
use history::Store;
use planner::{Event, FORECAST_OVERRIDES_MAX};
use serde::{Deserialize, Serialize};

use super::{CommandError, ControlLoop};
use crate::convert::overrides::{change, planned};
use crate::recorder::clock;

/// What is written down of one workload.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ForecastOverrides {
    /// Numbers are not given twice.
    next: u64,
    all: Vec<api::ForecastOverride>,
}

impl ForecastOverrides {
    /// Those that are not over.
    pub(crate) fn at(&self, now: Timestamp) -> Vec<api::ForecastOverride> {
        self.all.iter().filter(|of| of.to_ms > now.as_millis()).cloned().collect()
    }
}

impl ControlLoop {
    /// Puts an override into force.
    pub(crate) fn set_forecast_override(
        &mut self,
        workload: &str,
        request: api::ForecastOverrideRequest,
    ) -> Result<api::ForecastOverride, CommandError> {
        let index = self.find(workload)?;
        let now = clock();
        let known = &mut self.workloads[index].forecast_overrides;
        known.all = known.at(now);
        if known.all.len() >= FORECAST_OVERRIDES_MAX {
            return Err(CommandError::TooManyOverrides);
        }
        let api::ForecastOverrideRequest { scale, add, replace, from_ms, to_ms, author, reason } = request;
        let mut set = api::ForecastOverride {
            id: known.next.max(1),
            workload: workload.to_owned(),
            scale,
            add,
            replace,
            from_ms: from_ms.unwrap_or(now.as_millis()),
            to_ms,
            author,
            reason,
            set_at_ms: now.as_millis(),
            sentence: String::new(),
        };
        let latest = (now + FORECAST_OVERRIDE_MAX).as_millis();
        let sound = change(scale, add, replace).is_some()
            && set.from_ms < to_ms
            && (now.as_millis()..=latest).contains(&to_ms);
        let Some(forecast) = planned(&set).filter(|_| sound) else { return Err(CommandError::NoTime) };
        set.sentence = forecast.to_string();
        known.next = set.id + 1;
        known.all.push(set.clone());
        self.write_down_overrides(index);
        let workload = self.workloads[index].id.clone();
        self.handle(index, Event::ForecastOverrideSet { workload, forecast });
        Ok(set)
    }

    /// Takes an override back.
    pub(crate) fn clear_forecast_override(&mut self, workload: &str, id: u64) -> Result<(), CommandError> {
        let index = self.find(workload)?;
        let known = &mut self.workloads[index].forecast_overrides;
        known.all = known.at(clock());
        let before = known.all.len();
        known.all.retain(|of| of.id != id);
        if known.all.len() == before {
            return Err(CommandError::UnknownOverride(id));
        }
        self.write_down_overrides(index);
        let workload = self.workloads[index].id.clone();
        self.handle(index, Event::ForecastOverrideCleared { workload, id });
        Ok(())
    }

    fn write_down_overrides(&self, index: usize) {
        let workload = &self.workloads[index];
        if let Ok(body) = serde_json::to_vec(&workload.forecast_overrides) {
            self.recorder.record_at_once(key(workload.name()), body);
        }
    }

    /// Puts those into force that an earlier daemon had and that are not over.
    pub(crate) fn restore_forecast_overrides(&mut self, store: &Store) {
        for index in 0..self.workloads.len() {
            let value = store.get(&key(self.workloads[index].name())).ok().flatten().unwrap_or_default();
            let Ok(mut known) = serde_json::from_slice::<ForecastOverrides>(&value) else { continue };
            known.all = known.at(clock());
            for forecast in known.all.iter().filter_map(planned) {
                let workload = self.workloads[index].id.clone();
                self.handle(index, Event::ForecastOverrideSet { workload, forecast });
            }
            self.workloads[index].forecast_overrides = known;
        }
    }
}

/// Key of the overrides of a workload's forecast.
fn key(workload: &str) -> String {
    format!("forecast-overrides/{workload}")
}

/// How far from now an override may end.
const FORECAST_OVERRIDE_MAX: Duration = Duration::from_secs(366 * 86_400);
