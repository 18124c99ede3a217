// SPDX-License-Identifier: Apache-2.0
//! The overlay: writes go to a delta file, the base is never written.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};

use super::raw::write_error;
use super::{CHUNK, Storage, check_range, read_padded};
use crate::error::{Error, Result};

/// Bytes of a cluster: the unit in which an overlay remembers what was written. The block size of
/// nearly every guest filesystem, so that most writes need no reading.
pub const CLUSTER: usize = 4096;
const CLUSTER_U64: u64 = CLUSTER as u64;

/// A run of bytes that was written, and where the delta file holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Start on the disk, bytes.
    pub offset: u64,
    /// Length, bytes.
    pub len: u64,
    /// Start in the delta file, bytes.
    pub delta: u64,
}

/// A disk with pending changes. Reading and writing are safe from several threads at once.
///
/// The first failed write is latched: from then on every write and [`Storage::flush`] fails with
/// it, because a kernel that mounted the overlay may have swallowed the error.
pub struct Overlay {
    base: Arc<dyn Storage>,
    delta: File,
    len: u64,
    max_bytes: u64,
    map: RwLock<Map>,
    latched: OnceLock<Error>,
}

/// Cluster index to slot of the delta; slots are handed out in order.
#[derive(Default)]
struct Map {
    slots: BTreeMap<u64, u64>,
    used: u64,
}

/// Neighbouring clusters that lie together in the delta, or are not in it.
struct Run {
    offset: u64,
    len: usize,
    delta: Option<u64>,
}

impl Overlay {
    /// An overlay over `base` that keeps at most `max_bytes` in `delta`, an empty file open for
    /// reading and writing.
    pub fn new(base: Arc<dyn Storage>, delta: File, max_bytes: u64) -> Self {
        let len = base.len();
        Self::with_len(base, len, delta, max_bytes)
    }

    /// As [`Overlay::new`], longer than its base: what lies beyond reads as zeros. For container
    /// files that grow.
    pub fn with_len(base: Arc<dyn Storage>, len: u64, delta: File, max_bytes: u64) -> Self {
        let map = RwLock::default();
        let latched = OnceLock::new();
        Self {
            base,
            delta,
            len,
            max_bytes,
            map,
            latched,
        }
    }

    /// The overlay that another process filled: its delta file and what it reported by
    /// [`Overlay::changed`]. Nothing can be written to it.
    ///
    /// # Errors
    /// `Corrupt`/`overlay` when the extents are not sorted, aligned, inside the disk and at most
    /// `max_bytes` together.
    pub fn from_changed(
        base: Arc<dyn Storage>,
        len: u64,
        delta: File,
        extents: &[Extent],
        max_bytes: u64,
    ) -> Result<Self> {
        let overlay = Self::with_len(base, len, delta, max_bytes);
        let mut map = Map::default();
        let (mut end, mut total) = (0, 0_u64);
        for extent in extents {
            total = total.saturating_add(extent.len);
            let bad =
                || Error::corrupt("overlay", "the overlay's extents are invalid").at(extent.offset);
            let extent_end = extent.offset.checked_add(extent.len).ok_or_else(bad)?;
            let aligned = [extent.offset, extent.delta]
                .iter()
                .all(|at| at.is_multiple_of(CLUSTER_U64))
                && (extent_end.is_multiple_of(CLUSTER_U64) || extent_end == len);
            if extent.offset < end
                || extent_end > len
                || extent.len == 0
                || total > max_bytes
                || !aligned
            {
                return Err(bad());
            }
            extent.delta.checked_add(extent.len).ok_or_else(bad)?;
            let (cluster, slot) = (extent.offset / CLUSTER_U64, extent.delta / CLUSTER_U64);
            for n in 0..extent.len.div_ceil(CLUSTER_U64) {
                map.slots
                    .insert(cluster.saturating_add(n), slot.saturating_add(n));
            }
            end = extent_end;
        }
        overlay.write_map().slots = map.slots;
        overlay.latch(Error::refused(
            "read-only",
            "this view of the overlay is for reading only",
        ));
        Ok(overlay)
    }

    /// The error that ended writing, if any.
    pub fn latched(&self) -> Option<Error> {
        self.latched.get().cloned()
    }

    /// Ends writing for good. The first error stays.
    pub fn latch(&self, error: Error) {
        if self.latched.set(error).is_ok() {
            tracing::debug!(error = ?self.latched.get(), "overlay latched");
        }
    }

