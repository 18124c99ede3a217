// SPDX-License-Identifier: Apache-2.0
//! Security descriptors (`sk` cells), shared by keys and linked in a ring.

use super::Hive;
use crate::error::{Error, Result};

/// Offsets of a security cell's fields.
pub(super) mod at {
    pub(in crate::hive) const NEXT: usize = 4;
    pub(in crate::hive) const PREVIOUS: usize = 8;
    pub(in crate::hive) const REFERENCES: usize = 12;
    pub(in crate::hive) const LENGTH: usize = 16;
    pub(in crate::hive) const DESCRIPTOR: usize = 20;
}

/// The descriptor in the cell at that offset.
pub(super) fn descriptor(hive: &Hive, offset: u32) -> Result<&[u8]> {
    let cell = hive.cell(offset)?;
    cell.expect(*b"sk")?;
    let len = usize::try_from(cell.u32(at::LENGTH)?).unwrap_or(usize::MAX);
    cell.slice(at::DESCRIPTOR, len)
}

/// Fails unless the bytes can be a self-relative security descriptor: revision 1, the
/// self-relative bit, and parts inside (MS-DTYP 2.4.6).
pub(super) fn validate(descriptor: &[u8]) -> Result<()> {
    use super::cell::{le16, le32};
    let inside = |at: usize| {
        let offset = le32(descriptor, at).and_then(|o| usize::try_from(o).ok());
        offset.is_some_and(|o| o == 0 || (o >= 20 && o < descriptor.len()))
    };
    let sound = descriptor.first() == Some(&1)
        && le16(descriptor, 2).is_some_and(|control| control & 0x8000 != 0)
        && [4, 8, 12, 16].into_iter().all(inside)
        && descriptor.len() <= 0xFFFF;
    if sound {
        return Ok(());
    }
    Err(Error::refused(
        "hive-security",
        "the bytes are no self-relative security descriptor",
    ))
}
