// SPDX-License-Identifier: Apache-2.0
//! LVM2: groups of physical volumes, and the logical volumes on them.

mod build;
mod group;
mod images;
mod label;
mod text;
mod thin;

use std::collections::BTreeMap;

use super::assemble::{Made, Opening, Unopened};
use super::{Stack, Volume};
use crate::error::{Error, Result};
use build::Builder;
use group::{Group, Kind, Logical, read_group};

/// Groups that were assembled before, and what was found.
#[derive(Default)]
pub(super) struct Groups {
    done: BTreeMap<String, String>,
}

/// A physical volume that was found: the volume and what it says.
struct Found<'a> {
    volume: &'a Volume,
    id: String,
    group: Option<Group>,
}

impl Groups {
    /// Assembles the groups that are not yet: complete ones only, or with `partial` also those
    /// that lack physical volumes.
    ///
    /// # Errors
    /// `Refused`/`lvm-duplicate-pv`, `lvm-duplicate-group`: copies of disks among the disks;
    /// `Corrupt`/`lvm-...`: damaged or contradictory metadata; `Host`/`io`.
    pub(super) fn assemble(
        &mut self,
        volumes: &[Volume],
        opening: &Opening,
        partial: bool,
    ) -> Result<Made> {
        let mut made = Made::default();
        let found = find(volumes, &mut made.damage)?;
        for group in newest(&found)? {
            if self.done.contains_key(&group.id) {
                continue;
            }
            let physical: BTreeMap<&str, &Volume> = group
                .physical
                .iter()
                .filter_map(|(name, physical)| {
                    let found = found.iter().find(|found| found.id == physical.id)?;
                    Some((name.as_str(), found.volume))
                })
                .collect();
            if physical.len() < group.physical.len() && !partial {
                continue;
            }
            self.same_name(&group)?;
            overlaps(&group, &physical)?;
            logical_volumes(&group, physical, opening, &mut made)?;
            self.done.insert(group.id.clone(), group.name.clone());
        }
        Ok(made)
    }

    fn same_name(&self, group: &Group) -> Result<()> {
        if !self.done.values().any(|name| *name == group.name) {
            return Ok(());
        }
        Err(Error::refused(
            "lvm-duplicate-group",
            format!("two volume groups are called {}", group.name),
        )
        .hint("give only the disks of one guest, and rename one of the groups (vgrename UUID NEW)"))
    }
}

fn find<'a>(volumes: &'a [Volume], damage: &mut Vec<String>) -> Result<Vec<Found<'a>>> {
    let mut out: Vec<Found<'a>> = Vec::new();
    for volume in volumes.iter().filter(|v| v.content.kind == "lvm2-pv") {
        let on = |error: Error| error.on(&volume.name);
        let Some(head) = label::read_head(volume.storage.as_ref()).map_err(on)? else {
            continue;
        };
        if let Some(other) = out.iter().find(|other| other.id == head.id) {
            let (one, two) = (&other.volume.name, &volume.name);
            return Err(Error::refused(
                "lvm-duplicate-pv",
                format!(
                    "{one} and {two} are the same physical volume {}: one is a copy of the other",
                    dashed(&head.id)
                ),
            )
            .on(two)
            .hint("give every disk of the guest once, and no copies of it"));
        }
        damage.extend(
            head.damage
                .iter()
                .map(|why| format!("{}: {why}", volume.name)),
        );
        let mut group: Option<Group> = None;
        for text in &head.texts {
            let read = read_group(text).map_err(on)?;
            if group.as_ref().is_none_or(|have| have.seqno < read.seqno) {
                group = Some(read);
            }
        }
        if group.is_none() && !head.damage.is_empty() {
            damage.push(format!("{}: no usable metadata of LVM", volume.name));
        }
        out.push(Found {
            volume,
            id: head.id,
            group,
        });
    }
    Ok(out)
}

