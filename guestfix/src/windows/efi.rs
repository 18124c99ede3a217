// SPDX-License-Identifier: Apache-2.0
//! The EFI system partition: a VM on KubeVirt starts without the boot entries that Windows once wrote
//! into its firmware's variables, so its boot manager must also lie where firmware looks by itself,
//! `\EFI\BOOT\BOOT<machine>.EFI` (UEFI specification 2.10, section 3.5.1.1). It finds its own
//! configuration by its own path on the partition, `\EFI\Microsoft\Boot\BCD`, from there too.

use super::ESP_AT;
use crate::error::Result;
use crate::fs::{GuestPath, Tree};
use crate::inspect::Facts;
use crate::inspect::efi::{EfiFacts, EfiLoader, LoaderRole};
use crate::inspect::facts::{Concern, Firmware};
use crate::inspect::program;
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// The topic's name.
pub const TOPIC: &str = "efi";
/// Directories below `EFI/`, and files in each, that are looked at.
const MAX_ENTRIES: usize = 64;
/// A file may take so many bytes more than it has.
const LARGEST_CLUSTER: u64 = 32 << 10;

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "windows-boot-manager",
    what: "a Windows guest that starts by UEFI has its boot manager where firmware looks without \
           boot entries",
    severity: Severity::Required,
    run: check,
}];

/// What the EFI system partition holds, where the guest starts from one.
///
/// # Errors
/// `Corrupt` when it is damaged.
pub(super) fn facts(tree: &Tree, facts: &Facts) -> Result<Option<EfiFacts>> {
    let mount = facts.mounts.iter().find(|mount| mount.at == ESP_AT);
    let Some(mount) = mount.filter(|_| facts.firmware == Firmware::Efi) else {
        return Ok(None);
    };
    let mut efi = EfiFacts {
        volume: mount.volume.clone(),
        at: mount.at.clone(),
        ..EfiFacts::default()
    };
    for dir in directories(tree)? {
        for name in names(tree, &dir)? {
            if name.to_lowercase().ends_with(".efi") {
                efi.loaders.extend(loader(tree, &format!("{dir}/{name}"))?);
            }
        }
    }
    let managers = || {
        let managers = efi.loaders.iter();
        managers.filter(|loader| loader.role == LoaderRole::WindowsBootManager)
    };
    efi.signed = managers().next().is_some() && managers().all(|loader| loader.signed);
    Ok(Some(efi))
}

/// The directories of vendors, and below that of Microsoft the one that holds its loaders.
fn directories(tree: &Tree) -> Result<Vec<String>> {
    let top = format!("{ESP_AT}/EFI");
    let vendors = names(tree, &top)?.into_iter();
    Ok(vendors
        .map(|vendor| match vendor.eq_ignore_ascii_case("microsoft") {
            true => format!("{top}/{vendor}/Boot"),
            false => format!("{top}/{vendor}"),
        })
        .collect())
}

fn names(tree: &Tree, dir: &str) -> Result<Vec<String>> {
    let names = tree.list(&GuestPath::new(dir))?.into_iter();
    Ok(names
        .take(MAX_ENTRIES)
        .filter_map(|name| String::from_utf8(name).ok())
        .collect())
}

fn loader(tree: &Tree, path: &str) -> Result<Option<EfiLoader>> {
    let at = GuestPath::new(path);
    let (Some(meta), Some(mut file)) = (tree.stat(&at)?, tree.open(&at)?) else {
        return Ok(None);
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    let manager = name.eq_ignore_ascii_case("bootmgfw.efi");
    let program = program::parse(file.as_mut()).unwrap_or_default();
    Ok(Some(EfiLoader {
        path: path.to_owned(),
        role: match manager {
            true => LoaderRole::WindowsBootManager,
            false => LoaderRole::Other,
        },
        arch: program.arch.unwrap_or("unknown").to_owned(),
        signed: program.signed,
        size: meta.len,
    }))
}

/// The name that firmware of this machine looks for.
fn fallback(arch: &str) -> Option<&'static str> {
    match arch {
        "x86_64" => Some("BOOTX64.EFI"),
        "i386" => Some("BOOTIA32.EFI"),
        "aarch64" => Some("BOOTAA64.EFI"),
        _ => None,
    }
}

/// The loader in the fallback path, of the guest's own machine.
fn present<'f>(facts: &Facts, efi: &'f EfiFacts) -> Option<&'f EfiLoader> {
    let wanted = format!("{ESP_AT}/EFI/BOOT/{}", fallback(&facts.guest.arch)?);
    let mut loaders = efi.loaders.iter();
    loaders
        .find(|loader| loader.path.eq_ignore_ascii_case(&wanted) && loader.arch == facts.guest.arch)
}

