// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;

use super::*;
use crate::volume::sample::{Bytes, image, run, run_with_input};

fn read(bytes: Vec<u8>) -> Result<Layout> {
    read_layout(0, Bytes::shared(bytes), 512)
}

/// A GPT disk as a guest has it: BIOS boot, EFI system, root.
fn gpt_disk() -> Vec<u8> {
    image(8, |path| {
        let script = "label: gpt\n\
                      label-id: 11111111-2222-3333-4444-555555555555\n\
                      size=1MiB, type=21686148-6449-6E6F-744E-656564454649, attrs=LegacyBIOSBootable\n\
                      size=2MiB, type=U, name=\"EFI System\", uuid=AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE\n\
                      type=L\n";
        run_with_input("sfdisk", &["-q"], path, script);
    })
}

fn mbr_disk() -> Vec<u8> {
    image(16, |path| {
        let script = "label: dos\n\
                      label-id: 0xdeadbeef\n\
                      size=1MiB, type=83, bootable\n\
                      size=10MiB, type=5\n\
                      size=1MiB, type=82\n\
                      start=3MiB, size=1MiB, type=83\n\
                      start=5MiB, size=2MiB, type=8e\n";
        run_with_input("sfdisk", &["-q"], path, script);
    })
}

#[test]
fn a_gpt_made_by_sfdisk_is_read_whole() {
    let layout = read(gpt_disk()).unwrap();
    assert_eq!(layout.table, TableKind::Gpt);
    assert_eq!(
        layout.id.as_deref(),
        Some("11111111-2222-3333-4444-555555555555")
    );
    assert!(layout.damage.is_empty(), "{:?}", layout.damage);
    let names: Vec<&str> = layout.volumes.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["disk0p1", "disk0p2", "disk0p3"]);
    assert!(layout.volumes[0].bootable && !layout.volumes[1].bootable);
    let efi = &layout.volumes[1];
    assert_eq!((efi.offset, efi.len), (2 << 20, 2 << 20));
    assert_eq!(efi.part_label.as_deref(), Some("EFI System"));
    assert_eq!(
        efi.part_type.as_deref(),
        Some("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    );
    assert_eq!(
        efi.part_uuid.as_deref(),
        Some("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
    );
    assert_eq!(efi.content.kind, "zeros");
}

#[test]
fn either_gpt_header_may_be_bad_but_not_both() {
    let good = gpt_disk();
    let last = good.len() - 512;
    let mut primary = good.clone();
    primary[512 + 40] ^= 1;
    let layout = read(primary.clone()).unwrap();
    assert_eq!(layout.volumes.len(), 3);
    assert!(layout.damage[0].contains("primary"), "{:?}", layout.damage);

    let mut backup = good.clone();
    backup[last..].fill(0);
    let layout = read(backup).unwrap();
    assert_eq!(layout.volumes.len(), 3);
    assert!(layout.damage[0].contains("backup"), "{:?}", layout.damage);

    let mut table = good;
    table[1024 + 40] ^= 1;
    assert_eq!(read(table).unwrap().volumes.len(), 3);

    primary[last + 40] ^= 1;
    let error = read(primary).unwrap_err();
    assert_eq!(error.code, "gpt-damaged");
    assert_eq!(error.disk.as_deref(), Some("disk0"));
}

#[test]
fn a_lost_backup_alone_is_no_truncation_but_a_cut_partition_is() {
    let good = gpt_disk();
    let layout = read(good[..good.len() - 512 * 33].to_vec()).unwrap();
    assert!(layout.damage[0].contains("backup"), "{:?}", layout.damage);

    let error = read(good[..5 << 20].to_vec()).unwrap_err();
    assert_eq!(error.code, "truncated");
    let missing = read(good.clone()).unwrap().volumes[2].clone();
    let bytes = missing.offset + missing.len - (5 << 20);
    assert!(
        error
            .message
            .contains(&format!("{bytes} bytes are missing")),
        "{error}"
    );
}

#[test]
fn a_gpt_of_4096_byte_sectors_is_found() {
    let disk = image(8, |path| {
        let keys = "g\nn\n1\n256\n767\nw\n";
        run_with_input("fdisk", &["-b", "4096"], path, keys);
    });
    for hint in [512, 4096] {
        let layout = read_layout(2, Bytes::shared(disk.clone()), hint).unwrap();
        assert_eq!(layout.volumes[0].name, "disk2p1");
        assert_eq!(layout.volumes[0].offset, 1 << 20);
    }
}

#[test]
fn a_hybrid_mbr_made_by_sgdisk_counts_as_gpt() {
    let disk = image(8, |path| {
        run("sgdisk", &["-n", "1:0:+2M", "-h", "1"], path);
    });
    let layout = read(disk).unwrap();
    assert_eq!(layout.table, TableKind::Gpt);
    assert!(layout.damage[0].contains("hybrid"), "{:?}", layout.damage);
}

#[test]
fn logical_partitions_are_numbered_from_five() {
    let layout = read(mbr_disk()).unwrap();
    assert_eq!(layout.table, TableKind::Mbr);
    assert_eq!(layout.id.as_deref(), Some("deadbeef"));
    assert!(layout.damage.is_empty(), "{:?}", layout.damage);
    let seen: Vec<(&str, &str, &str, u64)> = layout
        .volumes
        .iter()
        .map(|v| {
            (
                v.name.as_str(),
                v.part_uuid.as_deref().unwrap(),
                v.part_type.as_deref().unwrap(),
                v.len >> 20,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("disk0p1", "deadbeef-01", "0x83", 1),
            ("disk0p3", "deadbeef-03", "0x82", 1),
            ("disk0p5", "deadbeef-05", "0x83", 1),
            ("disk0p6", "deadbeef-06", "0x8e", 2),
        ]
    );
    assert!(layout.volumes[0].bootable);
}

#[test]
fn an_mbr_partition_beyond_the_end_is_truncation() {
    let error = read(mbr_disk()[..12 << 20].to_vec()).unwrap_err();
    assert_eq!((error.code.as_str(), error.exit_code()), ("truncated", 5));
}

#[test]
fn a_filesystem_on_the_whole_disk_is_one_volume() {
    for (tool, args, kind) in [
        ("mkfs.vfat", &["-n", "DATA"][..], "vfat"),
        ("mke2fs", &["-q", "-t", "ext4"][..], "ext4"),
        ("mkswap", &["-q"][..], "swap"),
    ] {
        let disk = image(16, |path| {
            run(tool, args, path);
        });
        let layout = read(disk).unwrap();
        assert_eq!(layout.table, TableKind::None, "{tool}");
        assert_eq!(layout.volumes[0].name, "disk0");
        assert_eq!(layout.volumes[0].content.kind, kind);
    }
}

#[test]
fn a_boot_sector_on_a_bare_ext4_does_not_hide_it() {
    let mut disk = image(16, |path| {
        run("mke2fs", &["-q", "-t", "ext4"], path);
    });
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(read(disk).unwrap().table, TableKind::None);
}

#[test]
fn a_blank_disk_is_a_volume_and_an_empty_table_is_a_table() {
    let layout = read(vec![0; 2 << 20]).unwrap();
    assert_eq!(layout.volumes[0].content.kind, "zeros");
    let empty = image(4, |path| {
        run_with_input("sfdisk", &["-q"], path, "label: dos\n");
    });
    let layout = read(empty).unwrap();
    assert_eq!((layout.table, layout.volumes.len()), (TableKind::Mbr, 0));
}

#[test]
fn other_formats_are_named_with_the_way_out() {
    for (magic, at, word, way) in [
        (&b"QFI\xfb"[..], 0, "qcow2", "qemu-img convert -O raw"),
        (b"KDMV", 0, "VMDK", "qemu-img convert -O raw"),
        (b"# Disk DescriptorFile\n", 0, "VMDK descriptor", "qemu-img"),
        (b"vhdxfile", 0, "VHDX", "qemu-img convert"),
        (b"\x1f\x8b\x08", 0, "gzip", "gunzip"),
        (b"ustar", 257, "OVA", "tar -xf"),
        (b"hello", 0, "is this a disk image?", "whole disk"),
    ] {
        let mut disk = vec![0; 4096];
        disk[at..at + magic.len()].copy_from_slice(magic);
        let error = read(disk).unwrap_err();
        assert_eq!((error.code.as_str(), error.exit_code()), ("not-a-disk", 4));
        assert!(error.message.contains(word), "{error}");
        assert!(error.hint.unwrap().contains(way));
    }
    assert_eq!(read(vec![1; 100]).unwrap_err().code, "not-a-disk");
}

/// A header that asks for a table of 512 GiB, with a checksum that fits.
#[test]
fn a_lying_entry_count_costs_nothing() {
    for (at, value) in [(80, u32::MAX), (84, 256), (84, 0)] {
        let mut disk = gpt_disk();
        let last = disk.len() - 512;
        for base in [512, last] {
            disk[base + at..base + at + 4].copy_from_slice(&value.to_le_bytes());
            disk[base + 16..base + 20].fill(0);
            let crc = crc32(&disk[base..base + 92]);
            disk[base + 16..base + 20].copy_from_slice(&crc.to_le_bytes());
        }
        let error = read(disk).unwrap_err();
        assert_eq!(error.code, "gpt-damaged");
        assert!(error.to_string().contains("not supported"), "{error}");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
        })
    })
}

#[test]
fn random_bytes_and_flipped_bits_never_panic() {
    let disks = [gpt_disk(), mbr_disk()];
    proptest!(ProptestConfig::with_cases(256), |(
        noise in proptest::collection::vec(any::<u8>(), 512..2048),
        which in 0..2_usize,
        flips in proptest::collection::vec((0..4096_usize, any::<u8>()), 1..20),
    )| {
        let mut noise = noise;
        noise[510..512].copy_from_slice(&[0x55, 0xaa]);
        let _ = read(noise);
        let mut disk = disks[which].clone();
        let ebr = 3 << 20;
        for (at, value) in flips {
            disk[at] = value;
            disk[ebr - 1024 + at / 2] ^= value;
        }
        let _ = read(disk);
    });
}
