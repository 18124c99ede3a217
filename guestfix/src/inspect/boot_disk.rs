// SPDX-License-Identifier: Apache-2.0
//! Which of several disks the guest starts from: VMware shows that one first, so names such as
//! `/dev/sda` count from it, whatever the order in which the disks were given.

use super::GuestDisk;
use super::facts::{Concern, kernel_name_to_volume};
use super::firmware::{can_start, is_efi_start};
use crate::volume::{Layout, Volume};

/// The prefixes of disks' names in Linux.
const PREFIXES: [&str; 4] = ["sd", "hd", "vd", "xvd"];

/// The index of that disk: the first one given where the operator says so; `None` where not exactly one can be started
/// from.
pub(super) fn find(disks: &[GuestDisk], layouts: &[Layout], told: bool) -> Option<usize> {
    if told {
        return Some(0);
    }
    let startable: Vec<usize> = disks
        .iter()
        .zip(layouts)
        .enumerate()
        .filter(|(_, (disk, layout))| is_efi_start(layout) || can_start(disk, layout))
        .map(|(index, _)| index)
        .collect();
    match startable.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// The index of the disk that the guest called its first by the root's own name for itself: a root on `disk1p2` that is
/// mounted from `/dev/sda2`.
pub(super) fn of_root(disks: &[GuestDisk], volume: &str, device: &str) -> Option<usize> {
    let first = kernel_name_to_volume(device)?;
    let part = first.strip_prefix("disk0")?;
    disks
        .iter()
        .position(|disk| volume.strip_prefix(disk.name.as_str()) == Some(part))
}

/// Gives the volumes of all disks the names that Linux had for them, where the boot disk was not
/// given first.
pub(super) fn name(volumes: &mut [Volume], boot: usize, disks: &[GuestDisk]) -> Option<Concern> {
    if boot == 0 {
        return None;
    }
    let rest = (0..disks.len()).filter(|index| *index != boot);
    for (letter, index) in (b'a'..=b'z').zip(std::iter::once(boot).chain(rest)) {
        let Some(disk) = disks.get(index) else {
            continue;
        };
        for volume in volumes.iter_mut() {
            let Some(part) = volume.name.strip_prefix(disk.name.as_str()) else {
                continue;
            };
            let Some(number) = part.strip_prefix('p').or(part.is_empty().then_some("")) else {
                continue;
            };
            let kernel = PREFIXES.map(|p| format!("/dev/{p}{}{number}", char::from(letter)));
            volume.stack.devices.extend(kernel);
            let nvme = letter.saturating_sub(b'a');
            volume
                .stack
                .devices
                .push(format!("/dev/nvme{nvme}n1{part}"));
        }
    }
    let disk = disks.get(boot)?;
    Some(Concern::information(
        "boot-disk",
        format!(
            "{} ({}) is the disk that the guest starts from and counts as its first; give \
             --boot-disk if that is wrong",
            disk.name, disk.path
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::facts::volume_of_device;
    use crate::inspect::{layouts, state};
    use crate::volume::sample::Bytes;

    /// An MBR disk with one partition; `boot` puts boot code there and makes it active.
    fn disk(name: &str, boot: bool) -> GuestDisk {
        let mut bytes = vec![0; 2 << 20];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[450] = 0x83;
        bytes[454..458].copy_from_slice(&2048_u32.to_le_bytes());
        bytes[458..462].copy_from_slice(&2048_u32.to_le_bytes());
        if boot {
            bytes[..4].copy_from_slice(b"\xeb\x63GR");
            bytes[384..388].copy_from_slice(b"GRUB");
            bytes[446] = 0x80;
        }
        GuestDisk {
            name: name.to_owned(),
            path: format!("/{name}.img"),
            sector_size: 512,
            storage: Bytes::shared(bytes),
        }
    }

    fn first(order: [bool; 2], told: bool) -> (usize, Vec<String>) {
        let [one, two] = order;
        let disks = [disk("disk0", one), disk("disk1", two)];
        let layouts = layouts(&disks).unwrap();
        let boot = find(&disks, &layouts, told).unwrap_or(0);
        let volumes = layouts.iter().flat_map(|l| l.volumes.iter().cloned());
        let mut volumes: Vec<_> = volumes.collect();
        let concern = name(&mut volumes, boot, &disks);
        assert_eq!(concern.is_some(), boot != 0);
        let facts = state::volume_facts(&volumes);
        let devices = ["/dev/sda1", "/dev/vdb1", "/dev/nvme0n1p1"];
        let found = devices.map(|device| volume_of_device(&facts, device).unwrap().name.clone());
        (boot, found.to_vec())
    }

    #[test]
    fn the_disk_that_can_be_started_from_is_the_first_in_any_order() {
        let given = ["disk0p1", "disk1p1", "disk0p1"];
        assert_eq!(
            first([true, false], false),
            (0, given.map(str::to_owned).to_vec())
        );
        let turned = ["disk1p1", "disk0p1", "disk1p1"];
        assert_eq!(
            first([false, true], false),
            (1, turned.map(str::to_owned).to_vec())
        );
        assert_eq!(first([true, true], false).0, 0);
        assert_eq!(first([false, false], false).0, 0);
        assert_eq!(first([false, true], true).0, 0, "the operator says so");
    }

    #[test]
    fn a_root_that_is_mounted_by_the_name_of_the_first_disk_is_on_that() {
        let disks = [disk("disk0", false), disk("disk1", false)];
        for (volume, device, want) in [
            ("disk1p1", "/dev/sda1", Some(1)),
            ("disk0p1", "/dev/sda1", Some(0)),
            ("disk1p1", "/dev/nvme0n1p1", Some(1)),
            ("disk1", "/dev/sda", Some(1)),
            ("disk1p2", "/dev/sda1", None),
            ("disk1p1", "/dev/sdb1", None),
            ("disk1p1", "UUID=1-2", None),
            ("disk7p1", "/dev/sda1", None),
            ("vg/root", "/dev/sda1", None),
        ] {
            assert_eq!(
                of_root(&disks, volume, device),
                want,
                "{volume} by {device}"
            );
        }
    }
}
