//! Loopback addresses for what must be told a port before it binds it. For tests only.
//!
//! A port that the kernel chose and that was closed again may be anybody's by then: the kernel gives it to a connection or to
//! the next who lets it choose, and Docker publishes a container there. Ports outside of that range are taken by nobody
//! who does not mean them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Linux itself gives away those from 32768 on; most services that may be started meanwhile live below these.
const PORTS: Range<u16> = 10_000..32_768;
/// How far from each other two processes begin of which one was started right after the other: more than one of them needs.
const STRIDE: usize = 211;

/// An address that was free a moment ago and is given to nobody else in this process.
///
/// # Panics
/// When there is none left.
pub fn free_address() -> SocketAddr {
    static TRIED: AtomicUsize = AtomicUsize::new(0);
    // Tests of several processes run at the same time.
    let first = std::process::id() as usize * STRIDE;
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        assert!(tried < PORTS.len(), "no free port is left of {PORTS:?}");
        let port = PORTS.clone().nth((first + tried) % PORTS.len()).expect("within");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn addresses_are_free_and_given_once() {
        let first = free_address();
        let used = SocketAddr::new(first.ip(), first.port() + 1);
        // Somebody else may have it.
        let _used = TcpListener::bind(used);
        let taking = || (0..50).map(|_| free_address()).collect::<Vec<_>>();
        let takers: Vec<_> = (0..4).map(|_| thread::spawn(taking)).collect();
        let taken = takers.into_iter().flat_map(|taker| taker.join().expect("no panic"));
        let addresses: BTreeSet<_> = taken.chain([first]).collect();
        assert_eq!(addresses.len(), 201);
        assert!(!addresses.contains(&used));
        assert!(addresses.iter().all(|address| PORTS.contains(&address.port())));
        assert!(addresses.iter().all(|address| TcpListener::bind(address).is_ok()));
    }
}
