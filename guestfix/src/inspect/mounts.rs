// SPDX-License-Identifier: Apache-2.0
//! What the chosen root mounts below itself, by its own table.

use super::TableEntry;
use super::facts::{Concern, MountFacts, volume_of_device};
use super::firmware::is_esp;
use super::roots::{Opener, Place, Root, name_volume};
use super::state::volume_facts;
use crate::error::{Error, Result};
use crate::fs::{GuestFs, GuestPath, Subvolume, Tree};
use crate::volume::{Assembled, Unopened, Volume};

/// Type of the partition of boot entries (Boot Loader Specification, "XBOOTLDR").
const XBOOTLDR: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";

/// A filesystem in its place.
struct Mount {
    place: Place,
    at: GuestPath,
}

/// Opens the root and everything it mounts.
pub(super) fn mount_all(
    root: &Root<'_>,
    all: &Assembled,
    opener: &dyn Opener,
) -> Result<(Tree, Vec<MountFacts>, Vec<Concern>)> {
    let volumes = &all.volumes;
    let mut tree = Tree::new(open(opener, &root.place)?);
    let mut mounts = vec![Mount {
        place: root.place.clone(),
        at: GuestPath::root(),
    }];
    let mut concerns = Vec::new();
    for entry in root.family.mount_table(&tree)? {
        let at = GuestPath::new(&entry.at);
        if mounts.iter().any(|mount| mount.at == at) {
            continue;
        }
        let Some(volume) = volume_of(volumes, &entry.device) else {
            let mut shut = all.unopened.iter();
            match shut.find(|shut| shut.devices.contains(&entry.device)) {
                Some(shut) if is_system(&at) => return Err(needed(&at, shut)),
                // It is said once, with everything else that stayed shut.
                Some(_) => {}
                None => concerns.push(missing(&at, &entry.device)),
            }
            continue;
        };
        if !is_filesystem(volume) {
            continue;
        }
        let opened = place_of(volume, &entry, opener).and_then(|place| {
            let fs = open(opener, &place)?;
            Ok((place, fs))
        });
        match opened {
            Ok((place, fs)) => {
                tree.mount(at.clone(), fs);
                mounts.push(Mount { place, at });
            }
            // What a mount can read shall be read.
            Err(error) if is_system(&at) || error.code == "needs-mount" => return Err(error),
            Err(error) => concerns.push(unreadable(&at, &error)),
        }
    }
    if root.family.family() == "linux" {
        concerns.extend(mount_entries(volumes, opener, &mut tree, &mut mounts)?);
    }
    let esp = GuestPath::new(root.family.esp_at());
    concerns.extend(mount_esp(volumes, esp, opener, &mut tree, &mut mounts));
    let facts = mounts
        .iter()
        .map(|mount| facts_of(&tree, mount))
        .collect::<Result<Vec<_>>>()?;
    Ok((tree, facts, concerns))
}

fn is_taken(mounts: &[Mount], volume: &Volume, at: &GuestPath) -> bool {
    let mut mounts = mounts.iter();
    mounts.any(|mount| mount.place.volume.name == volume.name || mount.at == *at)
}

/// Mounts a volume that no table names.
fn mount_untold(
    volume: &Volume,
    at: GuestPath,
    opener: &dyn Opener,
    tree: &mut Tree,
    mounts: &mut Vec<Mount>,
) -> Result<()> {
    let place = Place {
        volume: volume.clone(),
        subvolume: None,
    };
    let fs = open(opener, &place)?;
    tree.mount(at.clone(), fs);
    mounts.push(Mount { place, at });
    Ok(())
}

/// systemd mounts the partition of boot entries by its type alone where the table says nothing
/// (systemd-gpt-auto-generator(8)).
fn mount_entries(
    volumes: &[Volume],
    opener: &dyn Opener,
    tree: &mut Tree,
    mounts: &mut Vec<Mount>,
) -> Result<Option<Concern>> {
    let is_entries = |volume: &&Volume| volume.part_type.as_deref() == Some(XBOOTLDR);
    let Some(volume) = volumes.iter().find(is_entries) else {
        return Ok(None);
    };
    let at = GuestPath::new("/boot");
    if is_taken(mounts, volume, &at)
        || !is_filesystem(volume)
        || !tree.list(&at).is_ok_and(|names| names.is_empty())
    {
        return Ok(None);
    }
    match mount_untold(volume, at, opener, tree, mounts) {
        Ok(()) => Ok(None),
        // What a mount can read shall be read.
        Err(error) if error.code == "needs-mount" => Err(error),
        Err(error) => Ok(Some(unreadable("the partition of boot entries", &error))),
    }
}

/// Firmware reads the EFI system partition whether the guest mounts it or not.
fn mount_esp(
    volumes: &[Volume],
    at: GuestPath,
    opener: &dyn Opener,
    tree: &mut Tree,
    mounts: &mut Vec<Mount>,
) -> Option<Concern> {
    let volume = volumes.iter().find(|volume| is_esp(volume))?;
    if is_taken(mounts, volume, &at) || volume.content.kind != "vfat" {
        return None;
    }
    match mount_untold(volume, at, opener, tree, mounts) {
        Ok(()) => None,
        Err(error) => Some(unreadable("the EFI system partition", &error)),
    }
}

fn unreadable(what: impl std::fmt::Display, error: &Error) -> Concern {
    Concern::warning(
        "volume-unreadable",
        format!("{what} cannot be read and is left as it is: {error}"),
    )
}

