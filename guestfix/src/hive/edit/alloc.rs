// SPDX-License-Identifier: Apache-2.0
//! The cell allocator: best fit, splitting, coalescing within a bin, new bins at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::Editor;
use crate::error::{Error, Result};
use crate::hive::base;
use crate::hive::cell::{BIN_HEADER, cell_size, place};

/// The hive's own limit: the top bit of an offset means "volatile".
const MOST: u32 = 0x7FFF_F000;

/// Free cells by size and by place.
#[derive(Debug, Default)]
pub(super) struct Free {
    by_size: BTreeSet<(u32, u32)>,
    by_place: BTreeMap<u32, u32>,
}

impl Free {
    pub(super) fn add(&mut self, offset: u32, size: u32) {
        self.by_size.insert((size, offset));
        self.by_place.insert(offset, size);
    }

    fn remove(&mut self, offset: u32) -> Option<u32> {
        let size = self.by_place.remove(&offset)?;
        self.by_size.remove(&(size, offset));
        Some(size)
    }

    fn best(&self, size: u32) -> Option<(u32, u32)> {
        self.by_size.range((size, 0)..).next().copied()
    }

    fn before(&self, offset: u32) -> Option<(u32, u32)> {
        let (start, size) = self.by_place.range(..offset).next_back()?;
        (start.checked_add(*size)? == offset).then_some((*start, *size))
    }
}

impl Editor<'_> {
    /// Allocates a zeroed cell for that many bytes.
    pub(super) fn alloc(&mut self, len: usize) -> Result<u32> {
        let need = u32::try_from(len.saturating_add(4).next_multiple_of(8)).unwrap_or(u32::MAX);
        let (size, offset) = match self.free.best(need) {
            Some(found) => found,
            None => self.grow(need)?,
        };
        self.free.remove(offset);
        let rest = size.saturating_sub(need);
        if rest != 0 {
            self.write_free(offset.saturating_add(need), rest)?;
        }
        let start = place(offset);
        let end = start.saturating_add(usize::try_from(need).unwrap_or(usize::MAX));
        self.changed = true;
        if let Some(cell) = self.hive.bytes.get_mut(start..end) {
            cell.fill(0);
        }
        let header = need.cast_signed().wrapping_neg().to_le_bytes();
        base::put(&mut self.hive.bytes, start, &header)?;
        self.starts.set(offset);
        Ok(offset)
    }

    /// Allocates a cell that holds those bytes.
    pub(super) fn alloc_with(&mut self, content: &[u8]) -> Result<u32> {
        let offset = self.alloc(content.len())?;
        self.put(offset, 0, content)?;
        Ok(offset)
    }

    /// Frees a cell and joins it with free neighbours in its bin.
    pub(super) fn release(&mut self, offset: u32) -> Result<()> {
        self.start(offset)?;
        let (mut size, _) = cell_size(&self.hive.bytes, &self.hive.bins, offset)?;
        self.starts.clear(offset);
        let (bin, bin_end) = self.hive.bins.of(offset).unwrap_or_default();
        let next = offset.saturating_add(size);
        if next < bin_end
            && let Some(more) = self.free.remove(next)
        {
            size = size.saturating_add(more);
        }
        let mut start = offset;
        if let Some((before, len)) = self.free.before(offset)
            && before > bin
        {
            self.free.remove(before);
            start = before;
            size = size.saturating_add(len);
        }
        self.write_free(start, size)
    }

    fn write_free(&mut self, offset: u32, size: u32) -> Result<()> {
        self.changed = true;
        base::put(&mut self.hive.bytes, place(offset), &size.to_le_bytes())?;
        self.free.add(offset, size);
        Ok(())
    }

    /// Adds a bin with one free cell of at least that size.
    fn grow(&mut self, need: u32) -> Result<(u32, u32)> {
        let at = self.hive.base.size;
        let size = need
            .saturating_add(BIN_HEADER)
            .checked_next_multiple_of(4096);
        let end = size
            .and_then(|size| at.checked_add(size))
            .filter(|end| *end <= MOST);
        let (Some(size), Some(end)) = (size, end) else {
            return Err(Error::refused(
                "hive-full",
                "the hive would grow beyond 2 GiB",
            ));
        };
        self.changed = true;
        if self.hive.bytes.len() < place(end) {
            self.hive.bytes.resize(place(end), 0);
        }
        let start = place(at);
        if let Some(bin) = self.hive.bytes.get_mut(start..place(end)) {
            bin.fill(0);
        }
        base::put(&mut self.hive.bytes, start, b"hbin")?;
        base::put(
            &mut self.hive.bytes,
            start.saturating_add(4),
            &at.to_le_bytes(),
        )?;
        base::put(
            &mut self.hive.bytes,
            start.saturating_add(8),
            &size.to_le_bytes(),
        )?;
        self.hive.bins.push(&self.hive.bytes, at, end)?;
        self.hive.base.size = end;
        let cell = (
            at.saturating_add(BIN_HEADER),
            size.saturating_sub(BIN_HEADER),
        );
        self.write_free(cell.0, cell.1)?;
        Ok((cell.1, cell.0))
    }
}
