// SPDX-License-Identifier: Apache-2.0
//! What is read of a Windows guest, and that reading writes nothing.
use std::fs;
use std::path::Path;
use tests::case::Case;
use tests::windows::{Windows, named};

#[test]
fn a_guest_that_starts_by_bios_is_known_by_its_registry() {
    let case = Case::windows(&Windows::bios(named("2k19/amd64")), |_| {});
    let facts = case.unharmed("inspect", &[], 0);
    assert_eq!(facts["guest"]["family"], "windows");
    assert_eq!(
        facts["guest"]["pretty_name"],
        "Windows Server 2019 Standard"
    );
    assert_eq!(facts["guest"]["build"], "17763");
    assert_eq!(facts["guest"]["arch"], "x86_64");
    assert_eq!(facts["guest"]["hostname"], "srv1");
    assert_eq!(facts["firmware"], "bios");
    assert_eq!(facts["windows"]["system_root"], "/Windows");
    assert_eq!(facts["windows"]["control_sets"], serde_json::json!([1, 2]));
    assert_eq!(facts["windows"]["time_zone"], "W. Europe Standard Time");
    assert_eq!(facts["root"], "disk0p1");
}

#[test]
fn a_guest_that_starts_by_uefi_has_its_esp_read() {
    let case = Case::windows(&Windows::efi(named("2k19/amd64")), |_| {});
    let facts = case.unharmed("inspect", &[], 0);
    assert_eq!(facts["firmware"], "efi");
    assert_eq!(facts["root"], "disk0p3");
    let loaders = facts["efi"]["loaders"].as_array().unwrap();
    let paths: Vec<&str> = loaders
        .iter()
        .map(|l| l["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert!(
        paths[0].ends_with("/EFI/Microsoft/Boot/bootmgfw.efi"),
        "{paths:?}"
    );
}

#[test]
fn a_32_bit_guest_is_told_by_its_programs() {
    let case = Case::windows(&Windows::bios(named("w7/x86")), |_| {});
    let facts = case.unharmed("inspect", &[], 0);
    assert_eq!(facts["guest"]["arch"], "i386");
    assert_eq!(facts["windows"]["nt_version"], "6.1");
}

#[test]
fn names_in_another_case_and_short_names_are_found() {
    let case = Case::windows(&Windows::bios(named("2k19/amd64")), |top| {
        rename(
            top,
            "Windows/System32/config/SYSTEM",
            "Windows/System32/config/System",
        );
        rename(top, "Windows/System32", "Windows/system32");
        rename(top, "Windows", "WINDOWS");
    });
    let facts = case.unharmed("inspect", &[], 0);
    assert_eq!(facts["windows"]["system_root"], "/WINDOWS");
    assert_eq!(facts["guest"]["build"], "17763");
}

/// NTFS takes the new spelling only by way of another name.
fn rename(top: &Path, from: &str, to: &str) {
    fs::rename(top.join(from), top.join("between")).unwrap();
    fs::rename(top.join("between"), top.join(to)).unwrap();
}

#[test]
fn hives_behind_a_junction_and_in_compressed_files_are_read() {
    let case = Case::windows(&Windows::bios(named("2k19/amd64")), |top| {
        // FILE_ATTRIBUTE_COMPRESSED: what is made there from now on is compressed.
        let config = top.join("Windows/System32/config");
        tests::tool::attribute(&config, "system.ntfs_attrib_be", &[0, 0, 8, 0x10]);
        let bytes = fs::read(config.join("SOFTWARE")).unwrap();
        fs::remove_file(config.join("SOFTWARE")).unwrap();
        fs::write(config.join("SOFTWARE"), bytes).unwrap();
    });
    let facts = case.unharmed("inspect", &[], 0);
    assert_eq!(
        facts["guest"]["pretty_name"],
        "Windows Server 2019 Standard"
    );
}
