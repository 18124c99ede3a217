// SPDX-License-Identifier: Apache-2.0
//! Images that are only read: VMDKs of every kind, OVAs and qcow2 images over others, looked at as
//! they are and converted into new disks.
use crate::volumes::disks;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tests::cli::Cli;
use tests::digest::content_digest;
use tests::small::{Filesystem, Small};
use tests::tool;

const KINDS: [&str; 5] = [
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "streamOptimized",
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A VMDK in a directory of its own.
fn vmdk(raw: &Path, kind: &str) -> PathBuf {
    let dir = raw.with_extension(kind);
    fs::create_dir(&dir).unwrap();
    let to = dir.join("disk.vmdk");
    let option = format!("subformat={kind}");
    let args = ["convert", "-f", "raw", "-O", "vmdk", "-o", &option];
    tool::run("qemu-img", &[&args[..], &[text(raw), text(&to)]].concat());
    to
}

fn names(dir: &Path) -> Vec<String> {
    let all = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = all
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn sums_in(dir: &Path) -> Vec<String> {
    let files = names(dir).into_iter();
    files.map(|name| content_digest(&dir.join(name))).collect()
}

#[test]
fn a_vmdk_of_every_kind_is_read_as_it_is_and_converted_into_a_new_disk() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::on(Filesystem::Ext4).build(dir.path(), |_| {});
    let state = dir.path().join("state");
    let raw = Cli::new("inspect", &[&small.path], &state).run().expect(0);
    for (index, kind) in KINDS.into_iter().enumerate() {
        let disk = vmdk(&small.path, kind);
        let before = sums_in(disk.parent().unwrap());
        let facts = Cli::new("inspect", &[&disk], &state).run().expect(0);
        assert_eq!(facts["volumes"], raw["volumes"], "{kind}");
        assert_eq!(facts["kernels"], raw["kernels"], "{kind}");
        let error = Cli::new("convert", &[&disk], &state).run().expect(3);
        assert_eq!(error["code"], "read-only-format", "{error}");
        assert!(error["hint"].as_str().unwrap().contains("--to"), "{error}");

        let format = ["raw", "qcow2"][index % 2];
        let out = dir.path().join(format!("out-{kind}"));
        let convert = || Cli::new("convert", &[&disk], &state).args(["--to", format, text(&out)]);
        let report = convert().arg("--dry-run").run().expect(0);
        assert_eq!(report["committed"], false, "{report}");
        assert!(!out.exists());
        let run = convert().run();
        assert!(run.stderr.contains("\"stage\":\"copy\""), "{}", run.stderr);
        let report = run.expect(0);
        assert_eq!(report["output"][0].as_str(), Some(text(&out)), "{report}");
        assert_eq!(report["undo"]["available"], false);
        assert_eq!(sums_in(disk.parent().unwrap()), before, "{kind}");
        assert!(
            out.metadata().unwrap().blocks() * 512 < 60 << 20,
            "it is sparse"
        );
        if format == "qcow2" {
            tool::run("qemu-img", &["check", "-q", "-f", "qcow2", text(&out)]);
        }
        let verify = Cli::new("verify", &[&out], &state).run().expect(0);
        assert_ne!(verify["readiness"], "NotReady");
        assert!(!dir.path().join(format!("out-{kind}.partial")).exists());
        let error = convert().run().expect(3);
        assert_eq!(error["code"], "out-exists", "{error}");
    }
}

#[test]
fn a_chain_of_snapshots_is_read_whole_and_a_broken_one_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::on(Filesystem::Ext4).build(dir.path(), |_| {});
    let state = dir.path().join("state");
    let disk = vmdk(&small.path, "monolithicSparse");
    let child = disk.with_file_name("child.vmdk");
    let create = [
        "create",
        "-q",
        "-f",
        "vmdk",
        "-F",
        "vmdk",
        "-b",
        "disk.vmdk",
        text(&child),
    ];
    tool::run("qemu-img", &create);
    Cli::new("doctor", &[&child], &state).run().expect(1);
    let text_of = fs::read(&child).unwrap();
    let at = text_of.windows(9).position(|w| w == b"disk.vmdk").unwrap();
    for (name, code, exit) in [
        (&b"../d.vmdk"[..], "file-outside", 3),
        (b"/etc/shad", "file-outside", 3),
        (b"gone.vmdk", "cannot-open", 6),
    ] {
        let mut bytes = text_of.clone();
        bytes[at..at + 9].copy_from_slice(name);
        fs::write(&child, bytes).unwrap();
        let error = Cli::new("inspect", &[&child], &state).run().expect(exit);
        assert_eq!(error["code"], code, "{error}");
    }
}

