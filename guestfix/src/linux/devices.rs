// SPDX-License-Identifier: Apache-2.0
//! Device names that change with the machine, and the names that do not.

use crate::inspect::Facts;
use crate::inspect::facts::VolumeFacts;

/// What a device name is worth on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// It names content (`UUID=`, a logical volume, a path): the machine does not matter.
    Stable,
    /// It depends on the machine; this name means the same volume everywhere.
    Rename(Rename),
    /// It depends on the machine, and no volume of the disks answers to it.
    Unknown,
}

/// A stable name for a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The volume.
    pub volume: String,
    /// `UUID=...` or `PARTUUID=...`.
    pub name: String,
    /// The filesystem's UUID would do but another volume has it too.
    pub clone: bool,
}

/// True for names that depend on bus, slot or probing order.
pub fn is_unstable(device: &str) -> bool {
    if let Some(id) = device.strip_prefix("/dev/disk/by-id/") {
        // These are made of what the volume holds, not of the disk's serial number.
        return ![
            "dm-uuid-",
            "dm-name-",
            "lvm-pv-uuid-",
            "md-uuid-",
            "md-name-",
        ]
        .iter()
        .any(|prefix| id.starts_with(prefix));
    }
    if device.starts_with("/dev/disk/by-path/")
        || device.starts_with("/dev/disk/by-diskseq/")
        || device.starts_with("/dev/cciss/")
        || device.starts_with("/dev/block/")
        || numbered(device, "/dev/dm-")
        || multipath_part(device).is_some()
    {
        return true;
    }
    let Some(name) = device.strip_prefix("/dev/") else {
        return false;
    };
    let nvme = name.strip_prefix("nvme");
    let disk = ["sd", "hd", "vd", "xvd"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .map(|rest| rest.trim_end_matches(|c: char| c.is_ascii_digit()));
    let kernel_disk = disk.is_some_and(|letters| {
        matches!(letters.len(), 1 | 2) && letters.bytes().all(|b| b.is_ascii_lowercase())
    });
    kernel_disk || nvme.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// LVM's devices file remembers which serial number belonged to which of the kernel's names:
/// `IDNAME=naa.6000c29... DEVNAME=/dev/sda2`.
fn by_serial_number<'a>(facts: &'a Facts, device: &str) -> Option<&'a VolumeFacts> {
    let id = device.strip_prefix("/dev/disk/by-id/")?;
    let (id, part) = id.split_once("-part").unwrap_or((id, ""));
    let id = id
        .strip_prefix("wwn-0x")
        .or_else(|| id.strip_prefix("scsi-3"))?;
    let text = facts.sources.text(super::storage::lvm::DEVICES)?;
    let line = text.lines().find(|line| {
        let mut words = line.split_whitespace();
        words.any(|word| {
            word.strip_prefix("IDNAME=naa.")
                .is_some_and(|have| have.eq_ignore_ascii_case(id))
        })
    })?;
    let name = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("DEVNAME="))?;
    let disk = name.trim_end_matches(|c: char| c.is_ascii_digit());
    facts.volume_of_device(&format!("{disk}{part}"))
}

fn numbered(device: &str, prefix: &str) -> bool {
    let rest = device.strip_prefix(prefix).unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())
}

/// The partition of a friendly name of multipath, empty for the whole disk: `mpatha`, `mpatha1`,
/// `mpathap1` and `mpatha-part1` are all written (kpartx(8)). The name goes with the old WWID.
fn multipath_part(device: &str) -> Option<&str> {
    let rest = device.strip_prefix("/dev/mapper/mpath")?;
    let (name, part) = match rest.split_once("-part") {
        Some(split) => split,
        None => {
            let name = rest.trim_end_matches(|c: char| c.is_ascii_digit());
            let part = rest.strip_prefix(name).unwrap_or_default();
            // With digits in its own name kpartx puts a p before the number.
            let bare = name
                .strip_suffix('p')
                .filter(|bare| !bare.is_empty() && !part.is_empty());
            (bare.unwrap_or(name), part)
        }
    };
    let good = (1..=2).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase());
    (good && part.bytes().all(|b| b.is_ascii_digit())).then_some(part)
}

/// The number of the whole disk that a kernel's name means, in the order of probing.
pub fn disk_index(device: &str) -> Option<usize> {
    let name = device.strip_prefix("/dev/")?;
    if let Some(rest) = name.strip_prefix("nvme") {
        return rest.strip_suffix("n1")?.parse().ok();
    }
    let mut kinds = ["sd", "hd", "vd", "xvd"].iter();
    let letters = kinds.find_map(|kind| name.strip_prefix(kind))?;
    let lower = letters.bytes().all(|byte| byte.is_ascii_lowercase());
    if !lower || !matches!(letters.len(), 1 | 2) {
        return None;
    }
    let count = letters.bytes().fold(0_usize, |count, letter| {
        let digit = usize::from(letter.saturating_sub(b'a')).saturating_add(1);
        count.saturating_mul(26).saturating_add(digit)
    });
    count.checked_sub(1)
}

