//! What is written on containers, so that a later control plane knows them and nobody else's are touched.
//!
//! Labels cannot be changed after the creation. Whether a start was completed is therefore written beside them: a file in
//! the state folder with the identifier of the container. Whether one is parked is asked of the engine and the freezer.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::instance::Facts;
use crate::name::InstanceName;
use crate::spec::Probe;

/// The identity of a control plane on its engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner(String);

impl Owner {
    /// The identity kept in a state folder; a random one the first time.
    pub(super) fn of(state_dir: &Path) -> io::Result<Owner> {
        let path = state_dir.join("owner");
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let kept = kept.trim();
        if kept.len() == 16 && kept.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Owner(kept.to_owned()));
        }
        let mut bytes = [0u8; 8];
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let id = format!("{:016x}", u64::from_le_bytes(bytes));
        fs::write(&path, &id)?;
        Ok(Owner(id))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// `key=value`, as filters want it.
    pub(super) fn label(&self) -> String {
        format!("{OWNER}={}", self.0)
    }

    /// The name of an instance's container: unique on an engine that several control planes share.
    pub(super) fn container(&self, name: &InstanceName) -> String {
        format!("foreshadow-{}-{name}", self.0)
    }
}

/// The labels of a container.
pub(super) fn labels(facts: &Facts, owner: &Owner) -> HashMap<String, String> {
    let millis = |time: Duration| time.as_millis().to_string();
    let probe = match &facts.probe {
        Probe::Http { path } => format!("http {path}"),
        Probe::Http2 { path } => format!("http2 {path}"),
        Probe::Tcp => "tcp".to_owned(),
    };
    let started = facts.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    [
        (OWNER, owner.as_str().to_owned()),
        (INSTANCE, facts.name.to_string()),
        (WORKLOAD, facts.workload.clone()),
        (REVISION, facts.revision.clone()),
        (PROBE, probe),
        (PROBE_TIMEOUT, millis(facts.probe_timeout)),
        (HEALTH_CHECK, facts.health_check.to_string()),
        (RECLAIMS, facts.reclaims.to_string()),
        (STARTED, millis(started)),
        (LOG_LIMIT, facts.log_limit.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// What the labels of the container `id` say; `None` when they are not ours or damaged.
pub(super) fn read(id: &str, labels: &HashMap<String, String>) -> Option<Facts> {
    let number = |key| labels.get(key)?.parse::<u64>().ok();
    let probe = match labels.get(PROBE)?.split_once(' ') {
        Some(("http", path)) => Probe::Http { path: path.to_owned() },
        Some(("http2", path)) => Probe::Http2 { path: path.to_owned() },
        _ => Probe::Tcp,
    };
    Some(Facts {
        name: instance(labels)?,
        id: id.to_owned(),
        workload: labels.get(WORKLOAD)?.clone(),
        revision: labels.get(REVISION).cloned().unwrap_or_default(),
        probe,
        probe_timeout: Duration::from_millis(number(PROBE_TIMEOUT)?.max(1)),
        health_check: labels.get(HEALTH_CHECK)? == "true",
        reclaims: labels.get(RECLAIMS)? == "true",
        started_at: UNIX_EPOCH + Duration::from_millis(number(STARTED)?),
        log_limit: number(LOG_LIMIT)?,
    })
}

/// The instance's name on the labels.
pub(super) fn instance(labels: &HashMap<String, String>) -> Option<InstanceName> {
    labels.get(INSTANCE)?.parse().ok()
}

/// Ports of the host's network, which no inspection tells.
pub(super) const PORTS: &str = "foreshadow.ports";

/// Now, in whole milliseconds.
pub(super) fn now() -> SystemTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

const OWNER: &str = "foreshadow.owner";
const INSTANCE: &str = "foreshadow.instance";
const WORKLOAD: &str = "foreshadow.workload";
const REVISION: &str = "foreshadow.revision";
const PROBE: &str = "foreshadow.probe";
const PROBE_TIMEOUT: &str = "foreshadow.probe-timeout-ms";
const HEALTH_CHECK: &str = "foreshadow.health-check";
const RECLAIMS: &str = "foreshadow.reclaims";
const STARTED: &str = "foreshadow.started-ms";
const LOG_LIMIT: &str = "foreshadow.log-limit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_on_a_container_is_read_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let owner = Owner::of(dir.path()).expect("made");
        assert_eq!(owner, Owner::of(dir.path()).expect("kept"));
        let facts = Facts {
            name: "web-1".parse().expect("a name"),
            id: "abc".to_owned(),
            workload: "web".to_owned(),
            revision: "5e7".to_owned(),
            probe: Probe::Http { path: "/health".to_owned() },
            probe_timeout: Duration::from_millis(700),
            health_check: true,
            reclaims: true,
            started_at: now(),
            log_limit: 9000,
        };
        let written = labels(&facts, &owner);
        assert_eq!(read("abc", &written), Some(facts));
        assert_eq!(read("abc", &HashMap::new()), None);
    }
}
