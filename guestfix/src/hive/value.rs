// SPDX-License-Identifier: Apache-2.0
//! Values (`vk` cells) and their data: resident, in one cell, or in segments (`db`).

use std::borrow::Cow;

use super::cell::{Cell, NONE};
use super::key::{self, Key};
use super::name::Name;
use super::{Hive, damaged};
use crate::error::Result;

/// Offsets of a value's fields.
pub(super) mod at {
    pub(in crate::hive) const NAME_LEN: usize = 2;
    pub(in crate::hive) const SIZE: usize = 4;
    pub(in crate::hive) const DATA: usize = 8;
    pub(in crate::hive) const TYPE: usize = 12;
    pub(in crate::hive) const FLAGS: usize = 16;
    pub(in crate::hive) const NAME: usize = 20;
}

/// The bit of a size that says the data lies in the offset field.
pub(super) const RESIDENT: u32 = 0x8000_0000;
/// Bytes of data per segment of a `db` record; longer data is segmented from version 1.4 on.
pub(super) const SEGMENT: usize = 16344;

/// The type of a value, as stored; unknown types are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueType(pub u32);

impl ValueType {
    /// No type.
    pub const NONE: Self = Self(0);
    /// Text.
    pub const SZ: Self = Self(1);
    /// Text with environment variables.
    pub const EXPAND_SZ: Self = Self(2);
    /// Bytes.
    pub const BINARY: Self = Self(3);
    /// A little-endian 32-bit number.
    pub const DWORD: Self = Self(4);
    /// A big-endian 32-bit number.
    pub const DWORD_BIG_ENDIAN: Self = Self(5);
    /// A symbolic link's target.
    pub const LINK: Self = Self(6);
    /// A list of texts.
    pub const MULTI_SZ: Self = Self(7);
    /// A hardware resource list.
    pub const RESOURCE_LIST: Self = Self(8);
    /// A hardware resource descriptor.
    pub const FULL_RESOURCE_DESCRIPTOR: Self = Self(9);
    /// A list of hardware resource requirements.
    pub const RESOURCE_REQUIREMENTS_LIST: Self = Self(10);
    /// A little-endian 64-bit number.
    pub const QWORD: Self = Self(11);

    /// The name that Windows gives it, or its number.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self.0 {
            0 => "REG_NONE",
            1 => "REG_SZ",
            2 => "REG_EXPAND_SZ",
            3 => "REG_BINARY",
            4 => "REG_DWORD",
            5 => "REG_DWORD_BIG_ENDIAN",
            6 => "REG_LINK",
            7 => "REG_MULTI_SZ",
            8 => "REG_RESOURCE_LIST",
            9 => "REG_FULL_RESOURCE_DESCRIPTOR",
            10 => "REG_RESOURCE_REQUIREMENTS_LIST",
            11 => "REG_QWORD",
            other => return Cow::Owned(format!("{other:#x}")),
        })
    }
}

/// A value, read in place.
#[derive(Clone, Copy)]
pub struct Value<'h> {
    pub(super) hive: &'h Hive,
    pub(super) cell: Cell<'h>,
}

impl<'h> Value<'h> {
    pub(super) fn read(hive: &'h Hive, offset: u32) -> Result<Self> {
        let cell = hive.cell(offset)?;
        cell.expect(*b"vk")?;
        cell.slice(0, at::NAME)?;
        Ok(Self { hive, cell })
    }

