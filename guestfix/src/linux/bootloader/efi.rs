// SPDX-License-Identifier: Apache-2.0
//! The EFI system partition: a VM on KubeVirt starts without the boot entries that the guest once
//! wrote into its firmware's variables, so the loader must also lie where firmware looks by itself:
//! `\EFI\BOOT\BOOT<machine>.EFI` (UEFI specification 2.10, section 3.5.1.1). Shim is copied together
//! with the GRUB that it starts, so that Secure Boot still holds.

use super::pe;
use crate::error::Result;
use crate::fs::{GuestPath, Tree};
use crate::inspect::Facts;
use crate::inspect::efi::{EfiFacts, EfiLoader, LoaderRole};
use crate::inspect::facts::{Concern, Firmware, MountFacts};
use crate::linux::gather::Gatherer;
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

const TOPIC: &str = "efi";
/// Types of an EFI system partition: GPT (UEFI specification 2.10, section 5.3.3) and MBR.
const ESP: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];
/// Machines and how firmware, and the names of loaders, abbreviate them.
const MACHINES: [(&str, &str); 5] = [
    ("x86_64", "x64"),
    ("i386", "ia32"),
    ("aarch64", "aa64"),
    ("riscv64", "riscv64"),
    ("loongarch64", "loongarch64"),
];
/// Directories below `EFI/` and files in one of them that are looked at.
const MAX_ENTRIES: usize = 64;
/// A file may take so many bytes more than it has (Microsoft FAT Specification, section 3.1), on an
/// EFI system partition far less.
const LARGEST_CLUSTER: u64 = 32 << 10;

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "efi-fallback-loader",
    what: "a guest that starts by UEFI has its loader where firmware looks without boot entries",
    severity: Severity::Required,
    run: check,
}];

/// Reads what the EFI system partition holds.
///
/// # Errors
/// `Corrupt` when it is damaged.
pub fn gather(gather: &mut Gatherer<'_>, facts: &mut Facts) -> Result<()> {
    let Some(mount) = esp(facts).filter(|_| facts.firmware == Firmware::Efi) else {
        return Ok(());
    };
    let mut efi = EfiFacts {
        volume: mount.volume.clone(),
        at: mount.at.clone(),
        ..EfiFacts::default()
    };
    let top = join(&efi.at, "EFI");
    for dir in gather.dir(&top)?.into_iter().take(MAX_ENTRIES) {
        let dir = join(&top, &dir);
        for name in gather.dir(&dir)?.into_iter().take(MAX_ENTRIES) {
            if ends_with(&name, ".efi") {
                efi.loaders
                    .extend(loader(gather.tree(), &join(&dir, &name))?);
            } else if name.eq_ignore_ascii_case("grub.cfg") {
                gather.file(&join(&dir, &name))?;
            }
        }
    }
    facts.efi = Some(efi);
    Ok(())
}

/// Whether the chain is signed to its end; to be called when the kernels are known.
///
/// # Errors
/// `Corrupt` when the kernel's file cannot be read.
pub fn mark_signed(tree: &Tree, facts: &mut Facts) -> Result<()> {
    let image = facts.kernels.first().map(|kernel| kernel.image.clone());
    let Some(efi) = &mut facts.efi else {
        return Ok(());
    };
    let kernel = match image {
        Some(image) => tree.open(&GuestPath::new(&image))?,
        None => None,
    };
    let kernel = kernel.and_then(|mut file| pe::parse(file.as_mut()));
    let all = |role| {
        let mut loaders = efi.loaders.iter().filter(|l| l.role == role).peekable();
        loaders.peek().is_some() && loaders.all(|l| l.signed)
    };
    let loaders = all(LoaderRole::Shim) && all(LoaderRole::Grub);
    efi.signed = loaders && kernel.is_some_and(|kernel| kernel.signed);
    Ok(())
}

/// Copies the guest's loader to where firmware looks by itself.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    if facts.firmware != Firmware::Efi {
        return out;
    }
    let Some((efi, machine)) = facts.efi.as_ref().zip(machine(&facts.guest.arch)) else {
        out.concerns.push(Concern::critical(
            "no-efi-loader",
            "the guest starts by UEFI and its EFI system partition could not be read",
        ));
        return out;
    };
    if fault(facts, efi, machine).is_none() {
        return out;
    }
    match source(facts, efi, machine) {
        Some(source) => {
            let changes = copies(facts, efi, machine, source);
            match no_room(facts, efi, &changes) {
                Some(full) => out.concerns.push(full),
                None => out.changes = changes,
            }
        }
        None => out.concerns.push(Concern::critical(
            "no-efi-loader",
            format!(
                "{} holds no loader for {}: install the guest's own (grub-install, bootctl \
                 install) while it still runs, or give the VM a firmware that fits",
                efi.volume, facts.guest.arch
            ),
        )),
    }
    out
}

