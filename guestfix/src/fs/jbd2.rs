// SPDX-License-Identifier: Apache-2.0
//! The journal of ext3 and ext4, replayed in memory: a volume seen as it is after recovery.
//!
//! ext4-view has a replay of its own, which reads only journals with version 3 checksums, stops
//! where the circular log wraps, and forgets that a later transaction may revoke an earlier one.
//! So it is shown a recovered volume instead. Format: kernel documentation,
//! filesystems/ext4/journal.rst; rules of recovery: fs/jbd2/recovery.c's description of its passes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::ext_super::{
    HAS_JOURNAL, JOURNAL_DEV, METADATA_CSUM, RECOVER, Run, SUPER, Super, crc32c, journal,
};
use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::field::{be16, be32, be64, le32};

const MAGIC: u32 = 0xc03b_3998;
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const SUPER_V2: u32 = 4;
const REVOKE: u32 = 5;

const F_64BIT: u32 = 0x2;
const F_CSUM_V2: u32 = 0x8;
const F_CSUM_V3: u32 = 0x10;
/// Revoke, 64-bit, asynchronous commit, checksums 2 and 3. Not fast commits (0x20).
const KNOWN: u32 = 0x1f;

const TAG_ESCAPED: u32 = 1;
const TAG_SAME_UUID: u32 = 2;
const TAG_LAST: u32 = 8;

/// A filesystem block's newest copy.
#[derive(Debug, Clone, Copy)]
struct Copy {
    /// Byte offset on the volume of the copy in the log.
    place: u64,
    /// Its first four bytes were the journal's magic number and are zeroed in the log.
    escaped: bool,
    /// The checksum that its tag gives, and the transaction it counts with.
    checksum: u32,
    sequence: u32,
}

/// A volume with its journal applied. Read-only.
pub(crate) struct Replayed {
    inner: Arc<dyn Storage>,
    block: u64,
    copies: BTreeMap<u64, Copy>,
    /// The superblock after recovery.
    superblock: Vec<u8>,
}

impl fmt::Debug for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayed")
            .field("copies", &self.copies.len())
            .finish_non_exhaustive()
    }
}

impl Replayed {
    /// Applies the journal where the superblock asks for it; else the volume itself.
    ///
    /// # Errors
    /// `Unsupported`/`ext4-feature` for an external journal or one with unknown features;
    /// `Corrupt`/`ext4-journal` when it cannot be read.
    pub(crate) fn over(inner: Arc<dyn Storage>, fs: &Super) -> Result<Arc<dyn Storage>> {
        let [compat, incompat, _] = fs.features;
        if incompat & RECOVER == 0 {
            return Ok(inner);
        }
        if compat & HAS_JOURNAL == 0 || incompat & JOURNAL_DEV != 0 {
            return Err(unsupported("the journal is on another device"));
        }
        let runs = fs
            .journal(inner.as_ref())?
            .ok_or_else(|| journal("it has no inode"))?;
        let copies = match Log::open(inner.as_ref(), fs, &runs)? {
            Some(log) => log.replay()?,
            None => BTreeMap::new(),
        };
        let mut replayed = Self {
            inner,
            block: fs.block,
            copies,
            superblock: Vec::new(),
        };
        let mut superblock = vec![0; SUPER.1];
        replayed.read_at(&mut superblock, SUPER.0)?;
        replayed.superblock = recovered(superblock);
        Ok(Arc::new(replayed))
    }

    /// One block after recovery.
    fn copy(&self, copy: Copy) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.block).unwrap_or(0)];
        self.inner.read_at(&mut bytes, copy.place)?;
        if let Some(start) = bytes.get_mut(..4).filter(|_| copy.escaped) {
            start.copy_from_slice(&MAGIC.to_be_bytes());
        }
        Ok(bytes)
    }
}

/// Clears the recovery flag, and keeps a valid checksum valid.
fn recovered(mut superblock: Vec<u8>) -> Vec<u8> {
    let sum = |raw: &[u8]| crc32c(u32::MAX, raw.get(..0x3fc).unwrap_or_default());
    let summed = le32(&superblock, 0x64).is_some_and(|word| word & METADATA_CSUM != 0)
        && le32(&superblock, 0x3fc) == Some(sum(&superblock));
    let incompat = le32(&superblock, 0x60).unwrap_or(0) & !RECOVER;
    if let Some(field) = superblock.get_mut(0x60..0x64) {
        field.copy_from_slice(&incompat.to_le_bytes());
    }
    let new = sum(&superblock);
    if let Some(field) = superblock.get_mut(0x3fc..0x400).filter(|_| summed) {
        field.copy_from_slice(&new.to_le_bytes());
    }
    superblock
}

