// SPDX-License-Identifier: Apache-2.0
//! Numbers in bytes that may end anywhere.

/// Two bytes, least significant first.
pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    let part = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(part.try_into().ok()?))
}

/// Four bytes, least significant first.
pub(crate) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(part.try_into().ok()?))
}

/// Four bytes that are a place or a length.
pub(crate) fn le_place(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(le32(bytes, at)?).ok()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'?');
    let digits = bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 0xF)]);
    digits.map(char::from).collect()
}
