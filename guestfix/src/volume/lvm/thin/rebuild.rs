// SPDX-License-Identifier: Apache-2.0
//! A thin pool's metadata written as a whole, as `thin_restore` would: full nodes, no sharing among
//! snapshots, every count what the mappings say (Linux, drivers/md/persistent-data).

use super::block::{BITMAP, BLOCK, BLOCK_U64, INDEX, NODE, SUPER, Super, sum, superblock};
use super::maps::Maps;
use super::tree::HEAD;
use crate::disk::Storage;
use crate::error::{Error, Result};

/// Blocks whose counts one bitmap holds: two bits each behind a head of 16 bytes.
const PER_BITMAP: usize = 16_320;
/// Bitmaps of the metadata itself, most (`MAX_METADATA_BITMAPS`).
const MOST_BITMAPS: usize = 255;

/// A tree's leaves: keys and values.
type Entries = Vec<(u64, Vec<u8>)>;

struct Writer<'a> {
    meta: &'a dyn Storage,
    /// The next block that is not yet taken.
    next: u64,
    blocks: u64,
}

/// Writes all of it: the new superblock.
///
/// # Errors
/// `Refused`/`thin-metadata-full`; what writing fails with.
pub(super) fn write(meta: &dyn Storage, head: &Super, maps: &Maps) -> Result<Super> {
    if superblock(meta)? != *head {
        return Err(Error::internal(
            "somebody else changed the thin pool's metadata",
        ));
    }
    let mut writer = Writer {
        meta,
        next: 1,
        blocks: head.meta_blocks,
    };
    let mut tops: Entries = Vec::new();
    let mut details: Entries = Vec::new();
    for (id, device) in &maps.devices {
        let map = device.map.iter();
        let map = map.map(|(key, value)| (*key, value.to_le_bytes().to_vec()));
        let root = writer.tree(map.collect(), 8)?;
        tops.push((*id, root.to_le_bytes().to_vec()));
        let mut value = (device.map.len() as u64).to_le_bytes().to_vec();
        value.extend(device.transaction.to_le_bytes());
        value.extend(device.created.to_le_bytes());
        value.extend(device.snapshotted.to_le_bytes());
        details.push((*id, value));
    }
    let mappings = writer.tree(tops, 8)?;
    let details = writer.tree(details, 24)?;
    let data = writer.data_counts(&maps.counts)?;
    let own = writer.own_counts()?;

    let mut bytes = head.bytes.clone();
    let mut put = |at: usize, from: &[u8]| {
        let to = bytes.get_mut(at..at.saturating_add(from.len()));
        to.unwrap_or_default().copy_from_slice(from);
    };
    put(64, &data);
    put(192, &own);
    put(320, &mappings.to_le_bytes());
    put(328, &details.to_le_bytes());
    seal(&mut bytes, SUPER, 0);
    meta.write_at(&bytes, 0)?;
    superblock(meta)
}

/// Sets a block's number and checksum.
fn seal(bytes: &mut [u8], kind: u32, number: u64) {
    if let Some(field) = bytes.get_mut(8..16) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    let sum = sum(bytes, kind);
    if let Some(field) = bytes.get_mut(..4) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
}

/// The most entries of a node (`calc_max_entries`).
fn most_entries(width: usize) -> usize {
    let all = BLOCK.saturating_sub(HEAD);
    let most = all.checked_div(width.saturating_add(8)).unwrap_or(3);
    most.saturating_sub(most % 3)
}

