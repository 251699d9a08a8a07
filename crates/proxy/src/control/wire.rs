//! Frames and messages of the control socket.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{RequestSample, RouteTable, Stats};

/// Longest message in either direction. Statistics of the most backends and routes a table may have fit, with every bucket
/// of every histogram in use.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// Changes whenever a message's meaning or layout does; a proxy of another version answers with
/// [`Refusal::Version`].
pub const PROTOCOL_VERSION: u8 = 3;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Replace the route table.
    SetTable(RouteTable),
    /// Tell the applied table.
    Table,
    /// Read all counters.
    Stats,
    /// Read a workload's request samples with a higher number.
    Samples { workload: String, after: u64 },
    /// Learn from requests of a workload that were measured before, as after a restart.
    Teach { workload: String, samples: Vec<RequestSample> },
    /// Drain, then exit; whatever is unfinished after `deadline` is cut.
    Shutdown { deadline: Duration },
}

/// What the proxy answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Response {
    /// The table of this generation is in force.
    Applied { generation: u64 },
    /// The applied table.
    Table(RouteTable),
    /// A reading of all counters.
    Stats(Box<Stats>),
    /// Samples, oldest first; none where the workload has none.
    Samples { started_at: u64, samples: Vec<RequestSample> },
    /// So many samples were learned from.
    Taught { samples: usize },
    /// The drain has begun.
    ShuttingDown,
    /// Nothing was done.
    Refused(Refusal),
}

/// Why the proxy did not do what it was asked. Its state is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// An older table than the applied one.
    #[error("route table generation {offered} is older than the applied generation {applied}")]
    StaleGeneration {
        /// The generation of the refused table.
        offered: u64,
        /// The generation in force.
        applied: u64,
    },
    /// Another table under the applied generation.
    #[error("route table generation {generation} is already applied with different content")]
    GenerationReused {
        /// The generation of both.
        generation: u64,
    },
    /// The table contradicts itself; every problem as a sentence.
    #[error("invalid route table: {}", problems.join("; "))]
    InvalidTable {
        /// At least one.
        problems: Vec<String>,
    },
    /// A listen address could not be opened.
    #[error("cannot listen on {listen} for workload {workload}: {reason}")]
    Listen {
        /// The route's workload.
        workload: String,
        /// The address.
        listen: std::net::SocketAddr,
        /// The operating system's words.
        reason: String,
    },
    /// A certificate or its key cannot be used.
    #[error("workload {workload}: {}: {reason}", file.display())]
    Tls {
        /// The route's workload.
        workload: String,
        /// The file that is wrong.
        file: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy is draining.
    #[error("the proxy is shutting down")]
    ShuttingDown,
    /// The client speaks another version of the protocol.
    #[error("the proxy speaks control protocol {proxy}, not {client}")]
    Version {
        /// The proxy's version.
        proxy: u8,
        /// The client's.
        client: u8,
    },
    /// The frame could not be decoded; the connection is closed.
    #[error("malformed frame: {reason}")]
    Malformed {
        /// What was wrong.
        reason: String,
    },
    /// The proxy could not complete it; see its log.
    #[error("the proxy failed: {reason}")]
    Failed {
        /// What went wrong.
        reason: String,
    },
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Reading or writing failed, or the stream ended inside a frame.
    #[error("control socket broke")]
    Io(#[from] io::Error),
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {0} bytes, at most {FRAME_BYTES_MAX} are accepted")]
    TooLong(usize),
    /// A frame without its version byte.
    #[error("empty frame")]
    Empty,
    /// The other side speaks another version.
    #[error("control protocol version {0}, expected {PROTOCOL_VERSION}")]
    Version(u8),
    /// Not a message, or one with bytes left over.
    #[error("not a control message: {0}")]
    Message(String),
}

/// Version byte and message.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    encode_as(PROTOCOL_VERSION, message)
}

/// The same in another protocol.
pub(crate) fn encode_as<T: Serialize>(version: u8, message: &T) -> Result<Vec<u8>, FrameError> {
    let bytes = postcard::to_extend(message, vec![version])
        .map_err(|error| FrameError::Message(error.to_string()))?;
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// The message in a frame; all of the frame must be used.
pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    decode_as(PROTOCOL_VERSION, frame)
}

/// The same in another protocol.
pub(crate) fn decode_as<T: DeserializeOwned>(version: u8, frame: &[u8]) -> Result<T, FrameError> {
    let (&found, body) = frame.split_first().ok_or(FrameError::Empty)?;
    if found != version {
        return Err(FrameError::Version(found));
    }
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(FrameError::Message(format!("{} bytes left over", rest.len()))),
        Err(error) => Err(FrameError::Message(error.to_string())),
    }
}

/// The next frame, or None when the stream ends between frames. Memory grows with the bytes that arrive, not with
/// the length that is claimed.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, FrameError> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    let mut frame = Vec::new();
    stream.take(length as u64).read_to_end(&mut frame).await?;
    if frame.len() < length {
        return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Some(frame))
}

/// Writes one frame whole.
pub(crate) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    body: &[u8],
) -> Result<(), FrameError> {
    let length = u32::try_from(body.len()).map_err(|_| FrameError::TooLong(body.len()))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::{BackendSpec, Route};

    fn table() -> RouteTable {
        let mut route = Route::new("web", "127.0.0.1:8000".parse().expect("literal"));
        route.backends =
            vec![BackendSpec { id: 7, addr: "[::1]:9000".parse().expect("literal"), weight: 250 }];
        RouteTable { generation: 42, routes: vec![route] }
    }

    #[test]
    fn a_message_comes_back_as_it_was_sent() {
        let request = Request::SetTable(table());
        assert_eq!(decode::<Request>(&encode(&request).expect("fits")).expect("decodes"), request);
    }

    #[test]
    fn another_version_is_named() {
        let mut frame = encode(&Request::Stats).expect("fits");
        frame[0] = 9;
        assert!(matches!(decode::<Request>(&frame), Err(FrameError::Version(9))));
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let mut frame = encode(&Request::Stats).expect("fits");
        frame.push(0);
        assert!(matches!(decode::<Request>(&frame), Err(FrameError::Message(_))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Response>(&bytes);
        }

        #[test]
        fn damaged_messages_never_panic(at in 0usize..200, with in any::<u8>(), cut in 0usize..200) {
            let mut frame = encode(&Request::SetTable(table())).expect("fits");
            let (at, cut) = (at % frame.len(), cut % frame.len());
            frame[at] = with;
            let _ = decode::<Request>(&frame);
            let _ = decode::<Request>(&frame[..cut]);
            let _ = decode::<Response>(&frame);
        }
    }
}
