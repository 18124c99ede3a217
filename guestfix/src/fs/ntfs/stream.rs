// SPDX-License-Identifier: Apache-2.0
//! The bytes of a value that lies outside of its file's records: holes and what was never written
//! read as zeros, compressed units as what they hold.

use std::io::{self, Read, Seek, SeekFrom};

use super::attributes::Data;
use super::runs::Run;
use super::{Ntfs, damaged, lznt1};
use crate::error::Result;
use crate::fs::block::seek_target;

/// Where the clusters of a value lie.
#[derive(Clone, Copy)]
pub(super) struct Map<'m> {
    pub(super) runs: &'m [Run],
    pub(super) cluster: u64,
}

impl Map<'_> {
    /// The run that holds a cluster of the value.
    fn run(&self, vcn: u64) -> Option<&Run> {
        let index = self.runs.partition_point(|run| run.end() <= vcn);
        self.runs.get(index).filter(|run| run.vcn <= vcn)
    }

    /// Fills `buf` from byte `at` of the value; what lies nowhere is zeros.
    pub(super) fn read(&self, fs: &Ntfs, buf: &mut [u8], at: u64) -> Result<()> {
        let mut rest = buf;
        let mut at = at;
        while !rest.is_empty() {
            let vcn = at.checked_div(self.cluster).unwrap_or(0);
            let run = self
                .run(vcn)
                .ok_or_else(|| damaged("a file is longer than its clusters"))?;
            let begins = run.vcn.saturating_mul(self.cluster);
            let ends = run.end().saturating_mul(self.cluster);
            let here = usize::try_from(ends.saturating_sub(at)).unwrap_or(usize::MAX);
            let (part, tail) = rest.split_at_mut(here.min(rest.len()));
            if part.is_empty() {
                return Err(damaged("a run has no end"));
            }
            match run.lcn {
                Some(lcn) => {
                    let place = lcn
                        .checked_mul(self.cluster)
                        .and_then(|place| place.checked_add(at.checked_sub(begins)?));
                    let place = place.ok_or_else(|| damaged("a run leads nowhere"))?;
                    fs.read_at(part, place)?;
                }
                None => part.fill(0),
            }
            at = at.saturating_add(part.len() as u64);
            rest = tail;
        }
        Ok(())
    }

    /// Clusters of the `count` from `vcn` on that lie somewhere, up to the first that does not.
    fn stored(&self, vcn: u64, count: u64) -> u64 {
        let mut stored = 0_u64;
        while stored < count {
            let at = vcn.saturating_add(stored);
            match self.run(at) {
                Some(run) if run.lcn.is_some() => {
                    stored = run.end().saturating_sub(vcn);
                }
                _ => break,
            }
        }
        stored.min(count)
    }
}

/// A value as a file.
pub(super) struct Stream<'f> {
    fs: &'f Ntfs,
    data: Data,
    at: u64,
    /// The compression unit that was read last, by its index.
    unit: Option<(u64, Vec<u8>)>,
}

impl<'f> Stream<'f> {
    pub(super) fn new(fs: &'f Ntfs, data: Data) -> Self {
        Self {
            fs,
            data,
            at: 0,
            unit: None,
        }
    }

    fn map(&self) -> Map<'_> {
        Map {
            runs: &self.data.runs,
            cluster: self.fs.cluster,
        }
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<usize> {
        let left = self.data.size.saturating_sub(self.at);
        let count = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let buf = buf.get_mut(..count).unwrap_or_default();
        let written = self.data.written.saturating_sub(self.at);
        let written = usize::try_from(written).map_or(count, |written| written.min(count));
        if written == 0 {
            buf.fill(0);
            return Ok(count);
        }
        let buf = buf.get_mut(..written).unwrap_or_default();
        match self.data.unit {
            Some(clusters) => self.unpack(buf, clusters),
            None => {
                self.map().read(self.fs, buf, self.at)?;
                Ok(buf.len())
            }
        }
    }

    /// A part of the unit at the cursor.
    fn unpack(&mut self, buf: &mut [u8], clusters: u64) -> Result<usize> {
        let size = clusters.saturating_mul(self.fs.cluster).max(1);
        let index = self.at.checked_div(size).unwrap_or(0);
        let within = usize::try_from(self.at.checked_rem(size).unwrap_or(0)).unwrap_or(0);
        if self.unit.as_ref().is_none_or(|(have, _)| *have != index) {
            self.unit = Some((index, self.read_unit(index, clusters)?));
        }
        let unit = self.unit.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let from = unit.get(within..).unwrap_or_default();
        let count = from.len().min(buf.len());
        let (Some(to), Some(from)) = (buf.get_mut(..count), from.get(..count)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        Ok(count)
    }

    /// A unit that fills all its clusters is stored as it is, one that fills none is zeros.
    fn read_unit(&self, index: u64, clusters: u64) -> Result<Vec<u8>> {
        let size = usize::try_from(clusters.saturating_mul(self.fs.cluster)).unwrap_or(0);
        let vcn = index.saturating_mul(clusters);
        let map = self.map();
        let stored = map.stored(vcn, clusters);
        let bytes = usize::try_from(stored.saturating_mul(self.fs.cluster)).unwrap_or(0);
        let mut raw = vec![0; bytes];
        map.read(self.fs, &mut raw, vcn.saturating_mul(self.fs.cluster))?;
        if stored == clusters {
            return Ok(raw);
        }
        let mut out = match stored {
            0 => Vec::new(),
            _ => lznt1::unpack(&raw, size)
                .ok_or_else(|| damaged("a compressed file cannot be unpacked"))?,
        };
        out.resize(size, 0);
        Ok(out)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fill(buf).map_err(io::Error::other)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = seek_target(to, self.at, self.data.size)?;
        Ok(self.at)
    }
}
