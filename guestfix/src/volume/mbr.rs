// SPDX-License-Identifier: Apache-2.0
//! Master boot records: four primary partitions, logical ones in a chain of extended boot records.
//!
//! Layout: disk signature at 440, four entries of 16 bytes at 446, `55 AA` at 510 (UEFI
//! specification 2.10, table 5.1). Logical partitions are numbered from 5 in chain order, as the
//! Linux kernel numbers them (block/partitions/msdos.c).

use super::field::{has, le32, read as read_range};
use super::table::Part;
use crate::disk::Storage;
use crate::error::Result;

/// Protective entry of a GPT.
const TYPE_GPT: u8 = 0xee;

/// Extended containers: CHS, LBA, Linux.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// The kernel looks at no more partitions than this.
const MAX_LOGICAL: usize = 251;

/// A master boot record that was read.
#[derive(Debug)]
pub(crate) struct Mbr {
    /// Disk signature as 8 hex digits, unless zero.
    pub(crate) id: Option<String>,
    /// Primary partitions without extended containers, then logical ones.
    pub(crate) parts: Vec<Part>,
    /// An entry says that a GPT follows.
    pub(crate) protective: bool,
    /// What had to be worked around.
    pub(crate) damage: Vec<String>,
}

/// One entry of a boot record, in sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    flag: u8,
    kind: u8,
    start: u32,
    sectors: u32,
}

impl Entry {
    fn used(self) -> bool {
        self.kind != 0 && self.sectors != 0
    }

    fn extended(self) -> bool {
        self.used() && EXTENDED.contains(&self.kind)
    }
}

/// The four entries of a boot record; `None` without its signature.
fn entries(sector: &[u8]) -> Option<[Entry; 4]> {
    if !has(sector, 510, &[0x55, 0xaa]) {
        return None;
    }
    let entry = |at: usize| {
        let raw: [u8; 16] = super::field::array(sector, at)?;
        let [flag, _, _, _, kind, ..] = raw;
        Some(Entry {
            flag,
            kind,
            start: le32(&raw, 8)?,
            sectors: le32(&raw, 12)?,
        })
    };
    Some([entry(446)?, entry(462)?, entry(478)?, entry(494)?])
}

/// Reads the record; `None` when the first sector is none.
///
/// A boot sector of a FAT or NTFS volume ends in `55 AA` too. So every flag must be 0 or 0x80, and
/// where `filesystem` says that the sector begins one, every entry must also make sense: lie on
/// the disk, behind the record, and apart from the others.
///
/// # Errors
/// `Host`/`io` when reading fails.
pub(crate) fn read(disk: &dyn Storage, sector_size: u64, filesystem: bool) -> Result<Option<Mbr>> {
    let Some(sector) = read_range(disk, 0, 512)? else {
        return Ok(None);
    };
    let Some(primary) = entries(&sector) else {
        return Ok(None);
    };
    let plausible = primary.iter().all(|entry| matches!(entry.flag, 0 | 0x80));
    let sectors = disk.len().checked_div(sector_size).unwrap_or(0);
    if !plausible || (filesystem && !certain(&primary, sectors)) {
        return Ok(None);
    }
    let signature = le32(&sector, 440).unwrap_or(0);
    let mut mbr = Mbr {
        id: (signature != 0).then(|| format!("{signature:08x}")),
        parts: Vec::new(),
        protective: primary
            .iter()
            .any(|entry| entry.used() && entry.kind == TYPE_GPT),
        damage: Vec::new(),
    };
    for (number, entry) in (1..).zip(&primary) {
        if entry.used() && !entry.extended() {
            mbr.push(number, 0, *entry, sector_size);
        }
    }
    for entry in primary.iter().filter(|entry| entry.extended()) {
        mbr.chain(disk, sector_size, *entry)?;
    }
    Ok(Some(mbr))
}

/// True when the entries are beyond doubt a partition table.
fn certain(entries: &[Entry; 4], sectors: u64) -> bool {
    let mut ranges: Vec<(u64, u64)> = entries
        .iter()
        .filter(|entry| entry.used())
        .map(|entry| {
            let start = u64::from(entry.start);
            (start, start.saturating_add(u64::from(entry.sectors)))
        })
        .collect();
    ranges.sort_unstable();
    let apart = ranges
        .iter()
        .zip(ranges.iter().skip(1))
        .all(|(before, after)| before.1 <= after.0);
    let inside = ranges
        .iter()
        .all(|(start, end)| *start > 0 && *end <= sectors);
    !ranges.is_empty() && apart && inside
}

