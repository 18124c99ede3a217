// SPDX-License-Identifier: Apache-2.0
//! Boot loaders: which kernels start with which arguments, and arguments that hold on the new
//! machine, now and after the guest's own tools have written their menus anew. A file that is not
//! understood is left alone and told.

use std::collections::BTreeSet;

use super::devices;
use super::fstab::unparsable;
use super::gather::Gatherer;
use super::text::{self, Edits};
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

pub mod bls;
pub mod choice;
pub mod cmdline;
pub mod defaults;
pub mod device_map;
pub mod efi;
pub mod entry;
pub mod extlinux;
pub mod generators;
pub mod grub2;
pub mod grubenv;
pub mod kernel_cmdline;
pub mod legacy;
mod pe;
pub mod script;
pub mod systemd_boot;
pub mod uki;
pub mod version;

const TOPIC: &str = "bootloader";

/// Where GRUB 2 keeps its menu, by distribution.
const GRUB_DIRS: [&str; 2] = ["/boot/grub", "/boot/grub2"];
/// Where EFI guests may keep it.
const EFI_DIRS: [&str; 2] = ["/boot/efi/EFI", "/efi/EFI"];
/// Menus of GRUB, old and new, and its environment block.
const MENUS: [&str; 4] = ["grub.cfg", "grubenv", "menu.lst", "grub.conf"];
/// Links to kernels, which a menu may name.
const KERNEL_LINKS: [&str; 4] = [
    "/vmlinuz",
    "/vmlinuz.old",
    "/boot/vmlinuz",
    "/boot/vmlinuz.old",
];
/// Entries of the administrator's own, which grub-mkconfig copies into the menu.
const CUSTOM: [&str; 2] = ["/etc/grub.d/40_custom", "/etc/grub.d/41_custom"];
const DEBCONF: &str = "/var/cache/debconf/config.dat";

/// More entry files than these are not read: the newest are.
const MAX_FRAGMENTS: usize = 512;

/// Every menu of GRUB 2 that could be read, with its path; [`entry::menus`] knows all loaders.
pub fn parse(sources: &Sources) -> Vec<(&str, grub2::Menu)> {
    named(sources, &["/grub.cfg", "/custom.cfg"])
        .filter_map(|(path, bytes)| Some((path, grub2::parse(bytes).ok()?)))
        .collect()
}

/// Stable device names and a serial console for every entry, now and after the next regeneration;
/// and a default entry whose kernel can start.
pub fn propose(facts: &Facts, target: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let moved = choice::needed(facts, target.disk_bus);
    let mut steps = moved.as_ref().map(|m| m.steps.clone()).unwrap_or_default();
    out.concerns.extend(moved.as_ref().map(choice::concern));
    let main = steps.remove(defaults::MAIN);
    let alpine = steps.remove(generators::UPDATE_EXTLINUX);
    for (path, bytes) in files(&facts.sources) {
        let step = steps.remove(path);
        if text::is_binary(bytes) {
            out.concerns.push(unparsable(path));
            continue;
        }
        match edit(facts, path, bytes, step.as_deref()) {
            Ok((new, concerns)) => {
                out.concerns.extend(concerns);
                let why = "boot with device names that hold on KubeVirt, and with a serial console";
                out.changes
                    .extend(Change::edit(TOPIC, why, &facts.sources, path, new));
            }
            Err(error) => out.concerns.push(Concern::warning(
                "unparsable-file",
                format!("{path} was left alone: {error}"),
            )),
        }
    }
    for (path, step) in steps {
        if facts.sources.files.contains_key(&path) {
            continue;
        }
        let new = match path.ends_with("/grubenv") {
            true => grubenv::with_saved(&step).ok(),
            false => Some(systemd_boot::edit(b"", &step)),
        };
        let why = "the entry that starts by itself";
        let change = new.and_then(|new| Change::edit(TOPIC, why, &facts.sources, &path, new));
        out.changes.extend(change);
    }
    out.changes
        .extend(device_map::propose(facts, target.disk_bus));
    out.extend(defaults::propose(facts, main.as_deref()));
    out.extend(kernel_cmdline::propose(facts));
    out.extend(generators::propose(facts, alpine.as_deref()));
    out.concerns.extend(uki::concerns(facts));
    out
}

