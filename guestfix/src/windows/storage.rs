// SPDX-License-Identifier: Apache-2.0
//! How Windows comes from a disk's controller to a driver before it has a filesystem: the chain
//! from a PCI id over the registry's databases to a service and its file.

use std::collections::BTreeSet;

use drivers::{Arch, Role};

use super::entries::SYSTEM;
use super::gather::Gatherer;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::Sources;
use crate::inspect::registry::Registry;
use crate::inspect::windows::WindowsFacts;
use crate::plan::Bus;

/// PCI ids that a disk's controller shows on KubeVirt, without `PCI\`, the most telling first.
/// Windows looks for each of them in this order:
/// <https://learn.microsoft.com/windows-hardware/drivers/install/identifiers-for-pci-devices>.
const MODERN_BLOCK: &[&str] = &[
    "VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01",
    "VEN_1AF4&DEV_1042&SUBSYS_11001AF4",
    "VEN_1AF4&DEV_1042&REV_01",
    "VEN_1AF4&DEV_1042",
];
const OLD_BLOCK: &[&str] = &[
    "VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00",
    "VEN_1AF4&DEV_1001&SUBSYS_00021AF4",
    "VEN_1AF4&DEV_1001&REV_00",
    "VEN_1AF4&DEV_1001",
];
const MODERN_SCSI: &[&str] = &[
    "VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01",
    "VEN_1AF4&DEV_1048&SUBSYS_11001AF4",
    "VEN_1AF4&DEV_1048&REV_01",
    "VEN_1AF4&DEV_1048",
];
const OLD_SCSI: &[&str] = &[
    "VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00",
    "VEN_1AF4&DEV_1004&SUBSYS_00081AF4",
    "VEN_1AF4&DEV_1004&REV_00",
    "VEN_1AF4&DEV_1004",
];
/// Intel ICH9 in AHCI mode, what QEMU's q35 has, down to its class.
const AHCI: &[&str] = &[
    "VEN_8086&DEV_2922&CC_010601",
    "VEN_8086&DEV_2922&CC_0106",
    "VEN_8086&DEV_2922",
    "VEN_8086&CC_010601",
    "CC_010601",
    "CC_0106",
];

/// Services that may carry the boot disk on some bus.
pub(super) const BOOT_SERVICES: &[&str] = &[
    "viostor", "vioscsi", "storahci", "stornvme", "msahci", "atapi", "intelide", "pciide",
];

/// The ids of a controller as KubeVirt shows it, and those that older machine types show.
pub(super) fn ids(role: Role) -> [&'static [&'static str]; 2] {
    match role {
        Role::Scsi => [MODERN_SCSI, OLD_SCSI],
        _ => [MODERN_BLOCK, OLD_BLOCK],
    }
}

/// The ids that the root disk's controller has on a bus.
pub(super) fn ids_of_bus(bus: Bus) -> &'static [&'static str] {
    match bus {
        Bus::Virtio => MODERN_BLOCK,
        Bus::Scsi => MODERN_SCSI,
        Bus::Sata => AHCI,
    }
}

/// What a chain leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The service.
    pub(super) service: String,
    /// What names it: an INF, or a key of the `CriticalDeviceDatabase`.
    pub(super) by: String,
}

/// The architecture of a guest in the words of drivers.
pub(super) fn arch(facts: &Facts) -> Option<Arch> {
    Arch::parse(&facts.guest.arch)
}

/// The service that a control set starts for the first of these ids that it knows.
pub(super) fn associated(
    facts: &Facts,
    windows: &WindowsFacts,
    set: &str,
    ids: &[&str],
) -> std::result::Result<Found, String> {
    let registry = &facts.sources.registry;
    let found = ids
        .iter()
        .find_map(|id| match windows.has_driver_database() {
            true => from_database(facts, id),
            false => from_critical(registry, set, id),
        });
    let first = ids.last().copied().unwrap_or_default();
    found.unwrap_or_else(|| Err(format!("no driver is registered for PCI\\{first}")))
}

fn from_critical(
    registry: &Registry,
    set: &str,
    id: &str,
) -> Option<std::result::Result<Found, String>> {
    let key = format!("{set}\\Control\\CriticalDeviceDatabase\\PCI#{id}");
    let service = registry.text(SYSTEM, &key, "Service")?;
    Some(Ok(Found { service, by: key }))
}