/// The newest state of every group. Of an interrupted change the newer copies count, as for LVM.
fn newest(found: &[Found<'_>]) -> Result<Vec<Group>> {
    let mut out: Vec<(Group, &str)> = Vec::new();
    for one in found {
        let Some(group) = &one.group else { continue };
        let name = one.volume.name.as_str();
        match out.iter_mut().find(|(have, _)| have.id == group.id) {
            None => out.push((group.clone(), name)),
            Some((have, _)) if have.seqno > group.seqno => {}
            Some(slot) if slot.0.seqno < group.seqno => *slot = (group.clone(), name),
            Some((have, _)) if have == group => {}
            Some((have, first)) => {
                return Err(Error::corrupt(
                    "lvm-inconsistent",
                    format!(
                        "{first} and {name} hold different metadata of volume group {} under the same number {}",
                        have.name, have.seqno
                    ),
                )
                .on(name)
                .hint("are the disks copies of different times, or of two guests?"));
            }
        }
    }
    claimed_twice(&out)?;
    Ok(out.into_iter().map(|(group, _)| group).collect())
}

fn claimed_twice(groups: &[(Group, &str)]) -> Result<()> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (group, on) in groups {
        for physical in group.physical.values() {
            if let Some(other) = owners.insert(&physical.id, &group.name) {
                return Err(Error::corrupt(
                    "lvm-inconsistent",
                    format!(
                        "the physical volume {} belongs to the groups {other} and {}",
                        dashed(&physical.id),
                        group.name
                    ),
                )
                .on(*on));
            }
        }
    }
    Ok(())
}

/// No extent of a physical volume may belong to two segments.
fn overlaps(group: &Group, physical: &BTreeMap<&str, &Volume>) -> Result<()> {
    let mut used: Vec<(&str, u64, u64, &str)> = Vec::new();
    for (name, logical) in &group.logical {
        for segment in &logical.segments {
            let (areas, each) = match &segment.kind {
                Kind::Striped { areas, .. } => {
                    let width = areas.len() as u64;
                    (areas, segment.count.checked_div(width).unwrap_or(0))
                }
                Kind::Mirror { areas } => (areas, segment.count),
                _ => continue,
            };
            let on_disk = areas
                .iter()
                .filter(|(part, _)| group.physical.contains_key(part));
            used.extend(
                on_disk.map(|(part, extent)| (part.as_str(), *extent, each, name.as_str())),
            );
        }
    }
    used.sort_unstable();
    for (one, two) in used.iter().zip(used.iter().skip(1)) {
        if one.0 != two.0 || one.1.saturating_add(one.2) <= two.1 {
            continue;
        }
        let start = group
            .physical
            .get(two.0)
            .map_or(0, |physical| physical.start);
        let on = physical.get(two.0).map_or(two.0, |volume| &volume.name);
        return Err(Error::corrupt(
            "lvm-overlap",
            format!(
                "{}/{} and {}/{} lie on the same extents",
                group.name, one.3, group.name, two.3
            ),
        )
        .on(on)
        .at(start.saturating_add(two.1.saturating_mul(group.extent))));
    }
    Ok(())
}

fn logical_volumes(
    group: &Group,
    physical: BTreeMap<&str, &Volume>,
    opening: &Opening,
    made: &mut Made,
) -> Result<()> {
    let origins: Vec<&str> = snapshots(group).map(|(origin, _)| origin).collect();
    let stores: Vec<&str> = snapshots(group).map(|(_, store)| store).collect();
    let mut builder = Builder {
        group,
        physical,
        built: BTreeMap::new(),
        pools: BTreeMap::new(),
        allow_degraded: opening.allow_degraded,
    };
    for (name, logical) in &group.logical {
        let pool =
            |s: &group::Segment| matches!(s.kind, Kind::ThinPool { .. } | Kind::Snapshot { .. });
        // A snapshot's store is hidden, but its name is the snapshot's.
        let is_shown = logical.visible || stores.contains(&name.as_str());
        if !is_shown || logical.segments.is_empty() || logical.segments.iter().any(pool) {
            continue;
        }
        let built = match (
            stores.contains(&name.as_str()),
            origins.contains(&name.as_str()),
        ) {
            (true, _) => Err(build::unsupported(&group.name, name, "a snapshot")),
            (_, true) => Err(build::unsupported(
                &group.name,
                name,
                "a volume with snapshots (which every write would have to feed)",
            )),
            _ => builder.logical(name, 0),
        };
        match built {
            Ok(storage) => {
                let volume = volume(group, name, logical, &builder.physical, storage)?;
                made.volumes.push(volume);
            }
            // The host's failures are not the guest's.
            Err(error) if error.kind == crate::error::Kind::Host => return Err(error),
            Err(error) => made.unopened.push(Unopened {
                name: format!("{}/{name}", group.name),
                devices: devices(group, name, logical),
                made_of: parts(group, name, &builder.physical),
                error,
            }),
        }
    }
    Ok(())
}

