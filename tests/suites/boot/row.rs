// SPDX-License-Identifier: Apache-2.0
//! The guests that are proven, one row each.

use guestfix::boot::{Controller, Reason};
use guestfix::inspect::facts::Firmware;

/// One guest: how it fails before, and what it says of itself after.
#[derive(Debug)]
pub struct Row {
    /// Its recipe.
    pub name: &'static str,
    /// What starts it.
    pub firmware: Firmware,
    /// What KubeVirt's machine shows of the guest as VMware leaves it.
    pub fails_by: &'static [Reason],
    /// The buses on which it does. A guest whose initramfs has every driver finds `/dev/sda` again on SCSI.
    pub fails_on: &'static [(Controller, &'static str)],
    /// What its disk hangs on in the control: where the firmware can read it, and the guest has the driver from VMware.
    pub control: Controller,
    /// Where its boot menu is.
    pub menu: Menu,
    /// The options of `convert` that are proven.
    pub modes: &'static [&'static [&'static str]],
    /// What is mounted where: the mount point, and the source: a path, or what follows the disk's name.
    pub mounts: &'static [(&'static str, &'static str)],
    /// Where swap is, as the mounts' sources.
    pub swap: &'static str,
    /// What unlocks its disks.
    pub passphrase: Option<&'static str>,
    /// What interface has which address.
    pub addresses: &'static [(&'static str, &'static str)],
}

impl Row {
    /// True where the root is on a volume that is made of others.
    pub fn is_stack(&self) -> bool {
        self.mounts
            .iter()
            .any(|(point, source)| *point == "/" && source.starts_with('/'))
    }
}

/// What the boot loader shows.
#[derive(Debug)]
pub enum Menu {
    /// GRUB's menu, in a file.
    Grub {
        /// The partition's number.
        partition: u32,
        /// What mounting it needs.
        options: &'static str,
        /// The path in there.
        path: &'static str,
    },
    /// systemd-boot's entry on the ESP, the disk's first partition, which is mounted there. The guest's facts name it.
    Entry {
        /// The mount point.
        esp: &'static str,
    },
    /// It shows itself on the serial console as it is.
    AsIs,
}

const BOTH: &[(Controller, &str)] = &[(Controller::Virtio, "virtio"), (Controller::Scsi, "scsi")];
const ONE_CARD: &[(&str, &str)] = &[("ens192", "192.0.2.10/24")];
const NO_ROOT: &[Reason] = &[Reason::NoRoot, Reason::EmergencyShell];
const EXT4: &str = "noinit_itable,nodiscard";
const SPLICE: &[&str] = &["--initramfs", "splice"];
const REBUILD: &[&str] = &["--initramfs", "rebuild"];

/// Everything names `/dev/sda`.
pub const BOOKWORM_BIOS_EXT4: Row = Row {
    name: "bookworm-bios-ext4",
    firmware: Firmware::Bios,
    fails_by: NO_ROOT,
    fails_on: BOTH,
    control: Controller::Pvscsi,
    menu: Menu::Grub {
        partition: 1,
        options: EXT4,
        path: "boot/grub/grub.cfg",
    },
    modes: &[SPLICE, &["--no-guest-code"], REBUILD],
    mounts: &[("/", "1")],
    swap: "5",
    passphrase: None,
    addresses: ONE_CARD,
};

/// The firmware does not even find the boot loader.
pub const TRIXIE_UEFI_XFS: Row = Row {
    name: "trixie-uefi-xfs",
    firmware: Firmware::Efi,
    fails_by: &[Reason::NoBootloader],
    fails_on: BOTH,
    // Debian's OVMF reads no disk on VMware's SCSI controllers. VMware's machines have AHCI as well, for the CD-ROM.
    control: Controller::Sata,
    menu: Menu::Grub {
        partition: 2,
        options: "nouuid",
        path: "boot/grub/grub.cfg",
    },
    modes: &[REBUILD, SPLICE],
    mounts: &[("/", "2"), ("/boot/efi", "1")],
    swap: "3",
    passphrase: None,
    addresses: ONE_CARD,
};

