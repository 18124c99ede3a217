// SPDX-License-Identifier: Apache-2.0
//! Arrays of Linux's md driver.

pub(super) mod geometry;
pub(super) mod parity;
mod superblock;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assemble::{Made, Opening, Unopened};
use super::mapped::{Leg, Linear, Mapped, Mirrored};
use super::{Stack, Volume};
use crate::disk::Storage;
use crate::error::{Error, Kind, Result};
use geometry::{Ten, Zoned};
use parity::Parity;
use superblock::{Super, read_super};

/// A member that was found.
type Member<'a> = (&'a Volume, Super);

/// Assembles the arrays that are not yet: with all members there, or with `partial` any.
///
/// # Errors
/// `Refused`/`md-duplicate` for copies of disks; `Host`/`io`. What keeps one array from being
/// assembled is said of that one.
pub(super) fn assemble(
    volumes: &[Volume],
    done: &mut Vec<String>,
    opening: &Opening,
    partial: bool,
) -> Result<Made> {
    let mut made = Made::default();
    let mut arrays: BTreeMap<String, Vec<Member<'_>>> = BTreeMap::new();
    for volume in volumes.iter().filter(|v| v.content.kind == "md-member") {
        match read_super(volume.storage.as_ref()) {
            Ok(found) => arrays
                .entry(found.array.clone())
                .or_default()
                .push((volume, found)),
            Err(error) if error.kind == Kind::Host => return Err(error.on(&volume.name)),
            Err(error) => {
                let said = format!("{} is left out of its array: {error}", volume.name);
                made.damage.push(said);
            }
        }
    }
    for (id, members) in arrays {
        if done.contains(&id) {
            continue;
        }
        let Some(newest) = newest(&members) else {
            continue;
        };
        let there = members.iter().filter(|(_, sb)| sb.role.is_some()).count();
        if there < newest.members && !partial {
            continue;
        }
        done.push(id);
        duplicates(&members)?;
        let (name, devices) = names(&newest, volumes, &made);
        match array(&name, &newest, &members, opening) {
            Ok(storage) => made
                .volumes
                .push(volume(&name, devices, &newest, &members, storage)?),
            Err(error) if error.kind == Kind::Host => return Err(error),
            Err(error) => made.unopened.push(Unopened {
                name: name.clone(),
                devices,
                made_of: parts(&members),
                error: error.on(name),
            }),
        }
    }
    Ok(made)
}

