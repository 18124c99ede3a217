// SPDX-License-Identifier: Apache-2.0
//! Keys (`nk` cells).

use std::cmp::Ordering;

use super::cell::{Cell, NONE};
use super::list::{Lookup, Subkeys};
use super::name::Name;
use super::value::{Value, Values};
use super::{Hive, damaged};
use crate::error::Result;

/// Offsets of a key's fields.
pub(super) mod at {
    pub(in crate::hive) const FLAGS: usize = 2;
    pub(in crate::hive) const TIMESTAMP: usize = 4;
    pub(in crate::hive) const PARENT: usize = 16;
    pub(in crate::hive) const SUBKEYS: usize = 20;
    pub(in crate::hive) const SUBKEY_LIST: usize = 28;
    pub(in crate::hive) const VOLATILE_LIST: usize = 32;
    pub(in crate::hive) const VALUES: usize = 36;
    pub(in crate::hive) const VALUE_LIST: usize = 40;
    pub(in crate::hive) const SECURITY: usize = 44;
    pub(in crate::hive) const CLASS: usize = 48;
    pub(in crate::hive) const MAX_SUBKEY_NAME: usize = 52;
    pub(in crate::hive) const MAX_CLASS: usize = 56;
    pub(in crate::hive) const MAX_VALUE_NAME: usize = 60;
    pub(in crate::hive) const MAX_VALUE_DATA: usize = 64;
    pub(in crate::hive) const NAME_LEN: usize = 72;
    pub(in crate::hive) const CLASS_LEN: usize = 74;
    pub(in crate::hive) const NAME: usize = 76;
}

/// What a key is besides its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFlags(u16);

impl KeyFlags {
    /// Exists only in memory; never expected on disk.
    pub fn is_volatile(self) -> bool {
        self.0 & 0x01 != 0
    }

    /// Mounts another hive.
    pub fn is_mount_point(self) -> bool {
        self.0 & 0x02 != 0
    }

    /// The root of its hive.
    pub fn is_root(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// Windows refuses to delete it.
    pub fn is_undeletable(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// A symbolic link; see [`Key::link_target`].
    pub fn is_symlink(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Its name is stored with one byte per character.
    pub fn is_compressed(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// A predefined handle: the key holds a handle number and no values.
    pub fn is_predefined(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// All bits as stored.
    pub fn bits(self) -> u16 {
        self.0
    }
}

/// A key, read in place.
#[derive(Clone, Copy)]
pub struct Key<'h> {
    pub(super) hive: &'h Hive,
    pub(super) cell: Cell<'h>,
}

impl<'h> Key<'h> {
    pub(super) fn read(hive: &'h Hive, offset: u32) -> Result<Self> {
        let cell = hive.cell(offset)?;
        cell.expect(*b"nk")?;
        let key = Self { hive, cell };
        key.stored_name()?;
        Ok(key)
    }

    /// The offset of the key's cell, relative to the first bin.
    pub fn offset(&self) -> u32 {
        self.cell.offset
    }

    pub(super) fn stored_name(&self) -> Result<Name<'h>> {
        let len = self.cell.u16(at::NAME_LEN)?;
        Name::read(self.cell, at::NAME, len, self.flags()?.is_compressed())
    }

    /// The name; lone surrogates, which Windows allows, become U+FFFD.
    pub fn name(&self) -> Result<String> {
        Ok(self.stored_name()?.text())
    }

    /// The name as UTF-16, without loss.
    pub fn name_units(&self) -> Result<Vec<u16>> {
        Ok(self.stored_name()?.units().collect())
    }

    /// The flags.
    pub fn flags(&self) -> Result<KeyFlags> {
        Ok(KeyFlags(self.cell.u16(at::FLAGS)?))
    }

    /// When the key was last written (FILETIME: 100 ns since 1601 UTC).
    pub fn timestamp(&self) -> Result<u64> {
        self.cell.u64(at::TIMESTAMP)
    }

    /// The class name, where there is one.
    pub fn class(&self) -> Result<Option<String>> {
        Ok(self.class_bytes()?.map(|raw| {
            let name = Name::Wide(raw);
            name.text()
        }))
    }

    /// The class name's bytes as stored.
    pub fn class_bytes(&self) -> Result<Option<&'h [u8]>> {
        let offset = self.cell.u32(at::CLASS)?;
        let len = self.cell.u16(at::CLASS_LEN)?;
        if offset == NONE || len == 0 {
            return Ok(None);
        }
        let raw = self.hive.cell(offset)?.slice(0, usize::from(len))?;
        Ok(Some(raw))
    }

    /// How many subkeys the key claims to have.
    pub fn subkey_count(&self) -> Result<u32> {
        self.cell.u32(at::SUBKEYS)
    }

    /// How many values the key claims to have.
    pub fn value_count(&self) -> Result<u32> {
        if self.flags()?.is_predefined() {
            return Ok(0);
        }
        self.cell.u32(at::VALUES)
    }

    /// The subkeys, in the order of their lists.
    pub fn subkeys(&self) -> Result<Subkeys<'h>> {
        Subkeys::of(*self)
    }

    /// The subkey of that name, compared without case.
    pub fn subkey(&self, name: &str) -> Result<Option<Key<'h>>> {
        let units: Vec<u16> = name.encode_utf16().collect();
        self.subkey_units(&units)
    }

