// SPDX-License-Identifier: Apache-2.0
//! A btrfs over several devices: one of them stands for all (btrfs documentation, "On-disk Format",
//! "Superblock").

use std::collections::BTreeMap;

use super::Volume;
use super::field::{has, le64, read};
use crate::error::{Error, Result};

const SUPER: u64 = 64 << 10;

/// What a device's superblock says of the others: how many there are, and which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Device {
    all: u64,
    number: u64,
}

fn device(volume: &Volume) -> Result<Option<Device>> {
    let Some(bytes) = read(volume.storage.as_ref(), SUPER, 4096)? else {
        return Ok(None);
    };
    let fields = le64(&bytes, 0x88).zip(le64(&bytes, 0xc9));
    let fields = fields.filter(|_| has(&bytes, 0x40, b"_BHRfS_M"));
    Ok(fields.map(|(all, number)| Device { all, number }))
}

/// Leaves the device with the lowest number of each btrfs as it is and makes a `btrfs-device` of
/// every other one, which nobody mounts by itself.
///
/// # Errors
/// `Refused`/`btrfs-duplicate` for two devices of one number: one is a copy of the other.
pub(super) fn join(volumes: &mut [Volume]) -> Result<()> {
    let mut groups: BTreeMap<String, BTreeMap<u64, usize>> = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let Some(id) = volume
            .content
            .uuid
            .as_ref()
            .filter(|_| volume.content.kind == "btrfs")
        else {
            continue;
        };
        let Some(device) = device(volume)?.filter(|device| device.all > 1) else {
            continue;
        };
        let group = groups.entry(id.clone()).or_default();
        if let Some(other) = group.insert(device.number, index) {
            let other = volumes.get(other).map_or("", |other| other.name.as_str());
            let what = format!(
                "{other} and {} are the same device of the btrfs {id}: one is a copy of the other",
                volume.name
            );
            return Err(Error::refused("btrfs-duplicate", what)
                .on(&volume.name)
                .hint("give every disk of the guest once, and no copies of it"));
        }
    }
    for index in groups.values().flat_map(|group| group.values().skip(1)) {
        if let Some(volume) = volumes.get_mut(*index) {
            "btrfs-device".clone_into(&mut volume.content.kind);
            // The first one is found by it.
            volume.content.uuid = None;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::sync::Arc;

    use crate::disk::Storage;
    use crate::volume::sample::{Bytes, assembled};
    use crate::volume::{Opening, Volume};

    /// A superblock of a btrfs of that many devices.
    fn disk(all: u64, number: u64) -> Arc<dyn Storage> {
        let mut bytes = vec![0; 4 << 20];
        let at = 64 << 10;
        bytes[at + 0x20..at + 0x30].fill(7);
        bytes[at + 0x40..at + 0x48].copy_from_slice(b"_BHRfS_M");
        bytes[at + 0x88..at + 0x90].copy_from_slice(&all.to_le_bytes());
        bytes[at + 0xc9..at + 0xd1].copy_from_slice(&number.to_le_bytes());
        Arc::new(Bytes::new(bytes))
    }

    #[test]
    fn one_device_stands_for_all_whatever_the_order() {
        let kinds = |disks: &[Arc<dyn Storage>]| -> Vec<(String, bool)> {
            let all = assembled(disks, &Opening::default()).unwrap();
            let kind = |v: &Volume| (v.content.kind.clone(), v.content.uuid.is_some());
            all.volumes.iter().map(kind).collect()
        };
        let (first, other) = (
            ("btrfs".to_owned(), true),
            ("btrfs-device".to_owned(), false),
        );
        assert_eq!(
            kinds(&[disk(2, 1), disk(2, 2)]),
            [first.clone(), other.clone()]
        );
        assert_eq!(kinds(&[disk(2, 5), disk(2, 1)]), [other, first.clone()]);
        assert_eq!(kinds(&[disk(1, 1), disk(1, 1)]), [first.clone(), first]);
        let error = assembled(&[disk(2, 1), disk(2, 1)], &Opening::default()).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.disk.as_deref()),
            ("btrfs-duplicate", Some("disk1"))
        );
    }
}
