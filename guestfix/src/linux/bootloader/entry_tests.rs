// SPDX-License-Identifier: Apache-2.0
//! Whole guests of every loader: which kernels are found and marked, what is edited, and where the
//! default entry goes when its kernel has no virtio.

use super::super::super::fixture::{self, ROOT_UUID};
use super::super::pe;
use super::*;
use crate::fs::{MemoryFs, Tree};
use crate::inspect::Recognise;
use crate::inspect::facts::{MountFacts, VolumeFacts};
use crate::linux::Linux;
use crate::plan::{Policy, Proposal, Propose};
use crate::volume::Content;

const ID: &str = "0123456789abcdef0123456789abcdef";
const CONSOLE: &str = "console=tty0 console=ttyS0,115200n8";
const BUILT_IN: &str =
    "a/virtio_pci.ko\na/virtio_blk.ko\na/virtio_scsi.ko\na/sd_mod.ko\na/ahci.ko\na/ext4.ko\n";
/// A kernel that knows VMware's disks only.
const NO_VIRTIO: &str = "a/vmw_pvscsi.ko\na/sd_mod.ko\na/ext4.ko\n";

/// A guest with nothing but a program and a release.
fn guest() -> MemoryFs {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(18, 0);
    elf.extend([62, 0]);
    MemoryFs::new()
        .symlink("/bin", "usr/bin")
        .symlink("/lib", "usr/lib")
        .file("/usr/bin/sh", elf)
        .file("/etc/os-release", "ID=debian\nPRETTY_NAME=\"Test\"\n")
        .file("/etc/fstab", "UUID=x / ext4 defaults 0 1\n")
}

fn modules(fs: MemoryFs, version: &str, builtin: &str) -> MemoryFs {
    fs.file(
        &format!("/usr/lib/modules/{version}/modules.builtin"),
        builtin,
    )
}

fn facts(fs: MemoryFs) -> Facts {
    let mut facts = fixture::facts();
    Linux.gather(&Tree::new(Box::new(fs)), &mut facts).unwrap();
    facts
}

/// The same on UEFI, the EFI system partition at `at`.
fn efi_facts(fs: MemoryFs, at: &str) -> Facts {
    let mut facts = fixture::facts();
    facts.firmware = Firmware::Efi;
    facts.volumes.push(VolumeFacts {
        name: "disk0p9".to_owned(),
        offset: 0,
        size: 1 << 28,
        content: Content {
            kind: "vfat".to_owned(),
            uuid: Some("12AB-34CD".to_owned()),
            label: None,
        },
        part_uuid: None,
        part_type: Some("c12a7328-f81f-11d2-ba4b-00a0c93ec93b".to_owned()),
        part_label: None,
        stack: Default::default(),
    });
    facts.mounts.push(MountFacts {
        volume: "disk0p9".to_owned(),
        subvolume: None,
        at: at.to_owned(),
        free_bytes: 1 << 28,
        free_inodes: 100,
    });
    Linux.gather(&Tree::new(Box::new(fs)), &mut facts).unwrap();
    facts
}

fn proposal(facts: &Facts) -> Proposal {
    Linux.propose(facts, &fixture::target(), &Policy::default())
}

fn has(out: &Proposal, id: &str) -> bool {
    out.concerns.iter().any(|concern| concern.id == id)
}

/// Version, named by an entry, started by default.
fn marks(facts: &Facts) -> Vec<(&str, bool, bool)> {
    let kernels = facts.kernels.iter();
    kernels
        .map(|k| (k.version.as_str(), k.in_boot_menu, k.default))
        .collect()
}

fn env(text: &str) -> Vec<u8> {
    let mut block = format!("# GRUB Environment Block\n{text}").into_bytes();
    block.resize(1024, b'#');
    block
}

