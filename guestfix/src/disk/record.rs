// SPDX-License-Identifier: Apache-2.0
//! The container of a redo journal and of an undo record. Both hold the content to write and, for
//! every sector, a digest of the content it replaces, so that either can be checked against a disk
//! and applied without the other.
//!
//! ```text
//! head     "guestfix"  u32 version  u32 kind  u32 header length  u32 zero
//! header   JSON of that length
//! entry    "EXTE"  u32 disk  u64 offset  u32 length  u32 zero  checks  data      (repeated)
//! trailer  "TAIL"  u32 zero  u64 entries  u64 data bytes  SHA-256 of all before it
//! ```
//! Integers are little-endian. `checks` are 16 bytes for each 512-byte sector of the entry, the
//! last one perhaps short: the first half of the SHA-256 of the replaced content.
#![deny(clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::home::DiskIdentity;
use super::{CHUNK, SECTOR};

mod reader;
mod writer;

pub use reader::{Reader, Summary};
pub use writer::Writer;
pub(crate) use writer::frame_size;

pub(crate) const MAGIC: &[u8; 8] = b"guestfix";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEAD: usize = 24;
pub(crate) const ENTRY: &[u8; 4] = b"EXTE";
pub(crate) const ENTRY_HEAD: usize = 24;
pub(crate) const TAIL: &[u8; 4] = b"TAIL";
pub(crate) const TRAILER: usize = 56;
/// Largest header taken, bytes.
pub(crate) const MAX_HEADER: usize = 16 << 20;
const MAX_CHECKS: usize = CHUNK.div_ceil(SECTOR);

/// Whether a record's data is the new content or the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// Data is what a conversion writes.
    Redo,
    /// Data is what was there before.
    Undo,
}

impl RecordKind {
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Redo => 1,
            Self::Undo => 2,
        }
    }

    pub(crate) const fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Redo),
            2 => Some(Self::Undo),
            _ => None,
        }
    }
}

/// What a record says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When it was made, seconds since 1970.
    pub created: u64,
    /// The version of guestfix that made it.
    pub made_by: String,
    /// Every disk of the guest, in the order that entries count them.
    pub disks: Vec<RecordDisk>,
    /// Number of the undo record that belongs to this commit.
    pub undo: u32,
    /// Ranges whose content tells whether the guest has run since (undo records only).
    #[serde(default)]
    pub fingerprints: Vec<Fingerprinted>,
}

/// A disk in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordDisk {
    /// Which disk.
    pub identity: DiskIdentity,
    /// Its length before this record is applied, bytes.
    pub len_before: u64,
    /// Its length afterwards, bytes.
    pub len_after: u64,
}

/// The digest of a named range, as committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprinted {
    /// Index of the disk in the header.
    pub disk: usize,
    /// What it is, for example `disk0p2 superblock`.
    pub name: String,
    /// Start, bytes.
    pub offset: u64,
    /// Length, bytes.
    pub len: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A piece of a record: at most [`CHUNK`] bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Index of the disk in the header.
    pub disk: usize,
    /// Start on that disk, a multiple of 512 bytes.
    pub offset: u64,
    /// What to write there.
    pub data: Vec<u8>,
    /// Digest of each sector that it replaces.
    pub checks: Vec<Check>,
}

/// The first half of a sector's SHA-256. 128 bits are out of reach even for a guest that chooses
/// its own content: it would have to find a second preimage.
pub type Check = [u8; 16];

/// The digest of every sector of `data`.
pub fn checks_of(data: &[u8]) -> Vec<Check> {
    data.chunks(SECTOR).map(check_of).collect()
}

/// The digest of one sector.
pub fn check_of(sector: &[u8]) -> Check {
    let digest = Sha256::digest(sector);
    let mut check = Check::default();
    for (to, from) in check.iter_mut().zip(digest) {
        *to = from;
    }
    check
}

/// Bytes that an entry of `len` bytes of data takes in a record.
pub fn entry_size(len: u64) -> u64 {
    let checks = len
        .div_ceil(SECTOR as u64)
        .saturating_mul(size_of::<Check>() as u64);
    len.saturating_add(checks).saturating_add(ENTRY_HEAD as u64)
}

#[cfg(test)]
mod tests;
