// SPDX-License-Identifier: Apache-2.0
//! An initramfs that is damaged, and a `/boot` that has no room for another.

use std::fs::{File, OpenOptions};
use std::path::Path;

use tests::case::{Case, changes, concern};
use tests::disk::{leave_free, partition};
use tests::planted::set_tool;
use tests::small::{Filesystem, INITRAMFS, KERNEL, Small, SmallDisk};

fn cut(tree: &Path) {
    let image = OpenOptions::new().write(true).open(tree.join(INITRAMFS));
    let image = image.unwrap();
    let len = image.metadata().unwrap().len();
    image.set_len(len * 3 / 5).unwrap();
}

#[test]
fn an_initramfs_that_was_cut_short_is_made_anew_or_refused() {
    for compressor in ["gzip -n", "zstd -q", "xz --check=crc32"] {
        let small = Small::on(Filesystem::Ext4).compressed_by(compressor);
        let (case, _) = Case::small(small, cut);
        let original = case.sha256();
        for args in [&["--no-guest-code"][..], &["--initramfs", "splice"]] {
            let report = case.unharmed("convert", args, 1);
            assert_eq!(report["committed"], false);
            let told = concern(&report, "initramfs-damaged");
            assert!(
                told.contains(INITRAMFS) && told.contains("near byte"),
                "{told}"
            );
        }
        let report = case.converted(&[]);
        assert!(changes(&report, "Changed").contains(&"rebuild-initramfs"));
        case.verb("verify").run().expect(0);
        case.undone_to(&original);
    }
}

#[test]
fn a_tool_that_makes_a_damaged_initramfs_is_not_believed() {
    let script = "head=/usr/share/generic.img\n\
        while [ $# -gt 1 ]; do if [ \"$1\" = -o ]; then out=$2; fi; shift; done\n\
        dd if=$head of=\"$out\" bs=1000 count=100\n";
    let (case, _) = Case::small(Small::on(Filesystem::Ext4), |tree| set_tool(tree, script));
    let report = case.unharmed("convert", &["--initramfs", "rebuild"], 1);
    assert_eq!(report["committed"], false);
    let failed = tests::case::verdicts(&report, "initramfs-readable")[0];
    assert_eq!(failed["result"], "fail", "{failed}");
}

/// A guest whose `/boot` has so many KiB left.
fn nearly_full(free: u64, edit: impl FnOnce(&Path)) -> (Case, SmallDisk) {
    let (case, disk) = Case::small(Small::on(Filesystem::Xfs).with_boot(24), edit);
    let (offset, _) = partition(&disk.path, 1);
    leave_free(&disk.path, offset, free << 10, case.dir());
    (case, disk)
}

#[test]
fn a_full_boot_says_what_is_needed_and_what_there_is() {
    let (case, _) = nearly_full(100, |_| {});
    for verb in ["plan", "convert"] {
        let document = case.unharmed(verb, &[], 1);
        let told = concern(&document, "boot-full");
        let numbers: Vec<u64> = told
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        let [free, needed] = numbers.as_slice() else {
            panic!("{told}");
        };
        assert!(told.starts_with("/boot has"), "{told}");
        assert!((50..=200).contains(free), "{told}");
        assert!((1024 + 60..1024 + 300).contains(needed), "{told}");
    }
}

/// What a tool makes that knows no measure.
const FIVE_MIB: &str = "while [ $# -gt 1 ]; do if [ \"$1\" = -o ]; then out=$2; fi; shift; done\n\
    dd if=/dev/zero of=\"$out\" bs=1M count=5\n";

#[test]
fn where_boot_is_nearly_full_the_way_that_needs_least_is_taken() {
    // Enough to append to the initramfs, not enough for what the guest's own tool makes.
    let (case, disk) = nearly_full(1400, |tree| set_tool(tree, FIVE_MIB));
    let original = case.sha256();
    let error = case.unharmed("convert", &["--initramfs", "rebuild"], 3);
    assert_eq!(error["code"], "boot-full", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("has 5120 KiB"), "{message}");
    assert!(message.contains("KiB more are needed"), "{message}");
    assert!(
        error["hint"].as_str().unwrap().contains("splice"),
        "{error}"
    );

    let report = case.converted(&["--initramfs", "auto"]);
    assert!(changes(&report, "Changed").contains(&"append-initramfs"));
    let image = format!("initrd.img-{KERNEL}");
    {
        let mounted = disk.mounted_part(1, case.dir());
        let read = File::open(mounted.path().join(image)).unwrap();
        assert!(read.metadata().unwrap().len() > 100_000);
    }
    // To look at it was to use it: a fresh copy is what undo is for.
    assert_eq!(case.verb("undo").run().expect(3)["code"], "has-run-since");
    assert_ne!(case.sha256(), original);
}
