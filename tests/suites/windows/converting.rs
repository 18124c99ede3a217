// SPDX-License-Identifier: Apache-2.0
//! Conversions of Windows guests, there and back, with a bundle of drivers that drive nothing: what
//! is written is looked at by other readers.
use std::fs;
use std::path::Path;
use std::process::Command;

use guestfix::hive::{Dirty, Hive};
use serde_json::Value;
use tests::case::{Case, changes, verdicts};
use tests::hive::{Reader, assert_same, dump};
use tests::virtio_win::{self, Infs};
use tests::windows::{CONFIG, NtfsMount, RELEASES, Windows, named};

fn convert(case: &Case, infs: Infs) -> Value {
    let cli = case.verb("convert").arg("--drivers");
    let run = cli.arg(virtio_win::tree(infs)).run();
    assert_eq!(
        run.code,
        Some(0),
        "{} {}",
        run.stderr,
        String::from_utf8_lossy(&run.stdout)
    );
    run.json()
}

/// Every hive of a partition, as two other readers see it.
fn read_by_others(case: &Case, root: u32) {
    let volume = NtfsMount::new(case.disk(), root, case.dir());
    let mut seen = 0;
    for entry in fs::read_dir(volume.path().join(CONFIG)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        if !bytes.starts_with(b"regf") || path.extension().is_some() {
            continue;
        }
        let hive = Hive::open(bytes, &[], Dirty::Refuse).unwrap();
        hive.check().unwrap();
        for reader in [Reader::Hivex, Reader::Regipy] {
            let what = format!("{}, {reader:?}", path.display());
            let theirs = reader
                .dump(&path)
                .unwrap_or_else(|why| panic!("{what}: {why}"));
            assert_same(&dump(&hive, reader), &theirs, &what);
        }
        seen += 1;
    }
    assert!(seen >= 3, "{seen} hives");
}

/// ntfs-3g's own checker, on the volume as it is.
fn ntfs_is_sound(image: &Path, number: u32) {
    let (offset, len) = tests::disk::partition(image, number);
    let device = tests::tool::LoopDevice::part(image, offset, len);
    let out = Command::new("ntfsfix")
        .arg("-n")
        .arg(device.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}");
    assert!(said.contains("processed successfully"), "{said}");
}

/// What must be true of every report, and of the disk.
fn is_sound(case: &Case, windows: &Windows, report: &Value) {
    assert_eq!(report["committed"], true, "{report}");
    let kinds = changes(report, "Changed");
    assert!(kinds.contains(&"edit-hive"), "{kinds:?}");
    for check in [
        "boot-driver",
        "filesystems-intact",
        "registry-sound",
        "filesystem-check",
    ] {
        let verdicts = verdicts(report, check);
        assert!(!verdicts.is_empty(), "{check}: {report}");
        for verdict in verdicts {
            assert_eq!(verdict["result"], "pass", "{verdict}");
        }
    }
    ntfs_is_sound(case.disk(), windows.root());
}

/// Convert, look, convert again, undo.
fn there_and_back(windows: &Windows, infs: Infs) {
    let case = Case::windows(windows, |_| {});
    let original = case.sha256();
    let report = convert(&case, infs);
    is_sound(&case, windows, &report);
    let converted = case.sha256();
    let again = convert(&case, infs);
    assert_eq!(again["committed"], false, "{again}");
    assert_eq!(changes(&again, "Changed"), [""; 0], "{again}");
    assert_eq!(case.sha256(), converted);
    case.undone_to(&original);
    // Other readers mount the volume, which writes to it: last of all, on a conversion of its own.
    convert(&case, infs);
    read_by_others(&case, windows.root());
}

#[test]
fn a_guest_that_starts_by_bios_is_converted_there_and_back() {
    for infs in virtio_win::sources() {
        there_and_back(&Windows::windows_7(), infs);
    }
}

#[test]
fn a_guest_that_starts_by_uefi_is_converted_there_and_back() {
    for infs in virtio_win::sources() {
        there_and_back(&Windows::windows_10(), infs);
    }
}

/// Synthetic guests: see `tests/support/windows/release.rs`.
#[test]
fn every_release_is_converted_and_its_hives_are_read_alike_by_others() {
    for release in RELEASES {
        println!("{}", release.name);
        let windows = match release.build {
            ..9200 => Windows::bios(release),
            _ => Windows::efi(release),
        };
        let windows = windows.sized(48);
        let case = Case::windows(&windows, |_| {});
        let report = convert(&case, Infs::Own);
        is_sound(&case, &windows, &report);
        read_by_others(&case, windows.root());
    }
}