fn fedora(new: &str, old: &str, saved: &str) -> MemoryFs {
    let fs = guest()
        .file("/boot/grub2/grub.cfg", "load_env\nset default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n")
        .file("/boot/grub2/grubenv", env(saved))
        .file("/etc/default/grub", "GRUB_DEFAULT=saved\nGRUB_CMDLINE_LINUX=\"rhgb\"\n")
        .file("/etc/kernel/cmdline", "root=/dev/sda1 ro rhgb\n")
        .file("/boot/vmlinuz-6.11.4-301.fc41.x86_64", "kernel")
        .file("/usr/lib/modules/6.9.1-200.fc41.x86_64/vmlinuz", "kernel")
        .symlink("/boot/vmlinuz-6.9.1-200.fc41.x86_64", "../usr/lib/modules/6.9.1-200.fc41.x86_64/vmlinuz")
        .file(&format!("/boot/loader/entries/{ID}-6.11.4-301.fc41.x86_64.conf"),
            "title Fedora (6.11)\nlinux /vmlinuz-6.11.4-301.fc41.x86_64\ninitrd /i $tuned_initrd\noptions root=/dev/sda1 ro rhgb $tuned_params\n")
        .file(&format!("/boot/loader/entries/{ID}-6.9.1-200.fc41.x86_64.conf"),
            "title Fedora (6.9)\nlinux /vmlinuz-6.9.1-200.fc41.x86_64\ninitrd /i\noptions $kernelopts\n");
    let fs = modules(fs, "6.11.4-301.fc41.x86_64", new);
    modules(fs, "6.9.1-200.fc41.x86_64", old)
}

#[test]
fn fragments_are_found_marked_and_edited_with_their_source_of_truth() {
    let fs = fedora(BUILT_IN, BUILT_IN, "kernelopts=root=/dev/sda1 ro\n");
    let before = facts(fs.clone());
    assert_eq!(
        marks(&before),
        [
            ("6.11.4-301.fc41.x86_64", true, true),
            ("6.9.1-200.fc41.x86_64", true, false)
        ]
    );
    assert_eq!(
        before.kernels[1].image,
        "/usr/lib/modules/6.9.1-200.fc41.x86_64/vmlinuz"
    );
    let out = proposal(&before);
    let wrote = |path: &str| fixture::written(&out.changes, path);
    let named = format!("root=UUID={ROOT_UUID} ro");
    let entry = wrote(&format!(
        "/boot/loader/entries/{ID}-6.11.4-301.fc41.x86_64.conf"
    ))
    .unwrap();
    assert!(
        entry.contains(&format!("options {named} rhgb $tuned_params {CONSOLE}\n")),
        "{entry}"
    );
    assert_eq!(
        wrote("/etc/kernel/cmdline").unwrap(),
        format!("{named} rhgb {CONSOLE}\n")
    );
    let block = wrote("/boot/grub2/grubenv").unwrap();
    assert!(
        block.contains(&format!("kernelopts={named} {CONSOLE}\n")),
        "{block}"
    );
    assert_eq!(block.len(), 1024);
    assert!(!has(&out, "default-kernel-moved"));
    let after = facts(fixture::applied(fs, &out.changes));
    for name in [
        "boot-entries-stable",
        "boot-defaults-stable",
        "console-serial",
    ] {
        let check = super::super::CHECKS
            .iter()
            .find(|c| c.name == name)
            .unwrap();
        assert_eq!(
            (check.run)(&after, &fixture::target()).result,
            crate::verify::Outcome::Pass,
            "{name}"
        );
    }
    assert!(
        super::super::propose(&after, &fixture::target(), &Policy::default())
            .changes
            .is_empty()
    );
}

#[test]
fn a_saved_entry_moves_to_a_kernel_with_virtio() {
    let fs = fedora(NO_VIRTIO, BUILT_IN, "saved_entry=\n");
    let before = facts(fs.clone());
    let out = proposal(&before);
    assert!(has(&out, "default-kernel-moved"), "{:?}", out.concerns);
    let critical = out
        .concerns
        .iter()
        .filter(|c| c.category == crate::inspect::Category::Critical);
    assert_eq!(critical.count(), 0, "{:?}", out.concerns);
    let block = fixture::written(&out.changes, "/boot/grub2/grubenv").unwrap();
    assert!(block.contains(&format!("saved_entry={ID}-6.9.1-200.fc41.x86_64\n")));
    let after = facts(fixture::applied(fs, &out.changes));
    assert_eq!(marks(&after)[0], ("6.9.1-200.fc41.x86_64", true, true));
    assert!(!has(&proposal(&after), "default-kernel-moved"));
}