fn open(opener: &dyn Opener, place: &Place) -> Result<Box<dyn GuestFs>> {
    let volume = &place.volume;
    opener
        .open(volume, &place.from())
        .map_err(|e| name_volume(e, volume))?
        .ok_or_else(|| no_reader(volume))
}

/// An EFI system partition is a FAT, whatever is left of it.
fn no_reader(volume: &Volume) -> Error {
    let (name, kind) = (&volume.name, &volume.content.kind);
    let message = format!("{name} holds {kind}, which is not read");
    let error = match is_esp(volume) {
        true => Error::corrupt(
            "esp-damaged",
            format!("{message}, where the EFI system partition's FAT must be"),
        )
        .hint("repair it in the guest (fsck.vfat), or copy the disk again from its source"),
        false => Error::unsupported("no-reader", message),
    };
    error.on(name)
}

fn facts_of(tree: &Tree, mount: &Mount) -> Result<MountFacts> {
    let space = tree.space(&mount.at)?;
    Ok(MountFacts {
        volume: mount.place.volume.name.clone(),
        subvolume: mount.place.subvolume_path(),
        at: mount.at.display(),
        free_bytes: space.free_bytes,
        free_inodes: space.free_inodes,
    })
}

/// A volume that the system needs could not be opened.
fn needed(at: &GuestPath, shut: &Unopened) -> Error {
    let error = shut.error.clone().context(format!(
        "{at} is on {}, which could not be opened",
        shut.name
    ));
    match (&error.disk, shut.made_of.first()) {
        (None, Some(on)) => error.on(on),
        _ => error,
    }
}

fn missing(at: &GuestPath, device: &str) -> Concern {
    let message = format!("{at} is mounted from {device}, which is on none of the given disks");
    match is_system(at) {
        true => Concern::critical("volume-missing", message),
        false => Concern::warning("volume-missing", message),
    }
}

/// The volume that a guest calls `device`.
pub(super) fn volume_of<'a>(volumes: &'a [Volume], device: &str) -> Option<&'a Volume> {
    let known = volume_facts(volumes);
    let facts = volume_of_device(&known, device)?;
    volumes.iter().find(|volume| volume.name == facts.name)
}

/// True when a line of the table mounts that place.
pub(super) fn leads_to(volumes: &[Volume], entry: &TableEntry, place: &Place) -> bool {
    let volume = volume_of(volumes, &entry.device);
    volume.is_some_and(|volume| volume.name == place.volume.name)
        && place
            .subvolume
            .as_ref()
            .is_none_or(|subvolume| is_meant(entry, subvolume))
}

fn place_of(volume: &Volume, entry: &TableEntry, opener: &dyn Opener) -> Result<Place> {
    let subvolumes = opener.subvolumes(volume)?;
    let none = subvolumes.is_empty();
    let subvolume = subvolumes.into_iter().find(|s| is_meant(entry, s));
    if subvolume.is_none() && !none {
        return Err(Error::corrupt(
            "no-subvolume",
            format!("the subvolume of {} is not there", entry.at),
        )
        .on(&volume.name));
    }
    Ok(Place {
        volume: volume.clone(),
        subvolume,
    })
}

/// Whether the options of a line choose that subvolume (btrfs(5), "subvol", "subvolid"); without
/// one of them it is the default one.
pub(super) fn is_meant(entry: &TableEntry, subvolume: &Subvolume) -> bool {
    let by = |option: &str| {
        let mut options = entry.options.iter().rev();
        options.find_map(|have| have.strip_prefix(option)?.strip_prefix('='))
    };
    match (by("subvol"), by("subvolid")) {
        (Some(path), _) => GuestPath::new(path) == subvolume.path,
        (None, Some(id)) => match id.parse::<u64>() {
            Ok(0) => subvolume.id == 5,
            id => id == Ok(subvolume.id),
        },
        (None, None) => subvolume.default,
    }
}

fn is_filesystem(volume: &Volume) -> bool {
    !matches!(
        volume.content.kind.as_str(),
        "swap" | "lvm2-pv" | "md-member" | "luks" | "zeros"
    )
}

/// Mount points without which the system cannot be judged or does not start.
fn is_system(at: &GuestPath) -> bool {
    ["/boot", "/usr", "/var", "/etc", "/boot/efi"]
        .iter()
        .any(|s| GuestPath::new(s) == *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(options: &[&str]) -> Vec<u64> {
        let subvolumes = [(5, "/", false), (256, "/@", false), (300, "/@snap/1", true)];
        let entry = TableEntry {
            options: options.iter().map(|&o| o.to_owned()).collect(),
            ..TableEntry::default()
        };
        let chosen = subvolumes.into_iter().filter(|&(id, path, default)| {
            let path = path.into();
            is_meant(&entry, &Subvolume { id, path, default })
        });
        chosen.map(|(id, ..)| id).collect()
    }

    #[test]
    fn options_choose_a_subvolume_as_the_kernel_does() {
        assert_eq!(meant(&["rw"]), [300], "the default one");
        assert_eq!(meant(&["subvol=@"]), [256]);
        assert_eq!(meant(&["noatime", "subvol=/@snap/1/"]), [300]);
        assert_eq!(meant(&["subvolid=256"]), [256]);
        assert_eq!(meant(&["subvolid=0"]), [5]);
        assert_eq!(meant(&["subvol=/"]), [5]);
        assert_eq!(meant(&["subvol=gone"]), [0; 0]);
    }
}
