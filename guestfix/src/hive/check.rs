// SPDX-License-Identifier: Apache-2.0
//! A walk of the whole hive: every cell at most once, every reference to a cell's start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cell::{BIN_HEADER, Bins, NONE, cell_size, place};
use super::key::{Key, at};
use super::list::{Hint, List};
use super::name::Name;
use super::value::{self, Value};
use super::{DEPTH_LIMIT, Hive, damaged, security};
use crate::error::Result;

/// What a hive holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// Keys, the root included.
    pub keys: u64,
    /// Values.
    pub values: u64,
    /// Bytes of value data.
    pub data: u64,
    /// Security descriptors in use.
    pub descriptors: u64,
    /// What is odd, but readable; at most 100.
    pub findings: Vec<Finding>,
}

/// Something odd that Windows reads all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// Where, as a byte offset in the file.
    pub offset: u64,
    /// What.
    pub what: String,
}

/// One bit for each place where a cell may start.
#[derive(Debug, Clone)]
pub(super) struct Marks(Vec<u64>);

impl Marks {
    pub(super) fn new(size: u32) -> Self {
        Self(vec![
            0;
            usize::try_from(size / 512)
                .unwrap_or(0)
                .saturating_add(1)
        ])
    }

    fn place(offset: u32) -> (usize, u64) {
        let bit = 1_u64.checked_shl((offset / 8) % 64).unwrap_or(0);
        (usize::try_from(offset / 512).unwrap_or(usize::MAX), bit)
    }

    /// Sets a mark and says whether it was there already.
    pub(super) fn set(&mut self, offset: u32) -> bool {
        let (word, bit) = Self::place(offset);
        match self.0.get_mut(word) {
            Some(bits) => {
                let had = *bits & bit != 0;
                *bits |= bit;
                had
            }
            None => {
                // Hives grow while they are edited.
                self.0.resize(word.saturating_add(1), 0);
                if let Some(bits) = self.0.get_mut(word) {
                    *bits |= bit;
                }
                false
            }
        }
    }

    pub(super) fn clear(&mut self, offset: u32) {
        let (word, bit) = Self::place(offset);
        if let Some(bits) = self.0.get_mut(word) {
            *bits &= !bit;
        }
    }

    pub(super) fn has(&self, offset: u32) -> bool {
        let (word, bit) = Self::place(offset);
        offset.is_multiple_of(8) && self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

/// Visits every cell in order: offset, size, allocated.
pub(super) fn each_cell(
    bytes: &[u8],
    bins: &Bins,
    size: u32,
    mut visit: impl FnMut(u32, u32, bool),
) -> Result<()> {
    let mut at = 0_u32;
    while at < size {
        let end = bins.of(at).map_or(size, |(_, end)| end);
        let mut cell = at.saturating_add(BIN_HEADER);
        while cell < end {
            let (len, allocated) = cell_size(bytes, bins, cell)?;
            visit(cell, len, allocated);
            cell = cell.saturating_add(len);
        }
        at = end;
    }
    Ok(())
}

struct Walk<'h> {
    hive: &'h Hive,
    starts: Marks,
    seen: Marks,
    security: BTreeMap<u32, u32>,
    summary: Summary,
}

pub(super) fn check(hive: &Hive) -> Result<Summary> {
    let size = hive.base.size;
    let mut starts = Marks::new(size);
    each_cell(&hive.bytes, &hive.bins, size, |offset, _, allocated| {
        if allocated {
            starts.set(offset);
        }
    })?;
    let mut walk = Walk {
        hive,
        starts,
        seen: Marks::new(size),
        security: BTreeMap::new(),
        summary: Summary::default(),
    };
    walk.claim(hive.base.root)?;
    walk.keys()?;
    walk.references()?;
    walk.summary.descriptors = u64::try_from(walk.security.len()).unwrap_or(0);
    Ok(walk.summary)
}

impl<'h> Walk<'h> {
    fn keys(&mut self) -> Result<()> {
        let root = self.hive.root()?;
        self.key(root)?;
        let mut open = vec![(root, root.subkeys()?)];
        let mut last: Vec<Option<Name<'h>>> = vec![None];
        while let Some((parent, subkeys)) = open.last_mut() {
            let Some(next) = subkeys.next() else {
                open.pop();
                last.pop();
                continue;
            };
            let (key, parent) = (next?, parent.offset());
            self.claim(key.offset())?;
            if key.cell.u32(at::PARENT)? != parent {
                self.find(
                    key.cell.at(at::PARENT),
                    "a key names another key as its parent",
                );
            }
            self.order(key, last.last_mut())?;
            self.key(key)?;
            if open.len() >= DEPTH_LIMIT {
                let at = key.cell.at(0);
                return Err(damaged(at, "keys nest too deep", DEPTH_LIMIT, "more"));
            }
            open.push((key, key.subkeys()?));
            last.push(None);
        }
        Ok(())
    }

