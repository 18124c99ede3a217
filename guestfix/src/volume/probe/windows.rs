// SPDX-License-Identifier: Apache-2.0
//! Filesystems of Windows and of firmware: FAT, exFAT, NTFS, BitLocker.

use super::{Probe, content};
use crate::error::Result;
use crate::volume::Content;
use crate::volume::field::{has, label, label_utf16, le16, le32, le64};

/// Root directories are searched for a label this far.
const MAX_DIRECTORY: usize = 64 << 10;

/// The parts of a FAT boot sector that decide what it is and where its root directory lies
/// (Microsoft FAT Specification, section 3).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fat {
    /// Bytes per sector, 512..=4096.
    pub(crate) sector: u64,
    /// Sectors before the first FAT.
    pub(crate) reserved: u64,
    /// Bytes per cluster.
    cluster: u64,
    /// Sectors of all FATs together.
    fats: u64,
    /// Entries of the fixed root directory; 0 on FAT32.
    root_entries: u64,
    /// First cluster of the root directory on FAT32.
    root_cluster: u64,
    /// Clusters of data.
    clusters: u64,
    /// The volume's serial number.
    serial: u32,
    /// Sector of the FSInfo structure on FAT32, else 0.
    pub(crate) fsinfo: u64,
}

impl Fat {
    /// Reads a boot sector; `None` when it is none.
    pub(crate) fn parse(boot: &[u8]) -> Option<Self> {
        let at8 = |at: usize| boot.get(at).copied();
        let (jump, per_cluster, copies, media) = (at8(0)?, at8(13)?, at8(16)?, at8(21)?);
        let sector = le16(boot, 11)?;
        let reserved = le16(boot, 14)?;
        let small = le16(boot, 22)?;
        let fat32 = small == 0;
        let plausible = matches!(jump, 0xeb | 0xe9)
            && sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && matches!(copies, 1 | 2)
            && (media == 0xf0 || media >= 0xf8)
            && has(boot, 510, &[0x55, 0xaa])
            && (has(boot, 54, b"FAT") || has(boot, 82, b"FAT"));
        if !plausible {
            return None;
        }
        let fat_sectors = if fat32 {
            le32(boot, 36)?
        } else {
            u32::from(small)
        };
        let fats = u64::from(copies).saturating_mul(u64::from(fat_sectors));
        let root_entries = u64::from(le16(boot, 17)?);
        let total = match le16(boot, 19)? {
            0 => u64::from(le32(boot, 32)?),
            small => u64::from(small),
        };
        let clusters = total
            .saturating_sub(u64::from(reserved))
            .saturating_sub(fats)
            .saturating_sub(root_entries.div_ceil(u64::from(sector / 32)))
            .checked_div(u64::from(per_cluster))?;
        Some(Self {
            sector: u64::from(sector),
            reserved: u64::from(reserved),
            cluster: u64::from(sector).saturating_mul(u64::from(per_cluster)),
            fats,
            root_entries,
            clusters,
            root_cluster: if fat32 { u64::from(le32(boot, 44)?) } else { 0 },
            serial: le32(boot, if fat32 { 67 } else { 39 })?,
            fsinfo: if fat32 { u64::from(le16(boot, 48)?) } else { 0 },
        })
    }

    /// Width of a FAT entry: 12, 16 or 32. By the specification the number of clusters decides.
    pub(crate) fn bits(&self) -> u32 {
        match self.clusters {
            _ if self.root_cluster != 0 => 32,
            0..4085 => 12,
            _ => 16,
        }
    }

    /// Where the root directory (its first cluster on FAT32) lies, and how long it is.
    fn root(&self) -> Option<(u64, usize)> {
        let behind_fats = self
            .reserved
            .checked_add(self.fats)?
            .checked_mul(self.sector)?;
        let (start, len) = if self.root_cluster == 0 {
            (behind_fats, self.root_entries.checked_mul(32)?)
        } else {
            let skip = self
                .root_cluster
                .checked_sub(2)?
                .checked_mul(self.cluster)?;
            (behind_fats.checked_add(skip)?, self.cluster)
        };
        Some((start, usize::try_from(len).ok()?.min(MAX_DIRECTORY)))
    }
}

