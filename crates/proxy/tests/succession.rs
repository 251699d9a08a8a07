//! What a successor makes of a predecessor that dies half-way or is of another release. The predecessor is played here.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "there is no first one here")]
mod process;
mod support;

use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use process::Process;
use proxy::control::{Client, PROTOCOL_VERSION, Route, RouteTable};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use support::{Backend, eventually, get};

type Outline = (String, SocketAddr, Vec<(u64, SocketAddr, u32)>);

/// The messages of the handover that a predecessor sends, as they are on the wire.
#[derive(Serialize)]
enum Answer {
    Estate { generation: u64, table: Vec<u8>, routes: Vec<Outline>, listening: Vec<SocketAddr> },
    Report { connections: u32, in_flight: Vec<(String, u64, SocketAddr, u32)>, stats: Vec<u8> },
    Yours,
}

/// A predecessor that has been asked for its sockets.
struct Predecessor {
    control: UnixListener,
    lock: std::fs::File,
    web: TcpListener,
    asked: UnixStream,
}

impl Predecessor {
    /// Starts a successor on `socket` and waits until it asks.
    fn asked_on(socket: &Path, web: TcpListener) -> (Self, Process) {
        let lock = std::fs::File::create(format!("{}.lock", socket.display())).expect("made");
        lock.lock().expect("nobody else has it");
        let control = UnixListener::bind(socket).expect("bound");
        let process = Process::spawn(socket, 1, true);
        let (asked, _) = control.accept().expect("asked");
        let mut predecessor = Self { control, lock, web, asked };
        assert_eq!(predecessor.question(), [0x81, 0]);
        (predecessor, process)
    }

    fn question(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.asked.read_exact(&mut length).expect("a question");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.asked.read_exact(&mut frame).expect("the rest");
        frame
    }

    fn say(&mut self, answer: &Answer) {
        let frame = postcard::to_extend(answer, vec![0x81]).expect("encodes");
        self.asked.write_all(&u32::try_from(frame.len()).expect("short").to_be_bytes()).expect("sent");
        self.asked.write_all(&frame).expect("sent");
    }

    /// Sends the table, as of a release that writes this version, and everything else.
    fn give(&mut self, route: Route, version: u8) {
        let listen = route.listen;
        let outline: Vec<_> = route.backends.iter().map(|b| (b.id, b.addr, b.weight)).collect();
        let routes = vec![(route.workload.clone(), listen, outline)];
        let table = RouteTable { generation: 5, routes: vec![route] };
        let table = postcard::to_extend(&table, vec![version]).expect("encodes");
        self.say(&Answer::Estate { generation: 5, table, routes, listening: vec![listen] });
        self.say(&Answer::Report { connections: 0, in_flight: Vec::new(), stats: Vec::new() });
        let files: [BorrowedFd<'_>; 3] = [self.control.as_fd(), self.lock.as_fd(), self.web.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        sendmsg(&self.asked, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL).expect("sent");
    }
}

/// A listening socket as a proxy opens it, and a route to it.
async fn web() -> (TcpListener, Route, Backend) {
    let backend = Backend::start(1).await;
    let web = TcpListener::bind(loopback::free_address()).expect("free");
    web.set_nonblocking(true).expect("set");
    let mut route = Route::new("web", web.local_addr().expect("bound"));
    route.backends = vec![backend.spec(1000)];
    (web, route, backend)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_predecessor_that_dies_before_it_has_given_all_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control");
    let (web, route, _backend) = web().await;
    let (mut predecessor, process) = Predecessor::asked_on(&socket, web);
    predecessor.say(&Answer::Estate {
        generation: 5,
        table: Vec::new(),
        routes: Vec::new(),
        listening: vec![route.listen],
    });
    drop(predecessor);
    // It begins anew, as it would have without the dead one.
    let client = eventually(|| Client::connect(&socket)).await;
    let stats = eventually(|| client.stats()).await;
    assert_eq!((stats.pid, stats.generation), (process.0.id(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_predecessor_that_dies_after_it_has_given_all_is_not_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control");
    let (web, route, _backend) = web().await;
    let listen = route.listen;
    // It waits in the queue, and nobody has taken it yet.
    let waiting = tokio::spawn(async move { get(listen, "/").await });
    let (mut predecessor, process) = Predecessor::asked_on(&socket, web);
    predecessor.give(route, PROTOCOL_VERSION);
    assert_eq!(predecessor.question()[..2], [0x81, 1]);
    drop(predecessor);
    let client = Client::connect(&socket).await.expect("the very same socket");
    let stats = client.stats().await.expect("statistics");
    assert_eq!((stats.pid, stats.generation), (process.0.id(), 5));
    assert_eq!(waiting.await.expect("served").1, "1");
    client.shutdown(Duration::from_secs(5)).await.expect("ends");
    let mut process = process;
    assert!(process.ended().await.success());
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_successor_that_does_not_understand_the_table_is_told_another_before_it_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control");
    let (web, route, _backend) = web().await;
    let listen = route.listen;
    let (mut predecessor, process) = Predecessor::asked_on(&socket, web);
    predecessor.give(route.clone(), PROTOCOL_VERSION - 1);
    let client = Client::connect(&socket).await.expect("the successor takes calls");
    // What everybody understands: who serves.
    let known = client.table().await.expect("an outline");
    assert_eq!((known.generation, &known.routes[0].backends), (5, &route.backends));
    let waiting = tokio::spawn(async move { get(listen, "/").await });
    let taught = tokio::spawn(async move {
        let applied = client.set_table(RouteTable { generation: 6, routes: vec![route] }).await;
        (applied, client)
    });
    // It says that it serves only then.
    assert_eq!(predecessor.question()[..2], [0x81, 1]);
    predecessor.say(&Answer::Yours);
    // The predecessor is to go where the new table says.
    assert_eq!(predecessor.question()[..2], [0x81, 2]);
    drop(predecessor);
    let (applied, client) = taught.await.expect("taught");
    assert_eq!(applied.expect("applied"), 6);
    assert_eq!(waiting.await.expect("served").1, "1");
    assert_eq!(client.stats().await.expect("statistics").pid, process.0.id());
}
