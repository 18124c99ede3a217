// SPDX-License-Identifier: Apache-2.0
//! Reading an initramfs image while what came before is being unpacked: the one waits for the disk,
//! the other for the processor.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::read::{Initramfs, SoFar, read_on};

/// Bytes of a piece, and pieces that may wait: 2 MiB together.
const PIECE: usize = 128 << 10;
const WAITING: usize = 16;

type Piece = io::Result<Vec<u8>>;

/// As [`super::read::read_initramfs`], on a thread of its own; this one reads `image`.
pub fn read_initramfs_ahead(image: impl Read, version: &str) -> Initramfs {
    read_on_ahead(SoFar::default(), 0, image, version).0
}

/// As [`read_on`], on a thread of its own; this one reads `image`.
pub(super) fn read_on_ahead(
    so_far: SoFar,
    from: u64,
    image: impl Read,
    version: &str,
) -> (Initramfs, SoFar) {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        let unpacking = scope.spawn(move || read_on(so_far, from, Pieces::new(receiver), version));
        send(image, &sender);
        drop(sender);
        unpacking
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Sends the image to its end, to an error, or until nobody listens: a damaged image is not read
/// to its end.
fn send(mut image: impl Read, to: &SyncSender<Piece>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let piece = image
            .by_ref()
            .take(PIECE as u64)
            .read_to_end(&mut piece)
            .map(|_| piece);
        let last = piece.as_ref().map_or(true, Vec::is_empty);
        if to.send(piece).is_err() || last {
            return;
        }
    }
}

/// The image on the other side.
struct Pieces {
    from: Receiver<Piece>,
    piece: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Pieces {
    fn new(from: Receiver<Piece>) -> Self {
        Self {
            from,
            piece: Vec::new(),
            taken: 0,
            ended: false,
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.taken >= self.piece.len() && !self.ended {
            self.taken = 0;
            self.piece.clear();
            match self.from.recv() {
                Ok(Ok(piece)) if !piece.is_empty() => self.piece = piece,
                Ok(Ok(_)) | Err(_) => self.ended = true,
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
        let count = self.piece.get(self.taken..).unwrap_or_default().read(buf)?;
        self.taken = self.taken.saturating_add(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(image: impl Read) -> io::Result<Vec<u8>> {
        let (sender, receiver) = sync_channel(WAITING);
        thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut all = Vec::new();
                Pieces::new(receiver).read_to_end(&mut all).map(|_| all)
            });
            send(image, &sender);
            drop(sender);
            reading.join().unwrap()
        })
    }

    #[test]
    fn all_bytes_come_through_in_order() {
        for len in [0, 1, PIECE, PIECE + 1, WAITING * PIECE * 3 + 7] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            assert!(through(bytes.as_slice()).unwrap() == bytes, "{len}");
        }
    }

    /// Gives some bytes, then fails.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let count = buf.len().min(self.0);
            self.0 = self.0.saturating_sub(count);
            match count {
                0 => Err(io::Error::other("the disk is gone")),
                count => Ok(count),
            }
        }
    }

    #[test]
    fn a_failing_read_is_told_and_is_no_end_of_the_image() {
        for len in [0, PIECE + 5] {
            let error = through(Failing(len)).unwrap_err();
            assert_eq!(error.to_string(), "the disk is gone");
        }
        let read = read_initramfs_ahead(Failing(0), "1");
        assert!(read.facts.damage.unwrap().contains("the disk is gone"));
    }

    #[test]
    fn an_image_that_is_damaged_at_its_start_is_not_read_to_its_end() {
        struct Counting<'a>(&'a mut usize);
        impl Read for Counting<'_> {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                buf.fill(b'!');
                *self.0 = self.0.saturating_add(buf.len());
                Ok(buf.len())
            }
        }
        let mut count = 0;
        let read = read_initramfs_ahead(Counting(&mut count), "1");
        assert!(read.facts.damage.is_some());
        assert!(count <= PIECE * (WAITING + 4), "{count}");
    }
}
