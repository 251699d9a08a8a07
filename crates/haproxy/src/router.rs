//! [`Haproxy`] as a [`Router`].

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxy::control::{BackendSpec, BackendStats, Refusal, Route, RouteTable, Router, Stats, WorkloadStats};
use tokio::sync::Mutex;

use crate::error::HaproxyError;
use crate::means::Means;
use crate::runtime::Runtime;
use crate::servers::{bring, id_of, in_force, remove, share, takes_part};
use crate::stat::{Info, Row, parse_info, parse_stat};

/// A HAProxy that runs, steered by its Runtime API. Calls may be made from several tasks; they are carried out one after
/// another. It outlives restarts of HAProxy, whose servers are then gone: see [`Stats::started_at`] and
/// [`Stats::generation`].
#[derive(Debug)]
pub struct Haproxy {
    runtime: Runtime,
    /// Names of workloads, which are those of backends.
    workloads: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The table put into force last.
    applied: RouteTable,
    process: Option<(Info, u64)>,
    means: Means,
}

impl Haproxy {
    /// The HAProxy behind `socket` (`stats socket PATH level admin`), with a backend for each of these workloads. Connects
    /// to nothing yet.
    pub fn new(socket: impl Into<PathBuf>, workloads: impl IntoIterator<Item = String>) -> Haproxy {
        Haproxy {
            runtime: Runtime { socket: socket.into() },
            workloads: workloads.into_iter().collect(),
            state: Mutex::default(),
        }
    }

    async fn rows(&self, workload: &str) -> Result<Vec<Row>, HaproxyError> {
        // 6: backends (2) and servers (4).
        self.runtime.read(&format!("show stat {workload} 6 -1"), parse_stat).await
    }

    /// Asks who answers; a process that was not there before has nothing in force and has counted nothing.
    async fn look(&self, state: &mut State) -> Result<(Info, u64), HaproxyError> {
        let info = self.runtime.read("show info", parse_info).await?;
        if let Some((known, started_at)) = state.process
            && (known.pid, known.started_at) == (info.pid, info.started_at)
            && known.uptime <= info.uptime
        {
            state.process = Some((info, started_at));
            return Ok((info, started_at));
        }
        let started_at = match info.started_at {
            0 => now_ms().saturating_sub(info.uptime.saturating_mul(1000)),
            seconds => seconds.saturating_mul(1000),
        };
        // Two processes can start within one second.
        let before = state.process.map(|(_, before)| before);
        let started_at = started_at + u64::from(before == Some(started_at));
        state.process = Some((info, started_at));
        state.means = Means::default();
        Ok((info, started_at))
    }

    fn check(&self, table: &RouteTable, state: &State) -> Result<(), Refusal> {
        let (offered, applied) = (table.generation, state.applied.generation);
        if offered < applied {
            return Err(Refusal::StaleGeneration { offered, applied });
        }
        if offered == applied && *table != state.applied {
            return Err(Refusal::GenerationReused { generation: offered });
        }
        let mut problems: Vec<String> =
            table.validate().err().unwrap_or_default().iter().map(ToString::to_string).collect();
        let unknown = table.routes.iter().filter(|route| !self.workloads.contains(&route.workload));
        problems.extend(unknown.map(|route| format!("workload {} is not one of HAProxy's", route.workload)));
        if problems.is_empty() { Ok(()) } else { Err(Refusal::InvalidTable { problems }) }
    }
}

impl Router for Haproxy {
    type Error = HaproxyError;

    async fn set_table(&self, table: RouteTable) -> Result<u64, HaproxyError> {
        let mut state = self.state.lock().await;
        self.check(&table, &state).map_err(HaproxyError::Refused)?;
        for workload in &self.workloads {
            let route = route_of(&table, workload);
            bring(&self.runtime, &route, &self.rows(workload).await?).await?;
            if !in_force(&route, &self.rows(workload).await?) {
                let (socket, backend) = (self.runtime.socket.clone(), workload.clone());
                return Err(HaproxyError::NotInForce { socket, backend });
            }
        }
        state.applied = table;
        Ok(state.applied.generation)
    }

    /// As far as HAProxy knows it: workloads without servers of ours are left out, and settings beside them are unknown.
    async fn table(&self) -> Result<RouteTable, HaproxyError> {
        let state = self.state.lock().await;
        let mut table = RouteTable { generation: state.applied.generation, routes: Vec::new() };
        for workload in &self.workloads {
            let mut route = route_of(&state.applied, workload);
            let rows = self.rows(workload).await?;
            let routed = rows.iter().filter(|row| takes_part(row));
            route.backends = routed.filter_map(backend).collect();
            route.backends.sort();
            if !route.backends.is_empty() {
                table.routes.push(route);
            }
        }
        Ok(table)
    }

