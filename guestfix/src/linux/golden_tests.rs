// SPDX-License-Identifier: Apache-2.0
//! The whole room on one guest: Debian 12 as VMware leaves it.

use super::fixture::{self, ROOT_UUID, SWAP_UUID};
use super::*;
use crate::fs::MemoryFs;
use crate::verify::Outcome;

const GRUB_CFG: &str = "set default=\"0\"\nmenuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-x' {\n\tsearch --no-floppy --fs-uuid --set=root x\n\tlinux\t/boot/vmlinuz-6.1.0-1-amd64 root=/dev/sda1 ro  quiet\n\tinitrd\t/boot/initrd.img-6.1.0-1-amd64\n}\n";
const STATUS: &str = "Package: open-vm-tools\nStatus: install ok installed\nVersion: 2:12.2.0-1+deb12u2\n\nPackage: udev\nStatus: install ok installed\nVersion: 252.30-1~deb12u2\n\nPackage: vim\nStatus: install ok installed\n";

/// Drivers linked into the kernel: what an initramfs needs is tested in its own room.
const BUILT_IN: &str = "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\nkernel/virtio_scsi.ko\nkernel/sd_mod.ko\nkernel/ahci.ko\nkernel/ext4.ko\n";

fn debian12() -> MemoryFs {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(18, 0);
    elf.extend([62, 0]);
    MemoryFs::new()
        .symlink("/bin", "usr/bin")
        .symlink("/lib", "usr/lib")
        .file("/usr/bin/sh", elf)
        .symlink("/etc/os-release", "../usr/lib/os-release")
        .file("/usr/lib/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n")
        .file("/etc/hostname", "web1\n")
        .file("/etc/fstab", "# static\n/dev/sda1 / ext4 errors=remount-ro 0 1\n/dev/sda5 none swap sw 0 0\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n")
        .file("/etc/initramfs-tools/conf.d/resume", "RESUME=/dev/sda5\n")
        .file("/boot/vmlinuz-6.1.0-1-amd64", "kernel")
        .file("/usr/lib/modules/6.1.0-1-amd64/modules.builtin", BUILT_IN)
        .file("/boot/grub/grub.cfg", GRUB_CFG)
        .file("/etc/default/grub", "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\nGRUB_DISABLE_LINUX_UUID=true\n")
        .file("/usr/sbin/grub-mkconfig", "for x in ${sysconfdir}/default/grub.d/*.cfg ; do\n")
        .file("/etc/network/interfaces", "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\nallow-hotplug ens192\niface ens192 inet static\n\taddress 192.0.2.10/24\n")
        .file("/var/lib/dpkg/status", STATUS)
        .file("/usr/lib/systemd/systemd", "")
        .file("/usr/lib/systemd/system/open-vm-tools.service", "")
}

fn facts(fs: MemoryFs) -> Facts {
    let mut facts = fixture::facts();
    Linux.gather(&Tree::new(Box::new(fs)), &mut facts).unwrap();
    facts
}

fn proposal(facts: &Facts) -> Proposal {
    Linux.propose(facts, &fixture::target(), &Policy::default())
}

#[test]
fn a_debian_12_guest_is_seen_as_it_is() {
    let tree = Tree::new(Box::new(debian12()));
    assert!(Linux.recognise(&tree).unwrap());
    assert_eq!(
        Linux.mount_table(&tree).unwrap(),
        [crate::inspect::TableEntry {
            device: "/dev/sda1".to_owned(),
            at: "/".to_owned(),
            options: vec!["errors=remount-ro".to_owned()],
        }]
    );
    let facts = facts(debian12());
    assert_eq!(facts.guest.arch, "x86_64");
    assert_eq!(facts.guest.pretty_name, "Debian GNU/Linux 12 (bookworm)");
    assert_eq!(facts.vmware.packages, ["open-vm-tools"]);
    assert_eq!(facts.vmware.units, ["open-vm-tools.service"]);
    assert_eq!(facts.network.len(), 1);
    assert_eq!(facts.network[0].addresses, ["192.0.2.10/24"]);
    assert!(facts.kernels[0].default && facts.kernels[0].in_boot_menu);
    assert!(facts.concerns.is_empty(), "{:?}", facts.concerns);
}

