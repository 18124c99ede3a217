// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::volume::sample::{Bytes, image, run};

/// What blkid says about an image: the oracle for names, UUID notation and labels.
fn blkid(path: &Path) -> BTreeMap<String, String> {
    run("blkid", &["-p", "-o", "export"], path)
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.replace("\\ ", " ")))
        .collect()
}

/// Makes an image with a tool and compares what we say with what blkid says.
fn agrees_with_blkid(mib: usize, tool: &str, args: &[&str], kind: &str) -> Content {
    let mut oracle = BTreeMap::new();
    let bytes = image(mib, |path| {
        run(tool, args, path);
        oracle = blkid(path);
    });
    let content = probe(&Bytes::new(bytes)).unwrap();
    assert_eq!(content.kind, kind, "{tool} {args:?}");
    assert_eq!(Some(&content.kind), oracle.get("TYPE"), "{tool} {args:?}");
    assert_eq!(content.uuid.as_ref(), oracle.get("UUID"), "{tool} {args:?}");
    assert_eq!(
        content.label.as_ref(),
        oracle.get("LABEL"),
        "{tool} {args:?}"
    );
    content
}

#[test]
fn ext_generations_are_told_apart_as_blkid_does() {
    for kind in ["ext2", "ext3", "ext4"] {
        let content = agrees_with_blkid(16, "mke2fs", &["-q", "-t", kind, "-L", "my root"], kind);
        assert_eq!(content.label.as_deref(), Some("my root"));
    }
    agrees_with_blkid(
        16,
        "mke2fs",
        &["-q", "-t", "ext4", "-O", "^has_journal"],
        "ext4",
    );
}

#[test]
fn swap_of_every_page_size_agrees_with_blkid() {
    for page in ["4096", "8192", "16384", "32768", "65536"] {
        agrees_with_blkid(4, "mkswap", &["-q", "-p", page, "-L", "swap"], "swap");
    }
}

#[test]
fn fat_of_every_width_agrees_with_blkid() {
    for (mib, bits) in [(2, "12"), (16, "16"), (64, "32")] {
        let named = ["-F", bits, "-n", "EFI SYS", "-i", "0badcafe"];
        let content = agrees_with_blkid(mib, "mkfs.vfat", &named, "vfat");
        assert_eq!(content.uuid.as_deref(), Some("0BAD-CAFE"));
        assert_eq!(content.label.as_deref(), Some("EFI SYS"));
        agrees_with_blkid(mib, "mkfs.vfat", &["-F", bits], "vfat");
    }
}

