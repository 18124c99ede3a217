// SPDX-License-Identifier: Apache-2.0
//! A root on a logical volume that spans two disks: seen, converted, verified and undone; all disks
//! or none.

use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tests::case::{concerns, verdicts};
use tests::cli::Cli;
use tests::digest::content_digest;
use tests::disk::partition;
use tests::small::{Filesystem, Small};
use tests::tool;

const MIB: u64 = 1 << 20;
/// Where `vg0/root` of `testdata/volumes/root.sh` lies: disk, offset, and length.
const ROOT: [(usize, u64, u64); 2] = [(1, MIB, 60 * MIB), (0, 21 * MIB, 40 * MIB)];

pub(crate) fn fixture(name: &str, dir: &Path) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/volumes")
        .join(format!("{name}.img.xz"));
    let path = dir.join(format!("{name}.img.xz"));
    std::fs::copy(packed, &path).unwrap();
    tool::run("xz", &["-d", path.to_str().unwrap()]);
    dir.join(format!("{name}.img"))
}

/// The two disks with a small guest on their logical volume.
pub(crate) fn disks(filesystem: Filesystem, dir: &Path) -> [PathBuf; 2] {
    let small = Small::on(filesystem).build(dir, |tree| {
        for file in ["etc/fstab", "boot/grub/grub.cfg"] {
            let path = tree.join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.replace("/dev/sda1", "/dev/mapper/vg0-root");
            std::fs::write(path, text).unwrap();
        }
    });
    let disks = ["root-a", "root-b"].map(|name| fixture(name, dir));
    let (offset, len) = partition(&small.path, small.root);
    let from = File::open(&small.path).unwrap();
    let mut done = 0;
    for (disk, at, room) in ROOT {
        let mut bytes = vec![0; room.min(len - done) as usize];
        from.read_exact_at(&mut bytes, offset + done).unwrap();
        let to = File::options().write(true).open(&disks[disk]).unwrap();
        to.write_all_at(&bytes, at).unwrap();
        done += bytes.len() as u64;
    }
    assert_eq!(done, len, "the filesystem fits the volume");
    disks
}

pub(crate) fn sums(disks: &[PathBuf]) -> Vec<String> {
    disks.iter().map(|disk| content_digest(disk)).collect()
}