/// Judges a device name, for userspace that knows both UUIDs and partition UUIDs.
pub fn judge(facts: &Facts, device: &str) -> Device {
    if !is_unstable(device) {
        return Device::Stable;
    }
    resolve(facts, device)
        .and_then(|volume| stable_name(facts, volume))
        .map_or(Device::Unknown, Device::Rename)
}

/// The volume behind an unstable name. Names by path or serial number say nothing about other
/// machines, but with a single disk their `-partN` is enough.
pub fn resolve<'a>(facts: &'a Facts, device: &str) -> Option<&'a VolumeFacts> {
    if let Some(volume) = facts.volume_of_device(device) {
        return Some(volume);
    }
    if let (Some(part), [disk]) = (multipath_part(device), facts.disks.as_slice()) {
        return match part {
            "" => facts.volume(&disk.name),
            part => facts.volume(&format!("{}p{part}", disk.name)),
        };
    }
    let by_hardware =
        device.starts_with("/dev/disk/by-id/") || device.starts_with("/dev/disk/by-path/");
    if let Some(volume) = by_serial_number(facts, device) {
        return Some(volume);
    }
    match (by_hardware, facts.disks.as_slice()) {
        (true, [disk]) => {
            let part = device.rsplit_once("-part").map(|(_, part)| part);
            match part.map(str::parse::<u32>) {
                Some(Ok(part)) => facts.volume(&format!("{}p{part}", disk.name)),
                Some(Err(_)) => None,
                None => facts.volume(&disk.name),
            }
        }
        _ => None,
    }
}

/// A name for a volume that holds on every machine; `None` when it has no unique one.
fn stable_name(facts: &Facts, volume: &VolumeFacts) -> Option<Rename> {
    let rename = |name: String, clone| Rename {
        volume: volume.name.clone(),
        name,
        clone,
    };
    let clone = match &volume.content.uuid {
        Some(uuid) if !shared(facts, uuid) => return Some(rename(format!("UUID={uuid}"), false)),
        Some(_) => true,
        None => false,
    };
    part_uuid_name(facts, volume).map(|name| rename(name, clone))
}

/// `PARTUUID=...` where the volume has one that no other has. The kernel itself understands it,
/// so it serves boot entries without an initramfs (Linux `early_lookup_bdev`).
pub fn part_uuid_name(facts: &Facts, volume: &VolumeFacts) -> Option<String> {
    let id = volume.part_uuid.as_ref()?;
    let same = facts
        .volumes
        .iter()
        .filter(|v| v.part_uuid.as_ref() == Some(id));
    (same.count() == 1).then(|| format!("PARTUUID={id}"))
}

/// `UUID=...` and its like as a path, for what reads nothing else.
pub fn path_of(name: &str) -> String {
    match name.split_once('=') {
        Some((tag, value)) => format!("/dev/disk/by-{}/{value}", tag.to_ascii_lowercase()),
        None => name.to_owned(),
    }
}

/// True when more than one volume carries this filesystem UUID.
pub fn shared(facts: &Facts, uuid: &str) -> bool {
    let have = |v: &&VolumeFacts| {
        let mine = v.content.uuid.as_deref();
        mine.is_some_and(|mine| mine.eq_ignore_ascii_case(uuid))
    };
    facts.volumes.iter().filter(have).count() > 1
}