/// A disk of zeros with bytes put at places.
fn with(len: usize, puts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut disk = vec![0; len];
    for (at, bytes) in puts {
        disk[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    disk
}

/// Compares a handmade head with blkid, where its writer is not at hand.
fn handmade(disk: Vec<u8>, blkid_type: &str) -> Content {
    let mut oracle = BTreeMap::new();
    let bytes = image(1, |path| {
        std::fs::write(path, &disk).unwrap();
        oracle = blkid(path);
    });
    let content = probe(&Bytes::new(bytes)).unwrap();
    assert_eq!(oracle.get("TYPE").map(String::as_str), Some(blkid_type));
    assert_eq!(content.uuid.as_ref(), oracle.get("UUID"), "{blkid_type}");
    assert_eq!(content.label.as_ref(), oracle.get("LABEL"), "{blkid_type}");
    content
}

const ID: &[u8] = b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef";

#[test]
fn luks_headers_agree_with_blkid() {
    let text = b"01234567-89ab-cdef-0123-456789abcdef";
    let one: &[u8] = b"LUKS\xba\xbe\0\x01";
    let found = handmade(with(8 << 20, &[(0, one), (168, text)]), "crypto_LUKS");
    assert_eq!(found.kind, "luks");
    let two: &[u8] = b"LUKS\xba\xbe\0\x02";
    let disk = with(16 << 20, &[(0, two), (24, b"vault"), (168, text)]);
    assert_eq!(
        handmade(disk, "crypto_LUKS").label.as_deref(),
        Some("vault")
    );
}

#[test]
fn md_members_of_each_version_are_found_where_md_puts_them() {
    let len = (8 << 20) + 4096;
    for (place, version) in [(0_u64, 1_u32), (4096, 1), (len as u64 - 8192, 1)] {
        let mut sb = vec![0; 256];
        sb[0..4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
        sb[4..8].copy_from_slice(&version.to_le_bytes());
        sb[16..32].copy_from_slice(ID);
        sb[32..38].copy_from_slice(b"host:0");
        sb[144..152].copy_from_slice(&(place / 512).to_le_bytes());
        let at = usize::try_from(place).unwrap();
        let content = probe(&Bytes::new(with(len, &[(at, &sb)]))).unwrap();
        assert_eq!(content.kind, "md-member", "at {place}");
        assert_eq!(
            content.uuid.as_deref(),
            Some("01234567-89ab-cdef-0123-456789abcdef")
        );
        assert_eq!(content.label.as_deref(), Some("host:0"));
    }
    let mut old = vec![0; 256];
    old[0..4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
    old[8..12].copy_from_slice(&90_u32.to_le_bytes());
    old[20..24].copy_from_slice(&ID[0..4]);
    old[52..64].copy_from_slice(&ID[4..16]);
    let found = handmade(
        with(8 << 20, &[((8 << 20) - 65536, &old)]),
        "linux_raid_member",
    );
    assert_eq!(found.kind, "md-member");
}

#[test]
fn lvm_ids_are_written_as_lvm_writes_them() {
    let label: &[u8] = b"LABELONE\x01\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0LVM2 001";
    let id = b"AbCdEf0123456789GhIjKlMnOpQrStUv";
    let disk = with(1 << 20, &[(512, label), (544, id)]);
    let content = probe(&Bytes::new(disk)).unwrap();
    assert_eq!(content.kind, "lvm2-pv");
    assert_eq!(
        content.uuid.as_deref(),
        Some("AbCdEf-0123-4567-89Gh-IjKl-MnOp-QrStUv")
    );
}

#[test]
fn handmade_linux_heads_are_recognised() {
    let xfs = with(1 << 20, &[(0, b"XFSB"), (32, ID), (108, b"data")]);
    let btrfs = with(
        1 << 20,
        &[
            (65536 + 0x20, ID),
            (65536 + 0x40, b"_BHRfS_M"),
            (65536 + 0x12b, b"pool"),
        ],
    );
    for (disk, kind, label) in [(xfs, "xfs", "data"), (btrfs, "btrfs", "pool")] {
        let content = probe(&Bytes::new(disk)).unwrap();
        assert_eq!(content.kind, kind);
        assert_eq!(content.label.as_deref(), Some(label));
        assert_eq!(
            content.uuid.as_deref(),
            Some("01234567-89ab-cdef-0123-456789abcdef")
        );
    }
}

/// An NTFS head with a $MFT in cluster 4 whose fourth record carries a name.
fn ntfs() -> Vec<u8> {
    let mut boot = vec![0; 512];
    boot[0..11].copy_from_slice(b"\xeb\x52\x90NTFS    ");
    boot[11..13].copy_from_slice(&512_u16.to_le_bytes());
    boot[13] = 8;
    boot[21] = 0xf8;
    boot[40..48].copy_from_slice(&16383_u64.to_le_bytes());
    boot[48..56].copy_from_slice(&4_u64.to_le_bytes());
    boot[56..64].copy_from_slice(&2_u64.to_le_bytes());
    boot[64] = 0xf6;
    boot[68] = 1;
    boot[72..80].copy_from_slice(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
    boot[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut record = vec![0; 1024];
    record[0..4].copy_from_slice(b"FILE");
    record[20..22].copy_from_slice(&56_u16.to_le_bytes());
    record[22..24].copy_from_slice(&1_u16.to_le_bytes());
    record[24..28].copy_from_slice(&128_u32.to_le_bytes());
    record[28..32].copy_from_slice(&1024_u32.to_le_bytes());
    record[56..60].copy_from_slice(&0x60_u32.to_le_bytes());
    record[60..64].copy_from_slice(&40_u32.to_le_bytes());
    record[72..76].copy_from_slice(&8_u32.to_le_bytes());
    record[76..78].copy_from_slice(&24_u16.to_le_bytes());
    record[80..88].copy_from_slice(b"D\0i\0s\0k\0");
    record[96..100].copy_from_slice(&[0xff; 4]);
    with(
        8 << 20,
        &[
            (0, &boot),
            (4 * 4096, b"FILE"),
            (4 * 4096 + 3 * 1024, &record),
        ],
    )
}

#[test]
fn ntfs_heads_agree_with_blkid() {
    let content = handmade(ntfs(), "ntfs");
    assert_eq!(content.kind, "ntfs");
    assert_eq!(content.uuid.as_deref(), Some("0123456789ABCDEF"));
    assert_eq!(content.label.as_deref(), Some("Disk"));
}

#[test]
fn an_iso_agrees_with_blkid() {
    let disk = with(
        1 << 20,
        &[
            (32768, b"\x01CD001\x01\0"),
            (32768 + 40, b"virtio-win           "),
            (32768 + 813, b"2024010203040506\0"),
            (32768 + 830, b"2024020304050607\0"),
            (34816, b"\xffCD001\x01\0"),
        ],
    );
    let content = handmade(disk, "iso9660");
    assert_eq!(content.uuid.as_deref(), Some("2024-02-03-04-05-06-07"));
}

#[test]
fn nothing_written_is_zeros_and_noise_is_unknown() {
    let kind = |bytes| probe(&Bytes::new(bytes)).unwrap().kind;
    assert_eq!(kind(vec![0; 2 << 20]), "zeros");
    assert_eq!(kind(vec![0; 512]), "zeros");
    assert_eq!(kind(with(2 << 20, &[(900_000, b"x")])), "unknown");
    assert_eq!(kind(vec![7; 4096]), "unknown");
    assert_eq!(kind(Vec::new()), "unknown");
}

#[test]
fn squashfs_and_bitlocker_have_a_kind_only() {
    let squash = with(1 << 20, &[(0, b"hsqs"), (28, b"\x04\0")]);
    assert_eq!(probe(&Bytes::new(squash)).unwrap().kind, "squashfs");
    let locked = with(1 << 20, &[(0, b"\xeb\x58\x90-FVE-FS-")]);
    assert_eq!(probe(&Bytes::new(locked)).unwrap().kind, "bitlocker");
}