fn from_database(facts: &Facts, id: &str) -> Option<std::result::Result<Found, String>> {
    let registry = &facts.sources.registry;
    let key = format!("DriverDatabase\\DeviceIds\\PCI\\{id}");
    let infs = registry.key(SYSTEM, &key)?.values.values();
    let mut last = None;
    for inf in infs.map(|value| value.name.as_str()) {
        match by_inf(facts, id, inf) {
            Ok(found) => return Some(Ok(found)),
            Err(why) => last = Some(Err(why)),
        }
    }
    last
}

fn by_inf(facts: &Facts, id: &str, inf: &str) -> std::result::Result<Found, String> {
    let registry = &facts.sources.registry;
    let text = |key: &str, name: &str| registry.text(SYSTEM, key, name);
    let package = text(&format!("DriverDatabase\\DriverInfFiles\\{inf}"), "Active")
        .ok_or_else(|| format!("{inf} names no package"))?;
    let top = format!("DriverDatabase\\DriverPackages\\{package}");
    let version = registry.value(SYSTEM, &top, "Version");
    let processor = version.and_then(|value| value.data.get(2..4));
    let wanted = arch(facts).map(|arch| arch.processor().to_le_bytes());
    if wanted.is_none_or(|wanted| processor != Some(wanted.as_slice())) {
        return Err(format!("{package} is not made for {}", facts.guest.arch));
    }
    let configuration = text(&format!("{top}\\Descriptors\\PCI\\{id}"), "Configuration")
        .ok_or_else(|| format!("{package} describes no PCI\\{id}"))?;
    let service = text(
        &format!("{top}\\Configurations\\{configuration}"),
        "Service",
    )
    .ok_or_else(|| format!("{package} names no service in {configuration}"))?;
    let by = inf.to_owned();
    Ok(Found { service, by })
}

/// Why a service does not start with the kernel in a control set; nothing where it does.
pub(super) fn not_started(
    facts: &Facts,
    windows: &WindowsFacts,
    set: &str,
    service: &str,
) -> Option<String> {
    let registry = &facts.sources.registry;
    let key = format!("{set}\\Services\\{service}");
    if registry.dword(SYSTEM, &key, "Type") != Some(1) {
        return Some(format!("{set} has no driver {service}"));
    }
    if registry.dword(SYSTEM, &key, "Start") != Some(0) {
        return Some(format!("{set} does not start {service} at boot"));
    }
    if demoted(registry, &key) {
        return Some(format!(
            "{set} starts {service} only on request on known hardware (StartOverride)"
        ));
    }
    let file = image(registry, windows, &key, service);
    let missing = file.filter(|file| !exists(&facts.sources, file));
    missing.map(|file| format!("{file} is missing"))
}

/// A hardware configuration demotes the service.
pub(super) fn demoted(registry: &Registry, service: &str) -> bool {
    let key = registry.key(SYSTEM, &format!("{service}\\StartOverride"));
    key.is_some_and(|key| key.values.values().any(|value| value.dword() != Some(0)))
}

/// A service's file is there.
pub(super) fn has_image(facts: &Facts, windows: &WindowsFacts, set: &str, service: &str) -> bool {
    let key = format!("{set}\\Services\\{service}");
    let file = image(&facts.sources.registry, windows, &key, service);
    file.is_some_and(|file| exists(&facts.sources, &file))
}

fn exists(sources: &Sources, path: &str) -> bool {
    sources.digests.contains_key(path) || sources.has(path)
}

/// A service's file in the guest. `None` where its path leads elsewhere than into the system's
/// directory.
fn image(registry: &Registry, windows: &WindowsFacts, key: &str, service: &str) -> Option<String> {
    let path = registry.text(SYSTEM, key, "ImagePath");
    let below = below_system_root(path.as_deref(), service)?;
    Some(windows.in_system_root(&below))
}

/// `System32/drivers/x.sys` from any of the ways in which drivers are named.
fn below_system_root(path: Option<&str>, service: &str) -> Option<String> {
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Some(format!("System32/drivers/{service}.sys"));
    };
    let path = path.replace('\\', "/");
    let lower = path.to_lowercase();
    let below = ["/systemroot/", "%systemroot%/", "%windir%/"]
        .iter()
        .find(|start| lower.starts_with(**start))
        .and_then(|start| path.get(start.len()..));
    let below = match below {
        Some(below) => below,
        None if lower.starts_with("system32/") => path.as_str(),
        None => return None,
    };
    let below = below.trim_start_matches('/');
    // One spelling for one file, as long as nothing but case tells two apart.
    let rest = below
        .get(..9)
        .filter(|start| start.eq_ignore_ascii_case("system32/"));
    let rest = rest.and_then(|_| below.get(9..)).unwrap_or(below);
    let drivers = rest
        .get(..8)
        .filter(|start| start.eq_ignore_ascii_case("drivers/"));
    Some(match drivers.and_then(|_| rest.get(8..)) {
        Some(name) => format!("System32/drivers/{name}"),
        None => format!("System32/{rest}"),
    })
}

