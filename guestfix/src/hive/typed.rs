// SPDX-License-Identifier: Apache-2.0
//! Values as what they mean: texts, numbers, times, control sets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cell::{le16, le32, le64};
use super::{Hive, Key, Value, ValueType};
use crate::error::{Error, Result};

/// Seconds from 1601 to 1970.
const EPOCH_SECONDS: u64 = 11_644_473_600;

fn units(data: &[u8]) -> impl Iterator<Item = u16> {
    data.chunks_exact(2).filter_map(|unit| le16(unit, 0))
}

fn wrong(value: &Value<'_>, expected: &str) -> Error {
    let name = value.name().unwrap_or_default();
    let kind = value
        .kind()
        .map(|k| k.name().into_owned())
        .unwrap_or_default();
    Error::corrupt(
        "hive-value",
        format!("the value {name:?} is not what it should be"),
    )
    .at(value.cell.at(0))
    .because(format!("expected {expected}, found {kind}"))
}

fn text(value: &Value<'_>, units: impl Iterator<Item = u16>) -> Result<String> {
    char::decode_utf16(units)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| wrong(value, "UTF-16").because(e))
}

/// A text (`REG_SZ`, `REG_EXPAND_SZ` or `REG_LINK`) up to its first NUL; missing terminators and
/// a stray last byte, which Windows tolerates, are tolerated.
pub fn string(value: &Value<'_>) -> Result<String> {
    if !matches!(
        value.kind()?,
        ValueType::SZ | ValueType::EXPAND_SZ | ValueType::LINK
    ) {
        return Err(wrong(value, "text"));
    }
    text(value, units(&value.data()?).take_while(|unit| *unit != 0))
}

/// The texts of a `REG_MULTI_SZ`, up to the first empty one.
pub fn multi_string(value: &Value<'_>) -> Result<Vec<String>> {
    if value.kind()? != ValueType::MULTI_SZ {
        return Err(wrong(value, "REG_MULTI_SZ"));
    }
    let all: Vec<u16> = units(&value.data()?).collect();
    let texts = all
        .split(|unit| *unit == 0)
        .take_while(|text| !text.is_empty());
    texts
        .map(|units| text(value, units.iter().copied()))
        .collect()
}

/// A `REG_DWORD` of either byte order.
pub fn dword(value: &Value<'_>) -> Result<u32> {
    let data = value.data()?;
    let number = le32(&data, 0).filter(|_| data.len() == 4);
    match (value.kind()?, number) {
        (ValueType::DWORD, Some(number)) => Ok(number),
        (ValueType::DWORD_BIG_ENDIAN, Some(number)) => Ok(number.swap_bytes()),
        _ => Err(wrong(value, "four bytes of REG_DWORD")),
    }
}

/// A `REG_QWORD`.
pub fn qword(value: &Value<'_>) -> Result<u64> {
    let data = value.data()?;
    match (value.kind()?, le64(&data, 0)) {
        (ValueType::QWORD, Some(number)) if data.len() == 8 => Ok(number),
        _ => Err(wrong(value, "eight bytes of REG_QWORD")),
    }
}