#[test]
fn a_debian_12_guest_gets_this_plan() {
    let out = proposal(&facts(debian12()));
    let lines: Vec<_> = out
        .changes
        .iter()
        .map(|c| format!("{} {} {}", c.topic, c.kind, c.path))
        .collect();
    assert_eq!(
        lines,
        [
            "fstab write-file /etc/fstab",
            "resume write-file /etc/initramfs-tools/conf.d/resume",
            "bootloader write-file /boot/grub/grub.cfg",
            "bootloader write-file /etc/default/grub",
            "bootloader write-file /etc/default/grub.d/99-guestfix.cfg",
            "initramfs write-file /etc/initramfs-tools/modules",
            "network write-file /etc/systemd/network/10-guestfix-ens192.link",
            "vmware-tools run-guest-program /usr/bin/dpkg",
            "vmware-tools symlink /etc/systemd/system/open-vm-tools.service",
        ]
    );
    assert_eq!(
        out.changes[0].diff.as_deref().unwrap(),
        format!(
            "--- a/etc/fstab\n+++ b/etc/fstab\n@@ -1,4 +1,4 @@\n # static\n-/dev/sda1 / ext4 errors=remount-ro 0 1\n-/dev/sda5 none swap sw 0 0\n+UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\n+UUID={SWAP_UUID} none swap sw 0 0\n /dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n"
        )
    );
    let menu = fixture::written(&out.changes, "/boot/grub/grub.cfg").unwrap();
    assert_eq!(
        menu,
        GRUB_CFG.replace(
            "root=/dev/sda1 ro  quiet",
            &format!("root=UUID={ROOT_UUID} ro  quiet console=tty0 console=ttyS0,115200n8")
        )
    );
    let ids: Vec<_> = out.concerns.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["guest-agent-missing"]);
}

#[test]
fn the_checks_tell_the_guest_before_from_the_guest_after() {
    let named = |facts: &Facts| -> Vec<&'static str> {
        let all = checks();
        let fails = |check: &&Check| (check.run)(facts, &fixture::target()).result == Outcome::Fail;
        all.iter().filter(fails).map(|check| check.name).collect()
    };
    let before = facts(debian12());
    assert_eq!(
        named(&before),
        [
            "fstab-devices",
            "fstab-swap",
            "resume-device",
            "boot-entries-stable",
            "boot-defaults-stable",
            "console-serial",
            "initramfs-rebuild-keeps-virtio",
            "nic-names-kept",
            "vmware-tools-gone",
            "guest-agent",
        ]
    );
    let done = fixture::applied(debian12(), &proposal(&before).changes);
    let purged = done.file(
        "/var/lib/dpkg/status",
        "Package: udev\nVersion: 252\nStatus: install ok installed\n",
    );
    let after = facts(purged);
    assert_eq!(named(&after), ["guest-agent"]);
    assert!(
        proposal(&after).changes.is_empty(),
        "a second run changes something"
    );
}

