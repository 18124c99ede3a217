// SPDX-License-Identifier: Apache-2.0
//! Winsock's catalogues: lists of network providers whose entries must be numbered without a gap
//! and counted rightly, or no program gets any socket at all.

use super::super::entries::SYSTEM;
use super::names::is_tools_path;
use crate::hive::ValueType;
use crate::hive::script::Edit;
use crate::inspect::registry::{KeyFacts, Registry};

const TOP: &str = "Services\\WinSock2\\Parameters";

/// Both catalogues, and for each the entries of either word size with the value that counts them.
const CATALOGUES: &[&str] = &["Protocol_Catalog9", "NameSpace_Catalog5"];
const LISTS: &[(&str, &str)] = &[
    ("Catalog_Entries", "Num_Catalog_Entries"),
    ("Catalog_Entries64", "Num_Catalog_Entries64"),
];

/// Takes VMware's providers out of a control set's catalogues.
pub(super) fn edits(registry: &Registry, set: &str) -> Vec<Edit> {
    let mut out = Vec::new();
    for catalogue in CATALOGUES {
        let top = format!("{set}\\{TOP}\\{catalogue}");
        let mut changed = false;
        for (list, count) in LISTS {
            let edits = renumbered(registry, &format!("{top}\\{list}"), (&top, count));
            changed |= !edits.is_empty();
            out.extend(edits);
        }
        let serial = registry.dword(SYSTEM, &top, "Serial_Access_Num");
        if let Some(serial) = serial.filter(|_| changed) {
            out.push(Edit::dword(
                top,
                "Serial_Access_Num",
                serial.wrapping_add(1),
            ));
        }
    }
    out
}

/// The remaining entries under the first numbers, and how many they are.
fn renumbered(registry: &Registry, list: &str, (top, count): (&str, &str)) -> Vec<Edit> {
    let mut entries: Vec<&KeyFacts> = registry
        .subkeys(SYSTEM, list)
        .iter()
        .filter_map(|name| registry.key(SYSTEM, &format!("{list}\\{name}")))
        .collect();
    entries.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    let stays: Vec<&KeyFacts> = entries
        .iter()
        .filter(|entry| !is_vmware(entry))
        .copied()
        .collect();
    if stays.len() == entries.len() {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut names: Vec<String> = (1..=stays.len())
        .map(|number| format!("{number:012}"))
        .collect();
    for (entry, name) in stays.iter().zip(&names) {
        if entry.name() != name {
            let key = format!("{list}\\{name}");
            out.push(Edit::delete(&*key));
            out.push(Edit::create(&*key));
            let values = entry.values.values();
            out.extend(values.map(|value| {
                Edit::raw(
                    &*key,
                    &value.name,
                    ValueType(value.kind),
                    value.data.clone(),
                )
            }));
        }
    }
    names.sort_unstable();
    let left_over = entries
        .iter()
        .filter(|entry| names.binary_search(&entry.name().to_owned()).is_err());
    out.extend(left_over.map(|entry| Edit::delete(format!("{list}\\{}", entry.name()))));
    let number = u32::try_from(stays.len()).unwrap_or(u32::MAX);
    out.push(Edit::dword(top, count, number));
    out
}

/// The entry's library is VMware's: `LibraryPath`, or the head of `PackedCatalogItem`, which is
/// a path of `MAX_PATH` bytes.
fn is_vmware(entry: &KeyFacts) -> bool {
    let library = entry.value("LibraryPath").and_then(|value| value.text());
    let packed = entry.value("PackedCatalogItem").map(|value| {
        let path = value
            .data
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(path.get(..260).unwrap_or(path)).into_owned()
    });
    library.or(packed).is_some_and(|path| is_tools_path(&path))
}

/// Why a control set's catalogues could not be used; nothing where they can.
pub(super) fn fault(registry: &Registry, set: &str) -> Option<String> {
    for catalogue in CATALOGUES {
        let top = format!("{set}\\{TOP}\\{catalogue}");
        for (list, count) in LISTS {
            let path = format!("{top}\\{list}");
            let mut names = registry.subkeys(SYSTEM, &path).to_vec();
            names.sort_unstable();
            let numbered = names
                .iter()
                .zip(1_u64..)
                .all(|(name, want)| *name == format!("{want:012}"));
            if !numbered {
                return Some(format!("{path} has a gap in its numbers"));
            }
            let claimed = registry.dword(SYSTEM, &top, count);
            let len = u32::try_from(names.len()).ok();
            if claimed.is_some() && registry.key(SYSTEM, &path).is_some() && claimed != len {
                return Some(format!(
                    "{count} of {top} is {claimed:?} for {} entries",
                    names.len()
                ));
            }
        }
    }
    None
}

/// The part of a control set that is read.
pub(super) const GATHER: (&str, u32) = (TOP, 3);
