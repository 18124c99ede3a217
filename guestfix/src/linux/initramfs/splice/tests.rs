// SPDX-License-Identifier: Apache-2.0
use std::process::Command;

use super::super::compress::tests::{TOOLS, pipe};
use super::super::cpio::Writer;
use super::super::read::read_initramfs;
use super::*;
use crate::fs::MemoryFs;
use crate::linux::kernel::tests::{DEP, V, guest, vmware_only};

const DRIVERS: [&str; 2] = ["virtio_pci", "virtio_blk"];

fn prepared(tree: &Tree, dep: &str, initramfs: &[u8]) -> SpliceSource {
    let known = Modules::parse(
        dep,
        "alias virtio:d00000002v* virtio_blk\nalias of:N*Cpci-[a-z]* virtio_pci\nalias pvscsi:* vmw_pvscsi\n",
        "softdep virtio_blk pre: virtio_pci\n",
        "",
    );
    let read = read_initramfs(initramfs, V);
    let dir = GuestPath::new(format!("/lib/modules/{V}"));
    prepare(tree, V, &dir, &known, &read.contents, &DRIVERS).unwrap()
}

fn members(source: &SpliceSource) -> Vec<Member> {
    let member = |name: &String, what| Member {
        name: name.clone(),
        what,
    };
    let mut out: Vec<Member> = source
        .dirs
        .iter()
        .map(|d| member(d, MemberKind::Dir))
        .collect();
    out.extend(source.copies.iter().map(|copy| match copy.unpack {
        true => member(&copy.name, MemberKind::Unpack(copy.from.clone())),
        false => member(&copy.name, MemberKind::Copy(copy.from.clone())),
    }));
    let indexes = source.indexes.iter();
    out.extend(indexes.map(|(name, bytes)| member(name, MemberKind::Bytes(bytes.to_vec()))));
    out
}

