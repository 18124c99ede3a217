// SPDX-License-Identifier: Apache-2.0
use super::super::cpio::Writer;
use super::*;
use crate::fs::{MemoryFs, Tree};
use crate::inspect::facts::Firmware;
use crate::linux::initramfs::{CHECKS, splice};
use crate::linux::kernel::tests::{V, empty, gathered, guest, vmware_only};
use crate::plan::Bus;
use crate::verify::{Finding, Outcome};

fn target(disk_bus: Bus) -> Target {
    Target {
        firmware: Firmware::Bios,
        disk_bus,
        nic_model: "virtio".to_owned(),
        machine: "q35".to_owned(),
        secure_boot: false,
        tpm: false,
        clock: "utc".to_owned(),
    }
}

fn check(name: &str, facts: &Facts) -> Finding {
    let check = CHECKS.iter().find(|check| check.name == name).unwrap();
    (check.run)(facts, &target(Bus::Virtio))
}

fn ids(proposal: &Proposal) -> Vec<&str> {
    proposal
        .concerns
        .iter()
        .map(|concern| concern.id.as_str())
        .collect()
}

/// The guest after a plan, as its own files would be: the tail appended, the list written.
fn applied(tree: &Tree, image: &[u8], plan: &Proposal) -> Facts {
    let mut image = image.to_vec();
    for change in &plan.changes {
        if let Some(Action::AppendInitramfs { path, members }) = &change.action {
            image.extend(splice::build(tree, path, members).unwrap());
        }
    }
    gathered(image).1
}

#[test]
fn a_vmware_only_initramfs_is_spliced_and_then_passes() {
    let image = vmware_only();
    let (tree, facts) = gathered(image.clone());
    assert_eq!(check("initramfs-drivers", &facts).result, Outcome::Fail);
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    assert_eq!(ids(&plan), [""; 0]);
    assert_eq!(plan.changes[0].kind, "append-initramfs");
    assert!(
        plan.changes[0]
            .diff
            .as_ref()
            .unwrap()
            .contains("virtio_blk.ko")
    );
    assert_eq!(plan.changes[1].path, "/etc/initramfs-tools/modules");
    let after = applied(&tree, &image, &plan);
    let finding = check("initramfs-drivers", &after);
    assert_eq!(finding.result, Outcome::Pass, "{}", finding.detail);
    assert_eq!(check("initramfs-readable", &after).result, Outcome::Pass);
    let again = propose(&after, &target(Bus::Virtio), &Policy::default());
    assert!(
        !again
            .changes
            .iter()
            .any(|change| change.kind == "append-initramfs")
    );
}

#[test]
fn keep_and_rebuild_say_why_they_do_not_work() {
    let (_, facts) = gathered(vmware_only());
    for (initramfs, want) in [
        (InitramfsMode::Keep, "initramfs-lacks-virtio"),
        (InitramfsMode::Rebuild, "rebuild-not-possible"),
    ] {
        let policy = Policy {
            initramfs,
            ..Policy::default()
        };
        let plan = propose(&facts, &target(Bus::Virtio), &policy);
        assert_eq!(ids(&plan), [want]);
        assert_eq!(plan.concerns[0].category, Category::Critical);
        assert!(
            plan.changes
                .iter()
                .all(|change| change.kind != "append-initramfs")
        );
    }
}

#[test]
fn a_bus_without_a_driver_is_critical() {
    let (_, facts) = gathered(vmware_only());
    let plan = propose(&facts, &target(Bus::Sata), &Policy::default());
    assert_eq!(ids(&plan), ["kernel-lacks-virtio"]);
}

#[test]
fn a_full_boot_filesystem_is_told_before_it_is_written() {
    let (_, mut facts) = gathered(vmware_only());
    facts.mounts = empty(4096).mounts;
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    assert_eq!(ids(&plan), ["boot-full"]);
    assert!(plan.concerns[0].message.contains("4 KiB free"));
}

#[test]
fn a_module_file_that_is_gone_is_told() {
    let (_, mut facts) = gathered(vmware_only());
    for source in facts.sources.splices.values_mut() {
        source
            .copies
            .retain(|copy| !copy.name.ends_with("/virtio_ring.ko"));
    }
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    assert_eq!(ids(&plan), ["module-file-missing"]);
    assert!(plan.concerns[0].message.contains("virtio_ring"));
}

