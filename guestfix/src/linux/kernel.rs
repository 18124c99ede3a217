// SPDX-License-Identifier: Apache-2.0
//! The guest's kernels: their images, modules and initramfs, and where each finds the drivers
//! that the target's buses need.
#![deny(clippy::arithmetic_side_effects)]

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::bootloader::uki;
use super::gather::Gatherer;
use super::initramfs::tools::{TOOLS, dracut, mkinitcpio};
use super::initramfs::{ahead::read_initramfs_ahead, known::read_initramfs_known, splice};
use super::modules::Modules;
use crate::error::Result;
use crate::fs::{FileType, GuestPath, Tree};
use crate::inspect::Facts;
use crate::inspect::facts::{DriverAt, InitramfsFacts, KernelFacts, SpliceSource, VolumeFacts};
use crate::plan::Bus;

mod find;

/// What some bus of KubeVirt needs. `virtio_net` is not among them: in an initramfs it would name
/// the network card before the guest's own rule does.
pub const DRIVERS: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ahci"];

/// The drivers of one bus.
pub fn drivers_of(bus: Bus) -> &'static [&'static str] {
    match bus {
        Bus::Virtio => &["virtio_pci", "virtio_blk"],
        Bus::Scsi => &["virtio_pci", "virtio_scsi", "sd_mod"],
        Bus::Sata => &["ahci", "sd_mod"],
    }
}

/// A kernel image found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The image.
    pub path: GuestPath,
    /// What its name says behind `vmlinuz-`: the version, or a flavour; empty for a bare name.
    pub label: String,
    /// Where its initramfs may be, likeliest first.
    pub initramfs: Vec<GuestPath>,
    /// A unified kernel image: the initramfs is inside.
    pub unified: bool,
}

/// Tells kernel images from other files of a boot directory.
pub fn parse(dir: &GuestPath, names: &[Vec<u8>]) -> Vec<Image> {
    const STEMS: [&str; 6] = ["vmlinuz", "vmlinux", "kernel", "bzImage", "Image", "zImage"];
    let texts = names
        .iter()
        .filter_map(|name| std::str::from_utf8(name).ok());
    let image = |name: &str| {
        let label = STEMS.iter().find_map(|stem| {
            let rest = name.strip_prefix(stem)?;
            let rest = rest.strip_suffix(".gz").unwrap_or(rest);
            rest.is_empty()
                .then_some("")
                .or_else(|| rest.strip_prefix('-'))
        })?;
        Some(Image {
            path: dir.join(name),
            label: label.to_owned(),
            initramfs: spellings(dir, label),
            unified: false,
        })
    };
    texts.filter_map(image).collect()
}

/// How distributions name the initramfs of a release or flavour.
fn spellings(dir: &GuestPath, label: &str) -> Vec<GuestPath> {
    let names = match label {
        "" => [
            "initrd.img",
            "initramfs.img",
            "initrd",
            "initramfs",
            "initrd.gz",
            "initramfs-linux.img",
        ]
        .map(str::to_owned),
        label => [
            format!("initrd.img-{label}"),
            format!("initramfs-{label}.img"),
            format!("initrd-{label}"),
            format!("initramfs-{label}"),
            format!("initrd-{label}.img"),
            format!("booster-{label}.img"),
        ],
    };
    names.iter().map(|name| dir.join(name)).collect()
}

/// Fills in `facts.kernels`, newest version first, and what splicing needs. Which of them the boot
/// loader starts is its topic's to say.
///
/// # Errors
/// `Corrupt` when a filesystem is damaged.
pub fn gather(tree: &Tree, facts: &mut Facts) -> Result<()> {
    let found = find::all(tree, facts)?;
    facts.concerns.extend(found.concerns);
    facts.sources.links.extend(found.links);
    let mut last: Option<(String, Modules)> = None;
    for (image, version) in found.images {
        // Indexes take some megabytes per kernel: only those at hand are kept.
        let modules = match last.take().filter(|(of, _)| *of == version) {
            Some((_, modules)) => modules,
            None => read_modules(tree, &version)?,
        };
        kernel(tree, facts, &image, version.clone(), &modules)?;
        last = Some((version, modules));
    }
    facts.kernels.sort_by(|one, other| {
        newer_first(&one.version, &other.version).then_with(|| one.image.cmp(&other.image))
    });
    gather_generators(tree, facts)
}

