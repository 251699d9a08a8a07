//! Which versions go when there is no room: a pure choice, so that it can be tried by the thousand.

use std::collections::BTreeSet;

use super::record::{ModelId, ModelRecord, ModelState};
use super::refusal::ModelRefusal;
use crate::error::HistoryError;
use crate::limit::Limit;

/// How much is kept for each workload, all kinds of models together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelLimits {
    /// Most versions.
    pub versions_max: usize,
    /// Most bytes of all their models together.
    pub bytes_max: u64,
}

impl ModelLimits {
    /// Forty versions, 64 MiB.
    pub const DEFAULT: ModelLimits = ModelLimits { versions_max: 40, bytes_max: 64 << 20 };

    pub(crate) fn check_body(self, bytes: usize) -> Result<(), HistoryError> {
        Limit::ModelBytes.check(bytes, || "a model".to_owned())
    }
}

/// The versions of a workload to remove so that the rest, `newest` among them, is within the limits.
///
/// Oldest retired ones go first, then oldest challengers; never a champion, the version it replaced, its parent, or `newest`.
pub(crate) fn to_remove(
    all: &[ModelRecord],
    newest: ModelId,
    limits: ModelLimits,
) -> Result<BTreeSet<ModelId>, ModelRefusal> {
    let mut stay = BTreeSet::from([newest]);
    for champion in all.iter().filter(|record| record.state == ModelState::Champion) {
        stay.extend([Some(champion.id), champion.replaced, champion.described.parent].into_iter().flatten());
    }
    let mut versions = all.len();
    let mut bytes: u64 = all.iter().map(|record| record.bytes).sum();
    let mut going = BTreeSet::new();
    for state in [ModelState::Retired, ModelState::Challenger] {
        let mut oldest: Vec<&ModelRecord> =
            all.iter().filter(|record| record.state == state && !stay.contains(&record.id)).collect();
        oldest.sort_by_key(|record| record.id);
        for record in oldest {
            if versions <= limits.versions_max && bytes <= limits.bytes_max {
                return Ok(going);
            }
            going.insert(record.id);
            versions -= 1;
            bytes -= record.bytes;
        }
    }
    if versions <= limits.versions_max && bytes <= limits.bytes_max {
        return Ok(going);
    }
    let workload = all.first().map(|record| record.workload().to_owned()).unwrap_or_default();
    let ModelLimits { versions_max, bytes_max } = limits;
    Err(ModelRefusal::NoRoom { workload, versions, bytes, versions_max, bytes_max })
}
