//! A child that executes another program, born inside its control group where that can be.
//!
//! Before the kernel moves a process into a group it waits until no thread of the machine is in the middle of a fork or an
//! exit, which takes from 5 to 15 ms. A child that is born in a group of version 2 waits for nothing.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::Pid;

use super::borrow::{Child, borrow};

/// Makes a child, which runs `child` with all signals blocked; tells it whether it was born at `birthplace`, the folder of a
/// group. Where that cannot be (kernels before 5.7, sandboxes), it is born where its parent is.
///
/// # Safety
/// Other threads may hold any lock, the allocator's included, the C library does not know of the child, and the memory may be
/// its parent's: `child` must only make system calls, and soon execute a program or end, for this thread waits until then.
pub(super) unsafe fn fork(birthplace: Option<&OwnedFd>, child: Child<'_>) -> io::Result<Pid> {
    // The handlers of the parent, which write to pipes that it shares with the child, are not for the child.
    let blocked = Blocked::all();
    for place in [birthplace, None] {
        // SAFETY: the caller promises what is asked of the child.
        if let Some(pid) = unsafe { borrow(place, child) } {
            return Ok(pid);
        }
    }
    // SAFETY: as above.
    let (pid, is_inside) = unsafe { fork_raw(birthplace) };
    if pid == 0 {
        child(is_inside);
    }
    let error = io::Error::last_os_error();
    drop(blocked);
    i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw).ok_or(error)
}

/// As fork(2), 0 in the child and negative on failure, with whether the child was born at `birthplace`.
///
/// # Safety
/// Where there are other threads, as for [`fork`]. Where there are none, the C library has run no handlers for forks
/// (`pthread_atfork`) in a child that was born there, and has the thread under its old number.
pub(crate) unsafe fn fork_raw(birthplace: Option<&OwnedFd>) -> (i64, bool) {
    // SAFETY: the caller promises what is asked of the child.
    let pid = birthplace.map_or(-1, |folder| unsafe { born_at(folder) });
    if pid >= 0 {
        return (pid, true);
    }
    // SAFETY: as above.
    (i64::from(unsafe { libc::fork() }), false)
}

/// As fork(2): 0 in the child, negative on failure.
///
/// # Safety
/// As for [`fork_raw`].
unsafe fn born_at(folder: &OwnedFd) -> i64 {
    let number = |value: i32| u64::try_from(value).unwrap_or_default();
    let arguments = libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        exit_signal: number(libc::SIGCHLD),
        cgroup: number(folder.as_raw_fd()),
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
    };
    // SAFETY: the arguments live through the call; without CLONE_VM the child has its own copy of the stack.
    unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) }
}

/// From linux/sched.h; the constant of `libc` has too narrow a type.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Signals of this thread, blocked until this is dropped.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Blocked {
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the first call fills `all`, the second `before`; neither can fail with these arguments.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Blocked(before.assume_init())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the kernel.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// For a child: no signal blocked, none handled, and none ignored that only programs in Rust ignore. Makes system calls only.
pub(super) fn reset_signals() {
    // What handlers of the parent change may be the parent's own memory.
    (1..=SIGNALS).for_each(end_handling);
    let mut none = MaybeUninit::uninit();
    // SAFETY: the first call fills the set; none can fail with these arguments.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

fn end_handling(signal: i32) {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the first call fills the action where the signal is one; both are plain system calls.
    unsafe {
        if libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init_ref().sa_sigaction != libc::SIG_IGN
        {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Those that were there before signals could queue.
const SIGNALS: i32 = 31;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;

    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    /// A group of version 2, removed in the end; none where none can be made.
    struct Birthplace(PathBuf);

    impl Birthplace {
        fn make() -> Option<Birthplace> {
            let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
            let mount = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let point = mount.filter(|fields| fields.get(2) == Some(&"cgroup2")).find_map(|fields| {
                let name = format!("foreshadow-fork-{}", std::process::id());
                let folder = PathBuf::from(fields[1]).join(name);
                fs::create_dir(&folder).ok().map(|()| folder)
            });
            point.map(Birthplace)
        }
    }

    impl Drop for Birthplace {
        fn drop(&mut self) {
            // The kernel takes a moment to let go of what has ended.
            for _ in 0..100 {
                if fs::remove_dir(&self.0).is_ok() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }

    fn ended(pid: Pid) -> i32 {
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("our child").expect("ended");
        std::process::ExitStatus::from_raw(status.as_raw()).code().expect("by itself")
    }

    #[test]
    fn a_child_is_born_inside_its_group() {
        let Some(birthplace) = Birthplace::make() else {
            return skips::skip("births inside control groups", "no groups of version 2 can be made here");
        };
        let folder = OwnedFd::from(fs::File::open(&birthplace.0).expect("there"));
        let (asked, hold) = std::io::pipe().expect("a pipe");
        let arguments = [c"cat".as_ptr(), std::ptr::null()];
        // SAFETY: the child only makes system calls, and executes a program that waits for the end of the pipe.
        let child = unsafe {
            fork(Some(&folder), &mut |is_inside| {
                if is_inside {
                    libc::dup2(asked.as_raw_fd(), 0);
                    libc::execve(c"/bin/cat".as_ptr(), arguments.as_ptr(), [std::ptr::null()].as_ptr());
                }
                libc::_exit(8)
            })
        };
        let child = child.expect("forked");
        let members = fs::read_to_string(birthplace.0.join("cgroup.procs")).expect("readable");
        drop(hold);
        assert_eq!((ended(child), members.trim()), (0, child.as_raw_nonzero().to_string().as_str()));
    }

    #[test]
    fn what_is_no_group_is_no_birthplace() {
        let nowhere = OwnedFd::from(fs::File::open("/").expect("there"));
        // SAFETY: the child ends at once.
        let child =
            unsafe { fork(Some(&nowhere), &mut |is_inside| libc::_exit(if is_inside { 7 } else { 8 })) };
        assert_eq!(ended(child.expect("forked")), 8);
    }
}
