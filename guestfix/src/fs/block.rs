// SPDX-License-Identifier: Apache-2.0
//! A volume as filesystem readers want it: many small reads at any offset, or one stream that can
//! seek. A small cache of aligned pieces stands between them and the disk.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::disk::Storage;
use crate::error::Result;

/// Aligned pieces are read and kept whole.
const PIECE: u64 = 64 << 10;

/// Pieces kept: 4 MiB.
const PIECES: usize = 64;

/// Reads of this size and more go straight to the disk.
const DIRECT: usize = 128 << 10;

/// A cached reader of one volume, with a position for [`Read`] and [`Seek`].
pub struct BlockReader {
    storage: Arc<dyn Storage>,
    /// Pieces by index, most recently used first.
    pieces: VecDeque<(u64, Box<[u8]>)>,
    at: u64,
}

impl fmt::Debug for BlockReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockReader")
            .field("pieces", &self.pieces.len())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl BlockReader {
    /// A reader with an empty cache, standing at byte 0.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            pieces: VecDeque::new(),
            at: 0,
        }
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `Corrupt`/`out-of-range` when the range leaves the volume; `Host`/`io` when reading fails.
    pub fn read_exact_at(&mut self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        let inside = offset
            .checked_add(buf.len() as u64)
            .is_some_and(|end| end <= self.storage.len());
        if buf.len() >= DIRECT || !inside {
            // Outside the volume the storage makes the error, with its name in it.
            return self.storage.read_at(buf, offset);
        }
        while !buf.is_empty() {
            let within = usize::try_from(offset % PIECE).unwrap_or(0);
            let piece = self.piece(offset / PIECE)?;
            let from = piece.get(within..).unwrap_or_default();
            let count = from.len().min(buf.len());
            let (now, rest) = buf.split_at_mut(count);
            now.copy_from_slice(from.get(..count).unwrap_or_default());
            if count == 0 {
                return Err(crate::error::Error::internal("a cached piece is too short"));
            }
            buf = rest;
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }

    /// Takes note of bytes that were written to the storage, so that no piece stays old.
    pub(crate) fn note_write(&mut self, bytes: &[u8], offset: u64) {
        let end = offset.saturating_add(bytes.len() as u64);
        for (index, piece) in &mut self.pieces {
            let start = index.saturating_mul(PIECE);
            let from = offset.max(start);
            let to = end.min(start.saturating_add(piece.len() as u64));
            let range = |base: u64| {
                let at = |place: u64| usize::try_from(place.checked_sub(base)?).ok();
                Some(at(from)?..at(to)?)
            };
            if from < to
                && let (Some(theirs), Some(ours)) = (range(offset), range(start))
                && let (Some(new), Some(old)) = (bytes.get(theirs), piece.get_mut(ours))
            {
                old.copy_from_slice(new);
            }
        }
    }

    /// The piece of that index, moved to the front. The last one of a volume may be short.
    fn piece(&mut self, index: u64) -> Result<&[u8]> {
        let found = self.pieces.iter().position(|(at, _)| *at == index);
        let piece = match found.and_then(|place| self.pieces.remove(place)) {
            Some(piece) => piece,
            None => self.load(index)?,
        };
        self.pieces.push_front(piece);
        Ok(self.pieces.front().map_or(&[], |(_, bytes)| bytes))
    }

    fn load(&mut self, index: u64) -> Result<(u64, Box<[u8]>)> {
        let start = index.saturating_mul(PIECE);
        let len = self.storage.len().saturating_sub(start).min(PIECE);
        let evicted = (self.pieces.len() >= PIECES)
            .then(|| self.pieces.pop_back())
            .flatten();
        let len = usize::try_from(len).unwrap_or(0);
        let mut bytes = match evicted {
            Some((_, bytes)) if bytes.len() == len => bytes,
            _ => vec![0; len].into_boxed_slice(),
        };
        self.storage.read_at(&mut bytes, start)?;
        Ok((index, bytes))
    }
}

impl Read for BlockReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.storage.len().saturating_sub(self.at);
        let count = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let part = buf.get_mut(..count).unwrap_or_default();
        if part.is_empty() {
            return Ok(0);
        }
        self.read_exact_at(part, self.at)
            .map_err(io::Error::other)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for BlockReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = seek_target(to, self.at, self.storage.len())?;
        Ok(self.at)
    }
}

/// Where a seek leads; past the end is allowed, before the start is not.
pub(crate) fn seek_target(to: SeekFrom, at: u64, len: u64) -> io::Result<u64> {
    match to {
        SeekFrom::Start(at) => Some(at),
        SeekFrom::End(by) => len.checked_add_signed(by),
        SeekFrom::Current(by) => at.checked_add_signed(by),
    }
    .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl ext4_view::Ext4Read for BlockReader {
    fn read(
        &mut self,
        start_byte: u64,
        dst: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.read_exact_at(dst, start_byte)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::sample::Bytes;
    use proptest::prelude::*;

    fn disk(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 13 & 0xff).unwrap())
            .collect()
    }

    #[test]
    fn reads_anywhere_are_the_disks_own_bytes() {
        // Larger than the cache, and no whole number of pieces.
        let bytes = disk((6 << 20) + 777);
        let reader = BlockReader::new(Bytes::shared(bytes.clone()));
        let reader = std::cell::RefCell::new(reader);
        proptest!(|(offset in 0..bytes.len(), len in 0..200_000_usize)| {
            let len = len.min(bytes.len() - offset);
            let mut buf = vec![0; len];
            let mut reader = reader.borrow_mut();
            reader.read_exact_at(&mut buf, offset as u64).unwrap();
            prop_assert_eq!(&buf, &bytes[offset..offset + len]);
            prop_assert!(reader.pieces.len() <= PIECES);
        });
        let error = reader
            .borrow_mut()
            .read_exact_at(&mut [0; 2], bytes.len() as u64 - 1);
        assert_eq!(error.unwrap_err().code, "out-of-range");
    }

    #[test]
    fn it_streams_to_the_end_and_seeks() {
        let bytes = disk(300_000);
        let mut reader = BlockReader::new(Bytes::shared(bytes.clone()));
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, bytes);
        assert_eq!(reader.seek(SeekFrom::End(-2)).unwrap(), 299_998);
        all.clear();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, bytes[299_998..]);
        assert!(reader.seek(SeekFrom::Current(-300_001)).is_err());
        assert_eq!(reader.seek(SeekFrom::Start(1 << 40)).unwrap(), 1 << 40);
        assert_eq!(Read::read(&mut reader, &mut [0; 4]).unwrap(), 0);
    }
}
