// SPDX-License-Identifier: Apache-2.0
//! Subkey lists: `lf`, `lh` and `li` leaves, and the `ri` lists of leaves.

use super::cell::{Cell, NONE};
use super::key::{Key, at};
use super::{Hive, damaged, name};
use crate::error::Result;

/// Bytes of the smallest cell of a key.
const SMALLEST_KEY: u32 = 80;

/// What a leaf says about one key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) offset: u32,
    pub(super) hint: Hint,
}

/// What a leaf keeps beside a key's offset.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hint {
    None,
    Hash(u32),
}

/// A list cell, validated as far as its count.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<'h> {
    pub(super) cell: Cell<'h>,
    pub(super) tag: [u8; 2],
    pub(super) count: usize,
}

impl<'h> List<'h> {
    pub(super) fn read(hive: &'h Hive, offset: u32) -> Result<Self> {
        let cell = hive.cell(offset)?;
        let tag = cell.tag()?;
        let width = match &tag {
            b"lf" | b"lh" => 8,
            b"li" | b"ri" => 4,
            _ => {
                let found = String::from_utf8_lossy(&tag).into_owned();
                return Err(damaged(
                    cell.at(0),
                    "a subkey list is of an unknown kind",
                    "lf, lh, li or ri",
                    format!("{found:?}"),
                ));
            }
        };
        let count = usize::from(cell.u16(2)?);
        cell.slice(4, count.saturating_mul(width))?;
        Ok(Self { cell, tag, count })
    }

    pub(super) fn is_index(&self) -> bool {
        self.tag == *b"ri"
    }

    pub(super) fn is_wide(&self) -> bool {
        matches!(&self.tag, b"lf" | b"lh")
    }

    pub(super) fn entry(&self, index: usize) -> Result<Entry> {
        let width = if self.is_wide() { 8 } else { 4 };
        let at = index.saturating_mul(width).saturating_add(4);
        let hint = match &self.tag {
            b"lh" => Hint::Hash(self.cell.u32(at.saturating_add(4))?),
            _ => Hint::None,
        };
        Ok(Entry {
            offset: self.cell.u32(at)?,
            hint,
        })
    }
}

/// A search for a name that skips keys whose hash differs.
pub(super) struct Lookup {
    hash: Option<u32>,
}

impl Lookup {
    /// Hashes of names beyond ASCII are not trusted: they depend on the Windows release's table.
    pub(super) fn new(units: &[u16]) -> Self {
        let ascii = units.iter().all(|unit| *unit < 0x80);
        Self {
            hash: ascii.then(|| name::hash(units)),
        }
    }

    pub(super) fn may_be(&self, entry: Entry) -> bool {
        match (self.hash, entry.hint) {
            (Some(hash), Hint::Hash(found)) => hash == found,
            _ => true,
        }
    }
}

/// Iterator over a key's subkeys; ends after the first error.
#[derive(Debug)]
pub struct Subkeys<'h> {
    entries: Entries<'h>,
}

impl<'h> Subkeys<'h> {
    pub(super) fn of(key: Key<'h>) -> Result<Self> {
        let claimed = key.subkey_count()?;
        let offset = key.cell.u32(at::SUBKEY_LIST)?;
        let mut entries = Entries {
            hive: key.hive,
            index: None,
            leaf: None,
            claimed,
            left: claimed,
            at: key.cell.at(at::SUBKEYS),
        };
        // Windows leaves a stale list offset behind a count of zero.
        if claimed == 0 {
            return Ok(Self { entries });
        }
        // A key takes at least a cell: more of them would bound the work on a loop badly.
        let most = key.hive.base.size / SMALLEST_KEY;
        if claimed > most {
            return Err(damaged(
                key.cell.at(at::SUBKEYS),
                "a key has more subkeys than the hive has room for",
                format!("at most {most}"),
                claimed,
            ));
        }
        if offset == NONE {
            return Err(damaged(
                key.cell.at(at::SUBKEY_LIST),
                "a key has subkeys but no list",
                format!("{claimed} subkeys"),
                "no list",
            ));
        }
        let list = List::read(key.hive, offset)?;
        if list.is_index() {
            entries.index = Some((list, 0));
        } else {
            entries.leaf = Some((list, 0));
        }
        Ok(Self { entries })
    }

    pub(super) fn entries(self) -> Entries<'h> {
        self.entries
    }
}

impl<'h> Iterator for Subkeys<'h> {
    type Item = Result<Key<'h>>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        let key = entry.and_then(|entry| Key::read(self.entries.hive, entry.offset));
        if key.is_err() {
            self.entries.end();
        }
        Some(key)
    }
}

/// Iterator over the entries of all leaves.
#[derive(Debug)]
pub(super) struct Entries<'h> {
    hive: &'h Hive,
    index: Option<(List<'h>, usize)>,
    leaf: Option<(List<'h>, usize)>,
    claimed: u32,
    left: u32,
    at: u64,
}

impl Entries<'_> {
    fn end(&mut self) {
        self.index = None;
        self.leaf = None;
        self.left = 0;
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some((leaf, next)) = &mut self.leaf
                && *next < leaf.count
            {
                let entry = leaf.entry(*next)?;
                *next = next.saturating_add(1);
                // The claim bounds the work on a list that names the same leaf many times.
                self.left = self.left.checked_sub(1).ok_or_else(|| {
                    damaged(self.at, "a subkey list is too long", self.claimed, "more")
                })?;
                return Ok(Some(entry));
            }
            match &mut self.index {
                Some((index, next)) if *next < index.count => {
                    let offset = index.entry(*next)?.offset;
                    *next = next.saturating_add(1);
                    let leaf = List::read(self.hive, offset)?;
                    if leaf.is_index() {
                        return Err(damaged(
                            leaf.cell.at(0),
                            "nested subkey lists",
                            "a leaf",
                            "ri",
                        ));
                    }
                    self.leaf = Some((leaf, 0));
                }
                _ if self.left == 0 => return Ok(None),
                _ => {
                    let found = self.claimed.saturating_sub(self.left);
                    return Err(damaged(
                        self.at,
                        "a subkey list is too short",
                        self.claimed,
                        found,
                    ));
                }
            }
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.advance();
        if entry.is_err() {
            self.end();
        }
        entry.transpose()
    }
}