impl Mbr {
    /// Adds a partition whose start is relative to sector `base`.
    fn push(&mut self, number: u32, base: u64, entry: Entry, sector_size: u64) {
        let start = base.saturating_add(u64::from(entry.start));
        self.parts.push(Part {
            number,
            start: start.saturating_mul(sector_size),
            len: u64::from(entry.sectors).saturating_mul(sector_size),
            uuid: self.id.as_ref().map(|id| format!("{id}-{number:02x}")),
            kind: format!("0x{:02x}", entry.kind),
            label: None,
            bootable: entry.flag == 0x80,
        });
    }

    /// Follows the chain of extended boot records inside one container. Links count from the
    /// container's start, partitions from their own record.
    fn chain(&mut self, disk: &dyn Storage, sector_size: u64, container: Entry) -> Result<()> {
        let first = u64::from(container.start);
        let mut seen = Vec::new();
        let mut at = first;
        let mut number = self.next_logical();
        loop {
            if seen.contains(&at) || seen.len() >= MAX_LOGICAL {
                self.damage.push(format!(
                    "the chain of logical partitions loops at sector {at}"
                ));
                return Ok(());
            }
            seen.push(at);
            let record = match at.checked_mul(sector_size) {
                Some(offset) => read_range(disk, offset, 512)?,
                None => None,
            };
            let Some(found) = record.as_deref().and_then(entries) else {
                self.damage.push(format!(
                    "the chain of logical partitions breaks at sector {at}: no boot record is there"
                ));
                return Ok(());
            };
            for entry in data_entries(&found, at, container) {
                self.push(number, at, entry, sector_size);
                number = number.saturating_add(1);
            }
            match found.iter().find(|entry| entry.extended()) {
                Some(link) => at = first.saturating_add(u64::from(link.start)),
                None => return Ok(()),
            }
        }
    }

    fn next_logical(&self) -> u32 {
        let last = self.parts.iter().map(|part| part.number).max();
        last.unwrap_or(0).max(4).saturating_add(1)
    }
}

/// The partitions of one extended boot record. Its third and fourth entry are unused by the
/// format; OS/2 kept sizes there, so the kernel takes them only when they lie in the container.
fn data_entries(found: &[Entry; 4], at: u64, container: Entry) -> impl Iterator<Item = Entry> {
    let from = u64::from(container.start);
    let to = from.saturating_add(u64::from(container.sectors));
    found
        .iter()
        .copied()
        .enumerate()
        .filter(move |(index, entry)| {
            let start = at.saturating_add(u64::from(entry.start));
            let end = start.saturating_add(u64::from(entry.sectors));
            *index < 2 || (start >= from && end <= to)
        })
        .map(|(_, entry)| entry)
        .filter(|entry| entry.used() && !entry.extended())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::volume::sample::Bytes;

    /// Writes a boot record with the given entries at a sector.
    fn record(disk: &mut [u8], sector: usize, entries: &[(u8, u8, u32, u32)]) {
        let at = sector * 512;
        for (index, (flag, kind, start, sectors)) in entries.iter().enumerate() {
            let entry = &mut disk[at + 446 + index * 16..][..16];
            entry[0] = *flag;
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..16].copy_from_slice(&sectors.to_le_bytes());
        }
        disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
    }

    #[test]
    fn a_looping_chain_ends_and_is_reported() {
        let mut disk = vec![0; 1 << 20];
        record(&mut disk, 0, &[(0, 0x05, 64, 1000)]);
        record(&mut disk, 64, &[(0, 0x83, 1, 8), (0, 0x05, 100, 50)]);
        record(&mut disk, 164, &[(0, 0x83, 1, 8), (0, 0x05, 0, 50)]);
        let mbr = read(&Bytes::new(disk), 512, false).unwrap().unwrap();
        let numbers: Vec<u32> = mbr.parts.iter().map(|part| part.number).collect();
        assert_eq!(numbers, [5, 6]);
        assert!(mbr.damage[0].contains("loops at sector 64"), "{mbr:?}");
    }

    #[test]
    fn a_chain_that_leaves_the_disk_keeps_what_came_before() {
        let mut disk = vec![0; 1 << 20];
        record(&mut disk, 0, &[(0x80, 0x83, 8, 8), (0, 0x0f, 64, 1000)]);
        record(
            &mut disk,
            64,
            &[(0, 0x83, 1, 8), (0, 0x05, 0xffff_0000, 50)],
        );
        let mbr = read(&Bytes::new(disk), 512, false).unwrap().unwrap();
        assert_eq!(mbr.parts.len(), 2);
        assert!(mbr.parts[0].bootable);
        assert!(mbr.damage[0].contains("breaks"), "{mbr:?}");
    }

    #[test]
    fn a_flag_that_is_no_flag_means_no_table() {
        let mut disk = vec![0; 1 << 20];
        record(&mut disk, 0, &[(0x20, 0x83, 8, 8)]);
        assert!(read(&Bytes::new(disk), 512, false).unwrap().is_none());
    }
}
