// SPDX-License-Identifier: Apache-2.0
//! A new qcow2 image, version 3, written from front to back: data and second tables as they come,
//! reference counts behind them, the header last (QEMU, docs/interop/qcow2.rst).

use std::fs::File;

use super::{Sink, put_at, sync};
use crate::disk::qcow2::MAGIC;
use crate::error::{Error, Result};

const BITS: u32 = 16;
const CLUSTER: u64 = 1 << BITS;
/// Entries of a second table, and reference counts of 16 bits in a cluster.
const PER_TABLE: u64 = CLUSTER / 8;
const PER_BLOCK: u64 = CLUSTER / 2;
/// "The cluster is counted once": it may be written in place.
const OWN: u64 = 1 << 63;
/// Bytes of a header of version 3 without extensions.
const HEADER: u32 = 104;
/// The largest disk, bytes: what a first table of QEMU's limit covers.
const LARGEST: u64 = 1 << 51;

/// A new qcow2 image.
#[derive(Debug)]
pub struct NewQcow2 {
    file: File,
    len: u64,
    /// The next free cluster, bytes.
    next: u64,
    first: Vec<u64>,
    /// The second table that is being filled, and its number.
    second: Vec<u64>,
    number: u64,
}

impl NewQcow2 {
    /// Takes an empty file for a disk of `len` bytes.
    ///
    /// # Errors
    /// `Unsupported`/`qcow2-size` for a disk that is too large.
    pub fn new(file: File, len: u64) -> Result<Self> {
        if len > LARGEST || !len.is_multiple_of(512) {
            let what = format!("a disk of {len} bytes does not fit into a qcow2 image");
            return Err(Error::unsupported("qcow2-size", what));
        }
        let tables = len.div_ceil(CLUSTER).div_ceil(PER_TABLE);
        let mut new = Self {
            file,
            len,
            next: CLUSTER,
            first: vec![0; usize::try_from(tables).unwrap_or(0)],
            second: vec![0; usize::try_from(PER_TABLE).unwrap_or(0)],
            number: 0,
        };
        // The first table has its place behind the header.
        new.take(tables.saturating_mul(8));
        Ok(new)
    }

    /// The place of that many bytes in clusters of their own.
    pub(super) fn take(&mut self, bytes: u64) -> u64 {
        let place = self.next;
        let clusters = bytes.div_ceil(CLUSTER);
        self.next = place.saturating_add(clusters.saturating_mul(CLUSTER));
        place
    }

    fn write_table(&self, entries: &[u64], place: u64) -> Result<()> {
        let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_be_bytes()).collect();
        put_at(&self.file, &bytes, place)
    }

    /// Writes the second table that was filled so far and goes on with another.
    fn turn_to(&mut self, number: u64) -> Result<()> {
        if self.second.iter().any(|entry| *entry != 0) {
            let place = self.take(CLUSTER);
            self.write_table(&self.second, place)?;
            let index = usize::try_from(self.number).unwrap_or(usize::MAX);
            if let Some(entry) = self.first.get_mut(index) {
                *entry = place | OWN;
            }
            self.second.fill(0);
        }
        self.number = number;
        Ok(())
    }

    /// Counts every cluster once, those of the counts themselves too: the place of the table of
    /// counts, and its clusters.
    fn write_counts(&mut self) -> Result<(u64, u64)> {
        let used = self.next / CLUSTER;
        let (mut blocks, mut tables) = (0_u64, 0_u64);
        loop {
            let all = used.saturating_add(blocks).saturating_add(tables);
            let need = all.div_ceil(PER_BLOCK);
            let table = need.div_ceil(PER_TABLE);
            if (need, table) == (blocks, tables) {
                break;
            }
            (blocks, tables) = (need, table);
        }
        let start = self.take(blocks.saturating_mul(CLUSTER));
        let table = self.take(tables.saturating_mul(CLUSTER));
        let all = self.next / CLUSTER;
        let mut places = Vec::new();
        for block in 0..blocks {
            let before = block.saturating_mul(PER_BLOCK);
            let counted = all.saturating_sub(before).min(PER_BLOCK);
            let counts: Vec<u8> = (0..PER_BLOCK)
                .flat_map(|index| u16::from(index < counted).to_be_bytes())
                .collect();
            let place = start.saturating_add(block.saturating_mul(CLUSTER));
            put_at(&self.file, &counts, place)?;
            places.push(place);
        }
        let entries = tables.saturating_mul(PER_TABLE);
        places.resize(usize::try_from(entries).unwrap_or(0), 0);
        self.write_table(&places, table)?;
        Ok((table, tables))
    }

    fn header(&self, (counts, clusters): (u64, u64)) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        let word = |out: &mut Vec<u8>, word: u32| out.extend(word.to_be_bytes());
        let long = |out: &mut Vec<u8>, long: u64| out.extend(long.to_be_bytes());
        word(&mut out, 3);
        // No backing file.
        long(&mut out, 0);
        word(&mut out, 0);
        word(&mut out, BITS);
        long(&mut out, self.len);
        // No encryption.
        word(&mut out, 0);
        word(&mut out, u32::try_from(self.first.len()).unwrap_or(0));
        long(&mut out, CLUSTER);
        long(&mut out, counts);
        word(&mut out, u32::try_from(clusters).unwrap_or(0));
        // No snapshots, no features.
        word(&mut out, 0);
        for _ in 0..4 {
            long(&mut out, 0);
        }
        // Counts of 2^4 bits.
        word(&mut out, 4);
        word(&mut out, HEADER);
        out
    }
}

impl Sink for NewQcow2 {
    fn granule(&self) -> usize {
        1 << BITS
    }

    fn put(&mut self, data: &[u8], offset: u64) -> Result<()> {
        let place = self.take(data.len() as u64);
        put_at(&self.file, data, place)?;
        let first = offset / CLUSTER;
        for index in 0..(data.len() as u64).div_ceil(CLUSTER) {
            let cluster = first.saturating_add(index);
            if cluster / PER_TABLE != self.number {
                self.turn_to(cluster / PER_TABLE)?;
            }
            let at = place.saturating_add(index.saturating_mul(CLUSTER));
            let slot = usize::try_from(cluster % PER_TABLE).unwrap_or(usize::MAX);
            if let Some(entry) = self.second.get_mut(slot) {
                *entry = at | OWN;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.turn_to(0)?;
        self.write_table(&self.first, CLUSTER)?;
        let counts = self.write_counts()?;
        // Whole clusters, also where the last one was cut off at the disk's end.
        self.file
            .set_len(self.next)
            .map_err(|e| super::write_error(&e, "cannot write the new image"))?;
        sync(&self.file)?;
        put_at(&self.file, &self.header(counts), 0)?;
        sync(&self.file)
    }
}