#[test]
fn where_no_kernel_has_virtio_the_default_stays_and_it_is_critical() {
    let out = proposal(&facts(fedora(NO_VIRTIO, NO_VIRTIO, "")));
    assert!(!has(&out, "default-kernel-moved"));
    let critical = out
        .concerns
        .iter()
        .find(|c| c.id == "kernel-lacks-virtio")
        .unwrap();
    assert_eq!(critical.category, crate::inspect::Category::Critical);
}

#[test]
fn a_fixed_default_of_grub_2_moves_now_and_for_the_next_menu() {
    let menu = "set default=\"0\"\nif [ x ]; then\n set default=\"${next_entry}\"\nfi\nmenuentry 'New' --id new {\n linux /boot/vmlinuz-2 root=/dev/sda1\n initrd /i\n}\nsubmenu 'More' --id more {\nmenuentry 'Old' --id old {\n linux /boot/vmlinuz-1 root=/dev/sda1\n initrd /i\n}\n}\n";
    let fs = guest()
        .file("/boot/grub/grub.cfg", menu)
        .file(
            "/etc/default/grub",
            "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX=\"console=ttyS0\"\n",
        )
        .file("/boot/vmlinuz-1", "kernel")
        .file("/boot/vmlinuz-2", "kernel");
    let fs = modules(modules(fs, "2", NO_VIRTIO), "1", BUILT_IN);
    let before = facts(fs.clone());
    assert_eq!(marks(&before)[0], ("2", true, true));
    let out = proposal(&before);
    let text = fixture::written(&out.changes, "/boot/grub/grub.cfg").unwrap();
    assert!(text.starts_with("set default=\"more>old\"\n"), "{text}");
    let text = fixture::written(&out.changes, "/etc/default/grub").unwrap();
    assert!(text.starts_with("GRUB_DEFAULT=\"more>old\"\n"), "{text}");
    let after = facts(fixture::applied(fs, &out.changes));
    assert_eq!(marks(&after)[0], ("1", true, true));
}

#[test]
fn grub_legacy_is_read_edited_and_moved() {
    let menu = "default=0\ntitle New\n kernel /boot/vmlinuz-2 ro root=/dev/sda1\n initrd /boot/initrd-2\ntitle Other\n chainloader +1\ntitle Old\n kernel /boot/vmlinuz-1 ro root=/dev/sda1\n initrd /boot/initrd-1\n";
    let fs = guest()
        .file("/boot/grub/grub.conf", menu)
        .symlink("/boot/grub/menu.lst", "./grub.conf")
        .file("/boot/grub/device.map", "(hd0) /dev/sda\n")
        .file("/boot/vmlinuz-1", "kernel")
        .file("/boot/vmlinuz-2", "kernel");
    let fs = modules(modules(fs, "2", NO_VIRTIO), "1", BUILT_IN);
    let out = proposal(&facts(fs.clone()));
    let text = fixture::written(&out.changes, "/boot/grub/grub.conf").unwrap();
    assert!(text.starts_with("default=2\n"), "{text}");
    assert_eq!(
        text.matches(&format!("root=UUID={ROOT_UUID} {CONSOLE}"))
            .count(),
        2
    );
    assert_eq!(
        fixture::written(&out.changes, "/boot/grub/device.map").unwrap(),
        "(hd0) /dev/vda\n"
    );
    let after = facts(fixture::applied(fs, &out.changes));
    assert_eq!(marks(&after)[0], ("1", true, true));
    assert!(
        super::super::propose(&after, &fixture::target(), &Policy::default())
            .changes
            .is_empty()
    );
}

