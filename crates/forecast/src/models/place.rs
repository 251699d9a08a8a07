//! A grid as plain data, so that a model that needs the calendar can be stored.

use std::time::Duration;

use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::grid::Grid;

/// The parts of a [`Grid`]. A zone is kept by its name, one without a name by its offset at the grid's origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    origin_ms: i64,
    step_ms: u64,
    zone: Option<String>,
    offset_s: i32,
}

impl Place {
    pub(super) fn of(grid: &Grid) -> Place {
        let origin_ms = grid.origin.as_millis();
        let at = jiff::Timestamp::from_millisecond(origin_ms).unwrap_or_default();
        Place {
            origin_ms,
            step_ms: u64::try_from(grid.step.as_millis()).unwrap_or(u64::MAX),
            zone: grid.zone.as_ref().and_then(|zone| zone.iana_name()).map(str::to_owned),
            offset_s: grid.zone.as_ref().map_or(0, |zone| zone.to_offset(at).seconds()),
        }
    }

    /// When a step begins.
    pub(super) fn begins_at(&self, step: u64) -> Timestamp {
        let millis = i128::from(self.origin_ms) + i128::from(step) * i128::from(self.step_ms);
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    pub(super) fn grid(&self) -> Grid {
        let named = self.zone.as_ref().and_then(|name| TimeZone::get(name).ok());
        let fixed = || Offset::from_seconds(self.offset_s).ok().map(TimeZone::fixed);
        Grid {
            origin: Timestamp::from_millis(self.origin_ms),
            step: Duration::from_millis(self.step_ms),
            zone: named.or_else(fixed),
        }
    }
}
