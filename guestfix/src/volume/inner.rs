// SPDX-License-Identifier: Apache-2.0
//! Partition tables inside arrays, logical volumes and opened LUKS volumes.

use std::sync::Arc;

use super::assemble::Made;
use super::layout::read_inside;
use super::{Stack, Volume};
use crate::error::{Kind, Result};

/// The partitions of assembled volumes that were not looked at before.
///
/// # Errors
/// `Host`/`io`. Damage is told and leaves the volume without partitions.
pub(super) fn partitions(volumes: &[Volume], done: &mut Vec<String>) -> Result<Made> {
    let mut made = Made::default();
    for volume in volumes {
        let assembled = !volume.stack.is_plain() && volume.part_type.is_none();
        let told = !matches!(volume.content.kind.as_str(), "unknown" | "zeros");
        if !assembled || told || done.contains(&volume.name) {
            continue;
        }
        done.push(volume.name.clone());
        let storage = Arc::clone(&volume.storage);
        match read_inside(&volume.name, volume.disk, storage) {
            Ok(Some(layout)) => {
                made.damage.extend(layout.damage);
                let parts = layout.volumes.into_iter();
                made.volumes.extend(parts.map(|part| inside(volume, part)));
            }
            Ok(None) => {}
            Err(error) if error.kind == Kind::Host => return Err(error),
            Err(error) => made.damage.push(error.to_string()),
        }
    }
    Ok(made)
}

/// A partition as a volume made of the one that holds it.
fn inside(whole: &Volume, part: Volume) -> Volume {
    let number = part.name.strip_prefix(whole.name.as_str()).unwrap_or("");
    let number = number.trim_start_matches('p');
    // As the kernel names partitions of arrays, and kpartx those of logical volumes.
    let device = |device: &String| match device.ends_with(|last: char| last.is_ascii_digit()) {
        true => format!("{device}p{number}"),
        false => format!("{device}{number}"),
    };
    let shown = |device: &&String| !device.starts_with("/dev/disk/");
    Volume {
        stack: Stack {
            made_by: Some("partition".to_owned()),
            made_of: vec![whole.name.clone()],
            devices: whole
                .stack
                .devices
                .iter()
                .filter(shown)
                .map(device)
                .collect(),
        },
        offset: 0,
        ..part
    }
}
