// SPDX-License-Identifier: Apache-2.0
//! Blocks of a thin pool's metadata, and its superblock (Linux,
//! drivers/md/dm-thin-metadata.c, persistent-data/dm-space-map-common.h).

use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::field::{le32, le64, read};

/// Bytes of a block of metadata.
pub(super) const BLOCK: usize = 4096;
pub(super) const BLOCK_U64: u64 = BLOCK as u64;
/// What each kind of block adds to its checksum.
pub(super) const SUPER: u32 = 160_774;
pub(super) const NODE: u32 = 121_107;
pub(super) const BITMAP: u32 = 240_779;
pub(super) const INDEX: u32 = 160_478;
const MAGIC: u64 = 27_022_010;
/// The pool asks for `thin_check`.
const NEEDS_CHECK: u32 = 1;

pub(super) fn bad(what: &str, block: u64) -> Error {
    Error::corrupt("thin-metadata", format!("the thin pool's metadata: {what}"))
        .at(block.saturating_mul(BLOCK_U64))
        .hint("repair the pool in the guest (lvconvert --repair), or on a copy with thin_repair")
}

/// CRC-32C (reflected, polynomial 0x82f63b78) of all but the field itself, as the kernel keeps it:
/// not complemented, and each kind of block told apart.
pub(super) fn sum(block: &[u8], kind: u32) -> u32 {
    let mut crc = u32::MAX;
    for byte in block.get(4..).unwrap_or_default() {
        let index = usize::from(crc.to_le_bytes()[0] ^ byte);
        crc = (crc >> 8) ^ TABLE.get(index).copied().unwrap_or(0);
    }
    crc ^ kind
}

const TABLE: [u32; 256] = table();

#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
const fn table() -> [u32; 256] {
    let mut out = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        out[index] = crc;
        index += 1;
    }
    out
}

/// Reads a block of a kind.
///
/// # Errors
/// `Corrupt`/`thin-metadata` when it is not there, not that one, or its checksum is wrong.
pub(super) fn block(meta: &dyn Storage, number: u64, kind: u32) -> Result<Vec<u8>> {
    let at = number.saturating_mul(BLOCK_U64);
    let bytes = read(meta, at, BLOCK)?;
    let bytes = bytes.ok_or_else(|| bad("a block lies behind its end", number))?;
    if le32(&bytes, 0) != Some(sum(&bytes, kind)) {
        return Err(bad("a block's checksum is wrong", number));
    }
    if le64(&bytes, 8) != Some(number) {
        return Err(bad("a block lies in another one's place", number));
    }
    Ok(bytes)
}

/// The superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Super {
    pub(super) bytes: Vec<u8>,
    /// Counts snapshots.
    pub(super) time: u64,
    /// LVM counts it too.
    pub(super) transaction: u64,
    /// A copy of the metadata that a program in the guest held.
    pub(super) held: bool,
    /// Blocks of data.
    pub(super) data_blocks: u64,
    pub(super) mappings: u64,
    pub(super) details: u64,
    /// Bytes of a block of data.
    pub(super) chunk: u64,
    pub(super) meta_blocks: u64,
}

/// Reads it.
///
/// # Errors
/// `Corrupt`/`thin-metadata`; `Refused`/`thin-needs-check`.
pub(super) fn superblock(meta: &dyn Storage) -> Result<Super> {
    let bytes = block(meta, 0, SUPER)?;
    let long = |at| le64(&bytes, at).unwrap_or(0);
    let word = |at| le32(&bytes, at).unwrap_or(0);
    if long(32) != MAGIC || !matches!(word(40), 1 | 2) || word(360) != 0 {
        return Err(bad("it is none, or of an unknown version", 0));
    }
    if word(4) & NEEDS_CHECK != 0 {
        let what = "the thin pool was switched off as damaged and asks for a check";
        return Err(Error::refused("thin-needs-check", what)
            .hint("repair the pool in the guest (lvconvert --repair) and shut that down"));
    }
    let found = Super {
        time: u64::from(word(44)),
        transaction: long(48),
        held: long(56) != 0,
        data_blocks: long(64),
        mappings: long(320),
        details: long(328),
        chunk: u64::from(word(336)).saturating_mul(512),
        meta_blocks: long(344),
        bytes: bytes.clone(),
    };
    let fits = found.meta_blocks.checked_mul(BLOCK_U64);
    if word(340) != 8 || found.chunk == 0 || fits.is_none_or(|len| len > meta.len()) {
        return Err(bad("its sizes make no sense", 0));
    }
    Ok(found)
}
