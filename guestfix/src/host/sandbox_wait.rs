// SPDX-License-Identifier: Apache-2.0
//! Waiting for a guest's program: its output, what it touches, and its end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use serde_bytes::ByteBuf;

use super::fanotify::Watch;
use super::sandbox::{End, Exit};
use crate::error::{Error, Result};

/// Bytes of output that are kept: the last ones.
const TAIL: usize = 64 << 10;

/// Reads of 64 KiB before the clock is looked at again: a flood must not outlast its time.
const ROUNDS: usize = 64;

/// Takes output, and what is touched, until process 1 has told its verdict; `false` when the time
/// was over first.
pub(super) fn collect(
    output: &OwnedFd,
    verdict: &OwnedFd,
    deadline: Instant,
    tail: &mut Tail,
    watch: &mut Watch,
) -> Result<bool> {
    rustix::io::ioctl_fionbio(output, true).map_err(|e| Error::io("reading output", e))?;
    let mut open = true;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let ready = {
            let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut polled = vec![readable(verdict.as_fd())];
            polled.extend(watch.events().map(readable));
            polled.extend(open.then(|| readable(output.as_fd())));
            let millis = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match nix::poll::poll(&mut polled, millis) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(Error::io("waiting for a guest program", e)),
            }
            polled.first().and_then(PollFd::any).unwrap_or(false)
        };
        watch.drain()?;
        if open {
            open = drain(output, tail)?;
        }
        if ready {
            return Ok(true);
        }
    }
}

/// Takes what is there, up to some megabytes; `false` once every writer is gone.
pub(super) fn drain(output: &OwnedFd, tail: &mut Tail) -> Result<bool> {
    let mut part = vec![0; 1 << 16];
    for _ in 0..ROUNDS {
        match rustix::io::read(output, &mut part) {
            Ok(0) => return Ok(false),
            Ok(len) => tail.push(part.get(..len).unwrap_or_default()),
            Err(rustix::io::Errno::AGAIN) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("reading a guest program's output", e)),
        }
    }
    Ok(true)
}

/// The last bytes of an output of any length.
#[derive(Debug, Default)]
pub(super) struct Tail {
    kept: Vec<u8>,
    dropped: u64,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * TAIL {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.kept.len().saturating_sub(TAIL);
        self.kept.drain(..surplus);
        self.dropped = self.dropped.saturating_add(surplus as u64);
    }

    pub(super) fn exit(mut self, end: End) -> Exit {
        self.cut();
        Exit {
            end,
            output: ByteBuf::from(self.kept),
            dropped: self.dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let mut tail = Tail::default();
        for n in 0..40_000_u32 {
            tail.push(format!("{n:07}\n").as_bytes());
        }
        let exit = tail.exit(End::Code(0));
        assert_eq!(exit.output.len(), TAIL);
        assert!(exit.output.ends_with(b"0039999\n"));
        assert_eq!(exit.dropped + TAIL as u64, 320_000);
    }
}