impl Writer<'_> {
    fn take(&mut self) -> Result<u64> {
        let number = self.next;
        if number >= self.blocks {
            return Err(Error::refused(
                "thin-metadata-full",
                "the thin pool's metadata has no room for what is written",
            )
            .hint("extend it in the guest (lvextend --poolmetadatasize +64m POOL)"));
        }
        self.next = number.saturating_add(1);
        Ok(number)
    }

    fn put(&self, mut bytes: Vec<u8>, kind: u32, number: u64) -> Result<()> {
        bytes.resize(BLOCK, 0);
        seal(&mut bytes, kind, number);
        self.meta.write_at(&bytes, number.saturating_mul(BLOCK_U64))
    }

    /// Writes a tree: its root.
    fn tree(&mut self, entries: Entries, width: usize) -> Result<u64> {
        let mut level = self.level(&entries, width, 2)?;
        while level.len() > 1 {
            let entries: Entries = level
                .iter()
                .map(|(key, number)| (*key, number.to_le_bytes().to_vec()))
                .collect();
            level = self.level(&entries, 8, 1)?;
        }
        let root = level.first().map(|(_, number)| *number);
        root.ok_or_else(|| Error::internal("a tree without a root"))
    }

    /// Writes the nodes of a level, filled evenly: the first key of each and where it lies.
    fn level(&mut self, entries: &Entries, width: usize, flags: u32) -> Result<Vec<(u64, u64)>> {
        let most = most_entries(width);
        let count = entries.len().div_ceil(most).max(1);
        let mut out = Vec::with_capacity(count);
        let mut rest = entries.as_slice();
        for done in 0..count {
            let share = rest.len().div_ceil(count.saturating_sub(done).max(1));
            let (now, later) = rest.split_at(share.min(rest.len()));
            rest = later;
            let number = self.take()?;
            self.node(now, (width, most), flags, number)?;
            out.push((now.first().map_or(0, |(key, _)| *key), number));
        }
        Ok(out)
    }

    fn node(
        &self,
        entries: &[(u64, Vec<u8>)],
        (width, most): (usize, usize),
        flags: u32,
        number: u64,
    ) -> Result<()> {
        let word = |n: usize| u32::try_from(n).unwrap_or(0).to_le_bytes();
        let mut bytes = vec![0; 4];
        bytes.extend(flags.to_le_bytes());
        bytes.extend([0; 8]);
        for field in [entries.len(), most, width, 0] {
            bytes.extend(word(field));
        }
        for (key, _) in entries {
            bytes.extend(key.to_le_bytes());
        }
        bytes.resize(HEAD.saturating_add(most.saturating_mul(8)), 0);
        for (_, value) in entries {
            bytes.extend(value);
        }
        self.put(bytes, NODE, number)
    }

    /// Writes a bitmap of counts, three standing for "more": its entry in an index.
    fn bitmap(&mut self, counts: &[u32]) -> Result<Vec<u8>> {
        let number = self.take()?;
        let entry = index_entry(number, counts);
        self.put(bitmap_of(counts), BITMAP, number)?;
        Ok(entry)
    }

    /// The counts of the data: the root that the superblock keeps.
    fn data_counts(&mut self, counts: &[u32]) -> Result<Vec<u8>> {
        let mut index: Entries = Vec::new();
        for (number, part) in counts.chunks(PER_BITMAP).enumerate() {
            index.push((number as u64, self.bitmap(part)?));
        }
        let index = self.tree(index, 16)?;
        let many = counts.iter().enumerate().filter(|(_, count)| **count > 2);
        let many = many.map(|(block, count)| (block as u64, count.to_le_bytes().to_vec()));
        let many = self.tree(many.collect(), 4)?;
        Ok(root(counts, index, many))
    }

    /// The counts of the metadata itself, everything once, and those of the counts too.
    fn own_counts(&mut self) -> Result<Vec<u8>> {
        let all = usize::try_from(self.blocks).unwrap_or(usize::MAX);
        let bitmaps = all.div_ceil(PER_BITMAP);
        if bitmaps > MOST_BITMAPS {
            return Err(Error::unsupported(
                "thin-too-large",
                "the thin pool's metadata is larger than the kernel allows",
            ));
        }
        let many = self.tree(Vec::new(), 4)?;
        let index = self.take()?;
        let places = (0..bitmaps)
            .map(|_| self.take())
            .collect::<Result<Vec<_>>>()?;
        let used = usize::try_from(self.next).unwrap_or(usize::MAX);
        let counts: Vec<u32> = (0..all).map(|block| u32::from(block < used)).collect();
        let mut entries = vec![0; 16];
        for (part, number) in counts.chunks(PER_BITMAP).zip(places) {
            entries.extend(index_entry(number, part));
            self.put(bitmap_of(part), BITMAP, number)?;
        }
        self.put(entries, INDEX, index)?;
        Ok(root(&counts, index, many))
    }
}

/// `disk_sm_root`.
fn root(counts: &[u32], index: u64, many: u64) -> Vec<u8> {
    let used = counts.iter().filter(|count| **count > 0).count();
    let fields = [counts.len() as u64, used as u64, index, many];
    fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect()
}

/// `disk_index_entry`.
fn index_entry(number: u64, counts: &[u32]) -> Vec<u8> {
    let free = counts.iter().filter(|count| **count == 0).count();
    let first = counts
        .iter()
        .position(|count| *count == 0)
        .unwrap_or(counts.len());
    let word = |n: usize| u32::try_from(n).unwrap_or(0).to_le_bytes();
    let mut out = number.to_le_bytes().to_vec();
    out.extend(word(free));
    out.extend(word(first));
    out
}

/// Two bits for each block, the higher one first.
fn bitmap_of(counts: &[u32]) -> Vec<u8> {
    let mut out = vec![0; 16];
    for four in counts.chunks(4) {
        let byte = four.iter().enumerate().fold(0_u8, |byte, (index, count)| {
            let bits: u8 = match count {
                0 => 0,
                // The lower bit of the count stands second.
                1 => 0b10,
                2 => 0b01,
                _ => 0b11,
            };
            let shift = u32::try_from(index.saturating_mul(2)).unwrap_or(0);
            byte | u8::checked_shl(bits, shift).unwrap_or(0)
        });
        out.push(byte);
    }
    out
}
