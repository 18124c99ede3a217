// SPDX-License-Identifier: Apache-2.0
//! A hostile guest has put symlinks in the place of whatever a conversion writes. They lead out of
//! the guest, to files of this machine that hold what the guest's own held.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tests::case::Case;
use tests::small::{Filesystem, INITRAMFS, Small, SmallDisk};

/// What is written, or may be: files, and directories on the way to them.
const PATHS: [&str; 17] = [
    "etc/fstab",
    "etc/default/grub",
    "etc/default/grub.d",
    "etc/default",
    "boot/grub/grub.cfg",
    "boot/grub",
    "boot",
    INITRAMFS,
    "etc/initramfs-tools/modules",
    "etc/initramfs-tools/conf.d",
    "etc/initramfs-tools",
    "etc/dracut.conf.d",
    "etc/systemd/network",
    "etc/systemd/system",
    "etc/systemd",
    "etc/udev/rules.d",
    "boot/efi",
];

/// Every file below a directory, with its content.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                todo.push(path.clone());
                all.insert(path, Vec::new());
            } else if meta.is_file() {
                all.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    all
}

/// Moves what is at `path` of the guest to `outside` of this machine, and leaves a link that leads
/// there, `up` so many directories first.
fn lead_out(root: &Path, path: &str, outside: &Path, up: &str) {
    let inside = root.join(path);
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    let canary = outside.join("canary");
    if inside.is_dir() {
        let from = inside.join(".");
        fs::create_dir(&canary).unwrap();
        let args = ["-r", from.to_str().unwrap(), canary.to_str().unwrap()];
        tests::tool::run("cp", &args);
        fs::remove_dir_all(&inside).unwrap();
    } else if inside.exists() {
        fs::copy(&inside, &canary).unwrap();
        fs::remove_file(&inside).unwrap();
    } else {
        fs::create_dir(&canary).unwrap();
    }
    symlink(format!("{up}{}", canary.display()), inside).unwrap();
}

/// Converts a guest with a link at `path`; what the machine has must stay as it is, and the guest
/// is refused or converted whole.
fn converted_with_link(case: Case, disk: &SmallDisk, path: &str, up: &str, mode: &str) -> Case {
    let linked = disk.cloned("linked.img");
    let outside = case.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    {
        let mounted = linked.mounted(case.dir());
        lead_out(&linked.root_in(&mounted), path, &outside, up);
    }
    let case = case.on(&linked.path);
    let (machine, original) = (snapshot(&outside), case.sha256());
    assert!(!machine.is_empty());
    let run = case.verb("convert").args(["--initramfs", mode]).run();
    let document = run.json();
    assert!(snapshot(&outside) == machine, "{path}: {document}");
    match run.code {
        Some(0) => case.undone_to(&original),
        Some(1 | 3 | 4 | 5) => assert_eq!(case.sha256(), original, "{path}: {document}"),
        code => panic!("{path}: {code:?} {document} {}", run.stderr),
    }
    fs::remove_dir_all(outside).unwrap();
    fs::remove_dir_all(case.dir().join("state")).unwrap();
    case
}

#[test]
fn no_absolute_link_leads_a_splice_out_of_the_guest() {
    let small = Small::on(Filesystem::Ext4).with_esp(16);
    let (mut case, disk) = Case::small(small, |_| {});
    for path in PATHS {
        case = converted_with_link(case, &disk, path, "", "splice");
    }
}

#[test]
fn no_link_of_many_steps_up_leads_a_rebuild_out_of_the_guest() {
    let small = Small::on(Filesystem::Xfs).with_esp(16);
    let (mut case, disk) = Case::small(small, |_| {});
    // What a rebuild writes and reads, by its own way or the guest's tool's.
    for path in [
        "etc/fstab",
        "boot",
        INITRAMFS,
        "etc/initramfs-tools/modules",
        "etc/initramfs-tools",
        "etc/systemd",
        "boot/efi",
        "tmp",
        "usr/share",
    ] {
        case = converted_with_link(case, &disk, path, "../../../../../../../..", "rebuild");
    }
}

#[test]
fn a_link_that_stays_in_the_guest_is_followed_and_kept() {
    const LINKED: [(&str, &str); 4] = [
        ("etc/fstab", "/srv/"),
        ("etc/default/grub", "../../../../../srv/"),
        (INITRAMFS, "/srv/../../srv/"),
        ("etc/initramfs-tools/modules", "../../srv/"),
    ];
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let mut old = BTreeMap::new();
    let (case, disk) = Case::small(Small::on(Filesystem::Xfs), |tree| {
        fs::create_dir(tree.join("srv")).unwrap();
        for (path, to) in LINKED {
            old.insert(path, fs::read(tree.join(path)).unwrap());
            fs::rename(tree.join(path), tree.join("srv").join(name(path))).unwrap();
            symlink(format!("{to}{}", name(path)), tree.join(path)).unwrap();
        }
    });
    case.converted(&[]);
    let mounted = disk.mounted(case.dir());
    for (path, to) in LINKED {
        let link = fs::read_link(mounted.path().join(path)).unwrap();
        assert_eq!(link, Path::new(&format!("{to}{}", name(path))));
        let new = fs::read(mounted.path().join("srv").join(name(path))).unwrap();
        // The defaults of GRUB have a drop-in beside them.
        let same = new == old[path];
        assert_eq!(same, path == "etc/default/grub", "{path}");
    }
}
