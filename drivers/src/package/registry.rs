// SPDX-License-Identifier: Apache-2.0
//! A line of an `AddReg` section.

use serde::{Deserialize, Serialize};

/// Where an entry is rooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegRoot {
    /// `HKR`: the key that the section is about.
    Relative,
    /// `HKLM`.
    LocalMachine,
    /// `HKCR`.
    Classes,
    /// `HKCU`.
    CurrentUser,
    /// `HKU`.
    Users,
}

/// Typed data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "kebab-case")]
pub enum RegData {
    /// `REG_SZ`.
    Sz(String),
    /// `REG_EXPAND_SZ`.
    ExpandSz(String),
    /// `REG_MULTI_SZ`.
    MultiSz(Vec<String>),
    /// `REG_DWORD`.
    Dword(u32),
    /// `REG_QWORD`.
    Qword(u64),
    /// `REG_BINARY`.
    Binary(Vec<u8>),
    /// `REG_NONE`.
    None(Vec<u8>),
    /// A type by its number.
    Other(u32, Vec<u8>),
}

/// One entry: `reg-root,[subkey],[value-entry-name],[flags],[value]`. Flags:
/// <https://learn.microsoft.com/windows-hardware/drivers/install/inf-addreg-directive>.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RegEntry {
    /// Where it is rooted.
    pub root: RegRoot,
    /// The key below it, with `\`; empty for the root itself.
    pub key: String,
    /// The value's name, empty for the default value; `None` where only the key is made
    /// (`FLG_ADDREG_KEYONLY`).
    pub name: Option<String>,
    /// The value's data; `None` exactly where `name` is.
    pub data: Option<RegData>,
    /// The flags as written: bit 1 keeps what is there, bit 2 deletes, bit 3 appends.
    pub flags: u32,
}

impl RegEntry {
    /// `FLG_ADDREG_NOCLOBBER`: what is there stays.
    pub fn keeps(&self) -> bool {
        self.flags & 0x2 != 0
    }

    /// `FLG_ADDREG_DELVAL`: the value is deleted.
    pub fn deletes(&self) -> bool {
        self.flags & 0x4 != 0
    }

    /// `FLG_ADDREG_APPEND`: strings join what is there.
    pub fn appends(&self) -> bool {
        self.flags & 0x8 != 0
    }
}