fn check(facts: &Facts, _: &Target) -> Finding {
    if facts.firmware != Firmware::Efi {
        return Finding::skip("the guest starts by BIOS");
    }
    let Some((efi, machine)) = facts.efi.as_ref().zip(machine(&facts.guest.arch)) else {
        return Finding::fail("the EFI system partition could not be read");
    };
    match fault(facts, efi, machine) {
        Some(fault) => Finding::fail(fault),
        None => Finding::pass(format!(
            "{}{}",
            fallback(efi, machine),
            if efi.signed {
                ", signed throughout"
            } else {
                ""
            }
        )),
    }
}

/// What is wrong with the loader that firmware finds by itself.
fn fault(facts: &Facts, efi: &EfiFacts, machine: &str) -> Option<String> {
    let path = fallback(efi, machine);
    let Some(loader) = find(efi, &path) else {
        return Some(format!("there is no {path}"));
    };
    if loader.arch != facts.guest.arch {
        return Some(format!("{path} is for {}", loader.arch));
    }
    let beside = |name: &str| find(efi, &in_boot(efi, name)).is_some();
    let second = beside(&format!("grub{machine}.efi")) || beside(&format!("fb{machine}.efi"));
    if role_of(efi, loader) == LoaderRole::Shim && !second {
        return Some(format!(
            "{path} is shim, and the loader that it starts is not beside it"
        ));
    }
    None
}

/// The loader to copy: with shim before without, the guest's own vendor before others.
fn source<'a>(facts: &Facts, efi: &'a EfiFacts, machine: &str) -> Option<&'a EfiLoader> {
    let distro = facts.guest.distro.clone().unwrap_or_default();
    let boot = in_boot(efi, "");
    let usable = efi.loaders.iter().filter(|loader| {
        let grub = format!("{}/grub{machine}.efi", dir_of(&loader.path));
        let complete = match loader.role {
            LoaderRole::Shim => find(efi, &grub).is_some(),
            LoaderRole::Grub | LoaderRole::SystemdBoot => true,
            _ => false,
        };
        complete && loader.arch == facts.guest.arch && !starts_with(&loader.path, &boot)
    });
    usable.min_by_key(|loader| {
        let rank = match loader.role {
            LoaderRole::Shim => 0,
            LoaderRole::Grub => 1,
            _ => 2,
        };
        let theirs = dir_of(&loader.path).rsplit('/').next();
        let foreign = theirs.is_none_or(|name| !name.eq_ignore_ascii_case(&distro));
        (foreign, rank, loader.path.len())
    })
}

fn copies(facts: &Facts, efi: &EfiFacts, machine: &str, source: &EfiLoader) -> Vec<Change> {
    let dir = dir_of(&source.path);
    let mut wanted = vec![(source, fallback(efi, machine))];
    if source.role == LoaderRole::Shim {
        for name in [format!("grub{machine}.efi"), format!("mm{machine}.efi")] {
            let beside = find(efi, &format!("{dir}/{name}"));
            wanted.extend(beside.map(|loader| (loader, in_boot(efi, &name))));
        }
    }
    let why = "firmware without boot entries starts the loader from here";
    let mut changes = Vec::new();
    for (loader, path) in wanted {
        if let Some(old) = find(efi, &path) {
            if old.size == loader.size && old.role == loader.role {
                continue;
            }
            let path = GuestPath::new(&old.path);
            let why = "the loader here does not start this guest";
            changes.push(Change::new(TOPIC, why, Action::RemoveFile { path }, None));
        }
        let action = Action::CopyFile {
            from: GuestPath::new(&loader.path),
            path: GuestPath::new(&path),
            len: loader.size,
        };
        changes.push(Change::new(TOPIC, why, action, None));
    }
    changes.extend(stub(facts, efi, dir));
    changes
}

/// What to say when the files have no room. What is removed may be less than it seems, so nothing
/// is counted for it.
fn no_room(facts: &Facts, efi: &EfiFacts, changes: &[Change]) -> Option<Concern> {
    let size = |change: &Change| match &change.action {
        Some(Action::CopyFile { len, .. }) => Some(*len),
        Some(Action::WriteFile { content, .. }) => Some(content.len() as u64),
        _ => None,
    };
    let sizes = changes.iter().filter_map(size);
    let needed = sizes.fold(0_u64, |sum, size| {
        sum.saturating_add(size).saturating_add(LARGEST_CLUSTER)
    });
    let mount = facts.mounts.iter().find(|mount| mount.at == efi.at)?;
    if needed <= mount.free_bytes {
        return None;
    }
    Some(Concern::critical(
        "esp-full",
        format!(
            "{} ({}) has {} KiB free and {} KiB are needed for the loader that firmware finds by \
             itself; free some space on the EFI system partition in the guest first",
            efi.at,
            efi.volume,
            mount.free_bytes >> 10,
            needed.div_ceil(1024)
        ),
    ))
}