/// Origin and store of every snapshot.
fn snapshots(group: &Group) -> impl Iterator<Item = (&str, &str)> {
    let segments = group.logical.values().flat_map(|logical| &logical.segments);
    segments.filter_map(|segment| match &segment.kind {
        Kind::Snapshot { origin, store } => Some((origin.as_str(), store.as_str())),
        _ => None,
    })
}

fn volume(
    group: &Group,
    name: &str,
    logical: &Logical,
    physical: &BTreeMap<&str, &Volume>,
    storage: std::sync::Arc<dyn crate::disk::Storage>,
) -> Result<Volume> {
    let made_of = parts(group, name, physical);
    let first = made_of.first();
    let on = physical.values().find(|volume| Some(&volume.name) == first);
    let disk = on.map_or(0, |volume| volume.disk);
    let stack = Stack {
        made_by: Some(format!("lvm2 {}", kind(group, name))),
        made_of,
        devices: devices(group, name, logical),
    };
    Volume::assembled(format!("{}/{name}", group.name), disk, storage, stack)
}

/// What `lvs -o segtype` would say of the first segment.
fn kind<'a>(group: &'a Group, name: &str) -> &'a str {
    let first = group
        .logical
        .get(name)
        .and_then(|logical| logical.segments.first());
    match first.map(|segment| &segment.kind) {
        Some(Kind::Striped { areas, .. }) if areas.len() == 1 => "linear",
        Some(Kind::Striped { .. }) => "striped",
        Some(Kind::Mirror { .. }) => "mirror",
        Some(Kind::Raid { level, .. }) => level,
        Some(Kind::Thin { .. }) => "thin",
        _ => "other",
    }
}

/// The volumes that a logical volume lies on, in the order of its parts.
fn parts(group: &Group, name: &str, physical: &BTreeMap<&str, &Volume>) -> Vec<String> {
    let mut out = Vec::new();
    let mut left = vec![name];
    let mut seen = Vec::new();
    while let Some(name) = left.pop() {
        if let Some(volume) = physical.get(name) {
            if !out.contains(&volume.name) {
                out.push(volume.name.clone());
            }
            continue;
        }
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let Some(logical) = group.logical.get(name) else {
            continue;
        };
        for segment in logical.segments.iter().rev() {
            left.extend(names(&segment.kind).into_iter().rev());
        }
    }
    out
}

fn names(kind: &Kind) -> Vec<&str> {
    match kind {
        Kind::Striped { areas, .. } | Kind::Mirror { areas } => {
            areas.iter().map(|(name, _)| name.as_str()).collect()
        }
        Kind::Raid { images, .. } => images.iter().map(|(_, image)| image.as_str()).collect(),
        Kind::Thin { pool, .. } => vec![pool],
        Kind::ThinPool { data, metadata, .. } => vec![data, metadata],
        Kind::Snapshot { .. } | Kind::Zero | Kind::Other(_) => Vec::new(),
    }
}

/// The names under which Linux shows a logical volume (lvm(8); the mapper's name doubles dashes).
fn devices(group: &Group, name: &str, logical: &Logical) -> Vec<String> {
    let doubled = |text: &str| text.replace('-', "--");
    let mapper = format!("{}-{}", doubled(&group.name), doubled(name));
    vec![
        format!("/dev/mapper/{mapper}"),
        format!("/dev/{}/{name}", group.name),
        format!("/dev/disk/by-id/dm-name-{mapper}"),
        format!("/dev/disk/by-id/dm-uuid-LVM-{}{}", group.id, logical.id),
    ]
}

/// LVM's notation of an id: groups of 6-4-4-4-4-4-6.
fn dashed(id: &str) -> String {
    let mut out = String::with_capacity(38);
    for (index, letter) in id.chars().enumerate() {
        if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
            out.push('-');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod raid_tests;
#[cfg(test)]
mod tests;