/// The superblock of the member that was written last.
fn newest(members: &[Member<'_>]) -> Option<Super> {
    let all = members.iter().map(|(_, sb)| sb);
    all.max_by_key(|sb| sb.events).cloned()
}

fn parts(members: &[Member<'_>]) -> Vec<String> {
    members
        .iter()
        .map(|(volume, _)| volume.name.clone())
        .collect()
}

fn duplicates(members: &[Member<'_>]) -> Result<()> {
    for (index, (volume, sb)) in members.iter().enumerate() {
        let mut before = members.iter().take(index);
        let same = before.find(|(_, other)| other.role == sb.role && sb.role.is_some());
        // Of two in one place the one left behind by a failure is older, and no copy.
        let Some((other, _)) = same.filter(|(_, other)| other.events == sb.events) else {
            continue;
        };
        return Err(Error::refused(
            "md-duplicate",
            format!(
                "{} and {} are the same member of the array {}: one is a copy of the other",
                other.name, volume.name, sb.array
            ),
        )
        .on(&volume.name)
        .hint("give every disk of the guest once, and no copies of it"));
    }
    Ok(())
}

/// The array's name and those under which Linux shows it (md(4), mdadm(8), udev's rules).
fn names(sb: &Super, volumes: &[Volume], made: &Made) -> (String, Vec<String>) {
    let mut devices = Vec::new();
    let short = match (&sb.name, sb.minor) {
        (Some(name), _) => name.rsplit(':').next().unwrap_or_default().to_owned(),
        (None, Some(minor)) => minor.to_string(),
        (None, None) => String::new(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let usable = !short.is_empty() && short.chars().all(plain) && !short.starts_with('.');
    let number = usable && short.bytes().all(|byte| byte.is_ascii_digit());
    let wanted = match (usable, number) {
        (true, true) => format!("md{short}"),
        (true, false) => format!("md-{short}"),
        _ => format!("md-{}", sb.array),
    };
    let taken = volumes
        .iter()
        .chain(&made.volumes)
        .any(|volume| volume.name == wanted);
    let name = if taken {
        format!("md-{}", sb.array)
    } else {
        wanted
    };
    if usable && !taken {
        devices.push(format!("/dev/md/{short}"));
        if number {
            devices.push(format!("/dev/md{short}"));
        }
        if let Some(full) = &sb.name {
            devices.push(format!("/dev/disk/by-id/md-name-{full}"));
        }
    }
    let hex: String = sb.array.chars().filter(|c| *c != '-').collect();
    let words: Vec<&str> = [0..8, 8..16, 16..24, 24..32]
        .into_iter()
        .filter_map(|r| hex.get(r))
        .collect();
    devices.push(format!("/dev/disk/by-id/md-uuid-{}", words.join(":")));
    (name, devices)
}

fn level_name(sb: &Super) -> String {
    match sb.level {
        -1 => "linear".to_owned(),
        level => format!("raid{level}"),
    }
}

/// The members by their place, those that are behind or being rebuilt left out.
fn in_place<'a>(newest: &Super, members: &'a [Member<'a>]) -> Vec<Option<&'a Member<'a>>> {
    let mut out = vec![None; newest.members];
    for member in members {
        let (_, sb) = member;
        // One event behind is a member that missed the last mark only (drivers/md/md.c).
        let current = sb.events.saturating_add(1) >= newest.events;
        let slot = sb.role.and_then(|role| out.get_mut(role));
        if let Some(slot) = slot.filter(|_| current && sb.whole) {
            *slot = Some(member);
        }
    }
    out
}

fn array(
    name: &str,
    newest: &Super,
    members: &[Member<'_>],
    opening: &Opening,
) -> Result<Arc<dyn Storage>> {
    let level = level_name(newest);
    if let Some(why) = newest.unsupported {
        return Err(unsupported(&format!("the array {why}")));
    }
    let places = in_place(newest, members);
    let gone = places.iter().filter(|place| place.is_none()).count();
    let redundant = matches!(newest.level, 1 | 4 | 5 | 6 | 10);
    if newest.members == 0 || (gone > 0 && !redundant) {
        return Err(Error::refused(
            "md-missing-member",
            format!(
                "{gone} of {} members of this {level} are missing or failed",
                newest.members
            ),
        )
        .hint("give all disks of the guest"));
    }
    let state = match (gone, newest.clean || !redundant) {
        (0, true) => None,
        (0, false) => Some("was not stopped cleanly, or is being synchronised".to_owned()),
        (gone, _) => Some(format!(
            "lacks {gone} of {} members, or they are being rebuilt",
            newest.members
        )),
    };
    if let Some(state) = state.filter(|_| !opening.allow_degraded) {
        return Err(Error::refused("raid-degraded", format!("this {level} {state}"))
            .hint("let it recover in the guest and shut that down; --allow-degraded takes it as it is"));
    }
    build(name, newest, &places)
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(
        "md-layout",
        format!("{what}, which guestfix does not assemble"),
    )
}

fn build(name: &str, newest: &Super, places: &[Option<&Member<'_>>]) -> Result<Arc<dyn Storage>> {
    let damaged = || Error::corrupt("md-superblock", "the array's numbers make no sense");
    let full: Option<Vec<&Member<'_>>> = places.iter().copied().collect();
    let any = places.iter().flatten().next().ok_or_else(damaged)?;
    let storage = |place: &Option<&Member<'_>>| Arc::clone(&place.unwrap_or(any).0.storage);
    let storages: Vec<Arc<dyn Storage>> = places.iter().map(storage).collect();
    let starts: Vec<u64> = places
        .iter()
        .map(|p| p.map_or(0, |(_, sb)| sb.start))
        .collect();
    let fits = places.iter().flatten().all(|(_, sb)| sb.len >= newest.used);
    let name = name.to_owned();
    match newest.level {
        1 if fits => {
            let usable = places
                .iter()
                .enumerate()
                .filter(|(_, place)| place.is_some());
            let leg = |(member, _)| Leg {
                member,
                offset: starts.get(member).copied().unwrap_or(0),
            };
            let geometry = Mirrored {
                starts: usable.map(leg).collect(),
                len: newest.used,
            };
            Ok(mapped(name, storages, geometry))
        }
        -1 => {
            let mut linear = Linear::default();
            for (member, (_, sb)) in full.ok_or_else(damaged)?.into_iter().enumerate() {
                let chunks = sb.len.checked_div(newest.chunk);
                let len = chunks.map_or(sb.len, |n| n.saturating_mul(newest.chunk));
                let offset = sb.start;
                linear.push(Leg { member, offset }, len);
            }
            Ok(mapped(name, storages, linear))
        }
        0 => {
            let full = full.ok_or_else(damaged)?;
            let sizes: Vec<u64> = full.iter().map(|(_, sb)| sb.len).collect();
            let original = newest.layout == 1;
            let zoned = Zoned::new(starts, &sizes, newest.chunk, original).ok_or_else(damaged)?;
            let told = newest.layout_known && matches!(newest.layout, 1 | 2);
            if !(told || zoned.is_even()) {
                return Err(unsupported(
                    "a raid0 of members of several sizes whose layout is not recorded",
                ));
            }
            Ok(mapped(name, storages, zoned))
        }
        10 if fits => {
            let usable = places.iter().map(Option::is_some).collect();
            let ten = Ten::new(starts, usable, newest.layout, newest.chunk, newest.used);
            let ten = ten
                .ok_or_else(|| unsupported(&format!("a raid10 of layout {:#x}", newest.layout)))?;
            Ok(mapped(name, storages, ten))
        }
        4..=6 if fits => {
            if full.is_none() {
                return Err(unsupported("an array with parity that lacks members"));
            }
            parity(name, newest, storages, starts)
        }
        _ if fits => Err(unsupported(&format!("an array of level {}", newest.level))),
        _ => Err(damaged()),
    }
}

fn mapped<G: super::mapped::Geometry + 'static>(
    name: String,
    members: Vec<Arc<dyn Storage>>,
    geometry: G,
) -> Arc<dyn Storage> {
    Arc::new(Mapped {
        name,
        members,
        geometry,
    })
}

fn parity(
    name: String,
    newest: &Super,
    members: Vec<Arc<dyn Storage>>,
    starts: Vec<u64>,
) -> Result<Arc<dyn Storage>> {
    let what = format!("a layout {} of parity", newest.layout);
    let level = u32::try_from(newest.level).unwrap_or(0);
    let how = parity::layout(level, newest.layout).ok_or_else(|| unsupported(&what))?;
    let sizes = (newest.chunk, newest.used);
    let parity = Parity::new(name, members, starts, sizes, how)
        .ok_or_else(|| Error::corrupt("md-superblock", "the array's numbers make no sense"))?;
    Ok(Arc::new(parity))
}

fn volume(
    name: &str,
    devices: Vec<String>,
    newest: &Super,
    members: &[Member<'_>],
    storage: Arc<dyn Storage>,
) -> Result<Volume> {
    let disk = members.first().map_or(0, |(volume, _)| volume.disk);
    let stack = Stack {
        made_by: Some(format!("md {}", level_name(newest))),
        made_of: parts(members),
        devices,
    };
    Volume::assembled(name.to_owned(), disk, storage, stack)
}

#[cfg(test)]
mod tests;