/// Lays `from`, which stands at byte `at`, over the part of `buf` (standing at `offset`) it covers.
fn lay_over(buf: &mut [u8], offset: u64, from: &[u8], at: u64) {
    let skip_buf = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
    let skip_from = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
    let to = buf.get_mut(skip_buf..).unwrap_or_default();
    let from = from.get(skip_from..).unwrap_or_default();
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

impl Storage for Replayed {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read_at(buf, offset)?;
        let end = offset.saturating_add(buf.len() as u64);
        let first = offset.checked_div(self.block).unwrap_or(0);
        let last = end.div_ceil(self.block.max(1));
        for (block, copy) in self.copies.range(first..last) {
            let bytes = self.copy(*copy)?;
            lay_over(buf, offset, &bytes, block.saturating_mul(self.block));
        }
        if offset < SUPER.0.saturating_add(SUPER.1 as u64) && end > SUPER.0 {
            lay_over(buf, offset, &self.superblock, SUPER.0);
        }
        Ok(())
    }

    fn write_at(&self, _: &[u8], offset: u64) -> Result<()> {
        Err(Error::refused("read-only", "a replayed journal is a view for reading").at(offset))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// The log while it is walked.
struct Log<'a> {
    storage: &'a dyn Storage,
    fs: &'a Super,
    runs: &'a [Run],
    /// Blocks of the log, its superblock included.
    len: u64,
    /// First block behind the superblock: where the circle closes.
    first: u64,
    start: u64,
    sequence: u32,
    incompat: u32,
    /// Seed of all checksums: the journal's UUID.
    seed: u32,
}

/// What one committed transaction says.
#[derive(Default)]
struct Transaction {
    writes: Vec<(u64, Copy)>,
    revokes: Vec<u64>,
}

impl<'a> Log<'a> {
    /// Reads the journal's superblock; `None` when the log is empty.
    fn open(storage: &'a dyn Storage, fs: &'a Super, runs: &'a [Run]) -> Result<Option<Self>> {
        let mut log = Self {
            storage,
            fs,
            runs,
            len: runs.iter().fold(0, |sum, run| sum.saturating_add(run.len)),
            first: 0,
            start: 0,
            sequence: 0,
            incompat: 0,
            seed: 0,
        };
        let raw = log
            .block(0)?
            .ok_or_else(|| journal("it has no superblock"))?;
        let word = |at: usize| be32(&raw, at).unwrap_or(0);
        if word(0) != MAGIC || !matches!(word(4), 3 | SUPER_V2) {
            return Err(journal("its superblock is damaged"));
        }
        log.start = u64::from(word(0x1c));
        log.first = u64::from(word(0x14));
        log.sequence = word(0x18);
        if word(4) == SUPER_V2 {
            log.incompat = word(0x28);
        }
        if log.start == 0 {
            return Ok(None);
        }
        if log.incompat & !KNOWN != 0 {
            return Err(unsupported(&format!(
                "its journal has features {:#x}",
                log.incompat & !KNOWN
            )));
        }
        log.seed = crc32c(u32::MAX, raw.get(0x30..0x40).unwrap_or_default());
        let shortened = u64::from(word(0x10));
        let sane = u64::from(word(0xc)) == fs.block
            && shortened <= log.len
            && (1..shortened).contains(&log.first)
            && (log.first..shortened).contains(&log.start);
        if !sane {
            return Err(journal("its superblock makes no sense"));
        }
        log.len = shortened;
        Ok(Some(log))
    }

    /// Byte offset of a block of the log.
    fn place(&self, mut index: u64) -> Option<u64> {
        for run in self.runs {
            match index.checked_sub(run.len) {
                None => return self.fs.place(run.start.checked_add(index)?),
                Some(rest) => index = rest,
            }
        }
        None
    }

    fn block(&self, index: u64) -> Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; usize::try_from(self.fs.block).unwrap_or(0)];
        match self.place(index) {
            Some(place) => self
                .storage
                .read_at(&mut bytes, place)
                .map(|()| Some(bytes)),
            None => Ok(None),
        }
    }

    fn next(&self, index: u64) -> u64 {
        match index.saturating_add(1) {
            next if next < self.len => next,
            _ => self.first,
        }
    }

    fn checked(&self) -> bool {
        self.incompat & (F_CSUM_V2 | F_CSUM_V3) != 0
    }

    /// True when the checksum of `block`, kept in its four bytes at `at`, is right.
    fn sound(&self, block: &[u8], at: usize) -> bool {
        if !self.checked() {
            return true;
        }
        let before = block.get(..at).unwrap_or_default();
        let after = at.checked_add(4).and_then(|after| block.get(after..));
        let mut crc = crc32c(self.seed, before);
        crc = crc32c(crc, &[0; 4]);
        crc = crc32c(crc, after.unwrap_or_default());
        be32(block, at) == Some(crc)
    }

    /// Walks all committed transactions and keeps the newest copy of every block that no later
    /// transaction revokes.
    fn replay(&self) -> Result<BTreeMap<u64, Copy>> {
        let mut copies = BTreeMap::new();
        let mut open = Transaction::default();
        let mut at = self.start;
        let mut sequence = self.sequence;
        // The log is a circle: every block is looked at once at most.
        let mut budget = self.len;
        while let Some(rest) = budget.checked_sub(1) {
            budget = rest;
            let Some(block) = self.block(at)? else { break };
            if be32(&block, 0) != Some(MAGIC) || be32(&block, 8) != Some(sequence) {
                break;
            }
            at = self.next(at);
            let tail = block.len().saturating_sub(4);
            match be32(&block, 4) {
                Some(DESCRIPTOR) if self.sound(&block, tail) => {
                    for tag in self.tags(&block) {
                        budget = budget.saturating_sub(1);
                        if let Some(place) = self.place(at) {
                            let copy = tag.copy(place, sequence);
                            open.writes.push((tag.block, copy));
                        }
                        at = self.next(at);
                    }
                }
                Some(REVOKE) if self.sound(&block, tail) => {
                    open.revokes.extend(self.revokes(&block))
                }
                Some(COMMIT) if self.sound(&block, 0x10) => {
                    self.commit(std::mem::take(&mut open), &mut copies);
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
        }
        self.verify(&copies)?;
        Ok(copies)
    }

    /// Version 3 and 2 checksums cover each copy; 2 keeps the lower half only.
    fn verify(&self, copies: &BTreeMap<u64, Copy>) -> Result<()> {
        let mask = match self.incompat {
            bits if bits & F_CSUM_V3 != 0 => u32::MAX,
            bits if bits & F_CSUM_V2 != 0 => 0xffff,
            _ => return Ok(()),
        };
        let mut bytes = vec![0; usize::try_from(self.fs.block).unwrap_or(0)];
        for copy in copies.values() {
            self.storage.read_at(&mut bytes, copy.place)?;
            let seed = crc32c(self.seed, &copy.sequence.to_be_bytes());
            if crc32c(seed, &bytes) & mask != copy.checksum {
                return Err(journal("a committed block's checksum is wrong").at(copy.place));
            }
        }
        Ok(())
    }

    /// A revoke covers what earlier transactions wrote and what its own did: the block was freed,
    /// and what is on the volume now is newer.
    fn commit(&self, done: Transaction, copies: &mut BTreeMap<u64, Copy>) {
        copies.extend(done.writes);
        for block in done.revokes {
            copies.remove(&block);
        }
    }

    fn revokes(&self, block: &[u8]) -> Vec<u64> {
        let used = be32(block, 12).and_then(|used| usize::try_from(used).ok());
        let table = block.get(16..used.unwrap_or(0)).unwrap_or_default();
        let wide = self.incompat & F_64BIT != 0;
        table
            .chunks_exact(if wide { 8 } else { 4 })
            .filter_map(|entry| {
                if wide {
                    be64(entry, 0)
                } else {
                    be32(entry, 0).map(u64::from)
                }
            })
            .collect()
    }

    /// The tags of a descriptor block.
    fn tags(&self, block: &[u8]) -> Vec<Tag> {
        let v3 = self.incompat & F_CSUM_V3 != 0;
        let wide = self.incompat & F_64BIT != 0;
        let v2: usize = if self.incompat & F_CSUM_V2 != 0 { 2 } else { 0 };
        let size = match (v3, wide) {
            (true, _) => 16,
            (false, true) => v2.saturating_add(12),
            (false, false) => v2.saturating_add(8),
        };
        let end = block
            .len()
            .saturating_sub(if self.checked() { 4 } else { 0 });
        let mut tags = Vec::new();
        let mut at = 12_usize;
        while at.checked_add(size).is_some_and(|to| to <= end) {
            let Some(raw) = block.get(at..) else { break };
            let flags = if v3 {
                be32(raw, 4)
            } else {
                be16(raw, 6).map(u32::from)
            };
            let high = be32(raw, 8).filter(|_| wide).unwrap_or(0);
            let (Some(flags), Some(low)) = (flags, be32(raw, 0)) else {
                break;
            };
            let block = u64::from(high) << 32 | u64::from(low);
            let checksum = if v3 {
                be32(raw, 12)
            } else {
                be16(raw, 4).map(u32::from)
            };
            tags.push(Tag {
                block,
                flags,
                checksum: checksum.unwrap_or(0),
            });
            if flags & TAG_LAST != 0 {
                break;
            }
            let uuid = if flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            at = at.saturating_add(size).saturating_add(uuid);
        }
        tags
    }
}

/// A block in the log, by its place in the filesystem.
struct Tag {
    block: u64,
    flags: u32,
    checksum: u32,
}

impl Tag {
    fn copy(&self, place: u64, sequence: u32) -> Copy {
        Copy {
            place,
            escaped: self.flags & TAG_ESCAPED != 0,
            checksum: self.checksum,
            sequence,
        }
    }
}

fn unsupported(why: &str) -> Error {
    Error::unsupported(
        "ext4-feature",
        format!("this ext4 cannot be read without a mount: {why}"),
    )
}
