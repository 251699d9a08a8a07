//! A shard: one thread with its own runtime, listening sockets, client connections, pools and counters. Shards share nothing
//! on the path of a request but the backends' health and, where a route limits them, its slots.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1;
use hyper::server::conn::{http1 as http1_server, http2 as http2_server};
use hyper_util::rt::TokioTimer;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::Limits;
use crate::admission::Charge;
use crate::listener::Listener;
use crate::options::HEADERS_MAX;
use crate::state::Process;
use crate::view::{AppliedTable, ShardRoute};

/// What the control thread tells a shard.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this table, with the listening sockets that are new in it; acknowledge when it is in force.
    Apply {
        table: Arc<AppliedTable>,
        opened: Vec<(SocketAddr, std::net::TcpListener)>,
        done: oneshot::Sender<()>,
    },
    /// Duplicate the listening sockets for another process.
    Lend { lent: oneshot::Sender<io::Result<Vec<(SocketAddr, OwnedFd)>>> },
    /// Leave the listening sockets to the process that has them, too; acknowledge when nothing more is accepted.
    GiveUp { done: oneshot::Sender<()> },
    /// Close the listeners and end every connection after what it is working on.
    Drain,
    /// End the thread.
    Stop,
}

/// Runs a shard on the calling thread until it is told to stop.
///
/// # Errors
/// When its runtime cannot be made.
pub(crate) fn run_shard(
    index: usize,
    limits: Limits,
    connections_max: usize,
    process: Arc<Process>,
    commands: mpsc::Receiver<Command>,
) -> io::Result<()> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(POLLS_PER_WAIT);
    let runtime = builder.build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let shard = Rc::new(Shard::new(index, limits, connections_max, process));
        Keeper::new(shard).run(commands).await;
    });
    // Connections that outlived the drain's deadline are cut here.
    drop(runtime);
    Ok(())
}

/// What everything on the thread shares.
pub(crate) struct Shard {
    index: usize,
    limits: Limits,
    process: Arc<Process>,
    http1_server: http1_server::Builder,
    http2_server: http2_server::Builder<LocalExecutor>,
    client: http1::Builder,
    random: RefCell<fastrand::Rng>,
    coarse_now: Cell<Instant>,
    connections: Cell<usize>,
    connections_max: usize,
    room: Notify,
    /// Reservations of requests that run, looked through for those that need more.
    charges: RefCell<Vec<Weak<Charge>>>,
}

