// SPDX-License-Identifier: Apache-2.0
//! What a conversion makes and takes away in a guest: labels, VMware's own installation, scripts
//! for the first boot, and files that are not as they should be.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;
use tests::case::{Case, changes, concern, concerns};
use tests::disk::partition;
use tests::small::{Filesystem, Small, SmallDisk};
use tests::tool::{self, Mounted};

const POLICY: &str = "/.*\tsystem_u:object_r:default_t:s0\n/etc(/.*)?\tsystem_u:object_r:etc_t:s0\n/usr/(.*/)?sbin(/.*)?\tsystem_u:object_r:bin_t:s0\n/usr/lib/systemd/system(/.*)?\tsystem_u:object_r:unit_t:s0\n";

fn put(tree: &Path, path: &str, content: &str) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn with_selinux(tree: &Path, policy: &str) {
    let dir = "etc/selinux/targeted/contexts/files";
    put(
        tree,
        "etc/selinux/config",
        "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
    );
    put(tree, &format!("{dir}/file_contexts"), policy);
    put(
        tree,
        &format!("{dir}/file_contexts.subs_dist"),
        "/etc/systemd/system /usr/lib/systemd/system\n",
    );
    put(tree, "usr/lib/systemd/systemd", "");
}

fn script(case: &Case) -> String {
    let path = case.dir().join("hello world.sh");
    fs::write(&path, "#!/bin/sh\necho hello\n").unwrap();
    path.to_str().unwrap().to_owned()
}

fn mounted<T>(case: &Case, disk: &SmallDisk, look: impl FnOnce(&Path) -> T) -> T {
    let (offset, _) = partition(case.disk(), disk.root);
    let point = case.dir().join("look");
    fs::create_dir_all(&point).unwrap();
    let mount = Mounted::with(case.disk(), offset, "ro", &point);
    look(mount.path())
}

fn label(root: &Path, path: &str) -> String {
    let shown = tool::run("ls", &["-dZ", root.join(path).to_str().unwrap()]);
    let mut words = shown.split_whitespace();
    words.next().unwrap_or_default().to_owned()
}

fn labelled(report: &Value) -> Vec<&str> {
    let all = report["changes"].as_array().unwrap().iter();
    let labels = all.filter(|change| change["kind"] == "label");
    labels
        .map(|change| change["path"].as_str().unwrap())
        .collect()
}

#[test]
fn new_files_get_the_labels_of_the_guests_policy_and_everything_goes_back() {
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
        let (case, disk) = Case::small(Small::on(filesystem), |tree| with_selinux(tree, POLICY));
        let original = case.sha256();
        let report = case.converted(&["--firstboot", &script(&case)]);
        assert!(!concerns(&report).contains(&"selinux-relabel"));
        assert!(labelled(&report).contains(&"/usr/local/sbin/guestfix-firstboot"));
        mounted(&case, &disk, |root| {
            for (path, want) in [
                ("usr/local/sbin/guestfix-firstboot", "bin_t"),
                (
                    "usr/local/lib/guestfix/firstboot/001-hello_world.sh",
                    "default_t",
                ),
                ("usr/local/lib/guestfix", "default_t"),
                ("etc/systemd/system/guestfix-firstboot.service", "unit_t"),
                (
                    "etc/systemd/system/multi-user.target.wants/guestfix-firstboot.service",
                    "unit_t",
                ),
            ] {
                assert_eq!(
                    label(root, path),
                    format!("system_u:object_r:{want}:s0"),
                    "{path}"
                );
            }
            assert_eq!(
                label(root, "etc/fstab"),
                "?",
                "what was there keeps what it had"
            );
            assert!(!root.join(".autorelabel").exists());
        });
        let again = case.verb("convert").args(["--firstboot", &script(&case)]);
        assert_eq!(again.run().expect(0)["committed"], false);
        case.undone_to(&original);
    }
}

