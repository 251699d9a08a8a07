//! Open files from process to process (SCM_RIGHTS).
//!
//! Each batch goes with one byte. A read of one byte gets the files of that byte only, so nothing needs to be said about where they are
//! in the stream.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Sends all of them.
///
/// # Errors
/// When the other side is gone, or takes none.
pub(crate) async fn send(stream: &UnixStream, files: &[OwnedFd]) -> io::Result<()> {
    let files: Vec<BorrowedFd<'_>> = files.iter().map(OwnedFd::as_fd).collect();
    for batch in files.chunks(BATCH) {
        stream.async_io(Interest::WRITABLE, || send_batch(stream, batch)).await?;
    }
    Ok(())
}

fn send_batch(stream: &UnixStream, batch: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(batch)) {
        return Err(io::Error::other("more files than a batch has"));
    }
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives exactly `count`.
///
/// # Errors
/// When the other side is gone before, or this process may not open as many.
pub(crate) async fn receive(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut files = Vec::new();
    while files.len() < count {
        let expected = (count - files.len()).min(BATCH);
        let batch = stream.async_io(Interest::READABLE, || receive_batch(stream)).await?;
        if batch.len() != expected {
            let reason = format!("{} of {expected} files arrived", batch.len());
            return Err(io::Error::other(reason));
        }
        files.extend(batch);
    }
    Ok(files)
}

fn receive_batch(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    Ok(rights.flatten().collect())
}

/// Files sent at once; the kernel takes 253.
const BATCH: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn files_arrive_in_their_order_between_other_bytes() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        let listeners: Vec<_> =
            (0..150).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let ports: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("bound").port()).collect();
        let files: Vec<OwnedFd> = listeners.into_iter().map(OwnedFd::from).collect();
        let give = async {
            here.write_all(b"before").await.expect("written");
            send(&here, &files).await.expect("sent");
            here.write_all(b"after").await.expect("written");
        };
        let take = async {
            let mut text = [0; 6];
            there.read_exact(&mut text).await.expect("read");
            assert_eq!(&text, b"before");
            let received = receive(&there, 150).await.expect("received");
            let mut text = [0; 5];
            there.read_exact(&mut text).await.expect("read");
            assert_eq!(&text, b"after");
            received
        };
        let ((), received) = tokio::join!(give, take);
        let port = |file| TcpListener::from(file).local_addr().expect("bound").port();
        assert_eq!(received.into_iter().map(port).collect::<Vec<_>>(), ports);
        drop(here);
        assert!(receive(&there, 1).await.is_err());
    }
}
