// SPDX-License-Identifier: Apache-2.0
//! Guests whose system is an image: ostree's deployments, Flatcar's partitions, read-only roots.
//! Of these guestfix edits what is the guest's own and says what it leaves.

use super::super::gather::Gatherer;
use super::{Family, OS_RELEASE, Release};
use crate::error::Result;
use crate::fs::Tree;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;

/// Where ostree keeps its deployments: `<name>/deploy/<checksum>.<serial>`.
pub(crate) const OSTREE: &str = "/ostree/deploy";
const TRANSACTIONAL: [&str; 2] = [
    "/usr/sbin/transactional-update",
    "/sbin/transactional-update",
];

/// Directories of all deployments, those of one system together.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
fn deployments(tree: &Tree) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for name in tree.list(&OSTREE.into())? {
        let Ok(name) = String::from_utf8(name) else {
            continue;
        };
        let dir = format!("{OSTREE}/{name}/deploy");
        for deployed in tree.list(&dir.as_str().into())? {
            match String::from_utf8(deployed) {
                Ok(deployed) if !deployed.ends_with(".origin") => {
                    out.push(format!("{dir}/{deployed}"));
                }
                _ => {}
            }
        }
    }
    Ok(out)
}

/// Reads os-release of a deployment, where the root itself has none, under its usual name.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for dir in deployments(gather.tree())? {
        let path = format!("{dir}{}", OS_RELEASE[1]);
        if gather.file(&path)?
            && let Some(file) = gather.sources.files.remove(&path)
        {
            gather.sources.files.insert(OS_RELEASE[1].to_owned(), file);
            gather
                .sources
                .dirs
                .insert(OSTREE.to_owned(), vec![dir.clone()]);
            break;
        }
    }
    Ok(())
}

/// What is to be said of an image.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub(super) fn concern(
    gather: &mut Gatherer<'_>,
    release: &Release,
    facts: &Facts,
) -> Result<Option<Concern>> {
    let name = &release.pretty_name;
    let message = if gather.sources.dirs.contains_key(OSTREE) {
        format!(
            "{name} is deployed by ostree: its boot entries are converted; /usr and the initramfs belong to an image and are left as they are, VMware's packages in it with them (they start on VMware only), and so is what its /etc holds; check after the first boot that addresses and mounts are as they should be"
        )
    } else if Family::of(release) == Family::Flatcar || is_flatcar(facts) {
        format!(
            "{name} keeps its kernel and /usr in signed images, which are left as they are; only what lies on its root is converted. Set the platform in the OEM partition's grub.cfg, or with flatcar.oem.id on the kernel's command line, so that nothing waits for VMware"
        )
    } else if transactional(gather)? {
        format!(
            "{name} updates its root as read-only snapshots: guestfix edits the active one; where it is a read-only subvolume the conversion ends with the guest untouched, until you make it writable (btrfs property set / ro false)"
        )
    } else {
        return Ok(None);
    };
    Ok(Some(Concern::warning("image-based-os", message)))
}

fn transactional(gather: &mut Gatherer<'_>) -> Result<bool> {
    for path in TRANSACTIONAL {
        if gather.exists(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Flatcar's /usr is a partition of its own that no mount table names: the partitions tell.
pub(super) fn is_flatcar(facts: &Facts) -> bool {
    let has = |label: &str| {
        let mut volumes = facts.volumes.iter();
        volumes.any(|volume| volume.part_label.as_deref() == Some(label))
    };
    has("USR-A") && has("OEM")
}
