//! Opening listening sockets: one per shard on the same address, so that the kernel spreads connections over the
//! shards without a lock between them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};

/// One listener per shard.
///
/// # Errors
/// When the address is in use (by anyone, another proxy with shared listeners included) or cannot be bound.
pub(crate) fn open_listeners(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    // Sharing a port is allowed to every process of the user; only a socket that does not share finds out that the
    // address is taken.
    drop(open(address, Sharing::Exclusive)?);
    more_listeners(address, count)
}

/// So many beside those that there are.
///
/// # Errors
/// When another user has the address.
pub(crate) fn more_listeners(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    (0..count).map(|_| open(address, Sharing::Shards)).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    Shards,
}

fn open(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if sharing == Sharing::Shards {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    bind(&socket, &address)?;
    if sharing == Sharing::Shards {
        listen(&socket, BACKLOG)?;
    }
    Ok(TcpListener::from(socket))
}

/// Connections that may wait to be accepted, per shard; the kernel cuts it to its own limit.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_shards_listen_on_is_in_use() {
        let address = loopback::free_address();
        let listeners = open_listeners(address, 2).expect("free");
        assert_eq!(listeners.len(), 2);
        assert_eq!(open_listeners(address, 2).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
        assert!(open_listeners(address, 2).is_ok());
    }
}
