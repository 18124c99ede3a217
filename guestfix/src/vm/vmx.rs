// SPDX-License-Identifier: Apache-2.0
//! VMware's VMX: lines of `key = "value"`, keys without regard to case.

use std::collections::BTreeMap;

use super::{Format, Vm, VmDisk, VmNic, firmware, mac};

/// Buses of disks in the order in which VMware's firmware asks them.
const BUSES: [&str; 4] = ["scsi", "sata", "nvme", "ide"];

/// True for text whose first setting is one of this kind.
pub(super) fn is_vmx(text: &str) -> bool {
    let settings = text.lines().map(str::trim);
    let mut settings = settings.filter(|line| !line.is_empty() && !line.starts_with('#'));
    settings.next().is_some_and(|line| setting(line).is_some())
}

/// Reads it.
pub(super) fn parse(text: &str) -> Vm {
    let all: BTreeMap<String, String> = text.lines().filter_map(setting).collect();
    Vm {
        file: String::new(),
        format: Format::Vmx,
        firmware: Some(firmware(get(&all, "firmware").eq_ignore_ascii_case("efi"))),
        nics: nics(&all),
        disks: disks(&all),
    }
}

fn setting(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim().split_once('=')?;
    let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    let key = key.trim().to_ascii_lowercase();
    let good = |c: char| c.is_ascii_alphanumeric() || ".:_-".contains(c);
    (!key.is_empty() && key.chars().all(good)).then(|| (key, value.to_owned()))
}

fn get<'a>(all: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    all.get(key).map_or("", String::as_str)
}

fn is_present(all: &BTreeMap<String, String>, device: &str) -> bool {
    !get(all, &format!("{device}.present")).eq_ignore_ascii_case("false")
}

/// The numbers behind a prefix, each once and in order: `ethernet0.present` -> 0.
fn numbers(all: &BTreeMap<String, String>, prefix: &str, end: char) -> Vec<u32> {
    let mut out: Vec<u32> = all
        .keys()
        .filter_map(|key| key.strip_prefix(prefix)?.split_once(end)?.0.parse().ok())
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn nics(all: &BTreeMap<String, String>) -> Vec<VmNic> {
    let cards = numbers(all, "ethernet", '.').into_iter();
    cards
        .map(|number| format!("ethernet{number}"))
        .filter(|name| is_present(all, name))
        .map(|name| {
            let of = |key: &str| get(all, &format!("{name}.{key}"));
            VmNic {
                // A static address stands in `address`, one of VMware's in `generatedAddress`.
                mac: mac(of("address")).or_else(|| mac(of("generatedaddress"))),
                slot: of("pcislotnumber").parse().ok(),
                name,
            }
        })
        .collect()
}

fn disks(all: &BTreeMap<String, String>) -> Vec<VmDisk> {
    let mut out = Vec::new();
    for bus in BUSES {
        for controller in numbers(all, bus, ':') {
            let prefix = format!("{bus}{controller}:");
            for unit in numbers(all, &prefix, '.') {
                let device = format!("{prefix}{unit}");
                let name = get(all, &format!("{device}.filename"));
                let kind = get(all, &format!("{device}.devicetype")).to_ascii_lowercase();
                let disk =
                    !kind.contains("cdrom") && !kind.contains("atapi") && !kind.contains("floppy");
                if disk && is_present(all, &device) && name.to_ascii_lowercase().ends_with(".vmdk")
                {
                    out.push(VmDisk {
                        name: name.to_owned(),
                        size: None,
                    });
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_disks_come_in_the_order_of_their_numbers() {
        let text = ".encoding = \"UTF-8\"\r\nfirmware = \"efi\"\r\nscsi0:10.fileName = \"c.vmdk\"\nscsi0:0.fileName = \"a.vmdk\"\nscsi0:1.fileName = \"/vmfs/b.vmdk\"\nscsi0:2.fileName = \"gone.vmdk\"\nscsi0:2.present = \"FALSE\"\nide0:0.deviceType = \"cdrom-image\"\nide0:0.fileName = \"x.iso\"\nethernet1.pciSlotNumber = \"224\"\nethernet1.addressType = \"static\"\nethernet1.address = \"00:50:56:AA:00:02\"\nETHERNET0.pciSlotNumber = \"192\"\nethernet0.generatedAddress = \"00:0c:29:aa:00:01\"\nethernet0.generatedAddressOffset = \"0\"\nethernet2.present = \"FALSE\"\nodd\n";
        let vm = parse(text);
        assert_eq!(vm.firmware, Some(crate::inspect::facts::Firmware::Efi));
        let names: Vec<_> = vm.disks.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["a.vmdk", "/vmfs/b.vmdk", "c.vmdk"]);
        let nics: Vec<_> = vm
            .nics
            .iter()
            .map(|n| (n.mac.as_deref().unwrap(), n.slot))
            .collect();
        assert_eq!(
            nics,
            [
                ("00:0c:29:aa:00:01", Some(192)),
                ("00:50:56:aa:00:02", Some(224))
            ]
        );
    }
}
