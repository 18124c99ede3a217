// SPDX-License-Identifier: Apache-2.0
//! OVF: an envelope of references, disks and virtual hardware (DMTF DSP0243; the numbers of
//! `ResourceType` are those of CIM_ResourceAllocationSettingData).

use super::{Format, Vm, VmDisk, VmNic, firmware, mac};
use crate::document::xml::Element;

const ETHERNET: &str = "10";
const DISK: &str = "17";

/// Reads an envelope.
pub(super) fn parse(envelope: &Element) -> Vm {
    let all = envelope.walk();
    let hardware = all.iter().find(|e| e.name == "VirtualHardwareSection");
    let items: Vec<&Element> = hardware.map_or_else(Vec::new, |hardware| {
        let is_item =
            |e: &&Element| matches!(e.name.as_str(), "Item" | "StorageItem" | "EthernetPortItem");
        hardware.children.iter().filter(is_item).collect()
    });
    let of_kind = |kind: &'static str| {
        items
            .iter()
            .copied()
            .filter(move |item| item.text_of("ResourceType") == Some(kind))
    };
    // ExtraConfig stands beside Config in what some tools write.
    let efi = hardware
        .is_some_and(|e| config(e, "firmware").is_some_and(|v| v.eq_ignore_ascii_case("efi")));
    let mut disks: Vec<&Element> = of_kind(DISK).collect();
    disks.sort_by_key(|item| (controller(&items, item), number(item, "AddressOnParent")));
    let mut nics: Vec<&Element> = of_kind(ETHERNET).collect();
    nics.sort_by_key(|item| number(item, "AddressOnParent"));
    Vm {
        file: String::new(),
        format: Format::Ovf,
        firmware: Some(firmware(efi)),
        nics: nics.into_iter().map(nic).collect(),
        disks: disks.into_iter().map(|item| disk(&all, item)).collect(),
    }
}

fn nic(item: &Element) -> VmNic {
    VmNic {
        name: item.text_of("ElementName").unwrap_or_default().to_owned(),
        mac: item.text_of("Address").and_then(mac),
        slot: config(item, "slotInfo.pciSlotNumber").and_then(|v| v.parse().ok()),
    }
}

/// The disk's file, and its size by its unit (`byte * 2^30`).
fn disk(all: &[&Element], item: &Element) -> VmDisk {
    let id = item
        .text_of("HostResource")
        .and_then(|r| r.rsplit('/').next());
    let with = |name: &str, key: &str, want: Option<&str>| {
        let found = all
            .iter()
            .find(|e| e.name == name && want.is_some() && e.attribute(key) == want);
        found.copied()
    };
    let disk = with("Disk", "diskId", id);
    let file = disk.and_then(|disk| with("File", "id", disk.attribute("fileRef")));
    let name = file.and_then(|file| file.attribute("href")).or(id);
    VmDisk {
        name: name.unwrap_or_default().to_owned(),
        size: disk.and_then(size),
    }
}

fn size(disk: &Element) -> Option<u64> {
    let capacity: u64 = disk.attribute("capacity")?.parse().ok()?;
    let unit = match disk.attribute("capacityAllocationUnits") {
        Some(unit) => {
            let power = unit
                .split('^')
                .nth(1)
                .map_or(Some(0), |n| n.trim().parse().ok())?;
            2_u64.checked_pow(power)?
        }
        None => 1,
    };
    capacity.checked_mul(unit)
}

/// Where the disk's controller stands among the items.
fn controller(items: &[&Element], item: &Element) -> usize {
    let parent = item.text_of("Parent");
    let found = items
        .iter()
        .position(|e| parent.is_some() && e.text_of("InstanceID") == parent);
    found.unwrap_or(usize::MAX)
}

fn number(item: &Element, name: &str) -> u32 {
    item.text_of(name)
        .and_then(|text| text.parse().ok())
        .unwrap_or(u32::MAX)
}

/// VMware's `<vmw:Config vmw:key="..." vmw:value="..."/>` directly inside.
fn config<'a>(element: &'a Element, key: &str) -> Option<&'a str> {
    let found = element.children.iter().find(|e| {
        matches!(e.name.as_str(), "Config" | "ExtraConfig") && e.attribute("key") == Some(key)
    });
    found?.attribute("value")
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use crate::inspect::facts::Firmware;

    const OVF: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="urn:r" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References><File ovf:href="web-disk1.vmdk" ovf:id="file1"/><File ovf:href="web-disk2.vmdk" ovf:id="file2"/></References>
  <DiskSection><Info>d</Info>
    <Disk ovf:capacity="16" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="vmdisk1" ovf:fileRef="file1"/>
    <Disk ovf:capacity="1048576" ovf:diskId="vmdisk2" ovf:fileRef="file2"/>
  </DiskSection>
  <VirtualSystem ovf:id="web"><VirtualHardwareSection>
    <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
    <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
    <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
    <Item><rasd:Address>00:50:56:BB:00:01</rasd:Address><rasd:AddressOnParent>7</rasd:AddressOnParent><rasd:ElementName>Network adapter 1</rasd:ElementName><rasd:ResourceType>10</rasd:ResourceType><vmw:Config ovf:required="false" vmw:key="slotInfo.pciSlotNumber" vmw:value="192"/></Item>
    <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
  </VirtualHardwareSection></VirtualSystem>
</Envelope>"#;

    #[test]
    fn an_export_of_vsphere_is_read() {
        let vm = parse(OVF.as_bytes(), "web.ovf").unwrap();
        assert_eq!(vm.firmware, Some(Firmware::Efi));
        let disks: Vec<_> = vm.disks.iter().map(|d| (d.name.as_str(), d.size)).collect();
        assert_eq!(
            disks,
            [
                ("web-disk1.vmdk", Some(16 << 30)),
                ("web-disk2.vmdk", Some(1 << 20))
            ]
        );
        assert_eq!(vm.nics[0].mac.as_deref(), Some("00:50:56:bb:00:01"));
        assert_eq!(
            (vm.nics[0].slot, vm.nics[0].name.as_str()),
            (Some(192), "Network adapter 1")
        );
    }

    #[test]
    fn an_empty_envelope_says_nothing() {
        let vm = parse(b"<Envelope><DiskSection><Disk capacity=\"99\" capacityAllocationUnits=\"byte * 2^99\"/></DiskSection></Envelope>", "x").unwrap();
        assert!(vm.nics.is_empty() && vm.disks.is_empty());
    }
}