#[test]
fn no_extent_is_read_from_outside_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let disk = dir.path().join("disk.vmdk");
    std::os::unix::fs::symlink("/etc/shadow", dir.path().join("link-flat.vmdk")).unwrap();
    for name in ["/etc/shadow", "../../../../etc/shadow", "link-flat.vmdk"] {
        let text = format!(
            "# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"{name}\" 0\n"
        );
        fs::write(&disk, text).unwrap();
        let out = dir.path().join("out");
        let to = ["--to", "raw", out.to_str().unwrap()];
        let error = Cli::new("convert", &[&disk], &state)
            .args(to)
            .run()
            .expect(3);
        assert_eq!(error["code"], "file-outside", "{error}");
        assert_eq!(error["disk"], name);
        assert_eq!(names(dir.path()), ["disk.vmdk", "link-flat.vmdk"]);
    }
}

/// As a manifest has it: holes are zeros.
fn sha256(path: &Path) -> String {
    guestfix::digest::sha256_hex(&fs::read(path).unwrap())
}

/// An OVA of those disks, in that order.
fn ova(dir: &Path, disks: &[&Path], good: bool) -> PathBuf {
    let mut files = String::new();
    let mut items = String::new();
    let mut manifest = String::new();
    let mut members = vec!["vm.ovf".to_owned(), "vm.mf".to_owned()];
    for (index, disk) in disks.iter().enumerate() {
        let name = format!("vm-disk{index}.vmdk");
        let made = vmdk(disk, "streamOptimized");
        fs::rename(made, dir.join(&name)).unwrap();
        fs::remove_dir(disk.with_extension("streamOptimized")).unwrap();
        let size = fs::metadata(disk).unwrap().len();
        files += &format!("<File href=\"{name}\" id=\"f{index}\"/>");
        items += &format!("<Disk diskId=\"d{index}\" fileRef=\"f{index}\" capacity=\"{size}\"/>");
        let sum = match good {
            true => sha256(&dir.join(&name)),
            false => "0".repeat(64),
        };
        manifest += &format!("SHA256({name})= {sum}\n");
        members.push(name);
    }
    let hardware: String = (0..disks.len())
        .map(|n| format!("<Item><AddressOnParent>{n}</AddressOnParent><HostResource>ovf:/disk/d{n}</HostResource><InstanceID>1{n}</InstanceID><ResourceType>17</ResourceType></Item>"))
        .collect();
    let ovf = format!(
        "<Envelope><References>{files}</References><DiskSection>{items}</DiskSection><VirtualSystem><VirtualHardwareSection>{hardware}<Item><Address>00:50:56:aa:bb:cc</Address><ElementName>n</ElementName><InstanceID>40</InstanceID><ResourceType>10</ResourceType></Item></VirtualHardwareSection></VirtualSystem></Envelope>"
    );
    fs::write(dir.join("vm.ovf"), ovf).unwrap();
    fs::write(dir.join("vm.mf"), manifest).unwrap();
    let path = dir.join(if good { "vm.ova" } else { "bad.ova" });
    let mut args = vec!["-C", text(dir), "-cf", text(&path)];
    args.extend(members.iter().map(String::as_str));
    tool::run("tar", &args);
    for member in &members {
        fs::remove_file(dir.join(member)).unwrap();
    }
    path
}

