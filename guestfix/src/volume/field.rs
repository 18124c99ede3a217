// SPDX-License-Identifier: Apache-2.0
//! Fields of on-disk structures: integers at fixed offsets, identifiers and labels as text.
//! Everything answers `None` instead of leaving the bytes it was given.

use std::fmt::Write as _;

use crate::disk::Storage;
use crate::error::Result;

/// `N` bytes at an offset.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Little-endian 16 bits.
pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// Little-endian 32 bits.
pub(crate) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// Little-endian 64 bits.
pub(crate) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// Big-endian 16 bits.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// Big-endian 32 bits.
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// Big-endian 64 bits.
pub(crate) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_be_bytes)
}

/// True when the bytes at the offset are these.
pub(crate) fn has(bytes: &[u8], at: usize, want: &[u8]) -> bool {
    bytes
        .get(at..)
        .is_some_and(|from_here| from_here.starts_with(want))
}

/// A UUID stored as 16 bytes in text order; `None` when all zero, as blkid leaves it out.
pub(crate) fn uuid(bytes: &[u8], at: usize) -> Option<String> {
    let raw: [u8; 16] = array(bytes, at)?;
    if raw == [0; 16] {
        return None;
    }
    let mut out = String::with_capacity(36);
    for (index, byte) in raw.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    Some(out)
}

/// A label: up to the first NUL, without trailing blanks; `None` when nothing is left.
pub(crate) fn label(bytes: &[u8], at: usize, len: usize) -> Option<String> {
    let raw = bytes.get(at..at.checked_add(len)?)?;
    let end = raw.iter().position(|byte| *byte == 0).unwrap_or(raw.len());
    let text = String::from_utf8_lossy(raw.get(..end)?);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A label in little-endian UTF-16, `len` bytes long at most.
pub(crate) fn label_utf16(bytes: &[u8], at: usize, len: usize) -> Option<String> {
    let raw = bytes.get(at..at.checked_add(len)?)?;
    let units: Vec<u16> = raw
        .chunks_exact(2)
        .filter_map(|pair| le16(pair, 0))
        .take_while(|unit| *unit != 0)
        .collect();
    let text = String::from_utf16_lossy(&units);
    (!text.is_empty()).then_some(text)
}

/// Reads a range; `None` when it leaves the storage.
///
/// # Errors
/// `Host`/`io` when reading fails.
pub(crate) fn read(storage: &dyn Storage, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
    let Some(end) = offset.checked_add(len as u64) else {
        return Ok(None);
    };
    if end > storage.len() {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    storage.read_at(&mut bytes, offset)?;
    Ok(Some(bytes))
}

/// Reads up to `len` bytes from the start, fewer when the storage is shorter.
///
/// # Errors
/// `Host`/`io` when reading fails.
pub(crate) fn read_head(storage: &dyn Storage, len: usize) -> Result<Vec<u8>> {
    let len = usize::try_from(storage.len()).map_or(len, |all| all.min(len));
    Ok(read(storage, 0, len)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_outside_the_bytes_are_absent() {
        assert_eq!(le32(&[1, 2, 3], 0), None);
        assert_eq!(le16(&[1, 2, 3], usize::MAX), None);
        assert_eq!(label(b"ab", 1, 2), None);
    }

    #[test]
    fn labels_end_at_nul_and_lose_blanks() {
        assert_eq!(label(b"root \0xx", 0, 8).as_deref(), Some("root"));
        assert_eq!(label(b"    ", 0, 4), None);
        assert_eq!(label_utf16(b"A\0B\0\0\0C\0", 0, 8).as_deref(), Some("AB"));
    }

    #[test]
    fn a_uuid_of_zeros_is_none() {
        assert_eq!(uuid(&[0; 16], 0), None);
        assert_eq!(
            uuid(&[0x12; 16], 0).as_deref(),
            Some("12121212-1212-1212-1212-121212121212")
        );
    }
}
