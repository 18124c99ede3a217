// SPDX-License-Identifier: Apache-2.0
//! What a driver is for, and how a hardware id tells it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a virtio driver is for, as the converter asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// viostor: a disk on virtio-blk.
    Block,
    /// vioscsi: a disk on virtio-scsi.
    Scsi,
    /// `NetKVM`: a network card.
    Net,
    /// Balloon: memory ballooning.
    Balloon,
    /// viorng: entropy.
    Rng,
    /// vioserial: the channel of the QEMU guest agent.
    Serial,
    /// viofs: a directory of the host.
    Fs,
    /// viogpudo: a display.
    Gpu,
    /// vioinput: keyboard, tablet and mouse on virtio.
    Input,
    /// pvpanic: tells the host of a blue screen.
    Pvpanic,
    /// fwcfg: QEMU's configuration device.
    Fwcfg,
    /// viosock: sockets between guest and host.
    Vsock,
    /// smbus: names the SMBus controller of the machine type q35.
    Smbus,
    /// viomem: memory that comes and goes.
    Mem,
    /// viocrypt: a cipher engine.
    Crypto,
    /// ivshmem: memory shared between guests.
    Ivshmem,
    /// qemupciserial: a serial port on PCI.
    PciSerial,
}

/// Devices by the beginning of their hardware ids, upper case. Virtio's transitional ids are
/// 0x1000 to 0x103F and its modern ones 0x1040 plus the type of device:
/// <https://docs.oasis-open.org/virtio/virtio/v1.2/csd01/virtio-v1.2-csd01.html#x1-1020002>;
/// QEMU's own: <https://www.qemu.org/docs/master/specs/pci-ids.html>.
const IDS: &[(&str, Role)] = &[
    ("PCI\\VEN_1AF4&DEV_1000", Role::Net),
    ("PCI\\VEN_1AF4&DEV_1041", Role::Net),
    ("PCI\\VEN_1AF4&DEV_1001", Role::Block),
    ("PCI\\VEN_1AF4&DEV_1042", Role::Block),
    ("PCI\\VEN_1AF4&DEV_1002", Role::Balloon),
    ("PCI\\VEN_1AF4&DEV_1045", Role::Balloon),
    ("PCI\\VEN_1AF4&DEV_1003", Role::Serial),
    ("PCI\\VEN_1AF4&DEV_1043", Role::Serial),
    ("PCI\\VEN_1AF4&DEV_1004", Role::Scsi),
    ("PCI\\VEN_1AF4&DEV_1048", Role::Scsi),
    ("PCI\\VEN_1AF4&DEV_1005", Role::Rng),
    ("PCI\\VEN_1AF4&DEV_1044", Role::Rng),
    ("PCI\\VEN_1AF4&DEV_1012", Role::Vsock),
    ("PCI\\VEN_1AF4&DEV_1053", Role::Vsock),
    ("PCI\\VEN_1AF4&DEV_1050", Role::Gpu),
    ("PCI\\VEN_1AF4&DEV_1052", Role::Input),
    ("PCI\\VEN_1AF4&DEV_1054", Role::Crypto),
    ("PCI\\VEN_1AF4&DEV_1058", Role::Mem),
    ("PCI\\VEN_1AF4&DEV_105A", Role::Fs),
    ("PCI\\VEN_1AF4&DEV_1110", Role::Ivshmem),
    ("PCI\\VEN_1B36&DEV_0002", Role::PciSerial),
    ("PCI\\VEN_1B36&DEV_0011", Role::Pvpanic),
    ("ACPI\\QEMU0001", Role::Pvpanic),
    ("ACPI\\QEMU0002", Role::Fwcfg),
    ("PCI\\VEN_8086&DEV_2930", Role::Smbus),
];

impl Role {
    /// Every role, boot storage first.
    pub const ALL: &'static [Self] = &[
        Self::Block,
        Self::Scsi,
        Self::Net,
        Self::Balloon,
        Self::Rng,
        Self::Serial,
        Self::Fs,
        Self::Gpu,
        Self::Input,
        Self::Pvpanic,
        Self::Fwcfg,
        Self::Vsock,
        Self::Smbus,
        Self::Mem,
        Self::Crypto,
        Self::Ivshmem,
        Self::PciSerial,
    ];

    /// What the driver of such a device is for; `None` for a device that is no virtual one.
    pub fn of_hardware_id(id: &str) -> Option<Self> {
        let id = id.to_ascii_uppercase();
        IDS.iter().find_map(|(start, role)| {
            let rest = id.strip_prefix(start)?;
            (rest.is_empty() || rest.starts_with('&')).then_some(*role)
        })
    }

    /// Whether Windows cannot start from a disk of this sort without the driver.
    pub fn boots(self) -> bool {
        matches!(self, Self::Block | Self::Scsi)
    }

    /// The word for it in JSON and text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Scsi => "scsi",
            Self::Net => "net",
            Self::Balloon => "balloon",
            Self::Rng => "rng",
            Self::Serial => "serial",
            Self::Fs => "fs",
            Self::Gpu => "gpu",
            Self::Input => "input",
            Self::Pvpanic => "pvpanic",
            Self::Fwcfg => "fwcfg",
            Self::Vsock => "vsock",
            Self::Smbus => "smbus",
            Self::Mem => "mem",
            Self::Crypto => "crypto",
            Self::Ivshmem => "ivshmem",
            Self::PciSerial => "pci-serial",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_the_role_whatever_follows_the_device() {
        let of = Role::of_hardware_id;
        assert_eq!(of("pci\\ven_1af4&dev_1042"), Some(Role::Block));
        assert_eq!(
            of("PCI\\VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01"),
            Some(Role::Scsi)
        );
        assert_eq!(of("PCI\\VEN_1AF4&DEV_10421"), None);
        assert_eq!(of("PCI\\VEN_15AD&DEV_07C0"), None);
    }

    #[test]
    fn every_role_has_a_device_and_is_listed() {
        for role in Role::ALL {
            assert!(IDS.iter().any(|(_, r)| r == role), "{role}");
            let json = serde_json::to_string(role).unwrap();
            assert_eq!(json, format!("\"{role}\""));
        }
    }
}
