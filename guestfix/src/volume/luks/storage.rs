// SPDX-License-Identifier: Apache-2.0
//! The bytes of an opened LUKS volume.

use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

use super::cipher::SectorCipher;
use crate::disk::{Below, CHUNK, Storage, check_range};
use crate::error::{Error, Result};

/// An opened volume: what is written is encrypted, what is read decrypted.
pub(super) struct Opened {
    pub(super) name: String,
    pub(super) inner: Arc<dyn Storage>,
    /// Where the encrypted bytes begin, and how many they are.
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) cipher: SectorCipher,
    /// Bytes that are encrypted together.
    pub(super) sector: u64,
    /// The number of the first sector, in units of 512 bytes.
    pub(super) first: u64,
    /// Held for writing while a sector is changed in part.
    pub(super) parts: RwLock<()>,
}

impl Opened {
    /// The whole sectors around a range: start and length.
    fn around(&self, offset: u64, len: usize) -> (u64, u64) {
        let inside = offset.checked_rem(self.sector).unwrap_or(0);
        let start = offset.saturating_sub(inside);
        let end = offset.saturating_add(len as u64);
        let whole = end.saturating_sub(start).next_multiple_of(self.sector);
        (start, whole)
    }

    fn number(&self, offset: u64) -> u64 {
        self.first.wrapping_add(offset / 512)
    }

    fn sectors(&self, start: u64, len: u64) -> Result<Zeroizing<Vec<u8>>> {
        let len = usize::try_from(len).map_err(|e| Error::internal("a long read").because(e))?;
        let mut bytes = Zeroizing::new(vec![0; len]);
        self.inner
            .read_at(&mut bytes, self.start.saturating_add(start))?;
        self.cipher.decrypt(&mut bytes, self.number(start));
        Ok(bytes)
    }

    /// A part that is at most [`CHUNK`] long.
    fn write_part(&self, buf: &[u8], offset: u64) -> Result<()> {
        let (start, len) = self.around(offset, buf.len());
        let whole = start == offset && len == buf.len() as u64;
        let (_one, _many);
        let mut bytes = if whole {
            _many = self.parts.read().unwrap_or_else(PoisonError::into_inner);
            Zeroizing::new(buf.to_vec())
        } else {
            _one = self.parts.write().unwrap_or_else(PoisonError::into_inner);
            let mut bytes = self.sectors(start, len)?;
            let at = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
            let to = bytes.get_mut(at..at.saturating_add(buf.len()));
            to.ok_or_else(|| Error::internal("a write beside its sector"))?
                .copy_from_slice(buf);
            bytes
        };
        self.cipher.encrypt(&mut bytes, self.number(start));
        self.inner
            .write_at(&bytes, self.start.saturating_add(start))
    }
}

impl Storage for Opened {
    fn len(&self) -> u64 {
        self.len
    }

    fn below(&self, offset: u64, len: u64) -> Vec<Below> {
        let (start, len) = self.around(offset, usize::try_from(len).unwrap_or(usize::MAX));
        vec![Below {
            storage: Arc::clone(&self.inner),
            offset: self.start.saturating_add(start),
            len: len.min(self.len.saturating_sub(start)),
        }]
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len()).map_err(|e| e.on(&self.name))?;
        let mut at = offset;
        for part in buf.chunks_mut(CHUNK) {
            let (start, len) = self.around(at, part.len());
            let bytes = self.sectors(start, len)?;
            let skip = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            let from = bytes.get(skip..skip.saturating_add(part.len()));
            part.copy_from_slice(from.ok_or_else(|| Error::internal("a read beside its sector"))?);
            at = at.saturating_add(part.len() as u64);
        }
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len()).map_err(|e| e.on(&self.name))?;
        let mut at = offset;
        let mut left = buf;
        while !left.is_empty() {
            // Up to a whole chunk, so that all parts but the ends are whole sectors.
            let inside = at.checked_rem(CHUNK as u64).unwrap_or(0);
            let inside = usize::try_from(inside).unwrap_or(0);
            let (part, rest) = left.split_at(CHUNK.saturating_sub(inside).min(left.len()));
            self.write_part(part, at)?;
            at = at.saturating_add(part.len() as u64);
            left = rest;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }
}