/// Asks kmod itself, over an unpacked archive.
fn modprobe(root: &std::path::Path, alias: &str) -> String {
    let output = Command::new("/sbin/modprobe")
        .args(["-S", V, "--show-depends", "-a", alias, "-d"])
        .arg(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{alias}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kmod_finds_what_was_spliced_by_name_and_by_alias() {
    let initramfs = vmware_only();
    let tree = guest(initramfs.clone());
    let source = prepared(&tree, DEP, &initramfs);
    assert_eq!(source.blocked, None);
    let path = GuestPath::new(format!("/boot/initrd.img-{V}"));
    let tail = build(&tree, &path, &members(&source)).unwrap();

    let dir = tempfile::tempdir().unwrap();
    for archive in [&initramfs, &tail] {
        let file = dir.path().join("archive");
        std::fs::write(&file, archive).unwrap();
        // cpio, unlike the kernel, would keep the link: it must not be named again.
        let output = Command::new("sh")
            .args(["-ec", "cpio --quiet -i -m -u -d <archive"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert!(dir.path().join("lib").is_symlink());
    for (wanted, files) in [
        (
            "virtio_blk",
            &[
                "virtio_ring.ko",
                "virtio.ko",
                "virtio_pci.ko",
                "virtio_blk.ko",
            ][..],
        ),
        ("virtio:d00000002v00001AF4", &["virtio_blk.ko"]),
        ("of:NxCpci-q", &["virtio_pci.ko"]),
        ("vmw_pvscsi", &["scsi_mod.ko", "vmw_pvscsi.ko"]),
    ] {
        let answer = modprobe(dir.path(), wanted);
        for file in files {
            assert!(answer.contains(file), "{wanted}: {answer}");
        }
    }
}

#[test]
fn the_archives_own_index_lines_are_kept() {
    let mut initramfs = vmware_only();
    let mut writer = Writer::new();
    let dir = format!("usr/lib/modules/{V}");
    writer.file(
        &format!("{dir}/modules.dep"),
        b"kernel/drivers/scsi/vmw_pvscsi.ko: kernel/drivers/scsi/sd_mod.ko\n",
    );
    writer.file(&format!("{dir}/modules.alias"), b"alias own:x vmw_pvscsi\n");
    writer.file(
        &format!("{dir}/modules.softdep"),
        b"softdep sd_mod post: sg\n",
    );
    initramfs.extend(writer.finish(4));
    let source = prepared(&guest(initramfs.clone()), DEP, &initramfs);
    let text = |name: &str| {
        let want = format!("{dir}/{name}");
        let index = source.indexes.iter().find(|(name, _)| *name == want);
        String::from_utf8(index.unwrap().1.to_vec()).unwrap()
    };
    let dep = text("modules.dep");
    assert!(
        dep.contains("vmw_pvscsi.ko: kernel/drivers/scsi/sd_mod.ko\n"),
        "{dep}"
    );
    let alias = text("modules.alias");
    assert!(alias.starts_with("alias own:x vmw_pvscsi\n"), "{alias}");
    assert!(
        alias.contains(" virtio_blk\n") && !alias.contains("pvscsi:*"),
        "{alias}"
    );
    let softdep = text("modules.softdep");
    assert_eq!(
        softdep,
        "softdep sd_mod post: sg\nsoftdep virtio_blk pre: virtio_pci\n"
    );
}

#[test]
fn the_archive_is_read_back_behind_every_compression() {
    let plain = vmware_only();
    for (format, argv) in TOOLS {
        let mut image = pipe(argv, &plain);
        let tree = guest(image.clone());
        let source = prepared(&tree, DEP, &image);
        let path = GuestPath::new(format!("/boot/initrd.img-{V}"));
        image.extend(build(&tree, &path, &members(&source)).unwrap());
        let facts = read_initramfs(image.as_slice(), V).facts;
        assert_eq!(facts.damage, None, "{format:?}");
        for name in [
            "virtio",
            "virtio_ring",
            "virtio_pci",
            "virtio_blk",
            "vmw_pvscsi",
        ] {
            assert!(facts.modules.contains(name), "{format:?} {name}");
        }
        let again = prepared(&tree, DEP, &image);
        assert!(
            again.copies.is_empty() && again.indexes.is_empty(),
            "nothing twice"
        );
    }
}

#[test]
fn only_directories_that_are_missing_are_made() {
    let initramfs = vmware_only();
    let source = prepared(&guest(initramfs.clone()), DEP, &initramfs);
    let at = format!("usr/lib/modules/{V}/kernel/drivers");
    assert_eq!(source.dirs, [format!("{at}/block"), format!("{at}/virtio")]);
}

#[test]
fn modules_go_in_unpacked_where_the_archive_keeps_them_unpacked() {
    let dep = DEP.replace(".ko", ".ko.xz");
    let mut fs = MemoryFs::new();
    let packed = pipe(&["xz", "--check=crc32", "-c"], b"elf");
    for line in dep.lines() {
        let path = line.split(':').next().unwrap();
        fs = fs.file(&format!("/lib/modules/{V}/{path}"), packed.clone());
    }
    let initramfs = vmware_only();
    let tree = Tree::new(Box::new(fs.file("/boot/i", initramfs.clone())));
    let source = prepared(&tree, &dep, &initramfs);
    let blk = source
        .copies
        .iter()
        .find(|c| c.name.ends_with("/virtio_blk.ko"))
        .unwrap();
    assert!(blk.unpack && blk.size == 3);
    let index = source
        .indexes
        .iter()
        .find(|(name, _)| name.ends_with("modules.dep"))
        .unwrap();
    let text = String::from_utf8_lossy(&index.1);
    assert!(
        text.contains("virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko "),
        "{text}"
    );
    assert!(!text.contains(".xz"), "{text}");
    let tail = build(&tree, &"/boot/i".into(), &members(&source)).unwrap();
    assert!(tail.windows(4).any(|bytes| bytes == b"elf\0"));
}

#[test]
fn an_archive_that_loads_by_a_list_or_not_at_all_is_told() {
    for (file, want) in [
        ("bin/nash", "not the script"),
        ("etc/booster.init.yaml", "booster"),
        ("etc/x", "no program"),
    ] {
        let mut writer = Writer::new();
        writer.file(file, b"elf");
        let initramfs = writer.finish(4);
        let source = prepared(&guest(initramfs.clone()), DEP, &initramfs);
        assert!(source.blocked.unwrap().contains(want));
    }
}

#[test]
fn a_module_gone_since_planning_is_an_error() {
    let tree = guest(vmware_only());
    let member = Member {
        name: "x.ko".to_owned(),
        what: MemberKind::Copy("/gone.ko".into()),
    };
    let path = GuestPath::new(format!("/boot/initrd.img-{V}"));
    assert_eq!(
        build(&tree, &path, &[member]).unwrap_err().code,
        "no-module"
    );
    assert_eq!(
        build(&tree, &"/x".into(), &[]).unwrap_err().code,
        "no-initramfs"
    );
}

/// A guest whose modules are packed, and an initramfs with some of them as its own.
fn packed(suffix: &str, argv: &[&str], inside: &str) -> (Tree, String, Vec<u8>) {
    let dep = DEP.replace(".ko", suffix);
    let mut fs = MemoryFs::new();
    for line in dep.lines() {
        let path = line.split(':').next().unwrap();
        let module = pipe(argv, b"elf");
        fs = fs.file(&format!("/lib/modules/{V}/{path}"), module);
    }
    let mut writer = Writer::new();
    writer.file("usr/sbin/modprobe", b"elf");
    for name in ["usr", "usr/lib", "usr/lib/modules"] {
        writer.dir(name);
    }
    writer.symlink("lib", "usr/lib");
    let dir = format!("usr/lib/modules/{V}/kernel/drivers/scsi");
    writer.file(&format!("{dir}/scsi_mod{inside}"), b"elf");
    let initramfs = writer.finish(4);
    let tree = Tree::new(Box::new(fs.file("/boot/i", initramfs.clone())));
    (tree, dep, initramfs)
}

#[test]
fn modules_of_every_compression_go_in_as_the_others_inside_are() {
    for (suffix, argv) in [
        (".ko.gz", &["gzip", "-n", "-c"][..]),
        (".ko.xz", &["xz", "--check=crc32", "-c"]),
        (".ko.zst", &["zstd", "-q", "-c"]),
    ] {
        for (inside, unpack) in [(suffix, false), (".ko", true)] {
            let (tree, dep, initramfs) = packed(suffix, argv, inside);
            let source = prepared(&tree, &dep, &initramfs);
            let name = |copy: &&SpliceCopy| copy.name.contains("/virtio_blk.");
            let blk = source.copies.iter().find(name).unwrap();
            assert!(
                blk.name.ends_with(inside),
                "{suffix} {inside}: {}",
                blk.name
            );
            assert_eq!(blk.unpack, unpack, "{suffix} {inside}");
            let tail = build(&tree, &"/boot/i".into(), &members(&source)).unwrap();
            let dir = tempfile::tempdir().unwrap();
            for archive in [&initramfs, &tail] {
                std::fs::write(dir.path().join("archive"), archive).unwrap();
                let output = Command::new("sh")
                    .args(["-ec", "cpio --quiet -i -m -u -d <archive"])
                    .current_dir(dir.path())
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{output:?}");
            }
            let answer = modprobe(dir.path(), "virtio_blk");
            let ring = format!("virtio_ring{inside}");
            assert!(answer.contains(&ring), "{suffix} {inside}: {answer}");
            let again = prepared(&tree, &dep, &[initramfs, tail].concat());
            assert!(again.copies.is_empty(), "{suffix} {inside}: nothing twice");
        }
    }
}
