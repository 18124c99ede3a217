// SPDX-License-Identifier: Apache-2.0
//! Bundles and volumes with something wrong in them: an error that says what, and a disk as it was.
use std::fs;
use std::path::Path;

use tests::case::{Case, concern, concerns};
use tests::virtio_win::{self, Infs, Names};
use tests::windows::{NtfsMount, Windows, named};

fn guest(edit: impl FnOnce(&Path)) -> Case {
    guest_of("2k19/amd64", edit)
}

fn guest_of(release: &str, edit: impl FnOnce(&Path)) -> Case {
    Case::windows(&Windows::bios(named(release)).sized(48), edit)
}

/// The drivers of disks and nothing else, changed; a conversion with them that is not ready, and what
/// it says about `id`.
fn refused(id: &str, change: impl FnOnce(&Path)) -> String {
    refused_for("2k19/amd64", id, change)
}

fn refused_for(release: &str, id: &str, change: impl FnOnce(&Path)) -> String {
    let whole = virtio_win::tree(Infs::Own);
    let bundle = tempfile::tempdir().unwrap();
    for driver in ["viostor", "vioscsi"] {
        let from = whole.join(driver);
        tests::tool::run(
            "cp",
            &[
                "-r",
                from.to_str().unwrap(),
                bundle.path().to_str().unwrap(),
            ],
        );
    }
    change(bundle.path());
    let case = guest_of(release, |_| {});
    let args = ["--drivers", bundle.path().to_str().unwrap()];
    let report = case.unharmed("convert", &args, 1);
    assert_eq!(report["committed"], false, "{report}");
    concern(&report, id).to_owned()
}

