// SPDX-License-Identifier: Apache-2.0
//! Disks, tables and ext4 filesystems that are not as they should be.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::cli::Cli;
use tests::digest::content_digest;
use tests::disk::{self, Headers};
use tests::guest::Guest;
use tests::tool::{self, Mounted};

/// Runs a verb that must fail with that exit code, and asserts that the disk stayed as it was and
/// that the error says what to do.
fn refused(dir: &Path, verb: &str, disk: &Path, extra: &[&str], code: i32) -> Value {
    let before = content_digest(disk);
    let error = Cli::new(verb, &[disk], &dir.join("state"))
        .args(extra)
        .run()
        .expect(code);
    assert_eq!(content_digest(disk), before, "{verb} wrote to the disk");
    assert_eq!(error["schema"], "guestfix.io/error/v1", "{error}");
    assert!(error["hint"].is_string(), "says what to do next: {error}");
    error
}

fn vmware_guest(dir: &Path) -> PathBuf {
    Guest::get("bookworm-bios-ext4").fresh_copy(dir)
}

#[test]
fn a_file_that_is_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk::not_a_disk(dir.path());
    for verb in ["inspect", "convert"] {
        let error = refused(dir.path(), verb, &disk, &[], 4);
        assert_eq!(error["code"], "not-a-disk");
    }
}

#[test]
fn another_image_format_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (format, name) in [("vdi", "VDI"), ("vhdx", "VHDX")] {
        let disk = dir.path().join(format!("disk.{format}"));
        tool::run(
            "qemu-img",
            &["create", "-q", "-f", format, disk.to_str().unwrap(), "64M"],
        );
        let error = refused(dir.path(), "inspect", &disk, &[], 4);
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
        assert!(
            error["hint"].as_str().unwrap().contains("qemu-img convert"),
            "{error}"
        );
    }
}

#[test]
fn a_truncated_image() {
    let dir = tempfile::tempdir().unwrap();
    let guest = Guest::get("bookworm-bios-ext4");
    let disk = disk::truncated(dir.path(), guest.path(), 512 << 20);
    let error = refused(dir.path(), "convert", &disk, &[], 5);
    assert_eq!(error["code"], "truncated");
}

#[test]
fn a_gpt_with_one_bad_header_works_and_with_two_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let one = disk::gpt_with_bad_header(dir.path(), Headers::Primary);
    let facts = Cli::new("inspect", &[&one], &dir.path().join("state"))
        .run()
        .expect(0);
    let ids: Vec<&str> = facts["concerns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["id"].as_str().unwrap())
        .collect();
    assert!(ids.contains(&"partition-table-damage"), "{ids:?}");

    let dir = tempfile::tempdir().unwrap();
    let both = disk::gpt_with_bad_header(dir.path(), Headers::Both);
    refused(dir.path(), "inspect", &both, &[], 5);
}

#[test]
fn a_filesystem_with_errors() {
    let dir = tempfile::tempdir().unwrap();
    let disk = vmware_guest(dir.path());
    // s_state (superblock byte 0x3A): 2 means that errors were seen.
    let set = format!("{}?offset={}", disk.display(), disk::FIRST_PARTITION);
    tool::run("debugfs", &["-w", "-R", "set_super_value state 2", &set]);
    let before = content_digest(&disk);
    let report = Cli::new("convert", &[&disk], &dir.path().join("state"))
        .run()
        .expect(1);
    assert_eq!(report["readiness"], "NotReady");
    assert_eq!(report["committed"], false);
    let text = report["concerns"].to_string();
    assert!(
        text.contains("filesystem-errors") && text.contains("e2fsck"),
        "{text}"
    );
    assert_eq!(content_digest(&disk), before);
}

#[test]
fn a_damaged_superblock() {
    let dir = tempfile::tempdir().unwrap();
    let disk = vmware_guest(dir.path());
    let file = std::fs::File::options().write(true).open(&disk).unwrap();
    // s_log_block_size of the first superblock: its checksum is then wrong too.
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 4], disk::FIRST_PARTITION + 1024 + 24)
        .unwrap();
    drop(file);
    refused(dir.path(), "convert", &disk, &[], 5);
}

