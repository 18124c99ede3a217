// SPDX-License-Identifier: Apache-2.0
use super::super::initramfs::cpio::Writer;
use super::*;
use crate::fs::MemoryFs;
use crate::inspect::facts::Firmware;
use crate::volume::Content;

pub(crate) const V: &str = "6.1.0-9-amd64";

pub(crate) const DEP: &str = "\
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/scsi/virtio_scsi.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko kernel/drivers/scsi/scsi_mod.ko
kernel/drivers/scsi/scsi_mod.ko:
kernel/drivers/scsi/sd_mod.ko: kernel/drivers/scsi/scsi_mod.ko
kernel/drivers/scsi/vmw_pvscsi.ko: kernel/drivers/scsi/scsi_mod.ko
";

/// Facts of an empty guest on one ext4 disk of which /boot has `free` bytes left.
pub(crate) fn empty(free: u64) -> Facts {
    let volume = crate::inspect::facts::VolumeFacts {
        name: "disk0p1".to_owned(),
        offset: 1 << 20,
        size: 1 << 30,
        content: Content {
            kind: "ext4".to_owned(),
            uuid: Some("0a1b".to_owned()),
            label: None,
        },
        part_uuid: None,
        part_type: None,
        part_label: None,
        stack: crate::volume::Stack::default(),
    };
    Facts {
        schema: "guestfix.io/facts/v1".to_owned(),
        guest: crate::inspect::facts::Guest::default(),
        firmware: Firmware::Bios,
        efi: None,
        windows: None,
        disks: Vec::new(),
        volumes: vec![volume],
        root: "disk0p1".to_owned(),
        mounts: vec![crate::inspect::facts::MountFacts {
            subvolume: None,
            volume: "disk0p1".to_owned(),
            at: "/".to_owned(),
            free_bytes: free,
            free_inodes: 1000,
        }],
        kernels: Vec::new(),
        network: Vec::new(),
        vmware: crate::inspect::facts::VmwareFacts::default(),
        concerns: Vec::new(),
        sources: crate::inspect::facts::Sources::default(),
    }
}

/// An initramfs as initramfs-tools makes it with MODULES=dep under VMware.
pub(crate) fn vmware_only() -> Vec<u8> {
    let mut writer = Writer::new();
    let dir = format!("usr/lib/modules/{V}");
    writer.symlink("lib", "usr/lib");
    for name in ["conf", "conf/conf.d", "usr", "usr/lib", "usr/lib/modules"] {
        writer.dir(name);
    }
    writer.file("conf/initramfs.conf", b"MODULES=dep\n");
    writer.file("usr/sbin/modprobe", b"elf");
    for name in [
        dir.clone(),
        format!("{dir}/kernel"),
        format!("{dir}/kernel/drivers"),
    ] {
        writer.dir(&name);
    }
    writer.dir(&format!("{dir}/kernel/drivers/scsi"));
    for name in ["vmw_pvscsi", "scsi_mod", "sd_mod"] {
        writer.file(&format!("{dir}/kernel/drivers/scsi/{name}.ko"), b"elf");
    }
    writer.finish(512)
}

/// A guest whose initramfs is `initramfs`.
pub(crate) fn guest(initramfs: Vec<u8>) -> Tree {
    let dir = format!("/lib/modules/{V}");
    let mut fs = MemoryFs::new()
        .file(&format!("/boot/vmlinuz-{V}"), "kernel")
        .symlink("/boot/vmlinuz.old", "vmlinuz-1")
        .file(&format!("/boot/initrd.img-{V}"), initramfs)
        .file("/etc/initramfs-tools/modules", "# List of modules\nlp")
        .file(&format!("{dir}/modules.dep"), DEP)
        .file(
            &format!("{dir}/modules.alias"),
            "alias virtio:d00000002v* virtio_blk\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n",
        )
        .file(
            &format!("{dir}/modules.builtin"),
            "kernel/fs/ext4/ext4.ko\n",
        );
    for line in DEP.lines() {
        let path = line.split(':').next().unwrap();
        fs = fs.file(&format!("{dir}/{path}"), format!("elf {path}"));
    }
    Tree::new(Box::new(fs))
}

