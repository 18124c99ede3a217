// SPDX-License-Identifier: Apache-2.0
//! The ext2/3/4 superblock and where an inode's blocks lie. Offsets from the kernel's
//! documentation, filesystems/ext4: super.rst, group_descr.rst, inodes.rst, ifork.rst.

use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::field::{array, le16, le32, read};

/// The superblock's place and length on every volume.
pub(crate) const SUPER: (u64, usize) = (1024, 1024);

/// compat: has a journal.
pub(crate) const HAS_JOURNAL: u32 = 0x4;
/// incompat: the journal holds what the filesystem does not yet.
pub(crate) const RECOVER: u32 = 0x4;
/// incompat: the journal is on another device.
pub(crate) const JOURNAL_DEV: u32 = 0x8;
/// incompat: files are mapped by extents.
const EXTENTS: u32 = 0x40;
/// incompat: block numbers of 64 bits.
const WIDE: u32 = 0x80;
/// ro_compat: free space is counted in clusters of several blocks.
const BIGALLOC: u32 = 0x200;
/// ro_compat: metadata carries CRC-32C.
pub(crate) const METADATA_CSUM: u32 = 0x400;

/// As many groups as 128 TiB need with blocks of 4 KiB; bounds what a reader allocates.
const MAX_GROUPS: u64 = 1 << 20;
/// A file mapped in more pieces than this is no journal.
const MAX_RUNS: usize = 1 << 16;
/// Blocks of the largest journal looked at.
const MAX_MAPPED: u64 = 1 << 22;

/// What is needed of a superblock, checked to be possible.
#[derive(Debug, Clone)]
pub(crate) struct Super {
    /// Its 1024 bytes.
    pub(crate) raw: Vec<u8>,
    /// Bytes per block, 1 to 64 KiB.
    pub(crate) block: u64,
    /// Blocks of the filesystem.
    pub(crate) blocks: u64,
    /// Block groups.
    pub(crate) groups: u64,
    /// Bytes per group descriptor.
    descriptor: u64,
    /// Feature words: compat, incompat, ro_compat.
    pub(crate) features: [u32; 3],
}

impl Super {
    /// Reads and checks the superblock.
    ///
    /// # Errors
    /// `Corrupt`/`ext4-superblock` when it is none or its numbers cannot be.
    pub(crate) fn read(storage: &dyn Storage) -> Result<Self> {
        let raw = read(storage, SUPER.0, SUPER.1)?
            .ok_or_else(|| bad("the volume is too short for one"))?;
        Self::parse(raw, storage.len()).map_err(|why| bad(why).at(SUPER.0))
    }

