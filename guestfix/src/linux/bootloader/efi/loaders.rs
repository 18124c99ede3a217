// SPDX-License-Identifier: Apache-2.0
//! Programs below `EFI/`: what each is, and what lies beside it.

use super::super::pe;
use crate::error::Result;
use crate::fs::{GuestPath, Tree};
use crate::inspect::Facts;
use crate::inspect::efi::{EfiFacts, EfiLoader, LoaderRole};

/// Machines and how firmware, and the names of loaders, abbreviate them.
const MACHINES: [(&str, &str); 5] = [
    ("x86_64", "x64"),
    ("i386", "ia32"),
    ("aarch64", "aa64"),
    ("riscv64", "riscv64"),
    ("loongarch64", "loongarch64"),
];
/// Loaders of that role in a directory, whose name may end with a slash. Red Hat's and Debian's say
/// the machine in their names (`mmx64.efi`), SUSE's do not (`MokManager.efi`).
pub(super) fn beside<'a>(
    efi: &'a EfiFacts,
    dir: &str,
    role: LoaderRole,
) -> impl Iterator<Item = &'a EfiLoader> {
    let dir = dir.trim_end_matches('/').to_owned();
    let all = efi.loaders.iter();
    all.filter(move |l| l.role == role && dir_of(&l.path).eq_ignore_ascii_case(&dir))
}

/// Some vendor's directory lists what shim's fallback program is to start, and has a loader.
pub(super) fn is_listed(facts: &Facts, efi: &EfiFacts) -> bool {
    let top = join(&efi.at, "EFI/");
    let lists = facts.sources.files.keys();
    let mut vendors = lists
        .filter(|path| starts_with(path, &top) && ends_with(path, ".csv"))
        .map(|path| dir_of(path))
        .filter(|dir| !dir.eq_ignore_ascii_case(in_boot(efi, "").trim_end_matches('/')));
    vendors.any(|dir| {
        efi.loaders
            .iter()
            .any(|l| dir_of(&l.path).eq_ignore_ascii_case(dir))
    })
}

pub(super) fn loader(tree: &Tree, path: &str) -> Result<Option<EfiLoader>> {
    let place = GuestPath::new(path);
    let Some(mut file) = tree.open(&place)? else {
        return Ok(None);
    };
    let size = tree.stat(&place)?.map_or(0, |meta| meta.len);
    let program = pe::parse(file.as_mut()).unwrap_or_default();
    let role = match program.is_unified_kernel() {
        true => LoaderRole::UnifiedKernel,
        false => role(path, &program.components),
    };
    Ok(Some(EfiLoader {
        path: path.to_owned(),
        role,
        arch: program.arch.unwrap_or("unknown").to_owned(),
        signed: program.signed,
        size,
    }))
}

pub(super) fn role(path: &str, components: &[String]) -> LoaderRole {
    let name = name_of(path).to_ascii_lowercase();
    if is_shim_data(&name) {
        return LoaderRole::Other;
    }
    let named = [
        ("shim", LoaderRole::Shim),
        ("grub", LoaderRole::Grub),
        ("systemd-boot", LoaderRole::SystemdBoot),
        ("mm", LoaderRole::MokManager),
        ("mokmanager", LoaderRole::MokManager),
        ("fallback", LoaderRole::Fallback),
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

/// Certificates and revocations that shim reads from its own directory.
pub(super) fn is_shim_data(path: &str) -> bool {
    let name = name_of(path).to_ascii_lowercase();
    name.starts_with("shim_certificate") || name.starts_with("revocations")
}

/// An old shim does not say what it is, but is as long as the one it was copied from.
pub(super) fn role_of(efi: &EfiFacts, loader: &EfiLoader) -> LoaderRole {
    if loader.role != LoaderRole::Other {
        return loader.role;
    }
    let mut same = efi.loaders.iter().filter(|l| l.size == loader.size);
    same.find(|l| l.role != LoaderRole::Other)
        .map_or(LoaderRole::Other, |l| l.role)
}

pub(super) fn machine(arch: &str) -> Option<&'static str> {
    let mut machines = MACHINES.iter();
    machines.find(|(name, _)| *name == arch).map(|(_, m)| *m)
}

pub(super) fn fallback(efi: &EfiFacts, machine: &str) -> String {
    in_boot(efi, &format!("BOOT{}.EFI", machine.to_ascii_uppercase()))
}

pub(super) fn in_boot(efi: &EfiFacts, name: &str) -> String {
    join(&join(&efi.at, "EFI/BOOT"), name)
}

pub(super) fn find<'a>(efi: &'a EfiFacts, path: &str) -> Option<&'a EfiLoader> {
    let mut loaders = efi.loaders.iter();
    loaders.find(|loader| loader.path.eq_ignore_ascii_case(path))
}

pub(super) fn join(dir: &str, name: &str) -> String {
    format!("{}/{name}", dir.trim_end_matches('/'))
}

pub(super) fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

pub(super) fn starts_with(path: &str, start: &str) -> bool {
    path.get(..start.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(start))
}

pub(super) fn ends_with(name: &str, end: &str) -> bool {
    name.to_ascii_lowercase().ends_with(end)
}