#[test]
fn an_ova_of_two_disks_is_converted_in_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = disks(Filesystem::Ext4, dir.path());
    let state = dir.path().join("state");
    let all = dir.path().join("ova");
    fs::create_dir(&all).unwrap();
    let good = ova(&all, &[&a, &b], true);
    let bad = ova(&all, &[&a, &b], false);
    let out = dir.path().join("out");
    let to = ["--to", "qcow2", text(&out)];

    let facts = Cli::new("inspect", &[&good], &state).run().expect(0);
    assert_eq!(facts["disks"].as_array().unwrap().len(), 2, "{facts}");
    let error = Cli::new("convert", &[&good], &state).run().expect(3);
    assert_eq!(error["code"], "read-only-format", "{error}");
    let error = Cli::new("convert", &[&bad], &state)
        .args(to)
        .run()
        .expect(5);
    assert_eq!(error["code"], "ova-manifest", "{error}");
    assert!(!out.exists());

    let report = Cli::new("convert", &[&good], &state)
        .args(to)
        .run()
        .expect(0);
    assert_eq!(report["output"].as_array().unwrap().len(), 2, "{report}");
    assert_eq!(names(&out), ["disk0.qcow2", "disk1.qcow2"]);
    let made = [out.join("disk1.qcow2"), out.join("disk0.qcow2")];
    for disk in &made {
        tool::run("qemu-img", &["check", "-q", "-f", "qcow2", text(disk)]);
    }
    Cli::new("verify", &made, &state).run().expect(0);
    assert!(!dir.path().join("out.partial").exists());
}

#[test]
fn what_is_not_ready_makes_no_new_disk_unless_it_shall() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::on(Filesystem::Ext4).build(dir.path(), |tree| {
        // Nothing to boot.
        fs::remove_dir_all(tree.join("boot")).unwrap();
        fs::create_dir(tree.join("boot")).unwrap();
    });
    let state = dir.path().join("state");
    let disk = vmdk(&small.path, "streamOptimized");
    let out = dir.path().join("out");
    let to = ["--to", "raw", text(&out)];
    let run = Cli::new("convert", &[&disk], &state).args(to).run();
    assert_ne!(run.code, Some(0));
    assert!(!out.exists() && !dir.path().join("out.partial").exists());
}

#[test]
fn a_raw_disk_is_left_as_it_is_where_a_new_one_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::on(Filesystem::Ext4).build(dir.path(), |_| {});
    let state = dir.path().join("state");
    let before = content_digest(&small.path);
    let out = dir.path().join("out");
    let to = ["--to", "raw", text(&out)];
    Cli::new("convert", &[&small.path], &state)
        .args(to)
        .run()
        .expect(0);
    assert_eq!(content_digest(&small.path), before);
    // The same bytes as a conversion in place.
    Cli::new("verify", &[&out], &state).run().expect(0);
    let error = Cli::new("convert", &[&small.path], &state)
        .args(["--to", "vmdk", text(&out)])
        .run()
        .expect(2);
    assert_eq!(error["code"], "bad-format", "{error}");
}

#[test]
fn an_image_over_another_is_converted_only_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::on(Filesystem::Ext4).build(dir.path(), |_| {});
    let state = dir.path().join("state");
    let name = small.path.file_name().unwrap().to_str().unwrap();
    let image = dir.path().join("over.qcow2");
    let middle = dir.path().join("middle.qcow2");
    for (new, under, format) in [(&middle, name, "raw"), (&image, "middle.qcow2", "qcow2")] {
        let args = [
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            format,
            "-b",
            under,
            text(new),
        ];
        tool::run("qemu-img", &args);
    }
    let before = [&small.path, &middle].map(|path| content_digest(path));
    let error = Cli::new("convert", &[&image], &state).run().expect(3);
    assert_eq!(error["code"], "qcow2-backing", "{error}");
    let allow = "--allow-backing";
    Cli::new("convert", &[&image], &state)
        .arg(allow)
        .run()
        .expect(0);
    assert_eq!(
        [&small.path, &middle].map(|path| content_digest(path)),
        before
    );
    tool::run("qemu-img", &["check", "-q", "-f", "qcow2", text(&image)]);
    Cli::new("verify", &[&image], &state)
        .arg(allow)
        .run()
        .expect(0);
    let out = dir.path().join("out");
    let to = ["--to", "raw", text(&out)];
    Cli::new("convert", &[&image], &state)
        .arg(allow)
        .args(to)
        .run()
        .expect(0);
    Cli::new("verify", &[&out], &state).run().expect(0);
    tool::run(
        "qemu-img",
        &[
            "rebase",
            "-u",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            "/etc/shadow",
            text(&image),
        ],
    );
    let error = Cli::new("inspect", &[&image], &state)
        .arg(allow)
        .run()
        .expect(3);
    assert_eq!(error["code"], "file-outside", "{error}");
}
