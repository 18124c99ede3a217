// SPDX-License-Identifier: Apache-2.0
//! Decides for every bootable kernel: keep its initramfs, splice it, have it made anew, or say why
//! none of them works.

use std::collections::{BTreeMap, BTreeSet};

use super::devices;
use crate::fs::GuestPath;
use crate::inspect::Facts;
use crate::inspect::facts::{
    Category, Concern, DriverAt, InitramfsFacts, KernelFacts, SpliceSource,
};
use crate::linux::bootloader::{choice, uki};
use crate::linux::kernel;
use crate::linux::modules::name_of;
use crate::linux::storage::lvm;
use crate::plan::{Action, Change, InitramfsMode, Member, MemberKind, Policy, Proposal, Target};

const TOPIC: &str = "initramfs";
/// Header, name and alignment of one member, bytes; an upper estimate.
const MEMBER_OVERHEAD: u64 = 256;
/// Kept free on the filesystem of the initramfs, bytes.
const RESERVE: u64 = 1 << 20;

/// Proposes a change for every initramfs that needs one, and the drop-ins that make the guest's
/// own next rebuild keep the drivers.
pub fn propose(facts: &Facts, target: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let moved = choice::needed(facts, target.disk_bus);
    let mut rebuilds = Vec::new();
    let mut done = BTreeSet::new();
    let mut needed: BTreeMap<String, u64> = BTreeMap::new();
    for kernel in kernel::bootable(facts) {
        let path = kernel.initramfs.as_ref().map_or(&kernel.image, |i| &i.path);
        if !done.insert(path.clone()) {
            continue;
        }
        match of_kernel(facts, kernel, target, policy, &mut needed) {
            Ok(Some(change)) if change.opaque => rebuilds.push(change),
            Ok(change) => out.changes.extend(change),
            Err((id, message)) => {
                let category = match choice::is_default_then(facts, kernel, moved.as_ref()) {
                    true => Category::Critical,
                    false => Category::Warning,
                };
                out.concerns.push(Concern::new(category, id, message));
            }
        }
    }
    out.extend(super::keep::propose(facts));
    // The guest's own tools read the drop-ins.
    out.changes.extend(rebuilds);
    out
}