#[test]
fn a_conversion_that_is_not_ready_writes_nothing() {
    let case = Case::windows(&Windows::bios(named("2k19/amd64")), |_| {});
    let report = case.unharmed("convert", &[], 1);
    assert_eq!(report["committed"], false);
    assert_eq!(report["readiness"], "NotReady");
}

#[test]
fn the_boot_manager_is_copied_where_firmware_looks() {
    for (name, loader) in [("2k19/amd64", "BOOTX64.EFI"), ("w11/arm64", "BOOTAA64.EFI")] {
        let case = Case::windows(&Windows::efi(named(name)), |_| {});
        convert(&case, Infs::Own);
        let (offset, _) = tests::disk::partition(case.disk(), 1);
        let inside = format!("{}@@{offset}", case.disk().display());
        let copy = |path: &str| {
            let out = Command::new("mtype")
                .args(["-i", &inside, path])
                .output()
                .unwrap();
            assert!(out.status.success(), "{path}");
            out.stdout
        };
        let loader = copy(&format!("::EFI/BOOT/{loader}"));
        assert!(
            loader == copy("::EFI/Microsoft/Boot/bootmgfw.efi"),
            "{name}"
        );
    }
}

/// Programs that were made during a conversion must not be writable for everybody: the access rights
/// are those that Windows gives to what is made in that directory.
#[test]
fn what_is_made_inherits_the_access_rights_of_its_directory() {
    let mut own = Vec::new();
    let case = Case::windows(&Windows::bios(named("2k19/amd64")), |top| {
        own = restricted(&top.join("Windows"));
    });
    convert(&case, Infs::Own);
    let volume = NtfsMount::new(case.disk(), 1, case.dir());
    for made in [
        "Windows/guestfix",
        "Windows/guestfix/firstboot.cmd",
        "Windows/Drivers/VirtIO",
        "Windows/Drivers/VirtIO/netkvm.inf",
    ] {
        let acl = acl(&volume.path().join(made));
        assert!(!acl.is_empty(), "{made}");
        assert!(
            own.iter().all(|ace| acl.contains(ace)),
            "{made}: {acl:x?} {own:x?}"
        );
        // S-1-1-0, everybody.
        let everybody = [1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        assert!(
            !acl.iter().any(|ace| ace.1 == everybody),
            "{made}: {acl:x?}"
        );
    }
}

/// An entry of an access control list: its mask and whom it is for.
type Ace = (u32, Vec<u8>);

const ACL: &str = "system.ntfs_acl";

/// Gives a directory a list whose entries what is made below it inherits: SYSTEM everything, users
/// reading ([MS-DTYP] 2.4.6).
fn restricted(dir: &Path) -> Vec<Ace> {
    let system = vec![1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
    let users = vec![1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x21, 2, 0, 0];
    let aces = [(0x1f_01ff_u32, system.clone()), (0x12_00a9, users)];
    let list: Vec<u8> = aces
        .iter()
        .flat_map(|(mask, sid)| {
            let len = (8 + sid.len()) as u16;
            // Access allowed, inherited by files and directories.
            [&[0, 3][..], &len.to_le_bytes(), &mask.to_le_bytes(), sid].concat()
        })
        .collect();
    let (owner, group) = (20_u32, 20 + system.len() as u32);
    let at = group + system.len() as u32;
    let mut out = vec![1, 0, 4, 0x80];
    for offset in [owner, group, 0, at] {
        out.extend(offset.to_le_bytes());
    }
    out.extend([&system[..], &system].concat());
    out.extend([2, 0]);
    out.extend(((8 + list.len()) as u16).to_le_bytes());
    out.extend([2, 0, 0, 0]);
    out.extend(list);
    tests::tool::attribute(dir, ACL, &out);
    aces.to_vec()
}

/// The entries of a file's list that allow something.
fn acl(path: &Path) -> Vec<Ace> {
    let args = ["-h", "--only-values", "-n", ACL, path.to_str().unwrap()];
    let out = Command::new("getfattr").args(args).output().unwrap();
    assert!(out.status.success(), "{}", path.display());
    let all = out.stdout;
    let number = |at: usize, len: usize| {
        let bytes = all[at..at + len].iter().rev();
        bytes.fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let list = number(16, 4);
    let (mut at, mut out) = (list + 8, Vec::new());
    for _ in 0..number(list + 4, 2) {
        let len = number(at + 2, 2);
        out.push((number(at + 4, 4) as u32, all[at + 8..at + len].to_vec()));
        at += len;
    }
    out
}
