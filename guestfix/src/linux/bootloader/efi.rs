// SPDX-License-Identifier: Apache-2.0
//! The EFI system partition: a VM on KubeVirt starts without the boot entries that the guest once
//! wrote into its firmware's variables, so the loader must also lie where firmware looks by itself:
//! `\EFI\BOOT\BOOT<machine>.EFI` (UEFI specification 2.10, section 3.5.1.1). Shim is copied together
//! with the GRUB that it starts, its manager of keys and its certificates and revocations, so that
//! Secure Boot still holds. Its fallback program is never copied: started from there without a list
//! it starts again and again (README.fallback of <https://github.com/rhboot/shim>).

use super::{pe, uki};
use crate::error::Result;
use crate::fs::{GuestPath, Tree};
use crate::inspect::Facts;
use crate::inspect::efi::{EfiFacts, EfiLoader, LoaderRole};
use crate::inspect::facts::{Concern, Firmware, MountFacts};
use crate::linux::gather::Gatherer;
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

mod loaders;

use loaders::{
    beside, dir_of, ends_with, fallback, find, in_boot, is_listed, is_shim_data, join, loader,
    machine, name_of, role_of, starts_with,
};

const TOPIC: &str = "efi";
/// Types of an EFI system partition: GPT (UEFI specification 2.10, section 5.3.3) and MBR.
const ESP: [&str; 2] = ["c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0xef"];
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
            } else if name.eq_ignore_ascii_case("grub.cfg") || ends_with(&name, ".csv") {
                gather.file(&join(&dir, &name))?;
            }
        }
    }
    efi.unified_kernels = uki::gather(gather, &efi.at)?;
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
    if facts.guest.arch == "i386" {
        out.concerns.push(Concern::warning(
            "efi-32-bit",
            "the guest starts by 32-bit UEFI, which KubeVirt's firmware for x86 is not: give the VM \
             a 32-bit firmware, or install the guest's 64-bit loader first",
        ));
    }
    if fault(facts, efi, machine).is_none() {
        return out;
    }
    match source(facts, efi, machine) {
        Some(source) => {
            let changes = copies(facts, efi, machine, source);
            out.concerns.extend(stale(source));
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
    if role_of(efi, loader) != LoaderRole::Shim {
        return None;
    }
    let boot = in_boot(efi, "");
    match (
        beside(efi, &boot, LoaderRole::Fallback).next(),
        is_listed(facts, efi),
    ) {
        (Some(_), true) => None,
        (Some(fallback), false) => Some(format!(
            "{path} is shim, and {} finds no vendor's list (BOOT{}.CSV) of what to start",
            fallback.path,
            machine.to_ascii_uppercase()
        )),
        (None, _) if beside(efi, &boot, LoaderRole::Grub).next().is_some() => None,
        (None, _) => Some(format!(
            "{path} is shim, and the loader that it starts is not beside it"
        )),
    }
}

/// The loader to copy: with shim before without, the guest's own vendor before others.
fn source<'a>(facts: &Facts, efi: &'a EfiFacts, machine: &str) -> Option<&'a EfiLoader> {
    let distro = facts.guest.distro.clone().unwrap_or_default();
    let boot = in_boot(efi, "");
    let usable = efi.loaders.iter().filter(|loader| {
        let complete = match loader.role {
            LoaderRole::Shim => beside(efi, dir_of(&loader.path), LoaderRole::Grub)
                .next()
                .is_some(),
            LoaderRole::Grub | LoaderRole::SystemdBoot | LoaderRole::UnifiedKernel => true,
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
        // A kernel itself serves where there is no loader: the default one, else the newest.
        let kernel = (loader.role == LoaderRole::UnifiedKernel).then(|| {
            let mut kernels = facts.kernels.iter();
            kernels
                .position(|k| k.image == loader.path)
                .unwrap_or(usize::MAX)
        });
        // A copy of GRUB under another machine's name is no better than the one under its own.
        let odd = !loader.path.to_ascii_lowercase().contains(machine);
        (kernel, foreign, rank, odd, loader.path.len())
    })
}

/// What to say when a kernel itself is put where firmware looks.
fn stale(source: &EfiLoader) -> Option<Concern> {
    (source.role == LoaderRole::UnifiedKernel).then(|| {
        let message = format!(
            "there is no boot loader, so {} itself is copied to where firmware looks: copy it again \
             after each update of the kernel, or install a loader (bootctl install)",
            source.path
        );
        Concern::warning("efi-loader-is-kernel", message)
    })
}

fn copies(facts: &Facts, efi: &EfiFacts, machine: &str, source: &EfiLoader) -> Vec<Change> {
    let dir = dir_of(&source.path);
    let mut wanted = vec![(source, fallback(efi, machine))];
    let mut changes = Vec::new();
    if source.role == LoaderRole::Shim {
        let mut companions: Vec<&EfiLoader> = beside(efi, dir, LoaderRole::Grub).collect();
        companions.extend(beside(efi, dir, LoaderRole::MokManager));
        companions.extend(beside(efi, dir, LoaderRole::Other).filter(|l| is_shim_data(&l.path)));
        for loader in companions {
            wanted.push((loader, in_boot(efi, name_of(&loader.path))));
        }
        // Shim would start it rather than GRUB, and without a list it finds nothing to start.
        let unlisted = !is_listed(facts, efi);
        let boot = in_boot(efi, "");
        for fallback in beside(efi, &boot, LoaderRole::Fallback).filter(|_| unlisted) {
            let path = GuestPath::new(&fallback.path);
            let why = "shim starts it first, and it finds no list of what to start";
            changes.push(Change::new(TOPIC, why, Action::RemoveFile { path }, None));
        }
    }
    let why = "firmware without boot entries starts the loader from here";
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

fn esp(facts: &Facts) -> Option<&MountFacts> {
    facts.mounts.iter().find(|mount| {
        let volume = facts.volume(&mount.volume);
        let ty = volume.and_then(|volume| volume.part_type.as_deref());
        ty.is_some_and(|ty| ESP.contains(&ty))
    })
}

#[cfg(test)]
mod tests;
