// SPDX-License-Identifier: Apache-2.0
//! The Windows registry on disk: bytes in, bytes out, no I/O.
//!
//! A [`Hive`] is opened from its file and its transaction logs, which are replayed; keys and
//! values are read in place; an [`Editor`] changes it in place. Format facts: Maxim Suhanov,
//! "Windows registry file format specification", <https://github.com/msuhanov/regf>.
//!
//! Every byte may be hostile: nothing here panics, every loop is bounded by the hive's length,
//! and what cannot be is an error of kind `Corrupt` with offset, expected and actual value.
#![forbid(unsafe_code)]
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod base;
mod cell;
mod check;
mod create;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod damage_tests;
mod diff;
mod edit;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod edit_tests;
mod key;
mod list;
mod log;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod log_tests;
mod marvin;
mod name;
mod old_log;
mod reg_export;
mod reg_import;
pub mod script;
mod security;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod tests;
pub mod typed;
mod value;

use std::fmt::Display;

pub use check::{Finding, Summary};
pub use diff::{Difference, diff};
pub use edit::{Editor, Outcome};
pub use key::{Key, KeyFlags};
pub use list::Subkeys;
pub use log::{Dirty, Recovery};
pub use reg_export::{data_text, export};
pub use reg_import::{Imported, import, parse_data};
pub use value::{Value, ValueType, Values};

use crate::error::{Error, Result};
use base::BaseBlock;
use cell::{Bins, Cell, cell_size, place};

/// The registry's own limit on how deep keys nest.
pub(crate) const DEPTH_LIMIT: usize = 512;

/// A registry hive in memory.
#[derive(Debug, Clone)]
pub struct Hive {
    bytes: Vec<u8>,
    bins: Bins,
    base: BaseBlock,
    recovery: Recovery,
}

impl Hive {
    /// Opens a hive from its file and its transaction logs (`.LOG1`, `.LOG2` or `.LOG`, in any
    /// order, missing ones left out), which are replayed where the hive is dirty.
    ///
    /// Errors: `hive-damaged`, `hive-version`, `no-hive`; `hive-dirty` (refused) where the logs
    /// cannot make it whole and `dirty` is [`Dirty::Refuse`].
    pub fn open(bytes: Vec<u8>, logs: &[&[u8]], dirty: Dirty) -> Result<Self> {
        log::open(bytes, logs, dirty)
    }

    /// Whether the head of a hive's file (512 bytes of it) says that the last write ended well, so
    /// that its logs do not matter.
    pub fn is_clean(head: &[u8]) -> bool {
        BaseBlock::read(head).is_some_and(|base| base.is_clean())
    }

    /// Takes the bytes as they are, without looking at sequence numbers.
    fn parse(bytes: Vec<u8>) -> Result<Self> {
        let base = BaseBlock::read(&bytes).ok_or_else(|| {
            let head = bytes.get(..4).unwrap_or_default();
            Error::corrupt("no-hive", "the file is no registry hive").because(format!(
                "expected \"regf\", found {:?}",
                String::from_utf8_lossy(head)
            ))
        })?;
        base.supported()?;
        let end = place(base.size);
        if end > bytes.len() {
            return Err(damaged(
                bytes.len().try_into().unwrap_or(u64::MAX),
                "the hive is cut short",
                format!("{end} bytes"),
                bytes.len(),
            ));
        }
        let bins = Bins::read(&bytes, base.size)?;
        let hive = Self {
            bytes,
            bins,
            base,
            recovery: Recovery::Clean,
        };
        hive.root()?;
        Ok(hive)
    }

    /// How the hive was found and what replay did.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Minor version: 3 to 6.
    pub fn minor_version(&self) -> u32 {
        self.base.minor
    }

    /// The sequence number of the last write.
    pub fn sequence(&self) -> u32 {
        self.base.secondary_sequence
    }

    /// When the hive was last written (FILETIME: 100 ns since 1601 UTC).
    pub fn timestamp(&self) -> u64 {
        self.base.timestamp
    }

    /// The hive's file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hive's file, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The root key.
    pub fn root(&self) -> Result<Key<'_>> {
        Key::read(self, self.base.root)
    }

    /// The key at a path of names between backslashes; the empty path is the root.
    pub fn key(&self, path: &str) -> Result<Option<Key<'_>>> {
        let mut key = self.root()?;
        for name in names(path) {
            match key.subkey(name)? {
                Some(next) => key = next,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// The value `name` of the key at `path`; the empty name is the default value.
    pub fn value(&self, path: &str, name: &str) -> Result<Option<Value<'_>>> {
        match self.key(path)? {
            Some(key) => key.value(name),
            None => Ok(None),
        }
    }

    /// Walks the whole hive and says what is in it, and what is odd about it.
    ///
    /// Errors: `hive-damaged` at the first thing that cannot be, such as a loop or an overlap.
    pub fn check(&self) -> Result<Summary> {
        check::check(self)
    }

    /// Starts editing; every key touched gets this FILETIME.
    ///
    /// Errors: `hive-damaged` where the cells do not tile their bins.
    pub fn edit(&mut self, now: u64) -> Result<Editor<'_>> {
        Editor::new(self, now)
    }

    fn cell(&self, offset: u32) -> Result<Cell<'_>> {
        let (size, allocated) = cell_size(&self.bytes, &self.bins, offset)?;
        let start = place(offset);
        if !allocated {
            return Err(damaged(
                u64::try_from(start).unwrap_or(u64::MAX),
                "a reference leads to a free cell",
                "a negative size",
                size,
            ));
        }
        let end = start.saturating_add(usize::try_from(size).unwrap_or(0));
        let data = self.bytes.get(start.saturating_add(4)..end);
        Ok(Cell {
            offset,
            data: data.unwrap_or_default(),
        })
    }
}

/// The names of a path.
pub(crate) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('\\').filter(|name| !name.is_empty())
}

/// A damaged structure: where, what, and the two values that disagree.
fn damaged(offset: u64, what: &str, expected: impl Display, actual: impl Display) -> Error {
    Error::corrupt("hive-damaged", what)
        .at(offset)
        .because(format!("expected {expected}, found {actual}"))
        .hint(
            "the hive was not changed; restore it inside Windows (reg load, or the RegBack copy) \
             and try again",
        )
}