/// A GRUB that looks for its menu beside itself finds one here that leads to the vendor's.
fn stub(facts: &Facts, efi: &EfiFacts, dir: &str) -> Option<Change> {
    let menu = format!("{dir}/grub.cfg");
    let have = |path: &str| {
        facts
            .sources
            .files
            .keys()
            .any(|f| f.eq_ignore_ascii_case(path))
    };
    let path = in_boot(efi, "grub.cfg");
    if !have(&menu) || have(&path) {
        return None;
    }
    let uuid = facts.volume(&efi.volume)?.content.uuid.as_deref()?;
    let inside = menu.strip_prefix(&efi.at)?;
    let prefix = dir.strip_prefix(&efi.at)?;
    let text = format!(
        "# Written by guestfix: leads to the menu of the guest's own loader.\n\
         search --no-floppy --fs-uuid --set=root {uuid}\n\
         set prefix=($root){prefix}\n\
         configfile ($root){inside}\n"
    );
    let why = "a GRUB that was started from here looks for its menu here";
    Change::edit(TOPIC, why, &facts.sources, &path, text)
}

fn loader(tree: &Tree, path: &str) -> Result<Option<EfiLoader>> {
    let place = GuestPath::new(path);
    let Some(mut file) = tree.open(&place)? else {
        return Ok(None);
    };
    let size = tree.stat(&place)?.map_or(0, |meta| meta.len);
    let program = pe::parse(file.as_mut()).unwrap_or_default();
    Ok(Some(EfiLoader {
        path: path.to_owned(),
        role: role(path, &program.components),
        arch: program.arch.unwrap_or("unknown").to_owned(),
        signed: program.signed,
        size,
    }))
}

fn role(path: &str, components: &[String]) -> LoaderRole {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let named = [
        ("shim", LoaderRole::Shim),
        ("grub", LoaderRole::Grub),
        ("systemd-boot", LoaderRole::SystemdBoot),
        ("mm", LoaderRole::MokManager),
        ("fb", LoaderRole::Fallback),
        ("bootmgfw", LoaderRole::WindowsBootManager),
    ];
    let by_name = named.iter().find(|(start, _)| name.starts_with(start));
    // Shim's helpers call themselves shim as well, so their names go first.
    let by_content = || {
        named
            .iter()
            .find(|(name, _)| components.iter().any(|c| c == name))
    };
    by_name
        .or_else(by_content)
        .map_or(LoaderRole::Other, |(_, role)| *role)
}

/// An old shim does not say what it is, but is as long as the one it was copied from.
fn role_of(efi: &EfiFacts, loader: &EfiLoader) -> LoaderRole {
    if loader.role != LoaderRole::Other {
        return loader.role;
    }
    let mut same = efi.loaders.iter().filter(|l| l.size == loader.size);
    same.find(|l| l.role != LoaderRole::Other)
        .map_or(LoaderRole::Other, |l| l.role)
}

fn esp(facts: &Facts) -> Option<&MountFacts> {
    facts.mounts.iter().find(|mount| {
        let volume = facts.volume(&mount.volume);
        let ty = volume.and_then(|volume| volume.part_type.as_deref());
        ty.is_some_and(|ty| ESP.contains(&ty))
    })
}

fn machine(arch: &str) -> Option<&'static str> {
    let mut machines = MACHINES.iter();
    machines.find(|(name, _)| *name == arch).map(|(_, m)| *m)
}

fn fallback(efi: &EfiFacts, machine: &str) -> String {
    in_boot(efi, &format!("BOOT{}.EFI", machine.to_ascii_uppercase()))
}

fn in_boot(efi: &EfiFacts, name: &str) -> String {
    join(&join(&efi.at, "EFI/BOOT"), name)
}

fn find<'a>(efi: &'a EfiFacts, path: &str) -> Option<&'a EfiLoader> {
    let mut loaders = efi.loaders.iter();
    loaders.find(|loader| loader.path.eq_ignore_ascii_case(path))
}

fn join(dir: &str, name: &str) -> String {
    format!("{}/{name}", dir.trim_end_matches('/'))
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn starts_with(path: &str, start: &str) -> bool {
    path.get(..start.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(start))
}

fn ends_with(name: &str, end: &str) -> bool {
    name.to_ascii_lowercase().ends_with(end)
}

#[cfg(test)]
mod tests;
