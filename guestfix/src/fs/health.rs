// SPDX-License-Identifier: Apache-2.0
//! How a filesystem was left, told from its head without repairing anything, and the places that
//! change as soon as a guest uses a volume again.

use serde::{Deserialize, Serialize};

use super::ext_super::{HAS_JOURNAL, RECOVER, SUPER, Super};
use super::ntfs_log;
use super::xfs_log::Log;
use crate::error::Result;
use crate::volume::Volume;
use crate::volume::field::{be16, be32, le16, le32, le64, read, read_head};
use crate::volume::probe::{Fat, Ntfs, md_places, swap_signature, volume_flags};

/// ro_compat of ext4: the orphan file holds entries (Linux 5.15, `EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT`).
const ORPHANS_PRESENT: u32 = 0x10000;

/// How a filesystem was left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsHealth {
    /// It was not unmounted: a journal is to be replayed or a dirty mark is set.
    pub dirty: bool,
    /// The filesystem itself recorded errors.
    pub errors: bool,
    /// A log is to be replayed that only the guest itself can replay (NTFS).
    #[serde(default)]
    pub unclean_log: bool,
    /// The guest's memory is saved on it (suspend to disk).
    pub hibernated: bool,
    /// The feature words in hexadecimal (`compat/incompat/ro_compat` for ext), which must not
    /// change by being mounted. Empty where unknown.
    pub features: String,
    /// For a person.
    pub detail: String,
}

/// Looks at a volume's head. `None` where nothing can be told cheaply.
///
/// # Errors
/// `Host`/`io` when reading fails; `Corrupt`/`ext4-superblock` when an ext superblock is damaged.
pub fn health(volume: &Volume) -> Result<Option<FsHealth>> {
    match volume.content.kind.as_str() {
        "ext2" | "ext3" | "ext4" => ext(volume).map(Some),
        "swap" => swap(volume).map(Some),
        "vfat" => fat(volume),
        "ntfs" => ntfs(volume),
        "xfs" => xfs(volume).map(Some),
        "btrfs" => btrfs(volume).map(Some),
        _ => Ok(None),
    }
}

/// Two feature bits are states that a mount clears, and are left out of the features:
/// `needs_recovery` and `orphan_present`.
///
/// `s_state` at 0x3A (1 clean, 2 errors), last mount at 0x2C, mount count at 0x34, error count at
/// 0x194 (kernel documentation, filesystems/ext4/super.rst).
fn ext(volume: &Volume) -> Result<FsHealth> {
    let sb = Super::read(volume.storage.as_ref())?;
    let [compat, incompat, ro_compat] = sb.features;
    let state = le16(&sb.raw, 0x3a).unwrap_or(0);
    let mounted = le32(&sb.raw, 0x2c).unwrap_or(0);
    let mounts = le16(&sb.raw, 0x34).unwrap_or(0);
    let errors = le32(&sb.raw, 0x194).unwrap_or(0);
    let recover = incompat & RECOVER != 0;
    // Without a journal the state word alone tells of a mount that never ended.
    let unclean = compat & HAS_JOURNAL == 0 && state & 1 == 0;
    Ok(FsHealth {
        dirty: recover || unclean,
        errors: state & 2 != 0 || errors > 0,
        unclean_log: false,
        hibernated: false,
        features: format!(
            "{compat:#x}/{:#x}/{:#x}",
            incompat & !RECOVER,
            ro_compat & !ORPHANS_PRESENT
        ),
        detail: format!(
            "state {state:#x}, journal {}, {errors} errors recorded, mounted {mounts} times, last at Unix time {mounted}",
            if recover { "to be replayed" } else { "empty" },
        ),
    })
}

fn swap(volume: &Volume) -> Result<FsHealth> {
    let head = read_head(volume.storage.as_ref(), 64 << 10)?;
    let hibernated = swap_signature(&head).is_some_and(|(_, hibernated)| hibernated);
    Ok(FsHealth {
        hibernated,
        detail: if hibernated {
            "holds the image of a suspended system".to_owned()
        } else {
            "no image of a suspended system".to_owned()
        },
        ..FsHealth::default()
    })
}

