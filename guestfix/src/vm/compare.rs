// SPDX-License-Identifier: Apache-2.0
//! The description of the machine against its disks: order, number, firmware.

use super::Vm;
use crate::inspect::facts::{Concern, Facts};

/// What does not fit together.
pub fn concerns(facts: &Facts, vm: &Vm) -> Vec<Concern> {
    let mut out = Vec::new();
    let (given, described) = (facts.disks.len(), vm.disks.len());
    if described > 0 && given != described {
        out.push(Concern::warning(
            "disk-count",
            format!(
                "{} describes {described} disks, but {given} were given: {}",
                vm.file,
                names(vm)
            ),
        ));
    } else if let Some(order) = order(facts, vm)
        && !order.is_sorted()
    {
        out.push(Concern::warning(
            "disk-order",
            format!("{} has the disks in another order than they were given in: {}; device names such as /dev/sdb are understood by the order given", vm.file, names(vm)),
        ));
    }
    if vm
        .firmware
        .is_some_and(|firmware| firmware != facts.firmware)
    {
        out.push(Concern::warning(
            "firmware-differs",
            format!(
                "{} says that the machine starts by {}, but its disks are made for {}",
                vm.file,
                word(vm),
                disk_word(facts)
            ),
        ));
    }
    out
}

fn word(vm: &Vm) -> &'static str {
    match vm.firmware {
        Some(crate::inspect::facts::Firmware::Efi) => "UEFI",
        _ => "BIOS",
    }
}

fn disk_word(facts: &Facts) -> &'static str {
    match facts.firmware {
        crate::inspect::facts::Firmware::Efi => "UEFI",
        crate::inspect::facts::Firmware::Bios => "BIOS",
    }
}

fn names(vm: &Vm) -> String {
    let names: Vec<&str> = vm.disks.iter().map(|disk| disk.name.as_str()).collect();
    names.join(", ")
}

/// For each disk given, its number in the description: by name, or by size where names tell
/// nothing; `None` when neither does.
fn order(facts: &Facts, vm: &Vm) -> Option<Vec<usize>> {
    let unique = |found: Vec<Option<usize>>| {
        let found: Vec<usize> = found.into_iter().collect::<Option<_>>()?;
        let mut sorted = found.clone();
        sorted.sort_unstable();
        sorted.dedup();
        (sorted.len() == found.len()).then_some(found)
    };
    let by = |same: &dyn Fn(&crate::inspect::facts::DiskFacts, &super::VmDisk) -> bool| {
        let one = |disk| {
            let mut hits = vm
                .disks
                .iter()
                .enumerate()
                .filter(|(_, have)| same(disk, have));
            let (at, _) = hits.next()?;
            hits.next().is_none().then_some(at)
        };
        unique(facts.disks.iter().map(one).collect())
    };
    by(&|disk, have| stem(&disk.path) == stem(&have.name))
        .or_else(|| by(&|disk, have| have.size == Some(disk.size)))
}

/// `[store] web/web_1-flat.vmdk` and `/images/web_1.qcow2` are both `web_1`.
fn stem(path: &str) -> &str {
    let file = path.rsplit(['/', ']']).next().unwrap_or(path).trim();
    let file = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    file.strip_suffix("-flat").unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, VmDisk};
    use super::*;
    use crate::inspect::facts::{DiskFacts, Firmware, Guest, Sources, VmwareFacts};
    use crate::volume::TableKind;

    fn facts(paths: &[(&str, u64)]) -> Facts {
        let disk = |(at, (path, size)): (usize, &(&str, u64))| DiskFacts {
            name: format!("disk{at}"),
            path: (*path).to_owned(),
            size: *size,
            table: TableKind::Mbr,
            id: None,
            boot: false,
        };
        Facts {
            schema: String::new(),
            guest: Guest::default(),
            firmware: Firmware::Bios,
            efi: None,
            windows: None,
            disks: paths.iter().enumerate().map(disk).collect(),
            volumes: Vec::new(),
            root: String::new(),
            mounts: Vec::new(),
            kernels: Vec::new(),
            network: Vec::new(),
            vmware: VmwareFacts::default(),
            concerns: Vec::new(),
            sources: Sources::default(),
        }
    }

    fn ids(
        paths: &[(&str, u64)],
        disks: &[(&str, Option<u64>)],
        firmware: Option<Firmware>,
    ) -> Vec<String> {
        let disk = |(name, size): &(&str, Option<u64>)| VmDisk {
            name: (*name).to_owned(),
            size: *size,
        };
        let vm = Vm {
            file: "x".to_owned(),
            format: Format::Ovf,
            firmware,
            nics: Vec::new(),
            disks: disks.iter().map(disk).collect(),
        };
        concerns(&facts(paths), &vm)
            .into_iter()
            .map(|c| c.id)
            .collect()
    }

    #[test]
    fn order_is_compared_by_name_and_else_by_size() {
        let given = [("/v/web.qcow2", 10), ("/v/web_1.qcow2", 20)];
        let right = [
            ("[ds] web/web.vmdk", None),
            ("[ds] web/web_1-flat.vmdk", None),
        ];
        let wrong = [right[1], right[0]];
        assert!(ids(&given, &right, None).is_empty());
        assert_eq!(ids(&given, &wrong, None), ["disk-order"]);
        assert_eq!(
            ids(&given, &[("a", Some(20)), ("b", Some(10))], None),
            ["disk-order"]
        );
        assert!(ids(&given, &[("a", Some(10)), ("b", Some(10))], None).is_empty());
    }

    #[test]
    fn number_and_firmware_are_compared() {
        assert_eq!(
            ids(
                &[("a", 1)],
                &[("a", None), ("b", None)],
                Some(Firmware::Efi)
            ),
            ["disk-count", "firmware-differs"]
        );
        assert!(ids(&[("a", 1)], &[], Some(Firmware::Bios)).is_empty());
    }
}