/// The release in an x86 kernel image's setup header (`kernel_version`, at 0x20e).
///
/// Format: <https://docs.kernel.org/arch/x86/boot.html>.
fn image_version(head: &[u8]) -> Option<String> {
    (head.get(0x202..0x206)? == b"HdrS").then_some(())?;
    let pointer = <[u8; 2]>::try_from(head.get(0x20e..0x210)?).ok()?;
    let start = usize::from(u16::from_le_bytes(pointer)).checked_add(0x200)?;
    let text = head.get(start..)?.split(|byte| *byte == 0).next()?;
    let version = std::str::from_utf8(text).ok()?.split(' ').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~".contains(c);
    (version.starts_with(|c: char| c.is_ascii_digit()) && version.chars().all(plain))
        .then(|| version.to_owned())
}

/// Reads a kernel's module index texts.
fn read_modules(tree: &Tree, version: &str) -> Result<Modules> {
    let dir = find::modules_dir(tree, version)?;
    let text = |name: &str| -> Result<String> {
        let bytes = tree.read_up_to(&dir.join(name), 16 << 20)?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    Ok(Modules::parse(
        &text("modules.dep")?,
        &text("modules.alias")?,
        &text("modules.softdep")?,
        &text("modules.builtin")?,
    ))
}

fn kernel(
    tree: &Tree,
    facts: &mut Facts,
    image: &Image,
    version: String,
    modules: &Modules,
) -> Result<()> {
    let dir = find::modules_dir(tree, &version)?;
    let mut inside = BTreeSet::new();
    let mut initramfs: Option<InitramfsFacts> = None;
    for path in &image.initramfs {
        let Some(file) = tree.open(path)? else {
            continue;
        };
        let mut read = match image.unified {
            true => match uki::initramfs(file) {
                Some((inside, _)) => read_initramfs_ahead(inside, &version),
                None => break,
            },
            false => read_initramfs_known(file, &path.display(), &version),
        };
        read.facts.path = path.display();
        if !image.unified {
            read.facts.size = tree.stat(path)?.map_or(0, |meta| meta.len);
        }
        let modules_dir = read.facts.modules_dir.as_deref().unwrap_or_default();
        inside = read.contents.loadable(modules_dir);
        let drivers = wanted(facts, modules, &inside);
        let source = splice::prepare(tree, &version, &dir, modules, &read.contents, &drivers)?;
        facts.sources.splices.insert(path.display(), source);
        let listing = read.contents.listing.clone();
        facts.sources.listings.insert(path.display(), listing);
        initramfs = Some(read.facts);
        break;
    }
    let names: BTreeSet<String> = wanted(facts, modules, &inside)
        .iter()
        .flat_map(|driver| modules.closure(driver))
        .collect();
    facts.kernels.push(KernelFacts {
        version,
        image: image.path.display(),
        default: false,
        in_boot_menu: false,
        modules_dir: tree.exists(&dir)?.then(|| dir.display()),
        drivers: names
            .into_iter()
            .map(|name| (name.clone(), place_of(&name, modules, &inside)))
            .collect(),
        initramfs,
    });
    Ok(())
}

fn wanted<'a>(facts: &Facts, modules: &Modules, inside: &BTreeSet<String>) -> Vec<&'a str> {
    let mut out = DRIVERS.to_vec();
    let candidates = root_drivers(facts);
    let here = |name: &&&str| modules.builtin.contains(**name) || inside.contains(**name);
    let known = |name: &&&str| modules.files.contains_key(**name);
    let driver = candidates
        .iter()
        .find(here)
        .or_else(|| candidates.iter().find(known));
    out.extend(driver);
    let present =
        |name: &&str| modules.builtin.contains(*name) || modules.files.contains_key(*name);
    out.extend(stack_drivers(facts).into_iter().filter(present));
    out
}

/// A volume, and all that it is made of, down to the disks' own.
pub fn stack_below<'a>(facts: &'a Facts, volume: &'a str) -> Vec<&'a VolumeFacts> {
    let mut left = vec![volume];
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    while let Some(name) = left.pop() {
        let Some(volume) = facts.volume(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        left.extend(volume.stack.made_of.iter().map(String::as_str));
        out.push(volume);
    }
    out
}

/// The modules that what the root lies on needs: the device mapper, arrays, encryption.
pub fn stack_drivers(facts: &Facts) -> Vec<&'static str> {
    let mut out = Vec::new();
    let root = facts.root_volume();
    let below = root.map_or_else(Vec::new, |root| stack_below(facts, &root.name));
    for volume in below {
        let made_by = volume.stack.made_by.as_deref().unwrap_or_default();
        let (by, how) = made_by.split_once(' ').unwrap_or((made_by, ""));
        let drivers: &[&str] = match (by, how) {
            ("lvm2", "mirror") => &["dm_mod", "dm_mirror"],
            ("lvm2", "raid1") => &["dm_mod", "dm_raid", "raid1"],
            ("lvm2", "raid10") => &["dm_mod", "dm_raid", "raid10"],
            ("lvm2", level) if level.starts_with("raid") => &["dm_mod", "dm_raid", "raid456"],
            ("lvm2", "thin") => &["dm_mod", "dm_thin_pool"],
            ("lvm2", _) => &["dm_mod"],
            ("luks1" | "luks2", _) => &["dm_mod", "dm_crypt"],
            ("md", "raid0") => &["md_mod", "raid0"],
            ("md", "raid1") => &["md_mod", "raid1"],
            ("md", "raid10") => &["md_mod", "raid10"],
            ("md", "linear") => &["md_mod", "linear"],
            ("md", _) => &["md_mod", "raid456"],
            _ => &[],
        };
        out.extend(drivers);
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// The modules that can mount the root, preferred first.
fn root_drivers(facts: &Facts) -> &'static [&'static str] {
    match facts.root_volume().map(|root| root.content.kind.as_str()) {
        Some("ext2") => &["ext2", "ext4"],
        Some("ext3") => &["ext3", "ext4"],
        Some("ext4") => &["ext4"],
        Some("xfs") => &["xfs"],
        Some("btrfs") => &["btrfs"],
        _ => &[],
    }
}

fn place_of(name: &str, modules: &Modules, inside: &BTreeSet<String>) -> DriverAt {
    if modules.builtin.contains(name) {
        DriverAt::BuiltIn
    } else if inside.contains(name) {
        DriverAt::Initramfs
    } else if modules.files.contains_key(name) {
        DriverAt::RootOnly
    } else {
        DriverAt::Missing
    }
}

/// What appending to this kernel's initramfs needs, where that was gathered.
pub fn splice_source<'a>(facts: &'a Facts, kernel: &KernelFacts) -> Option<&'a SpliceSource> {
    let initramfs = kernel.initramfs.as_ref()?;
    facts.sources.splices.get(&initramfs.path)
}

