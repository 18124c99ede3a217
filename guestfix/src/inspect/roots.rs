// SPDX-License-Identifier: Apache-2.0
//! Which volume, or which subvolume of one, holds the operating system.

use super::facts::{Concern, kernel_name_to_volume};
use super::mounts::{is_meant, leads_to, volume_of};
use super::{Recognise, TableEntry};
use crate::error::{Error, Kind, Result};
use crate::fs::{GuestFs, GuestPath, Subvolume, Tree};
use crate::volume::{Assembled, Volume};

/// Opens a volume's filesystem. Inspection does not know how: a pure reader where there is one, a
/// private mount elsewhere.
pub trait Opener {
    /// The filesystem, seen from one of its directories: `/`, or a subvolume. `None` when the
    /// volume holds no filesystem that guests are read from (swap, say).
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged; `Host`/`no-filesystem-driver` when only a kernel
    /// could read it and this host cannot.
    fn open(&self, volume: &Volume, from: &GuestPath) -> Result<Option<Box<dyn GuestFs>>>;

    /// The subvolumes of a volume, the top level first; empty for a filesystem without any.
    ///
    /// # Errors
    /// As [`Opener::open`].
    fn subvolumes(&self, volume: &Volume) -> Result<Vec<Subvolume>>;
}

/// A place where a root may lie.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) volume: Volume,
    /// The subvolume; `None` for a filesystem without any.
    pub(super) subvolume: Option<Subvolume>,
}

impl Place {
    /// `disk0p2`, or `disk0p2:@` for a subvolume.
    pub(super) fn name(&self) -> String {
        match self.subvolume_path() {
            Some(path) => format!("{}:{path}", self.volume.name),
            None => self.volume.name.clone(),
        }
    }

    /// The subvolume as people write it, without a slash in front; `None` for the top level.
    pub(super) fn subvolume_path(&self) -> Option<String> {
        let path = &self.subvolume.as_ref()?.path;
        let shown = path.display();
        (*path != GuestPath::root()).then(|| shown.trim_start_matches('/').to_owned())
    }

    pub(super) fn from(&self) -> GuestPath {
        self.subvolume
            .as_ref()
            .map_or_else(GuestPath::root, |subvolume| subvolume.path.clone())
    }
}

/// The chosen root.
pub(super) struct Root<'a> {
    pub(super) place: Place,
    pub(super) family: &'a dyn Recognise,
    title: String,
    /// The names under which it opens encrypted volumes, each with its device.
    pub(super) opened: Vec<(String, String)>,
    /// The device that its own table mounts as the root.
    pub(super) device: Option<String>,
    /// Its own table says that it is the root.
    says_so: bool,
    /// The other volume that its own table says is the root, by a name that tells one volume from all others.
    elsewhere: Option<String>,
}

/// Finds the one root, or the one that `wanted` names. Where several look like one, copies of a
/// root (snapshots, clones of a partition) tell themselves by a table that names another one.
pub(super) fn find<'a>(
    all: &Assembled,
    families: &[&'a dyn Recognise],
    wanted: Option<&str>,
    opener: &dyn Opener,
) -> Result<(Root<'a>, Vec<Concern>)> {
    let volumes = &all.volumes;
    let mut found: Vec<Root<'a>> = Vec::new();
    let mut unread: Vec<Error> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for volume in volumes {
        if wanted.is_some_and(|name| name.split(':').next() != Some(&volume.name)) {
            names.push(volume.name.clone());
            continue;
        }
        let places = places(volume, opener).unwrap_or_else(|error| {
            unread.push(name_volume(error, volume));
            Vec::new()
        });
        for place in places {
            names.push(place.name());
            if wanted.is_some_and(|name| name != place.name()) {
                continue;
            }
            match candidate(all, &place, families, opener) {
                Ok(Some(root)) => found.push(root),
                Ok(None) => {}
                Err(error) => unread.push(name_volume(error, volume)),
            }
        }
    }
    if found.is_empty() {
        return Err(no_root(all, &names, wanted, unread));
    }
    match found.as_slice() {
        [only] if wanted.is_none() && only.elsewhere.is_some() => Err(elsewhere(only)),
        _ => choose(found),
    }
}

fn choose(mut found: Vec<Root<'_>>) -> Result<(Root<'_>, Vec<Concern>)> {
    let alone = found.len() == 1;
    let chosen: Vec<usize> = (0..found.len())
        .filter(|index| alone || found.get(*index).is_some_and(|root| root.says_so))
        .collect();
    let [index] = chosen.as_slice() else {
        return Err(several(&found));
    };
    let root = found.swap_remove(*index);
    let others: Vec<String> = found.iter().map(|other| other.place.name()).collect();
    let mut concerns = Vec::new();
    if !others.is_empty() {
        concerns.push(Concern::information(
            "other-roots",
            format!(
                "{} is converted, as its own mount table says that it is the root; left as they \
                 are: {}, whose tables name another root",
                root.place.name(),
                others.join(", ")
            ),
        ));
    }
    Ok((root, concerns))
}

fn places(volume: &Volume, opener: &dyn Opener) -> Result<Vec<Place>> {
    let place = |subvolume| Place {
        volume: volume.clone(),
        subvolume,
    };
    let subvolumes = opener.subvolumes(volume)?;
    if subvolumes.is_empty() {
        return Ok(vec![place(None)]);
    }
    Ok(subvolumes.into_iter().map(Some).map(place).collect())
}

