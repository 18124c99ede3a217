// SPDX-License-Identifier: Apache-2.0
//! VMware's driver packages in `SYSTEM\DriverDatabase`: what would give the new machine's mouse to
//! VMware's driver. Those of its disk controllers and network cards stay.

use super::super::entries::SYSTEM;
use super::super::gather::Gatherer;
use super::super::naming;
use super::names::KEPT_INFS;
use crate::error::Result;
use crate::fs::GuestPath;
use crate::hive::script::Edit;
use crate::inspect::Facts;
use crate::inspect::registry::{KeyFacts, Registry};

const TOP: &str = "DriverDatabase";
const DRIVERS: &str = "DRIVERS";
/// No INF of VMware's is longer.
const LONGEST_INF: u64 = 1 << 20;

/// A package that goes.
pub(super) struct Gone {
    /// `oem7.inf`.
    pub(super) inf: String,
    /// `vmmouse.inf_amd64_916101d3748847e7`.
    pub(super) store: String,
}

/// The package is VMware Tools' by its provider or by where it came from.
fn is_tools(key: &KeyFacts) -> bool {
    let text = |name: &str| {
        key.value(name)
            .and_then(|value| value.text())
            .unwrap_or_default()
    };
    let ours = text("Provider").to_lowercase().starts_with("vmware")
        || super::names::is_tools_path(&text("OemPath"));
    let inf = text("InfName").to_lowercase();
    let published = naming::number(&text("")).is_some();
    ours && published && !KEPT_INFS.contains(&inf.as_str())
}

/// All that go.
pub(super) fn gone(registry: &Registry) -> Vec<Gone> {
    let top = format!("{TOP}\\DriverPackages");
    let names = registry.subkeys(SYSTEM, &top).iter();
    let keys = names.filter_map(|name| registry.key(SYSTEM, &format!("{top}\\{name}")));
    keys.filter(|key| is_tools(key))
        .map(|key| Gone {
            inf: key
                .value("")
                .and_then(|value| value.text())
                .unwrap_or_default()
                .to_lowercase(),
            store: key.name().to_owned(),
        })
        .collect()
}