/// A concern's identifier and message.
type Problem = (&'static str, String);

/// The change that this kernel's initramfs needs; `None` when it needs none.
fn of_kernel(
    facts: &Facts,
    kernel: &KernelFacts,
    target: &Target,
    policy: &Policy,
    needed: &mut BTreeMap<String, u64>,
) -> Result<Option<Change>, Problem> {
    let version = &kernel.version;
    let drivers = kernel::lacking(facts, kernel, target.disk_bus);
    let nowhere = names(&drivers, |_, at| at == DriverAt::Missing);
    if !nowhere.is_empty() {
        return Err((
            "kernel-lacks-virtio",
            format!("kernel {version} has no {nowhere} at all; choose another disk bus or kernel"),
        ));
    }
    let lacking = names(&drivers, |_, _| true);
    if kernel.is_unified() {
        return unified(facts, kernel, &lacking, target).map(|()| None);
    }
    let Some(initramfs) = &kernel.initramfs else {
        let message = format!("kernel {version} has no initramfs and {lacking} are not built in");
        return match lacking.is_empty() {
            true => Ok(None),
            false => Err(("no-initramfs", message)),
        };
    };
    let waits = vanishing(initramfs, target).next().is_some()
        || lvm::hiding(facts, initramfs).next().is_some();
    let why = match (&initramfs.damage, lacking.as_str()) {
        (Some(damage), _) => format!("it cannot be read to its end: {damage}"),
        (None, "") if !waits => return Ok(None),
        (None, "") => {
            format!("its configuration names devices that kernel {version} will not find")
        }
        (None, lacking) => format!("kernel {version} lacks {lacking} when it looks for its root"),
    };
    let rebuilt = |why: &str| {
        if policy.no_guest_code {
            return Err("no program of the guest is to be run".to_owned());
        }
        let action = super::rebuild::action(facts, kernel, initramfs)?;
        Ok(Some(Change::new(TOPIC, why, action, None)))
    };
    if policy.initramfs == InitramfsMode::Rebuild {
        let path = &initramfs.path;
        let message = |no| format!("{path} is to be made anew, for {why}; but {no}");
        return rebuilt(&why).map_err(|no| ("rebuild-not-possible", message(no)));
    }
    match spliced(facts, kernel, initramfs, &drivers, target, policy, needed) {
        Ok(members) => {
            let path = GuestPath::new(&initramfs.path);
            let action = Action::AppendInitramfs { path, members };
            Ok(Some(Change::new(TOPIC, why, action, None)))
        }
        Err(problem) if policy.initramfs == InitramfsMode::Auto && may_help(problem.0) => {
            let why = format!("{why}; {}", problem.1);
            rebuilt(&why).map_err(|no| (problem.0, format!("{}; {no}", problem.1)))
        }
        Err(problem) => Err(problem),
    }
}

/// A unified kernel image is never changed: what it lacks is said, with what helps.
fn unified(
    facts: &Facts,
    kernel: &KernelFacts,
    lacking: &str,
    target: &Target,
) -> Result<(), Problem> {
    let Some(initramfs) = &kernel.initramfs else {
        return Ok(());
    };
    let waits = vanishing(initramfs, target).map(|d| d.device.as_str());
    let hiding = lvm::hiding(facts, initramfs).next();
    let waits: Vec<&str> = waits
        .chain(hiding.map(|_| "disks that its LVM filter hides"))
        .collect();
    let fault = match (&initramfs.damage, lacking, waits.as_slice()) {
        (Some(damage), ..) => format!("cannot be read to its end: {damage}"),
        (None, "", []) => return Ok(()),
        (None, "", waits) => format!("waits for {}", waits.join(", ")),
        (None, lacking, _) => format!("lacks {lacking}"),
    };
    let images = facts.efi.iter().flat_map(|efi| &efi.unified_kernels);
    let image = images.into_iter().find(|image| image.path == kernel.image);
    let remedy = image.map(uki::remedy).unwrap_or_default();
    let message = format!("the initramfs inside {} {fault}; {remedy}", kernel.image);
    Err(("unified-kernel-lacks-virtio", message))
}

/// What making the initramfs anew can help against.
fn may_help(problem: &str) -> bool {
    matches!(
        problem,
        "initramfs-damaged" | "splice-not-possible" | "initramfs-waits-for-device"
    )
}

/// What to append.
fn spliced(
    facts: &Facts,
    kernel: &KernelFacts,
    initramfs: &InitramfsFacts,
    drivers: &[(String, DriverAt)],
    target: &Target,
    policy: &Policy,
    needed: &mut BTreeMap<String, u64>,
) -> Result<Vec<Member>, Problem> {
    let version = &kernel.version;
    if let Some(damage) = &initramfs.damage {
        return Err((
            "initramfs-damaged",
            format!("{} cannot be read to its end: {damage}", initramfs.path),
        ));
    }
    let empty = SpliceSource::default();
    let source = kernel::splice_source(facts, kernel).unwrap_or(&empty);
    if !drivers.is_empty() {
        let lacking = names(drivers, |_, _| true);
        may_splice(initramfs, source, policy, &lacking)?;
        let gone = names(drivers, |name, _| !copies(source, name));
        if !gone.is_empty() {
            return Err((
                "module-file-missing",
                format!("the module files of {gone} for kernel {version} are gone from the guest"),
            ));
        }
    }
    let (mut members, left) = overrides(facts, initramfs, source, target);
    if !left.is_empty() {
        return Err((
            "initramfs-waits-for-device",
            format!(
                "{} waits for {left}, which the new machine will not have",
                initramfs.path
            ),
        ));
    }
    if !drivers.is_empty() {
        members.extend(module_members(source));
    }
    room(facts, initramfs, source, &members, needed).map_err(|message| ("boot-full", message))?;
    Ok(members)
}

fn copies(source: &SpliceSource, module: &str) -> bool {
    let mut copies = source.copies.iter();
    copies.any(|copy| name_of(&copy.name).as_deref() == Some(module))
}

fn names(drivers: &[(String, DriverAt)], wanted: impl Fn(&str, DriverAt) -> bool) -> String {
    let chosen = drivers.iter().filter(|(name, at)| wanted(name, *at));
    let names: Vec<&str> = chosen.map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

fn may_splice(
    initramfs: &InitramfsFacts,
    source: &SpliceSource,
    policy: &Policy,
    lacking: &str,
) -> Result<(), Problem> {
    let path = &initramfs.path;
    match (policy.initramfs, &source.blocked) {
        (InitramfsMode::Keep, _) => Err((
            "initramfs-lacks-virtio",
            format!("{path} lacks {lacking} and is to be kept; use --initramfs auto"),
        )),
        (_, Some(why)) => Err((
            "splice-not-possible",
            format!("{path} lacks {lacking} and appending would not help: {why}"),
        )),
        (_, None) => Ok(()),
    }
}

/// Files that override embedded configuration, and the devices for which none can be made.
fn overrides(
    facts: &Facts,
    initramfs: &InitramfsFacts,
    source: &SpliceSource,
    target: &Target,
) -> (Vec<Member>, String) {
    let mut members = Vec::new();
    let mut left = Vec::new();
    let mut seen = BTreeSet::new();
    for device in vanishing(initramfs, target) {
        if !seen.insert(&device.file) {
            continue;
        }
        let content = match source.configs.get(&device.file) {
            Some(body) => devices::rewrite(&device.file, body, facts, target.disk_bus),
            // An empty file masks a device unit and disarms a hook.
            None => Some(Vec::new()),
        };
        match content {
            Some(content) => members.push(Member {
                name: device.file.clone(),
                what: MemberKind::Bytes(content),
            }),
            None => left.push(format!("{} ({})", device.device, device.file)),
        }
    }
    let hidden: BTreeSet<&str> = lvm::hiding(facts, initramfs)
        .map(|filter| filter.file.as_str())
        .collect();
    members.extend(hidden.into_iter().filter_map(|file| {
        let bytes = lvm::opened(facts, file, source.configs.get(file)?);
        Some(Member {
            name: file.to_owned(),
            what: MemberKind::Bytes(bytes),
        })
    }));
    (members, left.join(", "))
}

/// The embedded device names that the target will not have.
pub(super) fn vanishing<'a>(
    initramfs: &'a InitramfsFacts,
    target: &Target,
) -> impl Iterator<Item = &'a crate::inspect::facts::EmbeddedDevice> {
    let bus = target.disk_bus;
    let all = initramfs.device_names.iter();
    all.filter(move |device| devices::vanishes(&device.device, bus))
}

