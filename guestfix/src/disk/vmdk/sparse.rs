// SPDX-License-Identifier: Apache-2.0
//! Extents kept in grains: a directory of tables of grains, some of them compressed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};

use super::header::{self, Entries, Header, bad};
use crate::disk::{SECTOR, Storage, check_range};
use crate::error::Result;

/// Bytes of a grain's marker: the sector of the disk that it holds, and the length of what follows
/// (VMware, "Virtual Disk Format 5.0", "Grain Marker").
const MARKER: u64 = 12;
/// Inflated grains that are remembered, bytes.
const REMEMBERED: usize = 2 << 20;
const SECTOR_U64: u64 = SECTOR as u64;

/// Where a grain lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    /// Nowhere: the parent's, or zeros.
    Absent,
    /// It is zeros, whatever the parent holds.
    Zero,
    /// At that byte of the file.
    At(u64),
}

/// An extent in a file that keeps grains.
pub(super) struct Sparse {
    file: Arc<dyn Storage>,
    header: Header,
    /// The table that was read last, and its number in the directory.
    table: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
    inflated: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

impl Sparse {
    pub(super) fn open(file: Arc<dyn Storage>) -> Result<Self> {
        let header = header::read(file.as_ref())?;
        Ok(Self {
            file,
            header,
            table: Mutex::default(),
            inflated: Mutex::default(),
        })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes of the extent.
    pub(super) fn len(&self) -> u64 {
        self.header.capacity.saturating_mul(SECTOR_U64)
    }

    /// Bytes of a grain.
    pub(super) fn grain_len(&self) -> u64 {
        self.header.grain.saturating_mul(SECTOR_U64)
    }

    /// The grain at a byte of the extent, and how many bytes from there on are alike: of this
    /// grain, or of a whole table that is not there.
    pub(super) fn find(&self, offset: u64) -> Result<(Grain, u64)> {
        let grain_len = self.grain_len();
        let number = offset.checked_div(grain_len).unwrap_or(0);
        let per_table = self.header.per_table;
        let index = number.checked_div(per_table).unwrap_or(0);
        let inside = number.checked_rem(per_table).unwrap_or(0);
        let Some(table) = self.table(index)? else {
            let end = index.saturating_add(1).saturating_mul(per_table);
            let end = end.saturating_mul(grain_len).min(self.len());
            return Ok((Grain::Absent, end.saturating_sub(offset)));
        };
        let entry = entry(&table, inside, self.header.width());
        let end = number.saturating_add(1).saturating_mul(grain_len);
        let left = end.min(self.len()).saturating_sub(offset);
        Ok((self.place(entry, number)?, left))
    }

    fn place(&self, entry: u64, number: u64) -> Result<Grain> {
        let on_disk = number.saturating_mul(self.grain_len());
        let wrong = || bad("the table's entry of this place makes no sense", on_disk);
        let sector = match self.header.entries {
            _ if entry == 0 => return Ok(Grain::Absent),
            Entries::Sectors { zeroed: true } if entry == 1 => return Ok(Grain::Zero),
            Entries::Sectors { .. } => entry,
            Entries::Typed { grains, .. } => match entry >> 60 {
                1 | 2 => return Ok(Grain::Zero),
                3 => {
                    let high = (entry & 0x0fff_0000_0000_0000) >> 48;
                    let low = (entry & 0x0000_ffff_ffff_ffff) << 12;
                    let place = (high | low).checked_mul(self.header.grain);
                    let place = place.and_then(|place| place.checked_add(grains));
                    place.ok_or_else(wrong)?
                }
                _ => return Err(wrong()),
            },
        };
        let place = sector.checked_mul(SECTOR_U64).ok_or_else(wrong)?;
        // The last grain of an extent may be cut off at the extent's end.
        let need = match self.header.compressed {
            true => MARKER,
            false => {
                let start = number.saturating_mul(self.grain_len());
                self.grain_len().min(self.len().saturating_sub(start))
            }
        };
        if place
            .checked_add(need)
            .is_none_or(|end| end > self.file.len())
        {
            return Err(bad("a grain leaves the file: it may be cut short", place));
        }
        Ok(Grain::At(place))
    }

    /// A grain table; `None` where the directory has none.
    fn table(&self, index: u64) -> Result<Option<Arc<Vec<u8>>>> {
        let mut last = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((have, table)) = last.as_ref()
            && *have == index
        {
            return Ok(Some(Arc::clone(table)));
        }
        let width = self.header.width();
        let at = self.header.directory.saturating_mul(SECTOR_U64);
        let at = at.saturating_add(index.saturating_mul(width));
        let mut bytes = vec![0; usize::try_from(width).unwrap_or(8)];
        self.file.read_at(&mut bytes, at)?;
        let Some(place) = self.table_place(entry(&bytes, 0, width), at)? else {
            return Ok(None);
        };
        let len = self.header.per_table.saturating_mul(width);
        if place
            .checked_add(len)
            .is_none_or(|end| end > self.file.len())
        {
            return Err(bad(
                "a grain table leaves the file: it may be cut short",
                at,
            ));
        }
        let mut table = vec![0; usize::try_from(len).unwrap_or(0)];
        self.file.read_at(&mut table, place)?;
        let table = Arc::new(table);
        *last = Some((index, Arc::clone(&table)));
        Ok(Some(table))
    }

    fn table_place(&self, entry: u64, at: u64) -> Result<Option<u64>> {
        let wrong = || bad("an entry of the grain directory makes no sense", at);
        let sector = match self.header.entries {
            _ if entry == 0 => return Ok(None),
            // Written by some for tables of nothing but zeros.
            Entries::Sectors { zeroed: true } if entry == 1 => return Ok(None),
            Entries::Sectors { .. } => entry,
            Entries::Typed { tables, .. } => {
                if entry >> 32 != 0x1000_0000 {
                    return Err(wrong());
                }
                let each = self.header.per_table.saturating_mul(8) / SECTOR_U64;
                let place = (entry & 0xffff_ffff).checked_mul(each);
                place
                    .and_then(|place| place.checked_add(tables))
                    .ok_or_else(wrong)?
            }
        };
        sector.checked_mul(SECTOR_U64).map(Some).ok_or_else(wrong)
    }

    /// Reads a part of a grain that lies at `place`; the part begins at byte `offset` of the extent
    /// and does not leave the grain.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64, place: u64) -> Result<()> {
        let inside = offset.checked_rem(self.grain_len()).unwrap_or(0);
        if !self.header.compressed {
            return self.file.read_at(buf, place.saturating_add(inside));
        }
        let number = offset.checked_div(self.grain_len()).unwrap_or(0);
        let grain = self.inflated(number, place)?;
        check_range(grain.len() as u64, inside, buf.len())
            .map_err(|_| bad("a compressed grain is too short", place))?;
        let from = usize::try_from(inside).unwrap_or(usize::MAX);
        let part = grain.get(from..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(part.ok_or_else(|| bad("a compressed grain is too short", place))?);
        Ok(())
    }

    fn inflated(&self, number: u64, place: u64) -> Result<Arc<Vec<u8>>> {
        let known = self.inflated.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, grain)) = known.iter().find(|(have, _)| *have == number) {
            return Ok(Arc::clone(grain));
        }
        drop(known);
        let grain = Arc::new(self.inflate(number, place)?);
        let mut known = self.inflated.lock().unwrap_or_else(PoisonError::into_inner);
        let most = REMEMBERED
            .checked_div(grain.len().max(1))
            .unwrap_or(1)
            .max(1);
        while known.len() >= most {
            known.pop_front();
        }
        known.push_back((number, Arc::clone(&grain)));
        Ok(grain)
    }

