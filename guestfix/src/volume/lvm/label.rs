// SPDX-License-Identifier: Apache-2.0
//! A physical volume's head: label, header and the areas that hold the group's metadata
//! (lvm2 source, lib/label/label.h and lib/format_text/layout.h).

use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::field::{array, has, le32, le64, read};

const SECTOR: u64 = 512;
/// Start value of LVM's checksum.
const INITIAL_CRC: u32 = 0xf597_a6cf;
/// `mda_header.magic`.
const MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// More metadata than this is no group's, bytes. LVM's own limit per area is 4 GiB, its default
/// area 1 MiB.
const MAX_TEXT: u64 = 16 << 20;
/// LVM writes two areas at most.
const MAX_AREAS: usize = 8;

/// What a physical volume says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Its id, 32 characters without dashes.
    pub(super) id: String,
    /// The texts found in its metadata areas.
    pub(super) texts: Vec<Vec<u8>>,
    /// Areas that could not be used, one clause each.
    pub(super) damage: Vec<String>,
}

/// CRC-32 (reflected, polynomial 0xedb88320) with LVM's start value and without the final
/// complement (lvm2 source, lib/misc/crc.c).
pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = INITIAL_CRC;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    crc
}

/// Reads a physical volume; `None` when it has no label.
///
/// # Errors
/// `Corrupt`/`lvm-label` when the label or header is damaged; `Host`/`io`.
pub(super) fn read_head(storage: &dyn Storage) -> Result<Option<Head>> {
    for sector in 0..4_u64 {
        let at = sector.saturating_mul(SECTOR);
        let Some(label) = read(storage, at, 512)? else {
            break;
        };
        if !has(&label, 0, b"LABELONE") || !has(&label, 24, b"LVM2 001") {
            continue;
        }
        let sound = le64(&label, 8) == Some(sector)
            && le32(&label, 16) == Some(crc(label.get(20..).unwrap_or_default()));
        if !sound {
            return Err(damaged("the label's checksum is wrong").at(at));
        }
        return header(storage, &label, at).map(Some);
    }
    Ok(None)
}

fn damaged(what: &str) -> Error {
    Error::corrupt("lvm-label", format!("a physical volume of LVM: {what}"))
}

fn header(storage: &dyn Storage, label: &[u8], sector: u64) -> Result<Head> {
    let bad = || damaged("its header is damaged").at(sector);
    let at = le32(label, 20)
        .and_then(|at| usize::try_from(at).ok())
        .ok_or_else(bad)?;
    let id = array::<32>(label, at).filter(|id| id.iter().all(u8::is_ascii_alphanumeric));
    let id = id.ok_or_else(bad)?;
    // Data areas up to a pair of zeros, then metadata areas up to another.
    let mut at = at.checked_add(40).ok_or_else(bad)?;
    let mut zeros = 0_u8;
    let mut areas = Vec::new();
    while zeros < 2 {
        let next = at.checked_add(8).ok_or_else(bad)?;
        let (start, size) = le64(label, at).zip(le64(label, next)).ok_or_else(bad)?;
        at = at.checked_add(16).ok_or_else(bad)?;
        match (start, zeros) {
            (0, _) => zeros = zeros.saturating_add(1),
            (_, 1) if areas.len() < MAX_AREAS => areas.push((start, size)),
            (_, 1) => return Err(bad()),
            _ => {}
        }
    }
    let mut head = Head {
        id: String::from_utf8_lossy(&id).into_owned(),
        texts: Vec::new(),
        damage: Vec::new(),
    };
    for (start, size) in areas {
        match area(storage, start, size)? {
            Ok(Some(text)) => head.texts.push(text),
            Ok(None) => {}
            Err(why) => head.damage.push(why),
        }
    }
    Ok(head)
}

type Area = std::result::Result<Option<Vec<u8>>, String>;

/// The text that a metadata area holds; none when it is unused.
fn area(storage: &dyn Storage, start: u64, size: u64) -> Result<Area> {
    let wrong = |what: &str| Ok(Err(format!("the metadata area at byte {start:#x} {what}")));
    let inside = start
        .checked_add(size)
        .is_some_and(|end| end <= storage.len());
    if !inside || size < SECTOR {
        return wrong("leaves the volume");
    }
    let Some(header) = read(storage, start, 512)? else {
        return wrong("leaves the volume");
    };
    let sound = le32(&header, 0) == Some(crc(header.get(4..).unwrap_or_default()))
        && has(&header, 4, MAGIC)
        && le32(&header, 20) == Some(1)
        && le64(&header, 24) == Some(start);
    if !sound {
        return wrong("has a damaged header");
    }
    let field = |at| le64(&header, at).unwrap_or(0);
    let (from, len) = (field(40), field(48));
    let (sum, flags) = (le32(&header, 56), le32(&header, 60).unwrap_or(0));
    // Bit 0: the area is set aside (`RAW_LOCN_IGNORED`).
    if from == 0 || len == 0 || flags & 1 != 0 {
        return Ok(Ok(None));
    }
    // The header gives the area's size once more, and the ring's end.
    let ring = field(32).min(size);
    if from < SECTOR || from >= ring || len > ring.saturating_sub(SECTOR) || len > MAX_TEXT {
        return wrong("points outside itself");
    }
    let text = ring_read(storage, start, ring, from, len)?;
    match text {
        Some(text) if sum == Some(crc(&text)) => Ok(Ok(Some(text))),
        Some(_) => wrong("holds metadata with a wrong checksum"),
        None => wrong("leaves the volume"),
    }
}

/// `len` bytes from `from` on; behind the area's end it goes on behind the header.
fn ring_read(
    storage: &dyn Storage,
    start: u64,
    ring: u64,
    from: u64,
    len: u64,
) -> Result<Option<Vec<u8>>> {
    let first = len.min(ring.saturating_sub(from));
    let rest = len.saturating_sub(first);
    let part = |at: u64, len: u64| {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        read(storage, start.saturating_add(at), len)
    };
    let Some(mut text) = part(from, first)? else {
        return Ok(None);
    };
    if rest > 0 {
        let Some(tail) = part(SECTOR, rest)? else {
            return Ok(None);
        };
        text.extend(tail);
    }
    Ok(Some(text))
}