/// FAT16 and FAT32 keep "shut down cleanly" and "no errors" in FAT entry 1, as its highest and
/// second highest bit (Microsoft FAT Specification, section 4.1).
fn fat(volume: &Volume) -> Result<Option<FsHealth>> {
    let storage = volume.storage.as_ref();
    let Some(fat) = Fat::parse(&read_head(storage, 512)?) else {
        return Ok(None);
    };
    let Some(table) = read(storage, fat.reserved.saturating_mul(fat.sector), 8)? else {
        return Ok(None);
    };
    let (clean, sound) = match (fat.bits(), le16(&table, 2), le32(&table, 4)) {
        (16, Some(entry), _) => (entry & 0x8000 != 0, entry & 0x4000 != 0),
        (32, _, Some(entry)) => (entry & 0x0800_0000 != 0, entry & 0x0400_0000 != 0),
        _ => return Ok(None),
    };
    Ok(Some(FsHealth {
        dirty: !clean,
        errors: !sound,
        detail: format!("FAT{}, dirty mark {}", fat.bits(), u8::from(!clean)),
        ..FsHealth::default()
    }))
}

/// The dirty flag of $Volume, and whether the $LogFile is closed. Whether Windows is hibernated
/// stands in its files.
fn ntfs(volume: &Volume) -> Result<Option<FsHealth>> {
    let storage = volume.storage.as_ref();
    let boot = Ntfs::parse(&read_head(storage, 512)?);
    let Some((boot, (offset, len))) = boot.and_then(|ntfs| Some((ntfs, ntfs.place(3)?))) else {
        return Ok(None);
    };
    let record = read(storage, offset, len)?;
    let Some(flags) = record.and_then(|record| volume_flags(&record)) else {
        return Ok(None);
    };
    let log = match log_place(&boot, volume) {
        Some(place) => read(storage, place, ntfs_log::HEAD)?,
        None => None,
    };
    let unclean_log = !log.is_some_and(|head| ntfs_log::is_clean(&head));
    Ok(Some(FsHealth {
        dirty: flags & 1 != 0 || unclean_log,
        unclean_log,
        detail: format!(
            "volume flags {flags:#x}, log {}",
            if unclean_log {
                "to be replayed"
            } else {
                "closed"
            }
        ),
        ..FsHealth::default()
    }))
}

/// Where the $LogFile begins.
fn log_place(ntfs: &Ntfs, volume: &Volume) -> Option<u64> {
    let (offset, len) = ntfs.place(2)?;
    let record = read(volume.storage.as_ref(), offset, len).ok().flatten()?;
    ntfs.first_run(&record)
}

/// Version 5 has its feature words at 208 (compat), 212 (ro_compat), 216 (incompat), 220
/// (log_incompat); 4 has `features2` at 200 (XFS Algorithms & Data Structures, "Superblocks").
/// Whether the log is clean is not in the superblock, so `dirty` is not told.
fn xfs(volume: &Volume) -> Result<FsHealth> {
    let sb = read_head(volume.storage.as_ref(), 512)?;
    let version = be16(&sb, 100).unwrap_or(0);
    let word = |at: usize| be32(&sb, at).unwrap_or(0);
    Ok(FsHealth {
        features: format!(
            "{version:#x}/{:#x}/{:#x}/{:#x}/{:#x}",
            word(200),
            word(208),
            word(212),
            word(216)
        ),
        detail: format!("xfs version {}", version & 0xf),
        ..FsHealth::default()
    })
}

/// Superblock at 64 KiB: generation at 0x48, the log tree's root at 0x60 (zero without a log), the
/// feature words at 0xac (compat), 0xb4 (compat_ro), 0xbc (incompat)
/// (<https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>, "Superblock").
fn btrfs(volume: &Volume) -> Result<FsHealth> {
    let sb = read(volume.storage.as_ref(), 64 << 10, 4096)?.unwrap_or_default();
    let word = |at: usize| le64(&sb, at).unwrap_or(0);
    let log = word(0x60) != 0;
    Ok(FsHealth {
        dirty: log,
        features: format!("{:#x}/{:#x}/{:#x}", word(0xac), word(0xb4), word(0xbc)),
        detail: format!(
            "generation {}, log {}",
            word(0x48),
            if log { "to be replayed" } else { "empty" }
        ),
        ..FsHealth::default()
    })
}