impl Shard {
    fn new(index: usize, limits: Limits, connections_max: usize, process: Arc<Process>) -> Self {
        let head_bytes = limits.head_buffer_bytes();
        let mut http1_server = http1_server::Builder::new();
        http1_server.max_buf_size(head_bytes).header_read_timeout(None);
        let mut http2_server = http2_server::Builder::new(LocalExecutor);
        http2_server
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(limits.http2_head_bytes_max())
            .enable_connect_protocol()
            .keep_alive_interval(Some(HTTP2_PING))
            .keep_alive_timeout(HTTP2_PING)
            .max_pending_accept_reset_streams(Some(limits.pending_resets_max))
            .max_local_error_reset_streams(Some(limits.resets_max));
        let mut client = http1::Builder::new();
        client.max_buf_size(head_bytes);
        if limits.headers_max != HEADERS_MAX {
            http1_server.max_headers(limits.headers_max);
            client.max_headers(limits.headers_max);
        }
        Self {
            index,
            limits,
            process,
            http1_server,
            http2_server,
            client,
            random: RefCell::new(fastrand::Rng::new()),
            coarse_now: Cell::new(Instant::now()),
            connections: Cell::new(0),
            connections_max,
            room: Notify::new(),
            charges: RefCell::default(),
        }
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    pub(crate) fn http1_builder(&self) -> &http1_server::Builder {
        &self.http1_server
    }

    pub(crate) fn http2_builder(&self) -> &http2_server::Builder<LocalExecutor> {
        &self.http2_server
    }

    pub(crate) fn client_builder(&self) -> &http1::Builder {
        &self.client
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Most fields of a head, those that the proxy adds included.
    pub(crate) fn headers_max(&self) -> usize {
        self.limits.headers_max + FIELDS_ADDED
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// The time of the last sweep: half a second old at most, and free.
    pub(crate) fn coarse_now(&self) -> Instant {
        self.coarse_now.get()
    }

    pub(crate) fn count_connection(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub(crate) fn uncount_connection(&self) {
        self.connections.set(self.connections.get() - 1);
        self.room.notify_waiters();
    }

    /// Watches a reservation until its request is over.
    pub(crate) fn watch(&self, charge: &Rc<Charge>) {
        self.charges.borrow_mut().push(Rc::downgrade(charge));
    }

    /// Brings the reservations of running requests up to date.
    fn adjust_charges(&self, now: Instant) {
        self.charges.borrow_mut().retain(|charge| {
            charge.upgrade().is_some_and(|charge| {
                charge.adjust(now);
                true
            })
        });
    }

    /// Waits until another connection is allowed.
    pub(crate) async fn connection_room(&self) {
        while self.connections.get() >= self.connections_max {
            self.room.notified().await;
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Owns the shard's listeners and routes, and changes them as the control thread says.
struct Keeper {
    shard: Rc<Shard>,
    listeners: BTreeMap<SocketAddr, Rc<Listener>>,
    /// Out of the table, with connections still open.
    closing: Vec<Rc<Listener>>,
    /// By workload.
    routes: BTreeMap<String, Rc<ShardRoute>>,
}

impl Keeper {
    fn new(shard: Rc<Shard>) -> Self {
        Self { shard, listeners: BTreeMap::new(), closing: Vec::new(), routes: BTreeMap::new() }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Apply { table, opened, done }) => {
                        self.apply(&table, opened);
                        // The control thread may have given up waiting.
                        let _ = done.send(());
                    }
                    Some(Command::Lend { lent }) => drop(lent.send(self.lend())),
                    Some(Command::GiveUp { done }) => {
                        for listener in self.listeners.values() {
                            listener.give_up().await;
                        }
                        let _ = done.send(());
                    }
                    Some(Command::Drain) => self.drain(),
                    Some(Command::Stop) | None => return,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn apply(&mut self, table: &AppliedTable, opened: Vec<(SocketAddr, std::net::TcpListener)>) {
        let mut before = std::mem::take(&mut self.routes);
        for applied in &table.routes {
            let workload = &applied.spec.workload;
            let old = before.get(workload).filter(|old| Arc::ptr_eq(&old.state, &applied.state));
            let route = ShardRoute::new(
                applied.clone(),
                old.map(Rc::as_ref),
                self.shard.index,
                &self.shard.process,
                self.shard.limits.pool_connections_max,
            );
            self.routes.insert(workload.clone(), Rc::new(route));
        }
        for (address, socket) in opened {
            let listener = self.listeners.entry(address);
            let listener = listener.or_insert_with(|| Listener::new(Rc::clone(&self.shard), address));
            if let Err(error) = listener.open(socket) {
                tracing::error!(%address, %error, "cannot serve a listening socket");
            }
        }
        self.connect_listeners();
        before.retain(|_, route| {
            close_unused(route);
            false
        });
        for route in self.routes.values() {
            close_unused(route);
            route.state.waiting.release();
        }
    }

    /// Gives every listener its route and closes those without one.
    fn connect_listeners(&mut self) {
        let routes = &self.routes;
        self.listeners.retain(|address, listener| {
            let route = routes.values().find(|route| route.spec.listen == *address).cloned();
            let is_routed = route.is_some();
            listener.set_route(route);
            if !is_routed {
                listener.close();
                self.closing.push(Rc::clone(listener));
            }
            is_routed
        });
    }

    fn lend(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let mut lent = Vec::new();
        for (address, listener) in &self.listeners {
            lent.extend(listener.lend()?.into_iter().map(|socket| (*address, socket)));
        }
        Ok(lent)
    }

    fn drain(&mut self) {
        self.listeners.values().for_each(|listener| listener.close());
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        self.shard.coarse_now.set(now);
        for route in self.routes.values() {
            route.refresh(now);
            for backend in &route.backends {
                backend.pool.sweep(now, route.spec.timeouts.pool_idle);
                backend.multiplex.sweep(now, route.spec.timeouts.pool_idle);
            }
        }
        self.shard.adjust_charges(now);
        self.closing.retain(|listener| listener.has_connections());
        for listener in self.listeners.values().chain(&self.closing) {
            listener.sweep(now, &self.shard.limits);
        }
    }
}

/// Closes idle connections to backends that get no new request.
fn close_unused(route: &ShardRoute) {
    for backend in route.backends.iter().filter(|backend| backend.state.weight() == 0) {
        backend.pool.clear();
        backend.multiplex.clear();
    }
}

/// Spawns hyper's tasks onto the shard's thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        // Not awaited in another one, which would hold it twice: as it is given and as it is awaited.
        tokio::task::spawn_local(future);
    }
}

/// Tasks that are polled before the kernel is asked for what else has come: four for each request.
const POLLS_PER_WAIT: u32 = 256;
/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_millis(500);
/// Forwarding fields, and a host where there was an authority.
const FIELDS_ADDED: usize = 5;
/// HTTP/2 connections are asked for a sign of life this often, and given as long to answer.
const HTTP2_PING: Duration = Duration::from_secs(20);
