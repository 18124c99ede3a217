// SPDX-License-Identifier: Apache-2.0
//! A volume as filesystem readers want it: many small reads at any offset, or one stream that can
//! seek. A small cache of aligned pieces stands between them and the disk; a writer's many small
//! writes are collected in it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::disk::Storage;
use crate::error::{Error, Result};

/// Aligned pieces are read and kept whole.
const PIECE: u64 = 64 << 10;

/// Pieces kept: 4 MiB.
const PIECES: usize = 64;

/// Reads of this size and more go straight to the disk.
const DIRECT: usize = 128 << 10;

/// What was written is remembered in units of this many bytes: a piece has 128 of them.
const UNIT: usize = 512;
const UNITS: usize = 128;

/// An aligned part of the volume.
struct Piece {
    index: u64,
    bytes: Box<[u8]>,
    /// The units that the storage does not have yet, one bit each.
    unwritten: u128,
}

/// A cached reader of one volume, with a position for [`Read`] and [`Seek`].
pub struct BlockReader {
    storage: Arc<dyn Storage>,
    /// Most recently used first.
    pieces: VecDeque<Piece>,
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
            self.flush()?;
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
                return Err(Error::internal("a cached piece is too short"));
            }
            buf = rest;
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }

    /// Writes `bytes` at `offset`, into the cache: the storage gets them by [`BlockReader::flush`],
    /// or when their piece must make room.
    ///
    /// # Errors
    /// `Corrupt`/`out-of-range`; what the storage reports.
    pub fn write_at(&mut self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.storage.len()) {
            return self.storage.write_at(bytes, offset);
        }
        while !bytes.is_empty() {
            let within = usize::try_from(offset % PIECE).unwrap_or(0);
            self.piece(offset / PIECE)?;
            let Some(piece) = self.pieces.front_mut() else {
                return Err(Error::internal("a cached piece is gone"));
            };
            let to = piece.bytes.get_mut(within..).unwrap_or_default();
            let count = to.len().min(bytes.len());
            if let (Some(to), Some(from)) = (to.get_mut(..count), bytes.get(..count))
                && count > 0
            {
                to.copy_from_slice(from);
            } else {
                return Err(Error::internal("a cached piece is too short"));
            }
            let last = within.saturating_add(count).saturating_sub(1);
            for unit in within / UNIT..=last / UNIT {
                piece.unwritten |= bit(unit);
            }
            bytes = bytes.get(count..).unwrap_or_default();
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }

    /// Brings everything that was written to the storage, in order of offset.
    ///
    /// # Errors
    /// What the storage reports; what it did not take stays here.
    pub fn flush(&mut self) -> Result<()> {
        let mut unwritten: Vec<&mut Piece> = self
            .pieces
            .iter_mut()
            .filter(|piece| piece.unwritten != 0)
            .collect();
        unwritten.sort_by_key(|piece| piece.index);
        for piece in unwritten {
            piece.write_to(self.storage.as_ref())?;
        }
        Ok(())
    }

    /// The piece of that index, moved to the front. The last one of a volume may be short.
    fn piece(&mut self, index: u64) -> Result<&[u8]> {
        let found = self.pieces.iter().position(|piece| piece.index == index);
        let piece = match found.and_then(|place| self.pieces.remove(place)) {
            Some(piece) => piece,
            None => self.load(index)?,
        };
        self.pieces.push_front(piece);
        Ok(self.pieces.front().map_or(&[], |piece| &piece.bytes))
    }

    fn load(&mut self, index: u64) -> Result<Piece> {
        let start = index.saturating_mul(PIECE);
        let len = self.storage.len().saturating_sub(start).min(PIECE);
        let mut evicted = None;
        if self.pieces.len() >= PIECES {
            if let Some(last) = self.pieces.back_mut() {
                last.write_to(self.storage.as_ref())?;
            }
            evicted = self.pieces.pop_back();
        }
        let len = usize::try_from(len).unwrap_or(0);
        let mut bytes = match evicted {
            Some(piece) if piece.bytes.len() == len => piece.bytes,
            _ => vec![0; len].into_boxed_slice(),
        };
        self.storage.read_at(&mut bytes, start)?;
        Ok(Piece {
            index,
            bytes,
            unwritten: 0,
        })
    }
}

impl Piece {
    /// Neighbouring units go in one write.
    fn write_to(&mut self, storage: &dyn Storage) -> Result<()> {
        let start = self.index.saturating_mul(PIECE);
        let mut unit = 0;
        while unit < UNITS && self.unwritten != 0 {
            let run = (unit..UNITS)
                .take_while(|unit| self.unwritten & bit(*unit) != 0)
                .count();
            let (from, to) = (unit, unit.saturating_add(run));
            if run > 0 {
                let at = from.saturating_mul(UNIT);
                let end = to.saturating_mul(UNIT).min(self.bytes.len());
                let bytes = self.bytes.get(at..end).unwrap_or_default();
                storage.write_at(bytes, start.saturating_add(at as u64))?;
                self.unwritten &= !(from..to).fold(0, |mask, unit| mask | bit(unit));
            }
            unit = to.saturating_add(1);
        }
        Ok(())
    }
}

fn bit(unit: usize) -> u128 {
    u32::try_from(unit)
        .ok()
        .and_then(|unit| 1_u128.checked_shl(unit))
        .unwrap_or(0)
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts its writes.
    struct Counting(Bytes, AtomicUsize);

    impl Storage for Counting {
        fn len(&self) -> u64 {
            self.0.len()
        }

        fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            self.0.read_at(buf, offset)
        }

        fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.write_at(buf, offset)
        }

        fn flush(&self) -> Result<()> {
            Ok(())
        }
    }

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

    #[test]
    fn what_is_written_is_read_at_once_and_reaches_the_storage_in_the_end() {
        let len = (6 << 20) + 777;
        let storage = Bytes::shared(disk(len));
        let reader = std::cell::RefCell::new(BlockReader::new(storage.clone()));
        let model = std::cell::RefCell::new(disk(len));
        let write = (0..len, 0..70_000_usize, any::<u8>(), any::<bool>());
        proptest!(|(writes in proptest::collection::vec(write, 1..20))| {
            let (mut reader, mut model) = (reader.borrow_mut(), model.borrow_mut());
            for (offset, size, byte, flush) in writes {
                let size = size.min(len - offset);
                let bytes = vec![byte; size];
                reader.write_at(&bytes, offset as u64).unwrap();
                model[offset..offset + size].copy_from_slice(&bytes);
                let mut back = vec![0; 200_000.min(len - offset)];
                reader.read_exact_at(&mut back, offset as u64).unwrap();
                prop_assert!(back == model[offset..offset + back.len()]);
                if flush {
                    reader.flush().unwrap();
                    let mut all = vec![0; len];
                    storage.read_at(&mut all, 0).unwrap();
                    prop_assert!(all == *model);
                }
            }
        });
        let error = reader.borrow_mut().write_at(&[0; 2], len as u64 - 1);
        assert_eq!(error.unwrap_err().code, "out-of-range");
    }

    #[test]
    fn small_writes_reach_the_storage_as_few_large_ones() {
        let storage = Arc::new(Counting(Bytes::new(disk(1 << 20)), AtomicUsize::new(0)));
        let mut reader = BlockReader::new(storage.clone());
        for n in 0..10_000_u64 {
            reader.write_at(&[7; 4], 4096 + 4 * n).unwrap();
        }
        reader.flush().unwrap();
        reader.flush().unwrap();
        assert_eq!(storage.1.load(Ordering::Relaxed), 1);
    }
}
