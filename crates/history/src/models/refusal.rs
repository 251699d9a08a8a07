//! Why the repository refused a change. Nothing was changed then.

use super::file::ModelFileError;
use super::record::ModelId;
use super::trial::{NoGain, TrialError};

/// A refused change, with what could be done instead.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelRefusal {
    /// No such version.
    #[error("there is no model version {id}; it may have been removed to make room")]
    Unknown {
        /// The number.
        id: ModelId,
    },
    /// The parent named is a version of something else.
    #[error(
        "version {parent} cannot be the parent: it belongs to another workload or is another kind of model"
    )]
    ForeignParent {
        /// The parent named.
        parent: ModelId,
    },
    /// The rival of a trial is a version of something else.
    #[error(
        "version {id} cannot be compared with version {against}, which belongs to another workload or is another kind of model"
    )]
    ForeignRival {
        /// The version compared.
        id: ModelId,
        /// The version it was compared with.
        against: ModelId,
    },
    /// A trial that cannot be.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// It is champion already.
    #[error("version {id} is the champion already")]
    AlreadyChampion {
        /// The version.
        id: ModelId,
    },
    /// Never compared.
    #[error(
        "version {id} was never compared with the champion, version {champion}, on the same outcomes; measure it first, or force the promotion with a reason"
    )]
    NotMeasured {
        /// The version.
        id: ModelId,
        /// The champion.
        champion: ModelId,
    },
    /// The champion has changed since.
    #[error(
        "version {id} was compared with version {against}, but version {champion} is the champion now; measure it again, or force the promotion with a reason"
    )]
    MeasuredAgainstAnother {
        /// The version.
        id: ModelId,
        /// The version it was compared with.
        against: ModelId,
        /// The champion.
        champion: ModelId,
    },
    /// Compared, and not better enough.
    #[error("version {id} does not replace the champion, version {champion}: {why}")]
    NoGain {
        /// The version.
        id: ModelId,
        /// The champion.
        champion: ModelId,
        /// What was missing.
        why: NoGain,
    },
    /// Nothing is in charge.
    #[error("{workload} has no champion among its {model} models, so there is nothing to roll back")]
    NoChampion {
        /// The workload.
        workload: String,
        /// The kind of model.
        model: String,
    },
    /// The champion is the first.
    #[error(
        "there is nothing to roll back to: the versions before the champion, version {champion}, are gone or never were"
    )]
    NothingBefore {
        /// The champion.
        champion: ModelId,
    },
    /// The champion cannot be retired.
    #[error("version {id} is the champion; promote another version or roll back instead")]
    InCharge {
        /// The champion.
        id: ModelId,
    },
    /// It was given up before.
    #[error("version {id} is retired already")]
    AlreadyRetired {
        /// The version.
        id: ModelId,
    },
    /// All room is taken by versions that must stay.
    #[error(
        "no room for another model of {workload}: {versions} versions with {bytes} bytes must stay, \
         at most {versions_max} with {bytes_max} bytes are kept"
    )]
    NoRoom {
        /// The workload.
        workload: String,
        /// Versions that must stay, the new one included.
        versions: usize,
        /// Their bytes.
        bytes: u64,
        /// Versions that are kept.
        versions_max: usize,
        /// Bytes that are kept.
        bytes_max: u64,
    },
    /// The same bytes are here.
    #[error("the same model is here already, as version {id}")]
    AlreadyHere {
        /// The version.
        id: ModelId,
    },
    /// The file cannot be taken in.
    #[error(transparent)]
    File(#[from] ModelFileError),
}