#[test]
fn extlinux_is_read_edited_and_moved() {
    let config = "DEFAULT menu.c32\nLABEL virt\n MENU DEFAULT\n LINUX vmlinuz-2\n INITRD initramfs-2\n APPEND root=/dev/sda1\nLABEL lts\n LINUX vmlinuz-1\n INITRD initramfs-1\n APPEND root=/dev/sda1\n";
    let fs = guest()
        .file("/boot/extlinux.conf", config)
        .file(
            "/etc/update-extlinux.conf",
            "root=/dev/sda1\ndefault=virt\n",
        )
        .file("/boot/vmlinuz-1", "kernel")
        .file("/boot/vmlinuz-2", "kernel");
    let fs = modules(modules(fs, "2", NO_VIRTIO), "1", BUILT_IN);
    let before = facts(fs.clone());
    assert_eq!(marks(&before)[0], ("2", true, true));
    let out = proposal(&before);
    let text = fixture::written(&out.changes, "/boot/extlinux.conf").unwrap();
    assert!(text.starts_with("DEFAULT lts\n"), "{text}");
    let text = fixture::written(&out.changes, "/etc/update-extlinux.conf").unwrap();
    assert_eq!(text, format!("root=UUID={ROOT_UUID}\ndefault=lts\n"));
    let after = facts(fixture::applied(fs, &out.changes));
    assert_eq!(marks(&after)[0], ("1", true, true));
}

fn systemd_boot(uki: &[u8]) -> MemoryFs {
    let loader = pe::sample(0x8664, false, "sbat,1\nsystemd-boot,1,x\n");
    guest()
        .file("/boot/EFI/BOOT/BOOTX64.EFI", loader.clone())
        .file("/boot/EFI/systemd/systemd-bootx64.efi", loader)
        .file("/boot/loader/loader.conf", "timeout 3\r\ndefault arch*\r\n")
        .file("/boot/loader/entries/arch.conf", "title Arch\nlinux /vmlinuz-linux\ninitrd /intel-ucode.img\ninitrd /initramfs-linux.img\noptions root=/dev/sda1 rw\n")
        .file("/boot/loader/entries/fallback.conf", "title Arch\nlinux /vmlinuz-linux\ninitrd /initramfs-linux-fallback.img\noptions root=/dev/sda1 rw\n")
        .file("/boot/vmlinuz-linux", "kernel")
        .file("/boot/initramfs-linux.img", "x")
        .file("/boot/initramfs-linux-fallback.img", "y")
        .file("/usr/lib/modules/6.12.1-arch1-1/pkgbase", "linux\n")
        .file("/boot/EFI/Linux/other.efi", uki)
}

fn uki(cmdline: &str) -> Vec<u8> {
    let parts: [(&str, &[u8]); 5] = [
        (".osrel", b"ID=zz\n"),
        (".uname", b"6.1.0-1"),
        (".cmdline", cmdline.as_bytes()),
        (".linux", b"MZ"),
        (".initrd", b"070701"),
    ];
    pe::unified(0x8664, true, &parts)
}

#[test]
fn systemd_boot_is_read_with_both_initramfs_of_one_kernel() {
    let fs = modules(systemd_boot(&uki("quiet")), "6.12.1-arch1-1", NO_VIRTIO);
    let fs = modules(fs, "6.1.0-1", BUILT_IN);
    let before = efi_facts(fs.clone(), "/boot");
    let initramfs = before
        .kernels
        .iter()
        .map(|k| k.initramfs.as_ref().unwrap().path.as_str());
    assert_eq!(
        initramfs.collect::<Vec<_>>(),
        [
            "/boot/initramfs-linux.img",
            "/boot/initramfs-linux-fallback.img",
            "/boot/EFI/Linux/other.efi"
        ]
    );
    assert!(before.kernels[0].default && before.kernels.iter().all(|k| k.in_boot_menu));
    let out = proposal(&before);
    assert!(has(&out, "default-kernel-moved"), "{:?}", out.concerns);
    assert_eq!(
        fixture::written(&out.changes, "/boot/loader/loader.conf").unwrap(),
        "timeout 3\r\ndefault other.efi\r\n"
    );
    let entry = fixture::written(&out.changes, "/boot/loader/entries/arch.conf").unwrap();
    assert!(
        entry.ends_with(&format!("options root=UUID={ROOT_UUID} rw {CONSOLE}\n")),
        "{entry}"
    );
    let after = efi_facts(fixture::applied(fs, &out.changes), "/boot");
    assert!(after.kernels[0].default && after.kernels[0].is_unified());
}

