// SPDX-License-Identifier: Apache-2.0
//! Shared, counted security cells.

use super::Editor;
use crate::error::Result;
use crate::hive::cell::NONE;
use crate::hive::key;
use crate::hive::security::{at, descriptor, validate};

impl Editor<'_> {
    /// Gives a key a self-relative security descriptor. Writes nothing where it has it already.
    ///
    /// Errors: `hive-no-key`, `hive-security`.
    pub fn set_security(&mut self, path: &str, new: &[u8]) -> Result<()> {
        validate(new)?;
        self.run(|this| {
            let key = this.offset_of(path)?;
            if this.key(key)?.security()? == Some(new) {
                return Ok(());
            }
            let old = this.cell(key)?.u32(key::at::SECURITY)?;
            let cell = match this.security_like(new)? {
                Some(cell) => cell,
                None => this.security_new(new)?,
            };
            this.security_hold(cell)?;
            this.put32(key, key::at::SECURITY, cell)?;
            this.touch(key)?;
            this.security_drop(old)
        })
    }

    /// The cell of the ring that holds such a descriptor.
    fn security_like(&self, wanted: &[u8]) -> Result<Option<u32>> {
        let first = self.hive.root()?.cell.u32(key::at::SECURITY)?;
        let mut cell = first;
        // No hive has more descriptors than cells of 32 bytes.
        for _ in 0..self.hive.base.size / 32 {
            if cell == NONE {
                break;
            }
            if descriptor(self.hive, self.start(cell)?)? == wanted {
                return Ok(Some(cell));
            }
            cell = self.cell(cell)?.u32(at::NEXT)?;
            if cell == first {
                break;
            }
        }
        Ok(None)
    }

    /// Adds a cell without references to the ring.
    fn security_new(&mut self, bytes: &[u8]) -> Result<u32> {
        let cell = self.alloc(at::DESCRIPTOR.saturating_add(bytes.len()))?;
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put(cell, 0, b"sk")?;
        self.put32(cell, at::LENGTH, len)?;
        self.put(cell, at::DESCRIPTOR, bytes)?;
        let first = self.hive.root()?.cell.u32(key::at::SECURITY)?;
        let (next, previous) = match super::some(first) {
            Some(first) => (first, self.cell(first)?.u32(at::PREVIOUS)?),
            None => (cell, cell),
        };
        self.put32(cell, at::NEXT, next)?;
        self.put32(cell, at::PREVIOUS, previous)?;
        self.put32(next, at::PREVIOUS, cell)?;
        self.put32(previous, at::NEXT, cell)?;
        Ok(cell)
    }

    /// Counts one more key.
    pub(super) fn security_hold(&mut self, cell: u32) -> Result<()> {
        if cell == NONE {
            return Ok(());
        }
        self.cell(cell)?.expect(*b"sk")?;
        let count = self.cell(cell)?.u32(at::REFERENCES)?;
        self.put32(cell, at::REFERENCES, count.saturating_add(1))
    }

    /// Counts one key less and frees the cell after the last.
    pub(super) fn security_drop(&mut self, cell: u32) -> Result<()> {
        if cell == NONE {
            return Ok(());
        }
        self.cell(cell)?.expect(*b"sk")?;
        let count = self.cell(cell)?.u32(at::REFERENCES)?;
        if count > 1 {
            return self.put32(cell, at::REFERENCES, count.saturating_sub(1));
        }
        let next = self.cell(cell)?.u32(at::NEXT)?;
        let previous = self.cell(cell)?.u32(at::PREVIOUS)?;
        if next != cell {
            self.put32(next, at::PREVIOUS, previous)?;
            self.put32(previous, at::NEXT, next)?;
        }
        self.release(cell)
    }
}
