//! Makes a process that is inside its control group before it executes its program.
//!
//! Everything is ours, in the child between fork and exec: set up the standard streams, enter the groups, make a session,
//! pass the socket, execute. A group of version 2 is where the child is born ([`super::fork`]); those of version 1 are
//! entered by writing `0` to files opened before the fork. `std` could not be told of the first, nor write LISTEN_PID, which
//! is known only in the child; and a passed socket must be descriptor 3, which may be the pipe on which `std` waits for the
//! exec. Our own pipe says which step failed.
//!
//! Between fork and exec other threads may hold any lock, the allocator's included: nothing there may allocate.

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, pidfd_open};

use super::fork::{fork, reset_signals};
use super::user::User;
use crate::cgroup::Entrances;

/// Everything a new process needs.
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// `KEY=value` each.
    pub(super) environment: Vec<String>,
    pub(super) working_dir: Option<PathBuf>,
    pub(super) user: Option<User>,
    pub(super) entrances: Entrances,
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
    let preparations = Preparations {
        streams: [File::open("/dev/null").map_err(prepare)?.into(), launch.log.into()],
        entrances: launch.entrances,
        folder: launch.working_dir.map(|folder| text(folder.as_os_str().as_bytes())),
        socket,
        user: launch.user,
    };
    let mut image = Image::new(&launch.program, launch.arguments, launch.environment, is_listener);
    let report_fd = report.as_raw_fd();
    // SAFETY: the child only makes system calls on memory and descriptors prepared here; it does not allocate, lock or
    // unwind, and does not return.
    let forked = unsafe {
        fork(preparations.entrances.birthplace.as_ref(), &mut |is_inside| {
            let (step, errno) = image.become_it(&preparations, is_inside);
            let mut message = [step as u8, 0, 0, 0, 0];
            message[1..].copy_from_slice(&errno.to_le_bytes());
            libc::write(report_fd, message.as_ptr().cast(), message.len());
            libc::_exit(127)
        })
    };
    drop(report);
    let raw = forked.map_err(|error| ("fork", error))?;
    drop(preparations);
    let pid = raw.as_raw_nonzero().get().cast_unsigned();
    let mut message = Vec::new();
    // Ends when the exec closes the child's end, or the child ends.
    outcome.read_to_end(&mut message).map_err(|error| ("hear from the new process", error))?;
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

/// What is to be done before the program is executed.
struct Preparations {
    /// Standard input; standard output and standard error.
    streams: [OwnedFd; 2],
    entrances: Entrances,
    /// The working folder.
    folder: Option<CString>,
    /// What becomes descriptor 3.
    socket: Option<OwnedFd>,
    user: Option<User>,
}

impl Preparations {
    /// Makes system calls only. On failure the step and the error number.
    fn make(&self, is_inside: bool) -> Result<(), (Step, i32)> {
        let [input, output] = &self.streams;
        for (stream, standard) in [(input, 0), (output, 1), (output, 2)] {
            // SAFETY: plain system call; nobody in this process needs the parent's standard streams.
            check(Step::Streams, unsafe { libc::dup2(stream.as_raw_fd(), standard) })?;
        }
        for entrance in self.entrances.files.iter().skip(usize::from(is_inside)) {
            rustix::io::write(entrance, b"0").map_err(|errno| (Step::Enter, errno.raw_os_error()))?;
        }
        if let Some(folder) = &self.folder {
            // SAFETY: the text ends with a zero.
            check(Step::Folder, unsafe { libc::chdir(folder.as_ptr()) })?;
        }
        rustix::process::setsid().map_err(|errno| (Step::Session, errno.raw_os_error()))?;
        if let Some(socket) = &self.socket {
            // SAFETY: plain system call; descriptor 3 belongs to nobody who still needs it in this process.
            check(Step::Socket, unsafe { libc::dup2(socket.as_raw_fd(), PASSED_FD) })?;
        }
        // After the groups, which only root may enter; descriptors that are open stay so.
        if self.user.is_some_and(|user| !change_user(user)) {
            return Err((Step::User, last_errno()));
        }
        Ok(())
    }
}

fn check(step: Step, answer: i32) -> Result<(), (Step, i32)> {
    if answer < 0 { Err((step, last_errno())) } else { Ok(()) }
}

/// Orders with zero bytes were refused before; a path from the file system has none.
fn text(text: &[u8]) -> CString {
    CString::new(text).unwrap_or_default()
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
    fn become_it(&mut self, preparations: &Preparations, is_inside: bool) -> (Step, i32) {
        if let Err(failure) = preparations.make(is_inside) {
            return failure;
        }
        self.write_listen_pid();
        let keep = if preparations.socket.is_some() { PASSED_FD + 1 } else { PASSED_FD };
        // Whatever the control plane inherited without the close-on-exec mark is not for instances. Kernels before
        // 5.11 refuse; all of our own descriptors have the mark.
        // SAFETY: plain system call.
        unsafe { libc::syscall(libc::SYS_close_range, keep, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        reset_signals();
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
    Streams = 1,
    Enter = 2,
    Folder = 3,
    Session = 4,
    Socket = 5,
    User = 6,
    Execute = 7,
}

impl Step {
    fn name(step: u8) -> &'static str {
        [Step::Streams, Step::Enter, Step::Folder, Step::Session, Step::Socket, Step::User, Step::Execute]
            .into_iter()
            .find(|candidate| *candidate as u8 == step)
            .map_or("do something unheard of", |step| match step {
                Step::Streams => "set up its standard streams",
                Step::Folder => "enter its working folder",
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