    /// Bytes of the delta in use.
    pub fn delta_bytes(&self) -> u64 {
        self.read_map().used.saturating_mul(CLUSTER_U64)
    }

    /// What was written, sorted by offset, neighbours joined where the delta holds them together.
    pub fn changed(&self) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for (&cluster, &slot) in &self.read_map().slots {
            let offset = cluster.saturating_mul(CLUSTER_U64);
            let len = CLUSTER_U64.min(self.len.saturating_sub(offset));
            let delta = slot.saturating_mul(CLUSTER_U64);
            match extents.last_mut() {
                Some(last)
                    if last.offset.saturating_add(last.len) == offset
                        && last.delta.saturating_add(last.len) == delta =>
                {
                    last.len = last.len.saturating_add(len);
                }
                _ => extents.push(Extent { offset, len, delta }),
            }
        }
        extents
    }

    /// Hands every changed byte to `each`, in order of offset and in pieces of at most [`CHUNK`].
    ///
    /// # Errors
    /// `Host`/`io`, and what `each` returns.
    pub fn read_changed(&self, mut each: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let mut buf = vec![0; CHUNK];
        for extent in self.changed() {
            let mut done = 0;
            while done < extent.len {
                let left = usize::try_from(extent.len.saturating_sub(done)).unwrap_or(CHUNK);
                let piece = buf.get_mut(..left.min(CHUNK)).unwrap_or_default();
                let offset = extent.offset.saturating_add(done);
                self.read_at(piece, offset)?;
                each(offset, piece)?;
                done = done.saturating_add(piece.len() as u64);
            }
        }
        Ok(())
    }

    fn read_map(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_map(&self) -> RwLockWriteGuard<'_, Map> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of `cluster` that belong to the disk: fewer than [`CLUSTER`] for the last one only.
    fn cluster_len(&self, cluster: u64) -> usize {
        let left = self.len.saturating_sub(cluster.saturating_mul(CLUSTER_U64));
        usize::try_from(left).unwrap_or(CLUSTER).min(CLUSTER)
    }

    fn read_delta(&self, buf: &mut [u8], at: u64) -> Result<()> {
        self.delta
            .read_exact_at(buf, at)
            .map_err(|e| Error::io("cannot read the overlay", e).at(at))
    }

    /// Writes `buf` with the map locked; on error the map still describes whole clusters.
    fn write_locked(&self, map: &mut Map, mut buf: &[u8], mut offset: u64) -> Result<()> {
        while !buf.is_empty() {
            let cluster = offset / CLUSTER_U64;
            let inside = usize::try_from(offset % CLUSTER_U64).unwrap_or(0);
            let n = match map.slots.get(&cluster) {
                Some(&slot) => {
                    let room = self.cluster_len(cluster).saturating_sub(inside);
                    let (now, _) = buf.split_at(room.min(buf.len()));
                    let at = slot
                        .saturating_mul(CLUSTER_U64)
                        .saturating_add(inside as u64);
                    self.write_delta(now, at)?;
                    now.len()
                }
                None if inside == 0 && buf.len() >= self.cluster_len(cluster) => {
                    let run = self.fresh_run(map, cluster, buf.len());
                    let (now, _) = buf.split_at(run.min(buf.len()));
                    self.append(map, cluster, now)?;
                    now.len()
                }
                None => self.append_patched(map, cluster, inside, buf)?,
            };
            buf = buf.get(n..).unwrap_or_default();
            offset = offset.saturating_add(n as u64);
        }
        Ok(())
    }

    /// Bytes from the start of `cluster` on, out of `available`, that cover whole clusters of which
    /// none was written before.
    fn fresh_run(&self, map: &Map, cluster: u64, available: usize) -> usize {
        let next = map
            .slots
            .range(cluster..)
            .next()
            .map_or(u64::MAX, |(&next, _)| next);
        let free = next.saturating_sub(cluster).saturating_mul(CLUSTER_U64);
        let want = usize::try_from(free).unwrap_or(usize::MAX).min(available);
        let to_end = self.len.saturating_sub(cluster.saturating_mul(CLUSTER_U64));
        if want as u64 == to_end {
            want
        } else {
            want.saturating_sub(want % CLUSTER)
        }
    }

    /// A cluster that is written in part for the first time: the rest comes from the base.
    fn append_patched(
        &self,
        map: &mut Map,
        cluster: u64,
        inside: usize,
        buf: &[u8],
    ) -> Result<usize> {
        let mut whole = [0; CLUSTER];
        let whole = whole
            .get_mut(..self.cluster_len(cluster))
            .unwrap_or_default();
        read_padded(
            self.base.as_ref(),
            whole,
            cluster.saturating_mul(CLUSTER_U64),
        )?;
        let n = whole.len().saturating_sub(inside).min(buf.len());
        if let (Some(to), Some(from)) = (
            whole.get_mut(inside..inside.saturating_add(n)),
            buf.get(..n),
        ) {
            to.copy_from_slice(from);
        }
        self.append(map, cluster, whole)?;
        Ok(n)
    }

    /// Gives new slots to the clusters from `cluster` on that `data` covers.
    fn append(&self, map: &mut Map, cluster: u64, data: &[u8]) -> Result<()> {
        let count = (data.len() as u64).div_ceil(CLUSTER_U64);
        let used = map.used.saturating_add(count);
        if used.saturating_mul(CLUSTER_U64) > self.max_bytes {
            return Err(Error::host(
                "no-space",
                format!(
                    "the conversion writes more than the {} bytes set aside",
                    self.max_bytes
                ),
            ));
        }
        self.write_delta(data, map.used.saturating_mul(CLUSTER_U64))?;
        for n in 0..count {
            map.slots
                .insert(cluster.saturating_add(n), map.used.saturating_add(n));
        }
        map.used = used;
        Ok(())
    }

    fn write_delta(&self, data: &[u8], at: u64) -> Result<()> {
        self.delta
            .write_all_at(data, at)
            .map_err(|e| write_error(&e, "cannot write to the overlay in the state directory"))
    }
}

