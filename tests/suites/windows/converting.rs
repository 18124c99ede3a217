// SPDX-License-Identifier: Apache-2.0
//! Conversions of Windows guests, there and back, with a bundle of drivers that drive nothing: what
//! is written is looked at by other readers.
use std::fs;
use std::path::Path;
use std::process::Command;

use guestfix::hive::{Dirty, Hive};
use serde_json::Value;
use tests::case::{Case, changes, verdicts};
use tests::hive::{Reader, assert_same, dump, given};
use tests::windows::{CONFIG, I386, NtfsMount, SERVER_2019, WINDOWS_7, Windows};

/// The real hives of a Windows 7, where they are at hand.
fn windows_7() -> Windows {
    let given = given();
    let mut windows = Windows::bios(WINDOWS_7).on(I386).sized(160);
    for name in ["SYSTEM", "SOFTWARE"] {
        if let Some(sample) = given.get(&format!("win7-x86-vmware/{name}")) {
            windows = windows.with_hive(name, sample.bytes.clone());
        }
    }
    windows
}

/// The real SYSTEM of a Windows 10 that starts by UEFI, beside hives that are made here.
fn windows_10() -> Windows {
    let windows = Windows::efi(SERVER_2019).sized(160);
    match given().get("win10-uefi-vmware/SYSTEM") {
        Some(sample) => windows.with_hive("SYSTEM", sample.bytes.clone()),
        None => windows,
    }
}

fn convert(case: &Case, args: &[&str]) -> Value {
    let bundle = tests::bundle::make(case.dir());
    let cli = case.verb("convert").arg("--drivers").arg(bundle);
    let run = cli.arg("--allow-unsigned-drivers").args(args).run();
    assert!(matches!(run.code, Some(0 | 1)), "{}", run.stderr);
    run.json()
}

/// Every hive of a partition, as two other readers see it.
fn read_by_others(case: &Case, root: u32) {
    let volume = NtfsMount::new(case.disk(), root, case.dir());
    for entry in fs::read_dir(volume.path().join(CONFIG)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        if !bytes.starts_with(b"regf") || path.extension().is_some() {
            continue;
        }
        let hive = Hive::open(bytes, &[], Dirty::Refuse).unwrap();
        hive.check().unwrap();
        let seen: Vec<Reader> = [Reader::Hivex, Reader::Regipy]
            .into_iter()
            .filter(|reader| match reader.dump(&path) {
                Ok(theirs) => {
                    let what = format!("{}, {reader:?}", path.display());
                    assert_same(&dump(&hive, *reader), &theirs, &what);
                    true
                }
                Err(why) => {
                    println!("{}: {reader:?}: {why}", path.display());
                    false
                }
            })
            .collect();
        assert!(!seen.is_empty(), "{}", path.display());
    }
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

/// Convert, look, convert again, undo.
fn there_and_back(windows: &Windows) {
    let case = Case::windows(windows, |_| {});
    let original = case.sha256();
    let report = convert(&case, &["--commit-anyway"]);
    assert_eq!(report["committed"], true, "{report}");
    let kinds = changes(&report, "Changed");
    assert!(kinds.contains(&"edit-hive"), "{kinds:?}");
    for check in ["filesystems-intact", "registry-sound", "filesystem-check"] {
        let verdicts = verdicts(&report, check);
        assert!(!verdicts.is_empty(), "{check}: {report}");
        for verdict in verdicts {
            assert_eq!(verdict["result"], "pass", "{verdict}");
        }
    }
    let converted = case.sha256();
    ntfs_is_sound(case.disk(), windows.root());
    let again = convert(&case, &["--commit-anyway"]);
    assert_eq!(again["committed"], false, "{again}");
    assert_eq!(changes(&again, "Changed"), [""; 0], "{again}");
    assert_eq!(case.sha256(), converted);
    case.undone_to(&original);
    // Other readers mount the volume, which writes to it: last of all, on a conversion of its own.
    convert(&case, &["--commit-anyway"]);
    read_by_others(&case, windows.root());
}

#[test]
fn a_guest_that_starts_by_bios_is_converted_there_and_back() {
    there_and_back(&windows_7());
}

#[test]
fn a_guest_that_starts_by_uefi_is_converted_there_and_back() {
    there_and_back(&windows_10());
}

#[test]
fn a_conversion_that_is_not_ready_writes_nothing() {
    let case = Case::windows(&Windows::bios(SERVER_2019), |_| {});
    let report = case.unharmed("convert", &[], 1);
    assert_eq!(report["committed"], false);
    assert_eq!(report["readiness"], "NotReady");
}

#[test]
fn the_boot_manager_is_copied_where_firmware_looks() {
    let case = Case::windows(&Windows::efi(SERVER_2019), |_| {});
    convert(&case, &["--commit-anyway"]);
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
    let loader = copy("::EFI/BOOT/BOOTX64.EFI");
    assert!(loader == copy("::EFI/Microsoft/Boot/bootmgfw.efi"));
}
