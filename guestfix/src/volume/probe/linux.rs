// SPDX-License-Identifier: Apache-2.0
//! Filesystems and swap of Linux.

use super::{Probe, content};
use crate::error::Result;
use crate::volume::Content;
use crate::volume::field::{has, label, le16, le32, uuid};

/// Start of the ext superblock; magic 0xEF53 at 0x38 of it, feature words from 0x5C, UUID at 0x68,
/// label at 0x78 (kernel documentation, filesystems/ext4/super.rst).
const EXT: usize = 1024;

/// compat: has_journal.
const EXT_JOURNAL: u32 = 0x4;
/// incompat: this is a journal device, no filesystem.
const EXT_JOURNAL_DEVICE: u32 = 0x8;
/// incompat bits that ext2 and ext3 know: filetype, recover, journal_dev, meta_bg.
const EXT3_INCOMPAT: u32 = 0x1e;
/// ro_compat bits that ext2 and ext3 know: sparse_super, large_file, btree_dir.
const EXT3_RO_COMPAT: u32 = 0x7;

pub(super) fn ext(probe: &Probe<'_>) -> Result<Option<Content>> {
    let sb = probe.head.get(EXT..).unwrap_or_default();
    let features = (le32(sb, 0x5c), le32(sb, 0x60), le32(sb, 0x64));
    let (Some(compat), Some(incompat), Some(ro_compat)) = features else {
        return Ok(None);
    };
    if le16(sb, 0x38) != Some(0xef53) || incompat & EXT_JOURNAL_DEVICE != 0 {
        return Ok(None);
    }
    let kind = if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
        "ext4"
    } else if compat & EXT_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    Ok(Some(content(kind, uuid(sb, 0x68), label(sb, 0x78, 16))))
}

/// XFS: `XFSB` at 0, UUID at 32, label at 108 (XFS Algorithms & Data Structures, "Superblocks").
pub(super) fn xfs(probe: &Probe<'_>) -> Result<Option<Content>> {
    let sb = &probe.head;
    Ok(has(sb, 0, b"XFSB").then(|| content("xfs", uuid(sb, 32), label(sb, 108, 12))))
}

/// Btrfs: superblock at 64 KiB; fsid at 0x20, magic at 0x40, label at 0x12b
/// (btrfs documentation, "On-disk format", superblock).
pub(super) fn btrfs(probe: &Probe<'_>) -> Result<Option<Content>> {
    let sb = probe.head.get(0x1_0000..).unwrap_or_default();
    let found = has(sb, 0x40, b"_BHRfS_M");
    Ok(found.then(|| content("btrfs", uuid(sb, 0x20), label(sb, 0x12b, 256))))
}

/// Squashfs 4: `hsqs` at 0, major version at 28 (kernel, fs/squashfs/squashfs_fs.h).
pub(super) fn squashfs(probe: &Probe<'_>) -> Result<Option<Content>> {
    let found = has(&probe.head, 0, b"hsqs") && le16(&probe.head, 28) == Some(4);
    Ok(found.then(|| content("squashfs", None, None)))
}

/// The signatures at the end of a swap area's first page: swap itself, and what suspend-to-disk
/// writes over it (kernel, include/linux/swap.h; kernel/power/swap.c; uswsusp; TuxOnIce).
pub(crate) const SWAP_SIGNATURES: [(&[u8], bool); 6] = [
    (b"SWAPSPACE2", false),
    (b"SWAP-SPACE", false),
    (b"S1SUSPEND", true),
    (b"S2SUSPEND", true),
    (b"ULSUSPEND", true),
    (b"LINHIB0001", true),
];

/// The page size whose last ten bytes hold a swap signature, and whether it means a hibernated
/// system. The page size is the guest's CPU's: 4 KiB to 64 KiB.
pub(crate) fn swap_signature(head: &[u8]) -> Option<(usize, bool)> {
    [4096_usize, 8192, 16384, 32768, 65536]
        .into_iter()
        .find_map(|page| {
            let at = page.checked_sub(10)?;
            let (_, hibernated) = SWAP_SIGNATURES
                .iter()
                .find(|(magic, _)| has(head, at, magic))?;
            Some((page, *hibernated))
        })
}

/// Swap: version at 1024, UUID at 1036, label at 1052 (union swap_header).
pub(super) fn swap(probe: &Probe<'_>) -> Result<Option<Content>> {
    if swap_signature(&probe.head).is_none() {
        return Ok(None);
    }
    let versioned = le32(&probe.head, 1024) == Some(1);
    let uuid = uuid(&probe.head, 1036).filter(|_| versioned);
    let label = label(&probe.head, 1052, 16).filter(|_| versioned);
    Ok(Some(content("swap", uuid, label)))
}