/// The data of a text value, with its terminator.
pub fn string_data(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// The data of a `REG_MULTI_SZ`, with its terminators. Empty texts would end it and are left out.
pub fn multi_string_data<S: AsRef<str>>(texts: &[S]) -> Vec<u8> {
    let texts = texts.iter().map(AsRef::as_ref).filter(|t| !t.is_empty());
    let mut out: Vec<u8> = texts.flat_map(string_data).collect();
    out.extend([0, 0]);
    out
}

/// A FILETIME as a time of the host; `None` before 1970.
pub fn from_filetime(filetime: u64) -> Option<SystemTime> {
    let seconds = (filetime / 10_000_000).checked_sub(EPOCH_SECONDS)?;
    let nanos = u32::try_from(filetime % 10_000_000)
        .ok()?
        .checked_mul(100)?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// A time of the host as FILETIME (100 ns since 1601 UTC); 1970 for earlier times.
pub fn to_filetime(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = u64::from(since.subsec_nanos() / 100);
    since
        .as_secs()
        .saturating_add(EPOCH_SECONDS)
        .saturating_mul(10_000_000)
        .saturating_add(ticks)
}

/// What the `Select` key of a SYSTEM hive chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Select {
    /// The control set of the last boot.
    pub current: u32,
    /// The control set of the next boot.
    pub default: u32,
    /// The control set that failed; 0 for none.
    pub failed: u32,
    /// The control set of "last known good"; 0 for none.
    pub last_known_good: u32,
}

/// Reads `Select`.
///
/// Errors: `hive-no-select` where the hive is no SYSTEM hive.
pub fn select(hive: &Hive) -> Result<Select> {
    let missing = || Error::corrupt("hive-no-select", "the SYSTEM hive has no usable Select key");
    let key = hive.key("Select")?.ok_or_else(missing)?;
    let number = |name: &str| key.value(name)?.map(|value| dword(&value)).transpose();
    let current = number("Current")?.ok_or_else(missing)?;
    Ok(Select {
        current,
        default: number("Default")?.unwrap_or(current),
        failed: number("Failed")?.unwrap_or(0),
        last_known_good: number("LastKnownGood")?.unwrap_or(0),
    })
}

/// The name of a control set's key.
pub fn control_set_name(number: u32) -> String {
    format!("ControlSet{number:03}")
}

/// The control sets that exist and that a boot may choose: default, current, last known good;
/// each once.
pub fn live_control_sets(hive: &Hive) -> Result<Vec<String>> {
    let select = select(hive)?;
    let mut out: Vec<String> = Vec::new();
    for number in [select.default, select.current, select.last_known_good] {
        let name = control_set_name(number);
        if number != 0 && !out.contains(&name) && hive.key(&name)?.is_some() {
            out.push(name);
        }
    }
    Ok(out)
}

/// The default text of a key, where there is one.
pub fn default_string(key: &Key<'_>) -> Result<Option<String>> {
    key.value("")?.map(|value| string(&value)).transpose()
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::hive::Editor;

    const NOW: u64 = 0x1d2_9627_f1c8_a860;

    fn hive(fill: impl FnOnce(&mut Editor<'_>)) -> Hive {
        let mut hive = Hive::create(5, NOW).unwrap();
        let mut edit = hive.edit(NOW).unwrap();
        edit.create_key("Select").unwrap();
        fill(&mut edit);
        edit.finish().unwrap();
        hive
    }

    fn one(kind: ValueType, data: &[u8]) -> Hive {
        hive(|edit| edit.set_value("", "v", kind, data).unwrap())
    }

    fn of<T>(hive: &Hive, read: impl FnOnce(&Value<'_>) -> Result<T>) -> Result<T> {
        read(&hive.value("", "v").unwrap().unwrap())
    }

    #[test]
    fn the_control_sets_that_a_boot_may_choose_are_named_once() {
        let fill = |edit: &mut Editor<'_>| {
            let numbers = [("Current", 2_u32), ("Default", 2), ("LastKnownGood", 7)];
            for (name, number) in numbers {
                let data = number.to_le_bytes();
                edit.set_value("Select", name, ValueType::DWORD, &data)
                    .unwrap();
            }
            for set in ["ControlSet001", "ControlSet002"] {
                edit.create_key(set).unwrap();
            }
        };
        let hive = hive(fill);
        // The seventh does not exist, the first is not chosen.
        assert_eq!(live_control_sets(&hive).unwrap(), ["ControlSet002"]);
        assert_eq!(select(&hive).unwrap().failed, 0);
        let error = select(&Hive::create(5, NOW).unwrap()).unwrap_err();
        assert_eq!(error.code, "hive-no-select");
    }

    #[test]
    fn texts_go_out_and_come_back_and_sloppy_ends_are_tolerated() {
        let text = "C:\\\u{142}\u{1F600}";
        for kind in [ValueType::SZ, ValueType::EXPAND_SZ] {
            let hive = one(kind, &string_data(text));
            assert_eq!(of(&hive, string).unwrap(), text);
        }
        assert_eq!(of(&one(ValueType::SZ, b"a\0b"), string).unwrap(), "a");
        assert_eq!(of(&one(ValueType::SZ, b""), string).unwrap(), "");
        let wrong = of(&one(ValueType::BINARY, b"a\0"), string).unwrap_err();
        assert_eq!(wrong.code, "hive-value");
    }

    #[test]
    fn lists_of_texts_end_at_the_first_empty_one() {
        let data = multi_string_data(&["a", "", "bc"]);
        assert_eq!(data, b"a\0\0\0b\0c\0\0\0\0\0");
        let hive = one(ValueType::MULTI_SZ, &data);
        assert_eq!(of(&hive, multi_string).unwrap(), ["a", "bc"]);
        let ended = one(ValueType::MULTI_SZ, b"a\0\0\0\0\0b\0\0\0");
        assert_eq!(of(&ended, multi_string).unwrap(), ["a"]);
        assert_eq!(multi_string_data::<&str>(&[]), [0, 0]);
    }

    #[test]
    fn numbers_have_their_type_and_length() {
        let number = |kind, data: &[u8]| of(&one(kind, data), dword);
        assert_eq!(number(ValueType::DWORD, &[1, 2, 0, 0]).unwrap(), 0x201);
        let big = number(ValueType::DWORD_BIG_ENDIAN, &[0, 0, 2, 1]);
        assert_eq!(big.unwrap(), 0x201);
        assert!(number(ValueType::DWORD, &[1, 2, 0]).is_err());
        assert!(number(ValueType::BINARY, &[1, 2, 0, 0]).is_err());
        let eight = one(ValueType::QWORD, &7_u64.to_le_bytes());
        assert_eq!(of(&eight, qword).unwrap(), 7);
    }

    #[test]
    fn a_filetime_counts_from_1601() {
        // 2017-01-01T00:00:00Z, from Windows.
        let ticks = 131_277_024_000_000_000;
        let unix = from_filetime(ticks).unwrap();
        let since = unix.duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(since.as_secs(), 1_483_228_800);
        assert_eq!(to_filetime(unix), ticks);
        assert_eq!(from_filetime(0), None);
        assert!(from_filetime(u64::MAX).is_some());
    }
}