/// Facts of that guest.
pub(crate) fn gathered(initramfs: Vec<u8>) -> (Tree, Facts) {
    let tree = guest(initramfs);
    let mut facts = empty(1 << 30);
    gather(&tree, &mut facts).unwrap();
    (tree, facts)
}

#[test]
fn each_driver_is_placed() {
    let (_, facts) = gathered(vmware_only());
    let kernel = &facts.kernels[0];
    assert_eq!(facts.kernels.len(), 1, "a link is no second kernel");
    assert_eq!(kernel.version, V);
    for (name, want) in [
        ("ext4", DriverAt::BuiltIn),
        ("sd_mod", DriverAt::Initramfs),
        ("virtio_blk", DriverAt::RootOnly),
        ("virtio_ring", DriverAt::RootOnly),
        ("ahci", DriverAt::Missing),
    ] {
        assert_eq!(kernel.drivers.get(name), Some(&want), "{name}");
    }
    let names: Vec<String> = lacking(&facts, kernel, Bus::Virtio)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["virtio", "virtio_blk", "virtio_pci", "virtio_ring"]);
    assert_eq!(
        lacking(&facts, kernel, Bus::Sata),
        [("ahci".to_owned(), DriverAt::Missing)]
    );
}

#[test]
fn image_names_are_told_and_newer_versions_come_first() {
    let names = [
        "vmlinuz-5.9",
        "vmlinuz-5.10-rc1",
        "kernel",
        "kernelcare",
        "System.map-5.9",
    ];
    let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let labels: Vec<String> = parse(&"/boot".into(), &names)
        .into_iter()
        .map(|image| image.label)
        .collect();
    assert_eq!(labels, ["5.9", "5.10-rc1", ""]);
    assert_eq!(newer_first("5.10.0-2", "5.9.0-10"), Ordering::Less);
    assert_eq!(newer_first("5.10.0-2", "5.10.0-10"), Ordering::Greater);
}

#[test]
fn an_image_says_its_version_itself() {
    let mut head = vec![0; 0x1000];
    head[0x202..0x206].copy_from_slice(b"HdrS");
    head[0x20e..0x210].copy_from_slice(&0x300_u16.to_le_bytes());
    head[0x500..0x512].copy_from_slice(b"6.6.1-0-lts (b@b)\0");
    assert_eq!(image_version(&head).as_deref(), Some("6.6.1-0-lts"));
    head[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
    assert_eq!(image_version(&head), None);
    assert_eq!(image_version(b"short"), None);
}

#[test]
fn a_module_that_its_index_does_not_name_is_not_inside() {
    let mut image = vmware_only();
    let mut writer = Writer::new();
    let dir = format!("usr/lib/modules/{V}");
    writer.file(
        &format!("{dir}/modules.dep"),
        b"kernel/drivers/scsi/scsi_mod.ko:\n",
    );
    image.extend(writer.finish(4));
    let (_, facts) = gathered(image);
    let drivers = &facts.kernels[0].drivers;
    assert_eq!(drivers.get("scsi_mod"), Some(&DriverAt::Initramfs));
    assert_eq!(drivers.get("sd_mod"), Some(&DriverAt::RootOnly));
    let source = splice_source(&facts, &facts.kernels[0]).unwrap();
    assert!(
        source
            .copies
            .iter()
            .any(|copy| copy.name.ends_with("/sd_mod.ko"))
    );
}

#[test]
fn what_a_driver_wants_softly_is_missed_with_the_driver_only() {
    let (_, mut facts) = gathered(vmware_only());
    let mut lacks = |driver: &str, at: DriverAt| -> Vec<String> {
        let kernel = &mut facts.kernels[0];
        kernel.drivers.insert(driver.to_owned(), at);
        kernel
            .drivers
            .insert("helper".to_owned(), DriverAt::RootOnly);
        let source = facts.sources.splices.values_mut().next().unwrap();
        source.soft.insert("helper".to_owned());
        let closure = ["helper", driver].map(str::to_owned).to_vec();
        source.closures.insert(driver.to_owned(), closure);
        lacking(&facts, &facts.kernels[0], Bus::Virtio)
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name == "helper" || name == driver)
            .collect()
    };
    assert_eq!(
        lacks("virtio_blk", DriverAt::RootOnly),
        ["helper", "virtio_blk"]
    );
    assert_eq!(lacks("virtio_blk", DriverAt::Initramfs), [""; 0]);
}
