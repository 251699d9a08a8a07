//! How a control plane speaks to the proxy: the types on the wire and the [`Client`].
//!
//! One Unix stream socket (mode 0600). Every message is a frame: a big-endian `u32` length, at most
//! [`FRAME_BYTES_MAX`], then a protocol version byte and the message in postcard. Requests are answered in order;
//! several clients may be connected at once. A frame that cannot be decoded is answered with
//! [`Refusal::Malformed`] and the connection is closed.
//!
//! Counters in [`Stats`] only ever grow while a proxy lives, and go on in one that takes over from it: the reader subtracts two
//! readings. A successor speaks over the same socket, in frames with another version byte that never change.

mod admission;
mod balancing;
mod cache;
mod client;
mod histogram;
mod observation;
mod protocols;
mod request_sample;
mod router;
mod shedding;
mod stats;
mod table;
mod wire;

pub use admission::{
    Admission, AdmissionProblem, Amount, CLASSES_MAX, COSTS_MAX, Class, CostSpec, Endpoint, Measure,
    Priority, SOURCES_MAX, Source, SourceError, Template, TemplateError,
};
pub use balance::SecretKey;
pub use balancing::{Balancing, KeySource, OutlierSpec, PolicySpec, RetrySpec, StickySpec};
pub use cache::{CACHE_BYTES_MIN, CacheSpec};
pub use client::{Client, ControlError};
pub use histogram::{BUCKETS, Histogram, HistogramError, bucket_of};
pub use observation::{
    AccessLogSpec, ENDPOINTS_MAX, LOG_BYTES_MIN, LOG_FIELDS_MAX, OTHER_ENDPOINT, Observation, SECRET_FIELDS,
    SHARE_WHOLE, TracingSpec,
};
pub use protocols::{Forwarded, Protocol, Protocols, ProxyProtocol, ProxyVersion, TlsSpec, Upstream};
pub use request_sample::{CostStats, RequestSample};
pub use router::Router;
pub use shedding::{Shedding, SheddingStats};
pub use stats::{BackendStats, CacheStats, EndpointStats, SlowTrace, Stats, WorkloadStats};
pub use table::{BackendSpec, HealthSpec, Route, RouteTable, TableProblem, Timeouts};
pub use wire::{FRAME_BYTES_MAX, FrameError, PROTOCOL_VERSION, Refusal};

pub(crate) use wire::{Request, Response, decode, decode_as, encode, encode_as, read_frame, write_frame};
