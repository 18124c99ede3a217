// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;

use super::*;
use crate::disk::Storage;
use crate::volume::read_layout;
use crate::volume::sample::{Bytes, image, run, run_with_input};

fn volume(bytes: Vec<u8>) -> Volume {
    let layout = read_layout(0, Bytes::shared(bytes), 512).unwrap();
    layout.volumes.into_iter().next().unwrap()
}

fn made(tool: &str, args: &[&str], mib: usize) -> Vec<u8> {
    image(mib, |path| {
        run(tool, args, path);
    })
}

#[test]
fn a_fresh_ext4_is_healthy_and_each_mark_is_seen() {
    let good = made("mke2fs", &["-q", "-t", "ext4", "-O", "^metadata_csum"], 16);
    let state = |bytes: &[u8]| health(&volume(bytes.to_vec())).unwrap().unwrap();
    let healthy = state(&good);
    assert!(!healthy.dirty && !healthy.errors && !healthy.hibernated);
    assert!(healthy.features.starts_with("0x3c/0x2"), "{healthy:?}");

    let mut dirty = good.clone();
    dirty[1024 + 0x60] |= 0x4;
    assert!(state(&dirty).dirty);
    let mut errors = good.clone();
    errors[1024 + 0x3a] |= 2;
    assert!(state(&errors).errors);
    let mut counted = good;
    counted[1024 + 0x194] = 3;
    let counted = state(&counted);
    assert!(counted.errors && counted.detail.contains("3 errors"));
}

#[test]
fn an_ext2_that_was_not_unmounted_is_dirty() {
    let mut bytes = made("mke2fs", &["-q", "-t", "ext2"], 16);
    bytes[1024 + 0x3a] = 0;
    assert!(health(&volume(bytes)).unwrap().unwrap().dirty);
}

#[test]
fn a_suspended_system_in_swap_is_seen() {
    let mut bytes = made("mkswap", &["-q"], 4);
    assert!(!health(&volume(bytes.clone())).unwrap().unwrap().hibernated);
    bytes[4086..4096].copy_from_slice(b"S1SUSPEND\0");
    let suspended = volume(bytes);
    assert_eq!(suspended.content.kind, "swap");
    assert!(health(&suspended).unwrap().unwrap().hibernated);
}

#[test]
fn the_dirty_mark_of_fat_is_seen() {
    for (mib, bits, mark) in [(16, "16", 1), (64, "32", 1)] {
        let bytes = made("mkfs.vfat", &["-F", bits], mib);
        let state = health(&volume(bytes.clone())).unwrap().unwrap();
        assert!(!state.dirty && !state.errors, "{bits}: {state:?}");
        let reserved = usize::from(u16::from_le_bytes([bytes[14], bytes[15]])) * 512;
        let mut dirty = bytes;
        let (at, bit) = if bits == "16" { (3, 0x80) } else { (7, 0x08) };
        dirty[reserved + at] &= !(bit * mark);
        assert!(health(&volume(dirty)).unwrap().unwrap().dirty, "{bits}");
    }
}

fn names(volume: &Volume) -> Vec<String> {
    let ranges = fingerprint_ranges(volume);
    for (name, offset, len) in &ranges {
        assert!(*len > 0 && offset + len <= volume.len, "{name}");
    }
    ranges.into_iter().map(|(name, ..)| name).collect()
}

#[test]
fn the_journal_head_is_where_debugfs_says() {
    for (kind, block) in [("ext4", "4096"), ("ext4", "1024"), ("ext3", "1024")] {
        let mut where_it_is = String::new();
        let bytes = image(32, |path| {
            run("mke2fs", &["-q", "-t", kind, "-b", block], path);
            where_it_is = run("debugfs", &["-R", "bmap <8> 0"], path);
        });
        let volume = volume(bytes);
        let size: u64 = block.parse().unwrap();
        let place = where_it_is.trim().parse::<u64>().unwrap() * size;
        let ranges = fingerprint_ranges(&volume);
        assert!(
            ranges.contains(&("journal head".to_owned(), place, size)),
            "{kind}/{block}: {ranges:?}"
        );
        let mut magic = [0; 4];
        volume.storage.read_at(&mut magic, place).unwrap();
        assert_eq!(magic, [0xc0, 0x3b, 0x39, 0x98]);
    }
}

