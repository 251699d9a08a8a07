//! The test service as a template: it forks instead of serving, and its clones serve.

use std::collections::BTreeMap;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::exit;
use std::time::Duration;

use rustix::io::FdFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::process::{WaitOptions, wait};
use serde_json::{Value, json};

use crate::process::fork::fork_raw;

/// Is the template, if this process was started as one. Returns in each clone, once that may go on, with everything as if
/// it had been started by itself.
pub(super) fn fork_if_asked() {
    if std::env::var("FORESHADOW_TEMPLATE").is_err() {
        return;
    }
    // SAFETY: the protocol says that descriptor 3 is a socket that belongs to us.
    let control = unsafe { OwnedFd::from_raw_fd(3) };
    // In between, it looks whether a clone has ended.
    set_socket_timeout(&control, Timeout::Recv, Some(Duration::from_millis(20))).expect("a socket");
    say(&control, &json!({"ready": true, "into_group": true}));
    loop {
        let Some((order, mut descriptors)) = next_order(&control) else { continue };
        let birthplace = if order["into_group"] == Value::Bool(true) { descriptors.pop() } else { None };
        // SAFETY: this thread is the only one that does anything; others, as test programs have them, wait for it and hold
        // no lock meanwhile. Nobody here asks the C library for the number of a thread.
        match unsafe { fork_raw(birthplace.as_ref()) } {
            (0, _) => return become_clone(control, &order, descriptors),
            (pid, _) => say(&control, &json!({"forked": pid})),
        }
    }
}

fn say(control: &OwnedFd, message: &Value) {
    send(control, message.to_string().as_bytes(), SendFlags::NOSIGNAL).expect("the provider hears");
}

/// The next order, or nothing when there was none for a moment. Says which clones have ended.
fn next_order(control: &OwnedFd) -> Option<(Value, Vec<OwnedFd>)> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        let status = status.exit_status().or(status.terminating_signal().map(|signal| -signal));
        say(control, &json!({"exited": pid.as_raw_nonzero().get(), "status": status}));
    }
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let mut packet = vec![0; 1 << 20];
    let received =
        recvmsg(control, &mut [IoSliceMut::new(&mut packet)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .ok()?;
    if received.bytes == 0 {
        exit(0);
    }
    let message: Value = serde_json::from_slice(&packet[..received.bytes]).expect("JSON");
    let descriptors = ancillary
        .drain()
        .filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    Some((message["fork"].clone(), descriptors))
}

fn become_clone(control: OwnedFd, order: &Value, descriptors: Vec<OwnedFd>) {
    drop(control);
    // The main function, to which a panic would go back, may wait for threads that were not forked.
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        exit(101);
    }));
    let mut descriptors = descriptors.into_iter();
    let (output, go) = (descriptors.next().expect("the output"), descriptors.next().expect("the pipe"));
    rustix::process::setsid().expect("a session");
    put(output.try_clone().expect("its output"), 1);
    put(output, 2);
    let mut go = std::fs::File::from(go);
    if go.read_exact(&mut [0]).is_err() {
        exit(1);
    }
    let mut environment: BTreeMap<String, String> =
        serde_json::from_value(order["env"].clone()).expect("an environment");
    if let Some(listener) = descriptors.next() {
        put(listener, 3);
        environment.insert("LISTEN_FDS".to_owned(), "1".to_owned());
        environment.insert("LISTEN_PID".to_owned(), std::process::id().to_string());
    }
    for (key, _) in std::env::vars_os() {
        // SAFETY: no other thread of this process exists.
        unsafe { std::env::remove_var(key) };
    }
    for (key, value) in environment {
        // SAFETY: no other thread of this process exists.
        unsafe { std::env::set_var(key, value) };
    }
}

/// Gives a descriptor this number, also for programs executed later. What had the number before is not needed any more.
fn put(descriptor: OwnedFd, number: RawFd) {
    if descriptor.as_raw_fd() == number {
        rustix::io::fcntl_setfd(&descriptor, FdFlags::empty()).expect("marked");
        std::mem::forget(descriptor);
        return;
    }
    // SAFETY: plain system call.
    assert_eq!(unsafe { libc::dup2(descriptor.as_raw_fd(), number) }, number);
}
