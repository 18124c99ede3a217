// SPDX-License-Identifier: Apache-2.0
//! Values: set and delete.

use super::{Editor, some};
use crate::error::{Error, Result};
use crate::hive::ValueType;
use crate::hive::cell::NONE;
use crate::hive::key::{self, wide_len};
use crate::hive::name::encode;
use crate::hive::value::{RESIDENT, SEGMENT, Value, at};

/// The longest value data that this room writes: 1 MiB is Windows' advice, big data goes further.
const MOST_DATA: usize = 64 << 20;

impl Editor<'_> {
    /// Sets a value of an existing key; the empty name is the default value. Writes nothing where
    /// the value is already so.
    ///
    /// Errors: `hive-no-key`, `hive-value-limit`.
    pub fn set_value(
        &mut self,
        path: &str,
        name: &str,
        kind: ValueType,
        data: &[u8],
    ) -> Result<()> {
        let units: Vec<u16> = name.encode_utf16().collect();
        if units.len() > 16383 || data.len() > MOST_DATA {
            return Err(Error::refused(
                "hive-value-limit",
                "the value's name or data is too long",
            ));
        }
        self.run(|this| {
            let key = this.offset_of(path)?;
            let found = this.key(key)?.value_units(&units)?;
            let old = found.map(|(_, value)| (value.cell.offset, same(&value, kind, data)));
            match old {
                Some((_, Ok(true))) => return Ok(()),
                Some((cell, Ok(false))) => this.value_write(cell, kind, data, true)?,
                Some((_, Err(error))) => return Err(error),
                None => {
                    let cell = this.value_new(&units)?;
                    this.value_write(cell, kind, data, false)?;
                    this.value_enter(key, cell)?;
                    this.raise(key, key::at::MAX_VALUE_NAME, wide_len(&units))?;
                }
            }
            let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
            this.raise(key, key::at::MAX_VALUE_DATA, len)?;
            this.touch(key)
        })
    }

    /// Deletes a value and says whether there was one. A missing key is an error.
    pub fn delete_value(&mut self, path: &str, name: &str) -> Result<bool> {
        let units: Vec<u16> = name.encode_utf16().collect();
        self.run(|this| {
            let key = this.offset_of(path)?;
            let Some((index, value)) = this.key(key)?.value_units(&units)? else {
                return Ok(false);
            };
            let cell = value.cell.offset;
            this.value_leave(key, index)?;
            this.value_release(cell)?;
            this.touch(key)?;
            Ok(true)
        })
    }

    fn value_new(&mut self, units: &[u16]) -> Result<u32> {
        let (name, compressed) = encode(units);
        let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        let cell = self.alloc(at::NAME.saturating_add(name.len()))?;
        self.put(cell, 0, b"vk")?;
        self.put(cell, at::NAME_LEN, &len.to_le_bytes())?;
        self.put(cell, at::FLAGS, &u16::from(compressed).to_le_bytes())?;
        self.put(cell, at::NAME, &name)?;
        Ok(cell)
    }

    /// Writes type and data; old data is overwritten where the new fits its cell, else freed.
    fn value_write(&mut self, cell: u32, kind: ValueType, data: &[u8], old: bool) -> Result<()> {
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.put32(cell, at::TYPE, kind.0)?;
        if old && self.fits(cell, data.len())? {
            let place = self.cell(cell)?.u32(at::DATA)?;
            self.put(place, 0, data)?;
            return self.put32(cell, at::SIZE, len);
        }
        if old {
            self.data_release(cell)?;
        }
        if data.len() <= 4 {
            let mut resident = [0; 4];
            for (to, from) in resident.iter_mut().zip(data) {
                *to = *from;
            }
            self.put(cell, at::DATA, &resident)?;
            return self.put32(cell, at::SIZE, len | RESIDENT);
        }
        let place = if data.len() > SEGMENT && self.hive.minor_version() >= 4 {
            self.segments(data)?
        } else {
            self.alloc_with(data)?
        };
        self.put32(cell, at::DATA, place)?;
        self.put32(cell, at::SIZE, len)
    }

    /// Whether new data fits the one cell of the old without wasting half of it.
    fn fits(&self, cell: u32, len: usize) -> Result<bool> {
        let value = Value::read(self.hive, cell)?;
        if value.cell.u32(at::SIZE)? & RESIDENT != 0
            || value.is_empty()?
            || value.is_segmented()?
            || !(5..=SEGMENT).contains(&len)
        {
            return Ok(false);
        }
        let room = self
            .start(value.cell.u32(at::DATA)?)
            .and_then(|o| self.cell(o))?
            .data
            .len();
        Ok(len <= room && len >= room / 2)
    }

    fn segments(&mut self, data: &[u8]) -> Result<u32> {
        let mut list = Vec::new();
        for part in data.chunks(SEGMENT) {
            // Windows gives the last one a whole cell too, and hivex counts on it.
            let segment = self.alloc(SEGMENT)?;
            self.put(segment, 0, part)?;
            list.extend(segment.to_le_bytes());
        }
        let count = u16::try_from(list.len() / 4).unwrap_or(u16::MAX);
        let list = self.alloc_with(&list)?;
        let mut record = b"db".to_vec();
        record.extend(count.to_le_bytes());
        record.extend(list.to_le_bytes());
        record.extend([0; 4]);
        self.alloc_with(&record)
    }

    fn data_release(&mut self, cell: u32) -> Result<()> {
        let value = Value::read(self.hive, cell)?;
        if value.cell.u32(at::SIZE)? & RESIDENT != 0 || value.is_empty()? {
            return Ok(());
        }
        let place = value.cell.u32(at::DATA)?;
        if value.is_segmented()? {
            let (list, segments) = value.segment_offsets()?;
            for segment in segments {
                self.release(segment)?;
            }
            self.release(list)?;
        }
        self.release(place)
    }

    pub(super) fn value_release(&mut self, cell: u32) -> Result<()> {
        self.start(cell)?;
        self.data_release(cell)?;
        self.release(cell)
    }

    /// Appends to the key's list of values.
    fn value_enter(&mut self, key: u32, cell: u32) -> Result<()> {
        let count = self.key(key)?.value_count()?;
        let old = some(self.cell(key)?.u32(key::at::VALUE_LIST)?).filter(|_| count != 0);
        let end = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_mul(4);
        let room = old
            .map(|list| self.cell(list).map(|c| c.data.len()))
            .transpose()?;
        let list = match (old, room) {
            (Some(list), Some(room)) if room >= end.saturating_add(4) => list,
            _ => {
                let list = self.alloc(end.saturating_add(4))?;
                if let Some(old) = old {
                    let entries = self.cell(old)?.slice(0, end)?.to_vec();
                    self.put(list, 0, &entries)?;
                    self.release(old)?;
                }
                self.put32(key, key::at::VALUE_LIST, list)?;
                list
            }
        };
        self.put32(list, end, cell)?;
        self.put32(key, key::at::VALUES, count.saturating_add(1))
    }

    fn value_leave(&mut self, key: u32, index: usize) -> Result<()> {
        let count = self.key(key)?.value_count()?;
        let list = self.cell(key)?.u32(key::at::VALUE_LIST)?;
        let left = count.saturating_sub(1);
        if left == 0 {
            self.release(list)?;
            self.put32(key, key::at::VALUE_LIST, NONE)?;
            self.put32(key, key::at::MAX_VALUE_NAME, 0)?;
            self.put32(key, key::at::MAX_VALUE_DATA, 0)?;
        } else {
            let from = index.saturating_add(1).saturating_mul(4);
            let end = usize::try_from(count)
                .unwrap_or(usize::MAX)
                .saturating_mul(4);
            let rest = self
                .cell(list)?
                .slice(from, end.saturating_sub(from))?
                .to_vec();
            self.put(list, from.saturating_sub(4), &rest)?;
        }
        self.put32(key, key::at::VALUES, left)
    }
}

fn same(value: &Value<'_>, kind: ValueType, data: &[u8]) -> Result<bool> {
    Ok(value.kind()? == kind && *value.data()? == *data)
}
