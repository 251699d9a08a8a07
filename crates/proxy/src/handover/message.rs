//! What a proxy and its successor say to each other. None of it may ever change its meaning or layout under the same [`VERSION`]:
//! the two are of different releases.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::control::{
    BackendSpec, FrameError, Route, RouteTable, Stats, decode, decode_as, encode, encode_as, read_frame,
    write_frame,
};

/// First byte of these frames. Those of the control protocol are below 128.
pub(crate) const VERSION: u8 = 0x81;

/// Whether the first frame of a client is that of a successor.
pub(crate) fn is_successor(frame: &[u8]) -> bool {
    matches!(decode_as(VERSION, frame), Ok(Question::Sockets))
}

/// What the successor asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// Hand over: answered by the estate, a report, and the descriptors.
    Sockets,
    /// I serve; end within this time.
    Serving { drain: Duration },
    /// Send nothing to other backends than these any more.
    Follow { routes: Vec<Outline> },
    /// How far are you?
    Report,
    /// End within this time, idle connections at once.
    End { deadline: Duration },
}

/// What the running proxy answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Estate(Estate),
    Report(Report),
    /// All is yours.
    Yours,
    /// Nothing is: I go on, or end, by myself.
    Withdrawn {
        reason: String,
    },
    Followed,
    Ending,
}

/// What is handed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Estate {
    /// Generation of the table in force.
    pub(crate) generation: u64,
    /// The table as a frame of the control protocol.
    pub(crate) table: Vec<u8>,
    /// What everybody understands of it.
    pub(crate) routes: Vec<Outline>,
    /// Address of each listening socket. Before these come the control socket and its lock.
    pub(crate) listening: Vec<SocketAddr>,
}

/// Who serves a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outline {
    pub(crate) workload: String,
    pub(crate) listen: SocketAddr,
    /// Id, address and weight.
    pub(crate) backends: Vec<(u64, SocketAddr, u32)>,
}

/// How a proxy that hands over stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Open client connections.
    pub(crate) connections: u32,
    /// Workload, backend and its requests in flight, where there are any.
    pub(crate) in_flight: Vec<(String, u64, SocketAddr, u32)>,
    /// All counters as a frame of the control protocol.
    pub(crate) stats: Vec<u8>,
}

impl Estate {
    pub(crate) fn new(table: &RouteTable, listening: Vec<SocketAddr>) -> Result<Self, FrameError> {
        Ok(Self { generation: table.generation, table: encode(table)?, routes: outlines(table), listening })
    }

    /// The table, if this program understands it.
    pub(crate) fn table(&self) -> Result<RouteTable, FrameError> {
        decode(&self.table)
    }

    /// What is known of the table in any case. It says who serves, not how.
    pub(crate) fn outline(&self) -> RouteTable {
        RouteTable { generation: self.generation, routes: self.routes.iter().map(Outline::route).collect() }
    }
}

/// What everybody understands of a table.
pub(crate) fn outlines(table: &RouteTable) -> Vec<Outline> {
    let outline = |route: &Route| Outline {
        workload: route.workload.clone(),
        listen: route.listen,
        backends: route.backends.iter().map(|b| (b.id, b.addr, b.weight)).collect(),
    };
    table.routes.iter().map(outline).collect()
}

impl Outline {
    pub(crate) fn backends(&self) -> Vec<BackendSpec> {
        self.backends.iter().map(|&(id, addr, weight)| BackendSpec { id, addr, weight }).collect()
    }

    fn route(&self) -> Route {
        Route { backends: self.backends(), ..Route::new(self.workload.clone(), self.listen) }
    }
}

impl Report {
    pub(crate) fn new(stats: &Stats) -> Self {
        let in_flight = stats.workloads.iter().flat_map(|workload| {
            let busy = workload.backends.iter().filter(|backend| backend.in_flight > 0);
            busy.map(|b| (workload.workload.clone(), b.id, b.addr, b.in_flight))
        });
        Self {
            connections: stats.connections,
            in_flight: in_flight.collect(),
            // Too much for a frame: then there are none, as for a successor that does not understand them.
            stats: encode(stats).unwrap_or_default(),
        }
    }