#[test]
fn a_damaged_initramfs_is_not_appended_to() {
    let image = vmware_only();
    let (_, facts) = gathered(image[..900].to_vec());
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    assert_eq!(ids(&plan), ["initramfs-damaged"]);
    assert_eq!(check("initramfs-readable", &facts).result, Outcome::Fail);
}

#[test]
fn a_kernel_without_initramfs_needs_everything_built_in() {
    let dir = format!("/lib/modules/{V}");
    let builtin = "kernel/a/virtio_pci.ko\nkernel/a/virtio_blk.ko\nkernel/a/ext4.ko\n";
    for (builtin, want) in [(builtin, &[][..]), ("", &["kernel-lacks-virtio"])] {
        let fs = MemoryFs::new()
            .file(&format!("/boot/vmlinuz-{V}"), "kernel")
            .file(&format!("{dir}/modules.builtin"), builtin);
        let mut facts = empty(1 << 30);
        kernel::gather(&Tree::new(Box::new(fs)), &mut facts).unwrap();
        let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
        let ids: Vec<&str> = ids(&plan)
            .into_iter()
            .filter(|id| *id != "initramfs-generator-unknown")
            .collect();
        assert_eq!(ids, want);
    }
}

#[test]
fn embedded_names_that_vanish_are_overridden_by_stable_ones() {
    let mut image = vmware_only();
    let mut writer = Writer::new();
    writer.file("conf/conf.d/resume", b"RESUME=/dev/sda1\n");
    let wait = r"lib/dracut/hooks/initqueue/finished/devexists-\x2fdev\x2fsda1.sh";
    writer.file(wait, b"[ -e /dev/sda1 ]");
    image.extend(writer.finish(4));
    let (tree, facts) = gathered(image.clone());
    assert_eq!(
        check("initramfs-device-names", &facts).result,
        Outcome::Fail
    );
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    assert_eq!(ids(&plan), [""; 0]);
    let Some(Action::AppendInitramfs { members, .. }) = &plan.changes[0].action else {
        panic!("{plan:?}");
    };
    let resume = members
        .iter()
        .find(|m| m.name == "conf/conf.d/resume")
        .unwrap();
    let want = b"RESUME=/dev/disk/by-uuid/0a1b\n".to_vec();
    assert_eq!(resume.what, MemberKind::Bytes(want));
    let after = applied(&tree, &image, &plan);
    let finding = check("initramfs-device-names", &after);
    assert_eq!(finding.result, Outcome::Pass, "{}", finding.detail);
}

#[test]
fn a_filter_of_lvm_that_hides_the_disks_is_opened_inside_too() {
    const CONF: &str = "etc/lvm/lvm.conf";
    let mut image = vmware_only();
    let mut writer = Writer::new();
    let comments = "# as distributed\n".repeat(8000);
    let text = format!("{comments}devices {{\n\tfilter = [ \"a|^/dev/sda2$|\", \"r|.*|\" ]\n}}\n");
    writer.file(CONF, text.as_bytes());
    image.extend(writer.finish(4));
    let on_lvm = |mut facts: Facts| {
        let mut volume = facts.volumes[0].clone();
        volume.name = "disk0p2".to_owned();
        volume.content.kind = "lvm2-pv".to_owned();
        facts.volumes.push(volume);
        facts
    };
    let (tree, facts) = gathered(image.clone());
    assert_eq!(
        check("initramfs-device-names", &facts).result,
        Outcome::Pass,
        "without LVM nothing is hidden"
    );
    let facts = on_lvm(facts);
    let finding = check("initramfs-device-names", &facts);
    assert_eq!(finding.result, Outcome::Fail, "{}", finding.detail);
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    assert_eq!(ids(&plan), [""; 0]);
    let after = on_lvm(applied(&tree, &image, &plan));
    let filter = &after.kernels[0].initramfs.as_ref().unwrap().lvm_filters;
    assert_eq!(
        filter[0].patterns,
        ["a|^/dev/[sv]d|", "a|^/dev/sda2$|", "r|.*|"]
    );
    let finding = check("initramfs-device-names", &after);
    assert_eq!(finding.result, Outcome::Pass, "{}", finding.detail);
}

