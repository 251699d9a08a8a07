//! Who changed what in the repository, and why: one entry of the journal for each change.

use std::fmt::Write as _;

use forecast::Timestamp;

use crate::by::By;
use crate::journal::EventRecord;

use super::record::{ModelId, ModelRecord};
use super::trial::Trial;

/// What happened to a version.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Trained and stored.
    Added,
    /// Scored, and compared when there is a trial.
    Measured(Option<Trial>),
    /// Became champion.
    Promoted {
        /// The champion before it.
        over: Option<ModelId>,
        /// Measured gain as a share, when it was judged.
        gain: Option<f64>,
        /// An operator decided.
        forced: bool,
    },
    /// Became champion again.
    RolledBack {
        /// The champion that was given up.
        from: ModelId,
    },
    /// Given up.
    Retired,
    /// Removed for lack of room.
    Removed,
    /// Came from a file.
    Imported {
        /// Its number where it was exported.
        was: ModelId,
    },
}

/// One change of one version.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelEvent {
    /// When.
    pub at: Timestamp,
    /// Whose model.
    pub workload: String,
    /// Which kind of model.
    pub model: String,
    /// Which version.
    pub id: ModelId,
    /// What happened to it.
    pub change: Change,
    /// Who and why.
    pub by: By,
}

/// A change that is on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The version as it is now.
    pub record: ModelRecord,
    /// Everything that happened, versions removed to make room included; it is in the journal already.
    pub events: Vec<ModelEvent>,
}

impl ModelEvent {
    /// Stable machine name.
    pub fn kind(&self) -> &'static str {
        match &self.change {
            Change::Added => "model_added",
            Change::Measured(_) => "model_measured",
            Change::Promoted { .. } => "model_promoted",
            Change::RolledBack { .. } => "model_rolled_back",
            Change::Retired => "model_retired",
            Change::Removed => "model_removed",
            Change::Imported { .. } => "model_imported",
        }
    }

    /// One plain sentence with author and reason.
    pub fn message(&self) -> String {
        let mut text = format!("{} version {}", self.model, self.id);
        // Writing to a String cannot fail.
        let _ = match &self.change {
            Change::Added => write!(text, " was added as a challenger"),
            Change::Measured(None) => write!(text, " was scored"),
            Change::Measured(Some(trial)) => write!(text, " was compared: {trial}"),
            Change::Promoted { over, gain, forced } => {
                let over = over.map_or("the first".to_owned(), |over| format!("over version {over}"));
                let _ = write!(text, " became champion, {over}");
                match (gain, forced) {
                    (Some(gain), _) => write!(text, ", with a measured gain of {:.1} %", gain * 100.0),
                    (None, true) => write!(text, ", forced"),
                    (None, false) => Ok(()),
                }
            }
            Change::RolledBack { from } => {
                write!(text, " is champion again, rolled back from version {from}")
            }
            Change::Retired => write!(text, " was retired"),
            Change::Removed => write!(text, " was removed to make room"),
            Change::Imported { was } => {
                write!(text, " was imported as a challenger; it was version {was} where it came from")
            }
        };
        let _ = write!(text, " ({}: {})", self.by.author, self.by.reason);
        text
    }

    /// The body of the journal's entry when nobody wants another one.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        self.message().into_bytes()
    }

    pub(crate) fn to_journal(&self, body: Vec<u8>) -> EventRecord {
        EventRecord { at: self.at, workload: Some(self.workload.clone()), kind: self.kind().to_owned(), body }
    }
}