/// Copies the boot manager to where firmware looks by itself.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    if facts.firmware != Firmware::Efi {
        return out;
    }
    let Some(efi) = &facts.efi else {
        out.concerns.push(Concern::critical(
            "no-efi-loader",
            "the guest starts by UEFI and its EFI system partition could not be read",
        ));
        return out;
    };
    if present(facts, efi).is_some() {
        return out;
    }
    let manager = efi.loaders.iter().find(|loader| {
        loader.role == LoaderRole::WindowsBootManager && loader.arch == facts.guest.arch
    });
    let Some((manager, name)) = manager.zip(fallback(&facts.guest.arch)) else {
        out.concerns.push(Concern::critical(
            "no-efi-loader",
            format!(
                "{} holds no boot manager of Windows for {}: repair it in the guest (bcdboot \
                 C:\\Windows /f UEFI) while it still runs",
                efi.volume, facts.guest.arch
            ),
        ));
        return out;
    };
    if let Some(full) = no_room(facts, efi, manager.size) {
        out.concerns.push(full);
        return out;
    }
    let action = Action::CopyFile {
        from: GuestPath::new(&manager.path),
        path: GuestPath::new(format!("{ESP_AT}/EFI/BOOT/{name}")),
        len: manager.size,
    };
    let why = "firmware without the old machine's boot entries starts the loader of this name";
    out.changes.push(Change::new(TOPIC, why, action, None));
    out
}

fn no_room(facts: &Facts, efi: &EfiFacts, bytes: u64) -> Option<Concern> {
    let mount = facts.mounts.iter().find(|mount| mount.at == efi.at)?;
    // The file and two directories.
    let need = bytes.saturating_add(LARGEST_CLUSTER.saturating_mul(3));
    (mount.free_bytes < need).then(|| {
        Concern::critical(
            "esp-full",
            format!(
                "{} has {} bytes left, and {need} are needed for a second copy of the boot manager",
                efi.volume, mount.free_bytes
            ),
        )
    })
}

fn check(facts: &Facts, _: &Target) -> Finding {
    if facts.firmware != Firmware::Efi {
        return Finding::skip("the guest starts by BIOS");
    }
    let Some(efi) = &facts.efi else {
        return Finding::fail("the EFI system partition could not be read");
    };
    match present(facts, efi) {
        Some(loader) => Finding::pass(loader.path.clone()),
        None => Finding::fail(format!(
            "{} has no loader in \\EFI\\BOOT for {}",
            efi.volume, facts.guest.arch
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{bare, program};
    use super::*;
    use crate::fs::MemoryFs;
    use crate::inspect::facts::MountFacts;
    use crate::plan::Bus;
    use crate::verify::Outcome;

    fn guest(esp: MemoryFs, free_bytes: u64) -> Facts {
        let mut tree = Tree::new(Box::new(MemoryFs::new()));
        tree.mount(ESP_AT.into(), Box::new(esp.ignoring_case()));
        let mut out = bare();
        out.firmware = Firmware::Efi;
        out.guest.arch = "x86_64".to_owned();
        out.mounts.push(MountFacts {
            volume: "disk0p1".to_owned(),
            subvolume: None,
            at: ESP_AT.to_owned(),
            free_bytes,
            free_inodes: 0,
        });
        out.efi = facts(&tree, &out).unwrap();
        out
    }

    fn esp() -> MemoryFs {
        MemoryFs::new().file("/EFI/Microsoft/Boot/bootmgfw.efi", program(0x8664))
    }

    fn proposed(facts: &Facts) -> Proposal {
        propose(
            facts,
            &Target::recommend(facts, Bus::Virtio),
            &Policy::default(),
        )
    }

    #[test]
    fn a_boot_manager_is_copied_where_firmware_looks() {
        let facts = guest(esp(), 1 << 20);
        let target = Target::recommend(&facts, Bus::Virtio);
        assert_eq!(check(&facts, &target).result, Outcome::Fail);
        let out = proposed(&facts);
        let Some(Action::CopyFile { from, path, len }) = &out.changes[0].action else {
            panic!("{out:?}");
        };
        assert_eq!(from.display(), "/$ESP/EFI/Microsoft/Boot/bootmgfw.efi");
        assert_eq!(
            (path.display().as_str(), *len),
            ("/$ESP/EFI/BOOT/BOOTX64.EFI", 512)
        );
    }

    #[test]
    fn one_that_is_there_in_any_case_stays() {
        let facts = guest(esp().file("/EFI/Boot/bootx64.efi", program(0x8664)), 0);
        let target = Target::recommend(&facts, Bus::Virtio);
        assert_eq!(check(&facts, &target).result, Outcome::Pass);
        assert!(proposed(&facts).changes.is_empty());
        // One for another machine starts nothing.
        let facts = guest(esp().file("/EFI/Boot/bootx64.efi", program(0x14c)), 1 << 20);
        assert_eq!(proposed(&facts).changes.len(), 1);
    }

    #[test]
    fn without_a_manager_or_without_room_it_is_critical() {
        let none = guest(MemoryFs::new().dir("/EFI/BOOT"), 1 << 20);
        assert_eq!(proposed(&none).concerns[0].id, "no-efi-loader");
        let full = guest(esp(), 1000);
        assert_eq!(proposed(&full).concerns[0].id, "esp-full");
        assert!(proposed(&full).changes.is_empty());
    }
}
