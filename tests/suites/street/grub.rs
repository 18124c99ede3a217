// SPDX-License-Identifier: Apache-2.0
//! GRUB's own drivers read every kernel and every initramfs that a conversion leaves.

use std::path::Path;

use tests::case::Case;
use tests::guest::Guest;
use tests::small::{Filesystem, KERNEL, Small, SmallDisk};
use tests::tool::{self, Mounted};

/// Compares what GRUB reads from a partition with what the kernel reads from it.
fn grub_reads_the_same(disk: &Path, number: u32, table: &str, files: &[String], dir: &Path) {
    let (offset, _) = tests::disk::partition(disk, number);
    let read = |file: &String| {
        let out = dir.join("by-grub");
        let path = format!("(loop0,{table}{number})/{file}");
        let out_text = out.to_str().unwrap();
        tool::run(
            "grub-fstest",
            &[disk.to_str().unwrap(), "cp", &path, out_text],
        );
        // It ends with 0 also where it could not read.
        let seen = std::fs::read(&out).unwrap_or_else(|e| panic!("GRUB does not read {path}: {e}"));
        std::fs::remove_file(out).unwrap();
        seen
    };
    let by_grub: Vec<Vec<u8>> = files.iter().map(read).collect();
    let mounted = Mounted::with(disk, offset, "ro", &dir.join("by-kernel"));
    for (file, seen) in files.iter().zip(by_grub) {
        let want = std::fs::read(mounted.path().join(file)).unwrap();
        assert!(!want.is_empty());
        assert!(seen == want, "GRUB reads other bytes from {file}");
    }
}

fn boot_files(top: &str, version: &str) -> Vec<String> {
    ["vmlinuz-", "initrd.img-"]
        .map(|name| format!("{top}boot/{name}{version}"))
        .into()
}

#[test]
fn grub_reads_what_was_written_on_each_filesystem() {
    for filesystem in Filesystem::ALL {
        for mode in ["splice", "rebuild"] {
            let (case, disk) = Case::small(Small::on(filesystem), |_| {});
            let SmallDisk { root, .. } = disk;
            case.converted(&["--initramfs", mode]);
            let top = match filesystem {
                Filesystem::Btrfs => "@/",
                _ => "",
            };
            let files = boot_files(top, KERNEL);
            grub_reads_the_same(case.disk(), root, "gpt", &files, case.dir());
        }
    }
}

/// The same of a real guest, by its name, the partition of its root, and where that lies.
fn grub_reads_the_real(name: &str, number: u32, table: &str, top: &str) {
    let case = Case::guest(name);
    case.converted(&["--no-guest-code"]);
    let facts = Guest::get(name).facts();
    let files = boot_files(top, &facts["kernel"]);
    grub_reads_the_same(case.disk(), number, table, &files, case.dir());
}

#[test]
fn grub_reads_what_was_written_into_debian_11_on_btrfs() {
    grub_reads_the_real("bullseye-btrfs", 2, "gpt", "@/");
}

#[test]
fn grub_reads_what_was_written_into_debian_12_on_ext4() {
    grub_reads_the_real("bookworm-bios-ext4", 1, "msdos", "");
}

#[test]
fn grub_reads_what_was_written_into_debian_13_on_xfs() {
    grub_reads_the_real("trixie-uefi-xfs", 2, "gpt", "");
}
