// SPDX-License-Identifier: Apache-2.0
use super::super::fixture::{gathered, program, software, system, volume};
use super::*;
use crate::hive::script::Edit;
use crate::plan::Bus;

#[test]
fn product_version_and_control_sets_are_read() {
    let facts = gathered(volume(&system(), &software()));
    assert_eq!(facts.guest.pretty_name, "Windows Server 2019 Standard");
    assert_eq!(facts.guest.arch, "x86_64");
    assert_eq!(facts.guest.hostname.as_deref(), Some("SRV1"));
    assert_eq!(facts.guest.build.as_deref(), Some("17763"));
    let windows = facts.windows.as_ref().unwrap();
    assert_eq!(windows.nt_version, "10.0");
    assert_eq!(windows.control_sets, [1, 2]);
    assert_eq!(windows.system_drive.as_deref(), Some("C:"));
    assert_eq!(windows.system_root, "/Windows");
    assert_eq!(windows.product_type, "ServerNT");
    assert_eq!(windows.revision, 1339);
    assert!(!windows.clock_is_utc);
    let target = Target::recommend(&facts, Bus::Virtio);
    assert_eq!(check(&facts, &target).result, crate::verify::Outcome::Pass);
    assert!(
        propose(&facts, &target, &Policy::default())
            .concerns
            .is_empty()
    );
}

#[test]
fn windows_11_is_told_by_its_build() {
    let key = VERSION;
    let software = [
        software(),
        vec![
            Edit::text(key, "ProductName", "Windows 10 Pro"),
            Edit::text(key, "CurrentBuildNumber", "22631"),
        ],
    ];
    let facts = gathered(volume(&system(), &software.concat()));
    assert_eq!(facts.guest.product.as_deref(), Some("Windows 11 Pro"));
}

#[test]
fn what_no_driver_could_fit_is_critical() {
    let volume = volume(&system(), &[]).file("/Windows/System32/ntoskrnl.exe", program(0x200));
    let facts = gathered(volume);
    let target = Target::recommend(&facts, Bus::Virtio);
    let concerns = propose(&facts, &target, &Policy::default()).concerns;
    assert_eq!(concerns[0].id, "windows-unknown");
    assert_eq!(check(&facts, &target).result, crate::verify::Outcome::Fail);
}

#[test]
fn a_drive_letter_is_a_letter_and_a_colon() {
    assert_eq!(drive("c:\\WINDOWS").as_deref(), Some("C:"));
    assert_eq!(drive("\\Windows"), None);
    assert_eq!(drive("\u{e4}:\\"), None);
    assert_eq!(drive(""), None);
}