impl Map {
    /// Splits a range into runs, in order.
    fn runs(&self, offset: u64, len: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        let end = offset.saturating_add(len as u64);
        let mut at = offset;
        let mut push = |from: u64, to: u64, delta: Option<u64>| {
            let len = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
            match runs.last_mut() {
                Some(Run {
                    len: last,
                    delta: Some(start),
                    ..
                }) if delta == Some(start.saturating_add(*last as u64)) => {
                    *last = last.saturating_add(len);
                }
                _ if len == 0 => {}
                _ => runs.push(Run {
                    offset: from,
                    len,
                    delta,
                }),
            }
        };
        for (&cluster, &slot) in self
            .slots
            .range(offset / CLUSTER_U64..end.div_ceil(CLUSTER_U64))
        {
            let start = cluster.saturating_mul(CLUSTER_U64).max(at);
            push(at, start, None);
            let stop = cluster
                .saturating_add(1)
                .saturating_mul(CLUSTER_U64)
                .min(end);
            let delta = slot
                .saturating_mul(CLUSTER_U64)
                .saturating_add(start % CLUSTER_U64);
            push(start, stop, Some(delta));
            at = stop;
        }
        push(at, end, None);
        runs
    }
}

impl Storage for Overlay {
    fn len(&self) -> u64 {
        self.len
    }

    fn zeros(&self, offset: u64) -> Result<u64> {
        let cluster = offset / CLUSTER_U64;
        let next = self
            .read_map()
            .slots
            .range(cluster..)
            .next()
            .map_or(self.len, |(next, _)| next.saturating_mul(CLUSTER_U64));
        let untouched = next.min(self.len).saturating_sub(offset);
        if untouched == 0 || offset >= self.base.len() {
            return Ok(untouched);
        }
        Ok(self.base.zeros(offset)?.min(untouched))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        let map = self.read_map();
        let mut rest = buf;
        for run in map.runs(offset, rest.len()) {
            let (now, later) = rest.split_at_mut(run.len.min(rest.len()));
            match run.delta {
                Some(at) => self.read_delta(now, at)?,
                None => read_padded(self.base.as_ref(), now, run.offset)?,
            }
            rest = later;
        }
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        let mut map = self.write_map();
        self.flush()?;
        self.write_locked(&mut map, buf, offset)
            .inspect_err(|e| self.latch(e.clone()))
    }

    fn flush(&self) -> Result<()> {
        self.latched().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
            .field("len", &self.len)
            .field("delta_bytes", &self.delta_bytes())
            .field("latched", &self.latched)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