#[test]
fn members_of_an_array_are_looked_for_by_content_inside_too() {
    const CONF: &str = "etc/mdadm/mdadm.conf";
    let array = "ARRAY /dev/md0 metadata=1.2 UUID=1f2b0ad4:7c514b0e:9e6d52a1:c0f40a00";
    for (text, want) in [
        (
            format!("DEVICE /dev/sda1 /dev/sdb1\n{array}\n"),
            Some(format!("DEVICE partitions \n{array}\n")),
        ),
        (
            format!("DEVICE /dev/sd*\n{array} devices=/dev/sda1,/dev/sdb1\n"),
            Some(format!("DEVICE partitions\n{array}\n")),
        ),
        (
            "ARRAY /dev/md0 devices=/dev/sda1,/dev/sdb1\n".to_owned(),
            None,
        ),
    ] {
        let mut image = vmware_only();
        let mut writer = Writer::new();
        writer.file(CONF, text.as_bytes());
        image.extend(writer.finish(4));
        let (tree, facts) = gathered(image.clone());
        let finding = check("initramfs-device-names", &facts);
        assert_eq!(finding.result, Outcome::Fail, "{text}: {}", finding.detail);
        let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
        let Some(want) = want else {
            assert_eq!(ids(&plan), ["initramfs-waits-for-device"]);
            continue;
        };
        assert_eq!(ids(&plan), [""; 0], "{text}");
        let Some(Action::AppendInitramfs { members, .. }) = &plan.changes[0].action else {
            panic!("{plan:?}");
        };
        let conf = members.iter().find(|member| member.name == CONF).unwrap();
        assert_eq!(conf.what, MemberKind::Bytes(want.into_bytes()));
        let after = applied(&tree, &image, &plan);
        let finding = check("initramfs-device-names", &after);
        assert_eq!(finding.result, Outcome::Pass, "{}", finding.detail);
    }
}

#[test]
fn a_device_that_nobody_knows_is_critical() {
    let mut image = vmware_only();
    let mut writer = Writer::new();
    writer.file("conf/conf.d/resume", b"RESUME=/dev/sdq7\n");
    image.extend(writer.finish(4));
    let (_, facts) = gathered(image);
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    assert_eq!(ids(&plan), ["initramfs-waits-for-device"]);
    let scsi = propose(&facts, &target(Bus::Scsi), &Policy::default());
    assert_eq!(ids(&scsi), [""; 0], "SCSI disks stay /dev/sdX");
}

#[test]
fn the_list_keeps_what_stands_in_it() {
    let (_, facts) = gathered(vmware_only());
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    let Some(Action::WriteFile { content, .. }) = &plan.changes[1].action else {
        panic!("{plan:?}");
    };
    let text = String::from_utf8_lossy(content);
    assert!(
        text.starts_with("# List of modules\nlp\n# guestfix"),
        "{text}"
    );
    assert!(
        text.ends_with("virtio_pci\nvirtio_blk\nvirtio_scsi\nsd_mod\n"),
        "{text}"
    );
    assert_eq!(
        check("initramfs-rebuild-keeps-virtio", &facts).result,
        Outcome::Fail
    );
}

#[test]
fn dracut_gets_a_drop_in_of_its_own() {
    let tree = guest(vmware_only());
    let mut facts = empty(1 << 30);
    kernel::gather(&tree, &mut facts).unwrap();
    facts.sources.dirs.remove("/etc/initramfs-tools");
    facts
        .sources
        .dirs
        .insert("/usr/lib/dracut".to_owned(), Vec::new());
    let plan = super::super::keep::propose(&facts);
    assert_eq!(
        plan.changes[0].path,
        "/etc/dracut.conf.d/50-guestfix-virtio.conf"
    );
    let diff = plan.changes[0].diff.as_ref().unwrap();
    assert!(
        diff.contains("add_drivers+=\" virtio_pci virtio_blk virtio_scsi sd_mod \""),
        "{diff}"
    );
}

const OLD: &str = "2.6.18-348.el5";