/// What is wrong with a device name that the guest needs to boot; `None` when it is stable and
/// exists on the disks, or names something that only the running guest can tell (LVM, a file).
pub fn fault(facts: &Facts, device: &str) -> Option<String> {
    if is_unstable(device) {
        return Some(format!("{device} is named by its place on the old machine"));
    }
    let by_content = [
        "UUID=",
        "PARTUUID=",
        "LABEL=",
        "PARTLABEL=",
        "/dev/disk/by-",
    ]
    .iter()
    .any(|prefix| device.starts_with(prefix))
        && !device.starts_with("/dev/disk/by-id/");
    (by_content && facts.volume_of_device(device).is_none())
        .then(|| format!("{device} is on none of the disks"))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn renamed(facts: &Facts, device: &str) -> Option<String> {
        match judge(facts, device) {
            Device::Rename(to) => Some(to.name),
            _ => None,
        }
    }

    #[test]
    fn names_made_of_content_are_stable() {
        for (device, unstable) in [
            ("/dev/sda1", true),
            ("/dev/vdb", true),
            ("/dev/nvme0n1p2", true),
            (
                "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1",
                true,
            ),
            ("/dev/disk/by-id/wwn-0x6000c29-part1", true),
            ("/dev/disk/by-id/dm-uuid-LVM-abc", false),
            ("/dev/disk/by-uuid/1234", false),
            ("/dev/mapper/vg-root", false),
            ("/dev/mapper/mpatha-part2", true),
            ("/dev/mapper/mpathap2", true),
            ("/dev/mapper/mpathb", true),
            ("/dev/mapper/mpath-data", false),
            ("/dev/mapper/mpathology", false),
            ("/dev/dm-0", true),
            ("/dev/dm-name", false),
            ("/dev/disk/by-label/my\\x20disk", false),
            ("/dev/vg0/root", false),
            ("/dev/sdaemon/x", false),
            ("/dev/md0", false),
            ("UUID=1234", false),
        ] {
            assert_eq!(is_unstable(device), unstable, "{device}");
        }
    }

    #[test]
    fn a_volume_is_named_by_uuid_and_else_by_partition() {
        let mut facts = fixture::facts();
        assert_eq!(
            renamed(&facts, "/dev/sda1").unwrap(),
            format!("UUID={}", fixture::ROOT_UUID)
        );
        assert_eq!(
            renamed(
                &facts,
                "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part5"
            )
            .unwrap(),
            format!("UUID={}", fixture::SWAP_UUID)
        );
        assert_eq!(judge(&facts, "/dev/sdb1"), Device::Unknown);
        facts.volumes[0].content.uuid = None;
        assert_eq!(
            renamed(&facts, "/dev/sda1").unwrap(),
            "PARTUUID=1c2d3e4f-01"
        );
    }

    #[test]
    fn clones_are_told_apart_by_partition() {
        let mut facts = fixture::facts();
        facts.volumes[1].content.uuid = Some(fixture::ROOT_UUID.to_uppercase());
        let Device::Rename(to) = judge(&facts, "/dev/sda1") else {
            panic!("not renamed")
        };
        assert_eq!((to.name.as_str(), to.clone), ("PARTUUID=1c2d3e4f-01", true));
    }

    #[test]
    fn serial_numbers_that_lvm_remembers_tell_between_disks() {
        let text = "IDTYPE=sys_wwid IDNAME=naa.6000c29aa DEVNAME=/dev/sda5 PVID=x PART=5\n";
        let fs = crate::fs::MemoryFs::new().file(super::super::storage::lvm::DEVICES, text);
        let mut facts = fixture::gathered(fs);
        facts.disks.push(facts.disks[0].clone());
        for device in ["wwn-0x6000c29aa-part1", "scsi-36000c29aa-part1"] {
            let want = format!("UUID={}", fixture::ROOT_UUID);
            assert_eq!(
                renamed(&facts, &format!("/dev/disk/by-id/{device}")).unwrap(),
                want
            );
        }
        assert_eq!(
            judge(&facts, "/dev/disk/by-id/wwn-0x6000c29bb-part1"),
            Device::Unknown
        );
    }

    #[test]
    fn friendly_names_of_multipath_mean_the_only_disk() {
        let mut facts = fixture::facts();
        let want = format!("UUID={}", fixture::SWAP_UUID);
        for device in ["mpatha5", "mpathap5", "mpatha-part5"] {
            assert_eq!(
                renamed(&facts, &format!("/dev/mapper/{device}")).unwrap(),
                want
            );
        }
        assert_eq!(judge(&facts, "/dev/mapper/mpatha9"), Device::Unknown);
        facts.disks.push(facts.disks[0].clone());
        assert_eq!(judge(&facts, "/dev/mapper/mpatha5"), Device::Unknown);
    }

    #[test]
    fn a_label_with_a_blank_is_found_however_it_is_escaped() {
        let mut facts = fixture::facts();
        facts.volumes[0].content.label = Some("my disk".to_owned());
        for device in [
            "LABEL=my disk",
            "LABEL=\"my disk\"",
            "/dev/disk/by-label/my\\x20disk",
        ] {
            assert_eq!(fault(&facts, device), None, "{device}");
        }
    }

    #[test]
    fn hardware_names_are_not_guessed_with_two_disks() {
        let mut facts = fixture::facts();
        facts.disks.push(facts.disks[0].clone());
        assert_eq!(
            judge(&facts, "/dev/disk/by-id/ata-VMware_Virtual-part1"),
            Device::Unknown
        );
    }

    #[test]
    fn faults_are_found() {
        let facts = fixture::facts();
        assert_eq!(fault(&facts, &format!("UUID={}", fixture::ROOT_UUID)), None);
        assert_eq!(fault(&facts, "/dev/mapper/vg-root"), None);
        assert!(fault(&facts, "/dev/sda1").is_some());
        assert!(fault(&facts, "UUID=gone").is_some());
        assert!(fault(&facts, "/dev/disk/by-uuid/gone").is_some());
    }
}
