// SPDX-License-Identifier: Apache-2.0
//! Finding whatever names VMware in a hive: one walk over all keys.

use crate::error::Result;
use crate::hive::{Key, ValueType};
use crate::inspect::registry::{KeyFacts, ValueFacts};

const NEEDLE: &[u8] = b"vmware";
/// Values longer than this are caches and logs.
const LONGEST: usize = 1 << 16;

/// The bytes name VMware: as ASCII or as UTF-16, in any case.
fn in_bytes(data: &[u8]) -> bool {
    let narrow = |window: &[u8]| window.eq_ignore_ascii_case(NEEDLE);
    let wide = |window: &[u8]| {
        let pairs = window.chunks_exact(2).zip(NEEDLE);
        pairs.clone().count() == NEEDLE.len()
            && pairs.into_iter().all(|(pair, want)| {
                pair.first()
                    .is_some_and(|byte| byte.eq_ignore_ascii_case(want))
                    && pair.get(1) == Some(&0)
            })
    };
    let starts = |at: usize| data.get(at..).unwrap_or_default();
    let firsts = data
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, b'v' | b'V'));
    firsts.map(|(at, _)| starts(at)).any(|rest| {
        rest.get(..NEEDLE.len()).is_some_and(narrow)
            || rest.get(..NEEDLE.len().saturating_mul(2)).is_some_and(wide)
    })
}

fn in_text(text: &str) -> bool {
    in_bytes(text.as_bytes())
}

/// A value names VMware.
pub(super) fn in_value(value: &ValueFacts) -> bool {
    in_text(&value.name) || in_data(ValueType(value.kind), &value.data)
}

fn in_data(kind: ValueType, data: &[u8]) -> bool {
    let data = data.get(..LONGEST).unwrap_or(data);
    match kind {
        ValueType::DWORD | ValueType::QWORD => false,
        // A path of fixed length: what follows its end is whatever was there before.
        ValueType::BINARY if data.len() == 888 => {
            in_bytes(data.split(|byte| *byte == 0).next().unwrap_or_default())
        }
        _ => in_bytes(data),
    }
}

/// A recorded key names VMware in its own name or in its values.
pub(super) fn in_key(key: &KeyFacts) -> bool {
    in_text(key.name()) || key.values.values().any(in_value)
}

/// As [`in_key`], of a key of an open hive; `path` is its own.
pub(super) fn of(path: &str, key: &Key<'_>) -> Result<bool> {
    let name = path.rsplit('\\').next().unwrap_or_default();
    if in_text(name) {
        return Ok(true);
    }
    for value in key.values()? {
        let value = value?;
        if in_text(&value.name()?) || in_data(value.kind()?, &value.data()?) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_are_found_in_any_case() {
        let wide: Vec<u8> = "the VMware, Inc."
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert!(in_bytes(&wide));
        assert!(in_bytes(b"xVmWaRe"));
        assert!(!in_bytes(b"vmwar"));
        assert!(!in_bytes(b"v\0m\0w\0a\0r\0"));
        assert!(!in_data(
            ValueType::BINARY,
            &[&b"a.dll\0VMware"[..], &[0; 876]].concat()
        ));
    }
}