/// The modules that the kernel of the initramfs at `path` mounts its root with.
pub fn root_closure(facts: &Facts, path: &str) -> BTreeSet<String> {
    let closures = facts
        .sources
        .splices
        .get(path)
        .map(|source| &source.closures);
    let stack = stack_drivers(facts);
    let drivers = root_drivers(facts).iter().chain(&stack);
    let found = drivers.filter_map(|driver| closures?.get(*driver));
    found.flatten().cloned().collect()
}

/// The drivers, and all they need, that this kernel lacks at the time it looks for the root on
/// that bus; each with the place where it is.
///
/// What a driver wants softly is missed only together with the driver: generators leave out what
/// the guest does without, as initramfs-tools does with the checksums that its btrfs has not.
pub fn lacking(facts: &Facts, kernel: &KernelFacts, bus: Bus) -> Vec<(String, DriverAt)> {
    let source = splice_source(facts, kernel);
    let place = |name: &str| kernel.drivers.get(name).copied();
    let here = |at| matches!(at, Some(DriverAt::BuiltIn | DriverAt::Initramfs));
    let root = root_drivers(facts)
        .iter()
        .filter(|name| kernel.drivers.contains_key(**name));
    let mut names = BTreeSet::new();
    let stack = stack_drivers(facts);
    let stack = stack
        .iter()
        .filter(|name| kernel.drivers.contains_key(**name));
    for driver in drivers_of(bus).iter().chain(root).chain(stack) {
        let closure = source.and_then(|source| Some((source.closures.get(*driver)?, source)));
        let Some((closure, source)) = closure else {
            names.insert((*driver).to_owned());
            continue;
        };
        let loaded_without = |name: &&String| here(place(driver)) && source.soft.contains(*name);
        names.extend(closure.iter().filter(|name| !loaded_without(name)).cloned());
    }
    let missing = names.into_iter().map(|name| {
        let at = place(&name);
        (name, at.unwrap_or(DriverAt::Missing))
    });
    missing.filter(|(_, at)| !here(Some(*at))).collect()
}