    pub(super) fn subkey_units(&self, name: &[u16]) -> Result<Option<Key<'h>>> {
        let lookup = Lookup::new(name);
        for entry in self.subkeys()?.entries() {
            let entry = entry?;
            if lookup.may_be(entry) {
                let key = Key::read(self.hive, entry.offset)?;
                if key.stored_name()?.compare(name) == Ordering::Equal {
                    return Ok(Some(key));
                }
            }
        }
        Ok(None)
    }

    /// The values, in stored order.
    pub fn values(&self) -> Result<Values<'h>> {
        Values::of(*self)
    }

    /// The value of that name, compared without case; the empty name is the default value.
    pub fn value(&self, name: &str) -> Result<Option<Value<'h>>> {
        let units: Vec<u16> = name.encode_utf16().collect();
        Ok(self.value_units(&units)?.map(|(_, value)| value))
    }

    pub(super) fn value_units(&self, name: &[u16]) -> Result<Option<(usize, Value<'h>)>> {
        for (index, value) in self.values()?.enumerate() {
            let value = value?;
            if value.stored_name()?.compare(name) == Ordering::Equal {
                return Ok(Some((index, value)));
            }
        }
        Ok(None)
    }

    /// The self-relative security descriptor.
    pub fn security(&self) -> Result<Option<&'h [u8]>> {
        let offset = self.cell.u32(at::SECURITY)?;
        if offset == NONE {
            return Ok(None);
        }
        super::security::descriptor(self.hive, offset).map(Some)
    }

    /// Where a symbolic link leads, for example `\Registry\Machine\System\ControlSet001`.
    pub fn link_target(&self) -> Result<Option<String>> {
        if !self.flags()?.is_symlink() {
            return Ok(None);
        }
        let Some(value) = self.value("SymbolicLinkValue")? else {
            return Ok(None);
        };
        let data = value.data()?;
        if data.len() % 2 != 0 {
            return Err(damaged(
                self.cell.at(0),
                "a link's target is no UTF-16",
                "an even length",
                data.len(),
            ));
        }
        Ok(Some(Name::Wide(&data).text()))
    }
}

impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name().unwrap_or_default();
        write!(f, "Key({:#x}, {name:?})", self.cell.offset)
    }
}

/// The UTF-16 units of a name that may be given to a key.
pub(super) fn new_name(name: &str) -> Result<Vec<u16>> {
    let units: Vec<u16> = name.encode_utf16().collect();
    if units.is_empty() || units.len() > 255 || name.contains('\\') {
        return Err(crate::error::Error::refused(
            "hive-name",
            format!("{name:?} cannot name a key: 1 to 255 UTF-16 units without a backslash"),
        ));
    }
    Ok(units)
}

/// Length of a name in the fields that keep the longest one: bytes of its UTF-16 form.
pub(super) fn wide_len(units: &[u16]) -> u32 {
    u32::try_from(units.len().saturating_mul(2)).unwrap_or(u32::MAX)
}
