//! What is known of one version.

use std::collections::BTreeMap;
use std::fmt;

use forecast::Timestamp;
use sha2::{Digest, Sha256};

use crate::error::HistoryError;
use crate::limit::Limit;
use crate::series::name;

use super::trial::Trial;

/// Number of a version, unique for the life of the store and never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(u64);

impl ModelId {
    /// The version of that number, which may not exist.
    pub fn new(number: u64) -> ModelId {
        ModelId(number)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a version is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// Kept and measured, not relied on.
    Challenger,
    /// In charge of its workload's model.
    Champion,
    /// No longer either; kept to go back to, and removed when room is needed.
    Retired,
}

impl fmt::Display for ModelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ModelState::Challenger => "challenger",
            ModelState::Champion => "champion",
            ModelState::Retired => "retired",
        })
    }
}

/// What the trainer says of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Whose demand it forecasts.
    pub workload: String,
    /// Which kind of model, for example `gbdt`. Versions of one workload and kind compete for one place.
    pub model: String,
    /// When training ended.
    pub trained_at: Timestamp,
    /// Beginning of the data it was trained on.
    pub data_from: Timestamp,
    /// End of that data; nothing at or after it was used.
    pub data_to: Timestamp,
    /// Names of what goes in.
    pub features: Vec<String>,
    /// Scores by name, for example `pinball`, `coverage_90`, `skill`; all finite.
    pub scores: BTreeMap<String, f64>,
    /// The version it was trained on from, if any.
    pub parent: Option<ModelId>,
    /// Version of the program that trained it: other code may not be able to read the bytes.
    pub code_version: String,
}

impl Description {
    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        name("workload", &self.workload)?;
        name("model", &self.model)?;
        name("code version", &self.code_version)?;
        let of = || format!("the model {} of {}", self.model, self.workload);
        Limit::ModelNames.check(self.features.len() + self.scores.len(), of)?;
        self.features.iter().try_for_each(|feature| name("feature", feature))?;
        for (score, value) in &self.scores {
            name("score", score)?;
            if !value.is_finite() {
                let series = format!("the score {score} of {}", of());
                return Err(HistoryError::NotFinite { series, at: self.trained_at, value: *value });
            }
        }
        Ok(())
    }
}

/// SHA-256 of a model's bytes: the same model, wherever it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A version in the repository.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRecord {
    /// Its number.
    pub id: ModelId,
    /// What the trainer said, with the scores of later measurements.
    pub described: Description,
    /// Bytes of the model itself.
    pub bytes: u64,
    /// Of those bytes.
    pub fingerprint: Fingerprint,
    /// What it is good for now.
    pub state: ModelState,
    /// Since when.
    pub since: Timestamp,
    /// Why it is in this state.
    pub why: String,
    /// The champion that it took over from, when it became champion last.
    pub replaced: Option<ModelId>,
    /// Its number in the repository it was exported from.
    pub imported_from: Option<ModelId>,
    /// How it did against another version when it was compared last.
    pub trial: Option<Trial>,
}

impl ModelRecord {
    /// Whose demand it forecasts.
    pub fn workload(&self) -> &str {
        &self.described.workload
    }

    /// Which kind of model it is.
    pub fn model(&self) -> &str {
        &self.described.model
    }

    /// The one place where a state changes.
    pub(crate) fn enter(&mut self, state: ModelState, at: Timestamp, why: String) {
        self.state = state;
        self.since = at;
        self.why = why;
    }
}
