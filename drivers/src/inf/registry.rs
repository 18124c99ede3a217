// SPDX-License-Identifier: Apache-2.0
//! `AddReg` sections: <https://learn.microsoft.com/windows-hardware/drivers/install/inf-addreg-directive>.

use super::number::{byte, dword};
use super::{Inf, Line, Section};
use crate::package::{RegData, RegEntry, RegRoot};

/// `FLG_ADDREG_BINVALUETYPE`.
const BINARY: u32 = 0x1;
/// `FLG_ADDREG_KEYONLY` and `FLG_ADDREG_KEYONLY_COMMON`.
const KEY_ONLY: u32 = 0x10 | 0x2000;

impl Inf {
    /// Entries of every section that `AddReg` of `section` names, in their order.
    pub(super) fn add_reg(&self, section: &Section) -> Vec<RegEntry> {
        section
            .names("AddReg")
            .filter_map(|name| self.section(name))
            .flat_map(|section| &section.lines)
            .filter_map(entry)
            .collect()
    }
}

fn entry(line: &Line) -> Option<RegEntry> {
    let root = match line.field(0)?.to_ascii_uppercase().as_str() {
        "HKR" => RegRoot::Relative,
        "HKLM" => RegRoot::LocalMachine,
        "HKCR" => RegRoot::Classes,
        "HKCU" => RegRoot::CurrentUser,
        "HKU" => RegRoot::Users,
        _ => return None,
    };
    let text = |at| line.field(at).unwrap_or_default();
    let flags = dword(text(3)).unwrap_or(0);
    let bare = line.fields.len() <= 2;
    let (name, data) = if bare || flags & KEY_ONLY != 0 {
        (None, None)
    } else {
        let values: Vec<&str> = line
            .fields
            .iter()
            .skip(4)
            .map(|f| f.text.as_str())
            .collect();
        (Some(text(2).to_owned()), Some(data(flags, &values)?))
    };
    Some(RegEntry {
        root,
        key: text(1).trim_matches('\\').to_owned(),
        name,
        data,
        flags,
    })
}

/// The typed value; `None` for numbers that are none.
fn data(flags: u32, values: &[&str]) -> Option<RegData> {
    let first = values.first().copied().unwrap_or_default();
    Some(match flags & (0xFFFF_0000 | BINARY) {
        0x0000_0000 => RegData::Sz(first.to_owned()),
        0x0001_0000 => RegData::MultiSz(strings(values)),
        0x0002_0000 => RegData::ExpandSz(first.to_owned()),
        0x0001_0001 => RegData::Dword(number(values)?),
        0x0000_0001 => RegData::Binary(bytes(values)?),
        0x0002_0001 => RegData::None(bytes(values)?),
        0x000B_0001 => RegData::Qword(quad(&bytes(values)?)?),
        other => RegData::Other(other.wrapping_shr(16), bytes(values)?),
    })
}

fn strings(values: &[&str]) -> Vec<String> {
    let filled = values.iter().filter(|value| !value.is_empty());
    filled.map(|value| (*value).to_owned()).collect()
}

/// One number, or four bytes.
fn number(values: &[&str]) -> Option<u32> {
    match values {
        [] | [""] => Some(0),
        [one] => dword(one),
        four => Some(u32::from_le_bytes(bytes(four)?.try_into().ok()?)),
    }
}

fn bytes(values: &[&str]) -> Option<Vec<u8>> {
    let filled = values.iter().filter(|value| !value.is_empty());
    filled.map(|value| byte(value)).collect()
}

fn quad(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(lines: &str) -> Vec<RegEntry> {
        let text = format!("[x]\nAddReg=a, b\n[a]\n{lines}\n[b]\n");
        let inf = Inf::parse(text.as_bytes()).unwrap();
        inf.add_reg(inf.section("x").unwrap())
    }

    fn only(line: &str) -> Option<RegData> {
        entries(line).remove(0).data
    }

    #[test]
    fn each_type_has_its_flags() {
        assert_eq!(only("HKR,K,n,0x00010001,0x0A"), Some(RegData::Dword(10)));
        assert_eq!(
            only("HKR,K,n,65537,78,56,34,12"),
            Some(RegData::Dword(0x1234_5678))
        );
        assert_eq!(
            only("HKR,K,n,,\"text\""),
            Some(RegData::Sz("text".to_owned()))
        );
        assert_eq!(
            only("HKR,K,n,0x20000,\"%%A%%\""),
            Some(RegData::ExpandSz("%A%".to_owned()))
        );
        assert_eq!(
            only("HKR,K,n,0x10000,a,b"),
            Some(RegData::MultiSz(vec!["a".to_owned(), "b".to_owned()]))
        );
        assert_eq!(only("HKR,K,n,1,01,ff"), Some(RegData::Binary(vec![1, 255])));
        assert_eq!(
            only("HKR,K,n,0xB0001,1,0,0,0,0,0,0,0"),
            Some(RegData::Qword(1))
        );
        assert_eq!(only("HKR,K,n,0x20001"), Some(RegData::None(Vec::new())));
    }

    #[test]
    fn a_key_alone_has_neither_name_nor_data() {
        let got = entries("HKR, \"Interrupt Management\",, 0x00000010\nHKLM,\"Software\\X\\\"");
        assert_eq!((&got[0].name, &got[0].data), (&None, &None));
        assert_eq!(got[0].key, "Interrupt Management");
        assert_eq!(
            (got[1].root, got[1].key.as_str()),
            (RegRoot::LocalMachine, "Software\\X")
        );
        assert_eq!(got[1].name, None);
    }

    #[test]
    fn flags_say_what_happens_to_what_is_there() {
        let got = entries("HKR,,n,0x00010008,a\nHKR,,n,0x2,b");
        assert!(got[0].appends() && !got[0].keeps());
        assert!(got[1].keeps() && !got[1].deletes());
    }

    #[test]
    fn what_is_no_entry_is_left_out() {
        assert!(entries("HKXX,a,b,,c\nHKR,a,b,0x10001,zz").is_empty());
    }
}
