// SPDX-License-Identifier: Apache-2.0
//! Names: how they are stored, compared and hashed.
//!
//! Names compare without case by single UTF-16 units, as `RtlUpcaseUnicodeChar` does. Format
//! facts of this room: Maxim Suhanov, "Windows registry file format specification",
//! <https://github.com/msuhanov/regf>.

use std::cmp::Ordering;

use super::cell::Cell;
use super::damaged;
use crate::error::Result;

/// A name as it is stored: one byte per unit where all units fit, else UTF-16.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name<'h> {
    Compressed(&'h [u8]),
    Wide(&'h [u8]),
}

impl<'h> Name<'h> {
    pub(super) fn read(cell: Cell<'h>, at: usize, len: u16, compressed: bool) -> Result<Self> {
        let raw = cell.slice(at, usize::from(len))?;
        if compressed {
            return Ok(Self::Compressed(raw));
        }
        if raw.len() % 2 != 0 {
            return Err(damaged(
                cell.at(at),
                "a UTF-16 name has an odd length",
                "an even number",
                len,
            ));
        }
        Ok(Self::Wide(raw))
    }

    pub(super) fn units(self) -> impl Iterator<Item = u16> + 'h {
        let (narrow, wide) = match self {
            Name::Compressed(raw) => (raw, &[][..]),
            Name::Wide(raw) => (&[][..], raw),
        };
        narrow
            .iter()
            .map(|b| u16::from(*b))
            .chain(wide.chunks_exact(2).filter_map(|c| super::cell::le16(c, 0)))
    }

    /// The name as text; lone surrogates, which Windows allows, become U+FFFD.
    pub(super) fn text(self) -> String {
        char::decode_utf16(self.units())
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    }

    /// Whether the units are valid UTF-16.
    pub(super) fn is_valid(self) -> bool {
        match self {
            Name::Compressed(_) => true,
            Name::Wide(_) => char::decode_utf16(self.units()).all(|c| c.is_ok()),
        }
    }

    /// The hash that `lh` lists keep.
    pub(super) fn hash(self) -> u32 {
        hash_units(self.units())
    }

    /// Compares with another stored name, without case.
    pub(super) fn order(self, other: Name<'_>) -> Ordering {
        self.units().map(upcase).cmp(other.units().map(upcase))
    }

    /// Compares without case, in the order of the lists.
    pub(super) fn compare(self, other: &[u16]) -> Ordering {
        self.units()
            .map(upcase)
            .cmp(other.iter().map(|u| upcase(*u)))
    }
}

/// Upper case of one UTF-16 unit. Only pairs that map both ways count, and final sigma: that is
/// what Windows' table does with dotless i, long s and the micro sign.
pub(super) fn upcase(unit: u16) -> u16 {
    if unit < 0x80 {
        return match u8::try_from(unit) {
            Ok(byte) => u16::from(byte.to_ascii_uppercase()),
            Err(_) => unit,
        };
    }
    if unit == 0x03C2 {
        return 0x03A3;
    }
    let Some(lower) = char::from_u32(u32::from(unit)) else {
        return unit;
    };
    let mut upper = lower.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) if upper.to_lowercase().eq([lower]) => {
            u16::try_from(u32::from(upper)).unwrap_or(unit)
        }
        _ => unit,
    }
}

/// The hash that `lh` lists keep beside each key.
pub(super) fn hash(name: &[u16]) -> u32 {
    hash_units(name.iter().copied())
}

fn hash_units(units: impl Iterator<Item = u16>) -> u32 {
    units.fold(0_u32, |hash, unit| {
        hash.wrapping_mul(37).wrapping_add(u32::from(upcase(unit)))
    })
}

/// The first four units that `lf` lists keep beside each key; zero where one does not fit a byte.
pub(super) fn first_four(name: &[u16]) -> u32 {
    let mut out = [0_u8; 4];
    for (to, unit) in out.iter_mut().zip(name) {
        match u8::try_from(*unit) {
            Ok(byte) => *to = byte,
            Err(_) => return 0,
        }
    }
    u32::from_le_bytes(out)
}

/// How a name is stored: its bytes, and whether they are compressed.
pub(super) fn encode(name: &[u16]) -> (Vec<u8>, bool) {
    let narrow: Option<Vec<u8>> = name.iter().map(|u| u8::try_from(*u).ok()).collect();
    match narrow {
        Some(bytes) => (bytes, true),
        None => (name.iter().flat_map(|u| u.to_le_bytes()).collect(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(a: &[u16], b: &[u16]) -> Ordering {
        let wide: Vec<u8> = a.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let other: Vec<u8> = b.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let (name, other) = (Name::Wide(&wide), Name::Wide(&other));
        assert_eq!(name.compare(b), name.order(other));
        name.compare(b)
    }

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn names_compare_without_case_but_with_accents() {
        assert_eq!(
            compare(&units("SYSTEM\u{e4}"), &units("system\u{c4}")),
            Ordering::Equal
        );
        assert_eq!(compare(&units("привет"), &units("ПРИВЕТ")), Ordering::Equal);
        assert_ne!(compare(&units("a"), &units("\u{e4}")), Ordering::Equal);
        assert_ne!(compare(&units("\u{131}"), &units("I")), Ordering::Equal);
        assert_ne!(compare(&units("\u{df}"), &units("SS")), Ordering::Equal);
    }

    #[test]
    fn underscore_sorts_after_letters_because_letters_are_upper_case() {
        assert_eq!(compare(&units("a_"), &units("ab")), Ordering::Greater);
    }

    #[test]
    fn a_name_with_one_wide_unit_is_stored_wide() {
        assert_eq!(encode(&units("\u{e4}")), (vec![0xE4], true));
        assert_eq!(encode(&units("\u{142}")), (vec![0x42, 1], false));
    }
}
