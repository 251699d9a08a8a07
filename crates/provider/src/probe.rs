//! Asks an instance once whether it serves.
//!
//! A client library would bring pools, redirects and proxies, all of which are wrong here: a probe is one request on a
//! fresh connection, bounded in time and bytes, and its delay is part of every promotion. So it is written out: connect,
//! one `GET`, read the status line.

use std::io;

use thiserror::Error;

/// Why a probe did not pass.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP: {0:?}")]
    NotHttp(String),
    /// The answer has another status than 200 to 299.
    #[error("answered with status {0}")]
    Status(u16),
}
