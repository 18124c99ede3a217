// SPDX-License-Identifier: Apache-2.0
//! Encrypted volumes under the names that the guest's own table gives them, and what is to be said
//! of volumes that could not be opened or assembled.

use super::facts::Concern;
use super::mounts::volume_of;
use crate::volume::Assembled;

/// The volumes with the names of the guest's table of encrypted volumes: each name with its device.
pub(super) fn named(all: &Assembled, table: &[(String, String)]) -> Assembled {
    let mut out = Assembled {
        volumes: all.volumes.clone(),
        unopened: all.unopened.clone(),
        damage: all.damage.clone(),
    };
    for (name, device) in table {
        let Some(locked) = volume_of(&all.volumes, device).map(|volume| &volume.name) else {
            continue;
        };
        let name = format!("/dev/mapper/{name}");
        for volume in &mut out.volumes {
            let luks = volume
                .stack
                .made_by
                .as_deref()
                .is_some_and(|by| by.starts_with("luks"));
            if luks
                && volume.stack.made_of.contains(locked)
                && !volume.stack.devices.contains(&name)
            {
                volume.stack.devices.push(name.clone());
            }
        }
        for volume in &mut out.unopened {
            if volume.made_of.contains(locked) {
                volume.devices.push(name.clone());
            }
        }
    }
    out
}

/// A warning for everything that stayed shut, and for damage on the way.
pub(super) fn concerns(all: &Assembled) -> Vec<Concern> {
    let shut = all.unopened.iter().map(|volume| {
        let mut message = format!(
            "{} on {} is left as it is: {}",
            volume.name,
            volume.made_of.join(", "),
            volume.error
        );
        if let Some(hint) = &volume.error.hint {
            message = format!("{message}. To have it read: {hint}");
        }
        let id = if volume.error.code == "encrypted" {
            "volume-encrypted"
        } else {
            "volume-unassembled"
        };
        Concern::warning(id, message)
    });
    let damage = all
        .damage
        .iter()
        .map(|damage| Concern::warning("stack-damage", damage.clone()));
    shut.chain(damage).collect()
}