fn candidate<'a>(
    all: &Assembled,
    place: &Place,
    families: &[&'a dyn Recognise],
    opener: &dyn Opener,
) -> Result<Option<Root<'a>>> {
    let Some(fs) = opener.open(&place.volume, &place.from())? else {
        return Ok(None);
    };
    let tree = Tree::new(fs);
    for family in families {
        if family.recognise(&tree)? {
            let table = family.mount_table(&tree)?;
            let opened = family.opened(&tree)?;
            let volumes = &super::opened::named(all, &opened).volumes;
            let root = table.iter().find(|entry| entry.at == "/");
            return Ok(Some(Root {
                place: place.clone(),
                family: *family,
                title: family.title(&tree)?,
                opened,
                device: root.map(|entry| entry.device.clone()),
                says_so: root.is_some_and(|root| says_so(volumes, place, root)),
                elsewhere: root.and_then(|root| named_elsewhere(volumes, place, root)),
            }));
        }
    }
    Ok(None)
}

fn says_so(volumes: &[Volume], place: &Place, root: &TableEntry) -> bool {
    leads_to(volumes, root, place) || names_subvolume(volumes, place, root)
}

/// `/dev/sda2` may be on none of these disks in their order: which subvolume it is mounted from still tells a root from
/// its snapshots.
fn names_subvolume(volumes: &[Volume], place: &Place, root: &TableEntry) -> bool {
    !is_lasting(&root.device)
        && volume_of(volumes, &root.device).is_none()
        && place.subvolume.as_ref().is_some_and(|s| is_meant(root, s))
}

/// `/dev/sda2` is another volume on another machine, or with the disks in another order; `UUID=` is not.
fn named_elsewhere(volumes: &[Volume], place: &Place, root: &TableEntry) -> Option<String> {
    let volume = volume_of(volumes, &root.device).filter(|_| is_lasting(&root.device))?;
    (volume.name != place.volume.name).then(|| volume.name.clone())
}

/// Every name but the kernel's own tells one volume on any machine.
fn is_lasting(device: &str) -> bool {
    kernel_name_to_volume(device).is_none()
}

fn elsewhere(only: &Root<'_>) -> Error {
    let name = only.place.name();
    let named = only.elsewhere.as_deref().unwrap_or_default();
    Error::refused(
        "root-elsewhere",
        format!(
            "the only operating system is {name} ({}), but its own mount table says that the root \
             is {named}, where none was recognised",
            only.title
        ),
    )
    .hint(format!(
        "it looks like a copy; if it is to be converted all the same, give --root {name}"
    ))
}

pub(super) fn name_volume(error: Error, volume: &Volume) -> Error {
    if error.disk.is_some() {
        error
    } else {
        error.on(&volume.name)
    }
}

fn no_root(
    all: &Assembled,
    names: &[String],
    wanted: Option<&str>,
    mut unread: Vec<Error>,
) -> Error {
    if let Some(name) = wanted
        && unread.is_empty()
        && !names.iter().any(|have| have == name)
        && !all.unopened.iter().any(|have| have.name == name)
    {
        return Error::new(
            Kind::Usage,
            "no-such-volume",
            format!("--root {name}: there is no such volume"),
        )
        .hint(format!("the volumes are {}", names.join(", ")));
    }
    // What could not be read may be the root: why is then the news. Mounting comes first, after
    // which there may be a root.
    if let Some(mount) = unread.iter().position(|error| error.code == "needs-mount") {
        return unread.swap_remove(mount);
    }
    let shut = all
        .unopened
        .iter()
        .find(|v| wanted.is_none_or(|name| name == v.name));
    if let Some(shut) = shut {
        let error = shut.error.clone().context(format!(
            "no operating system was found, but {} could not be opened",
            shut.name
        ));
        return match (&error.disk, shut.made_of.first()) {
            (None, Some(on)) => error.on(on),
            _ => error,
        };
    }
    if !unread.is_empty() {
        return unread.swap_remove(0);
    }
    if let Some(error) = super::microsoft::no_root(all) {
        return error;
    }
    let seen: Vec<String> = all
        .volumes
        .iter()
        .map(|v| format!("{} ({})", v.name, v.content.kind))
        .collect();
    Error::unsupported("no-os", "no operating system was found on these disks")
        .because(format!("looked at {}", seen.join(", ")))
        .hint("give all disks of the guest, the boot disk among them")
}

fn several(found: &[Root<'_>]) -> Error {
    let names: Vec<String> = found
        .iter()
        .map(|root| format!("{} ({})", root.place.name(), root.title))
        .collect();
    let first = found
        .first()
        .map_or_else(String::new, |root| root.place.name());
    Error::refused(
        "several-roots",
        format!("several operating systems: {}", names.join(", ")),
    )
    .hint(format!(
        "choose one with --root, for example --root {first}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernel_s_names_depend_on_the_machine() {
        for (device, want) in [
            ("UUID=1-2", true),
            ("PARTLABEL=root", true),
            ("/dev/disk/by-partuuid/1c2d3e4f-01", true),
            ("/dev/disk/by-partlabel/root", true),
            ("/dev/mapper/vg-root", true),
            ("/dev/vg/root", true),
            ("/dev/sda2", false),
            ("/dev/vdb", false),
            ("/dev/nvme0n1p2", false),
        ] {
            assert_eq!(is_lasting(device), want, "{device}");
        }
    }
}
