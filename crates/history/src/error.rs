//! What can go wrong with the store, in terms of what the operator can do about it.
//!
//! `Fault` is the inner form: what a transaction closure returns before the engine has decided what it means for the open database.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use forecast::Timestamp;

use crate::limit::Limit;
use crate::models::ModelRefusal;

/// An operation on the store failed. `Display` names the operation and the folder or the offending value; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Another process (or another `Store` in this one) has the folder open.
    #[error(
        "the history in {} is in use by another process{}: stop that one, or choose another state folder",
        dir.display(),
        holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The process that holds it, when it could be read.
        holder: Option<u32>,
    },
    /// The disk is full. Nothing of this write was stored; everything acknowledged earlier still is, and can be read.
    #[error("no space left for the history in {}: free space on that disk; writing goes on by itself then", dir.display())]
    NoSpace {
        /// The folder.
        dir: PathBuf,
    },
    /// The file is damaged, or is not a history at all.
    #[error("the history file {} is damaged ({detail}): restore it from a copy, or move it away to begin an empty history", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file was written by a version with another layout.
    #[error("the history file {} has format {found}, this program reads {supported}: use the program that wrote it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format of this program.
        supported: u64,
    },
    /// The folder or a file in it could not be created or opened.
    #[error("failed to open the history in {}", dir.display())]
    Open {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A sample is not a finite number. Nothing of its batch was stored.
    #[error("the value of {series} at {at} is {value}, not a finite number: the batch was refused")]
    NotFinite {
        /// The series.
        series: String,
        /// The time of the sample.
        at: Timestamp,
        /// NaN or an infinity.
        value: f64,
    },
    /// A name is empty or has a control character.
    #[error("{name:?} cannot be a {what}: it must not be empty or contain control characters")]
    Name {
        /// Which kind of name.
        what: &'static str,
        /// The offender.
        name: String,
    },
    /// Something is longer, larger or more than the store accepts. Nothing of its batch was stored.
    #[error("too many {limit}: {of} has {found}, at most {max} are accepted")]
    Limit {
        /// Which limit.
        limit: Limit,
        /// How many there are.
        found: usize,
        /// How many are accepted.
        max: usize,
        /// Whose count it is.
        of: String,
    },
    /// A change needs an author and a reason.
    #[error("the {what} of the change is empty; say who decided and why, it is kept in the journal")]
    Anonymous {
        /// Which of the two.
        what: &'static str,
    },
    /// There is no such event in the calendar of the workload.
    #[error("there is no event {id} in the calendar of {workload}")]
    UnknownEvent {
        /// The workload.
        workload: String,
        /// The number asked for.
        id: u64,
    },
    /// An event of a calendar that cannot be.
    #[error("the event {name:?} {what}")]
    BadEvent {
        /// What it is called.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The model repository refused a change; nothing was changed.
    #[error(transparent)]
    Model(#[from] ModelRefusal),
    /// The engine failed otherwise (an I/O error, most likely).
    #[error("failed to {operation} in the history in {}", dir.display())]
    Storage {
        /// The folder.
        dir: PathBuf,
        /// What was attempted.
        operation: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Why a transaction did not go through.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The input was refused; the database is fine.
    Refused(HistoryError),
    /// A stored value cannot be what we wrote.
    Damaged(String),
    /// The engine failed.
    Engine(redb::Error),
}

impl Fault {
    /// Whether the open database is unusable from now on and must be opened again.
    pub(crate) fn needs_reopening(&self) -> bool {
        match self {
            Fault::Refused(_) | Fault::Damaged(_) => false,
            Fault::Engine(error) => matches!(
                error,
                redb::Error::Io(_)
                    | redb::Error::PreviousIo
                    | redb::Error::DatabaseClosed
                    | redb::Error::LockPoisoned(_)
                    | redb::Error::Corrupted(_)
            ),
        }
    }

    /// Whether the disk (or the quota) is exhausted.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Fault::Engine(redb::Error::Io(error)) => is_no_space(error),
            Fault::Refused(HistoryError::NoSpace { .. }) => true,
            Fault::Engine(_) | Fault::Refused(_) | Fault::Damaged(_) => false,
        }
    }

    /// The public form.
    pub(crate) fn into_error(self, operation: &'static str, dir: &Path, file: &Path) -> HistoryError {
        match self {
            fault if fault.is_no_space() => HistoryError::NoSpace { dir: dir.to_owned() },
            Fault::Refused(error) => error,
            Fault::Damaged(detail) => HistoryError::Corrupt { path: file.to_owned(), detail },
            Fault::Engine(redb::Error::Corrupted(detail)) => {
                HistoryError::Corrupt { path: file.to_owned(), detail }
            }
            Fault::Engine(redb::Error::Io(error)) if is_damage(&error) => {
                HistoryError::Corrupt { path: file.to_owned(), detail: error.to_string() }
            }
            Fault::Engine(source) => {
                HistoryError::Storage { dir: dir.to_owned(), operation, source: source.into() }
            }
        }
    }
}

/// Whether an I/O error says that there is no room: disk, quota or file size.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether an I/O error says that the file's content is not what it must be.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl From<HistoryError> for Fault {
    fn from(error: HistoryError) -> Fault {
        Fault::Refused(error)
    }
}

impl From<ModelRefusal> for Fault {
    fn from(refusal: ModelRefusal) -> Fault {
        Fault::Refused(refusal.into())
    }
}

/// The engine has one error type per kind of call; all of them convert to its widest one.
macro_rules! from_engine {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Fault {
            fn from(error: $kind) -> Fault {
                Fault::Engine(error.into())
            }
        }
    )*};
}
from_engine!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError
);
