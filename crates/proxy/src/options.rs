//! What the proxy is started with. Everything else comes with the route tables.

use std::path::PathBuf;
use std::time::Duration;

/// Options of [`run`](crate::run).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyOptions {
    /// Path of the control socket, made with mode 0600. Beside it lies a lock file of the same name with `.lock`
    /// appended: a second proxy on the same path is refused, the socket of a dead one is replaced.
    pub control_socket: PathBuf,
    /// Shards: threads with a listening socket, connections and pools of their own. 0 (the default): one per core.
    pub workers: usize,
    /// Bounds that hold for every route.
    pub limits: Limits,
    /// How long SIGTERM waits for requests in flight before cutting them. Default 30 s. A second SIGTERM cuts at once.
    pub drain_deadline: Duration,
    /// True (the default): SIGINT and SIGHUP, which a terminal sends to all its processes, are ignored, since the
    /// proxy outlives the command that started it. False: SIGINT drains as SIGTERM does.
    pub detached: bool,
    /// How often it is looked whether certificate files have changed. Default 5 s.
    pub certificates_every: Duration,
    /// True: take the listening sockets, the route table and the control socket over from the proxy that runs on the control
    /// socket, if there is one; it finishes what it has, and ends. Any failure leaves that one serving. Default false.
    pub take_over: bool,
    /// How long connections may stay open at the proxy that was taken over from before they are cut: tunnels, TCP connections,
    /// long responses. Default 10 min.
    pub predecessor_drain: Duration,
}

impl ProxyOptions {
    /// A detached proxy on this control socket, with the defaults named at the fields.
    pub fn new(control_socket: impl Into<PathBuf>) -> Self {
        Self {
            control_socket: control_socket.into(),
            workers: 0,
            limits: Limits::default(),
            drain_deadline: Duration::from_secs(30),
            detached: true,
            certificates_every: Duration::from_secs(5),
            take_over: false,
            predecessor_drain: Duration::from_secs(600),
        }
    }
}

/// Bounds that hold for every route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections over all shards; further ones wait in the kernel's queue. Default 20 000, and never more
    /// than a third of the file descriptors the process may open.
    pub connections_max: usize,
    /// Bytes of a request or response head. Default 64 KiB; more is answered 431 (from a client) or 502 (from a
    /// backend). Values below 8 KiB count as 8 KiB.
    pub head_bytes_max: usize,
    /// Header fields of a request or response. Default 100; another number costs a little for each request.
    pub headers_max: usize,
    /// How long a client connection may stay without a complete request head, whether idle between requests or
    /// sending slowly. Default 60 s; checked twice a second.
    pub client_idle: Duration,
    /// After how much silence a client connection by HTTP/1.1 gives its buffers back until its next byte. Default 2 s; checked
    /// twice a second.
    pub rest_after: Duration,
    /// Unused connections kept per backend and shard. Default 256. More saves connecting after bursts and holds
    /// that many of the backend's connections.
    pub pool_connections_max: usize,
    /// Concurrent HTTP/2 streams per client connection. Default 200.
    pub streams_max: u32,
    /// How long an HTTP/1.1 request head may take from its first byte to its last. Default 15 s; checked twice a second.
    pub head_time: Duration,
    /// HTTP/2 streams of one client that were reset before the proxy has looked at them. Default 20; one more ends the
    /// connection, as a rapid reset attack deserves.
    pub pending_resets_max: usize,
    /// HTTP/2 streams of one connection that the proxy itself may reset for errors of the other side. Default 256; one more
    /// ends the connection.
    pub resets_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            head_bytes_max: 64 * 1024,
            headers_max: HEADERS_MAX,
            client_idle: Duration::from_secs(60),
            rest_after: Duration::from_secs(2),
            pool_connections_max: 256,
            streams_max: 200,
            head_time: Duration::from_secs(15),
            pending_resets_max: 20,
            resets_max: 256,
        }
    }
}

impl Limits {
    /// What is kept for a head at most. Bytes.
    pub(crate) fn head_buffer_bytes(&self) -> usize {
        self.head_bytes_max.max(HEAD_BYTES_MIN)
    }

    /// The same, as HTTP/2 counts.
    pub(crate) fn http2_head_bytes_max(&self) -> u32 {
        u32::try_from(self.head_buffer_bytes()).unwrap_or(u32::MAX)
    }
}

/// Hyper takes no smaller buffer.
const HEAD_BYTES_MIN: usize = 8 * 1024;
/// What hyper keeps room for on the stack; for any other number it asks the allocator, four times for each request.
pub(crate) const HEADERS_MAX: usize = 100;