/// The kernels that a boot loader entry names; all where none is marked.
pub fn bootable(facts: &Facts) -> Vec<&KernelFacts> {
    let named = |kernel: &&KernelFacts| kernel.in_boot_menu || kernel.default;
    let marked: Vec<&KernelFacts> = facts.kernels.iter().filter(named).collect();
    if marked.is_empty() {
        return facts.kernels.iter().collect();
    }
    marked
}

/// True for the kernel that starts by default: the one marked, else the first.
pub fn is_default(facts: &Facts, kernel: &KernelFacts) -> bool {
    if facts.kernels.iter().any(|kernel| kernel.default) {
        return kernel.default;
    }
    bootable(facts)
        .first()
        .is_some_and(|first| first.image == kernel.image)
}

/// Newer versions first: numbers by value, the rest by character.
fn newer_first(one: &str, other: &str) -> Ordering {
    let chunks = |text: &str| -> Vec<(u64, String)> {
        text.split_inclusive(|c: char| !c.is_ascii_digit())
            .map(|part| {
                let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
                let rest = part.strip_prefix(digits).unwrap_or_default();
                (digits.parse().unwrap_or(0), rest.to_owned())
            })
            .collect()
    };
    chunks(other).cmp(&chunks(one))
}

/// Files of one directory of a generator's configuration that are read.
const MAX_CONFIGS: usize = 100;

/// Keeps the configuration of what makes the guest's initramfs.
fn gather_generators(tree: &Tree, facts: &mut Facts) -> Result<()> {
    let mut gather = Gatherer::new(tree);
    for tool in TOOLS {
        for path in tool.programs.iter().chain(tool.marks) {
            gather.presence(path)?;
        }
        for path in tool.configuration {
            let meta = tree.stat(&GuestPath::new(path))?;
            if meta.is_some_and(|meta| meta.file_type == FileType::Dir) {
                for name in gather.dir(path)?.iter().take(MAX_CONFIGS) {
                    gather.file(&format!("{path}/{name}"))?;
                }
            } else {
                gather.file(path)?;
            }
        }
    }
    for dir in dracut::MODULES {
        gather.dir(dir)?;
    }
    // What a preset names in place of the usual file.
    for path in mkinitcpio::named_by_presets(&gather.sources) {
        gather.file(&path)?;
    }
    facts.concerns.append(&mut gather.concerns);
    facts.sources.files.append(&mut gather.sources.files);
    facts.sources.dirs.append(&mut gather.sources.dirs);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