    fn parse(raw: Vec<u8>, volume: u64) -> std::result::Result<Self, &'static str> {
        let word = |at: usize| le32(&raw, at).unwrap_or(0);
        if le16(&raw, 0x38) != Some(0xef53) {
            return Err("the magic number is missing");
        }
        let features = [word(0x5c), word(0x60), word(0x64)];
        let wide = features[1] & WIDE != 0;
        // 1 KiB to 64 KiB: a larger block would make a reader allocate gigabytes.
        let block = match word(0x18) {
            shift @ 0..=6 => 1024_u64 << shift,
            _ => return Err("the block size is impossible"),
        };
        let high = if wide {
            u64::from(word(0x150)) << 32
        } else {
            0
        };
        let blocks = high | u64::from(word(0x4));
        if blocks.checked_mul(block).is_none_or(|size| size > volume) {
            return Err("the filesystem is larger than its volume");
        }
        let data = blocks.checked_sub(u64::from(word(0x14)));
        let per_group = u64::from(word(0x20));
        let groups = data
            .filter(|data| *data > 0)
            .map(|data| data.div_ceil(per_group.max(1)));
        let groups = match groups {
            Some(groups) if per_group > 0 && groups <= MAX_GROUPS => groups,
            _ => return Err("the number of block groups is impossible"),
        };
        let descriptor = match le16(&raw, 0xfe) {
            Some(size) if wide => u64::from(size),
            _ => 32,
        };
        if descriptor < 32 || descriptor > block {
            return Err("the size of the group descriptors is impossible");
        }
        Ok(Self {
            raw,
            block,
            blocks,
            groups,
            descriptor,
            features,
        })
    }

    /// Byte offset of a block inside the filesystem; `None` outside.
    pub(crate) fn place(&self, block: u64) -> Option<u64> {
        (block < self.blocks)
            .then(|| block.checked_mul(self.block))
            .flatten()
    }

    /// All group descriptors, which stand in one piece behind the superblock's block.
    fn descriptors(&self, storage: &dyn Storage) -> Result<Vec<u8>> {
        // Block 0 is the boot sector's alone when blocks are as small as what it takes.
        let first = if self.block == SUPER.0 { 2 } else { 1 };
        let len = self.groups.saturating_mul(self.descriptor);
        let place = self.place(first);
        match (place, usize::try_from(len)) {
            (Some(place), Ok(len)) => read(storage, place, len)?,
            _ => None,
        }
        .ok_or_else(|| bad("the group descriptors leave the volume"))
    }

    /// Free bytes and free inodes, summed over the groups: the superblock's own counters are
    /// written only when the filesystem is unmounted.
    pub(crate) fn free(&self, storage: &dyn Storage) -> Result<(u64, u64)> {
        let table = self.descriptors(storage)?;
        let size = usize::try_from(self.descriptor).unwrap_or(32);
        let count = |one: &[u8], low: usize, high: usize| {
            let upper = le16(one, high).filter(|_| size >= 64).unwrap_or(0);
            u64::from(upper) << 16 | u64::from(le16(one, low).unwrap_or(0))
        };
        let (mut blocks, mut inodes) = (0_u64, 0_u64);
        for one in table.chunks_exact(size) {
            blocks = blocks.saturating_add(count(one, 0x0c, 0x2c));
            inodes = inodes.saturating_add(count(one, 0x0e, 0x2e));
        }
        let unit = match le32(&self.raw, 0x1c) {
            Some(shift @ 0..=20) if self.features[2] & BIGALLOC != 0 => 1024_u64 << shift,
            _ => self.block,
        };
        let usable = blocks.saturating_sub(self.kept_by_kernel(unit));
        Ok((usable.saturating_mul(unit), inodes))
    }

    /// Clusters of `unit` bytes that the kernel gives to nobody, root included: 2 % and at most
    /// 4096 of a filesystem with extents, so that delayed writes find room for their metadata
    /// (Linux, fs/ext4/super.c, `ext4_calculate_resv_clusters`).
    fn kept_by_kernel(&self, unit: u64) -> u64 {
        if self.features[1] & EXTENTS == 0 {
            return 0;
        }
        let low = u64::from(le32(&self.raw, 0x04).unwrap_or(0));
        let high = u64::from(le32(&self.raw, 0x150).unwrap_or(0));
        let high = if self.features[1] & WIDE != 0 {
            high
        } else {
            0
        };
        let bytes = (high << 32 | low).saturating_mul(self.block);
        let clusters = bytes.checked_div(unit).unwrap_or(0);
        (clusters / 50).min(4096)
    }

    /// The journal's blocks in order; `None` when there is no journal inside the filesystem.
    ///
    /// # Errors
    /// `Corrupt`/`ext4-journal` when its inode cannot be followed.
    pub(crate) fn journal(&self, storage: &dyn Storage) -> Result<Option<Vec<Run>>> {
        let inode = u64::from(le32(&self.raw, 0xe0).unwrap_or(0));
        if self.features[0] & HAS_JOURNAL == 0 || inode == 0 {
            return Ok(None);
        }
        let fork = match self.inode_fork(storage, inode)? {
            Some(fork) => fork,
            // The superblock keeps a copy of the journal inode's block map.
            None => array::<60>(&self.raw, 0x10c)
                .ok_or_else(|| journal("its inode lies outside the filesystem"))?,
        };
        let mut map = Mapper {
            fs: self,
            storage,
            runs: Vec::new(),
            next: 0,
        };
        map.fork(&fork)?;
        Ok(Some(map.runs))
    }

    /// The 60 bytes of an inode that lead to its blocks.
    fn inode_fork(&self, storage: &dyn Storage, inode: u64) -> Result<Option<[u8; 60]>> {
        let per_group = u64::from(le32(&self.raw, 0x28).unwrap_or(0));
        let size = match le16(&self.raw, 0x58) {
            Some(size) if le32(&self.raw, 0x4c) != Some(0) => u64::from(size),
            _ => 128,
        };
        let table = self.descriptors(storage)?;
        let place = (|| {
            let index = inode.checked_sub(1)?;
            let group = index.checked_div(per_group)?.checked_mul(self.descriptor)?;
            let one = table.get(usize::try_from(group).ok()?..)?;
            let high = le32(one, 0x28).filter(|_| self.descriptor >= 64);
            let first = u64::from(high.unwrap_or(0)) << 32 | u64::from(le32(one, 0x8)?);
            let within = index.checked_rem(per_group)?.checked_mul(size)?;
            self.place(first)?.checked_add(within)
        })();
        let Some(place) = place else {
            return Ok(None);
        };
        let raw = read(storage, place, 128)?;
        Ok(raw.and_then(|raw| array(&raw, 0x28)))
    }
}