/// Removes every folder of a driver but those that `keep` names.
fn keep(bundle: &Path, keep: impl Fn(&str) -> bool) {
    for driver in ["viostor", "vioscsi"] {
        for release in fs::read_dir(bundle.join(driver)).unwrap() {
            for arch in fs::read_dir(release.unwrap().path()).unwrap() {
                let path = arch.unwrap().path();
                let below = path.strip_prefix(bundle.join(driver)).unwrap();
                if !keep(below.to_str().unwrap()) {
                    fs::remove_dir_all(path).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_bundle_without_the_release() {
    let said = refused_for("w7/amd64", "no-driver", |bundle| {
        keep(bundle, |folder| folder.starts_with("w10/"));
    });
    assert!(said.contains("Windows 7"), "{said}");
}

#[test]
fn a_bundle_for_another_architecture() {
    let said = refused("no-driver", |bundle| {
        keep(bundle, |folder| folder.ends_with("x86"))
    });
    assert!(said.contains("x86 only"), "{said}");
}

#[test]
fn a_bundle_with_broken_infs() {
    let said = refused("no-driver", |bundle| {
        keep(bundle, |folder| folder == "2k19/amd64");
        fs::write(bundle.join("viostor/2k19/amd64/viostor.inf"), "[Version\n").unwrap();
    });
    assert!(said.contains("virtio-blk"), "{said}");
}

#[test]
fn a_bundle_with_a_broken_catalogue() {
    let said = refused("driver-unsigned", |bundle| {
        keep(bundle, |folder| folder == "2k19/amd64");
        for driver in ["viostor", "vioscsi"] {
            let catalogue = format!("{driver}/2k19/amd64/{driver}.cat");
            fs::write(bundle.join(catalogue), "no catalogue").unwrap();
        }
    });
    assert!(said.contains("--allow-unsigned-drivers"), "{said}");
}

#[test]
fn an_iso_cut_short_and_a_bundle_that_is_none() {
    let case = guest(|_| {});
    let image = case.dir().join("cut.iso");
    virtio_win::iso(&virtio_win::tree(Infs::Own), Names::Both, &image);
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.set_len(1 << 20).unwrap();
    let error = case.unharmed("convert", &["--drivers", image.to_str().unwrap()], 5);
    assert_eq!(error["code"], "iso-cut-short");
    let empty = tempfile::tempdir().unwrap();
    let error = case.unharmed("convert", &["--drivers", empty.path().to_str().unwrap()], 4);
    assert_eq!(error["code"], "no-bundle");
    let error = case.unharmed("convert", &["--drivers", "/nonexistent"], 6);
    assert!(
        error["disk"].as_str().unwrap().contains("/nonexistent"),
        "{error}"
    );
}

/// Converts with the whole bundle.
fn converted(case: &Case) {
    let bundle = virtio_win::tree(Infs::Own);
    case.converted(&["--drivers", bundle.to_str().unwrap()]);
}

#[test]
fn paths_in_another_case_are_written_where_they_are() {
    let case = guest(|top| {
        for (from, to) in [
            ("Windows/System32/drivers", "Windows/System32/DRIVERS"),
            ("Windows/System32", "Windows/SYSTEM32"),
            ("Windows/INF", "Windows/inf"),
            ("Windows", "WINDOWS"),
        ] {
            // NTFS takes the new spelling only by way of another name.
            fs::rename(top.join(from), top.join("between")).unwrap();
            fs::rename(top.join("between"), top.join(to)).unwrap();
        }
    });
    let original = case.sha256();
    converted(&case);
    let volume = NtfsMount::new(case.disk(), 1, case.dir());
    let placed = volume.path().join("WINDOWS/SYSTEM32/DRIVERS/viostor.sys");
    assert!(placed.is_file());
    let names: Vec<_> = fs::read_dir(volume.path())
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(!names.iter().any(|name| name == "Windows"), "{names:?}");
    drop(volume);
    assert_ne!(case.sha256(), original);
}

#[test]
fn a_volume_with_shadow_copies_is_converted_with_a_warning() {
    let case = guest(|top| {
        let folder = top.join("System Volume Information");
        fs::create_dir_all(&folder).unwrap();
        let store = "{3808876b-c176-4e48-b7ae-04046e6cc752}";
        fs::write(folder.join(store), [0; 64]).unwrap();
        fs::write(
            folder.join(format!("{{0a0b0c0d-0000-11ee-9000-000c29661aa2}}{store}")),
            [0; 64],
        )
        .unwrap();
    });
    let bundle = virtio_win::tree(Infs::Own);
    let report = case.converted(&["--drivers", bundle.to_str().unwrap()]);
    assert!(concerns(&report).contains(&"shadow-copies"), "{report}");
}

/// A junction at a directory ([MS-FSCC] 2.1.2.5).
fn junction(at: &Path, target: &str) {
    let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let len = name.len() as u16;
    let mut data = 0xa000_0003_u32.to_le_bytes().to_vec();
    for number in [len + 12, 0, 0, len, len + 2, 0] {
        data.extend(number.to_le_bytes());
    }
    data.extend([&name[..], &[0; 4]].concat());
    tests::tool::attribute(at, "system.ntfs_reparse_data", &data);
}

/// A junction stands in the place of a directory that is written.
fn through(path: &str, target: &str) {
    let case = guest(|top| {
        let at = top.join(path);
        let _ = fs::remove_dir_all(&at);
        fs::create_dir(&at).unwrap();
        junction(&at, target);
    });
    let bundle = virtio_win::tree(Infs::Own);
    let before = case.sha256();
    let run = case.verb("convert").arg("--drivers").arg(bundle).run();
    let what = format!("{path} -> {target}: {run:?}");
    assert!(!matches!(run.code, None | Some(0 | 70)), "{what}");
    let said = run.json();
    let critical = |all: &Vec<serde_json::Value>| all.iter().any(|c| c["category"] == "Critical");
    let told = said["message"].is_string() || said["concerns"].as_array().is_some_and(critical);
    assert!(told, "{what}");
    assert_eq!(case.sha256(), before, "{what}");
}

#[test]
fn junctions_that_loop_or_leave_the_volume_are_errors() {
    for path in ["Windows/System32/drivers", "Windows/INF"] {
        let own = format!("\\??\\C:\\{}", path.replace('/', "\\"));
        through(path, &own);
        through(path, "\\??\\D:\\elsewhere");
    }
}