/// One file of a loader, edited; `step` is the entry to start by itself where this file chooses it.
fn edit(
    facts: &Facts,
    path: &str,
    bytes: &[u8],
    step: Option<&str>,
) -> Result<(Vec<u8>, Vec<Concern>)> {
    let name = path.rsplit('/').next().unwrap_or_default();
    if is_fragment(path) {
        let initramfs = bls::parse(name, bytes).is_some_and(|f| !f.initrd.is_empty());
        return Ok(bls::edit(facts, path, bytes, initramfs));
    }
    match name {
        "grubenv" => grubenv::edit(facts, path, bytes, step),
        "loader.conf" => Ok((
            step.map_or_else(|| bytes.to_vec(), |step| systemd_boot::edit(bytes, step)),
            Vec::new(),
        )),
        "menu.lst" | "grub.conf" => {
            let index = step.and_then(|step| step.parse().ok());
            Ok(legacy::edit(facts, path, bytes, index))
        }
        "grub.cfg" | "custom.cfg" | "40_custom" | "41_custom" => {
            let mut edits = Edits::new();
            let at = grub2::parse(bytes)?.fixed_default();
            if let Some((step, at)) = step.zip(at) {
                edits.replace(at, step);
            }
            grub2::edit(facts, path, bytes, edits)
        }
        _ => Ok(extlinux::edit(facts, path, bytes, step)),
    }
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[
    Check {
        name: "boot-entries-stable",
        what: "every boot entry names its root and resume devices by what is on the disks",
        severity: Severity::Required,
        run: entries_stable,
    },
    Check {
        name: "boot-defaults-stable",
        what: "a boot menu that the guest regenerates will name its devices in a stable way",
        severity: Severity::Advised,
        run: |facts, _| {
            let mut faults = defaults::faults(facts);
            faults.extend(kernel_cmdline::faults(facts));
            faults.extend(generators::faults(facts));
            match faults.is_empty() {
                true => Finding::pass("nothing unstable"),
                false => Finding::fail(faults.join("; ")),
            }
        },
    },
    Check {
        name: "console-serial",
        what: "every boot entry has a serial console, which virtctl console shows",
        severity: Severity::Advised,
        run: console_serial,
    },
];

/// Reads the boot loaders' files.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for dir in GRUB_DIRS {
        for name in MENUS.iter().chain(&["custom.cfg", "device.map"]) {
            gather.file(&format!("{dir}/{name}"))?;
        }
    }
    gather.file(entry::LEGACY_SAVED)?;
    for path in entry::LOADED {
        gather.file(path)?;
    }
    for dir in EFI_DIRS {
        for vendor in gather.dir(dir)? {
            for name in MENUS {
                gather.file(&format!("{dir}/{vendor}/{name}"))?;
            }
        }
    }
    for base in entry::BASES {
        gather.file(&format!("{base}/{}", systemd_boot::PATH))?;
        gather_fragments(gather, &format!("{base}/{}", bls::DIR))?;
    }
    for dir in extlinux::DIRS {
        gather.files_in(dir, |name| extlinux::is_config(dir, name))?;
    }
    for link in KERNEL_LINKS {
        gather.link(link)?;
    }
    gather.file(defaults::MAIN)?;
    gather.files_in(defaults::DIR, |name| name.ends_with(".cfg"))?;
    gather.file(defaults::MKCONFIG)?;
    for path in CUSTOM {
        gather.file(path)?;
    }
    kernel_cmdline::gather(gather)?;
    generators::gather(gather)?;
    install_device(gather)
}