/// Blocks of a file that lie together, in file order; runs follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// First block on the volume.
    pub(crate) start: u64,
    /// Blocks.
    pub(crate) len: u64,
}

/// Collects a file's runs; a hole is damage, for journals have none.
struct Mapper<'a> {
    fs: &'a Super,
    storage: &'a dyn Storage,
    runs: Vec<Run>,
    next: u64,
}

impl Mapper<'_> {
    fn fork(&mut self, fork: &[u8; 60]) -> Result<()> {
        if le16(fork, 0) == Some(0xf30a) {
            return self.extents(fork, 5);
        }
        for at in (0..48).step_by(4) {
            self.push(u64::from(le32(fork, at).unwrap_or(0)), 1)?;
        }
        for (level, at) in [(1, 48), (2, 52), (3, 56)] {
            self.indirect(u64::from(le32(fork, at).unwrap_or(0)), level)?;
        }
        Ok(())
    }

    fn push(&mut self, start: u64, len: u64) -> Result<()> {
        if start == 0 || len == 0 {
            return Ok(());
        }
        let end = start.checked_add(len);
        self.next = self.next.saturating_add(len);
        if end.is_none_or(|end| end > self.fs.blocks)
            || self.next > MAX_MAPPED
            || self.runs.len() >= MAX_RUNS
        {
            return Err(journal("its block map is impossible"));
        }
        match self.runs.last_mut() {
            Some(last) if last.start.checked_add(last.len) == Some(start) => {
                last.len = last.len.saturating_add(len);
            }
            _ => self.runs.push(Run { start, len }),
        }
        Ok(())
    }

    fn block(&self, block: u64) -> Result<Vec<u8>> {
        let len = usize::try_from(self.fs.block).unwrap_or(0);
        match self.fs.place(block) {
            Some(place) => read(self.storage, place, len)?,
            None => None,
        }
        .ok_or_else(|| journal("its block map leaves the volume"))
    }

    fn indirect(&mut self, block: u64, level: u32) -> Result<()> {
        if block == 0 {
            return Ok(());
        }
        for pointer in self.block(block)?.chunks_exact(4) {
            let target = u64::from(le32(pointer, 0).unwrap_or(0));
            match level.checked_sub(1) {
                Some(0) | None => self.push(target, 1)?,
                Some(below) => self.indirect(target, below)?,
            }
        }
        Ok(())
    }

    /// An extent node: entries from 12, of 12 bytes; a leaf's length above 32768 means
    /// preallocated. Each level must be one lower, so a loop ends.
    fn extents(&mut self, node: &[u8], limit: u16) -> Result<()> {
        let depth = le16(node, 6).unwrap_or(0);
        if le16(node, 0) != Some(0xf30a) || depth > limit {
            return Err(journal("its extent tree is damaged"));
        }
        let count = usize::from(le16(node, 2).unwrap_or(0));
        for entry in node.chunks_exact(12).skip(1).take(count) {
            if depth == 0 {
                let high = u64::from(le16(entry, 6).unwrap_or(0)) << 32;
                let start = high | u64::from(le32(entry, 8).unwrap_or(0));
                let len = u64::from(le16(entry, 4).unwrap_or(0));
                if u64::from(le32(entry, 0).unwrap_or(0)) != self.next || len > 32768 {
                    return Err(journal("its extent tree has a hole"));
                }
                self.push(start, len)?;
            } else {
                let high = u64::from(le16(entry, 8).unwrap_or(0)) << 32;
                let child = self.block(high | u64::from(le32(entry, 4).unwrap_or(0)))?;
                self.extents(&child, depth.saturating_sub(1))?;
            }
        }
        Ok(())
    }
}

fn bad(why: &str) -> Error {
    Error::corrupt(
        "ext4-superblock",
        format!("the ext4 superblock cannot be used: {why}"),
    )
}

pub(crate) fn journal(why: &str) -> Error {
    Error::corrupt(
        "ext4-journal",
        format!("the ext4 journal cannot be read: {why}"),
    )
}

/// CRC-32C (Castagnoli) without the final inversion, as ext4 and jbd2 keep it.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| {
        let low = crc.to_le_bytes()[0] ^ byte;
        let entry = CRC32C.get(usize::from(low)).copied().unwrap_or(0);
        crc >> 8 ^ entry
    })
}

#[allow(clippy::indexing_slicing, reason = "evaluated while compiling")]
/// One entry per byte, of the reflected polynomial 0x1EDC6F41.
const CRC32C: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};
