// SPDX-License-Identifier: Apache-2.0
//! All mappings of a pool in memory: what is needed to provision a block.

use std::collections::BTreeMap;

use super::block::{Super, bad};
use super::tree;
use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::field::{le32, le64};

/// Mappings, most: 1 TiB in blocks of 64 KiB.
const MOST: usize = 16 << 20;
/// Blocks of data, most: 4 TiB of 64 KiB, whose counts take 256 MiB.
const MOST_BLOCKS: u64 = 64 << 20;

/// Where a mapping leads, in blocks of data (`exception_block`).
pub(super) fn place_of(value: u64) -> u64 {
    value >> 24
}

/// When it was made (`exception_time`).
pub(super) fn time_of(value: u64) -> u64 {
    value & 0xff_ffff
}

/// A volume.
#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) map: BTreeMap<u64, u64>,
    pub(super) transaction: u64,
    pub(super) created: u32,
    pub(super) snapshotted: u32,
}

/// The mappings of all volumes, and how often each block of data is in them.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) devices: BTreeMap<u64, Device>,
    pub(super) counts: Vec<u32>,
    /// The metadata on the disk says something else.
    pub(super) dirty: bool,
    time: u64,
    /// No block before is free.
    next: usize,
}

impl Maps {
    /// Reads everything.
    pub(super) fn load(meta: &dyn Storage, head: &Super) -> Result<Self> {
        if head.held {
            let what = "the thin pool keeps a snapshot of its metadata";
            return Err(Error::unsupported("thin-held-metadata", what)
                .hint("in the guest: dmsetup message POOL 0 release_metadata_snap"));
        }
        if head.data_blocks > MOST_BLOCKS {
            return Err(too_large());
        }
        let mut left = head.meta_blocks;
        let mut roots = Vec::new();
        tree::walk(meta, head.mappings, 8, &mut left, &mut |device, value| {
            roots.push((device, le64(value, 0).unwrap_or(0)));
            Ok(())
        })?;
        let mut devices: BTreeMap<u64, Device> = BTreeMap::new();
        tree::walk(meta, head.details, 24, &mut left, &mut |device, value| {
            let one = Device {
                map: BTreeMap::new(),
                transaction: le64(value, 8).unwrap_or(0),
                created: le32(value, 16).unwrap_or(0),
                snapshotted: le32(value, 20).unwrap_or(0),
            };
            devices.insert(device, one);
            Ok(())
        })?;
        let blocks = usize::try_from(head.data_blocks).unwrap_or(usize::MAX);
        let mut counts = vec![0_u32; blocks];
        let mut all = 0_usize;
        for (device, root) in roots {
            let one = devices.get_mut(&device);
            let one = one.ok_or_else(|| bad(&format!("device {device} has no details"), 0))?;
            // Snapshots share nodes: every tree may have all of them.
            let mut left = head.meta_blocks;
            tree::walk(meta, root, 8, &mut left, &mut |block, value| {
                let value = le64(value, 0).unwrap_or(0);
                let place = usize::try_from(place_of(value)).unwrap_or(usize::MAX);
                let count = counts.get_mut(place);
                let count = count.ok_or_else(|| bad("a mapping leaves the pool", 0))?;
                *count = count.saturating_add(1);
                all = all.saturating_add(1);
                if all > MOST {
                    return Err(too_large());
                }
                one.map.insert(block, value);
                Ok(())
            })?;
        }
        Ok(Self {
            devices,
            counts,
            dirty: false,
            time: head.time,
            next: 0,
        })
    }

    /// As [`tree::find`].
    pub(super) fn find(&self, device: u64, block: u64) -> (Option<u64>, u64) {
        let Some(device) = self.devices.get(&device) else {
            return (None, u64::MAX);
        };
        let mut behind = device.map.range(block.saturating_add(1)..);
        let next = behind.next().map_or(u64::MAX, |(next, _)| *next);
        (device.map.get(&block).copied(), next)
    }

    /// True for a block of data that one mapping leads to.
    pub(super) fn is_single(&self, place: u64) -> bool {
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        self.counts.get(place) == Some(&1)
    }

    /// A block of data that no mapping leads to.
    pub(super) fn free_block(&mut self) -> Option<u64> {
        let free = self
            .counts
            .iter()
            .skip(self.next)
            .position(|count| *count == 0)?;
        self.next = self.next.saturating_add(free);
        Some(self.next as u64)
    }

    /// Maps a block of a volume to that block of data, which is free, in place of what it was
    /// mapped to.
    pub(super) fn map(&mut self, device: u64, block: u64, place: u64) -> Result<()> {
        let device = self.devices.get_mut(&device);
        let device = device.ok_or_else(|| Error::internal("no such thin volume"))?;
        let before = device.map.insert(block, place << 24 | self.time);
        let mut count = |place: u64, by: i32| {
            let place = usize::try_from(place).unwrap_or(usize::MAX);
            if let Some(count) = self.counts.get_mut(place) {
                *count = count.saturating_add_signed(by);
            }
        };
        count(place, 1);
        if let Some(before) = before {
            count(place_of(before), -1);
        }
        self.dirty = true;
        Ok(())
    }
}

fn too_large() -> Error {
    Error::unsupported(
        "thin-too-large",
        "the thin pool has too many blocks to be written",
    )
}
