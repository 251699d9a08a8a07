//! Free loopback ports for instances that bind their own.
//!
//! Between our closing a port and the instance's binding it, somebody else can take it; that cannot be closed without
//! passing the socket itself (see `Listen::PassedSocket`). It is made rare by not handing out the same port twice in a
//! row, and harmless by starting again when an instance ends saying that its address is in use.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The one that all providers of this process share: whatever they make, it is for the same ports of this machine.
pub(crate) fn shared() -> MutexGuard<'static, Ports> {
    static SHARED: Mutex<Ports> = Mutex::new(Ports { recent: VecDeque::new() });
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands out ports, and remembers the last ones.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    recent: VecDeque<u16>,
}

impl Ports {
    /// An address that was free a moment ago.
    pub(crate) fn pick(&mut self) -> io::Result<SocketAddr> {
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

/// Whether the output of an instance says that its address was taken. Texts of the C library, Go, Java, Node, Python
/// and QEMU.
pub(crate) fn says_in_use(output: &str) -> bool {
    let output = output.to_ascii_lowercase();
    [
        "address already in use",
        "address in use",
        "eaddrinuse",
        "port is already allocated",
        "port already in use",
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
        let mut ports = Ports::default();
        let picked: Vec<SocketAddr> = (0..200).map(|_| ports.pick().expect("a port")).collect();
        assert_eq!(picked.iter().collect::<BTreeSet<_>>().len(), picked.len());
        assert!(picked.iter().all(|addr| addr.ip().is_loopback()));
        assert!(TcpListener::bind(picked[0]).is_ok());
    }

    #[test]
    fn what_runtimes_say_about_taken_ports_is_understood() {
        assert!(says_in_use("OSError: [Errno 98] Address already in use"));
        assert!(says_in_use("Error: listen EADDRINUSE: address already in use 127.0.0.1:80"));
        assert!(says_in_use("Could not set up host forwarding rule 'tcp:127.0.0.1:80-:80'"));
        assert!(!says_in_use("connection refused"));
    }
}