/// FAT 12, 16 and 32. The label is the root directory's volume entry, as blkid and the guest's
/// by-label links take it; the copy in the boot sector is often stale.
pub(super) fn fat(probe: &Probe<'_>) -> Result<Option<Content>> {
    let Some(fat) = Fat::parse(&probe.head) else {
        return Ok(None);
    };
    let root = match fat.root() {
        Some((start, len)) => probe.read(start, len)?.unwrap_or_default(),
        None => Vec::new(),
    };
    Ok(Some(content("vfat", serial(fat.serial), fat_label(&root))))
}

/// `XXXX-XXXX`, the notation of DOS.
fn serial(serial: u32) -> Option<String> {
    (serial != 0).then(|| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff))
}

/// The volume entry: attribute 0x08 without being a long name (0x0f); 0xe5 marks a deleted entry,
/// 0 the end (FAT Specification, section 6).
fn fat_label(directory: &[u8]) -> Option<String> {
    for entry in directory.chunks_exact(32) {
        match (entry.first()?, entry.get(11)?) {
            (0, _) => return None,
            (0xe5, _) => {}
            (_, attributes) if attributes & 0x3f != 0x0f && attributes & 0x18 == 0x08 => {
                return label(entry, 0, 11);
            }
            _ => {}
        }
    }
    None
}

