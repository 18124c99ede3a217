// SPDX-License-Identifier: Apache-2.0
//! The disks and volumes as facts, and what their state gives to worry about.

use super::GuestDisk;
use super::facts::{Concern, DiskFacts, MountFacts, VolumeFacts};
use crate::error::Result;
use crate::fs::health;
use crate::volume::{Layout, Volume};

pub(super) fn disk_facts(disks: &[GuestDisk], layouts: &[Layout], boot: usize) -> Vec<DiskFacts> {
    disks
        .iter()
        .zip(layouts)
        .enumerate()
        .map(|(index, (disk, layout))| DiskFacts {
            name: disk.name.clone(),
            path: disk.path.clone(),
            size: disk.storage.len(),
            table: layout.table,
            id: layout.id.clone(),
            boot: index == boot && disks.len() > 1,
        })
        .collect()
}

pub(super) fn volume_facts(volumes: &[Volume]) -> Vec<VolumeFacts> {
    volumes
        .iter()
        .map(|volume| VolumeFacts {
            name: volume.name.clone(),
            offset: volume.offset,
            size: volume.len,
            content: volume.content.clone(),
            part_uuid: volume.part_uuid.clone(),
            part_type: volume.part_type.clone(),
            part_label: volume.part_label.clone(),
            stack: volume.stack.clone(),
        })
        .collect()
}

/// Damage that could be worked around, and filesystems that were not left clean.
pub(super) fn concerns(
    layouts: &[Layout],
    volumes: &[Volume],
    mounts: &[MountFacts],
) -> Result<Vec<Concern>> {
    let mut out: Vec<Concern> = layouts
        .iter()
        .flat_map(|layout| &layout.damage)
        .map(|damage| Concern::warning("partition-table-damage", damage.clone()))
        .collect();
    for volume in volumes {
        let Some(state) = health::health(volume)? else {
            continue;
        };
        let mounted = mounts.iter().find(|mount| mount.volume == volume.name);
        match mounted {
            Some(mount) if state.errors => out.push(Concern::critical(
                "filesystem-errors",
                format!(
                    "{} ({}) is marked as having errors: {}. Run e2fsck -f on it first",
                    volume.name, mount.at, state.detail
                ),
            )),
            Some(mount) if volume.content.kind == "ntfs" => out.extend(ntfs(mount, &state)),
            Some(mount) if state.dirty => out.push(Concern::warning(
                "filesystem-dirty",
                format!(
                    "{} ({}) was copied from a running or crashed guest: {}. Its journal is \
                     replayed; files being written at that moment may be incomplete",
                    volume.name, mount.at, state.detail
                ),
            )),
            _ => {}
        }
        if state.hibernated {
            out.push(Concern::critical(
                "hibernated",
                format!(
                    "{} holds a hibernation image: resuming it would undo the conversion. Start \
                     the guest once and shut it down properly",
                    volume.name
                ),
            ));
        }
    }
    Ok(out)
}

/// Only Windows replays its own log; what the dirty flag asks for it does at its next start.
fn ntfs(mount: &MountFacts, state: &health::FsHealth) -> Option<Concern> {
    let (volume, at) = (&mount.volume, &mount.at);
    if state.unclean_log {
        return Some(Concern::critical(
            "ntfs-log",
            format!(
                "{volume} ({at}) was copied from a running, crashed or fast-started guest: {}. Its \
                 log can only be replayed by Windows: start the guest once and shut it down \
                 properly (shutdown /s /t 0)",
                state.detail
            ),
        ));
    }
    state.dirty.then(|| {
        Concern::warning(
            "filesystem-dirty",
            format!(
                "{volume} ({at}) asks for a check ({}): Windows makes one at its next start",
                state.detail
            ),
        )
    })
}
