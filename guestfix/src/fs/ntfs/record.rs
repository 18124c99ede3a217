// SPDX-License-Identifier: Apache-2.0
//! File records and index blocks: fixups, and the attributes of a record.

use crate::volume::field::{has, le16, le32, le64};

/// Every so many bytes the last two of them were exchanged for a number that tells torn writes
/// (linux-ntfs documentation, "Fixup").
const STRIDE: usize = 512;

/// The end of a record's attributes.
const END: u32 = 0xffff_ffff;

/// Undoes the fixups of a block that must begin with `magic`.
pub(super) fn fixed(mut bytes: Vec<u8>, magic: &[u8; 4]) -> Option<Vec<u8>> {
    if !has(&bytes, 0, magic) {
        return None;
    }
    let list = usize::from(le16(&bytes, 4)?);
    let count = usize::from(le16(&bytes, 6)?).checked_sub(1)?;
    if count != bytes.len().checked_div(STRIDE)? {
        return None;
    }
    let mark = le16(&bytes, list)?;
    for index in 0..count {
        let place = index.checked_add(1)?.checked_mul(STRIDE)?.checked_sub(2)?;
        let from = list.checked_add(index.checked_add(1)?.checked_mul(2)?)?;
        let own: [u8; 2] = bytes.get(from..from.checked_add(2)?)?.try_into().ok()?;
        let to = bytes.get_mut(place..place.checked_add(2)?)?;
        if *to != mark.to_le_bytes() {
            return None;
        }
        to.copy_from_slice(&own);
    }
    Some(bytes)
}

/// A file record.
#[derive(Debug)]
pub(super) struct Record {
    bytes: Vec<u8>,
}

/// One attribute as it lies in its record.
#[derive(Debug, Clone)]
pub(super) struct Raw<'r> {
    pub(super) kind: u32,
    pub(super) flags: u16,
    pub(super) instance: u16,
    pub(super) name: Vec<u16>,
    non_resident: bool,
    bytes: &'r [u8],
}

/// The part of an attribute's value that one record describes.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunList<'r> {
    /// The first cluster of the value that it is about.
    pub(super) lowest: u64,
    pub(super) runs: &'r [u8],
    /// Clusters of a compression unit, as a power of two; 0 for a value that is not compressed.
    pub(super) unit: u8,
    /// Bytes; only the part that begins at cluster 0 tells.
    pub(super) size: u64,
    /// Bytes that were ever written; what follows reads as zeros.
    pub(super) written: u64,
}

impl Record {
    pub(super) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let bytes = fixed(bytes, b"FILE")?;
        let used = usize::try_from(le32(&bytes, 24)?).ok()?;
        (used <= bytes.len()).then_some(Self { bytes })
    }

    pub(super) fn is_in_use(&self) -> bool {
        le16(&self.bytes, 22).is_some_and(|flags| flags & 1 != 0)
    }

    /// The attributes, up to the first that cannot be.
    pub(super) fn attributes(&self) -> impl Iterator<Item = Raw<'_>> {
        let mut at = le16(&self.bytes, 20).map(usize::from);
        std::iter::from_fn(move || {
            let start = at.take()?;
            let kind = le32(&self.bytes, start)?;
            let len = usize::try_from(le32(&self.bytes, start.checked_add(4)?)?).ok()?;
            if kind == END || len < 24 {
                return None;
            }
            let end = start.checked_add(len)?;
            at = Some(end);
            Raw::parse(self.bytes.get(start..end)?)
        })
    }
}

impl<'r> Raw<'r> {
    fn parse(bytes: &'r [u8]) -> Option<Self> {
        let units = usize::from(*bytes.get(9)?);
        let from = usize::from(le16(bytes, 10)?);
        let name = bytes.get(from..from.checked_add(units.checked_mul(2)?)?)?;
        Some(Self {
            kind: le32(bytes, 0)?,
            flags: le16(bytes, 12)?,
            instance: le16(bytes, 14)?,
            name: utf16(name),
            non_resident: *bytes.get(8)? != 0,
            bytes,
        })
    }

    /// The value, where it lies in the record.
    pub(super) fn resident(&self) -> Option<&'r [u8]> {
        if self.non_resident {
            return None;
        }
        let len = usize::try_from(le32(self.bytes, 16)?).ok()?;
        let from = usize::from(le16(self.bytes, 20)?);
        self.bytes.get(from..from.checked_add(len)?)
    }

    /// Where the value lies, when it does not lie in the record.
    pub(super) fn run_list(&self) -> Option<RunList<'r>> {
        if !self.non_resident {
            return None;
        }
        let from = usize::from(le16(self.bytes, 32)?);
        Some(RunList {
            lowest: le64(self.bytes, 16)?,
            runs: self.bytes.get(from..)?,
            unit: *self.bytes.get(34)?,
            size: le64(self.bytes, 48)?,
            written: le64(self.bytes, 56)?,
        })
    }
}

/// UTF-16 units of bytes.
pub(super) fn utf16(bytes: &[u8]) -> Vec<u16> {
    let units = bytes.chunks_exact(2);
    units
        .filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)))
        .collect()
}