#[test]
fn a_policy_that_is_not_understood_has_the_guest_relabel_itself_and_that_is_said() {
    let policy = format!("{POLICY}/usr/local/sbin/(?=g).*\tsystem_u:object_r:odd_t:s0\n");
    let (case, disk) = Case::small(Small::on(Filesystem::Ext4), |tree| {
        with_selinux(tree, &policy)
    });
    let report = case.converted(&["--firstboot", &script(&case)]);
    assert!(concern(&report, "selinux-relabel").contains("not understood"));
    mounted(&case, &disk, |root| {
        assert!(root.join(".autorelabel").exists())
    });
}

#[test]
fn vmwares_own_installation_goes_by_its_records_and_immutable_files_stay_so() {
    let records = "file /etc/vmware-tools/locations\nfile /usr/bin/vmware-toolbox-cmd 1\nfile /usr/lib/vmware-tools/etc/passwd 1\nfile /etc/fstab 1\ndirectory /usr/lib/vmware-tools\ndirectory /usr/lib/vmware-tools/sbin\nfile /usr/lib/vmware-tools/sbin/vmtoolsd 1\n";
    let (case, disk) = Case::small(Small::on(Filesystem::Ext4), |tree| {
        put(tree, "etc/vmware-tools/locations", records);
        put(tree, "usr/bin/vmware-toolbox-cmd", "x");
        put(tree, "usr/lib/vmware-tools/sbin/vmtoolsd", "x");
        put(tree, "etc/passwd", "root:x:0:0::/:/bin/sh\n");
        put(tree, "etc/modules", "vmhgfs\r\n# \u{e9}\r\n");
    });
    let (offset, _) = partition(case.disk(), disk.root);
    let point = case.dir().join("freeze");
    fs::create_dir_all(&point).unwrap();
    {
        let mount = Mounted::new(case.disk(), offset, &point);
        std::os::unix::fs::symlink("/etc", mount.path().join("usr/lib/vmware-tools/etc")).unwrap();
        let modules = mount.path().join("etc/modules");
        tool::run("chattr", &["+i", modules.to_str().unwrap()]);
    }
    let original = case.sha256();
    let report = case.converted(&["--no-guest-code"]);
    assert!(changes(&report, "Changed").contains(&"remove-files"));
    concern(&report, "vmware-tools-records-left");
    mounted(&case, &disk, |root| {
        for gone in [
            "etc/vmware-tools/locations",
            "usr/bin/vmware-toolbox-cmd",
            "usr/lib/vmware-tools/sbin",
        ] {
            assert!(!root.join(gone).exists(), "{gone}");
        }
        // A link was put there that leads out: what is behind it is not theirs.
        for there in ["etc/passwd", "etc/fstab", "usr/lib/vmware-tools"] {
            assert!(root.join(there).exists(), "{there}");
        }
        let modules = root.join("etc/modules");
        assert_eq!(
            fs::read_to_string(&modules).unwrap(),
            "#guestfix: vmhgfs\r\n# \u{e9}\r\n"
        );
        let flags = tool::run("lsattr", &[modules.to_str().unwrap()]);
        assert!(
            flags.split_whitespace().next().unwrap().contains('i'),
            "{flags}"
        );
    });
    case.undone_to(&original);
}

#[test]
fn a_damaged_rpm_database_and_a_huge_file_are_told_and_left_alone() {
    let (case, disk) = Case::small(Small::on(Filesystem::Ext4), |tree| {
        put(
            tree,
            "var/lib/rpm/rpmdb.sqlite",
            "SQLite format 3\0 and no more",
        );
        put(tree, "etc/modules", "");
        File::options()
            .write(true)
            .open(tree.join("etc/modules"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
    });
    let report = case.converted(&[]);
    let said = concerns(&report);
    assert!(said.contains(&"package-database-unreadable"), "{said:?}");
    assert!(said.contains(&"unreadable-file"), "{said:?}");
    mounted(&case, &disk, |root| {
        assert_eq!(
            fs::metadata(root.join("etc/modules")).unwrap().len(),
            1 << 30
        );
    });
}
