// SPDX-License-Identifier: Apache-2.0
//! Features of a filesystem that the kernel of a node may not know: why it does not mount a sound
//! one.
//!
//! Bits and names are the kernel's (`fs/ext4/ext4.h`, `fs/xfs/libxfs/xfs_format.h`,
//! `include/uapi/linux/btrfs.h`), with the release that first mounted a filesystem with them.
#![deny(clippy::arithmetic_side_effects)]

use crate::volume::field::{be16, be32, le32, le64};

/// Bytes of a volume's head that [`newer_than`] looks at.
pub const HEAD: usize = (64 << 10) + 4096;

/// A release of Linux, major and minor number.
pub type Release = (u32, u32);

/// Every release may lack it: whoever builds the kernel decides, or it never was taken in.
const OPTIONAL: Release = (u32::MAX, 0);

/// A bit, its name and since when.
type Bit = (u32, &'static str, Release);

const EXT4_INCOMPAT: &[Bit] = &[
    (0x1, "compression", OPTIONAL),
    (0x400, "ea_inode", (4, 13)),
    (0x1000, "dirdata", OPTIONAL),
    (0x2000, "metadata_csum_seed", (4, 4)),
    (0x4000, "large_dir", (4, 13)),
    (0x8000, "inline_data", (3, 8)),
    (0x1_0000, "encrypt", OPTIONAL),
    (0x2_0000, "casefold", OPTIONAL),
];
/// The other bits that Linux 3.8 knew: filetype to flex_bg.
const EXT4_OLD: u32 = 0x3de;
const EXT4_RO_COMPAT: &[Bit] = &[
    (0x80, "snapshot", OPTIONAL),
    (0x100, "quota", OPTIONAL),
    (0x800, "replica", OPTIONAL),
    (0x2000, "project", (4, 5)),
    (0x4000, "shared_blocks", OPTIONAL),
    (0x8000, "verity", (5, 4)),
    (0x1_0000, "orphan_file", (5, 15)),
];
/// sparse_super to metadata_csum, and read-only.
const EXT4_RO_OLD: u32 = 0x167f;

const XFS_INCOMPAT: &[Bit] = &[
    (0x2, "sparse inodes", (4, 2)),
    (0x4, "meta_uuid", (4, 3)),
    (0x8, "bigtime", (5, 10)),
    (0x20, "nrext64", (5, 19)),
    (0x40, "exchange", (6, 10)),
    (0x80, "parent", (6, 10)),
    (0x100, "metadir", (6, 13)),
    (0x200, "zoned", (6, 15)),
    (0x400, "zone gaps", (6, 15)),
];
/// ftype; and needsrepair, which no kernel mounts: that is damage.
const XFS_OLD: u32 = 0x11;
const XFS_RO_COMPAT: &[Bit] = &[
    (0x2, "rmapbt", (4, 8)),
    (0x4, "reflink", (4, 9)),
    (0x8, "inobtcount", (5, 10)),
];
/// finobt.
const XFS_RO_OLD: u32 = 0x1;

const BTRFS_INCOMPAT: &[Bit] = &[
    (0x10, "compress_zstd", (4, 14)),
    (0x400, "metadata_uuid", (5, 0)),
    (0x800, "raid1c34", (5, 5)),
    (0x1000, "zoned", OPTIONAL),
    (0x2000, "extent_tree_v2", OPTIONAL),
    (0x4000, "raid_stripe_tree", OPTIONAL),
    (0x1_0000, "simple_quota", (6, 7)),
];
/// mixed_backref to no_holes, without compress_zstd.
const BTRFS_OLD: u32 = 0x3ef;
const BTRFS_RO_COMPAT: &[Bit] = &[
    (0x1, "free_space_tree", (4, 5)),
    (0x2, "free_space_tree_valid", (4, 9)),
    (0x4, "verity", (5, 15)),
    (0x8, "block_group_tree", (6, 1)),
];

/// What a filesystem uses that a kernel of that release may not know, named for a person; empty
/// where none of it explains why the kernel refuses it.
pub fn newer_than(kernel: Release, fstype: &str, head: &[u8]) -> Vec<String> {
    match fstype {
        "ext2" | "ext3" | "ext4" => ext(kernel, head.get(1024..).unwrap_or_default()),
        "xfs" => xfs(kernel, head),
        "btrfs" => btrfs(kernel, head.get(64 << 10..).unwrap_or_default()),
        _ => Vec::new(),
    }
}

/// Feature words at 0x60 and 0x64 of the superblock (kernel documentation,
/// filesystems/ext4/super.rst).
fn ext(kernel: Release, sb: &[u8]) -> Vec<String> {
    let word = |at| le32(sb, at).unwrap_or(0);
    let mut out = names(kernel, "incompat", word(0x60), EXT4_OLD, EXT4_INCOMPAT);
    let ro_compat = word(0x64);
    out.extend(names(
        kernel,
        "ro_compat",
        ro_compat,
        EXT4_RO_OLD,
        EXT4_RO_COMPAT,
    ));
    out
}

/// Block size at 4, version at 100, feature words at 212 and 216 (XFS Algorithms & Data
/// Structures, "Superblocks").
fn xfs(kernel: Release, sb: &[u8]) -> Vec<String> {
    let version = be16(sb, 100).unwrap_or(0) & 0xf;
    if version < 5 {
        return vec![format!("version {version} (made with crc=0)")];
    }
    let word = |at| be32(sb, at).unwrap_or(0);
    let mut out = names(kernel, "incompat", word(216), XFS_OLD, XFS_INCOMPAT);
    out.extend(names(
        kernel,
        "ro_compat",
        word(212),
        XFS_RO_OLD,
        XFS_RO_COMPAT,
    ));
    out.extend(blocks(word(4)));
    out
}

/// Sector size at 0x90, feature words at 0xb4 and 0xbc of the superblock
/// (<https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>, "Superblock").
fn btrfs(kernel: Release, sb: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    for (at, word, old, bits) in [
        (0xbc, "incompat", BTRFS_OLD, BTRFS_INCOMPAT),
        (0xb4, "ro_compat", 0, BTRFS_RO_COMPAT),
    ] {
        let [low, high] = halves(le64(sb, at).unwrap_or(0));
        out.extend(names(kernel, word, low, old, bits));
        if high != 0 {
            out.push(format!("{word} bits {high:#x}00000000"));
        }
    }
    out.extend(blocks(le32(sb, 0x90).unwrap_or(0)));
    out
}

fn halves(word: u64) -> [u32; 2] {
    let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0);
    [half(word), half(word >> 32)]
}

