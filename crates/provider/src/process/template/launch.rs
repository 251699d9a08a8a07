//! Starts the process of a template.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::spawn::{Launch, Passed, spawn};
use super::super::table::Table;
use super::super::user::User;
use super::super::{command, output};
use super::socket::Socket;
use super::task::Process;
use crate::cgroup::Group;
use crate::name::{InstanceName, NameError};
use crate::spec::{InstanceSpec, ResourceLimits};

/// A name that no template has had, not even one of an earlier control plane.
pub(super) fn new_name() -> Result<InstanceName, NameError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    InstanceName::new(format!("template.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// Everything up to the exec. Blocks. The error is in words.
pub(super) fn launch(table: &Table, spec: &InstanceSpec, program: PathBuf) -> Result<Process, String> {
    // Its processor time is not limited, since it only works before there is anything to serve.
    let limits = ResourceLimits { memory_bytes: spec.limits.memory_bytes, ..ResourceLimits::default() };
    let group = table.parent.make(&spec.name, &limits, false).map_err(words)?;
    let launched = launch_in(table, spec, program, &group);
    if launched.is_err()
        && let Err(error) = group.destroy()
    {
        tracing::warn!(template = %spec.name, %error, "something of a failed start is left");
    }
    launched
}

fn launch_in(table: &Table, spec: &InstanceSpec, program: PathBuf, group: &Group) -> Result<Process, String> {
    let log = table.state.log(&spec.name);
    let (ours, theirs) = Socket::pair().map_err(words)?;
    // Without the mark of an instance: its clones would keep it, and be taken for something of the template.
    let mark = (TEMPLATE_KEY, "3".to_owned());
    let environment = command::environment(spec, &table.environment, mark, &[NO_PORT]);
    let launch = Launch {
        program,
        arguments: command::arguments(spec, &[NO_PORT]),
        environment: environment.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        working_dir: spec.working_dir.clone(),
        user: spec.user.as_deref().map(User::find).transpose().map_err(words)?,
        entrances: group.entrances().map_err(words)?,
        passed: Some(Passed::Control(theirs)),
        log: output::create(&log).map_err(words)?,
    };
    let spawned = spawn(launch).map_err(|(step, error)| format!("failed to {step}: {error}"))?;
    Ok(Process { group: group.clone(), pidfd: spawned.pidfd, socket: ours, log })
}

fn words(error: impl std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Tells a program that it is to be a template, and on which descriptor.
const TEMPLATE_KEY: &str = "FORESHADOW_TEMPLATE";
/// In place of the port that only clones have.
const NO_PORT: u16 = 0;
