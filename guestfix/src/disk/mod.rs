// SPDX-License-Identifier: Apache-2.0
//! Disks: where a guest's bytes lie, how they are read, overlaid, committed and given back.
//!
//! A conversion writes into an [`Overlay`] and never to the disk. When everything has been checked,
//! [`Commit`] copies the overlay's changes to the disks of the guest, all or nothing:
//!
//! | file in the guest's [`Home`] | means |
//! |---|---|
//! | `*.new` alone                | preparing; the disks are untouched, [`recover()`] drops it |
//! | `journal`                    | the point of no return; [`recover()`] finishes it |
//! | `undo-0001`, `undo-0002`, ...| committed and re-read; [`undo()`] takes the newest back |

use std::sync::Arc;

use crate::error::{Error, Result};

pub mod commit;
pub mod copy;
pub mod fault;
pub mod format;
pub mod home;
pub mod in_use;
pub mod lock;
pub mod overlay;
mod prepare;
pub mod qcow2;
pub mod raw;
pub mod record;
pub mod recover;
mod settle;
pub mod undo;
pub mod vmdk;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod transaction_tests;
#[cfg(test)]
mod world;

pub use commit::{Commit, CommitDisk, Committed, Fingerprint, OpenDisk};
pub use format::Format;
pub use home::{DiskIdentity, Home};
pub use lock::ImageLock;
pub use overlay::{Extent, Overlay};
pub use raw::Raw;
pub use recover::{PendingJournal, Recovered, pending, recover};
pub use undo::{Undone, undo};

/// What one read or write of bulk data moves at most, bytes. Bounds memory, whatever the disk says.
pub const CHUNK: usize = 1 << 20;

/// The unit that a disk writes entirely or not at all, bytes.
pub const SECTOR: usize = 512;

/// A run of bytes that can be read, and perhaps written, at any offset.
///
/// Disks, overlays and volumes all are one. Implementations take `&self` and are shared between
/// the FUSE threads, so they lock inside.
pub trait Storage: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Where those bytes lie one level below, every copy of them; nothing for a disk itself.
    fn below(&self, _offset: u64, _len: u64) -> Vec<Below> {
        Vec::new()
    }

    /// True for a storage of no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes from `offset` on are known to be zeros without being read: holes. Less than
    /// there are, or 0, where that is not known.
    ///
    /// # Errors
    /// As [`Storage::read_at`].
    fn zeros(&self, _offset: u64) -> Result<u64> {
        Ok(0)
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// `Corrupt`/`out-of-range` when the range leaves the storage; `Host`/`io` when reading fails.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// `Refused`/`read-only` where writing is not possible; `Host`/`no-space` or `Host`/`io` when
    /// it fails. An overlay latches such a failure: see [`crate::disk`].
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()>;

    /// Makes what was written visible to later reads; durability is the commit's business.
    ///
    /// # Errors
    /// A latched error of an earlier write.
    fn flush(&self) -> Result<()>;
}

/// A run of bytes of the storage that another one is made of.
#[derive(Clone)]
pub struct Below {
    /// The storage below.
    pub storage: Arc<dyn Storage>,
    /// Where it begins there, bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

impl std::fmt::Debug for Below {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Below")
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// A disk that a commit can write to and be sure of.
pub trait Durable: Storage {
    /// Makes everything written survive a power cut.
    ///
    /// # Errors
    /// `Host`/`io`.
    fn sync(&self) -> Result<()>;

    /// Reads what lies on the medium, past the page cache where the host can.
    ///
    /// # Errors
    /// As [`Storage::read_at`].
    fn reread(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// Sets the length in bytes; only a container file (qcow2) can change its length.
    ///
    /// # Errors
    /// `Host`/`io`; `Internal` for a disk of fixed length.
    fn set_len(&self, len: u64) -> Result<()>;
}

/// Refuses a range that leaves a storage of `len` bytes.
///
/// # Errors
/// `Corrupt`/`out-of-range`.
pub fn check_range(len: u64, offset: u64, want: usize) -> Result<()> {
    let end = u64::try_from(want)
        .ok()
        .and_then(|want| offset.checked_add(want));
    if end.is_some_and(|end| end <= len) {
        return Ok(());
    }
    Err(Error::corrupt(
        "out-of-range",
        format!("{want} bytes were asked for beyond the end ({len} bytes)"),
    )
    .at(offset))
}

/// Reads where a storage may end before the range does: what is missing reads as zeros.
pub(crate) fn read_padded(storage: &dyn Storage, buf: &mut [u8], offset: u64) -> Result<()> {
    let inside = usize::try_from(storage.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let (have, missing) = buf.split_at_mut(inside.min(buf.len()));
    if !have.is_empty() {
        storage.read_at(have, offset)?;
    }
    missing.fill(0);
    Ok(())
}