/// Kernels with pages of 4 KiB learned only lately to mount larger blocks, and not for every
/// filesystem.
fn blocks(size: u32) -> Option<String> {
    (size > 4096).then(|| format!("blocks of {size} bytes"))
}

fn names(kernel: Release, word: &str, set: u32, old: u32, known: &[Bit]) -> Vec<String> {
    let named = known.iter().filter(|(bit, ..)| set & bit != 0);
    let newer = named.filter(|(_, _, since)| *since > kernel);
    let mut out: Vec<String> = newer.map(|(_, name, _)| (*name).to_owned()).collect();
    let all = known.iter().fold(old, |all, (bit, ..)| all | bit);
    let unknown = set & !all;
    if unknown != 0 {
        out.push(format!("{word} bits {unknown:#x}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        for (at, bytes) in fields {
            head[*at..][..bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    #[test]
    fn an_xfs_names_its_version_or_what_is_newer_than_the_kernel() {
        let old = head(&[(100, &[0xb4, 0xa4])]);
        assert_eq!(
            newer_than((6, 18), "xfs", &old),
            ["version 4 (made with crc=0)"]
        );
        let new = head(&[(100, &[0xb4, 0xa5]), (216, &0x2b_u32.to_be_bytes())]);
        assert_eq!(newer_than((5, 14), "xfs", &new), ["nrext64"]);
        assert_eq!(newer_than((4, 18), "xfs", &new), ["bigtime", "nrext64"]);
        assert_eq!(newer_than((6, 18), "xfs", &new), [""; 0]);
        let unknown = head(&[(100, &[0xb4, 0xa5]), (216, &0x4000_0001_u32.to_be_bytes())]);
        assert_eq!(
            newer_than((6, 18), "xfs", &unknown),
            ["incompat bits 0x40000000"]
        );
    }

    #[test]
    fn a_btrfs_and_an_ext4_name_theirs() {
        let sb = 64 << 10;
        let zoned = head(&[
            (sb + 0xbc, &0x1000_0000_1341_u64.to_le_bytes()),
            (sb + 0x90, &65536_u32.to_le_bytes()),
        ]);
        assert_eq!(
            newer_than((6, 1), "btrfs", &zoned),
            [
                "zoned",
                "incompat bits 0x100000000000",
                "blocks of 65536 bytes"
            ]
        );
        let ext = head(&[(1024 + 0x60, &0x4_4242_u32.to_le_bytes())]);
        assert_eq!(
            newer_than((4, 18), "ext4", &ext),
            ["incompat bits 0x40000"],
            "large_dir is older"
        );
        assert_eq!(newer_than((4, 18), "ext4", b"short"), [""; 0]);
        assert_eq!(newer_than((4, 18), "vfat", &ext), [""; 0]);
    }
}