#[test]
fn a_dirty_journal_is_read_through() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk::dirty_journal(dir.path());
    let before = content_digest(&disk);
    let facts = Cli::new("inspect", &[&disk], &dir.path().join("state"))
        .run()
        .expect(0);
    let text = facts["concerns"].to_string();
    assert!(text.contains("filesystem-dirty"), "{text}");
    assert_eq!(
        content_digest(&disk),
        before,
        "its journal was replayed into the disk"
    );
}

#[test]
fn a_guest_copied_while_it_ran_is_converted() {
    let dir = tempfile::tempdir().unwrap();
    let live = vmware_guest(dir.path());
    let copy = dir.path().join("copy.img");
    {
        let mounted = Mounted::new(&live, disk::FIRST_PARTITION, &dir.path().join("mnt"));
        let file = std::fs::File::create(mounted.path().join("etc/just-written")).unwrap();
        file.sync_all().unwrap();
        tests::guest::sparse_copy(&live, &copy);
    }
    let state = dir.path().join("state");
    let before = content_digest(&copy);
    let report = Cli::new("convert", &[&copy], &state).run().expect(0);
    assert_eq!(report["readiness"], "ReadyWithWarnings");
    {
        let mounted = Mounted::new(&copy, disk::FIRST_PARTITION, &dir.path().join("mnt"));
        assert!(mounted.path().join("etc/just-written").exists());
    }
    // Mounting it was running it: undo must refuse, and say so.
    assert_eq!(
        Cli::new("undo", &[&copy], &state).run().expect(3)["code"],
        "has-run-since"
    );
    assert_ne!(content_digest(&copy), before);
}

#[test]
fn no_operating_system() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk::no_os(dir.path());
    assert_eq!(
        refused(dir.path(), "convert", &disk, &[], 4)["code"],
        "no-os"
    );
}

#[test]
fn two_operating_systems_are_both_named() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk::two_oses(dir.path());
    let error = refused(dir.path(), "convert", &disk, &[], 3);
    assert_eq!(error["code"], "several-roots");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("disk0p1") && message.contains("disk0p2"),
        "{message}"
    );
    assert!(error["hint"].as_str().unwrap().contains("--root"));
    let state = dir.path().join("state");
    let facts = Cli::new("inspect", &[&disk], &state)
        .args(["--root", "disk0p2"])
        .run()
        .expect(0);
    assert_eq!(facts["guest"]["hostname"], "second");
    let wrong = Cli::new("inspect", &[&disk], &state)
        .args(["--root", "disk0p9"])
        .run()
        .expect(2);
    assert_eq!(wrong["code"], "no-such-volume");
}

#[test]
fn a_copy_whose_original_is_not_recognised_is_not_converted_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk::orphaned_copy(dir.path());
    let error = refused(dir.path(), "convert", &disk, &[], 3);
    assert_eq!(error["code"], "root-elsewhere");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("disk0p1") && message.contains("disk0p2"),
        "{message}"
    );
    assert!(error["hint"].as_str().unwrap().contains("--root disk0p2"));
    let facts = Cli::new("inspect", &[&disk], &dir.path().join("state"))
        .args(["--root", "disk0p2"])
        .run()
        .expect(0);
    assert_eq!(facts["guest"]["hostname"], "second");
}

#[test]
fn no_space_left_in_boot() {
    let dir = tempfile::tempdir().unwrap();
    let disk = vmware_guest(dir.path());
    disk::leave_free(&disk, disk::FIRST_PARTITION, 64 << 10, dir.path());
    let before = content_digest(&disk);
    let report = Cli::new("convert", &[&disk], &dir.path().join("state"))
        .run()
        .expect(1);
    assert!(
        report["concerns"].to_string().contains("boot-full"),
        "{}",
        report["concerns"]
    );
    assert_eq!(report["committed"], false);
    assert_eq!(content_digest(&disk), before);
}

/// A small filesystem for the state directory.
struct SmallState(PathBuf);

impl SmallState {
    fn new(dir: &Path, bytes: u64) -> Self {
        let point = dir.join("small");
        std::fs::create_dir(&point).unwrap();
        let size = format!("size={bytes}");
        tool::run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs", point.to_str().unwrap()],
        );
        Self(point)
    }
}

