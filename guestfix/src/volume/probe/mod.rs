// SPDX-License-Identifier: Apache-2.0
//! What a volume holds, told by magic numbers. Identifiers are written as blkid writes them, so
//! that they match the guest's own fstab and boot entries.

mod linux;
mod stack;
mod windows;

pub(crate) use linux::swap_signature;
pub(crate) use stack::md_places;
pub(crate) use windows::{Fat, Ntfs, volume_flags};

use super::Content;
use super::field::{has, label, read, read_head};
use crate::disk::Storage;
use crate::error::Result;

/// Reaches over the btrfs superblock at 64 KiB, the farthest fixed place but one.
const HEAD: usize = 68 << 10;

/// A volume is `zeros` when this much of its start is.
const ZEROS: usize = 1 << 20;

/// A volume while it is looked at: its first bytes at hand, the rest on demand.
struct Probe<'a> {
    head: Vec<u8>,
    storage: &'a dyn Storage,
}

impl Probe<'_> {
    /// Bytes anywhere; `None` outside the volume.
    fn read(&self, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        read(self.storage, offset, len)
    }
}

type Recogniser = fn(&Probe<'_>) -> Result<Option<Content>>;

/// Containers before filesystems: an array member or a LUKS header may leave an old filesystem's
/// magic standing behind it, never the other way round. Array members first of all: with the
/// superblock at the end, a mirrored member begins as what the array holds.
const RECOGNISERS: [Recogniser; 14] = [
    stack::md,
    stack::luks,
    stack::lvm,
    windows::bitlocker,
    linux::swap,
    linux::xfs,
    linux::btrfs,
    linux::ext,
    linux::squashfs,
    windows::ntfs,
    windows::exfat,
    windows::fat,
    iso9660,
    zeros,
];

/// Tells what a volume holds. `unknown` and `zeros` are answers, not errors.
///
/// # Errors
/// `Host`/`io` when reading fails.
pub fn probe(storage: &dyn Storage) -> Result<Content> {
    let probe = Probe {
        head: read_head(storage, HEAD)?,
        storage,
    };
    for recognise in RECOGNISERS {
        if let Some(content) = recognise(&probe)? {
            return Ok(content);
        }
    }
    Ok(content("unknown", None, None))
}

/// True when the first sector begins a FAT, exFAT or NTFS filesystem: those end in `55 AA` as a
/// master boot record does.
///
/// # Errors
/// `Host`/`io` when reading fails.
pub(crate) fn is_boot_sector(storage: &dyn Storage) -> Result<bool> {
    let head = read_head(storage, 512)?;
    Ok(Fat::parse(&head).is_some()
        || has(&head, 3, b"NTFS    ")
        || has(&head, 3, b"EXFAT   ")
        || has(&head, 3, b"-FVE-FS-"))
}

fn content(kind: &str, uuid: Option<String>, label: Option<String>) -> Content {
    Content {
        kind: kind.to_owned(),
        uuid,
        label,
    }
}

/// ISO 9660 (ECMA-119, 8.4): the primary volume descriptor in sector 16 of 2048 bytes; identifier
/// at 1, volume name at 40, creation at 813 and modification at 830 as 16 digits.
fn iso9660(probe: &Probe<'_>) -> Result<Option<Content>> {
    let descriptor = probe.head.get(32768..34816).unwrap_or_default();
    if !has(descriptor, 0, b"\x01CD001") {
        return Ok(None);
    }
    let date = |at| label(descriptor, at, 16).filter(|d| d.bytes().any(|byte| byte != b'0'));
    let uuid = date(830).or_else(|| date(813)).map(|date| dashed(&date));
    Ok(Some(content("iso9660", uuid, label(descriptor, 40, 32))))
}

/// `2024010203040506` -> `2024-01-02-03-04-05-06`.
fn dashed(date: &str) -> String {
    let mut out = String::new();
    for (index, digit) in date.chars().enumerate() {
        if index >= 4 && index % 2 == 0 {
            out.push('-');
        }
        out.push(digit);
    }
    out
}

fn zeros(probe: &Probe<'_>) -> Result<Option<Content>> {
    if probe.head.is_empty() || probe.head.iter().any(|byte| *byte != 0) {
        return Ok(None);
    }
    let start = read_head(probe.storage, ZEROS)?;
    Ok(start
        .iter()
        .all(|byte| *byte == 0)
        .then(|| content("zeros", None, None)))
}

#[cfg(test)]
mod tests;