/// Reads the entry files of one directory, the newest first where there are too many.
fn gather_fragments(gather: &mut Gatherer<'_>, dir: &str) -> Result<()> {
    let mut names = gather.dir(dir)?;
    names.retain(|name| name.ends_with(".conf"));
    names.sort_by(|one, other| version::package(other, one));
    if names.len() > MAX_FRAGMENTS {
        gather.concerns.push(Concern::warning(
            "many-boot-entries",
            format!(
                "{dir} holds {} entries; the newest {MAX_FRAGMENTS} of them are looked at",
                names.len()
            ),
        ));
    }
    for name in names.iter().take(MAX_FRAGMENTS) {
        gather.file(&format!("{dir}/{name}"))?;
    }
    Ok(())
}

/// Marks the kernels that a menu starts, and the one it starts by itself, which comes first. With
/// no readable menu every kernel counts as one that may be started.
pub fn mark_kernels(facts: &mut Facts) {
    let mut named = BTreeSet::new();
    let mut default = None;
    for menu in entry::menus(facts) {
        for (index, entry) in menu.entries.iter().enumerate() {
            let kernel = entry::kernel(facts, &menu, entry);
            if menu.default == Some(index) && default.is_none() {
                default = kernel;
            }
            named.extend(kernel);
        }
    }
    let blind = named.is_empty();
    for (index, kernel) in facts.kernels.iter_mut().enumerate() {
        kernel.in_boot_menu = blind || named.contains(&index);
        kernel.default = default == Some(index);
    }
    facts.kernels.sort_by_key(|kernel| !kernel.default);
}

/// Every gathered file of a loader that may be edited, each real file once.
fn files(sources: &Sources) -> impl Iterator<Item = (&str, &[u8])> {
    let is_extlinux = |path: &str| {
        extlinux::DIRS
            .iter()
            .any(|dir| entry::extlinux_files(sources, dir).any(|have| have == path))
    };
    let mut seen = BTreeSet::new();
    let all = sources.files.iter();
    all.filter(move |(path, _)| {
        let menu = MENUS.iter().chain(&["custom.cfg", "loader.conf"]);
        let named = menu
            .into_iter()
            .any(|name| path.rsplit('/').next() == Some(*name));
        (on_boot(path) && (named || is_fragment(path)))
            || is_extlinux(path)
            || (CUSTOM.contains(&path.as_str()) && is_copied(sources, path))
    })
    .filter(move |(_, file)| seen.insert(&file.real))
    .map(|(path, file)| (path.as_str(), file.content.as_slice()))
}

/// The script copies itself from its third line on, so that all else in it is a part of a menu.
fn is_copied(sources: &Sources, path: &str) -> bool {
    let text = sources.text(path).unwrap_or_default();
    let line = text.lines().nth(1).unwrap_or_default();
    line.starts_with("exec tail -n +3")
}

fn is_fragment(path: &str) -> bool {
    let parent = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    parent.ends_with(bls::DIR) && path.ends_with(".conf")
}

fn on_boot(path: &str) -> bool {
    path.starts_with("/boot/") || path.starts_with("/efi/")
}

/// Gathered files of the partitions that hold loaders, by the end of their names, each real file
/// once.
fn named<'a>(sources: &'a Sources, ends: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let mut seen = BTreeSet::new();
    let all = sources.files.iter();
    all.filter(|(path, _)| on_boot(path) && ends.iter().any(|end| path.ends_with(end)))
        .filter(move |(_, file)| seen.insert(&file.real))
        .map(|(path, file)| (path.as_str(), file.content.as_slice()))
}

/// The environment block of a menu: the one beside it, else the only one there is; where there is
/// none, its place. One that has several names is told by its first, as [`files`] does.
fn environment_path(sources: &Sources, menu: &str) -> Option<String> {
    let (dir, _) = menu.rsplit_once('/')?;
    let beside = format!("{dir}/grubenv");
    let all = || named(sources, &["/grubenv"]).map(|(path, _)| path);
    let Some(file) = sources.files.get(&beside) else {
        let mut others = all();
        return match (others.next(), others.next()) {
            (Some(path), None) => Some(path.to_owned()),
            _ => Some(beside),
        };
    };
    let same = |path: &&str| {
        let have = sources.files.get(*path);
        have.is_some_and(|have| have.real == file.real)
    };
    all().find(same).map(str::to_owned)
}

