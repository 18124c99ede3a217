// SPDX-License-Identifier: Apache-2.0
//! The headers of files that keep grains: hosted (VMware, "Virtual Disk Format 5.0", "Hosted Sparse
//! Extent Header"), ESX's own ("ESX Server Sparse Extent Header") and the space-efficient one, which
//! is known from QEMU only (block/vmdk.c, `VMDKSESparseConstHeader`). Numbers are little-endian.

use super::descriptor::unsupported;
use crate::disk::{SECTOR, Storage, read_padded};
use crate::error::{Error, Result};

/// Magic of a hosted sparse file.
pub(super) const HOSTED: [u8; 4] = *b"KDMV";
/// Magic of a sparse file of an ESX server.
const COWD: [u8; 4] = *b"COWD";
/// Magic of a space-efficient sparse file.
const SESPARSE: u64 = 0xcafe_babe;
const SESPARSE_VOLATILE: u64 = 0xcafe_cafe;
/// The directory stands at the end, behind a copy of the header.
const AT_END: u64 = u64::MAX;

/// Bits of a hosted header's flags.
const NEWLINES: u32 = 1;
const ZEROED_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;

/// The largest grain, sectors: VMware makes 128, QEMU accepts more than anybody writes.
const LARGEST_GRAIN: u64 = 4096;
/// The largest disk, sectors: 64 TiB, above VMware's 62.
const LARGEST: u64 = (64 << 40) / SECTOR as u64;

/// How the tables of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entries {
    /// 32 bits: sectors; 1 is a grain of zeros where that is on.
    Sectors { zeroed: bool },
    /// 64 bits with a type in front; where grains and tables begin, sectors.
    Typed { tables: u64, grains: u64 },
}

/// What a header says. Lengths and places in sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) capacity: u64,
    pub(super) grain: u64,
    /// Entries of a table.
    pub(super) per_table: u64,
    pub(super) directory: u64,
    /// Entries of the directory.
    pub(super) tables: u64,
    pub(super) entries: Entries,
    pub(super) compressed: bool,
    pub(super) markers: bool,
    /// The embedded descriptor: place and length.
    pub(super) descriptor: Option<(u64, u64)>,
    /// It was not closed.
    pub(super) unclean: bool,
}

pub(super) fn bad(what: &str, at: u64) -> Error {
    Error::corrupt("vmdk", format!("the VMDK is damaged: {what}"))
        .at(at)
        .hint("copy it again from its source; try qemu-img check on a copy")
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    let four = at.checked_add(4).and_then(|end| bytes.get(at..end));
    let four = four.and_then(|four| <[u8; 4]>::try_from(four).ok());
    four.map_or(0, u32::from_le_bytes)
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at.saturating_add(4))) << 32
}

/// True for a file that begins as one of those that keep grains.
pub(super) fn is_sparse(head: &[u8]) -> bool {
    head.starts_with(&HOSTED) || head.starts_with(&COWD) || le64(head, 0) == SESPARSE
}

/// Reads the header of a file.
///
/// # Errors
/// `Corrupt`/`vmdk`, `Unsupported`/`vmdk-unsupported`, `Host`/`io`.
pub(super) fn read(file: &dyn Storage) -> Result<Header> {
    let mut head = vec![0; SECTOR];
    read_padded(file, &mut head, 0)?;
    let header = if head.starts_with(&HOSTED) {
        hosted(file, &head)?
    } else if head.starts_with(&COWD) {
        cowd(&head)
    } else if le64(&head, 0) == SESPARSE {
        se_sparse(file, &head)?
    } else {
        return Err(bad("a sparse extent's file begins with no known header", 0));
    };
    header.check(file)?;
    Ok(header)
}

fn hosted(file: &dyn Storage, head: &[u8]) -> Result<Header> {
    let first = hosted_fields(head, 0)?;
    if first.directory != AT_END {
        return Ok(first);
    }
    // Footer marker, footer, end-of-stream marker: a sector each.
    let sectors = file.len().checked_div(SECTOR as u64).unwrap_or(0);
    let place = sectors.saturating_sub(2).saturating_mul(SECTOR as u64);
    let mut foot = vec![0; SECTOR];
    read_padded(file, &mut foot, place)?;
    if !foot.starts_with(&HOSTED) {
        return Err(bad(
            "its footer is missing: the file is cut short or was not completed",
            place,
        ));
    }
    let footer = hosted_fields(&foot, place)?;
    if footer.directory == AT_END || footer.capacity != first.capacity {
        return Err(bad("its footer contradicts its header", place));
    }
    Ok(Header {
        descriptor: first.descriptor,
        ..footer
    })
}

