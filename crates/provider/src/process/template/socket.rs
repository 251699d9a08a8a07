//! The socket between a template and its provider.
//!
//! A Unix socket of sequenced packets: a packet is a whole message with its descriptors, so neither side has to look for
//! the end of a line, and its end is seen like that of a stream.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The provider's end.
#[derive(Debug)]
pub(super) struct Socket(AsyncFd<OwnedFd>);

impl Socket {
    /// Two ends, which both block.
    pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
    }

    /// Must be called inside a tokio runtime.
    pub(super) fn new(end: OwnedFd) -> io::Result<Socket> {
        rustix::io::ioctl_fionbio(&end, true)?;
        // SAFETY: an owned descriptor stays open and the same as long as the value lives.
        let end = unsafe { AsyncFd::register_with_interest(end, Interest::READABLE | Interest::WRITABLE) }?;
        Ok(Socket(end))
    }

    /// Sends one message with at most [`DESCRIPTORS_MAX`] descriptors.
    pub(super) async fn send(&self, message: &str, descriptors: &[OwnedFd]) -> io::Result<()> {
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        let send = |end: &OwnedFd| {
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut room);
            if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            sendmsg(end, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        };
        self.0.async_io(Interest::WRITABLE, send).await
    }

    /// The next message; none when the other end is closed. Descriptors in it are closed by the kernel. Nothing is lost when
    /// the future is dropped.
    pub(super) async fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut packet = vec![0; PACKET_MAX];
        let length = self
            .0
            .async_io(Interest::READABLE, |end| Ok(recv(end, packet.as_mut_slice(), RecvFlags::empty())?.1))
            .await?;
        packet.truncate(length);
        Ok((length > 0).then_some(packet))
    }
}

/// The output, the pipe that says go, the listening socket where one is passed, and the folder of the group where it is told.
const DESCRIPTORS_MAX: usize = 4;
/// More of a message is cut off, in bytes; what a template says is short.
const PACKET_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_arrive_whole_and_the_end_is_seen() {
        let (ours, theirs) = Socket::pair().expect("made");
        let (ours, theirs) = (Socket::new(ours).expect("ours"), Socket::new(theirs).expect("theirs"));
        let file = OwnedFd::from(std::fs::File::open("/dev/null").expect("opens"));
        ours.send("one", &[file]).await.expect("sent");
        ours.send("two", &[]).await.expect("sent");
        assert_eq!(theirs.receive().await.expect("works"), Some(b"one".to_vec()));
        assert_eq!(theirs.receive().await.expect("works"), Some(b"two".to_vec()));
        drop(ours);
        assert_eq!(theirs.receive().await.expect("works"), None);
        theirs.send("three", &[]).await.expect_err("nobody is there");
    }
}
