// SPDX-License-Identifier: Apache-2.0
//! Typed messages with descriptors between our processes.
//!
//! A message is a frame on a Unix stream socket: a little-endian 64-bit length, then that many
//! bytes of MessagePack with field names. Descriptors ride with the length.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Longest message body, bytes. Larger things are sent in parts.
pub const MAX_BODY: u64 = 256 << 20;

/// Most descriptors that one message may carry.
pub const MAX_FDS: usize = 32;

/// Bytes by which a receiver grows its buffer, so that a lying length costs nothing.
const STEP: usize = 1 << 20;

/// One end of a connection between two of our processes. Threads may share it.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    sending: Mutex<()>,
    receiving: Mutex<()>,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    /// `Host`/`io` when the kernel gives no socket.
    pub fn pair() -> Result<(Self, Self)> {
        let (one, two) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|e| Error::io("making a socket pair", e))?;
        Ok((Self::from(one), Self::from(two)))
    }

    /// The end that [`super::Child::spawn`] gave this process as its standard input, which is
    /// `/dev/null` from now on.
    ///
    /// # Errors
    /// `Usage`/`not-a-child` when a person typed the name of a role; `Host`/`io` otherwise.
    pub fn inherited() -> Result<Self> {
        let stdin = std::io::stdin();
        if rustix::net::sockopt::socket_type(&stdin) != Ok(SocketType::STREAM) {
            return Err(Error::new(
                crate::error::Kind::Usage,
                "not-a-child",
                "this command is started by guestfix itself",
            ));
        }
        let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)
            .map_err(|e| Error::io("keeping the channel", e))?;
        let null =
            std::fs::File::open("/dev/null").map_err(|e| Error::io("opening /dev/null", e))?;
        nix::unistd::dup2_stdin(&null).map_err(|e| Error::io("closing standard input", e))?;
        Ok(Self::from(socket))
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Sends one message with descriptors; blocks until the peer's socket took it.
    ///
    /// # Errors
    /// `Internal` for a value that cannot be encoded or is larger than [`MAX_BODY`];
    /// `Host`/`peer-gone` when the other process has died.
    pub fn send<T: Serialize + ?Sized>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let body = rmp_serde::to_vec_named(message)
            .map_err(|e| Error::internal("encoding a message").because(e))?;
        if body.len() as u64 > MAX_BODY || fds.len() > MAX_FDS {
            return Err(Error::internal(format!(
                "a message of {} bytes and {} descriptors is too large",
                body.len(),
                fds.len()
            )));
        }
        let head = (body.len() as u64).to_le_bytes();
        let _one_at_a_time = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        self.send_bytes(&head, fds)?;
        self.send_bytes(&body, &[])
    }

    fn send_bytes(&self, mut bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut fds = fds;
        while !bytes.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Error::internal("too many descriptors for one message"));
            }
            let sent = rustix::net::sendmsg(
                &self.socket,
                &[IoSlice::new(bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            );
            match sent {
                Ok(n) => {
                    bytes = bytes.get(n..).unwrap_or_default();
                    fds = &[];
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(peer_gone().because(e)),
            }
        }
        Ok(())
    }

    /// Receives one message with its descriptors, which are close-on-exec; `None` when the peer
    /// has closed its end.
    ///
    /// # Errors
    /// `Host`/`peer-gone` when the peer died in the middle of a message; `Internal` for a message
    /// that is none.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>> {
        let _one_at_a_time = self
            .receiving
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut fds = Vec::new();
        let mut head = [0_u8; 8];
        let got = self.fill(&mut head, &mut fds)?;
        if got == 0 {
            return Ok(None);
        }
        let want = u64::from_le_bytes(head);
        if got < head.len() {
            return Err(peer_gone());
        }
        if want > MAX_BODY {
            return Err(Error::internal(format!("a message of {want} bytes")));
        }
        let body = self.body(usize::try_from(want).unwrap_or(0), &mut fds)?;
        let message = rmp_serde::from_slice(&body)
            .map_err(|e| Error::internal("decoding a message").because(e))?;
        Ok(Some((message, fds)))
    }

    fn body(&self, want: usize, fds: &mut Vec<OwnedFd>) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() < want {
            let start = body.len();
            body.resize(want.min(start.saturating_add(STEP)), 0);
            let part = body.get_mut(start..).unwrap_or_default();
            let len = part.len();
            if self.fill(part, fds)? < len {
                return Err(peer_gone());
            }
        }
        Ok(body)
    }

    /// Reads until `buf` is full or the peer is gone; how much was read.
    fn fill(&self, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize> {
        let mut done = 0_usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(rest)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            );
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    fds.extend(rights);
                }
            }
            match received {
                Ok(message) if message.bytes == 0 => break,
                Ok(message) => done = done.saturating_add(message.bytes),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => break,
                Err(e) => return Err(peer_gone().because(e)),
            }
            if fds.len() > MAX_FDS {
                return Err(Error::internal("too many descriptors in one message"));
            }
        }
        Ok(done)
    }

    /// Waits until [`Channel::recv`] would not block. `false` when the time is over or a signal
    /// came first, so that a caller can look at [`super::signal`].
    ///
    /// # Errors
    /// `Host`/`io` when polling fails.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        let millis = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut polled, millis) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(e) => Err(Error::io("waiting for a message", e)),
        }
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self {
            socket,
            sending: Mutex::new(()),
            receiving: Mutex::new(()),
        }
    }
}

