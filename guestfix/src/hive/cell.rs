// SPDX-License-Identifier: Apache-2.0
//! Bytes of a hive, read with their place: cells, and the bins that hold them.

use super::damaged;
use crate::error::Result;

/// Length of the base block; cell offsets count from here.
pub(super) const BASE: usize = 4096;
/// The offset that means "none".
pub(super) const NONE: u32 = u32::MAX;
/// Length of a bin's header.
pub(super) const BIN_HEADER: u32 = 32;
const PAGE: u32 = 4096;

/// A little-endian number, if the bytes are there.
pub(super) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    let raw = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(raw.try_into().ok()?))
}

/// A little-endian number, if the bytes are there.
pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    let raw = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(raw.try_into().ok()?))
}

/// A little-endian number, if the bytes are there.
pub(super) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    let raw = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(raw.try_into().ok()?))
}

/// Where a cell's bytes lie in the file.
pub(super) fn place(offset: u32) -> usize {
    usize::try_from(offset).map_or(usize::MAX, |o| o.saturating_add(BASE))
}

/// An allocated cell: its offset and its content without the size field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell<'h> {
    pub(super) offset: u32,
    pub(super) data: &'h [u8],
}

impl<'h> Cell<'h> {
    /// The place of a byte of the content in the file, for messages.
    pub(super) fn at(&self, inside: usize) -> u64 {
        let place = place(self.offset).saturating_add(4).saturating_add(inside);
        u64::try_from(place).unwrap_or(u64::MAX)
    }

    pub(super) fn slice(&self, at: usize, len: usize) -> Result<&'h [u8]> {
        let end = at.checked_add(len);
        end.and_then(|end| self.data.get(at..end)).ok_or_else(|| {
            damaged(
                self.at(at),
                "a cell is too short",
                format!("{len} bytes"),
                self.data.len().saturating_sub(at),
            )
        })
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.slice(at, N)?);
        Ok(out)
    }

    pub(super) fn u16(&self, at: usize) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array(at)?))
    }

    pub(super) fn u32(&self, at: usize) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(at)?))
    }

    pub(super) fn u64(&self, at: usize) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(at)?))
    }

    /// The two letters that say what the cell holds.
    pub(super) fn tag(&self) -> Result<[u8; 2]> {
        self.array(0)
    }

    /// Fails unless the cell holds what is expected.
    pub(super) fn expect(&self, tag: [u8; 2]) -> Result<()> {
        let found = self.tag()?;
        if found == tag {
            return Ok(());
        }
        Err(damaged(
            self.at(0),
            "a cell is of another kind",
            format!("{:?}", String::from_utf8_lossy(&tag)),
            format!("{:?}", String::from_utf8_lossy(&found)),
        ))
    }
}

/// Which bin each page of the hive belongs to.
#[derive(Debug, Clone, Default)]
pub(super) struct Bins {
    pages: Vec<(u32, u32)>,
}

impl Bins {
    /// Reads the headers of all bins in `size` bytes after the base block.
    pub(super) fn read(bytes: &[u8], size: u32) -> Result<Self> {
        let mut bins = Self::default();
        let mut at = 0_u32;
        while at < size {
            at = bins.push(bytes, at, size)?;
        }
        Ok(bins)
    }

    /// How many bytes of valid bins follow the base block, whatever the base block says.
    pub(super) fn effective_size(bytes: &[u8]) -> u32 {
        let most = bytes.len().saturating_sub(BASE) & !0xFFF;
        let most = u32::try_from(most).unwrap_or(0x7FFF_F000);
        let mut bins = Self::default();
        let mut at = 0_u32;
        while at < most {
            match bins.push(bytes, at, most) {
                Ok(next) => at = next,
                Err(_) => break,
            }
        }
        at
    }

    /// Adds the bin at that offset and says where the next one starts.
    pub(super) fn push(&mut self, bytes: &[u8], at: u32, limit: u32) -> Result<u32> {
        let file = place(at);
        let bad = |what: &str, expected: String, actual: String| {
            damaged(u64::try_from(file).unwrap_or(0), what, expected, actual)
        };
        let tag = bytes.get(file..file.saturating_add(4)).unwrap_or_default();
        if tag != b"hbin" {
            let found = format!("{:?}", String::from_utf8_lossy(tag));
            return Err(bad("a bin has no signature", "\"hbin\"".to_owned(), found));
        }
        let own = le32(bytes, file.saturating_add(4)).unwrap_or(NONE);
        if own != at {
            return Err(bad(
                "a bin is not in its place",
                at.to_string(),
                own.to_string(),
            ));
        }
        let size = le32(bytes, file.saturating_add(8)).unwrap_or(0);
        let end = at.checked_add(size).filter(|end| *end <= limit);
        match end {
            Some(end) if size >= PAGE && size.is_multiple_of(PAGE) && place(end) <= bytes.len() => {
                for _ in 0..size / PAGE {
                    self.pages.push((at, end));
                }
                Ok(end)
            }
            _ => Err(bad(
                "a bin has an impossible size",
                format!("a multiple of {PAGE} up to {}", limit.saturating_sub(at)),
                size.to_string(),
            )),
        }
    }

    /// Start and end of the bin that holds an offset.
    pub(super) fn of(&self, offset: u32) -> Option<(u32, u32)> {
        let page = usize::try_from(offset / PAGE).ok()?;
        self.pages.get(page).copied()
    }
}

/// Size of the cell (with its size field) at that offset, and whether it is allocated.
pub(super) fn cell_size(bytes: &[u8], bins: &Bins, offset: u32) -> Result<(u32, bool)> {
    let file = u64::try_from(place(offset)).unwrap_or(u64::MAX);
    let bin = bins.of(offset).filter(|(start, _)| {
        offset.is_multiple_of(8) && offset.saturating_sub(*start) >= BIN_HEADER
    });
    let Some((_, end)) = bin else {
        return Err(damaged(
            file,
            "a reference leads to no cell",
            "a multiple of 8 inside a bin",
            format!("offset {offset:#x}"),
        ));
    };
    let raw = le32(bytes, place(offset)).unwrap_or(0).cast_signed();
    let size = raw.unsigned_abs();
    if size < 8 || !size.is_multiple_of(8) || offset.checked_add(size).is_none_or(|e| e > end) {
        return Err(damaged(
            file,
            "a cell has an impossible size",
            format!("a multiple of 8 up to {}", end.saturating_sub(offset)),
            raw,
        ));
    }
    Ok((size, raw < 0))
}
