// SPDX-License-Identifier: Apache-2.0
//! Guests on every filesystem, by splice and by rebuild: converted, verified, converted again, and
//! undone to the last bit.

use std::os::unix::fs::FileExt;

use serde_json::Value;
use tests::case::{Case, changes, concern, concerns, verdicts};
use tests::small::{Filesystem, INITRAMFS, Small};

/// Who else than the kernel must have found nothing wrong.
fn reader(filesystem: Filesystem) -> Option<&'static str> {
    match filesystem {
        Filesystem::Ext4 => None,
        Filesystem::Xfs => Some("xfs_repair -n"),
        Filesystem::Btrfs => Some("btrfs check --readonly"),
    }
}

/// Converts in that mode, and walks the whole way back.
fn there_and_back(case: &Case, filesystem: Filesystem, mode: &str) -> Value {
    let original = case.sha256();
    let report = case.converted(&["--initramfs", mode]);
    assert_ne!(report["readiness"], "NotReady");
    let readers: Vec<&str> = verdicts(&report, "filesystem-check")
        .into_iter()
        .inspect(|verdict| assert_eq!(verdict["result"], "pass", "{verdict}"))
        .map(|verdict| verdict["reader"].as_str().unwrap())
        .collect();
    if let Some(reader) = reader(filesystem) {
        assert!(readers.contains(&reader), "{readers:?}");
        let mounted = &verdicts(&report, "initramfs-drivers")[0];
        assert_eq!(mounted["reader"], "private mount", "mounted afresh");
    }
    let compared = verdicts(&report, "initramfs-complete");
    assert_eq!(compared.len(), 1, "{}", report["verdicts"]);
    let converted = case.sha256();
    assert_ne!(converted, original);

    let verified = case.verb("verify").run().expect(0);
    assert_ne!(verified["readiness"], "NotReady");
    let again = case.verb("convert").args(["--initramfs", mode]).run();
    let again = again.expect(0);
    assert_eq!(again["committed"], false);
    assert_eq!(changes(&again, "Changed"), [""; 0]);
    assert_eq!(
        case.sha256(),
        converted,
        "verify or the second convert wrote"
    );
    case.undone_to(&original);
    report
}

#[test]
fn a_small_guest_on_each_filesystem_goes_there_and_back_by_splice_and_by_rebuild() {
    for filesystem in Filesystem::ALL {
        let (case, _) = Case::small(Small::on(filesystem), |_| {});
        let spliced = there_and_back(&case, filesystem, "splice");
        assert!(changes(&spliced, "Changed").contains(&"append-initramfs"));
        let rebuilt = there_and_back(&case, filesystem, "rebuild");
        assert!(changes(&rebuilt, "Changed").contains(&"rebuild-initramfs"));
        let also = concerns(&spliced).contains(&"other-roots");
        assert_eq!(also, filesystem == Filesystem::Btrfs);
    }
}

#[test]
fn a_snapshot_beside_the_root_is_named_and_left_as_it_is() {
    let (case, disk) = Case::small(Small::on(Filesystem::Btrfs), |_| {});
    let report = case.converted(&[]);
    let told = concern(&report, "other-roots");
    assert!(told.contains("disk0p1:@ is converted"), "{told}");
    assert!(told.contains("@snapshots/1"), "{told}");
    let mounted = disk.mounted(case.dir());
    let read = |root: &str| std::fs::read(mounted.path().join(root).join(INITRAMFS)).unwrap();
    assert!(read("@").len() > read("@snapshots/1").len());
    let kept = mounted.path().join("@snapshots/1/etc/fstab");
    assert!(
        std::fs::read_to_string(kept)
            .unwrap()
            .starts_with("/dev/sda1 /")
    );
}

#[test]
fn debian_13_on_xfs_by_uefi_with_dracut_is_spliced() {
    let report = there_and_back(&Case::guest("trixie-uefi-xfs"), Filesystem::Xfs, "splice");
    assert_eq!(report["target"]["firmware"], "efi");
    let loader = verdicts(&report, "efi-fallback-loader")[0];
    let told = loader["detail"].as_str().unwrap();
    assert!(told.ends_with("signed throughout"), "{loader}");
    let readers = verdicts(&report, "filesystem-check");
    assert!(readers.iter().any(|v| v["reader"] == "fsck.vfat -n"));
}

#[test]
fn debian_13_has_its_initramfs_made_anew_by_dracut() {
    let report = there_and_back(&Case::guest("trixie-uefi-xfs"), Filesystem::Xfs, "rebuild");
    assert!(changes(&report, "Changed").contains(&"rebuild-initramfs"));
}

#[test]
fn debian_11_on_btrfs_with_a_snapshot_is_spliced_and_rebuilt() {
    let case = Case::guest("bullseye-btrfs");
    let report = there_and_back(&case, Filesystem::Btrfs, "splice");
    assert!(concern(&report, "other-roots").contains("@snapshots/1"));
    there_and_back(&case, Filesystem::Btrfs, "rebuild");
}

/// A guest that only ran leaves its traces in places that the conversion did not write.
#[test]
fn a_guest_that_ran_since_is_not_undone() {
    for filesystem in Filesystem::ALL {
        let (case, disk) = Case::small(Small::on(filesystem), |_| {});
        case.converted(&[]);
        let mounted = disk.mounted(case.dir());
        std::fs::write(disk.root_in(&mounted).join("etc/ran"), "").unwrap();
        drop(mounted);
        refused_to_undo(&case, "superblock");
    }
}

/// XFS notes little in its superblock; its log has moved in any case.
#[test]
fn the_head_of_an_xfs_log_tells_by_itself_that_the_guest_ran() {
    let (case, disk) = Case::small(Small::on(Filesystem::Xfs), |_| {});
    case.converted(&[]);
    let (offset, _) = tests::disk::partition(&disk.path, disk.root);
    let mut both = std::fs::File::options();
    let file = both.read(true).write(true).open(&disk.path).unwrap();
    let mut superblock = [0; 512];
    file.read_exact_at(&mut superblock, offset).unwrap();
    drop(disk.mounted(case.dir()));
    file.write_all_at(&superblock, offset).unwrap();
    drop(file);
    refused_to_undo(&case, "log head");
}

fn refused_to_undo(case: &Case, what: &str) {
    let ran = case.sha256();
    let error = case.verb("undo").run().expect(3);
    assert_eq!(error["code"], "has-run-since", "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(what), "{message}");
    assert_eq!(case.sha256(), ran, "a refused undo wrote");
}

#[test]
fn a_change_tells_whether_every_user_of_the_guest_may_read_it() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    for filesystem in Filesystem::ALL {
        for (path, mode, readable) in [
            ("etc/fstab", 0o644, true),
            ("etc/fstab", 0o640, false),
            ("etc", 0o750, false),
        ] {
            let (case, _) = Case::small(Small::on(filesystem), |tree| {
                set_permissions(tree.join(path), Permissions::from_mode(mode)).unwrap();
            });
            let plan = case.verb("plan").run().expect(0);
            let mut all = plan["changes"].as_array().unwrap().iter();
            let fstab = all.find(|change| change["path"] == "/etc/fstab").unwrap();
            let about = format!("{} {path} {mode:o}", filesystem.name());
            assert_eq!(fstab["world_readable"], readable, "{about}");
            assert!(fstab["diff"].as_str().unwrap().contains("/dev/"), "{about}");
        }
    }
}
