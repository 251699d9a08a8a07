//! A child that borrows the memory of its parent until it executes its program, as vfork(2) has it, and may be born inside its
//! control group as well.
//!
//! A fork copies the tables of all pages, and each page again when either side writes to it: the larger the control plane,
//! the later its instances, and the slower itself for a while after each.

use std::convert::Infallible;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::Pid;

use super::fork::CLONE_INTO_CGROUP;

/// What a child does: told whether it was born at its birthplace, it never returns.
pub(super) type Child<'a> = &'a mut dyn FnMut(bool) -> Infallible;

/// Makes a child that runs `child` in our memory, on a stack of its own, while this thread waits until it has executed a
/// program or ended. None where that cannot be.
///
/// # Safety
/// As for [`super::fork::fork`].
pub(super) unsafe fn borrow(birthplace: Option<&OwnedFd>, child: Child<'_>) -> Option<Pid> {
    let stack = Stack::new().ok()?;
    let mut start = Start { child, is_inside: birthplace.is_some() };
    let number = |value: i32| u64::try_from(value).unwrap_or_default();
    let arguments = libc::clone_args {
        flags: number(libc::CLONE_VM | libc::CLONE_VFORK) | birthplace.map_or(0, |_| CLONE_INTO_CGROUP),
        exit_signal: number(libc::SIGCHLD),
        cgroup: birthplace.map_or(0, |folder| number(folder.as_raw_fd())),
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        stack: stack.lowest as u64,
        stack_size: STACK_BYTES as u64,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
    };
    // SAFETY: the arguments, the stack and `start` live until the child is done with them, for this thread waits; the caller
    // promises what is asked of the child.
    let pid = unsafe { clone_onto(&arguments, enter, (&raw mut start).cast()) };
    i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw)
}

/// What the child finds on its stack's parent.
struct Start<'a> {
    child: Child<'a>,
    is_inside: bool,
}

/// The first function of the child.
extern "C" fn enter(start: *mut c_void) -> ! {
    // SAFETY: it points to the parent's `Start`, and the parent waits.
    let start = unsafe { &mut *start.cast::<Start<'_>>() };
    match (start.child)(start.is_inside) {}
}

/// As clone3(2): the child's number, or an error's below zero. The child calls `enter` with `data`, on its stack.
///
/// # Safety
/// `data` is what `enter` takes, and the arguments give a stack to the child.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_onto(
    arguments: &libc::clone_args,
    enter: extern "C" fn(*mut c_void) -> !,
    data: *mut c_void,
) -> i64 {
    let answer: i64;
    // SAFETY: in the parent it is a system call like others; the child leaves at once for a function that does not return,
    // and touches nothing of this one's frame.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") std::ptr::from_ref(arguments),
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") enter,
            in("r13") data,
            out("rcx") _,
            out("r11") _,
        );
    }
    answer
}

/// Not written for other processors: there a child has its copy.
///
/// # Safety
/// None is needed.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn clone_onto(_: &libc::clone_args, _: extern "C" fn(*mut c_void) -> !, _: *mut c_void) -> i64 {
    -i64::from(libc::ENOSYS)
}

/// Memory for a stack, with a page below it that nobody may touch.
struct Stack {
    guard: *mut c_void,
    lowest: *mut c_void,
}

impl Stack {
    fn new() -> io::Result<Stack> {
        let (none, both) = (libc::PROT_NONE, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping, which nobody knows of but this value.
        let guard =
            unsafe { libc::mmap(std::ptr::null_mut(), GUARD_BYTES + STACK_BYTES, none, flags, -1, 0) };
        if guard == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Stack { guard, lowest: guard.wrapping_byte_add(GUARD_BYTES) };
        // SAFETY: the upper part of the mapping above.
        match unsafe { libc::mprotect(stack.lowest, STACK_BYTES, both) } {
            0 => Ok(stack),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, and the child is done with it.
        unsafe { libc::munmap(self.guard, GUARD_BYTES + STACK_BYTES) };
    }
}

/// A child makes a dozen system calls and formats nothing.
const STACK_BYTES: usize = 64 * 1024;
/// A page, or several: up to 64 kB of other processors.
const GUARD_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_child_works_in_our_memory_while_we_wait() {
        let mut seen = 0;
        let place = &raw mut seen;
        // SAFETY: the child writes a number and ends; this thread waits meanwhile.
        let child = unsafe {
            borrow(None, &mut |is_inside| {
                place.write_volatile(if is_inside { 1 } else { 2 });
                libc::_exit(5)
            })
        };
        // SAFETY: the child is done.
        assert_eq!(unsafe { place.read_volatile() }, 2);
        let (_, status) = waitpid(child, WaitOptions::empty()).expect("our child").expect("ended");
        assert_eq!(status.exit_status(), Some(5));
    }
}