#[test]
fn a_unified_kernel_is_never_written_and_its_lacks_are_critical() {
    let fs = systemd_boot(&uki("root=/dev/sda1"))
        .file("/boot/loader/loader.conf", "default other.efi\n");
    let fs = modules(fs, "6.12.1-arch1-1", NO_VIRTIO);
    let fs = modules(fs, "6.1.0-1", NO_VIRTIO);
    let before = efi_facts(fs, "/boot");
    assert!(before.kernels[0].is_unified() && before.kernels[0].default);
    let out = proposal(&before);
    assert!(
        !out.changes
            .iter()
            .any(|change| change.path.ends_with(".efi"))
    );
    for id in ["kernel-lacks-virtio", "unified-kernel-device"] {
        let told = out.concerns.iter().find(|c| c.id == id).unwrap();
        assert_eq!(
            told.category,
            crate::inspect::Category::Critical,
            "{told:?}"
        );
    }
}

#[test]
fn a_dangling_link_is_a_concern_and_nothing_more() {
    let fs = guest()
        .symlink("/boot/vmlinuz", "vmlinuz-gone")
        .symlink("/boot/vmlinuz-loop", "vmlinuz-loop")
        .file("/boot/vmlinuz-1", "kernel");
    let facts = facts(modules(fs, "1", BUILT_IN));
    let told = facts
        .concerns
        .iter()
        .filter(|c| c.id == "kernel-link-dangling");
    assert_eq!(told.count(), 2);
    assert_eq!(marks(&facts), [("1", true, false)]);
}

#[test]
fn ten_thousand_kernels_are_bounded_and_the_default_is_among_them() {
    let mut fs = guest().file(
        "/boot/grub/grub.cfg",
        "set default=0\nmenuentry a {\n linux /boot/vmlinuz-5.0.1 root=UUID=x\n}\n",
    );
    for n in 0..10_000 {
        fs = fs.file(&format!("/boot/vmlinuz-5.0.{n}"), "kernel");
    }
    let facts = facts(modules(fs, "5.0.1", BUILT_IN));
    assert_eq!(facts.kernels.len(), 32);
    assert_eq!(
        (facts.kernels[0].version.as_str(), facts.kernels[0].default),
        ("5.0.1", true)
    );
    assert_eq!(facts.kernels[1].version, "5.0.9999");
    assert!(facts.concerns.iter().any(|c| c.id == "many-kernels"));
}

#[test]
fn kernels_beside_their_modules_and_for_other_machines_are_found() {
    let fs = guest()
        .file("/boot/Image", "kernel")
        .file("/usr/lib/modules/6.4.0-default/Image", "kernel")
        .file("/boot/initrd-6.4.0-default", "x");
    let facts = facts(modules(fs, "6.4.0-default", BUILT_IN));
    // With one set of modules only, a bare name can but mean that.
    assert_eq!(facts.kernels.len(), 1);
    assert_eq!(facts.kernels[0].image, "/boot/Image");
    let fs = guest()
        .file("/usr/lib/modules/6.4.0-default/Image", "kernel")
        .file("/boot/initrd-6.4.0-default", "x");
    let facts = self::facts(modules(fs, "6.4.0-default", BUILT_IN));
    assert_eq!(
        facts.kernels[0].image,
        "/usr/lib/modules/6.4.0-default/Image"
    );
    assert_eq!(
        facts.kernels[0].initramfs.as_ref().unwrap().path,
        "/boot/initrd-6.4.0-default"
    );
}

#[test]
fn an_entry_whose_kernel_is_gone_is_told() {
    let fs = guest()
        .file(
            "/boot/grub/grub.cfg",
            "menuentry a {\n linux /boot/vmlinuz-gone root=UUID=x\n}\n",
        )
        .file("/boot/vmlinuz-1", "kernel");
    let facts = facts(modules(fs, "1", BUILT_IN));
    assert!(
        facts
            .concerns
            .iter()
            .any(|c| c.id == "entry-kernel-missing")
    );
}

