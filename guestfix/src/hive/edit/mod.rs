// SPDX-License-Identifier: Apache-2.0
//! Editing in place: bytes outside the touched cells stay as they were.

mod alloc;
mod keys;
mod lists;
mod security;
mod values;

use super::cell::{Cell, NONE, place};
use super::check::{Marks, each_cell};
use super::{Hive, Key, Recovery, base, damaged, names};
use crate::error::{Error, Result};
use alloc::Free;

/// An open edit of a hive. An operation that fails half-way spoils it: nothing can be finished
/// after it, and the hive must be dropped.
#[derive(Debug)]
pub struct Editor<'h> {
    hive: &'h mut Hive,
    free: Free,
    starts: Marks,
    now: u64,
    changed: bool,
    spoiled: bool,
}

/// What [`Editor::finish`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the hive's file differs from what was opened.
    pub changed: bool,
    /// Whether an operation of the edit changed anything; where only replay did, a writer may
    /// leave the file to Windows.
    pub edited: bool,
    /// New content for every transaction log of the hive where it changed: empty. The hive is
    /// clean, so Windows reads no log; an empty one, or one of zeros where a file keeps its length,
    /// cannot be mistaken for a newer state.
    pub log: Option<Vec<u8>>,
}

impl<'h> Editor<'h> {
    pub(super) fn new(hive: &'h mut Hive, now: u64) -> Result<Self> {
        let mut free = Free::default();
        let mut starts = Marks::new(hive.base.size);
        let size = hive.base.size;
        each_cell(&hive.bytes, &hive.bins, size, |offset, len, allocated| {
            if allocated {
                starts.set(offset);
            } else {
                free.add(offset, len);
            }
        })?;
        Ok(Self {
            hive,
            free,
            starts,
            now,
            changed: false,
            spoiled: false,
        })
    }

    /// The hive as it is now.
    pub fn hive(&self) -> &Hive {
        self.hive
    }

    /// Ends the edit: where anything changed (or replay did) the base block gets a new sequence
    /// number, time and checksum, and the hive is clean.
    ///
    /// Errors: `hive-edit-spoiled` after an operation that failed half-way.
    pub fn finish(self) -> Result<Outcome> {
        if self.spoiled {
            return Err(Error::refused(
                "hive-edit-spoiled",
                "an edit of the hive failed half-way, so it cannot be finished",
            ));
        }
        let replayed = matches!(self.hive.recovery, Recovery::Replayed { .. });
        if self.changed {
            let old = self.hive.base;
            let sequence = old
                .primary_sequence
                .max(old.secondary_sequence)
                .wrapping_add(1);
            base::seal(&mut self.hive.bytes, sequence, Some(self.now), old.size)?;
            if let Some(base) = base::BaseBlock::read(&self.hive.bytes) {
                self.hive.base = base;
            }
        }
        let changed = self.changed || replayed;
        Ok(Outcome {
            changed,
            edited: self.changed,
            log: changed.then(Vec::new),
        })
    }

    /// Runs an operation; a failure after its first write spoils the edit.
    fn run<T>(&mut self, operation: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.spoiled {
            return Err(Error::refused(
                "hive-edit-spoiled",
                "an earlier edit failed half-way",
            ));
        }
        let before = std::mem::replace(&mut self.changed, false);
        let result = operation(self);
        self.spoiled = result.is_err() && self.changed;
        self.changed |= before;
        result
    }

    fn offset_of(&self, path: &str) -> Result<u32> {
        match self.hive.key(path)? {
            Some(key) => self.start(key.offset()),
            None => Err(missing(path)),
        }
    }

    /// An offset that is the start of an allocated cell.
    fn start(&self, offset: u32) -> Result<u32> {
        if self.starts.has(offset) {
            return Ok(offset);
        }
        let at = u64::try_from(place(offset)).unwrap_or(u64::MAX);
        Err(damaged(
            at,
            "a reference leads into a cell",
            "an allocated cell",
            "its inside",
        ))
    }

    fn cell(&self, offset: u32) -> Result<Cell<'_>> {
        self.hive.cell(self.start(offset)?)
    }

    fn key(&self, offset: u32) -> Result<Key<'_>> {
        Key::read(self.hive, self.start(offset)?)
    }

    /// Overwrites bytes inside an allocated cell.
    fn put(&mut self, offset: u32, at: usize, new: &[u8]) -> Result<()> {
        self.cell(offset)?.slice(at, new.len())?;
        let at = place(offset).saturating_add(4).saturating_add(at);
        self.changed = true;
        base::put(&mut self.hive.bytes, at, new)
    }

    fn put32(&mut self, offset: u32, at: usize, new: u32) -> Result<()> {
        self.put(offset, at, &new.to_le_bytes())
    }

    /// Raises a field that keeps a maximum.
    fn raise(&mut self, offset: u32, at: usize, to: u32) -> Result<()> {
        if self.cell(offset)?.u32(at)? < to {
            self.put32(offset, at, to)?;
        }
        Ok(())
    }

    fn touch(&mut self, key: u32) -> Result<()> {
        let now = self.now.to_le_bytes();
        self.put(key, super::key::at::TIMESTAMP, &now)
    }
}

fn missing(path: &str) -> Error {
    Error::refused("hive-no-key", format!("there is no key {path:?}"))
        .hint("guestfix hive get FILE shows the keys that exist")
}

/// A path as its parent's path and the last name; `None` for the root.
fn split(path: &str) -> Option<(String, String)> {
    let mut all: Vec<&str> = names(path).collect();
    let last = all.pop()?;
    Some((all.join("\\"), last.to_owned()))
}

/// An offset, if there is one.
fn some(offset: u32) -> Option<u32> {
    (offset != NONE).then_some(offset)
}