/// The root is a subvolume, and not the only one that looks like a root.
pub const BULLSEYE_BTRFS: Row = Row {
    name: "bullseye-btrfs",
    firmware: Firmware::Bios,
    fails_by: NO_ROOT,
    fails_on: BOTH,
    control: Controller::Pvscsi,
    menu: Menu::Grub {
        partition: 2,
        options: "subvol=@",
        path: "boot/grub/grub.cfg",
    },
    modes: &[SPLICE, REBUILD],
    mounts: &[("/", "2[/@]"), ("/home", "2[/@home]")],
    swap: "3",
    passphrase: None,
    addresses: ONE_CARD,
};

/// The initramfs mounts `/usr` by the root's fstab.
pub const BOOKWORM_SPLIT: Row = Row {
    name: "bookworm-split",
    firmware: Firmware::Bios,
    fails_by: NO_ROOT,
    fails_on: BOTH,
    control: Controller::Pvscsi,
    menu: Menu::Grub {
        partition: 1,
        options: EXT4,
        path: "grub/grub.cfg",
    },
    modes: &[REBUILD, SPLICE],
    mounts: &[("/", "2"), ("/boot", "1"), ("/usr", "5")],
    swap: "6",
    passphrase: None,
    addresses: ONE_CARD,
};

/// Two cards, bonded; what is above them has the addresses.
pub const BOOKWORM_BOND: Row = Row {
    name: "bookworm-bond",
    firmware: Firmware::Bios,
    fails_by: NO_ROOT,
    fails_on: BOTH,
    control: Controller::Pvscsi,
    menu: Menu::Grub {
        partition: 1,
        options: EXT4,
        path: "boot/grub/grub.cfg",
    },
    modes: &[SPLICE, REBUILD],
    mounts: &[("/", "1")],
    swap: "2",
    passphrase: None,
    addresses: &[
        ("bond0", "192.0.2.10/24"),
        ("bond0.10", "198.51.100.10/24"),
        ("bond0.10", "2001:db8:10::10/64"),
    ],
};

/// `/boot` apart; `lvm.conf` and the fstab name devices.
pub const BOOKWORM_LVM: Row = Row {
    name: "bookworm-lvm",
    firmware: Firmware::Bios,
    fails_by: NO_ROOT,
    fails_on: BOTH,
    control: Controller::Pvscsi,
    menu: Menu::AsIs,
    modes: &[SPLICE, REBUILD],
    mounts: &[("/", "/dev/mapper/bookworm--vg-root"), ("/boot", "1")],
    swap: "/dev/dm-1",
    passphrase: None,
    addresses: ONE_CARD,
};

/// `/boot` apart; crypttab names a device.
pub const BOOKWORM_LUKS_LVM: Row = Row {
    name: "bookworm-luks-lvm",
    fails_by: NO_ROOT,
    modes: &[REBUILD, SPLICE],
    swap: "/dev/dm-2",
    passphrase: Some("guestfix"),
    ..BOOKWORM_LVM
};

/// Two disks; `mdadm.conf` names their partitions.
pub const BOOKWORM_RAID1: Row = Row {
    name: "bookworm-raid1",
    mounts: &[("/", "/dev/md0")],
    swap: "/dev/md1",
    ..BOOKWORM_LVM
};

/// Two disks, of which the root needs both.
pub const TRIXIE_LVM_TWO_DISKS: Row = Row {
    name: "trixie-lvm-two-disks",
    mounts: &[("/", "/dev/mapper/data-root")],
    modes: &[SPLICE, REBUILD],
    ..BOOKWORM_LVM
};

/// No GRUB, and the entry on the ESP names `/dev/sda2`. dracut of that release takes every driver along.
pub const SID_SYSTEMD_BOOT: Row = Row {
    name: "sid-systemd-boot",
    firmware: Firmware::Efi,
    fails_by: NO_ROOT,
    fails_on: &[(Controller::Virtio, "virtio")],
    control: Controller::Sata,
    menu: Menu::Entry { esp: "/efi" },
    modes: &[&[], &["--no-guest-code"]],
    mounts: &[("/", "2"), ("/efi", "1")],
    swap: "3",
    passphrase: None,
    addresses: &[
        ("ens192", "192.0.2.10/24"),
        ("ens224", "2001:db8:20::10/64"),
    ],
};
