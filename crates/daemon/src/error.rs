//! What keeps the daemon from serving.

use thiserror::Error;

/// A failure to start or to end in an orderly way.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// Not written yet.
    #[error("the daemon is not finished")]
    Unfinished,
}