/// The byte ranges of a volume that change when a guest mounts or uses it, as name, offset in the
/// volume and length. An undo compares them with what they were at the commit.
///
/// Ranges always lie in the volume. Where a head cannot be followed, its first 64 KiB stand in.
pub fn fingerprint_ranges(volume: &Volume) -> Vec<(String, u64, u64)> {
    let ranges = match volume.content.kind.as_str() {
        "ext2" | "ext3" | "ext4" => ext_ranges(volume),
        "xfs" => xfs_ranges(volume),
        // Primary superblock: its generation grows with every transaction.
        "btrfs" => vec![("superblock", 64 << 10, 4096)],
        "vfat" => fat_ranges(volume),
        "ntfs" => ntfs_ranges(volume),
        "swap" => swap_ranges(volume),
        // Label sector and the start of the metadata area, whose header names the newest text.
        "lvm2-pv" => vec![("label and metadata", 0, 1 << 20)],
        "md-member" => md_places(volume.len)
            .map(|place| ("superblock", place, 4096))
            .to_vec(),
        // Both LUKS headers are small; key slots do not change by use.
        "luks" => vec![("header", 0, 16384)],
        _ => vec![("head", 0, 64 << 10)],
    };
    ranges
        .into_iter()
        .filter_map(|(name, offset, len)| {
            let len = volume.len.checked_sub(offset)?.min(len);
            (len > 0).then(|| (name.to_owned(), offset, len))
        })
        .collect()
}

type Ranges = Vec<(&'static str, u64, u64)>;

/// The superblock changes with every mount; the journal's superblock when a log begins.
fn ext_ranges(volume: &Volume) -> Ranges {
    let mut ranges = vec![("superblock", SUPER.0, SUPER.1 as u64)];
    let storage = volume.storage.as_ref();
    let Ok(sb) = Super::read(storage) else {
        return ranges;
    };
    if let Ok(Some(runs)) = sb.journal(storage)
        && let Some(place) = runs.first().and_then(|run| sb.place(run.start))
    {
        ranges.push(("journal head", place, sb.block));
    }
    ranges
}

/// The log's head is where the next mount writes.
fn xfs_ranges(volume: &Volume) -> Ranges {
    let storage = volume.storage.as_ref();
    let mut ranges = vec![("superblock", 0, 512)];
    if let Some(log) = Log::of(&read_head(storage, 512).unwrap_or_default()) {
        let heads = log.head(storage).into_iter();
        ranges.extend(heads.map(|(offset, len)| ("log head", offset, len)));
    }
    ranges
}

/// Boot sector, FSInfo (free clusters) and the first FAT sector, which holds the dirty marks.
fn fat_ranges(volume: &Volume) -> Ranges {
    let boot = read_head(volume.storage.as_ref(), 512).unwrap_or_default();
    let Some(fat) = Fat::parse(&boot) else {
        return vec![("head", 0, 64 << 10)];
    };
    let mut ranges = vec![("boot sector", 0, fat.sector)];
    if fat.fsinfo != 0 {
        ranges.push(("FSInfo", fat.fsinfo.saturating_mul(fat.sector), fat.sector));
    }
    let table = fat.reserved.saturating_mul(fat.sector);
    ranges.push(("FAT", table, fat.sector));
    ranges
}

/// Boot sector, the records of $MFT, $MFTMirr, $LogFile and $Volume (dirty flag), and the restart
/// pages at the start of $LogFile, which mounting rewrites.
fn ntfs_ranges(volume: &Volume) -> Ranges {
    let storage = volume.storage.as_ref();
    let boot = read_head(storage, 512).unwrap_or_default();
    let Some(ntfs) = Ntfs::parse(&boot) else {
        return vec![("head", 0, 64 << 10)];
    };
    let mut ranges = vec![
        ("boot sector", 0, 512),
        ("$MFT", ntfs.mft, ntfs.record.saturating_mul(4)),
    ];
    if let Some(place) = log_place(&ntfs, volume) {
        ranges.push(("$LogFile", place, 8192));
    }
    ranges
}

fn swap_ranges(volume: &Volume) -> Ranges {
    let head = read_head(volume.storage.as_ref(), 64 << 10).unwrap_or_default();
    let page = swap_signature(&head).map_or(4096, |(page, _)| page as u64);
    vec![("header", 0, page)]
}

#[cfg(test)]
mod tests;
