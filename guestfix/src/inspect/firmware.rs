// SPDX-License-Identifier: Apache-2.0
//! BIOS or UEFI, told from the disks alone.

use super::GuestDisk;
use super::facts::Firmware;
use crate::volume::{Layout, TableKind, Volume};

/// EFI system partition (UEFI specification 2.10, section 5.3.3).
const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// BIOS boot partition of GRUB (<https://www.gnu.org/software/grub/manual/grub/>, "BIOS installation").
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";
/// MBR type of an EFI system partition.
const MBR_ESP: &str = "0xef";

/// True for an EFI system partition.
pub(super) fn is_esp(volume: &Volume) -> bool {
    matches!(volume.part_type.as_deref(), Some(ESP | MBR_ESP))
}

/// How the guest starts. A disk with an ESP starts by UEFI unless it also was prepared for BIOS:
/// by a BIOS boot partition (GPT), or by boot code and an active partition (MBR).
pub(super) fn detect(disks: &[GuestDisk], layouts: &[Layout]) -> Firmware {
    let efi = disks.iter().zip(layouts).any(|(disk, layout)| {
        let has = |ty: &str| {
            layout
                .volumes
                .iter()
                .any(|v| v.part_type.as_deref() == Some(ty))
        };
        match layout.table {
            TableKind::Gpt => has(ESP) && !(has(BIOS_BOOT) && has_boot_code(disk)),
            TableKind::Mbr => has(MBR_ESP) && !has_boot_code(disk),
            TableKind::None => false,
        }
    });
    if efi { Firmware::Efi } else { Firmware::Bios }
}

/// True for a disk that UEFI may start from.
pub(super) fn is_efi_start(layout: &Layout) -> bool {
    layout.volumes.iter().any(is_esp)
}

/// True for a disk that a BIOS can start from: boot code, with GRUB's name in it or an active
/// partition behind it.
pub(super) fn can_start(disk: &GuestDisk, layout: &Layout) -> bool {
    let mut sector = [0_u8; 440];
    let code = disk.storage.read_at(&mut sector, 0).is_ok() && sector.iter().any(|byte| *byte != 0);
    let table = layout.table != TableKind::None;
    code && table && (has_boot_code(disk) || layout.volumes.iter().any(|v| v.bootable))
}

/// GRUB's boot sector names itself; other boot code has no such mark, so this asks for GRUB only.
fn has_boot_code(disk: &GuestDisk) -> bool {
    let mut sector = [0_u8; 440];
    disk.storage.read_at(&mut sector, 0).is_ok() && sector.windows(4).any(|w| w == b"GRUB")
}
