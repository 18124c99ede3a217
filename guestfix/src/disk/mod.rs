// SPDX-License-Identifier: Apache-2.0
//! Disks: where a guest's bytes lie, how they are read, overlaid, committed and given back.

use crate::error::Result;

/// A run of bytes that can be read, and perhaps written, at any offset.
///
/// Disks, overlays and volumes all are one. Implementations take `&self` and are shared between
/// the FUSE threads, so they lock inside.
pub trait Storage: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// True for a storage of no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
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
