//! Finds the instances of an earlier control plane, and clears away what nobody will ask for again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::blocking;
use super::exit::ExitWatch;
use super::instance::Instance;
use super::record::{NEW_PREFIX, Record};
use super::table::Table;
use crate::error::ProviderError;
use crate::face::InstanceInfo;
use crate::probe::ask;
use crate::procfs::Stat;

/// Takes over every instance that lives and has a record, and removes the rest.
pub(super) async fn adopt(table: &Arc<Table>) -> Result<Vec<InstanceInfo>, ProviderError> {
    let reading = Arc::clone(table);
    let records = blocking(move || records(&reading)).await?;
    let mut adopted = Vec::new();
    for (path, record) in records {
        if let Some(instance) = adopt_one(table, path, record).await {
            adopted.push(instance.info());
        }
    }
    let sweeping = Arc::clone(table);
    let swept = blocking(move || {
        let swept = sweeping.parent.sweep(|name| sweeping.knows(name) || sweeping.templates.knows(name));
        sweeping.clear_folders();
        swept
    })
    .await;
    for (name, outcome) in swept {
        match outcome {
            Ok(()) => tracing::info!(instance = name, "killed what was left of an unknown instance"),
            Err(error) => {
                tracing::warn!(instance = name, %error, "cannot kill what is left of an unknown instance")
            }
        }
    }
    Ok(adopted)
}

/// Every readable record of an instance that is not in the table yet.
fn records(table: &Table) -> Result<Vec<(PathBuf, Record)>, ProviderError> {
    let dir = table.state.records();
    let failed = |source| ProviderError::State { step: "read the records in", path: dir.clone(), source };
    let mut records = Vec::new();
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(NEW_PREFIX)) {
            forget(&path);
            continue;
        }
        match Record::read(&path) {
            Ok(record) if table.knows(record.name.as_str()) => {}
            Ok(record) if table.state.record(&record.name) == path => records.push((path, record)),
            Ok(_) => {
                tracing::warn!(path = %path.display(), "ignored: a record under the name of another instance")
            }
            // Its processes, if there are any, are found by the sweep.
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "removed: not a readable record");
                forget(&path);
            }
        }
    }
    Ok(records)
}

async fn adopt_one(table: &Arc<Table>, path: PathBuf, record: Record) -> Option<Arc<Instance>> {
    let name = record.name.clone();
    let (boot_id, looking) = (table.boot_id.clone(), record.clone());
    let found = blocking(move || look(&looking, &boot_id)).await;
    let (exit, parked) = match found.and_then(|(pidfd, parked)| Ok((ExitWatch::new(pidfd)?, parked))) {
        Ok(found) => found,
        Err(reason) => {
            tracing::info!(instance = %name, %reason, "an instance of the earlier control plane is gone");
            clear(table, &record).await;
            forget(&path);
            return None;
        }
    };
    // A start that was not completed when the control plane ended: nobody waits for it any more. If it serves by now
    // it is as good as any; otherwise it is undone, as its start would have been.
    let mut is_ready = true;
    for addr in std::iter::once(&record.addr).chain(&record.further).filter(|_| !record.ready) {
        is_ready &= ask(&record.probe, *addr, record.probe_timeout).await.is_ok();
    }
    let instance = Instance::watched(table, Record { ready: is_ready, ..record }, exit, parked);
    if !is_ready {
        tracing::info!(instance = %name, "an instance that was still starting is undone");
        instance.kill().await;
        return None;
    }
    if let Err(error) = instance.record.write(&path) {
        tracing::warn!(path = %path.display(), %error, "cannot write the record of an adopted instance");
    }
    Some(instance)
}

/// Looks whether the instance lives where its record says. The error says in what respect it does not.
fn look(record: &Record, boot_id: &str) -> io::Result<(OwnedFd, bool)> {
    let pid = i32::try_from(record.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    if !record.is_alive(boot_id) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "its process is gone"));
    }
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // The pid may have changed hands between the two.
    if !record.is_alive(boot_id) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "its process is gone"));
    }
    if !record.group.members().contains(&record.pid) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "its process has left its control group"));
    }
    let parked = record.group.is_frozen().map_err(io::Error::other)?;
    Ok((pidfd, parked))
}

/// Kills what is left of an instance that is not taken over. After a reboot there is nothing: its numbers mean others
/// now.
async fn clear(table: &Table, record: &Record) {
    if record.boot_id != table.boot_id {
        return;
    }
    let clearing = record.clone();
    let cleared = blocking(move || {
        let Some(pid) = i32::try_from(clearing.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        // Its own process, alive outside the group or a zombie: not signalled unless it is still that process.
        let is_same = || Stat::of(clearing.pid).is_some_and(|stat| stat.start_ticks == clearing.start_ticks);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok().filter(|_| is_same());
        if let Some(pidfd) = &pidfd {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        let cleared = clearing.group.destroy();
        if let Some(pidfd) = &pidfd {
            // Only a child of ours, from an earlier provider of this process, is ours to reap.
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        cleared
    });
    if let Err(error) = cleared.await {
        tracing::warn!(instance = %record.name, %error, "cannot clear away what is left of an instance");
    }
}

fn forget(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a record");
    }
}