    /// Never inflates beyond the grain, and never takes another grain's bytes for this one's: so a
    /// small file cannot claim to hold a large disk by naming one grain again and again.
    fn inflate(&self, number: u64, place: u64) -> Result<Vec<u8>> {
        let (at, packed) = self.packed(number, place)?;
        let start = number.saturating_mul(self.grain_len());
        let want = self.grain_len().min(self.len().saturating_sub(start));
        // The last grain may be written whole or cut off at the disk's end.
        let room = usize::try_from(self.grain_len()).unwrap_or(0);
        let mut out = vec![0; room];
        let mut inflater = Decompress::new(true);
        let status = inflater.decompress(&packed, &mut out, FlushDecompress::Finish);
        let done = inflater.total_out();
        match status {
            Ok(Status::StreamEnd) if done >= want => Ok(out),
            Ok(Status::StreamEnd) => Err(bad("a compressed grain is too short", at)),
            Ok(_) if done >= room as u64 => {
                Err(bad("a compressed grain inflates beyond its size", at))
            }
            Ok(_) => Err(bad("a compressed grain ends too early", at)),
            Err(error) => Err(bad("a compressed grain cannot be inflated", at).because(error)),
        }
    }

    /// The compressed bytes of a grain, and where they begin.
    fn packed(&self, number: u64, place: u64) -> Result<(u64, Vec<u8>)> {
        let most = self.grain_len().saturating_mul(2);
        let (at, len) = if self.header.markers {
            let mut marker = [0; 12];
            self.file.read_at(&mut marker, place)?;
            let sector = number.saturating_mul(self.header.grain);
            if entry(&marker, 0, 8) != sector {
                return Err(bad(
                    "a grain's marker names another place of the disk",
                    place,
                ));
            }
            let len = entry(marker.get(8..).unwrap_or_default(), 0, 4);
            (place.saturating_add(MARKER), len)
        } else {
            (place, most.min(self.file.len().saturating_sub(place)))
        };
        let fits = at
            .checked_add(len)
            .is_some_and(|end| end <= self.file.len());
        if len == 0 || len > most || !fits {
            return Err(bad(
                "the length of a compressed grain makes no sense",
                place,
            ));
        }
        let mut packed = vec![0; usize::try_from(len).unwrap_or(0)];
        self.file.read_at(&mut packed, at)?;
        Ok((at, packed))
    }
}

/// The `index`th little-endian number of `width` bytes.
fn entry(table: &[u8], index: u64, width: u64) -> u64 {
    let start = index.saturating_mul(width);
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let bytes = table.get(start..).unwrap_or_default();
    let bytes = bytes.get(..usize::try_from(width).unwrap_or(0));
    let mut number = [0; 8];
    for (to, from) in number.iter_mut().zip(bytes.unwrap_or_default()) {
        *to = *from;
    }
    u64::from_le_bytes(number)
}