/// A guest of before dracut whose initramfs is `initramfs`.
fn old_guest(initramfs: Vec<u8>) -> Tree {
    let mut fs = MemoryFs::new()
        .file(&format!("/boot/vmlinuz-{OLD}"), "kernel")
        .file(&format!("/boot/initrd-{OLD}.img"), initramfs)
        .file("/sbin/mkinitrd", "#!/bin/bash\n")
        .file("/etc/modprobe.conf", "alias scsi_hostadapter mptspi\n")
        .file(
            &format!("/lib/modules/{OLD}/modules.builtin"),
            "kernel/fs/ext4.ko\n",
        );
    let mut dep = String::new();
    for (name, needs) in [
        ("virtio_ring", &["virtio"][..]),
        ("virtio", &[]),
        ("virtio_pci", &["virtio_ring", "virtio"]),
        ("virtio_blk", &["virtio_ring", "virtio"]),
    ] {
        let path = |name: &str| format!("/lib/modules/{OLD}/kernel/{name}.ko");
        fs = fs.file(&path(name), "elf");
        let needs: Vec<String> = needs.iter().map(|need| path(need)).collect();
        dep.push_str(&format!("{}: {}\n", path(name), needs.join(" ")));
    }
    Tree::new(Box::new(
        fs.file(&format!("/lib/modules/{OLD}/modules.dep"), dep),
    ))
}

fn old_facts(initramfs: Vec<u8>) -> Facts {
    let mut facts = empty(1 << 30);
    kernel::gather(&old_guest(initramfs), &mut facts).unwrap();
    facts
}

#[test]
fn initramfs_that_load_by_a_list_are_spliced_and_then_pass() {
    let mut nash = Writer::new();
    nash.dir("lib");
    nash.file("bin/nash", b"elf");
    nash.file("lib/mptspi.ko", b"elf");
    nash.program(
        "init",
        b"#!/bin/nash\ninsmod /lib/mptspi.ko\nmkblkdevs\nmount /sysroot\n",
    );
    let mut suse = Writer::new();
    suse.file("sbin/modprobe", b"elf");
    suse.file("run_all.sh", b"RESOLVED_INITRD_MODULES='mptspi'\n");
    suse.file(&format!("lib/modules/{OLD}/kernel/mptspi.ko"), b"elf");
    for (writer, generator) in [(nash, "mkinitrd"), (suse, "suse-mkinitrd")] {
        let image = writer.finish(512);
        let facts = old_facts(image.clone());
        let initramfs = facts.kernels[0].initramfs.as_ref().unwrap();
        assert_eq!(initramfs.generator, generator);
        assert_eq!(check("initramfs-drivers", &facts).result, Outcome::Fail);
        let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
        assert_eq!(ids(&plan), [""; 0], "{generator}");
        let kinds: Vec<_> = plan
            .changes
            .iter()
            .map(|c| (c.kind.as_str(), c.path.as_str()))
            .collect();
        let path = format!("/boot/initrd-{OLD}.img");
        assert_eq!(
            kinds,
            [
                ("append-initramfs", path.as_str()),
                ("write-file", "/etc/modprobe.conf")
            ]
        );
        let mut after = image.clone();
        if let Some(Action::AppendInitramfs { path, members }) = &plan.changes[0].action {
            after.extend(splice::build(&old_guest(image), path, members).unwrap());
        }
        let after = old_facts(after);
        let finding = check("initramfs-drivers", &after);
        assert_eq!(
            finding.result,
            Outcome::Pass,
            "{generator}: {}",
            finding.detail
        );
    }
}

#[test]
fn an_initramfs_of_booster_is_made_anew() {
    let mut writer = Writer::new();
    writer.file("etc/booster.init.yaml", b"kernel: x\n");
    writer.file("usr/lib/modules/mptspi.ko", b"elf");
    let mut facts = old_facts(writer.finish(4));
    facts.sources.dirs.remove("/sbin/mkinitrd");
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    assert_eq!(ids(&plan)[0], "splice-not-possible", "there is no booster");
    facts
        .sources
        .dirs
        .insert("/usr/bin/booster".to_owned(), Vec::new());
    let plan = propose(&facts, &target(Bus::Virtio), &Policy::default());
    let change = plan.changes.last().unwrap();
    assert_eq!(change.kind, "rebuild-initramfs");
    assert!(
        change
            .diff
            .as_ref()
            .unwrap()
            .starts_with("$ /usr/bin/booster build --force --universal")
    );
}
