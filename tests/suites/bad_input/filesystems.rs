// SPDX-License-Identifier: Apache-2.0
//! Filesystems of kinds that the node's kernel mounts, or does not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tests::case::{Case, changes, concern, concerns};
use tests::checksum;
use tests::disk::partition;
use tests::guest::sparse_copy;
use tests::small::{Filesystem, Small, SmallDisk};

/// A file that was made durable just before the disk was copied.
const JUST_WRITTEN: &str = "etc/just-written";

#[test]
fn two_clones_of_one_guest_are_converted_at_once() {
    for filesystem in [Filesystem::Xfs, Filesystem::Btrfs] {
        let (first, disk) = Case::small(Small::on(filesystem), |_| {});
        let original = first.sha256();
        let (second, _) = Case::small(Small::on(Filesystem::Ext4), |_| {});
        let second = second.on(&disk.cloned("clone.img").path);
        for args in [&["convert"][..], &["undo"], &["convert"]] {
            let run = |case: &Case| case.verb(args[0]).run();
            let runs = std::thread::scope(|scope| {
                let other = scope.spawn(|| run(&second));
                [run(&first), other.join().unwrap()]
            });
            for run in runs {
                let document = run.expect(0);
                let converted = args[0] == "convert";
                assert!(!converted || document["committed"] == true, "{document}");
            }
        }
        // Neither holds what was meant for the other.
        for case in [&first, &second] {
            assert_ne!(case.sha256(), original);
            case.verb("verify").run().expect(0);
            case.undone_to(&original);
        }
    }
}

/// A copy of the disk as a crash leaves it: [`JUST_WRITTEN`] is durable in the log only.
fn copied_while_mounted(case: Case, disk: &SmallDisk) -> (Case, SmallDisk) {
    let live = disk.cloned("live.img");
    let copy = case.dir().join("copy.img");
    {
        let mounted = live.mounted(case.dir());
        let written = live.root_in(&mounted).join(JUST_WRITTEN);
        std::fs::write(&written, "durable\n").unwrap();
        File::open(written).unwrap().sync_all().unwrap();
        sparse_copy(&live.path, &copy);
    }
    let disk = SmallDisk {
        path: copy.clone(),
        ..disk.clone()
    };
    (case.on(&copy), disk)
}

#[test]
fn a_log_that_was_not_written_back_is_replayed_told_and_not_lost() {
    for filesystem in [Filesystem::Xfs, Filesystem::Btrfs] {
        let (case, disk) = Case::small(Small::on(filesystem), |_| {});
        let (case, disk) = copied_while_mounted(case, &disk);
        let original = case.sha256();
        let facts = case.unharmed("inspect", &[], 0);
        assert!(concerns(&facts).contains(&"filesystem-dirty"), "{facts}");

        let report = case.converted(&[]);
        assert_eq!(report["readiness"], "ReadyWithWarnings");
        let told = concern(&report, "filesystem-dirty");
        assert!(
            told.contains("disk0p1") && told.contains("replayed"),
            "{told}"
        );
        case.undone_to(&original);

        case.converted(&[]);
        let mounted = disk.mounted(case.dir());
        let kept = disk.root_in(&mounted).join(JUST_WRITTEN);
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "durable\n");
    }
}

#[test]
fn a_log_is_not_replayed_into_a_disk_that_is_only_looked_at() {
    for filesystem in [Filesystem::Xfs, Filesystem::Btrfs] {
        let (case, disk) = Case::small(Small::on(filesystem), |_| {});
        let (case, _) = copied_while_mounted(case, &disk);
        for verb in ["inspect", "plan", "doctor", "verify"] {
            let before = case.sha256();
            case.verb(verb).run();
            assert_eq!(case.sha256(), before, "{verb} on {}", filesystem.name());
        }
        let report = case.unharmed("convert", &["--dry-run"], 0);
        assert!(changes(&report, "Changed").contains(&"write-file"));
    }
}

/// An error of the node, by the name of what its kernel lacks.
fn not_mounted(case: &Case, feature: &str) {
    for verb in ["inspect", "convert"] {
        let error = case.unharmed(verb, &[], 6);
        assert_eq!(error["kind"], "host", "{error}");
        assert_eq!(error["code"], "no-filesystem-driver", "{error}");
        assert_eq!(error["disk"], "disk0p1", "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(feature), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("node"), "{error}");
    }
}

#[test]
fn an_xfs_of_version_4_is_named_where_the_kernel_does_not_mount_it() {
    let (case, disk) = Case::small(Small::on(Filesystem::Xfs).version_4(), |_| {});
    match disk.is_mountable(case.dir()) {
        true => drop(case.converted(&[])),
        false => not_mounted(&case, "xfs with version 4"),
    }
}

/// Sets bits in a superblock, and makes its checksum right again.
fn patch(disk: &Path, place: u64, len: usize, edit: impl FnOnce(&mut [u8]), sum_at: usize) {
    let file = File::options().read(true).write(true).open(disk).unwrap();
    let mut block = vec![0; len];
    file.read_exact_at(&mut block, place).unwrap();
    edit(&mut block);
    block[sum_at..sum_at + 4].fill(0);
    let sum = match sum_at {
        // btrfs sums what follows its checksum; XFS the whole sector, the field taken as zero.
        0 => checksum::crc32c(&block[32..]),
        _ => checksum::crc32c(&block),
    };
    block[sum_at..sum_at + 4].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&block, place).unwrap();
}

#[test]
fn a_feature_that_no_kernel_knows_is_named() {
    let (case, disk) = Case::small(Small::on(Filesystem::Xfs), |_| {});
    let (offset, _) = partition(&disk.path, 1);
    // Feature words: incompat at 216, big-endian; checksum at 224.
    patch(&disk.path, offset, 512, |sb| sb[216] |= 0x40, 224);
    not_mounted(&case, "incompat bits 0x40000000");

    let (case, disk) = Case::small(Small::on(Filesystem::Btrfs), |_| {});
    let (offset, _) = partition(&disk.path, 1);
    // incompat at 0xbc, little-endian; checksum at 0.
    let place = offset + (64 << 10);
    patch(&disk.path, place, 4096, |sb| sb[0xbc + 5] |= 0x80, 0);
    not_mounted(&case, "incompat bits 0x8000");
}

#[test]
fn a_damaged_superblock_is_damage_and_not_the_nodes_fault() {
    // The number of blocks at 8, and that of bytes at 0x70; no checksum is made right.
    for (filesystem, place) in [(Filesystem::Xfs, 8), (Filesystem::Btrfs, (64 << 10) + 0x70)] {
        let (case, disk) = Case::small(Small::on(filesystem), |_| {});
        let (offset, _) = partition(&disk.path, 1);
        let file = File::options().write(true).open(&disk.path).unwrap();
        file.write_all_at(&[0xff; 4], offset + place).unwrap();
        let error = case.unharmed("convert", &[], 5);
        assert_eq!(error["code"], "not-mountable", "{error}");
        assert_eq!(error["disk"], "disk0p1", "{error}");
    }
}