    fn order(&mut self, key: Key<'h>, last: Option<&mut Option<Name<'h>>>) -> Result<()> {
        let Some(last) = last else {
            return Ok(());
        };
        let name = key.stored_name()?;
        match last.map(|last| last.order(name)) {
            Some(std::cmp::Ordering::Equal) => {
                self.find(key.cell.at(0), "two keys have the same name")
            }
            Some(std::cmp::Ordering::Greater) => self.find(key.cell.at(0), "keys are not in order"),
            _ => {}
        }
        *last = Some(name);
        Ok(())
    }

    /// Takes a cell; a second claim is a loop or an overlap.
    fn claim(&mut self, offset: u32) -> Result<()> {
        let at = u64::try_from(place(offset)).unwrap_or(u64::MAX);
        if !self.starts.has(offset) {
            return Err(damaged(
                at,
                "a reference leads into a cell",
                "an allocated cell",
                "its inside",
            ));
        }
        if self.seen.set(offset) {
            return Err(damaged(
                at,
                "a cell is used twice",
                "one reference",
                "another",
            ));
        }
        Ok(())
    }

    fn find(&mut self, offset: u64, what: &str) {
        if self.summary.findings.len() < 100 {
            self.summary.findings.push(Finding {
                offset,
                what: what.to_owned(),
            });
        }
    }

    fn key(&mut self, key: Key<'h>) -> Result<()> {
        self.summary.keys = self.summary.keys.saturating_add(1);
        if !key.stored_name()?.is_valid() {
            self.find(key.cell.at(at::NAME), "a key's name is no valid UTF-16");
        }
        if key.class_bytes()?.is_some() {
            self.claim(key.cell.u32(at::CLASS)?)?;
        }
        let security = key.cell.u32(at::SECURITY)?;
        if security != NONE {
            key.security()?;
            if !self.security.contains_key(&security) {
                self.claim(security)?;
            }
            let count = self.security.entry(security).or_default();
            *count = count.saturating_add(1);
        }
        if key.subkey_count()? != 0 {
            self.lists(key)?;
        }
        if key.value_count()? != 0 {
            self.claim(key.cell.u32(at::VALUE_LIST)?)?;
        }
        for value in key.values()? {
            self.value(value?)?;
        }
        Ok(())
    }

    fn lists(&mut self, key: Key<'h>) -> Result<()> {
        let offset = key.cell.u32(at::SUBKEY_LIST)?;
        self.claim(offset)?;
        let list = List::read(self.hive, offset)?;
        if !list.is_index() {
            return self.hashes(list);
        }
        for index in 0..list.count {
            let leaf = list.entry(index)?.offset;
            self.claim(leaf)?;
            self.hashes(List::read(self.hive, leaf)?)?;
        }
        Ok(())
    }

    fn hashes(&mut self, leaf: List<'h>) -> Result<()> {
        for index in 0..if leaf.tag == *b"lh" { leaf.count } else { 0 } {
            let entry = leaf.entry(index)?;
            let name = Key::read(self.hive, entry.offset)?.stored_name()?;
            if let Hint::Hash(hash) = entry.hint
                && hash != name.hash()
            {
                self.find(leaf.cell.at(4), "a key's hash is wrong in its list");
            }
        }
        Ok(())
    }

    fn value(&mut self, value: Value<'h>) -> Result<()> {
        self.claim(value.cell.offset)?;
        self.summary.values = self.summary.values.saturating_add(1);
        if !value.stored_name()?.is_valid() {
            self.find(
                value.cell.at(value::at::NAME),
                "a value's name is no valid UTF-16",
            );
        }
        let len = value.data()?.len();
        self.summary.data = self
            .summary
            .data
            .saturating_add(u64::try_from(len).unwrap_or(0));
        if value.cell.u32(value::at::SIZE)? & value::RESIDENT != 0 || len == 0 {
            return Ok(());
        }
        self.claim(value.cell.u32(value::at::DATA)?)?;
        if value.is_segmented()? {
            let (list, segments) = value.segment_offsets()?;
            self.claim(list)?;
            for segment in segments {
                self.claim(segment)?;
            }
        }
        Ok(())
    }

    fn references(&mut self) -> Result<()> {
        let counts = std::mem::take(&mut self.security);
        for (offset, used) in &counts {
            let cell = self.hive.cell(*offset)?;
            if cell.u32(security::at::REFERENCES)? != *used {
                self.find(
                    cell.at(security::at::REFERENCES),
                    "a descriptor's reference count is wrong",
                );
            }
            for link in [security::at::NEXT, security::at::PREVIOUS] {
                if !counts.contains_key(&cell.u32(link)?) {
                    self.find(
                        cell.at(link),
                        "the ring of descriptors leads to one without keys",
                    );
                }
            }
        }
        self.security = counts;
        Ok(())
    }
}
