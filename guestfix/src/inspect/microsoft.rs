// SPDX-License-Identifier: Apache-2.0
//! Volumes of Windows that are not read: BitLocker's, and those of dynamic disks.

use super::facts::Concern;
use crate::error::Error;
use crate::volume::{Assembled, Volume};

/// Types of a dynamic disk's partitions: of an MBR, and of a GPT its database and its data (Logical
/// Disk Manager; UEFI specification 2.10, table of "OS-specific" partition types, and
/// <https://learn.microsoft.com/windows/win32/api/winioctl/ns-winioctl-partition_information_gpt>).
const DYNAMIC: [&str; 3] = [
    "0x42",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
    "af9b60a0-1431-4f62-bc68-3311714a69ad",
];

fn is_dynamic(volume: &&Volume) -> bool {
    let kind = volume.part_type.as_deref();
    kind.is_some_and(|kind| DYNAMIC.contains(&kind))
}

fn is_locked(volume: &&Volume) -> bool {
    volume.content.kind == "bitlocker"
}

fn names<'a>(volumes: impl Iterator<Item = &'a Volume>) -> String {
    let names: Vec<&str> = volumes.map(|volume| volume.name.as_str()).collect();
    names.join(", ")
}

/// Why no system was found, where it may lie on such a volume.
pub(super) fn no_root(all: &Assembled) -> Option<Error> {
    let volumes = || all.volumes.iter();
    if volumes().any(|volume| is_locked(&volume)) {
        let names = names(volumes().filter(is_locked));
        return Some(
            Error::refused(
                "bitlocker",
                format!("{names}: encrypted by BitLocker, and no system was found elsewhere"),
            )
            .hint(
                "decrypt it in the guest before it is copied (manage-bde -off C:), and wait for \
                 that to end (manage-bde -status)",
            ),
        );
    }
    if volumes().any(|volume| is_dynamic(&volume)) {
        let names = names(volumes().filter(is_dynamic));
        return Some(
            Error::unsupported(
                "dynamic-disk",
                format!(
                    "{names}: on a dynamic disk, whose volumes guestfix does not put together, and \
                     no system was found elsewhere"
                ),
            )
            .hint("make the disk a basic one before it is copied"),
        );
    }
    None
}

/// What is to be said of such volumes beside a root.
pub(super) fn concerns(volumes: &[Volume]) -> Vec<Concern> {
    let locked = volumes.iter().filter(is_locked).map(|volume| {
        Concern::warning(
            "bitlocker-volume",
            format!(
                "{} is encrypted by BitLocker and left as it is: a key that the old machine's TPM \
                 keeps is not on the new one, so have the recovery key at hand",
                volume.name
            ),
        )
    });
    let dynamic = volumes.iter().filter(is_dynamic).map(|volume| {
        Concern::warning(
            "dynamic-disk",
            format!(
                "{} is on a dynamic disk: in the new machine it may have to be imported (diskpart, \
                 import) before its volumes are back",
                volume.name
            ),
        )
    });
    locked.chain(dynamic).collect()
}