/// exFAT: name at 3, cluster heap at 88, root cluster at 96, serial at 100, shifts at 108 and 109;
/// directory entry 0x83 is the label (Microsoft exFAT specification, sections 3.1 and 7.3).
pub(super) fn exfat(probe: &Probe<'_>) -> Result<Option<Content>> {
    let boot = &probe.head;
    if !has(boot, 3, b"EXFAT   ") {
        return Ok(None);
    }
    let root = match exfat_root(boot) {
        Some((start, len)) => probe.read(start, len)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let name = root
        .chunks_exact(32)
        .find(|entry| entry.first() == Some(&0x83))
        .and_then(|entry| {
            let units = usize::from(*entry.get(1)?).min(11);
            label_utf16(entry, 2, units.checked_mul(2)?)
        });
    let id = le32(boot, 100).and_then(serial);
    Ok(Some(content("exfat", id, name)))
}

fn exfat_root(boot: &[u8]) -> Option<(u64, usize)> {
    let sector_shift = u32::from(*boot.get(108)?);
    let cluster_shift = sector_shift.checked_add(u32::from(*boot.get(109)?))?;
    if !(9..=12).contains(&sector_shift) || cluster_shift > 25 {
        return None;
    }
    let heap = u64::from(le32(boot, 88)?).checked_mul(1_u64.checked_shl(sector_shift)?)?;
    let cluster = 1_u64.checked_shl(cluster_shift)?;
    let skip = u64::from(le32(boot, 96)?)
        .checked_sub(2)?
        .checked_mul(cluster)?;
    let len = usize::try_from(cluster).ok()?.min(MAX_DIRECTORY);
    Some((heap.checked_add(skip)?, len))
}

/// The parts of an NTFS boot sector that lead to its file table: bytes per sector at 11, sectors
/// per cluster at 13, the $MFT's cluster at 48, the size of its records at 64 (ntfs-3g,
/// include/ntfs-3g/layout.h; linux-ntfs documentation, "$Boot").
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ntfs {
    /// Where the $MFT begins, bytes.
    pub(crate) mft: u64,
    /// Bytes per record, 512..=65536.
    pub(crate) record: u64,
    /// Bytes per cluster.
    pub(crate) cluster: u64,
}

impl Ntfs {
    /// Reads a boot sector; `None` when it is none.
    pub(crate) fn parse(boot: &[u8]) -> Option<Self> {
        if !has(boot, 3, b"NTFS    ") {
            return None;
        }
        let sector = u64::from(le16(boot, 11)?);
        let per_cluster = *boot.get(13)?;
        // Above 0x80 it is a negative power of two (clusters over 64 KiB).
        let cluster = if per_cluster > 0x80 {
            sector.checked_shl(u32::from(per_cluster.wrapping_neg()))?
        } else {
            sector.checked_mul(u64::from(per_cluster))?
        };
        let size = i8::from_le_bytes([*boot.get(64)?]);
        let record = if size < 0 {
            1_u64.checked_shl(u32::from(size.unsigned_abs()))?
        } else {
            cluster.checked_mul(u64::from(size.unsigned_abs()))?
        };
        let mft = le64(boot, 48)?.checked_mul(cluster)?;
        (512..=65536).contains(&record).then_some(Self {
            mft,
            record,
            cluster,
        })
    }

    /// Where one of the first file records lies, and its length. (The $MFT's own first run is far
    /// longer than the sixteen records with fixed numbers.)
    pub(crate) fn place(&self, number: u64) -> Option<(u64, usize)> {
        let offset = self.mft.checked_add(self.record.checked_mul(number)?)?;
        Some((offset, usize::try_from(self.record).ok()?))
    }

    /// Where the unnamed data (attribute 0x80) of a file record begins, when it is not resident:
    /// the first pair of its run list at 32 of the attribute, lengths of both numbers in one byte.
    pub(crate) fn first_run(&self, record: &[u8]) -> Option<u64> {
        let at = attribute(record, 0x80)?;
        let non_resident = *record.get(at.checked_add(8)?)? == 1;
        let list = usize::from(le16(record, at.checked_add(32)?)?);
        let list = record
            .get(at.checked_add(list)?..)
            .filter(|_| non_resident)?;
        let widths = *list.first()?;
        let from = usize::from(widths & 0xf).checked_add(1)?;
        let to = from.checked_add(usize::from(widths >> 4).min(8))?;
        let mut number = [0; 8];
        for (digit, byte) in number.iter_mut().zip(list.get(from..to)?) {
            *digit = *byte;
        }
        u64::from_le_bytes(number).checked_mul(self.cluster)
    }
}

/// Where a record's first attribute of that type begins.
fn attribute(record: &[u8], want: u32) -> Option<usize> {
    if !has(record, 0, b"FILE") {
        return None;
    }
    let mut at = usize::from(le16(record, 20)?);
    loop {
        let kind = le32(record, at)?;
        let len = usize::try_from(le32(record, at.checked_add(4)?)?).ok()?;
        if kind == want {
            return Some(at);
        }
        if kind == 0xffff_ffff || len < 24 {
            return None;
        }
        at = at.checked_add(len)?;
    }
}

/// NTFS: serial at 72 as 16 hex digits; the label is attribute 0x60 of record 3, $Volume.
pub(super) fn ntfs(probe: &Probe<'_>) -> Result<Option<Content>> {
    if !has(&probe.head, 3, b"NTFS    ") {
        return Ok(None);
    }
    let id = le64(&probe.head, 72).map(|serial| format!("{serial:016X}"));
    let record = match Ntfs::parse(&probe.head).and_then(|ntfs| ntfs.place(3)) {
        Some((offset, len)) => probe.read(offset, len)?,
        None => None,
    };
    let name = record.as_deref().and_then(volume_name);
    Ok(Some(content("ntfs", id, name)))
}

/// The flags of $VOLUME_INFORMATION (attribute 0x70) in record 3: bit 0 is "dirty".
pub(crate) fn volume_flags(record: &[u8]) -> Option<u16> {
    let at = attribute(record, 0x70)?;
    let value = usize::from(le16(record, at.checked_add(20)?)?);
    le16(record, at.checked_add(value)?.checked_add(10)?)
}

/// The resident value of a record's $VOLUME_NAME attribute.
fn volume_name(record: &[u8]) -> Option<String> {
    let at = attribute(record, 0x60)?;
    let value = usize::from(le16(record, at.checked_add(20)?)?);
    let bytes = usize::try_from(le32(record, at.checked_add(16)?)?).ok()?;
    label_utf16(record, at.checked_add(value)?, bytes)
}

/// BitLocker: `-FVE-FS-` in the place of the filesystem's name (libbde, "BitLocker Drive
/// Encryption (BDE) format", volume header).
pub(super) fn bitlocker(probe: &Probe<'_>) -> Result<Option<Content>> {
    Ok(has(&probe.head, 3, b"-FVE-FS-").then(|| content("bitlocker", None, None)))
}