fn module_members(source: &SpliceSource) -> impl Iterator<Item = Member> {
    let dirs = source.dirs.iter().map(|name| (name, MemberKind::Dir));
    let copies = source.copies.iter().map(|copy| {
        let from = copy.from.clone();
        let what = match copy.unpack {
            true => MemberKind::Unpack(from),
            false => MemberKind::Copy(from),
        };
        (&copy.name, what)
    });
    let indexes = source.indexes.iter();
    let indexes = indexes.map(|(name, bytes)| (name, MemberKind::Bytes(bytes.to_vec())));
    let scripts = source.scripts.iter();
    let scripts = scripts.map(|(name, bytes)| (name, MemberKind::Program(bytes.to_vec())));
    dirs.chain(copies)
        .chain(indexes)
        .chain(scripts)
        .map(|(name, what)| Member {
            name: name.clone(),
            what,
        })
}

/// Asks for room on the filesystem that holds the initramfs, next to what was asked before.
fn room(
    facts: &Facts,
    initramfs: &InitramfsFacts,
    source: &SpliceSource,
    members: &[Member],
    needed: &mut BTreeMap<String, u64>,
) -> Result<(), String> {
    let size = members.iter().fold(RESERVE, |sum, member| {
        let body = match &member.what {
            MemberKind::Dir => 0,
            MemberKind::Bytes(bytes) | MemberKind::Program(bytes) => bytes.len() as u64,
            MemberKind::Copy(_) | MemberKind::Unpack(_) => source
                .copies
                .iter()
                .find(|copy| copy.name == member.name)
                .map_or(0, |copy| copy.size),
        };
        sum.saturating_add(body).saturating_add(MEMBER_OVERHEAD)
    });
    let path = GuestPath::new(&initramfs.path);
    let mounts = facts.mounts.iter();
    let Some(mount) = mounts
        .filter(|mount| path.below(&GuestPath::new(&mount.at)).is_some())
        .max_by_key(|mount| mount.at.len())
    else {
        return Ok(());
    };
    let total = needed.entry(mount.at.clone()).or_insert(0);
    let sum = total.saturating_add(size);
    if sum > mount.free_bytes {
        return Err(format!(
            "{} has {} KiB free and {} KiB are needed to append to its initramfs images",
            mount.at,
            mount.free_bytes >> 10,
            sum >> 10
        ));
    }
    *total = sum;
    Ok(())
}

#[cfg(test)]
mod tests;
