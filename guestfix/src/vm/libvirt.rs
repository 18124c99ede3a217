// SPDX-License-Identifier: Apache-2.0
//! libvirt's domain XML (libvirt.org/formatdomain.html), as `virsh dumpxml` prints it.

use super::{Format, Vm, VmDisk, VmNic, firmware, mac};
use crate::document::xml::Element;

/// Reads a domain.
pub(super) fn parse(domain: &Element) -> Vm {
    let os = domain.child("os");
    let efi = os.is_some_and(|os| {
        let loader = os.child("loader");
        os.attribute("firmware") == Some("efi")
            || loader.is_some_and(|loader| loader.attribute("type") == Some("pflash"))
    });
    let devices = domain.child("devices");
    let all = |name: &'static str| {
        devices
            .into_iter()
            .flat_map(move |devices| devices.all(name))
    };
    Vm {
        file: String::new(),
        format: Format::Libvirt,
        firmware: os.map(|_| firmware(efi)),
        nics: all("interface").map(nic).collect(),
        disks: all("disk")
            .filter(|disk| matches!(disk.attribute("device"), None | Some("disk" | "lun")))
            .map(disk)
            .collect(),
    }
}

fn nic(interface: &Element) -> VmNic {
    let source = interface.child("source");
    let name = source.and_then(|s| {
        ["network", "bridge", "dev"]
            .iter()
            .find_map(|k| s.attribute(k))
    });
    VmNic {
        name: name.unwrap_or_default().to_owned(),
        mac: interface
            .child("mac")
            .and_then(|e| e.attribute("address"))
            .and_then(mac),
        slot: None,
    }
}

fn disk(disk: &Element) -> VmDisk {
    let source = disk.child("source");
    let name = source.and_then(|s| {
        ["file", "dev", "volume", "name"]
            .iter()
            .find_map(|key| s.attribute(key))
    });
    let target = disk.child("target").and_then(|t| t.attribute("dev"));
    VmDisk {
        name: name.or(target).unwrap_or_default().to_owned(),
        size: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use crate::inspect::facts::Firmware;

    #[test]
    fn a_domain_is_read() {
        let text = "<domain type='vmware'><os firmware='efi'><type>hvm</type></os><devices><disk type='file' device='disk'><source file='[ds1] web/web.vmdk'/><target dev='sda'/></disk><disk device='cdrom'><source file='x.iso'/></disk><disk type='file'><target dev='sdb'/></disk><interface type='bridge'><mac address='00:50:56:CC:00:01'/><source bridge='VM Network'/></interface></devices></domain>";
        let vm = parse(text.as_bytes(), "x").unwrap();
        assert_eq!(vm.firmware, Some(Firmware::Efi));
        let names: Vec<_> = vm.disks.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["[ds1] web/web.vmdk", "sdb"]);
        assert_eq!(vm.nics[0].mac.as_deref(), Some("00:50:56:cc:00:01"));
        let bios = parse(b"<domain><os><type>hvm</type></os></domain>", "x").unwrap();
        assert_eq!(bios.firmware, Some(Firmware::Bios));
    }
}