    pub(super) fn stored_name(&self) -> Result<Name<'h>> {
        let compressed = self.cell.u16(at::FLAGS)? & 1 != 0;
        Name::read(
            self.cell,
            at::NAME,
            self.cell.u16(at::NAME_LEN)?,
            compressed,
        )
    }

    /// The name; empty for the default value. Lone surrogates become U+FFFD.
    pub fn name(&self) -> Result<String> {
        Ok(self.stored_name()?.text())
    }

    /// The name as UTF-16, without loss.
    pub fn name_units(&self) -> Result<Vec<u16>> {
        Ok(self.stored_name()?.units().collect())
    }

    /// The type.
    pub fn kind(&self) -> Result<ValueType> {
        Ok(ValueType(self.cell.u32(at::TYPE)?))
    }

    /// Length of the data in bytes.
    pub fn len(&self) -> Result<usize> {
        let size = self.cell.u32(at::SIZE)?;
        Ok(usize::try_from(size & !RESIDENT).unwrap_or(usize::MAX))
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The data; copied only where it lies in segments.
    pub fn data(&self) -> Result<Cow<'h, [u8]>> {
        let len = self.len()?;
        if self.cell.u32(at::SIZE)? & RESIDENT != 0 {
            if len > 4 {
                let at = self.cell.at(at::SIZE);
                return Err(damaged(at, "resident data is too long", "at most 4", len));
            }
            return self.cell.slice(at::DATA, len).map(Cow::Borrowed);
        }
        if len == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let cell = self.data_cell()?;
        if self.is_segmented()? {
            self.segments(cell, len).map(Cow::Owned)
        } else {
            cell.slice(0, len).map(Cow::Borrowed)
        }
    }

    pub(super) fn data_cell(&self) -> Result<Cell<'h>> {
        self.hive.cell(self.cell.u32(at::DATA)?)
    }

    /// Whether the data lies in segments. Other writers put long data into one cell even in
    /// versions that segment, so a long enough cell is taken as it is.
    pub(super) fn is_segmented(&self) -> Result<bool> {
        let size = self.cell.u32(at::SIZE)?;
        let len = self.len()?;
        if size & RESIDENT != 0 || len <= SEGMENT || self.hive.minor_version() < 4 {
            return Ok(false);
        }
        let cell = self.data_cell()?;
        Ok(cell.tag()? == *b"db" && cell.data.len() < len)
    }

    /// Offsets of the segments of segmented data.
    pub(super) fn segment_offsets(&self) -> Result<(u32, Vec<u32>)> {
        let record = self.data_cell()?;
        let len = self.len()?;
        let count = usize::from(record.u16(2)?);
        if count != len.div_ceil(SEGMENT) {
            return Err(damaged(
                record.at(2),
                "data has a wrong number of segments",
                len.div_ceil(SEGMENT),
                count,
            ));
        }
        let offset = record.u32(4)?;
        let list = self.hive.cell(offset)?;
        let offsets = (0..count).map(|i| list.u32(i.saturating_mul(4)));
        Ok((offset, offsets.collect::<Result<_>>()?))
    }

    fn segments(&self, record: Cell<'h>, len: usize) -> Result<Vec<u8>> {
        if len > self.hive.bytes.len() {
            return Err(damaged(
                record.at(0),
                "data is longer than the hive",
                format!("at most {}", self.hive.bytes.len()),
                len,
            ));
        }
        let mut out = Vec::with_capacity(len);
        for offset in self.segment_offsets()?.1 {
            let part = len.saturating_sub(out.len()).min(SEGMENT);
            out.extend_from_slice(self.hive.cell(offset)?.slice(0, part)?);
        }
        Ok(out)
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name().unwrap_or_default();
        write!(f, "Value({:#x}, {name:?})", self.cell.offset)
    }
}

/// Iterator over a key's values; ends after the first error.
#[derive(Debug)]
pub struct Values<'h> {
    hive: &'h Hive,
    offsets: &'h [u8],
}

impl<'h> Values<'h> {
    pub(super) fn of(key: Key<'h>) -> Result<Self> {
        let count = usize::try_from(key.value_count()?).unwrap_or(usize::MAX);
        let offset = key.cell.u32(key::at::VALUE_LIST)?;
        let offsets = match (count, offset) {
            (0, _) => &[][..],
            (_, NONE) => {
                return Err(damaged(
                    key.cell.at(key::at::VALUE_LIST),
                    "a key has values but no list",
                    format!("{count} values"),
                    "no list",
                ));
            }
            _ => key.hive.cell(offset)?.slice(0, count.saturating_mul(4))?,
        };
        Ok(Self {
            hive: key.hive,
            offsets,
        })
    }
}

impl<'h> Iterator for Values<'h> {
    type Item = Result<Value<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = super::cell::le32(self.offsets, 0)?;
        self.offsets = self.offsets.get(4..).unwrap_or_default();
        let value = Value::read(self.hive, offset);
        if value.is_err() {
            self.offsets = &[];
        }
        Some(value)
    }
}