#[test]
fn every_kind_has_ranges_inside_its_volume() {
    let fat = volume(made("mkfs.vfat", &["-F", "32"], 64));
    assert_eq!(names(&fat), ["boot sector", "FSInfo", "FAT"]);
    assert_eq!(names(&volume(made("mkswap", &["-q"], 4))), ["header"]);
    assert_eq!(
        names(&volume(made("mke2fs", &["-q", "-t", "ext2"], 4))),
        ["superblock"]
    );
    assert_eq!(names(&volume(vec![0; 4096])), ["head"]);
    for kind in [
        "xfs",
        "btrfs",
        "ntfs",
        "lvm2-pv",
        "md-member",
        "luks",
        "unknown",
    ] {
        let mut odd = volume(vec![0; 5000]);
        odd.content.kind = kind.to_owned();
        names(&odd);
    }
}

#[test]
fn an_xfs_log_is_found_through_its_superblock() {
    let mut bytes = vec![0; 8 << 20];
    bytes[0..4].copy_from_slice(b"XFSB");
    bytes[4..8].copy_from_slice(&4096_u32.to_be_bytes());
    // Group 1 of 512 blocks (split at 9 bits), block 6 in it.
    bytes[48..56].copy_from_slice(&((1_u64 << 9) + 6).to_be_bytes());
    bytes[84..88].copy_from_slice(&500_u32.to_be_bytes());
    bytes[96..100].copy_from_slice(&64_u32.to_be_bytes());
    bytes[124] = 9;
    let ranges = fingerprint_ranges(&volume(bytes));
    assert!(
        ranges.contains(&("log head".to_owned(), 506 * 4096, 64 << 10)),
        "{ranges:?}"
    );
}

#[test]
fn a_write_by_the_guest_changes_the_fingerprint() {
    let before = made("mke2fs", &["-q", "-t", "ext4"], 16);
    let after = image(16, |path| {
        std::fs::write(path, &before).unwrap();
        let command = "jo -c -v 3\njw -b 1 /etc/hostname\njc\n";
        run_with_input("debugfs", &["-w", "-f", "-"], path, command);
    });
    let digest = |bytes: Vec<u8>| -> Vec<Vec<u8>> {
        let volume = volume(bytes);
        let storage: Arc<dyn Storage> = Arc::clone(&volume.storage);
        fingerprint_ranges(&volume)
            .iter()
            .map(|(_, offset, len)| {
                let mut buf = vec![0; usize::try_from(*len).unwrap()];
                storage.read_at(&mut buf, *offset).unwrap();
                buf
            })
            .collect()
    };
    assert_ne!(digest(before), digest(after));
}

#[test]
fn heads_of_noise_never_panic_and_ranges_stay_inside() {
    use proptest::prelude::*;
    let kinds = [
        "ext4",
        "xfs",
        "btrfs",
        "vfat",
        "ntfs",
        "swap",
        "lvm2-pv",
        "md-member",
        "luks",
        "unknown",
    ];
    let fat = made("mkfs.vfat", &["-F", "32", "-a"], 64);
    let ext = made("mke2fs", &["-q", "-t", "ext4"], 4);
    let base = volume(vec![0; 4096]);
    proptest!(|(
        noise in proptest::collection::vec(any::<u8>(), 0..4096),
        flips in proptest::collection::vec((0..2048_usize, any::<u8>()), 1..12),
        kind in 0..kinds.len(),
    )| {
        let mut heads = vec![noise];
        for image in [&fat, &ext] {
            let mut head = image[..1 << 20].to_vec();
            for (at, value) in &flips {
                head[*at] = *value;
            }
            heads.push(head);
        }
        for head in heads {
            let mut odd = base.clone();
            odd.len = head.len() as u64;
            odd.storage = Bytes::shared(head);
            odd.content.kind = kinds[kind].to_owned();
            let _ = health(&odd);
            let _ = crate::volume::probe(odd.storage.as_ref());
            names(&odd);
        }
    });
}
