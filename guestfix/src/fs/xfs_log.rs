// SPDX-License-Identifier: Apache-2.0
//! Where an XFS log lies and where its head is: the place that the next mount writes to.
//!
//! Format: XFS Algorithms & Data Structures, "Superblocks" and "Journaling Log"
//! (<https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>).

use crate::disk::Storage;
use crate::volume::field::{be32, be64};

/// The log is written in blocks of this many bytes; each begins with the number of the cycle in
/// which it was written.
const BLOCK: u64 = 512;
/// What a record's first block begins with; its cycle follows.
const RECORD: u32 = 0xfeed_babe;
/// A record begins at the head, so its first block tells; some more around it for records that
/// were being written.
const AROUND: u64 = 64 << 10;

/// A log, in bytes from the start of its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Log {
    start: u64,
    len: u64,
}

impl Log {
    /// Finds the log through the superblock: `sb_logstart` at 48 and `sb_logblocks` at 96; the
    /// start is an (allocation group, block) pair split at `sb_agblklog`. `None` when the log is
    /// on another device or the numbers make no sense.
    pub(super) fn of(superblock: &[u8]) -> Option<Self> {
        let block = u64::from(be32(superblock, 4)?);
        let start = be64(superblock, 48)?;
        let group_blocks = u64::from(be32(superblock, 84)?);
        let split = u32::from(*superblock.get(124)?);
        let group = start.checked_shr(split)?;
        let within = start & 1_u64.checked_shl(split)?.checked_sub(1)?;
        let first = group.checked_mul(group_blocks)?.checked_add(within)?;
        let len = u64::from(be32(superblock, 96)?).checked_mul(block)?;
        (start != 0).then_some(Self {
            start: first.checked_mul(block)?,
            len,
        })
    }

    /// The bytes around the head, as offset and length; two ranges where the log wraps there.
    /// Cycles only fall once, at the head, so a few reads find it even in a log of 2 GiB.
    pub(super) fn head(&self, storage: &dyn Storage) -> Vec<(u64, u64)> {
        let blocks = self.len / BLOCK;
        let cycle = |block: u64| self.cycle(storage, block).unwrap_or(0);
        let oldest = cycle(blocks.saturating_sub(1));
        // One cycle from end to end: the next record goes to the start.
        if cycle(0) == oldest {
            return self.around(0);
        }
        let (mut new, mut old) = (0, blocks);
        // Blocks before `new` are of the newest cycle, those from `old` on are not.
        while new < old {
            let middle = new.midpoint(old);
            match cycle(middle) == oldest {
                true => old = middle,
                false => new = middle.saturating_add(1),
            }
        }
        self.around(old.saturating_mul(BLOCK))
    }

    fn cycle(&self, storage: &dyn Storage, block: u64) -> Option<u32> {
        let at = self.start.checked_add(block.checked_mul(BLOCK)?)?;
        let mut head = [0; 8];
        storage.read_at(&mut head, at).ok()?;
        match be32(&head, 0)? {
            RECORD => be32(&head, 4),
            cycle => Some(cycle),
        }
    }

    fn around(&self, head: u64) -> Vec<(u64, u64)> {
        let reach = AROUND.min(self.len / 2);
        let (from, to) = (head.checked_sub(reach), head.saturating_add(reach));
        let mut ranges = vec![(from.unwrap_or(0), to.min(self.len))];
        if from.is_none() {
            ranges.push((
                self.len.saturating_sub(reach.saturating_sub(head)),
                self.len,
            ));
        }
        if to > self.len {
            ranges.push((0, to.saturating_sub(self.len)));
        }
        ranges
            .into_iter()
            .map(|(from, to)| (self.start.saturating_add(from), to.saturating_sub(from)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::sample::Bytes;
    use proptest::prelude::*;

    const LOG: Log = Log {
        start: 4096,
        len: 1 << 20,
    };

    /// A log whose blocks before `head` are of cycle `new`, the others of `old`; every eighth
    /// block begins a record.
    fn written(head: u64, new: u32, old: u32) -> Vec<u8> {
        let mut bytes = vec![0; 4096 + (1 << 20)];
        for (n, block) in (0..).zip(bytes[4096..].chunks_mut(512)) {
            let cycle = if n < head { new } else { old }.to_be_bytes();
            block[..4].copy_from_slice(&cycle);
            if n % 8 == 0 && cycle != [0; 4] {
                block[..4].copy_from_slice(&RECORD.to_be_bytes());
                block[4..8].copy_from_slice(&cycle);
            }
        }
        bytes
    }

    fn holds(ranges: &[(u64, u64)], at: u64) -> bool {
        ranges
            .iter()
            .any(|(from, len)| (*from..from + len).contains(&at))
    }

    #[test]
    fn the_head_is_among_the_bytes_wherever_it_is() {
        proptest!(|(head in 0..2048_u64, old in 0..3_u32)| {
            let log = Bytes::shared(written(head, old + 1, old));
            let ranges = LOG.head(log.as_ref());
            prop_assert!(holds(&ranges, 4096 + head * 512), "{head}: {ranges:?}");
            let bytes: u64 = ranges.iter().map(|(_, len)| len).sum();
            prop_assert_eq!(bytes, 2 * AROUND, "{}", head);
            for (from, len) in ranges {
                prop_assert!(from >= 4096 && from + len <= 4096 + (1 << 20));
            }
        });
    }

    #[test]
    fn noise_has_a_head_inside_the_log_too() {
        proptest!(|(noise in proptest::collection::vec(any::<u8>(), 9000), len in 0..9000_u64)| {
            let log = Log { start: 100, len };
            for (from, bytes) in log.head(Bytes::shared(noise).as_ref()) {
                prop_assert!(from >= 100 && from + bytes <= 100 + len);
            }
        });
    }
}
