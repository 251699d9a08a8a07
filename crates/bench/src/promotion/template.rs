//! What a template does for its clones, without foreshadow: an order, a fork, a word to go on.

use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use provider::contract::{SERVICE_KEY, STARTUP_KEY};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::process::Group;
use super::request::ask_until_answered;
use crate::running::Running;

/// An initialised process, of the protocol in `docs/processes.md`.
struct Template {
    control: OwnedFd,
    _running: Running,
}

impl Template {
    fn start(startup_ms: u64) -> Result<Template> {
        let (control, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new("/bin/sh");
        // A command can only be given its first three descriptors.
        command.args(["-c", "exec 3<&0 0</dev/null; exec \"$0\""]).arg(std::env::current_exe()?);
        command.env("FORESHADOW_TEMPLATE", "3").env(SERVICE_KEY, "normal");
        command.env(STARTUP_KEY, startup_ms.to_string());
        let running = Running::start_with(&mut command, Stdio::from(theirs))?;
        let template = Template { control, _running: running };
        if template.hear()?.get("ready").is_none() {
            bail!("the template is not ready");
        }
        Ok(template)
    }

    fn hear(&self) -> Result<Value> {
        let mut packet = vec![0; 4096];
        let (_, length) = recv(&self.control, packet.as_mut_slice(), RecvFlags::empty())?;
        Ok(serde_json::from_slice(&packet[..length])?)
    }

    /// A clone that serves there, in the group before it does anything. It is born there if the template is told.
    fn fork(&self, addr: SocketAddr, group: Option<&Group>, is_told: bool) -> Result<Pid> {
        let port = addr.port();
        let environment = json!({ SERVICE_KEY: "normal", "PORT": port.to_string() });
        let folder = group.filter(|_| is_told).map(Group::folder).transpose()?;
        let mut order = json!({ "name": "bare", "port": port, "ports": [port], "env": environment });
        if folder.is_some() {
            order["into_group"] = json!(true);
        }
        let order = json!({ "fork": order }).to_string();
        let output = OwnedFd::from(File::create("/dev/null")?);
        let (theirs, mut go) = std::io::pipe()?;
        let theirs = OwnedFd::from(theirs);
        let descriptors =
            [output.as_fd(), theirs.as_fd()].into_iter().chain(folder.as_ref().map(File::as_fd));
        let descriptors: Vec<_> = descriptors.collect();
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&self.control, &[IoSlice::new(order.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
        let pid = loop {
            // That an earlier clone has ended is said in between.
            if let Some(pid) = self.hear()?["forked"].as_i64() {
                break pid;
            }
        };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no pid")?;
        if let Some(group) = group {
            group.enter(pid.as_raw_nonzero().get())?;
        }
        go.write_all(&[1])?;
        Ok(pid)
    }
}

/// How a clone comes into a group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Not at all.
    Never,
    Moved,
    Born,
}

/// From the order to the first byte, in milliseconds. Into a group of its own is with making that: every clone has another, and
/// the kernel takes longer to move a process when it has just made something.
pub(super) async fn forks(startup_ms: u64, times: usize, way: Way) -> Result<Vec<f64>> {
    let template = Template::start(startup_ms)?;
    let mut measured = Vec::with_capacity(times);
    for _ in 0..times {
        // The kernel moves faster right after another move.
        tokio::time::sleep(BETWEEN).await;
        let begin = Instant::now();
        let addr = loopback::free_address();
        let group = if way == Way::Never { None } else { Some(Group::make()?) };
        let clone = template.fork(addr, group.as_ref(), way == Way::Born)?;
        let answered = ask_until_answered(addr).await;
        kill_process(clone, Signal::KILL)?;
        measured.push(answered?.duration_since(begin).as_secs_f64() * 1e3);
    }
    Ok(measured)
}

const BETWEEN: Duration = Duration::from_millis(250);
