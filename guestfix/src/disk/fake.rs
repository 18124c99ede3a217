// SPDX-License-Identifier: Apache-2.0
//! Disks for tests: plain memory, and one that loses power.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Durable, SECTOR, Storage, check_range};
use crate::error::{Error, Result};

/// Sparse memory that counts its reads.
#[derive(Debug)]
pub(crate) struct Memory {
    len: u64,
    pages: Mutex<BTreeMap<u64, Vec<u8>>>,
    reads: AtomicU64,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Arc<Self> {
        let memory = Self::sparse(bytes.len() as u64);
        *memory.pages.lock().unwrap() = bytes
            .chunks(SECTOR)
            .enumerate()
            .map(|(i, s)| (i as u64, s.to_vec()))
            .collect();
        memory
    }

    pub(crate) fn sparse(len: u64) -> Arc<Self> {
        Arc::new(Self {
            len,
            pages: Mutex::default(),
            reads: AtomicU64::new(0),
        })
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Storage for Memory {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        buf.fill(0);
        let end = offset + buf.len() as u64;
        let size = SECTOR as u64;
        for (&page, data) in self
            .pages
            .lock()
            .unwrap()
            .range(offset / size..end.div_ceil(size))
        {
            let start = page * size;
            let (from, to) = (start.max(offset), (start + data.len() as u64).min(end));
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&data[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> Result<()> {
        Err(Error::refused(
            "read-only",
            "the fake base is never written",
        ))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// A disk with a volatile write cache. A power cut keeps any subset of the sectors that were
/// written since the last sync.
#[derive(Clone)]
pub(crate) struct Cached(Arc<Mutex<State>>);

struct State {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// Operations left until the disk fails; `None` never fails.
    left: Option<u64>,
    /// The re-read returns another byte here.
    flipped: Option<u64>,
}

impl Cached {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let state = State {
            durable: bytes.clone(),
            cached: bytes,
            left: None,
            flipped: None,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().cached.clone()
    }

    pub(crate) fn poke(&self, at: usize, byte: u8) {
        let mut state = self.0.lock().unwrap();
        state.cached[at] = byte;
        state.durable[at] = byte;
    }

    pub(crate) fn fail_after(&self, left: Option<u64>) {
        self.0.lock().unwrap().left = left;
    }

    pub(crate) fn flip_on_reread(&self, at: Option<u64>) {
        self.0.lock().unwrap().flipped = at;
    }

    /// Power is cut and comes back; `keep` decides for each unsynced sector. Length is metadata
    /// and kept or lost like a sector.
    pub(crate) fn power_cut(&self, mut keep: impl FnMut() -> bool) {
        let mut state = self.0.lock().unwrap();
        if state.cached.len() != state.durable.len() && keep() {
            let len = state.cached.len();
            state.durable.resize(len, 0);
        }
        let cached = std::mem::take(&mut state.cached);
        for (old, new) in state.durable.chunks_mut(SECTOR).zip(cached.chunks(SECTOR)) {
            if old.len() == new.len() && keep() {
                old.copy_from_slice(new);
            }
        }
        state.cached = state.durable.clone();
        state.left = None;
    }

    fn step(&self) -> Result<std::sync::MutexGuard<'_, State>> {
        let mut state = self.0.lock().unwrap();
        if state.left == Some(0) {
            return Err(Error::io("the fake disk failed", "injected"));
        }
        state.left = state.left.map(|left| left - 1);
        Ok(state)
    }
}

impl Storage for Cached {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().cached.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let state = self.0.lock().unwrap();
        buf.copy_from_slice(&state.cached[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        // A write that fails has written its first half.
        let half = self.step().map(|_| buf.len());
        let n = *half.as_ref().unwrap_or(&(buf.len() / 2 / SECTOR * SECTOR));
        self.0.lock().unwrap().cached[offset as usize..offset as usize + n]
            .copy_from_slice(&buf[..n]);
        half.map(|_| ())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl Durable for Cached {
    fn sync(&self) -> Result<()> {
        let mut state = self.step()?;
        state.durable = state.cached.clone();
        Ok(())
    }

    fn reread(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        drop(self.step()?);
        self.read_at(buf, offset)?;
        if let Some(at) = self.0.lock().unwrap().flipped
            && let Some(byte) = at.checked_sub(offset).and_then(|i| buf.get_mut(i as usize))
        {
            *byte ^= 1;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.cached.resize(len as usize, 0);
        Ok(())
    }
}