fn peer_gone() -> Error {
    Error::host("peer-gone", "another process of guestfix has died")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn a_message_arrives_whole_and_with_its_descriptors() {
        let (one, two) = Channel::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        let big = serde_bytes::ByteBuf::from(vec![7_u8; 5 << 20]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                one.send(&("first", &big), &[file.as_fd()]).unwrap();
                one.send(&("second", serde_bytes::ByteBuf::new()), &[])
                    .unwrap();
                one.send(&7_u8, &[]).unwrap();
            });
            let ((name, body), mut fds): ((String, serde_bytes::ByteBuf), _) =
                two.recv().unwrap().unwrap();
            assert_eq!(
                (name.as_str(), body.len(), fds.len()),
                ("first", 5 << 20, 1)
            );
            let fd = fds.pop().unwrap();
            assert!(
                rustix::io::fcntl_getfd(&fd)
                    .unwrap()
                    .contains(rustix::io::FdFlags::CLOEXEC)
            );
            let mut text = String::new();
            let mut copy = std::fs::File::from(fd);
            copy.rewind().unwrap();
            copy.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
            let ((name, _), fds): ((String, serde_bytes::ByteBuf), _) =
                two.recv().unwrap().unwrap();
            assert_eq!((name.as_str(), fds.len()), ("second", 0));
            assert_eq!(two.recv::<u8>().unwrap().unwrap().0, 7);
        });
    }

    #[test]
    fn a_closed_peer_is_the_end_but_half_a_message_is_an_error() {
        let (one, two) = Channel::pair().unwrap();
        drop(one);
        assert!(two.recv::<u8>().unwrap().is_none());
        assert_eq!(two.send(&1_u8, &[]).unwrap_err().code, "peer-gone");

        let (one, two) = Channel::pair().unwrap();
        one.send_bytes(&100_u64.to_le_bytes(), &[]).unwrap();
        one.send_bytes(b"short", &[]).unwrap();
        drop(one);
        assert_eq!(two.recv::<u8>().unwrap_err().code, "peer-gone");
    }

    #[test]
    fn a_lying_length_is_refused() {
        let (one, two) = Channel::pair().unwrap();
        one.send_bytes(&u64::MAX.to_le_bytes(), &[]).unwrap();
        assert_eq!(two.recv::<u8>().unwrap_err().code, "internal");
    }
}
