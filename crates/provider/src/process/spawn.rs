//! Makes a process that is born inside its control group.
//!
//! `std` forks, sets up the standard streams and resets the signals; everything after that is ours, in the child before
//! the exec: enter the groups, make a session, pass the socket, execute. The groups are entered by writing `0` to files
//! opened before the fork rather than by `clone3(CLONE_INTO_CGROUP)`: the latter knows version 2 only, while one way for
//! version 1, 2 and the hybrid of both is one way to test, and the exec cannot happen outside the group in either case.
//! We execute ourselves instead of leaving it to `std` because LISTEN_PID is known only in the child, and because a
//! passed socket must be descriptor 3, which may be the pipe on which `std` waits for the exec; our own pipe also says
//! which step failed.
//!
//! Between fork and exec other threads may hold any lock, the allocator's included: nothing there may allocate.

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::user::User;

/// Everything a new process needs.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// `KEY=value` each.
    pub(super) environment: Vec<String>,
    pub(super) working_dir: Option<PathBuf>,
    pub(super) user: Option<User>,
    /// Files to write `0` to.
    pub(super) entrances: Vec<OwnedFd>,
    pub(super) passed: Option<Passed>,
    /// Standard output and standard error.
    pub(super) log: File,
}

/// What becomes descriptor 3.
#[derive(Debug)]
pub(super) enum Passed {
    /// A listening socket, told as `sd_listen_fds(3)` says.
    Listener(OwnedFd),
    /// What else the order tells of.
    Control(OwnedFd),
}

/// A new process.
#[derive(Debug)]
pub(super) struct Spawned {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
}

/// A failed step, and why.
pub(super) type SpawnError = (&'static str, io::Error);

/// Makes the process; on success it has begun to execute the program.
pub(super) fn spawn(launch: Launch) -> Result<Spawned, SpawnError> {
    let prepare = |error: io::Error| ("prepare the process", error);
    let (mut outcome, report) = {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from).map_err(prepare)?;
        (File::from(read), above_passed(write).map_err(prepare)?)
    };
    let (passed, is_listener) = match launch.passed {
        Some(Passed::Listener(socket)) => (Some(socket), true),
        Some(Passed::Control(socket)) => (Some(socket), false),
        None => (None, false),
    };
    let socket = passed.map(above_passed).transpose().map_err(prepare)?;
    let mut command = Command::new(&launch.program);
    let error_log = launch.log.try_clone().map_err(prepare)?;
    command.stdin(Stdio::null()).stdout(launch.log).stderr(error_log);
    if let Some(dir) = &launch.working_dir {
        command.current_dir(dir);
    }
    let mut image = Image::new(&launch.program, launch.arguments, launch.environment, is_listener);
    let (entrances, user, report_fd) = (launch.entrances, launch.user, report.as_raw_fd());
    let socket_fd = socket.as_ref().map(AsRawFd::as_raw_fd);
    // SAFETY: the closure only makes system calls on memory and descriptors prepared here; it does not allocate, lock
    // or unwind, and does not return.
    unsafe {
        command.pre_exec(move || {
            let (step, errno) = image.become_it(&entrances, socket_fd, user);
            let mut message = [step as u8, 0, 0, 0, 0];
            message[1..].copy_from_slice(&errno.to_le_bytes());
            libc::write(report_fd, message.as_ptr().cast(), message.len());
            libc::_exit(127)
        });
    }
    let child = command.spawn().map_err(|error| ("fork", error))?;
    drop((report, socket));
    let pid = child.id();
    let mut message = Vec::new();
    // Ends when the exec closes the child's end, or the child ends.
    outcome.read_to_end(&mut message).map_err(|error| ("hear from the new process", error))?;
    let raw = Pid::from_child(&child);
    if let [step, errno @ ..] = &message[..]
        && let Ok(errno) = <[u8; 4]>::try_from(errno)
    {
        let _ = rustix::process::waitpid(Some(raw), rustix::process::WaitOptions::empty());
        return Err((Step::name(*step), io::Error::from_raw_os_error(i32::from_le_bytes(errno))));
    }
    // Nobody else reaps our children, so the pid is still its own.
    let pidfd = pidfd_open(raw, PidfdFlags::empty()).map_err(|errno| {
        let _ = rustix::process::kill_process_group(raw, rustix::process::Signal::KILL);
        let _ = rustix::process::waitpid(Some(raw), rustix::process::WaitOptions::empty());
        ("watch the new process", io::Error::from(errno))
    })?;
    Ok(Spawned { pid, pidfd })
}

/// The same descriptor, with a number that the passed socket does not overwrite.
fn above_passed(fd: OwnedFd) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(&fd, PASSED_FD + 1)?)
}

/// A program with its arguments and environment, in the form the kernel reads.
struct Image {
    program: CString,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// `LISTEN_PID=` and room for the digits; the environment points to it.
    listen_pid: Box<[u8]>,
    /// What the pointers point to.
    _texts: Vec<CString>,
}

