// SPDX-License-Identifier: Apache-2.0
//! KubeVirt's `VirtualMachine` (kubevirt.io/v1), as kubectl prints it.

use super::{Format, Vm, VmDisk, VmNic, firmware, mac, usage};
use crate::document::yaml::Yaml;
use crate::error::Result;

/// Reads the one machine among these documents.
pub(super) fn parse(documents: &[Yaml], file: &str) -> Result<Vm> {
    let listed = documents.iter().flat_map(|document| {
        let items = document.get("items").map_or(&[][..], Yaml::items);
        std::iter::once(document).chain(items)
    });
    let machines: Vec<&Yaml> = listed.filter_map(spec).collect();
    match machines.as_slice() {
        [spec] => Ok(machine(spec)),
        [] => Err(usage(file, "describes no virtual machine")),
        _ => Err(usage(file, "describes several virtual machines")),
    }
}

/// The spec of the instance.
fn spec(document: &Yaml) -> Option<&Yaml> {
    let path: &[&str] = match document.get("kind")?.text()? {
        "VirtualMachine" => &["spec", "template", "spec"],
        "VirtualMachineInstance" => &["spec"],
        _ => return None,
    };
    Some(document.at(path).unwrap_or(&Yaml::Null))
}

fn machine(spec: &Yaml) -> Vm {
    let list = |path: &[&str]| spec.at(path).map_or(&[][..], Yaml::items);
    let efi = spec
        .at(&["domain", "firmware", "bootloader", "efi"])
        .is_some();
    let volumes = list(&["volumes"]);
    Vm {
        file: String::new(),
        format: Format::KubeVirt,
        firmware: spec.get("domain").map(|_| firmware(efi)),
        nics: list(&["domain", "devices", "interfaces"])
            .iter()
            .map(|nic| VmNic {
                name: text(nic, "name"),
                mac: mac(&text(nic, "macAddress")),
                slot: None,
            })
            .collect(),
        disks: list(&["domain", "devices", "disks"])
            .iter()
            .filter(|disk| disk.get("cdrom").is_none())
            .filter_map(|disk| claim(volumes, &text(disk, "name")))
            .map(|name| VmDisk { name, size: None })
            .collect(),
    }
}

fn text(yaml: &Yaml, key: &str) -> String {
    yaml.get(key)
        .and_then(Yaml::text)
        .unwrap_or_default()
        .to_owned()
}

/// The claim behind a disk; `None` for what is no disk of the guest (cloud-init's, config maps).
fn claim(volumes: &[Yaml], disk: &str) -> Option<String> {
    let volume = volumes.iter().find(|volume| text(volume, "name") == disk)?;
    let path: [&[&str]; 3] = [
        &["persistentVolumeClaim", "claimName"],
        &["dataVolume", "name"],
        &["hostDisk", "path"],
    ];
    let name = path.iter().find_map(|path| volume.at(path)?.text());
    let disk = name.is_some()
        || volume.get("ephemeral").is_some()
        || volume.get("containerDisk").is_some();
    disk.then(|| name.unwrap_or(disk_name(volume)).to_owned())
}

fn disk_name(volume: &Yaml) -> &str {
    volume.get("name").and_then(Yaml::text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use crate::inspect::facts::Firmware;

    const VM: &str = "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata:\n  name: web\nspec:\n  runStrategy: Always\n  template:\n    spec:\n      domain:\n        devices:\n          disks:\n          - disk:\n              bus: virtio\n            name: root\n          - name: ci\n            disk: {}\n          - name: data\n            disk: {bus: scsi}\n          interfaces:\n          - name: default\n            masquerade: {}\n            macAddress: 00-50-56-DD-00-01\n        firmware:\n          bootloader:\n            efi:\n              secureBoot: false\n      volumes:\n      - name: data\n        persistentVolumeClaim:\n          claimName: web-data\n      - name: root\n        dataVolume: {name: web-root}\n      - name: ci\n        cloudInitNoCloud: {userData: x}\n";

    #[test]
    fn a_virtual_machine_is_read_from_yaml() {
        let vm = parse(VM.as_bytes(), "x").unwrap();
        assert_eq!(vm.firmware, Some(Firmware::Efi));
        let names: Vec<_> = vm.disks.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["web-root", "web-data"]);
        assert_eq!(vm.nics[0].mac.as_deref(), Some("00:50:56:dd:00:01"));
        assert_eq!(vm.nics[0].name, "default");
    }

    #[test]
    fn a_list_in_json_is_read_and_several_machines_are_refused() {
        let one = r#"{"kind":"VirtualMachineInstance","spec":{"domain":{"devices":{"interfaces":[{"name":"a","macAddress":"00:50:56:00:00:01"}]}}}}"#;
        let vm = parse(
            format!("{{\"kind\":\"List\",\"items\":[{one}]}}").as_bytes(),
            "x",
        )
        .unwrap();
        assert_eq!((vm.firmware, vm.nics.len()), (Some(Firmware::Bios), 1));
        let two = format!("{{\"kind\":\"List\",\"items\":[{one},{one}]}}");
        assert_eq!(parse(two.as_bytes(), "x").unwrap_err().code, "bad-vm-file");
    }
}