fn there_and_back(filesystem: Filesystem) {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = disks(filesystem, dir.path());
    let state = dir.path().join("state");
    let verb = |verb: &str, disks: [&PathBuf; 2]| Cli::new(verb, &disks, &state);
    let before = sums(&[a.clone(), b.clone()]);

    for order in [[&a, &b], [&b, &a]] {
        let facts: Value = verb("inspect", order).run().expect(0);
        assert_eq!(facts["root"], "vg0/root");
        let root = facts["volumes"].as_array().unwrap().iter();
        let root = root.clone().find(|v| v["name"] == "vg0/root").unwrap();
        assert_eq!(root["stack"]["made_by"], "lvm2 linear", "{root}");
        assert_eq!(root["stack"]["made_of"].as_array().unwrap().len(), 2);
    }
    let text = std::process::Command::new(tests::cli::binary())
        .args([
            Path::new("inspect"),
            &a,
            &b,
            Path::new("--state-dir"),
            &state,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("vg0/root") && text.contains("(lvm2 linear)"),
        "{text}"
    );

    let report = verb("convert", [&a, &b]).run().expect(0);
    assert_eq!(report["committed"], true, "{report}");
    assert!(!concerns(&report).contains(&"volume-missing"), "{report}");
    let readers = verdicts(&report, "filesystems-intact");
    assert_eq!(readers[0]["result"], "pass");
    let after = sums(&[a.clone(), b.clone()]);
    assert!(after[0] != before[0] || after[1] != before[1]);
    verb("verify", [&b, &a]).run().expect(0);
    assert_eq!(sums(&[a.clone(), b.clone()]), after, "verify wrote");
    let undo = verb("undo", [&a, &b]).run().expect(0);
    assert_eq!(undo["remaining"], 0);
    assert_eq!(sums(&[a, b]), before, "undo is exact to the last bit");
}

#[test]
fn a_root_on_a_logical_volume_over_two_disks_goes_there_and_back() {
    there_and_back(Filesystem::Ext4);
    there_and_back(Filesystem::Xfs);
}

/// The same disk in qcow2 format, by the real tool.
fn qcow2(raw: &Path, options: &[&str]) -> PathBuf {
    let to = raw.with_extension("qcow2");
    let mut args = vec!["convert", "-f", "raw", "-O", "qcow2"];
    args.extend(options);
    args.extend([raw.to_str().unwrap(), to.to_str().unwrap()]);
    tool::run("qemu-img", &args);
    to
}

fn sound(image: &Path) {
    tool::run(
        "qemu-img",
        &["check", "-q", "-f", "qcow2", image.to_str().unwrap()],
    );
}

#[test]
fn a_guest_in_a_qcow2_image_goes_there_and_back() {
    let options: [(Filesystem, &[&str]); 4] = [
        (Filesystem::Ext4, &[]),
        (Filesystem::Ext4, &["-c"]),
        (Filesystem::Xfs, &["-o", "compat=0.10"]),
        (Filesystem::Btrfs, &["-o", "cluster_size=4096"]),
    ];
    for (filesystem, options) in options {
        let dir = tempfile::tempdir().unwrap();
        let small = Small::on(filesystem).build(dir.path(), |_| {});
        let image = qcow2(&small.path, options);
        let state = dir.path().join("state");
        let verb = |verb: &str| Cli::new(verb, &[&image], &state);
        let before = content_digest(&image);
        let facts: Value = verb("inspect").run().expect(0);
        let size = std::fs::metadata(&small.path).unwrap().len();
        assert_eq!(facts["disks"][0]["size"], size);
        assert_eq!(content_digest(&image), before, "inspect wrote");

        let report = verb("convert").run().expect(0);
        assert_eq!(report["committed"], true, "{report}");
        sound(&image);
        let after = content_digest(&image);
        assert_ne!(after, before);
        verb("verify").run().expect(0);
        // What QEMU reads of it is what we read of it.
        let raw = dir.path().join("again.raw");
        let args = ["convert", "-f", "qcow2", "-O", "raw"];
        let args = args
            .into_iter()
            .chain([image.to_str().unwrap(), raw.to_str().unwrap()]);
        tool::run("qemu-img", &args.collect::<Vec<_>>());
        Cli::new("verify", &[&raw], &state).run().expect(0);
        let again = verb("convert").run().expect(0);
        assert_eq!(again["committed"], false);
        assert_eq!(content_digest(&image), after);
        let undo = verb("undo").run().expect(0);
        assert_eq!(undo["remaining"], 0);
        assert_eq!(
            content_digest(&image),
            before,
            "undo is exact to the last bit"
        );
    }
}

#[test]
fn a_root_over_a_raw_disk_and_a_qcow2_image_is_committed_to_both() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = disks(Filesystem::Ext4, dir.path());
    let b = qcow2(&b, &[]);
    let state = dir.path().join("state");
    let before = sums(&[a.clone(), b.clone()]);
    let report = Cli::new("convert", &[&a, &b], &state).run().expect(0);
    assert_eq!(report["committed"], true, "{report}");
    sound(&b);
    assert_ne!(content_digest(&b), before[1]);
    Cli::new("verify", &[&b, &a], &state).run().expect(0);
    Cli::new("undo", &[&a, &b], &state).run().expect(0);
    assert_eq!(sums(&[a, b]), before);
}

