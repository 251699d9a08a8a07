//! Instructions executed by an instance, counted by the processor.
//!
//! A number of instructions says how much work a request was, whatever the clock frequency and the neighbours did to its
//! time. Not every machine lets us count: most virtual machines have no counters, and `kernel.perf_event_paranoid`
//! above 2 forbids it. Then there is no number, and the log says so once.
//!
//! A counter is opened for each thread that an instance has when it is asked about for the first time; what those
//! start later is counted with them. Instructions before that, and those of the kernel, are not.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The open counters of one instance.
#[derive(Debug)]
pub(crate) struct Instructions(Vec<OwnedFd>);

impl Instructions {
    /// Counters for all threads of these processes; `None` where counting is not possible, or would cost more descriptors
    /// than the control plane can spare.
    pub(crate) fn of(pids: &[u32]) -> Option<Instructions> {
        let threads: Vec<i32> = pids.iter().flat_map(|pid| threads(*pid)).collect();
        let room = DESCRIPTORS_MAX.checked_sub(OPEN.load(Ordering::Relaxed));
        if threads.is_empty() || room.is_none_or(|room| threads.len() > room) {
            return None;
        }
        let mut counters = Instructions(Vec::with_capacity(threads.len()));
        for thread in threads {
            match open(thread) {
                Ok(counter) => {
                    OPEN.fetch_add(1, Ordering::Relaxed);
                    counters.0.push(counter);
                }
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => {
                    REFUSED.call_once(|| {
                        tracing::info!(%error, "instructions cannot be counted on this machine; they are left out");
                    });
                    return None;
                }
            }
        }
        (!counters.0.is_empty()).then_some(counters)
    }

    /// Instructions so far.
    pub(crate) fn count(&self) -> Option<u64> {
        let mut total = 0_u64;
        for counter in &self.0 {
            let mut bytes = [0; 8];
            if rustix::io::read(counter, &mut bytes).ok()? != bytes.len() {
                return None;
            }
            total = total.saturating_add(u64::from_ne_bytes(bytes));
        }
        Some(total)
    }
}

impl Drop for Instructions {
    fn drop(&mut self) {
        OPEN.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

fn threads(pid: u32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The head of the kernel's `perf_event_attr` in its first published size, which every kernel takes.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

fn open(thread: i32) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: KIND_HARDWARE,
        size: size_of::<Attributes>() as u32,
        config: CONFIG_INSTRUCTIONS,
        flags: FLAG_INHERIT | FLAG_EXCLUDE_KERNEL | FLAG_EXCLUDE_HYPERVISOR,
        ..Attributes::default()
    };
    // SAFETY: the kernel reads `size` bytes of the structure, which lives until the call returns, and writes nothing.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            thread,
            ANY_PROCESSOR,
            NO_GROUP,
            OPEN_CLOSE_ON_EXEC,
        )
    };
    match i32::try_from(answer) {
        // SAFETY: the kernel has just given us this descriptor; nobody else knows it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Counting is refused for the same reason each time.
static REFUSED: Once = Once::new();
/// Counters open now.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// Most descriptors that all counters together may cost, because everything else needs some too.
const DESCRIPTORS_MAX: usize = 400;
// From the kernel's `include/uapi/linux/perf_event.h`.
const KIND_HARDWARE: u32 = 0;
const CONFIG_INSTRUCTIONS: u64 = 1;
const FLAG_INHERIT: u64 = 1 << 1;
const FLAG_EXCLUDE_KERNEL: u64 = 1 << 5;
const FLAG_EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const ANY_PROCESSOR: libc::c_int = -1;
const NO_GROUP: libc::c_int = -1;
const OPEN_CLOSE_ON_EXEC: libc::c_ulong = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_where_the_machine_can_count() {
        assert_eq!(size_of::<Attributes>(), 64);
        let Some(counters) = Instructions::of(&[std::process::id()]) else {
            return skips::skip("instructions of processes", "they cannot be counted here");
        };
        let before = counters.count().expect("readable");
        let sum: u64 = (0..200_000_u64).map(std::hint::black_box).fold(0, u64::wrapping_add);
        std::hint::black_box(sum);
        let after = counters.count().expect("readable");
        assert!(after - before > 200_000, "{before} to {after}");
    }

    #[test]
    fn a_process_that_is_gone_has_no_counters() {
        assert!(Instructions::of(&[]).is_none() && Instructions::of(&[u32::MAX]).is_none());
    }
}