impl Drop for SmallState {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn the_state_directory_fills_up_during_apply() {
    let dir = tempfile::tempdir().unwrap();
    let disk = vmware_guest(dir.path());
    let before = content_digest(&disk);
    for bytes in [64 << 10, 512 << 10, 1 << 20, 2 << 20] {
        let small = SmallState::new(dir.path(), bytes);
        let error = Cli::new("convert", &[&disk], &small.0.join("state"))
            .run()
            .expect(6);
        assert_eq!(error["code"], "no-space", "{bytes}: {error}");
        assert_eq!(content_digest(&disk), before, "{bytes}");
        drop(small);
        std::fs::remove_dir(dir.path().join("small")).unwrap();
    }
}

struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_image_in_use_by_a_running_qemu() {
    let dir = tempfile::tempdir().unwrap();
    let disk = vmware_guest(dir.path());
    let drive = format!("file={},format=raw,if=none,id=d", disk.display());
    let child = Command::new("qemu-system-x86_64")
        .args([
            "-S",
            "-display",
            "none",
            "-nodefaults",
            "-machine",
            "q35",
            "-accel",
            "tcg",
        ])
        .args(["-drive", &drive, "-device", "virtio-blk-pci,drive=d"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let qemu = Qemu(child);
    let start = std::time::Instant::now();
    // Not by guestfix itself: its own lock would keep QEMU from starting.
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&disk).unwrap());
    let locked = || {
        std::fs::read_to_string("/proc/locks")
            .unwrap()
            .contains(&format!(":{inode} "))
    };
    while !locked() {
        assert!(start.elapsed().as_secs() < 30, "QEMU never locked its disk");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let error = refused(dir.path(), "convert", &disk, &[], 3);
    assert_eq!(error["code"], "in-use");
    drop(qemu);
    Cli::new("convert", &[&disk], &dir.path().join("state"))
        .arg("--dry-run")
        .run()
        .expect(0);
}

#[test]
fn an_undo_after_the_guest_ran_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let disk = vmware_guest(dir.path());
    Cli::new("convert", &[&disk], &state).run().expect(0);
    // Only another volume is written: swap, which a running guest stamps with nothing but use.
    let facts = Cli::new("inspect", &[&disk], &state).run().expect(0);
    let swap = &facts["volumes"][1];
    assert_eq!(swap["content"]["kind"], "swap");
    let at = swap["offset"].as_u64().unwrap() + 1024;
    let file = std::fs::File::options().write(true).open(&disk).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"used", at).unwrap();
    drop(file);
    let before = content_digest(&disk);
    let error = refused(dir.path(), "undo", &disk, &[], 3);
    assert_eq!(error["code"], "has-run-since");
    assert!(
        error["message"].as_str().unwrap().contains("disk0p5"),
        "{error}"
    );
    assert_eq!(content_digest(&disk), before);
}

#[test]
fn an_undo_without_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let disk = vmware_guest(dir.path());
    let error = refused(dir.path(), "undo", &disk, &[], 3);
    assert_eq!(error["code"], "no-undo-record");
}

#[test]
fn symlinks_in_the_guest_lead_nowhere_outside() {
    let dir = tempfile::tempdir().unwrap();
    let disk = vmware_guest(dir.path());
    let canary = dir.path().join("canary");
    std::fs::write(&canary, "untouched\n").unwrap();
    {
        let mounted = Mounted::new(&disk, disk::FIRST_PARTITION, &dir.path().join("mnt"));
        let root = mounted.path();
        std::fs::remove_file(root.join("etc/fstab")).unwrap();
        std::os::unix::fs::symlink(&canary, root.join("etc/fstab")).unwrap();
        std::fs::create_dir_all(root.join("etc/systemd")).unwrap();
        let _ = std::fs::remove_dir_all(root.join("etc/systemd/network"));
        std::os::unix::fs::symlink(dir.path(), root.join("etc/systemd/network")).unwrap();
    }
    Cli::new("convert", &[&disk], &dir.path().join("state"))
        .arg("--commit-anyway")
        .run();
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched\n");
    let strays: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("guestfix"))
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}
