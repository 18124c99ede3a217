// SPDX-License-Identifier: Apache-2.0
//! What Windows will call a driver package: `oemN.inf` in `Windows\INF`, and a folder of the
//! `DriverStore`.

use std::collections::BTreeSet;

use drivers::Package;

use super::entries::SYSTEM;
use super::gather::Gatherer;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::windows::WindowsFacts;

/// Published INFs, in the case that this room asks for.
pub(super) const INF: &str = "INF";
/// Folders of driver packages.
pub(super) const STORE: &str = "System32/DriverStore/FileRepository";
/// The folder of catalogues that drivers are vouched for by (`DRIVER_ACTION_VERIFY`).
pub(super) const CATALOGUES: &str = "System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}";

/// The names of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// `oem7.inf`.
    pub(super) inf: String,
    /// Its number.
    pub(super) number: u32,
    /// `viostor.inf_amd64_0123456789abcdef`.
    pub(super) store: String,
}

/// A name for each package: the one it has where the guest has that very INF, else a free number.
pub(super) fn names(facts: &Facts, packages: &[&Package]) -> Vec<Name> {
    let mut taken = taken(facts);
    let mut out = Vec::new();
    for package in packages {
        let name = published(facts, package).unwrap_or_else(|| {
            let number = (0..)
                .find(|number| !taken.contains(number))
                .unwrap_or(u32::MAX);
            Name {
                inf: format!("oem{number}.inf"),
                number,
                store: package.store_name(),
            }
        });
        taken.insert(name.number);
        out.push(name);
    }
    out
}

/// The guest's own names of a package whose INF it has.
fn published(facts: &Facts, package: &Package) -> Option<Name> {
    let windows = facts.windows.as_ref()?;
    let folder = format!("{}/", windows.in_system_root(INF));
    facts.sources.digests.iter().find_map(|(path, digest)| {
        let inf = path.strip_prefix(&folder)?.to_lowercase();
        let number = number(&inf)?;
        let same = digest.sha256 == package.inf.sha256;
        let key = format!("DriverDatabase\\DriverInfFiles\\{inf}");
        let store = facts.sources.registry.text(SYSTEM, &key, "Active");
        let store = store.unwrap_or_else(|| package.store_name());
        same.then_some(Name { inf, number, store })
    })
}

/// `oem7.inf` is 7.
pub(super) fn number(inf: &str) -> Option<u32> {
    let inf = inf.to_ascii_lowercase();
    inf.strip_prefix("oem")?.strip_suffix(".inf")?.parse().ok()
}

/// Numbers that something of the guest uses.
fn taken(facts: &Facts) -> BTreeSet<u32> {
    let registry = &facts.sources.registry;
    let key = "DriverDatabase\\DriverInfFiles";
    let databases = ["SYSTEM", "DRIVERS"].map(|hive| registry.subkeys(hive, key));
    let files = facts
        .windows
        .as_ref()
        .map(|windows| windows.in_system_root(INF));
    let files = files.map_or(&[][..], |folder| facts.sources.dir(&folder));
    let names = databases.into_iter().flatten().chain(files);
    let mut out: BTreeSet<u32> = names.filter_map(|name| number(name)).collect();
    out.extend(map_numbers(&map(facts)));
    out
}

/// `OemInfMap` of the database: one bit for each number in use, the highest bit of the first byte
/// for `oem0.inf`, as installations have it. Empty where there is none.
pub(super) fn map(facts: &Facts) -> Vec<u8> {
    let value = facts
        .sources
        .registry
        .value(SYSTEM, "DriverDatabase", "OemInfMap");
    value.map(|value| value.data.clone()).unwrap_or_default()
}

fn map_numbers(map: &[u8]) -> impl Iterator<Item = u32> {
    let bits = map
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte & (0x80_u8 >> bit) != 0));
    (0_u32..)
        .zip(bits)
        .filter_map(|(number, set)| set.then_some(number))
}

/// The map with these numbers added to it.
pub(super) fn map_with(mut map: Vec<u8>, numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    for number in numbers {
        let Ok(byte) = usize::try_from(number / 8) else {
            continue;
        };
        if map.len() <= byte {
            map.resize(byte.saturating_add(1), 0);
        }
        if let Some(byte) = map.get_mut(byte) {
            *byte |= 0x80_u8 >> (number % 8);
        }
    }
    map
}

/// Reads which names are taken, and which INFs they are.
///
/// # Errors
/// As those of [`Gatherer`].
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    let folder = gather.in_system_root(INF);
    for name in gather.dir(&folder)? {
        if number(&name).is_some() {
            gather.digest(&format!("{folder}/{}", name.to_lowercase()))?;
        }
    }
    Ok(())
}

/// Paths of a package's files in the guest and the file of the bundle for each.
pub(super) fn files<'p>(
    windows: &WindowsFacts,
    package: &'p Package,
    name: &Name,
) -> Vec<(String, &'p drivers::Member)> {
    let store = windows.in_system_root(&format!("{STORE}/{}", name.store));
    let mut out = vec![
        (
            windows.in_system_root(&format!("{INF}/{}", name.inf)),
            &package.inf,
        ),
        (format!("{store}/{}", package.inf_name()), &package.inf),
    ];
    if let Some(catalogue) = &package.catalog {
        let file = name.inf.replace(".inf", ".cat");
        out.push((
            windows.in_system_root(&format!("{CATALOGUES}/{file}")),
            catalogue,
        ));
        out.push((
            format!("{store}/{}", catalogue.name().to_lowercase()),
            catalogue,
        ));
    }
    for file in &package.files {
        out.push((
            format!("{store}/{}", file.member.name().to_lowercase()),
            &file.member,
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_added_to_the_map_and_none_is_lost() {
        let numbers = |map: &[u8]| map_numbers(map).collect::<Vec<_>>();
        assert_eq!(numbers(&[0xFF, 0x80]), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            map_with(vec![0xFF, 0x80], [9, 10].into_iter()),
            [0xFF, 0xE0]
        );
        assert_eq!(map_with(vec![0xE0], [17].into_iter()), [0xE0, 0, 0x40]);
        assert_eq!(map_with(vec![], [0].into_iter()), [0x80]);
    }

    #[test]
    fn only_oem_infs_have_numbers() {
        assert_eq!(number("OEM12.inf"), Some(12));
        for name in ["oem.inf", "oemprint.inf", "oem1.pnf", "oem-viostor.inf"] {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
