// SPDX-License-Identifier: Apache-2.0
//! Which volume holds the operating system, and what the root mounts below itself.

use super::Recognise;
use super::facts::{Concern, MountFacts, VolumeFacts};
use super::state::volume_facts;
use crate::error::{Error, Result};
use crate::fs::{GuestFs, GuestPath, Tree};
use crate::volume::Volume;

/// Opens a volume's filesystem. Inspection does not know how: a pure reader where there is one, a
/// private mount elsewhere.
pub trait Opener {
    /// `None` when the volume holds no filesystem that guests are read from (swap, say).
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged; `Host`/`no-filesystem-driver` when only a kernel
    /// could read it and this host cannot.
    fn open(&self, volume: &Volume) -> Result<Option<Box<dyn GuestFs>>>;
}

/// The chosen root.
pub(super) struct Root<'a> {
    pub(super) volume: Volume,
    pub(super) family: &'a dyn Recognise,
}

/// Finds the one root, or the one that `wanted` names.
pub(super) fn find<'a>(
    volumes: &[Volume],
    families: &[&'a dyn Recognise],
    wanted: Option<&str>,
    opener: &dyn Opener,
) -> Result<Root<'a>> {
    let mut found: Vec<(Root<'a>, String)> = Vec::new();
    let mut unread: Vec<Error> = Vec::new();
    for volume in volumes {
        if wanted.is_some_and(|name| name != volume.name) {
            continue;
        }
        match candidate(volume, families, opener) {
            Ok(Some(root)) => found.push(root),
            Ok(None) => {}
            Err(error) => unread.push(error),
        }
    }
    match found.len() {
        1 => found
            .pop()
            .map(|(root, _)| root)
            .ok_or_else(|| Error::internal("a root vanished")),
        0 => Err(no_root(volumes, wanted, unread)),
        _ => Err(several(&found)),
    }
}

fn candidate<'a>(
    volume: &Volume,
    families: &[&'a dyn Recognise],
    opener: &dyn Opener,
) -> Result<Option<(Root<'a>, String)>> {
    let fs = opener.open(volume).map_err(|e| name_volume(e, volume))?;
    let Some(fs) = fs else { return Ok(None) };
    let tree = Tree::new(fs);
    for family in families {
        if family
            .recognise(&tree)
            .map_err(|e| name_volume(e, volume))?
        {
            let title = family.title(&tree).map_err(|e| name_volume(e, volume))?;
            return Ok(Some((
                Root {
                    volume: volume.clone(),
                    family: *family,
                },
                title,
            )));
        }
    }
    Ok(None)
}

fn name_volume(error: Error, volume: &Volume) -> Error {
    if error.disk.is_some() {
        error
    } else {
        error.on(&volume.name)
    }
}

fn no_root(volumes: &[Volume], wanted: Option<&str>, mut unread: Vec<Error>) -> Error {
    if let Some(name) = wanted
        && !volumes.iter().any(|v| v.name == name)
    {
        let names: Vec<&str> = volumes.iter().map(|v| v.name.as_str()).collect();
        return Error::new(
            crate::error::Kind::Usage,
            "no-such-volume",
            format!("--root {name}: there is no such volume"),
        )
        .hint(format!("the volumes are {}", names.join(", ")));
    }
    // A filesystem that could not be read may be the root: its damage is then the news.
    if !unread.is_empty() {
        return unread.swap_remove(0);
    }
    let seen: Vec<String> = volumes
        .iter()
        .map(|v| format!("{} ({})", v.name, v.content.kind))
        .collect();
    Error::unsupported("no-os", "no operating system was found on these disks")
        .because(format!("looked at {}", seen.join(", ")))
        .hint("give all disks of the guest, the boot disk among them")
}

fn several(found: &[(Root<'_>, String)]) -> Error {
    let names: Vec<String> = found
        .iter()
        .map(|(root, title)| format!("{} ({title})", root.volume.name))
        .collect();
    let first = found
        .first()
        .map_or("", |(root, _)| root.volume.name.as_str());
    Error::refused(
        "several-roots",
        format!("several operating systems: {}", names.join(", ")),
    )
    .hint(format!(
        "choose one with --root, for example --root {first}"
    ))
}

/// Opens the root and everything it mounts.
pub(super) fn mount_all(
    root: &Root<'_>,
    volumes: &[Volume],
    opener: &dyn Opener,
) -> Result<(Tree, Vec<MountFacts>, Vec<Concern>)> {
    let open = |volume: &Volume| {
        opener
            .open(volume)
            .map_err(|e| name_volume(e, volume))?
            .ok_or_else(|| {
                Error::internal(format!("{} was readable and no longer is", volume.name))
            })
    };
    let mut tree = Tree::new(open(&root.volume)?);
    let mut mounts = vec![(root.volume.name.clone(), GuestPath::root())];
    let mut concerns = Vec::new();
    let known = volume_facts(volumes);
    for (device, at) in root.family.mount_table(&tree)? {
        let at = GuestPath::new(&at);
        if at == GuestPath::root() {
            continue;
        }
        match facts_volume(&known, &device).and_then(|f| volumes.iter().find(|v| v.name == f.name))
        {
            Some(volume) if is_filesystem(volume) => match open(volume) {
                Ok(fs) => {
                    tree.mount(at.clone(), fs);
                    mounts.push((volume.name.clone(), at));
                }
                Err(error) if is_system(&at) => return Err(error),
                Err(error) => concerns.push(Concern::warning(
                    "volume-unreadable",
                    format!("{at} cannot be read and is left as it is: {error}"),
                )),
            },
            Some(_) => {}
            None if is_system(&at) => concerns.push(Concern::critical(
                "volume-missing",
                format!("{at} is mounted from {device}, which is on none of the given disks"),
            )),
            None => concerns.push(Concern::warning(
                "volume-missing",
                format!("{at} is mounted from {device}, which is on none of the given disks"),
            )),
        }
    }
    let facts = mounts
        .into_iter()
        .map(|(volume, at)| {
            let space = tree.space(&at)?;
            Ok(MountFacts {
                volume,
                at: at.display(),
                free_bytes: space.free_bytes,
                free_inodes: space.free_inodes,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((tree, facts, concerns))
}

fn facts_volume<'a>(known: &'a [VolumeFacts], device: &str) -> Option<&'a VolumeFacts> {
    super::facts::volume_of_device(known, device)
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