/// Packages of VMware Tools that are not taken out here, by their published names: those of
/// `DRIVERS`, and all of Windows up to 7, whose driver store has an index of its own.
pub(super) fn left(facts: &Facts) -> Vec<String> {
    let Some(windows) = &facts.windows else {
        return Vec::new();
    };
    let registry = &facts.sources.registry;
    let top = format!("{TOP}\\DriverPackages");
    let names = registry.subkeys(DRIVERS, &top).iter();
    let keys = names.filter_map(|name| registry.key(DRIVERS, &format!("{top}\\{name}")));
    let mut out: Vec<String> = keys
        .filter(|key| is_tools(key))
        .filter_map(|key| Some(key.value("")?.text()?.to_lowercase()))
        .collect();
    if !windows.has_driver_database() {
        let folder = format!("{}/", windows.in_system_root(naming::INF));
        let infs = facts
            .sources
            .dirs
            .keys()
            .filter_map(|path| path.strip_prefix(&folder));
        out.extend(
            infs.filter(|inf| naming::number(inf).is_some())
                .map(str::to_owned),
        );
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// An INF is VMware Tools', and not one of what stays.
fn inf_is_tools(bytes: &[u8]) -> bool {
    let text: Vec<u8> = bytes
        .iter()
        .filter(|byte| **byte != 0)
        .map(u8::to_ascii_lowercase)
        .collect();
    let has = |needle: &str| {
        text.windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    has("vmware") && !["pvscsi", "vmxnet"].iter().any(|kept| has(kept))
}

/// Windows up to 7: published INFs are looked into, since nothing else names their maker.
pub(super) fn gather_infs(gather: &mut Gatherer<'_>) -> Result<()> {
    if gather.recorded(SYSTEM, TOP).is_some() {
        return Ok(());
    }
    let folder = gather.in_system_root(naming::INF);
    for name in gather.dir(&folder)? {
        let path = format!("{folder}/{}", name.to_lowercase());
        if naming::number(&name).is_none() {
            continue;
        }
        let at = GuestPath::new(&path);
        let short = gather
            .tree()
            .stat(&at)?
            .is_some_and(|meta| meta.len <= LONGEST_INF);
        let bytes = match short {
            true => gather.tree().read_up_to(&at, LONGEST_INF)?,
            false => None,
        };
        if bytes.is_some_and(|bytes| inf_is_tools(&bytes)) {
            gather.presence(&path)?;
        }
    }
    Ok(())
}

/// Their keys, and every device id that leads to them.
pub(super) fn edits(registry: &Registry) -> Vec<Edit> {
    let gone = gone(registry);
    let mut out = Vec::new();
    for key in registry.below(SYSTEM, &format!("{TOP}\\DeviceIds")) {
        let ours: Vec<_> = key
            .values
            .values()
            .filter(|value| {
                gone.iter()
                    .any(|gone| gone.inf.eq_ignore_ascii_case(&value.name))
            })
            .collect();
        match ours.len() == key.values.len() && key.subkeys.is_empty() && !ours.is_empty() {
            true => out.push(Edit::delete(&*key.path)),
            false => out.extend(
                ours.iter()
                    .map(|value| Edit::unset(&*key.path, &value.name)),
            ),
        }
    }
    for gone in &gone {
        out.push(Edit::delete(format!("{TOP}\\DriverInfFiles\\{}", gone.inf)));
        out.push(Edit::delete(format!(
            "{TOP}\\DriverPackages\\{}",
            gone.store
        )));
    }
    out
}

/// Their files.
pub(super) fn files(facts: &Facts) -> (Vec<String>, Vec<String>) {
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    let Some(windows) = &facts.windows else {
        return (files, dirs);
    };
    for gone in gone(&facts.sources.registry) {
        let folder = windows.in_system_root(&format!("{}/{}", naming::STORE, gone.store));
        super::files::below(&facts.sources, &folder, &mut files, &mut dirs);
        let stem = gone.inf.trim_end_matches(".inf");
        let inf = |end: &str| windows.in_system_root(&format!("{}/{stem}.{end}", naming::INF));
        files.extend([inf("inf"), inf("pnf")]);
        files.push(windows.in_system_root(&format!("{}/{stem}.cat", naming::CATALOGUES)));
    }
    (files, dirs)
}

/// Reads the packages, the ids that lead to them, and what lies in their folders.
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    let top = format!("{TOP}\\DriverPackages");
    gather.subtree(DRIVERS, &top, 1)?;
    gather.subtree(SYSTEM, &top, 1)?;
    let names = gather.recorded(SYSTEM, &top).map(|key| key.subkeys.clone());
    let mut gone = Vec::new();
    for name in names.unwrap_or_default() {
        let key = gather.recorded(SYSTEM, &format!("{top}\\{name}"));
        if key.is_some_and(is_tools) {
            let inf = key.and_then(|key| key.value("")?.text());
            gone.push((name, inf.unwrap_or_default().to_lowercase()));
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    gather.key(SYSTEM, &format!("{TOP}\\DriverInfFiles"))?;
    for (store, _) in &gone {
        let folder = gather.in_system_root(&format!("{}/{store}", naming::STORE));
        super::files::gather_below(gather, &folder)?;
    }
    gather.scan(SYSTEM, &mut |path, key| {
        let Some(below) = path.get(..24) else {
            return Ok(false);
        };
        if !below.eq_ignore_ascii_case("DriverDatabase\\DeviceIds") {
            return Ok(false);
        }
        for value in key.values()? {
            let name = value?.name()?.to_lowercase();
            if gone.iter().any(|(_, inf)| *inf == name) {
                return Ok(true);
            }
        }
        Ok(false)
    })
}