// SAFETY: the pointers point into heap memory that the same value owns and nobody else changes.
unsafe impl Send for Image {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Image {}

impl Image {
    fn new(program: &Path, arguments: Vec<String>, environment: Vec<String>, is_told: bool) -> Image {
        // Orders with zero bytes were refused before; a path from the file system has none.
        let text = |text: &[u8]| CString::new(text).unwrap_or_default();
        let mut texts: Vec<CString> = Vec::new();
        let mut pointers = |list: Vec<String>| -> Vec<*const c_char> {
            list.into_iter()
                .map(|part| {
                    texts.push(text(part.as_bytes()));
                    texts.last().map_or(std::ptr::null(), |text| text.as_ptr())
                })
                .collect()
        };
        let mut arguments = pointers(arguments);
        let mut environment = pointers(environment);
        let mut listen_pid = [LISTEN_PID, &[0; PID_DIGITS_MAX + 1]].concat().into_boxed_slice();
        if is_told {
            environment.push(c"LISTEN_FDS=1".as_ptr());
            environment.push(listen_pid.as_mut_ptr().cast_const().cast());
        }
        arguments.push(std::ptr::null());
        environment.push(std::ptr::null());
        Image {
            program: text(program.as_os_str().as_bytes()),
            arguments,
            environment,
            listen_pid,
            _texts: texts,
        }
    }

    /// Runs in the child, between fork and exec. Returns only on failure: the step and the error number.
    fn become_it(&mut self, entrances: &[OwnedFd], socket: Option<RawFd>, user: Option<User>) -> (Step, i32) {
        for entrance in entrances {
            if let Err(errno) = rustix::io::write(entrance, b"0") {
                return (Step::Enter, errno.raw_os_error());
            }
        }
        if let Err(errno) = rustix::process::setsid() {
            return (Step::Session, errno.raw_os_error());
        }
        let mut keep = PASSED_FD;
        if let Some(socket) = socket {
            // SAFETY: plain system call; descriptor 3 belongs to nobody who still needs it in this process.
            if unsafe { libc::dup2(socket, PASSED_FD) } < 0 {
                return (Step::Socket, last_errno());
            }
            self.write_listen_pid();
            keep += 1;
        }
        // After the groups, which only root may enter; descriptors that are open stay so.
        if user.is_some_and(|user| !change_user(user)) {
            return (Step::User, last_errno());
        }
        // Whatever the control plane inherited without the close-on-exec mark is not for instances. Kernels before
        // 5.11 refuse; all of our own descriptors have the mark.
        // SAFETY: plain system call.
        unsafe { libc::syscall(libc::SYS_close_range, keep, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        // SAFETY: both arrays end with a null pointer and point to zero-terminated texts that this value owns.
        unsafe { libc::execve(self.program.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr()) };
        (Step::Execute, last_errno())
    }

    /// Writes our own pid in decimal digits, without leading zeros: some readers would take them for octal.
    fn write_listen_pid(&mut self) {
        let mut digits = [0u8; PID_DIGITS_MAX];
        let mut rest = std::process::id();
        let mut begin = PID_DIGITS_MAX;
        while rest > 0 && begin > 0 {
            begin -= 1;
            digits[begin] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let length = PID_DIGITS_MAX - begin;
        self.listen_pid[LISTEN_PID.len()..][..length].copy_from_slice(&digits[begin..]);
    }
}

/// Becomes a user for good: without other groups, and without a way to more privileges.
fn change_user(user: User) -> bool {
    // SAFETY: plain system calls. The C library's own functions would have all threads follow, of which there are none in a
    // forked child, and take a lock for it.
    unsafe {
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
            && libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid) == 0
            && libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid) == 0
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    }
}

fn last_errno() -> i32 {
    // SAFETY: the location is valid for the calling thread.
    unsafe { *libc::__errno_location() }
}

/// What the child does before the exec.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Step {
    Enter = 1,
    Session = 2,
    Socket = 3,
    User = 4,
    Execute = 5,
}

impl Step {
    fn name(step: u8) -> &'static str {
        [Step::Enter, Step::Session, Step::Socket, Step::User, Step::Execute]
            .into_iter()
            .find(|candidate| *candidate as u8 == step)
            .map_or("do something unheard of", |step| match step {
                Step::Enter => "enter its control group",
                Step::Session => "make a session",
                Step::Socket => "pass the socket",
                Step::User => "become the ordered user",
                Step::Execute => "execute the program (if it is a script: does its interpreter exist?)",
            })
    }
}

/// The descriptor number of the first passed socket, from `sd_listen_fds(3)`.
const PASSED_FD: RawFd = 3;
const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// Digits of the largest 32-bit number.
const PID_DIGITS_MAX: usize = 10;