/// Reads the chains of every bus.
///
/// # Errors
/// As those of [`Gatherer`].
pub(super) fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for database in ["DriverDatabase", "DriverDatabase\\DriverInfFiles"] {
        gather.key(SYSTEM, database)?;
        gather.key("DRIVERS", database)?;
    }
    let mut services: BTreeSet<String> = BOOT_SERVICES.iter().map(|&s| s.to_owned()).collect();
    let ids = [MODERN_BLOCK, OLD_BLOCK, MODERN_SCSI, OLD_SCSI, AHCI].concat();
    for id in ids {
        services.extend(in_database(gather, id)?);
        for set in gather.control_sets().to_vec() {
            let key = format!("{set}\\Control\\CriticalDeviceDatabase\\PCI#{id}");
            gather.key(SYSTEM, &key)?;
            let facts = gather.recorded(SYSTEM, &key);
            services.extend(facts.and_then(|key| key.value("Service")?.text()));
        }
    }
    for service in &services {
        gather.in_control_sets(&format!("Services\\{service}"), 3)?;
        let log = format!("Services\\EventLog\\System\\{service}");
        gather.in_control_sets(&log, 0)?;
        images(gather, service)?;
    }
    Ok(())
}

/// The services to which the database leads from an id.
fn in_database(gather: &mut Gatherer<'_>, id: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let key = format!("DriverDatabase\\DeviceIds\\PCI\\{id}");
    gather.key(SYSTEM, &key)?;
    let names = |key: Option<&crate::inspect::registry::KeyFacts>| -> Vec<String> {
        let values = key.map(|key| key.values.values());
        values
            .into_iter()
            .flatten()
            .map(|value| value.name.clone())
            .collect()
    };
    for inf in names(gather.recorded(SYSTEM, &key)) {
        let key = format!("DriverDatabase\\DriverInfFiles\\{inf}");
        gather.key(SYSTEM, &key)?;
        let active = gather
            .recorded(SYSTEM, &key)
            .and_then(|key| key.value("Active")?.text());
        let Some(package) = active else { continue };
        let top = format!("DriverDatabase\\DriverPackages\\{package}");
        gather.key(SYSTEM, &top)?;
        let described = format!("{top}\\Descriptors\\PCI\\{id}");
        gather.key(SYSTEM, &described)?;
        let described = gather.recorded(SYSTEM, &described);
        let Some(configuration) = described.and_then(|key| key.value("Configuration")?.text())
        else {
            continue;
        };
        let key = format!("{top}\\Configurations\\{configuration}");
        gather.key(SYSTEM, &key)?;
        let key = gather.recorded(SYSTEM, &key);
        out.extend(key.and_then(|key| key.value("Service")?.text()));
    }
    Ok(out)
}

fn images(gather: &mut Gatherer<'_>, service: &str) -> Result<()> {
    for set in gather.control_sets().to_vec() {
        let key = format!("{set}\\Services\\{service}");
        let Some(facts) = gather.recorded(SYSTEM, &key) else {
            continue;
        };
        let path = facts.value("ImagePath").and_then(|value| value.text());
        if let Some(below) = below_system_root(path.as_deref(), service) {
            gather.digest(&gather.in_system_root(&below))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_driver_s_file_leads_to_one_spelling() {
        for (path, want) in [
            (None, Some("System32/drivers/x.sys")),
            (
                Some("system32\\DRIVERS\\x.sys"),
                Some("System32/drivers/x.sys"),
            ),
            (
                Some("\\SystemRoot\\System32\\drivers\\X.sys"),
                Some("System32/drivers/X.sys"),
            ),
            (
                Some("%SystemRoot%\\System32\\x.sys"),
                Some("System32/x.sys"),
            ),
            (Some("\\??\\C:\\x.sys"), None),
            (Some("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"), None),
        ] {
            assert_eq!(below_system_root(path, "x").as_deref(), want, "{path:?}");
        }
    }
}