    async fn stats(&self) -> Result<Stats, HaproxyError> {
        let mut guard = self.state.lock().await;
        let state = &mut *guard;
        let (info, started_at) = self.look(state).await?;
        let mut generation = state.applied.generation;
        let mut workloads = Vec::with_capacity(self.workloads.len());
        let mut all = Vec::new();
        for workload in &self.workloads {
            let rows = self.rows(workload).await?;
            if !in_force(&route_of(&state.applied, workload), &rows) {
                generation = 0;
            }
            for row in rows.iter().filter(|row| id_of(&row.server).is_some() && is_over(row)) {
                remove(&self.runtime, row, false).await?;
            }
            workloads.push(counted(workload, &rows, &mut state.means));
            all.extend(rows);
        }
        state
            .means
            .retain(|backend, server| all.iter().any(|row| row.backend == backend && row.server == server));
        workloads.sort_by(|a, b| a.workload.cmp(&b.workload));
        Ok(Stats {
            at: now_ms(),
            started_at,
            pid: info.pid,
            generation,
            connections: info.connections,
            workloads,
        })
    }

    fn newer(error: &HaproxyError) -> Option<u64> {
        match error {
            HaproxyError::Refused(
                Refusal::StaleGeneration { applied: newer, .. }
                | Refusal::GenerationReused { generation: newer },
            ) => Some(*newer),
            HaproxyError::Refused(_)
            | HaproxyError::Connect { .. }
            | HaproxyError::Io { .. }
            | HaproxyError::Timeout { .. }
            | HaproxyError::Answer { .. }
            | HaproxyError::Unreadable { .. }
            | HaproxyError::NotInForce { .. } => None,
        }
    }
}

/// The route of a workload, or one that routes nothing.
fn route_of(table: &RouteTable, workload: &str) -> Route {
    let found = table.routes.iter().find(|route| route.workload == workload);
    // HAProxy's frontends decide where it listens.
    found.cloned().unwrap_or_else(|| Route::new(workload, ([0, 0, 0, 0], 0).into()))
}

/// Out of traffic, with nothing left to do.
fn is_over(row: &Row) -> bool {
    !takes_part(row) && row.sessions == 0
}

fn backend(row: &Row) -> Option<BackendSpec> {
    Some(BackendSpec { id: id_of(&row.server)?, addr: row.addr?, weight: share(row.weight) })
}

/// The counters of a backend and its servers in the words of every router.
fn counted(workload: &str, rows: &[Row], means: &mut Means) -> WorkloadStats {
    let mut stats = WorkloadStats { workload: workload.to_owned(), ..WorkloadStats::default() };
    if let Some(row) = rows.iter().find(|row| row.server == BACKEND) {
        let http = row.mode != "tcp";
        stats.arrivals = row.sessions_total;
        // A connection of TCP has no status.
        stats.failed = if http { row.failed } else { row.connect_errors };
        let ended = row.sessions_total.saturating_sub(u64::from(row.sessions)).saturating_sub(stats.failed);
        stats.completed = if http { row.good.min(ended) } else { ended };
        stats.cancelled = ended - stats.completed;
        (stats.bytes_in, stats.bytes_out) = (row.bytes_in, row.bytes_out);
        (stats.waiting, stats.in_flight) = (row.queued, row.sessions);
        let mean = Duration::from_millis(row.queue_ms + row.connect_ms + row.response_ms);
        stats.latency = means.add(workload, &row.server, answers(row), mean);
    }
    for row in rows {
        let (Some(id), Some(addr)) = (id_of(&row.server), row.addr) else { continue };
        let routed = takes_part(row);
        if !routed && row.sessions == 0 {
            continue;
        }
        stats.backends.push(BackendStats {
            id,
            addr,
            weight: share(row.weight),
            routed,
            requests: row.sessions_total,
            errors: row.failed.max(row.connect_errors + row.response_errors),
            retries: row.retries + row.redispatches,
            in_flight: row.sessions,
            outgrown: 0,
            healthy: !row.status.starts_with("DOWN"),
            ejected: false,
            latency: means.add(
                workload,
                &row.server,
                answers(row),
                Duration::from_millis(row.connect_ms + row.response_ms),
            ),
        });
    }
    stats
}

/// Requests whose times are part of the means.
fn answers(row: &Row) -> u64 {
    if row.mode == "tcp" {
        row.sessions_total.saturating_sub(u64::from(row.sessions))
    } else {
        row.good.saturating_add(row.failed)
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The name of the line that sums up a backend.
const BACKEND: &str = "BACKEND";
