// SPDX-License-Identifier: Apache-2.0
//! Thin pools: volumes whose blocks are found through trees in the pool's metadata, and provisioned
//! where a write needs it (Linux, drivers/md/dm-thin-metadata.c).
//!
//! Until a write needs a new block nothing of the metadata changes. Then all mappings are read into
//! memory, and written anew as a whole by the next flush: an overlay lies below, so the disks change
//! only when everything is there.

mod block;
mod maps;
mod rebuild;
mod tree;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use block::{Super, bad, superblock};
use maps::{Maps, place_of, time_of};
use tree::Node;

use crate::disk::{Below, CHUNK, Storage, check_range};
use crate::error::{Error, Result};
use crate::volume::field::le32;

/// Nodes that are remembered, most: 4 MiB.
const REMEMBERED: usize = 1024;

/// A thin pool.
pub(super) struct Pool {
    name: String,
    meta: Arc<dyn Storage>,
    data: Arc<dyn Storage>,
    head: Mutex<Super>,
    chunk: u64,
    nodes: Mutex<BTreeMap<u64, Arc<Node>>>,
    /// All mappings, once a block was provisioned.
    maps: RwLock<Option<Maps>>,
}

/// A volume of a pool.
pub(super) struct Thin {
    name: String,
    pool: Arc<Pool>,
    device: u64,
    /// Root of its tree of mappings.
    root: u64,
    /// Blocks mapped before that may be a snapshot's too.
    snapshotted: u64,
    len: u64,
}

/// Where a block is mapped, if it is, with the time it was; and the blocks that are alike.
type Found = (Option<(u64, u64)>, u64);

impl Pool {
    /// Opens a pool; `chunk` and `transaction` are what LVM says of it.
    ///
    /// # Errors
    /// `Corrupt`/`thin-metadata`; `Refused`/`thin-needs-check` and `thin-transaction`; `Host`/`io`.
    pub(super) fn open(
        name: &str,
        (meta, data): (Arc<dyn Storage>, Arc<dyn Storage>),
        (chunk, transaction): (u64, u64),
    ) -> Result<Arc<Self>> {
        let on = |error: Error| error.on(name);
        let head = superblock(meta.as_ref()).map_err(on)?;
        let len = head.data_blocks.checked_mul(head.chunk);
        if head.chunk != chunk || len.is_none_or(|len| len > data.len()) {
            return Err(on(bad("it contradicts the volume group's", 0)));
        }
        if head.transaction != transaction {
            let what = format!(
                "the thin pool is at transaction {}, and the volume group says {transaction}",
                head.transaction
            );
            return Err(on(Error::refused("thin-transaction", what).hint(
                "a change of the pool was interrupted, or the disks are copies of different times: start the guest once and shut it down",
            )));
        }
        Ok(Arc::new(Self {
            name: name.to_owned(),
            meta,
            data,
            head: Mutex::new(head),
            chunk,
            nodes: Mutex::default(),
            maps: RwLock::default(),
        }))
    }

    /// Opens one of its volumes.
    ///
    /// # Errors
    /// As [`Pool::open`]; `Corrupt`/`thin-metadata` when the pool does not know it.
    pub(super) fn device(self: &Arc<Self>, name: &str, device: u64, len: u64) -> Result<Thin> {
        let on = |error: Error| error.on(name);
        let head = self.head().clone();
        let root = tree::find(head.mappings, device, |n| self.node(n))
            .map_err(on)?
            .0;
        // The tree of details has larger values.
        let mut left = head.meta_blocks;
        let mut snapshotted = None;
        tree::walk(
            self.meta.as_ref(),
            head.details,
            24,
            &mut left,
            &mut |key, value| {
                if key == device {
                    snapshotted = le32(value, 20).map(u64::from);
                }
                Ok(())
            },
        )
        .map_err(on)?;
        let (Some(root), Some(snapshotted)) = (root, snapshotted) else {
            return Err(on(bad(&format!("there is no device {device}"), 0)));
        };
        Ok(Thin {
            name: name.to_owned(),
            pool: Arc::clone(self),
            device,
            root,
            snapshotted,
            len,
        })
    }

    fn head(&self) -> MutexGuard<'_, Super> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn maps(&self) -> RwLockReadGuard<'_, Option<Maps>> {
        self.maps.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn maps_mut(&self) -> RwLockWriteGuard<'_, Option<Maps>> {
        self.maps.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, number: u64) -> Result<Arc<Node>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(&number) {
            return Ok(Arc::clone(node));
        }
        let node = Arc::new(Node::read(self.meta.as_ref(), number, 8)?);
        if nodes.len() >= REMEMBERED {
            nodes.clear();
        }
        nodes.insert(number, Arc::clone(&node));
        Ok(node)
    }

    /// Where a block of data begins, bytes.
    fn place(&self, block: u64) -> Result<u64> {
        let place = block.checked_mul(self.chunk);
        let place = place.filter(|place| {
            let end = place.checked_add(self.chunk);
            end.is_some_and(|end| end <= self.data.len())
        });
        place.ok_or_else(|| bad("a mapping leaves the pool", 0).on(&self.name))
    }

    /// Writes the metadata anew where blocks were provisioned.
    fn flush(&self) -> Result<()> {
        let mut maps = self.maps_mut();
        if let Some(maps) = maps.as_mut().filter(|maps| maps.dirty) {
            let mut head = self.head();
            *head =
                rebuild::write(self.meta.as_ref(), &head, maps).map_err(|e| e.on(&self.name))?;
            maps.dirty = false;
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.clear();
        }
        drop(maps);
        self.data.flush()?;
        self.meta.flush()
    }
}

