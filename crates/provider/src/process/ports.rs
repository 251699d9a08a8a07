//! Free loopback ports for instances that bind their own.
//!
//! Between our closing a port and the instance's binding it, somebody else can take it; that cannot be closed without
//! passing the socket itself (see `Listen::PassedSocket`). It is made rare by choosing above the range from which the
//! kernel serves connections and programs that take any port, and Docker the containers it publishes (below that range a
//! service that is just restarted would miss its own), by not handing out the same port twice in a row, and harmless by
//! starting again when an instance ends saying that its address is in use.

use std::collections::VecDeque;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

/// A loopback address that was free a moment ago, for what is to listen there in a moment.
///
/// # Errors
/// When the system has no free port.
pub fn free_address() -> io::Result<SocketAddr> {
    // All providers of this process share it: whatever they make, it is for the same ports of this machine.
    static SHARED: LazyLock<Mutex<Ports>> = LazyLock::new(|| {
        let kernels = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        Mutex::new(Ports::new(above(&kernels)))
    });
    SHARED.lock().unwrap_or_else(PoisonError::into_inner).pick()
}

/// The ports above the range that the kernel says is its own; none when they are so few that they would soon come again.
fn above(kernels: &str) -> Range<u16> {
    let last = kernels.split_whitespace().nth(1).and_then(|last| last.parse().ok());
    let above = last.unwrap_or(u16::MAX).saturating_add(1)..u16::MAX;
    if above.len() < RECENT_MAX { 0..0 } else { above }
}

/// Hands out ports.
#[derive(Debug)]
struct Ports {
    /// Those that nobody gets by chance take turns.
    quiet: Range<u16>,
    turn: usize,
    /// The last ones that the kernel chose.
    recent: VecDeque<u16>,
}

impl Ports {
    fn new(quiet: Range<u16>) -> Ports {
        // Two control planes that start at the same time should not begin with the same one.
        let turn = RandomState::new().hash_one(()) as u32 as usize;
        Ports { quiet, turn, recent: VecDeque::new() }
    }

    fn pick(&mut self) -> io::Result<SocketAddr> {
        self.pick_quiet().map_or_else(|| self.pick_any(), Ok)
    }

    fn pick_quiet(&mut self) -> Option<SocketAddr> {
        let count = self.quiet.len();
        (0..count).find_map(|_| {
            self.turn = (self.turn + 1) % count;
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.quiet.clone().nth(self.turn)?));
            TcpListener::bind(addr).is_ok().then_some(addr)
        })
    }

    /// One that the kernel chooses.
    fn pick_any(&mut self) -> io::Result<SocketAddr> {
        // Rejected ones stay bound during the search, so that the kernel offers others.
        let mut rejected = Vec::new();
        loop {
            let (listener, addr) = listen()?;
            if !self.recent.contains(&addr.port()) || rejected.len() >= REJECTED_MAX {
                self.recent.push_back(addr.port());
                self.recent.drain(..self.recent.len().saturating_sub(RECENT_MAX));
                return Ok(addr);
            }
            rejected.push(listener);
        }
    }
}

/// A listening socket on a free loopback port, and its address.
pub(crate) fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// Whether the output of an instance says that its address was taken. Texts of the C library, Go, Java, Spring Boot, Node,
/// Python, Gunicorn and QEMU.
pub(crate) fn says_in_use(output: &str) -> bool {
    let output = output.to_ascii_lowercase();
    [
        "address already in use",
        "address in use",
        "eaddrinuse",
        "port is already allocated",
        "port already in use",
        "was already in use",
        "connection in use",
        "could not set up host forwarding rule",
    ]
    .iter()
    .any(|words| output.contains(words))
}

/// How many ports are remembered.
const RECENT_MAX: usize = 512;
/// How many remembered ports are passed over before one is handed out again.
const REJECTED_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_free_and_do_not_repeat() {
        for quiet in [0..0, 61_000..65_535] {
            let mut ports = Ports::new(quiet.clone());
            let picked: Vec<SocketAddr> = (0..200).map(|_| ports.pick().expect("a port")).collect();
            assert_eq!(picked.iter().collect::<BTreeSet<_>>().len(), picked.len());
            assert!(picked.iter().all(|addr| addr.ip().is_loopback()));
            assert!(picked.iter().all(|addr| quiet.is_empty() || quiet.contains(&addr.port())));
            assert!(TcpListener::bind(picked[0]).is_ok());
        }
    }

    #[test]
    fn a_quiet_one_that_is_in_use_is_not_picked() {
        let (_listener, used) = listen().expect("a port");
        let mut ports = Ports::new(used.port()..used.port() + 1);
        assert_ne!(ports.pick().expect("the kernel's"), used);
    }

    #[test]
    fn quiet_ports_are_those_above_the_kernel_s_if_there_are_enough() {
        assert_eq!(above("32768\t60999\n"), 61_000..65_535);
        for few in ["1024\t65535\n", "1024\t65100\n", "", "any"] {
            assert!(above(few).is_empty(), "{few}");
        }
    }

    #[test]
    fn what_runtimes_say_about_taken_ports_is_understood() {
        assert!(says_in_use("OSError: [Errno 98] Address already in use"));
        assert!(says_in_use("Error: listen EADDRINUSE: address already in use 127.0.0.1:80"));
        assert!(says_in_use("Web server failed to start. Port 8080 was already in use."));
        assert!(says_in_use("[ERROR] Connection in use: ('127.0.0.1', 8000)"));
        assert!(says_in_use("Could not set up host forwarding rule 'tcp:127.0.0.1:80-:80'"));
        assert!(!says_in_use("connection refused"));
    }
}