fn hosted_fields(head: &[u8], at: u64) -> Result<Header> {
    let version = le32(head, 4);
    if !(1..=3).contains(&version) {
        return Err(unsupported(&format!("is of version {version}")).at(at));
    }
    let flags = le32(head, 8);
    // A copy as text turns these four into something else.
    if flags & NEWLINES != 0 && head.get(73..77) != Some(b"\n \r\n".as_slice()) {
        return Err(bad(
            "line ends were converted: it was copied as text",
            at.saturating_add(73),
        ));
    }
    let algorithm = head.get(77).copied().unwrap_or(0);
    let compressed = flags & COMPRESSED != 0;
    if compressed && algorithm != 1 {
        return Err(unsupported("is compressed by another method than deflate").at(at));
    }
    let (capacity, grain) = (le64(head, 12), le64(head, 20));
    let per_table = u64::from(le32(head, 44));
    let covered = grain.checked_mul(per_table);
    let covered = covered.filter(|covered| *covered > 0);
    let covered = covered.ok_or_else(|| bad("the sizes in its header make no sense", at))?;
    let (place, len) = (le64(head, 28), le64(head, 36));
    Ok(Header {
        capacity,
        grain,
        per_table,
        directory: le64(head, 56),
        tables: capacity.div_ceil(covered),
        entries: Entries::Sectors {
            zeroed: flags & ZEROED_GRAINS != 0,
        },
        compressed,
        markers: flags & MARKERS != 0,
        descriptor: (place != 0 && len != 0).then_some((place, len)),
        unclean: head.get(72).copied() == Some(1),
    })
}

fn cowd(head: &[u8]) -> Header {
    Header {
        capacity: u64::from(le32(head, 12)),
        grain: u64::from(le32(head, 16)),
        per_table: 4096,
        directory: u64::from(le32(head, 20)),
        tables: u64::from(le32(head, 24)),
        entries: Entries::Sectors { zeroed: false },
        compressed: false,
        markers: false,
        descriptor: None,
        unclean: false,
    }
}

fn se_sparse(file: &dyn Storage, head: &[u8]) -> Result<Header> {
    let known = le64(head, 8) == 0x0000_0002_0000_0001 && le64(head, 40) == 0;
    let (grain, table) = (le64(head, 24), le64(head, 32));
    if !known || grain != 8 || table != 64 {
        return Err(unsupported(
            "is a space-efficient one of an unknown version",
        ));
    }
    let mut changing = vec![0; SECTOR];
    let place = le64(head, 80).saturating_mul(SECTOR as u64);
    read_padded(file, &mut changing, place)?;
    if le64(&changing, 0) != SESPARSE_VOLATILE {
        return Err(bad("its second header is none", place));
    }
    if le64(&changing, 24) != 0 {
        let what = "has a journal that was not replayed: it was not closed";
        return Err(unsupported(what).at(place));
    }
    let entries = SECTOR as u64 / 8;
    Ok(Header {
        capacity: le64(head, 16),
        grain,
        per_table: table.saturating_mul(entries),
        directory: le64(head, 128),
        tables: le64(head, 136).saturating_mul(entries),
        entries: Entries::Typed {
            tables: le64(head, 144),
            grains: le64(head, 192),
        },
        compressed: false,
        markers: false,
        descriptor: None,
        unclean: false,
    })
}

impl Header {
    /// Bytes of a table's entry, and of the directory's.
    pub(super) fn width(&self) -> u64 {
        match self.entries {
            Entries::Sectors { .. } => 4,
            Entries::Typed { .. } => 8,
        }
    }

    fn check(&self, file: &dyn Storage) -> Result<()> {
        let sane = self.capacity > 0
            && self.capacity <= LARGEST
            && self.grain.is_power_of_two()
            && self.grain <= LARGEST_GRAIN
            && (1..=4096).contains(&self.per_table);
        let covered = self
            .grain
            .checked_mul(self.per_table)
            .and_then(|each| each.checked_mul(self.tables));
        if !sane || covered.is_none_or(|covered| covered < self.capacity) {
            return Err(bad("the sizes in its header make no sense", 0));
        }
        let start = self.directory.checked_mul(SECTOR as u64);
        let len = self.tables.checked_mul(self.width());
        let end = start
            .zip(len)
            .and_then(|(start, len)| start.checked_add(len));
        if end.is_none_or(|end| end > file.len()) {
            return Err(bad(
                "its grain directory leaves the file",
                start.unwrap_or(0),
            ));
        }
        if self.unclean {
            tracing::warn!("the VMDK was not closed: what was written last may be missing");
        }
        Ok(())
    }
}