impl Thin {
    fn find(&self, block: u64, maps: Option<&Maps>) -> Result<Found> {
        let (value, next) = match maps {
            Some(maps) => maps.find(self.device, block),
            None => tree::find(self.root, block, |number| self.pool.node(number))
                .map_err(|e| e.on(&self.pool.name))?,
        };
        let alike = match value {
            Some(_) => 1,
            None => next.saturating_sub(block).max(1),
        };
        Ok((value.map(|value| (place_of(value), time_of(value))), alike))
    }

    /// Calls `each` with the pieces of a range: the block, the place in it, what is known of it, the
    /// place in the range and the length.
    fn walk(
        &self,
        (offset, len): (u64, usize),
        maps: Option<&Maps>,
        mut each: impl FnMut(Option<(u64, u64)>, u64, usize, usize) -> Result<()>,
    ) -> Result<()> {
        check_range(self.len, offset, len).map_err(|e| e.on(&self.name))?;
        let chunk = self.pool.chunk;
        let mut done = 0_usize;
        while done < len {
            let at = offset.saturating_add(done as u64);
            let block = at.checked_div(chunk).unwrap_or(0);
            let (found, alike) = self.find(block, maps)?;
            let end = block.saturating_add(alike).saturating_mul(chunk);
            let left = len.saturating_sub(done);
            let now = usize::try_from(end.saturating_sub(at))
                .map_or(left, |n| n.min(left))
                .max(1);
            each(found, at, done, now)?;
            done = done.saturating_add(now);
        }
        Ok(())
    }

    /// Where a byte lies in the pool's data when its block lies there.
    fn at(&self, block: u64, offset: u64) -> Result<u64> {
        let inside = offset.checked_rem(self.pool.chunk).unwrap_or(0);
        Ok(self.pool.place(block)?.saturating_add(inside))
    }

    /// Writes what lies in one block.
    fn write_piece(&self, maps: &mut Option<Maps>, buf: &[u8], offset: u64) -> Result<()> {
        let block = offset.checked_div(self.pool.chunk).unwrap_or(0);
        let (found, _) = self.find(block, maps.as_ref())?;
        if let Some((place, time)) = found {
            let own =
                time >= self.snapshotted || maps.as_ref().is_some_and(|maps| maps.is_single(place));
            if own {
                return self.pool.data.write_at(buf, self.at(place, offset)?);
            }
        }
        let mut loaded = match maps.take() {
            Some(loaded) => loaded,
            None => {
                let head = self.pool.head();
                Maps::load(self.pool.meta.as_ref(), &head).map_err(|e| e.on(&self.pool.name))?
            }
        };
        let provisioned = self.provision(&mut loaded, (block, found), buf, offset);
        *maps = Some(loaded);
        provisioned
    }

    /// Gives the volume a block of its own, with what was there and what is written.
    fn provision(
        &self,
        maps: &mut Maps,
        (block, found): (u64, Option<(u64, u64)>),
        buf: &[u8],
        offset: u64,
    ) -> Result<()> {
        let shared = found.filter(|(place, _)| !maps.is_single(*place));
        if let Some((place, _)) = found.filter(|_| shared.is_none()) {
            return self.pool.data.write_at(buf, self.at(place, offset)?);
        }
        let new = maps.free_block().ok_or_else(|| {
            Error::refused("thin-pool-full", "the thin pool has no free block")
                .on(&self.pool.name)
                .hint("extend the pool in the guest (lvextend), or free space there (fstrim)")
        })?;
        let to = self.pool.place(new)?;
        let from = shared
            .map(|(place, _)| self.pool.place(place))
            .transpose()?;
        let mut done = 0_u64;
        while done < self.pool.chunk {
            let left = self.pool.chunk.saturating_sub(done);
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            let mut bytes = vec![0; step];
            if let Some(from) = from {
                self.pool
                    .data
                    .read_at(&mut bytes, from.saturating_add(done))?;
            }
            self.pool.data.write_at(&bytes, to.saturating_add(done))?;
            done = done.saturating_add(step as u64);
        }
        self.pool.data.write_at(buf, self.at(new, offset)?)?;
        maps.map(self.device, block, new)
    }
}

impl Storage for Thin {
    fn len(&self) -> u64 {
        self.len
    }

    fn below(&self, offset: u64, len: u64) -> Vec<Below> {
        let mut out = Vec::new();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let maps = self.pool.maps();
        let walked = self.walk((offset, len), maps.as_ref(), |found, at, _, now| {
            if let Some((block, _)) = found {
                out.push(Below {
                    storage: Arc::clone(&self.pool.data),
                    offset: self.at(block, at)?,
                    len: now as u64,
                });
            }
            Ok(())
        });
        if walked.is_err() { Vec::new() } else { out }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let maps = self.pool.maps();
        self.walk(
            (offset, buf.len()),
            maps.as_ref(),
            |found, at, done, now| {
                let part = buf
                    .get_mut(done..done.saturating_add(now))
                    .unwrap_or_default();
                match found {
                    Some((block, _)) => self.pool.data.read_at(part, self.at(block, at)?),
                    None => {
                        part.fill(0);
                        Ok(())
                    }
                }
            },
        )
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len()).map_err(|e| e.on(&self.name))?;
        let mut maps = self.pool.maps_mut();
        let mut done = 0_usize;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let inside = at.checked_rem(self.pool.chunk).unwrap_or(0);
            let left = buf.len().saturating_sub(done);
            let room = self.pool.chunk.saturating_sub(inside);
            let now = usize::try_from(room).map_or(left, |n| n.min(left)).max(1);
            let part = buf.get(done..done.saturating_add(now)).unwrap_or_default();
            self.write_piece(&mut maps, part, at)?;
            done = done.saturating_add(now);
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.pool.flush()
    }
}

#[cfg(test)]
mod tests;
