// SPDX-License-Identifier: Apache-2.0
//! GUID partition tables (UEFI specification 2.10, chapter 5.3), read with the `gpt` crate.
//!
//! The crate trusts a header's entry count and asserts its entry size, and reads one table only;
//! so headers are read one by one and bounded here before it may read a table.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use gpt::disk::LogicalBlockSize;
use gpt::header::{Header, HeaderError, read_header_from_arbitrary_device};
use gpt::partition::{Partition, file_read_partitions};

use super::table::Part;
use crate::disk::Storage;
use crate::error::{Error, Result};

/// More entries than any tool writes (128 is usual); bounds the memory a header can ask for.
const MAX_ENTRIES: u32 = 4096;

/// The only entry size in use; the specification allows 128 times a power of two.
const ENTRY_SIZE: u32 = 128;

/// Attribute bit 2, "legacy BIOS bootable" (table 5.8).
const LEGACY_BOOTABLE: u64 = 1 << 2;

/// A partition table that was read.
#[derive(Debug)]
pub(crate) struct Gpt {
    /// Disk GUID, lower case.
    pub(crate) id: String,
    /// Used entries.
    pub(crate) parts: Vec<Part>,
    /// What was wrong with the header that was not used.
    pub(crate) damage: Vec<String>,
}

/// A header with its table.
type Side = (Header, BTreeMap<u32, Partition>);

/// Why one side cannot be used.
enum Bad {
    /// There is no GPT signature, or the place is not on the disk.
    Absent,
    /// There is one, and something is wrong with it.
    Damaged(String),
}

/// Reads the table with the given sector size; `None` when neither header has a signature.
///
/// # Errors
/// `Corrupt`/`gpt-damaged` when headers are there and none can be used.
pub(crate) fn read(disk: &dyn Storage, sector: LogicalBlockSize) -> Result<Option<Gpt>> {
    let last = disk
        .len()
        .checked_div(sector.as_u64())
        .map_or(0, |sectors| sectors.saturating_sub(1));
    let primary = side(disk, sector, 1);
    let backup_at = match &primary {
        Ok((header, _)) => header.backup_lba,
        Err(_) => last,
    };
    let backup = side(disk, sector, backup_at);
    let (used, damage) = match (primary, backup) {
        (Ok(primary), Ok(backup)) => {
            let same = primary.0.crc32_parts == backup.0.crc32_parts
                && primary.0.disk_guid == backup.0.disk_guid;
            let damage = (!same).then(|| {
                "the GPT's backup differs from the primary table, which is used".to_owned()
            });
            (primary, damage)
        }
        (Ok(primary), Err(bad)) => (primary, Some(worked_around("backup", bad))),
        (Err(bad), Ok(backup)) => (backup, Some(worked_around("primary", bad))),
        (Err(Bad::Absent), Err(Bad::Absent)) => return Ok(None),
        (Err(primary), Err(backup)) => {
            return Err(Error::corrupt(
                "gpt-damaged",
                "neither the primary nor the backup GUID partition table can be read",
            )
            .hint("repair the table, for example with gdisk's recovery menu, on a copy")
            .because(worked_around("primary", primary))
            .because(worked_around("backup", backup)));
        }
    };
    Ok(Some(finish(&used, sector, damage.into_iter().collect())))
}

fn worked_around(which: &str, bad: Bad) -> String {
    match bad {
        Bad::Absent => format!("the {which} GPT header is missing"),
        Bad::Damaged(why) => format!("the {which} GPT is damaged: {why}"),
    }
}

fn finish(side: &Side, sector: LogicalBlockSize, mut damage: Vec<String>) -> Gpt {
    let mut parts = Vec::new();
    for (number, entry) in &side.1 {
        if !entry.is_used() {
            continue;
        }
        let range = entry
            .bytes_start(sector)
            .and_then(|start| Ok((start, entry.bytes_len(sector)?)));
        match range {
            Ok((start, len)) => parts.push(Part {
                number: *number,
                start,
                len,
                uuid: Some(entry.part_guid.to_string()),
                kind: entry.part_type_guid.guid.to_string(),
                label: (!entry.name.is_empty()).then(|| entry.name.clone()),
                bootable: entry.flags & LEGACY_BOOTABLE != 0,
            }),
            Err(why) => damage.push(format!("GPT entry {number} is left out: {why}")),
        }
    }
    Gpt {
        id: side.0.disk_guid.to_string(),
        parts,
        damage,
    }
}

/// Reads one header and its table, bounded.
fn side(disk: &dyn Storage, sector: LogicalBlockSize, lba: u64) -> std::result::Result<Side, Bad> {
    let damaged = |why: &str| Bad::Damaged(why.to_owned());
    let size = sector.as_u64();
    // The crate reads a header at sector 1 only: show it the disk from one sector before.
    let base = lba
        .checked_sub(1)
        .and_then(|before| before.checked_mul(size))
        .filter(|base| base.saturating_add(size.saturating_mul(2)) <= disk.len())
        .ok_or(Bad::Absent)?;
    let header = match read_header_from_arbitrary_device(&mut View::new(disk, base), sector) {
        Ok(header) => header,
        Err(HeaderError::InvalidGptSignature) => return Err(Bad::Absent),
        Err(why) => return Err(Bad::Damaged(why.to_string())),
    };
    if header.current_lba != lba {
        return Err(damaged("its header belongs to another sector"));
    }
    if header.part_size != ENTRY_SIZE || header.num_parts > MAX_ENTRIES {
        return Err(Bad::Damaged(format!(
            "{} entries of {} bytes are not supported",
            header.num_parts, header.part_size
        )));
    }
    let table = file_read_partitions(&mut View::new(disk, 0), &header, sector)
        .map_err(|why| Bad::Damaged(why.to_string()))?;
    Ok((header, table))
}

/// A disk from a byte on, as the crate wants to see it. Writing fails.
struct View<'a> {
    disk: &'a dyn Storage,
    base: u64,
    at: u64,
}

impl<'a> View<'a> {
    fn new(disk: &'a dyn Storage, base: u64) -> Self {
        Self { disk, base, at: 0 }
    }

    fn len(&self) -> u64 {
        self.disk.len().saturating_sub(self.base)
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("at", &self.at).finish()
    }
}

impl Read for View<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.len().saturating_sub(self.at);
        let count = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let Some(part) = buf.get_mut(..count).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        self.disk
            .read_at(part, self.base.saturating_add(self.at))
            .map_err(io::Error::other)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for View<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        }
        .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Write for View<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