#[test]
fn check_names_are_unique() {
    let mut names: Vec<_> = checks().iter().map(|c| c.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn an_empty_disk_and_a_data_disk_are_no_linux() {
    for fs in [
        MemoryFs::new(),
        MemoryFs::new().file("/etc/fstab", "x"),
        MemoryFs::new().dir("/bin").dir("/etc"),
    ] {
        assert!(!Linux.recognise(&Tree::new(Box::new(fs))).unwrap());
    }
}

/// Files that any topic parses.
const PARSED: &[&str] = &[
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/os-release",
    "/etc/hostname",
    "/etc/inittab",
    "/etc/modules",
    "/etc/default/grub",
    "/etc/initramfs-tools/conf.d/resume",
    "/etc/network/interfaces",
    "/etc/netplan/a.yaml",
    "/etc/systemd/network/a.network",
    "/etc/systemd/network/a.link",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/etc/NetworkManager/system-connections/a",
    "/etc/sysconfig/network-scripts/ifcfg-a",
    "/etc/sysconfig/network/ifcfg-a",
    "/etc/wicked/ifconfig/a.xml",
    "/etc/cloud/cloud.cfg",
    "/etc/cloud/cloud.cfg.d/a.cfg",
    "/etc/conf.d/net",
    "/etc/udev/rules.d/99-a.rules",
    "/etc/mdadm.conf",
    "/etc/kdump.conf",
    "/etc/lvm/lvm.conf",
    "/etc/lvm/devices/system.devices",
    "/etc/multipath.conf",
    "/etc/multipath/wwids",
    "/etc/systemd/system/a.mount",
    "/etc/systemd/system/b.swap",
    "/boot/grub/grub.cfg",
    "/boot/grub/grubenv",
    "/boot/grub/menu.lst",
    "/boot/grub/device.map",
    "/boot/loader/entries/a-1-2.conf",
    "/boot/loader/loader.conf",
    "/boot/extlinux/extlinux.conf",
    "/etc/kernel/cmdline",
    "/etc/default/extlinux",
    "/etc/update-extlinux.conf",
    "/etc/modprobe.conf",
    "/sbin/mkinitrd",
    "/etc/sysconfig/kernel",
    "/etc/mkinitcpio.conf",
    "/etc/mkinitcpio.d/a.preset",
    "/etc/mkinitfs/mkinitfs.conf",
    "/etc/booster.yaml",
    "/var/lib/dpkg/status",
];

/// Words that lead deep into the parsers, between any bytes.
fn hostile() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let words = [
        "/dev/sda1 ",
        "UUID=",
        "\\0",
        "\r\n",
        "\n",
        "'",
        "\"",
        "{",
        "}",
        "menuentry ",
        "linux ",
        "root=/dev/sda1 ",
        "set default=",
        "set kernelopts=\"root=/dev/sda1\"\n",
        "blscfg\n",
        "default ",
        "title x\n",
        "kernel /vmlinuz ",
        "LABEL a\n",
        "APPEND ",
        "options root=/dev/sda1 $kernelopts ",
        "(hd0) /dev/sda\n",
        "# kopt=root=/dev/sda1 ",
        "cryptdevice=/dev/sda1:x ",
        "alias scsi_hostadapter mptspi\n",
        "INITRD_MODULES=",
        "MODULES=(",
        "modules: ",
        "ALL_config=/etc/mkinitcpio.conf\n",
        "features=",
        "1>0",
        "iface ",
        "source /etc/network/*",
        "[Match]\n",
        "[Mount]\nWhat=/dev/sda1\n",
        "Driver=vmxnet3\n",
        "filter = [ \"a|/dev/sda|\", ",
        "DEVICE /dev/sda1\n",
        "<interface><name>",
        "</name>",
        "36000c29",
        "HWADDR=00:0c:29:00:00:01\n",
        "[connection]\n",
        "Name=",
        "NAME=\"",
        "GRUB_CMDLINE_LINUX=",
        "RESUME=",
        "network:\n",
        "  ethernets:\n",
        "    ens1:\n",
        "- ",
        ":",
        "#",
        "\\",
        "Package: open-vm-tools",
        "# GRUB Environment Block\n",
    ];
    let word = prop_oneof![
        proptest::sample::select(words.to_vec()).prop_map(|w| w.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_any_topic_panic_or_undo_itself(bytes in hostile()) {
        let mut fs = debian12();
        for path in PARSED.iter().copied() {
            fs = fs.file(path, bytes.clone());
        }
        let before = facts(fs.clone());
        for check in checks() {
            (check.run)(&before, &fixture::target());
        }
        let after = facts(fixture::applied(fs, &proposal(&before).changes));
        let writes = |change: &&crate::plan::Change| change.kind == "write-file";
        let again = proposal(&after);
        proptest::prop_assert_eq!(again.changes.iter().find(writes), None);
    }
}
