// SPDX-License-Identifier: Apache-2.0
//! Sorted subkey lists: insertion, splitting into an index, removal.

use std::cmp::Ordering;

use super::Editor;
use crate::error::{Error, Result};
use crate::hive::cell::NONE;
use crate::hive::key::at;
use crate::hive::list::List;
use crate::hive::{Key, damaged, name};

/// Most entries of a leaf: what Windows keeps within one 4096-byte block.
const MOST_WIDE: usize = 506;
const MOST_NARROW: usize = 1012;

/// Where a key's entry is: the slot of its leaf in the index (if there is one) and the leaf.
struct Slot {
    index: Option<(u32, usize)>,
    leaf: u32,
}

impl Editor<'_> {
    /// Enters a key into its parent's list at the place that its name has.
    pub(super) fn list_insert(&mut self, parent: u32, key: u32, units: &[u16]) -> Result<()> {
        let count = self.key(parent)?.subkey_count()?;
        let list = self.cell(parent)?.u32(at::SUBKEY_LIST)?;
        if count == 0 {
            let tag: [u8; 2] = if self.hive.minor_version() >= 5 {
                *b"lh"
            } else {
                *b"lf"
            };
            let leaf = self.write_leaf(tag, &[entry(tag, key, units)])?;
            self.put32(parent, at::SUBKEY_LIST, leaf)?;
        } else {
            let slot = self.slot(list, units)?;
            self.leaf_insert(parent, &slot, key, units)?;
        }
        self.put32(parent, at::SUBKEYS, count.saturating_add(1))
    }

    /// The leaf that a name belongs to.
    fn slot(&self, list: u32, units: &[u16]) -> Result<Slot> {
        let index = List::read(self.hive, self.start(list)?)?;
        if !index.is_index() {
            return Ok(Slot {
                index: None,
                leaf: list,
            });
        }
        let mut best = 0;
        for slot in 0..index.count {
            let leaf = List::read(self.hive, index.entry(slot)?.offset)?;
            if leaf.count == 0 {
                continue;
            }
            let first = Key::read(self.hive, leaf.entry(0)?.offset)?;
            if first.stored_name()?.compare(units) == Ordering::Greater {
                break;
            }
            best = slot;
        }
        let leaf = index.entry(best)?.offset;
        Ok(Slot {
            index: Some((list, best)),
            leaf: self.start(leaf)?,
        })
    }

    fn leaf_insert(&mut self, parent: u32, slot: &Slot, key: u32, units: &[u16]) -> Result<()> {
        let leaf = List::read(self.hive, slot.leaf)?;
        if leaf.is_index() {
            return Err(damaged(
                leaf.cell.at(0),
                "nested subkey lists",
                "a leaf",
                "ri",
            ));
        }
        let mut entries = raw_entries(&leaf)?;
        let mut place = entries.len();
        for position in 0..leaf.count {
            let other = Key::read(self.hive, leaf.entry(position)?.offset)?;
            if other.stored_name()?.compare(units) == Ordering::Greater {
                place = position;
                break;
            }
        }
        let tag = leaf.tag;
        entries.insert(place, entry(tag, key, units));
        let most = if leaf.is_wide() {
            MOST_WIDE
        } else {
            MOST_NARROW
        };
        if entries.len() <= most {
            let new = self.rewrite_leaf(slot.leaf, tag, &entries)?;
            return self.relink(parent, slot, &[new]);
        }
        let (low, high) = entries.split_at(entries.len() / 2);
        let low = self.rewrite_leaf(slot.leaf, tag, low)?;
        let high = self.write_leaf(tag, high)?;
        self.relink(parent, slot, &[low, high])
    }

    /// Puts leaves where one leaf was.
    fn relink(&mut self, parent: u32, slot: &Slot, leaves: &[u32]) -> Result<()> {
        let Some((index, position)) = slot.index else {
            if let [leaf] = leaves {
                return self.relink_key(parent, slot.leaf, *leaf);
            }
            let entries: Vec<Vec<u8>> = leaves.iter().map(|l| l.to_le_bytes().to_vec()).collect();
            let index = self.write_leaf(*b"ri", &entries)?;
            return self.relink_key(parent, NONE, index);
        };
        let mut entries = raw_entries(&List::read(self.hive, index)?)?;
        let old = entries.clone();
        let end = position.saturating_add(1).min(entries.len());
        let new = leaves.iter().map(|l| l.to_le_bytes().to_vec());
        entries.splice(position.min(end)..end, new);
        if entries == old {
            return Ok(());
        }
        let moved = self.rewrite_leaf(index, *b"ri", &entries)?;
        self.relink_key(parent, index, moved)
    }

    fn relink_key(&mut self, parent: u32, old: u32, new: u32) -> Result<()> {
        if old == new {
            return Ok(());
        }
        self.put32(parent, at::SUBKEY_LIST, new)
    }

    /// Removes a key from its parent's list; empty leaves and indexes are freed.
    pub(super) fn list_remove(&mut self, parent: u32, key: u32) -> Result<()> {
        let count = self.key(parent)?.subkey_count()?;
        let list = self.cell(parent)?.u32(at::SUBKEY_LIST)?;
        let slot = self.slot_of(list, key)?;
        let leaf = List::read(self.hive, slot.leaf)?;
        let tag = leaf.tag;
        let mut entries = raw_entries(&leaf)?;
        entries.retain(|raw| !raw.starts_with(&key.to_le_bytes()));
        if entries.is_empty() {
            self.release(slot.leaf)?;
            self.drop_leaf(parent, &slot)?;
        } else {
            self.rewrite_leaf(slot.leaf, tag, &entries)?;
        }
        let left = count.saturating_sub(1);
        if left == 0 {
            let lengths = self.cell(parent)?.u32(at::MAX_SUBKEY_NAME)? & 0xFFFF_0000;
            self.put32(parent, at::MAX_SUBKEY_NAME, lengths)?;
        }
        self.put32(parent, at::SUBKEYS, left)
    }

    fn drop_leaf(&mut self, parent: u32, slot: &Slot) -> Result<()> {
        let Some((index, position)) = slot.index else {
            return self.put32(parent, at::SUBKEY_LIST, NONE);
        };
        let mut entries = raw_entries(&List::read(self.hive, index)?)?;
        if position < entries.len() {
            entries.remove(position);
        }
        if entries.is_empty() {
            self.release(index)?;
            return self.put32(parent, at::SUBKEY_LIST, NONE);
        }
        self.rewrite_leaf(index, *b"ri", &entries).map(|_| ())
    }

    /// The leaf that names a key.
    fn slot_of(&self, list: u32, key: u32) -> Result<Slot> {
        let top = List::read(self.hive, self.start(list)?)?;
        let leaves = if top.is_index() { top.count } else { 1 };
        for slot in 0..leaves {
            let offset = if top.is_index() {
                top.entry(slot)?.offset
            } else {
                list
            };
            let leaf = List::read(self.hive, self.start(offset)?)?;
            for position in 0..leaf.count {
                if leaf.entry(position)?.offset == key {
                    return Ok(Slot {
                        index: top.is_index().then_some((list, slot)),
                        leaf: offset,
                    });
                }
            }
        }
        Err(Error::internal("a key is not in its parent's list"))
    }

    fn write_leaf(&mut self, tag: [u8; 2], entries: &[Vec<u8>]) -> Result<u32> {
        self.alloc_with(&leaf_bytes(tag, entries)?)
    }

    /// Writes a list into its cell where it fits, else into a new one.
    fn rewrite_leaf(&mut self, old: u32, tag: [u8; 2], entries: &[Vec<u8>]) -> Result<u32> {
        let bytes = leaf_bytes(tag, entries)?;
        if self.cell(old)?.data.len() >= bytes.len() {
            self.put(old, 0, &bytes)?;
            return Ok(old);
        }
        // Windows appends often: room for a few more avoids a move each time.
        let width = entries.first().map_or(8, Vec::len);
        let new = self.alloc(bytes.len().saturating_add(width.saturating_mul(4)))?;
        self.put(new, 0, &bytes)?;
        self.release(old)?;
        Ok(new)
    }
}

fn entry(tag: [u8; 2], key: u32, units: &[u16]) -> Vec<u8> {
    let mut out = key.to_le_bytes().to_vec();
    match &tag {
        b"lh" => out.extend(name::hash(units).to_le_bytes()),
        b"lf" => out.extend(name::first_four(units).to_le_bytes()),
        _ => {}
    }
    out
}

fn raw_entries(list: &List<'_>) -> Result<Vec<Vec<u8>>> {
    let width = if list.is_wide() { 8 } else { 4 };
    let raw = list.cell.slice(4, list.count.saturating_mul(width))?;
    Ok(raw.chunks_exact(width).map(<[u8]>::to_vec).collect())
}

fn leaf_bytes(tag: [u8; 2], entries: &[Vec<u8>]) -> Result<Vec<u8>> {
    let count = u16::try_from(entries.len())
        .map_err(|_| Error::refused("hive-full", "a key would have too many subkeys"))?;
    let mut out = tag.to_vec();
    out.extend(count.to_le_bytes());
    out.extend(entries.iter().flatten());
    Ok(out)
}