    /// The counters, if this program understands them.
    pub(crate) fn stats(&self) -> Option<Stats> {
        decode(&self.stats).ok()
    }
}

/// Sends a message.
pub(crate) async fn send<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    let frame = encode_as(VERSION, message)?;
    within(write_frame(stream, &frame)).await
}

/// The next question, None when the successor is gone.
pub(crate) async fn next_question(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Question>, FrameError> {
    match read_frame(stream).await? {
        Some(frame) => decode_as(VERSION, &frame).map(Some),
        None => Ok(None),
    }
}

/// The next answer.
///
/// # Errors
/// [`FrameError::Version`] from a proxy that knows no handover.
pub(crate) async fn next_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer, FrameError> {
    let frame = read_frame(stream).await?;
    decode_as(VERSION, &frame.ok_or(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()))?)
}

/// Whatever the other side does, it is not waited for longer than this.
pub(crate) async fn within<T>(
    exchange: impl Future<Output = Result<T, FrameError>>,
) -> Result<T, FrameError> {
    let done = timeout(ANSWER_LIMIT, exchange).await;
    done.map_err(|_| FrameError::Io(std::io::ErrorKind::TimedOut.into()))?
}

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of these bytes is a handover between two releases that fails.
    #[test]
    fn the_layout_stays_as_it_is() {
        let outline = Outline {
            workload: "web".into(),
            listen: "127.0.0.1:80".parse().expect("literal"),
            backends: vec![(7, "127.0.0.1:81".parse().expect("literal"), 1000)],
        };
        let bytes = |message: &dyn Fn() -> Result<Vec<u8>, FrameError>| message().expect("encodes");
        assert_eq!(bytes(&|| encode_as(VERSION, &Question::Sockets)), [0x81, 0]);
        let serving = Question::Serving { drain: Duration::from_secs(3) };
        assert_eq!(bytes(&|| encode_as(VERSION, &serving)), [0x81, 1, 3, 0]);
        let web = [3, b'w', b'e', b'b', 0, 127, 0, 0, 1, 80, 1, 7, 0, 127, 0, 0, 1, 81, 0xe8, 7];
        let follow = Question::Follow { routes: vec![outline.clone()] };
        assert_eq!(bytes(&|| encode_as(VERSION, &follow)), [&[0x81, 2, 1][..], &web].concat());
        let estate = Estate {
            generation: 5,
            table: vec![9],
            routes: vec![outline.clone()],
            listening: vec![outline.listen],
        };
        let expected = [&[0x81, 0, 5, 1, 9, 1][..], &web, &[1, 0, 127, 0, 0, 1, 80]].concat();
        assert_eq!(bytes(&|| encode_as(VERSION, &Answer::Estate(estate.clone()))), expected);
        let report =
            Report { connections: 2, in_flight: vec![("a".into(), 1, outline.listen, 3)], stats: vec![] };
        let expected = [0x81, 1, 2, 1, 1, b'a', 1, 0, 127, 0, 0, 1, 80, 3, 0];
        assert_eq!(bytes(&|| encode_as(VERSION, &Answer::Report(report.clone()))), expected);
        assert_eq!(bytes(&|| encode_as(VERSION, &Answer::Yours)), [0x81, 2]);
    }

    #[test]
    fn a_table_of_another_version_is_known_by_its_outline() {
        let mut route = Route::new("web", "127.0.0.1:80".parse().expect("literal"));
        route.backends =
            vec![BackendSpec { id: 1, addr: "127.0.0.1:81".parse().expect("literal"), weight: 5 }];
        let table = RouteTable { generation: 9, routes: vec![route] };
        let mut estate = Estate::new(&table, Vec::new()).expect("fits");
        assert_eq!(estate.table().expect("ours"), table);
        estate.table[0] += 1;
        assert!(matches!(estate.table(), Err(FrameError::Version(_))));
        assert_eq!(estate.outline(), table);
    }
}
