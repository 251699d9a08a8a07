//! Makes an instance by having a template fork.
//!
//! A template that can has the clone born in its own group, whose folder it is told; otherwise the clone is born in the group
//! of its template and moved. Where it is in truth is asked of the kernel. Until it is in its groups it waits: a byte in a pipe
//! says so, and until then the end of the pipe, with whoever holds it, is the end of the clone.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::super::start::{Made, Order, listen, record_of};
use super::super::table::Table;
use super::super::{blocking, command, output};
use super::task::{Fork, Forked};
use super::{Ready, message};
use crate::cgroup::Group;
use crate::error::ProviderError;

/// An instance forked from its template. None when there is no template that could, for which the log has the reason: an
/// ordinary start is to take place then.
pub(in super::super) async fn clone(
    table: &Arc<Table>,
    order: &Arc<Order>,
    deadline: Instant,
    called_off: &mut watch::Receiver<bool>,
) -> Result<Option<Made>, ProviderError> {
    let now = Instant::now();
    // The other half is left for an ordinary start.
    let wait_end = now + deadline.saturating_duration_since(now) / 2;
    let template = tokio::select! {
        biased;
        _ = called_off.wait_for(|called_off| *called_off) => {
            return Err(ProviderError::CalledOff(order.spec.name.clone()));
        }
        template = table.templates.ready(table, order, wait_end) => template,
    };
    let Some(template) = template else { return Ok(None) };
    match fork(table, order, &template).await {
        Ok(made) => Ok(Some(made)),
        Err(problem) => {
            let name = &order.spec.name;
            tracing::warn!(instance = %name, %problem, "not forked from its template, which is why it is started anew");
            Ok(None)
        }
    }
}

/// What a clone gets, made before it.
struct Prepared {
    addresses: Vec<SocketAddr>,
    group: Group,
    /// To say go.
    go: OwnedFd,
    message: String,
    descriptors: Vec<OwnedFd>,
}

async fn fork(table: &Arc<Table>, order: &Arc<Order>, template: &Ready) -> Result<Made, String> {
    let (preparing, into_group) = ((Arc::clone(table), Arc::clone(order)), template.into_group);
    let prepared = blocking(move || prepare(&preparing.0, &preparing.1, into_group)).await.map_err(words)?;
    let Prepared { addresses, group, go, message, descriptors } = prepared;
    let (answer, answered) = oneshot::channel();
    let asked = async {
        let gone = || "the template is gone".to_owned();
        template.orders.send(Fork { message, descriptors, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    };
    let forked =
        timeout(TURN_TIME_MAX, asked).await.unwrap_or_else(|_| Err("it has too much to do".to_owned()));
    let (table, order) = (Arc::clone(table), Arc::clone(order));
    blocking(move || {
        let made = forked.and_then(|forked| admit(&table, &order, forked, &addresses, &group, &go));
        // Before the group is destroyed: a clone that is born in it after all must not stay.
        drop(go);
        if made.is_err()
            && let Err(error) = group.destroy()
        {
            tracing::warn!(instance = %order.spec.name, %error, "something of a failed clone is left");
        }
        made
    })
    .await
}

/// Address, group, output. Blocks.
fn prepare(table: &Table, order: &Order, into_group: bool) -> Result<Prepared, ProviderError> {
    let spec = &order.spec;
    let failed = |step| {
        let name = spec.name.clone();
        move |source| ProviderError::Spawn { name, step, source }
    };
    let (addresses, socket) = listen(spec)?;
    let (go_read, go) =
        pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from).map_err(failed("make a pipe"))?;
    let log = output::create(&table.state.log(&spec.name)).map_err(failed("make the output file"))?;
    let ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
    let environment = command::environment(spec, &table.environment, table.parent.mark(&spec.name), &ports);
    let group = table
        .parent
        .make(&spec.name, &spec.limits, spec.reclaims)
        .map_err(|source| ProviderError::Cgroup { step: "make the group of the instance", source })?;
    // Without it the clone is moved.
    let birthplace = if into_group { group.birthplace().ok().flatten() } else { None };
    Ok(Prepared {
        addresses,
        group,
        go,
        message: message::fork(&spec.name, &ports, &environment, birthplace.is_some()),
        descriptors: [OwnedFd::from(log), go_read].into_iter().chain(socket).chain(birthplace).collect(),
    })
}

/// Moves a clone into its own groups as far as it was not born there, writes it down and lets it go on. Blocks.
fn admit(
    table: &Table,
    order: &Order,
    forked: Forked,
    addresses: &[SocketAddr],
    group: &Group,
    go: &OwnedFd,
) -> Result<Made, String> {
    let pid = i32::try_from(forked.pid).ok().and_then(Pid::from_raw).ok_or("it has an impossible pid")?;
    let pidfd =
        pidfd_open(pid, PidfdFlags::empty()).map_err(|error| format!("the clone is gone: {error}"))?;
    // In this order: what the pidfd means now is in one of the groups, so no other process is meant.
    let is_inside = group.members().contains(&forked.pid);
    if !is_inside && !forked.group.members().contains(&forked.pid) {
        return Err(format!(
            "process {} is neither in its own group nor in that of the template",
            forked.pid
        ));
    }
    let admitted = group.admit(forked.pid, is_inside).map_err(words).and_then(|()| {
        let record = record_of(table, &order.spec, addresses, forked.pid, group);
        record.write(&table.state.record(&order.spec.name)).map_err(words)?;
        // One that has ended already is noticed by its watcher.
        let _ = rustix::io::write(go, b"g");
        Ok(record)
    });
    match admitted {
        Ok(record) => Ok(Made { record, pidfd, exit: Some(forked.exit) }),
        Err(problem) => {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            Err(problem)
        }
    }
}

fn words(error: impl std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Longest wait for a template that has many orders before this one.
const TURN_TIME_MAX: Duration = Duration::from_secs(10);
