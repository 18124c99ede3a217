// SPDX-License-Identifier: Apache-2.0
//! B-trees of a thin pool's metadata (Linux, drivers/md/persistent-data/dm-btree-internal.h).

use std::sync::Arc;

use super::block::{BLOCK, NODE, bad, block};
use crate::disk::Storage;
use crate::error::Result;
use crate::volume::field::{le32, le64};

/// Bytes before the keys.
pub(super) const HEAD: usize = 32;
/// Levels, most: even two-way nodes of a tree this high fill any pool.
const DEEPEST: usize = 24;
const INTERNAL: u32 = 1;
const LEAF: u32 = 2;

/// A node whose keys ascend.
#[derive(Debug)]
pub(super) struct Node {
    bytes: Vec<u8>,
    pub(super) leaf: bool,
    keys: Vec<u64>,
    /// Where values begin, and bytes of one.
    values: usize,
    width: usize,
}

impl Node {
    /// Reads the node in a block; leaves hold values of `width` bytes.
    pub(super) fn read(meta: &dyn Storage, number: u64, width: usize) -> Result<Self> {
        let bytes = block(meta, number, NODE)?;
        let word = |at| le32(&bytes, at).unwrap_or(0);
        let leaf = match word(4) {
            INTERNAL => false,
            LEAF => true,
            _ => return Err(bad("a node is of no known kind", number)),
        };
        let width = if leaf { width } else { 8 };
        let most = usize::try_from(word(20)).unwrap_or(usize::MAX);
        let count = usize::try_from(word(16)).unwrap_or(usize::MAX);
        let each = width.saturating_add(8);
        let fits = most
            .checked_mul(each)
            .is_some_and(|len| len <= BLOCK.saturating_sub(HEAD));
        if !fits || count > most || usize::try_from(word(24)) != Ok(width) {
            return Err(bad("a node's sizes make no sense", number));
        }
        let keys: Vec<u64> = (0..count)
            .filter_map(|index| le64(&bytes, index.saturating_mul(8).saturating_add(HEAD)))
            .collect();
        if !keys.is_sorted_by(|a, b| a < b) || (count == 0 && !leaf) {
            return Err(bad("a node's keys do not ascend", number));
        }
        let values = most.saturating_mul(8).saturating_add(HEAD);
        Ok(Self {
            bytes,
            leaf,
            keys,
            values,
            width,
        })
    }

    fn value(&self, index: usize) -> &[u8] {
        let at = index.saturating_mul(self.width).saturating_add(self.values);
        let end = at.saturating_add(self.width);
        self.bytes.get(at..end).unwrap_or_default()
    }

    fn long(&self, index: usize) -> u64 {
        le64(self.value(index), 0).unwrap_or(0)
    }
}

/// What stands at a key of a tree with values of 8 bytes, and the least key behind it that anything
/// may stand at.
pub(super) fn find(
    root: u64,
    key: u64,
    mut node: impl FnMut(u64) -> Result<Arc<Node>>,
) -> Result<(Option<u64>, u64)> {
    let (mut number, mut next) = (root, u64::MAX);
    for _ in 0..DEEPEST {
        let here = node(number)?;
        let behind = here.keys.partition_point(|have| *have <= key);
        next = here.keys.get(behind).map_or(next, |bound| next.min(*bound));
        let Some(index) = behind.checked_sub(1) else {
            return Ok((None, next));
        };
        match here.leaf {
            false => number = here.long(index),
            true => {
                let exact = here.keys.get(index) == Some(&key);
                return Ok((exact.then(|| here.long(index)), next));
            }
        }
    }
    Err(bad("a tree is too high, or a loop", number))
}

/// Calls `each` with every key and value of a tree. `left` is how many nodes there may be.
pub(super) fn walk(
    meta: &dyn Storage,
    root: u64,
    width: usize,
    left: &mut u64,
    each: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut todo = vec![(root, 0_usize)];
    let mut last: Option<u64> = None;
    while let Some((number, depth)) = todo.pop() {
        *left = left
            .checked_sub(1)
            .filter(|_| depth < DEEPEST)
            .ok_or_else(|| bad("a tree has more nodes than there are, or is a loop", number))?;
        let node = Node::read(meta, number, width)?;
        for (index, key) in node.keys.iter().enumerate() {
            if !node.leaf {
                continue;
            }
            if last.is_some_and(|last| last >= *key) {
                return Err(bad("a tree's keys do not ascend", number));
            }
            last = Some(*key);
            each(*key, node.value(index))?;
        }
        if !node.leaf {
            let below = depth.saturating_add(1);
            let children = (0..node.keys.len()).rev();
            todo.extend(children.map(|index| (node.long(index), below)));
        }
    }
    Ok(())
}