#[test]
fn a_kernel_of_any_name_that_an_entry_starts_is_found() {
    let fs = guest()
        .file(
            "/boot/grub/grub.cfg",
            "menuentry a {\n linux /@/boot/mine root=/dev/sda1\n initrd /@/boot/mine.img\n}\n",
        )
        .file("/boot/mine", "kernel")
        .file("/boot/mine.img", "x");
    let facts = facts(modules(fs, "1", BUILT_IN));
    assert_eq!(marks(&facts), [("1", true, true)]);
    assert_eq!(
        facts.kernels[0].initramfs.as_ref().unwrap().path,
        "/boot/mine.img"
    );
}

#[test]
fn an_environment_block_of_two_names_is_written_once_and_kept() {
    let fs = fedora(NO_VIRTIO, BUILT_IN, "")
        .file(
            "/boot/efi/EFI/fedora/grubenv",
            env("kernelopts=ro\nsaved_entry=x\n"),
        )
        .symlink("/boot/grub2/grubenv", "../efi/EFI/fedora/grubenv");
    let out = proposal(&facts(fs));
    let blocks: Vec<_> = out
        .changes
        .iter()
        .filter(|change| change.path.ends_with("/grubenv"))
        .collect();
    assert_eq!(blocks.len(), 1);
    let text = fixture::written(&out.changes, "/boot/efi/EFI/fedora/grubenv").unwrap();
    assert!(text.contains("kernelopts=ro console=tty0"), "{text}");
    assert!(
        text.contains(&format!("saved_entry={ID}-6.9.1-200.fc41.x86_64\n")),
        "{text}"
    );
}

#[test]
fn a_configuration_of_a_gigabyte_is_a_concern() {
    let huge = vec![b'#'; 5 << 20];
    let mut fs = guest().file("/boot/vmlinuz-1", "kernel");
    for path in [
        "/etc/dracut.conf",
        "/etc/default/grub",
        "/boot/grub/menu.lst",
        "/etc/kernel/cmdline",
    ] {
        fs = fs.file(path, huge.clone());
    }
    let facts = facts(modules(fs, "1", BUILT_IN));
    let told = facts.concerns.iter().filter(|c| c.id == "unreadable-file");
    assert_eq!(told.count(), 4);
    assert!(
        proposal(&facts)
            .changes
            .iter()
            .all(|change| !change.path.ends_with("menu.lst"))
    );
}

#[test]
fn photons_variables_are_followed_and_edited() {
    let menu = "set default=0\nif [ -f /photon.cfg ]; then\n load_env -f /photon.cfg\nelse\n load_env -f /boot/photon.cfg\nfi\nset rootpartition=/dev/sda1\nmenuentry \"Photon\" {\n linux \"/boot/\"$photon_linux root=$rootpartition net.ifnames=0 $photon_cmdline\n if [ -f /boot/$photon_initrd ]; then\n  initrd \"/boot/\"$photon_initrd\n fi\n}\n";
    let fs = guest()
        .file("/boot/grub2/grub.cfg", menu)
        .symlink("/boot/photon.cfg", "linux-5.10.1.cfg")
        .file("/boot/linux-5.10.1.cfg", "# GRUB Environment Block\nphoton_cmdline=init=/lib/systemd/systemd quiet\nphoton_linux=vmlinuz-5.10.1\nphoton_initrd=initrd.img-5.10.1\n")
        .file("/boot/vmlinuz-5.10.1", "kernel")
        .file("/boot/initrd.img-5.10.1", "x");
    let fs = modules(fs, "5.10.1", BUILT_IN);
    let before = facts(fs.clone());
    assert_eq!(marks(&before), [("5.10.1", true, true)]);
    assert!(before.kernels[0].initramfs.is_some());
    let out = proposal(&before);
    let text = fixture::written(&out.changes, "/boot/grub2/grub.cfg").unwrap();
    let want = menu
        .replace("=/dev/sda1\n", &format!("=UUID={ROOT_UUID}\n"))
        .replace("$photon_cmdline\n", &format!("$photon_cmdline {CONSOLE}\n"));
    assert_eq!(text, want);
    let after = facts(fixture::applied(fs, &out.changes));
    assert!(
        super::super::propose(&after, &fixture::target(), &Policy::default())
            .changes
            .is_empty()
    );
}
