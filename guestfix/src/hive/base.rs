// SPDX-License-Identifier: Apache-2.0
//! The base block: version, sequence numbers, root cell, size, checksum.

use super::cell::{le32, le64};
use super::damaged;
use crate::error::{Error, Result};

/// What the first 512 bytes of a hive or of a log say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BaseBlock {
    pub(super) primary_sequence: u32,
    pub(super) secondary_sequence: u32,
    pub(super) timestamp: u64,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) kind: u32,
    pub(super) root: u32,
    pub(super) size: u32,
    pub(super) checksum_ok: bool,
}

/// The file type of a hive.
pub(super) const PRIMARY: u32 = 0;

impl BaseBlock {
    /// Reads it if there is one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(b"regf") || bytes.len() < 512 {
            return None;
        }
        Some(Self {
            primary_sequence: le32(bytes, 4)?,
            secondary_sequence: le32(bytes, 8)?,
            timestamp: le64(bytes, 12)?,
            major: le32(bytes, 20)?,
            minor: le32(bytes, 24)?,
            kind: le32(bytes, 28)?,
            root: le32(bytes, 36)?,
            size: le32(bytes, 40)?,
            checksum_ok: le32(bytes, 508) == Some(checksum(bytes)),
        })
    }

    /// Whether the last write ended well.
    pub(super) fn is_clean(&self) -> bool {
        self.checksum_ok && self.primary_sequence == self.secondary_sequence
    }

    /// Fails on versions that this room does not know, and on impossible sizes.
    pub(super) fn supported(&self) -> Result<()> {
        if self.major != 1 || !(3..=6).contains(&self.minor) {
            return Err(Error::unsupported(
                "hive-version",
                format!(
                    "the hive has version {}.{}; versions 1.3 to 1.6 are known",
                    self.major, self.minor
                ),
            )
            .at(20));
        }
        if self.size == 0 || !self.size.is_multiple_of(4096) || self.size > 0x7FFF_F000 {
            return Err(damaged(
                40,
                "the hive has an impossible size",
                "a multiple of 4096 below 2 GiB",
                self.size,
            ));
        }
        Ok(())
    }
}

/// XOR of the first 127 words; the two values that would look like "none" are moved away.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let sum = bytes
        .chunks_exact(4)
        .take(127)
        .filter_map(|word| le32(word, 0))
        .fold(0, |sum, word| sum ^ word);
    match sum {
        0 => 1,
        u32::MAX => 0xFFFF_FFFE,
        other => other,
    }
}

/// Writes a clean base block: both sequence numbers, time, size and checksum.
pub(super) fn seal(
    bytes: &mut [u8],
    sequence: u32,
    timestamp: Option<u64>,
    size: u32,
) -> Result<()> {
    put(bytes, 4, &sequence.to_le_bytes())?;
    put(bytes, 8, &sequence.to_le_bytes())?;
    if let Some(timestamp) = timestamp {
        put(bytes, 12, &timestamp.to_le_bytes())?;
    }
    put(bytes, 28, &PRIMARY.to_le_bytes())?;
    put(bytes, 40, &size.to_le_bytes())?;
    let sum = checksum(bytes);
    put(bytes, 508, &sum.to_le_bytes())
}

/// Overwrites bytes that must exist.
pub(super) fn put(bytes: &mut [u8], at: usize, new: &[u8]) -> Result<()> {
    let end = at.checked_add(new.len());
    match end.and_then(|end| bytes.get_mut(at..end)) {
        Some(old) => {
            old.copy_from_slice(new);
            Ok(())
        }
        None => Err(Error::internal("a write outside the hive")),
    }
}
