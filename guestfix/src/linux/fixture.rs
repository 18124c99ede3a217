// SPDX-License-Identifier: Apache-2.0
//! One guest for this room's unit tests: Debian 12 on one MBR disk, as VMware leaves it.

use crate::fs::{MemoryFs, Tree};
use crate::inspect::Facts;
use crate::inspect::facts::{
    DiskFacts, Firmware, Guest, KernelFacts, MountFacts, Sources, VmwareFacts, VolumeFacts,
};
use crate::plan::{Bus, Change, Target};
use crate::volume::{Content, TableKind};

/// UUID of `/dev/sda1`.
pub(crate) const ROOT_UUID: &str = "0a1b2c3d-1111-4222-8333-444455556666";
/// UUID of `/dev/sda5`.
pub(crate) const SWAP_UUID: &str = "9f8e7d6c-aaaa-4bbb-8ccc-ddddeeeeffff";

fn volume(name: &str, kind: &str, uuid: &str, part: &str) -> VolumeFacts {
    VolumeFacts {
        name: name.to_owned(),
        offset: 1 << 20,
        size: 1 << 30,
        content: Content {
            kind: kind.to_owned(),
            uuid: Some(uuid.to_owned()),
            label: None,
        },
        part_uuid: Some(part.to_owned()),
        part_type: Some("0x83".to_owned()),
        part_label: None,
        stack: crate::volume::Stack::default(),
    }
}

/// Facts of the disks, before anything was read from the root.
pub(crate) fn facts() -> Facts {
    Facts {
        schema: "guestfix.io/facts/v1".to_owned(),
        guest: Guest::default(),
        firmware: Firmware::Bios,
        efi: None,
        windows: None,
        disks: vec![DiskFacts {
            name: "disk0".to_owned(),
            path: "guest.img".to_owned(),
            size: 4 << 30,
            table: TableKind::Mbr,
            boot: false,
            id: Some("1c2d3e4f".to_owned()),
        }],
        volumes: vec![
            volume("disk0p1", "ext4", ROOT_UUID, "1c2d3e4f-01"),
            volume("disk0p5", "swap", SWAP_UUID, "1c2d3e4f-05"),
        ],
        root: "disk0p1".to_owned(),
        mounts: vec![MountFacts {
            volume: "disk0p1".to_owned(),
            subvolume: None,
            at: "/".to_owned(),
            free_bytes: 1 << 30,
            free_inodes: 1 << 16,
        }],
        kernels: Vec::new(),
        network: Vec::new(),
        vmware: VmwareFacts::default(),
        concerns: Vec::new(),
        sources: Sources::default(),
    }
}

/// Facts with everything this room gathers from a tree; kernels are the caller's.
pub(crate) fn gathered(fs: MemoryFs) -> Facts {
    let mut facts = facts();
    super::gather_topics(&Tree::new(Box::new(fs)), &mut facts).unwrap();
    facts
}

/// A kernel of which only its place is known.
pub(crate) fn kernel(version: &str) -> KernelFacts {
    KernelFacts {
        version: version.to_owned(),
        image: format!("/boot/vmlinuz-{version}"),
        default: false,
        in_boot_menu: false,
        modules_dir: None,
        drivers: std::collections::BTreeMap::new(),
        initramfs: None,
    }
}

/// A KubeVirt VM as Debian 12 wants it.
pub(crate) fn target() -> Target {
    Target {
        firmware: Firmware::Bios,
        disk_bus: Bus::Virtio,
        nic_model: "virtio".to_owned(),
        machine: "q35".to_owned(),
        secure_boot: false,
        tpm: false,
        clock: "utc".to_owned(),
    }
}

/// What a proposal writes to a path, as text.
pub(crate) fn written(changes: &[Change], path: &str) -> Option<String> {
    changes.iter().find_map(|change| match &change.action {
        Some(crate::plan::Action::WriteFile {
            path: at, content, ..
        }) if at.display() == path => Some(String::from_utf8_lossy(content).into_owned()),
        _ => None,
    })
}

/// The tree with these files' new contents: what a second run would see.
pub(crate) fn applied(mut fs: MemoryFs, changes: &[Change]) -> MemoryFs {
    for change in changes {
        match change.action.clone() {
            Some(crate::plan::Action::WriteFile { path, content, .. }) => {
                fs = fs.file(&path.display(), content);
            }
            Some(crate::plan::Action::Symlink { path, target }) => {
                fs = fs.symlink(&path.display(), &target);
            }
            _ => {}
        }
    }
    fs
}