/// A variable of a menu's environment block.
fn environment(sources: &Sources, menu: &str, name: &str) -> Option<String> {
    let block = sources.bytes(&environment_path(sources, menu)?)?;
    let variables = grubenv::parse(block).ok()?;
    let mut variables = variables.into_iter();
    variables.find(|v| v.name == name).map(|v| v.value)
}

/// Debian remembers by which name GRUB was written to the disk; an update of GRUB asks again when
/// that name is gone. It boots all the same, so this is told and not changed.
fn install_device(gather: &mut Gatherer<'_>) -> Result<()> {
    let Some(bytes) = gather
        .tree()
        .read_up_to(&DEBCONF.into(), 16 << 20)
        .or_else(|error| {
            (error.code == "file-too-large")
                .then_some(None)
                .ok_or(error)
        })?
    else {
        return Ok(());
    };
    let mut ours = false;
    for line in text::lines(&bytes) {
        let line = line.text();
        if let Some(name) = line.strip_prefix("Name: ") {
            ours = name == "grub-pc/install_devices";
        }
        let device = line
            .strip_prefix("Value: ")
            .filter(|_| ours)
            .unwrap_or_default();
        if devices::is_unstable(device) {
            gather.concerns.push(Concern::information(
                "grub-install-device",
                format!("an update of the package grub-pc will ask where to install GRUB, because it remembers {device}; answer with the new disk, or run dpkg-reconfigure grub-pc"),
            ));
        }
    }
    Ok(())
}

fn entries_stable(facts: &Facts, _: &Target) -> Finding {
    let menus = named(&facts.sources, &["/grub.cfg", "/custom.cfg"]);
    let broken = menus.filter_map(|(path, bytes)| {
        let error = grub2::parse(bytes).err()?;
        Some(format!("{path}: {error}"))
    });
    let mut faults: Vec<String> = broken.collect();
    let mut seen = 0_usize;
    let mut judge = |name: &str, args: &mut dyn Iterator<Item = &str>| {
        let devices = args.filter_map(cmdline::device_of);
        let bad = devices.filter_map(|device| devices::fault(facts, device));
        faults.extend(bad.map(|fault| format!("{name}: {fault}")));
    };
    for menu in entry::menus(facts) {
        for entry in &menu.entries {
            seen = seen.saturating_add(1);
            judge(&entry.image, &mut entry.args.iter().map(String::as_str));
        }
    }
    for (path, bytes) in named(&facts.sources, &["/grubenv"]) {
        let options = grubenv::parse(bytes).unwrap_or_default();
        for options in options.iter().filter(|v| v.name == "kernelopts") {
            judge(path, &mut options.value.split_whitespace());
        }
    }
    match (seen, faults.is_empty()) {
        (0, true) => Finding::fail("no boot menu that guestfix can read names a kernel"),
        (n, true) => Finding::pass(format!("{n} entries, all stable")),
        _ => Finding::fail(faults.join("; ")),
    }
}

fn console_serial(facts: &Facts, _: &Target) -> Finding {
    if cmdline::serial_port(&facts.guest.arch).is_none() {
        return Finding::skip(format!("no serial port is known for {}", facts.guest.arch));
    }
    let menus = entry::menus(facts);
    let entries: Vec<_> = menus.iter().flat_map(|menu| &menu.entries).collect();
    let serial =
        |entry: &&&entry::Entry| !cmdline::has_serial(entry.args.iter().map(String::as_str));
    match entries.iter().find(serial) {
        None if entries.is_empty() => Finding::skip("no boot entry was read"),
        None => Finding::pass(format!("{} entries", entries.len())),
        Some(entry) => Finding::fail(format!("the entry of {} has none", entry.image)),
    }
}

#[cfg(test)]
mod tests;