#[test]
fn a_qcow2_image_that_names_another_file_or_contradicts_itself_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::on(Filesystem::Ext4).build(dir.path(), |_| {});
    let image = qcow2(&small.path, &[]);
    let state = dir.path().join("state");
    let backed = dir.path().join("backed.qcow2");
    let args = [
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        "/etc/shadow",
    ];
    let args = args.into_iter().chain([backed.to_str().unwrap(), "64M"]);
    tool::run("qemu-img", &args.collect::<Vec<_>>());
    let error = Cli::new("convert", &[&backed], &state).run().expect(3);
    assert_eq!(error["code"], "qcow2-backing", "{error}");

    // The refcount of a cluster of data.
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let long = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    };
    let block = long(long(48));
    file.write_all_at(&[0, 0], block + 2 * 6).unwrap();
    let before = content_digest(&image);
    let error = Cli::new("convert", &[&image], &state).run().expect(5);
    assert_eq!(error["code"], "qcow2", "{error}");
    assert_eq!(error["offset"], 6 * 65536);
    assert_eq!(error["disk"].as_str(), image.to_str());
    assert_eq!(content_digest(&image), before);
}

#[test]
fn without_one_of_its_disks_a_guest_is_refused_by_the_id_of_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = disks(Filesystem::Ext4, dir.path());
    let state = dir.path().join("state");
    for disk in [&a, &b] {
        let before = content_digest(disk);
        let error = Cli::new("convert", &[disk], &state).run().expect(3);
        assert_eq!(error["code"], "lvm-missing-pv", "{error}");
        assert_eq!(content_digest(disk), before);
    }
    // A copy of one of the disks among them.
    let copy = dir.path().join("copy.img");
    std::fs::copy(&b, &copy).unwrap();
    let error = Cli::new("convert", &[&a, &b, &copy], &state)
        .run()
        .expect(3);
    assert_eq!(error["code"], "lvm-duplicate-pv", "{error}");
}

/// A btrfs over a partition and a whole second disk, mirrored metadata on both.
fn btrfs_disks(dir: &Path) -> [PathBuf; 2] {
    let small = Small::on(Filesystem::Btrfs).build(dir, |_| {});
    let second = dir.join("second.img");
    let file = File::create(&second).unwrap();
    file.set_len(200 << 20).unwrap();
    let (offset, len) = partition(&small.path, small.root);
    let point = dir.join("point");
    std::fs::create_dir(&point).unwrap();
    let one = tool::LoopDevice::part(&small.path, offset, len);
    let two = tool::LoopDevice::new(&second);
    tool::run("mount", &[one.path(), &point]);
    let add: [&std::ffi::OsStr; 5] = [
        "device".as_ref(),
        "add".as_ref(),
        "-f".as_ref(),
        two.path().as_ref(),
        point.as_ref(),
    ];
    tool::run("btrfs", &add);
    let point_text = point.to_str().unwrap();
    let balance = [
        "balance",
        "start",
        "-f",
        "-mconvert=raid1",
        "-dconvert=single",
        point_text,
    ];
    tool::run("btrfs", &balance);
    tool::run("umount", &[&point]);
    [small.path, second]
}

#[test]
fn a_btrfs_over_two_disks_goes_there_and_back_in_any_order_and_not_alone() {
    let dir = tempfile::tempdir().unwrap();
    let disks = btrfs_disks(dir.path());
    let state = dir.path().join("state");
    let before = sums(&disks);
    let turned = [&disks[1], &disks[0]];
    for order in [[&disks[0], &disks[1]], turned] {
        let facts = Cli::new("inspect", &order, &state).run().expect(0);
        let kinds: Vec<_> = facts["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|volume| volume["content"]["kind"].as_str().unwrap())
            .collect();
        assert!(
            kinds.contains(&"btrfs") && kinds.contains(&"btrfs-device"),
            "{kinds:?}"
        );
    }
    let report = Cli::new("convert", &turned, &state).run().expect(0);
    assert_eq!(report["committed"], true, "{report}");
    Cli::new("verify", &disks, &state).run().expect(0);
    Cli::new("undo", &turned, &state).run().expect(0);
    assert_eq!(sums(&disks), before);

    let alone = Cli::new("convert", &[&disks[0]], &state).run().expect(3);
    assert_eq!(alone["code"], "btrfs-missing-device", "{alone}");
    assert_eq!(sums(&disks), before);
}
