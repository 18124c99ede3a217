// SPDX-License-Identifier: Apache-2.0
//! `SYSTEM\DriverDatabase`: how Windows 8 and later come from a device to its driver, also before
//! there is a disk. What the boot disk's drivers need is written as Windows keeps it after it
//! imported a package (seen in installations): the same keys, the package's files in the
//! `DriverStore`, a free `oemN.inf`.

use drivers::{Install, Package, Pick, RegEntry, Vouch};

use super::boot_drivers::{self, New, ROLES};
use super::entries::{SYSTEM, place, recorded};
use super::gather::Gatherer;
use super::{naming, storage};
use crate::error::Result;
use crate::hive::ValueType;
use crate::hive::script::Edit;
use crate::inspect::Facts;
use crate::inspect::windows::WindowsFacts;
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

pub(super) const TOPIC: &str = "driver-database";
const TOP: &str = "DriverDatabase";
/// Scores of a signature: Microsoft's hardware programme, another publisher, nobody:
/// <https://learn.microsoft.com/windows-hardware/drivers/install/signature-score--windows-vista-and-later->.
const SCORE_WHQL: u32 = 0x0D00_0005;
const SCORE_AUTHENTICODE: u32 = 0x0F00_0000;
const SCORE_NONE: u32 = 0x8000_0000;
/// Who signs for that programme.
const WHQL: &str = "Microsoft Windows Hardware Compatibility Publisher";
/// `StatusFlags` of a package that has configurations, as installations have it.
const STATUS: u32 = 0x12;

/// Registers the boot disk's drivers.
pub fn propose(facts: &Facts, _: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let (Some(windows), Some(picks)) = (&facts.windows, &policy.drivers) else {
        return out;
    };
    if !windows.has_driver_database() {
        return out;
    }
    let new = boot_drivers::missing(facts, windows, picks);
    let mut edits = Vec::new();
    for new in &new {
        let why = format!(
            "the driver package of {}, as Windows would have imported it",
            new.service.name
        );
        for (path, member) in naming::files(windows, &new.pick.package, &new.name) {
            out.changes
                .extend(place(TOPIC, &why, &facts.sources, &path, member));
        }
        edits.extend(package(windows, new));
    }
    let map = naming::map(facts);
    if !new.is_empty() && !map.is_empty() {
        let map = naming::map_with(map, new.iter().map(|new| new.name.number));
        edits.push(Edit::raw(TOP, "OemInfMap", ValueType::BINARY, map));
    }
    let why = "Windows 8 and later look for a boot device's driver here and nowhere else";
    out.changes.extend(Change::hive(
        TOPIC,
        why,
        &facts.sources.registry,
        SYSTEM,
        edits,
    ));
    out
}

/// Every key of one package.
fn package(windows: &WindowsFacts, new: &New<'_>) -> Vec<Edit> {
    let package = &new.pick.package;
    let (inf, store) = (new.name.inf.as_str(), new.name.store.as_str());
    let mut edits = Vec::new();
    let sections: Vec<&str> = used(package)
        .map(|install| install.section.as_str())
        .collect();
    let key = format!("{TOP}\\DriverInfFiles\\{inf}");
    edits.push(Edit::texts(&*key, "", &[store]));
    edits.push(Edit::text(&*key, "Active", store));
    edits.push(Edit::texts(&*key, "Configurations", &sections));
    let class = format!("{TOP}\\DeviceIds\\{}", package.class_guid);
    edits.push(Edit::raw(class, inf, ValueType::NONE, Vec::new()));
    let top = format!("{TOP}\\DriverPackages\\{store}");
    edits.extend(head(windows, new, &top));
    for device in &package.devices {
        let Some(install) = package.install(&device.install) else {
            continue;
        };
        for id in &device.ids {
            let value = id.database_value().to_vec();
            edits.push(Edit::raw(
                format!("{TOP}\\DeviceIds\\{}", id.id),
                inf,
                ValueType::BINARY,
                value,
            ));
            let key = format!("{top}\\Descriptors\\{}", id.id);
            edits.push(Edit::text(&*key, "Configuration", &install.section));
            edits.push(Edit::text(
                &*key,
                "Description",
                &device.description.token(),
            ));
            edits.push(Edit::text(
                &*key,
                "Manufacturer",
                &device.manufacturer.token(),
            ));
        }
    }
    for install in used(package) {
        edits.extend(configuration(&top, install));
    }
    let strings = format!("{top}\\Strings");
    edits.extend(
        package
            .strings
            .iter()
            .map(|(name, text)| Edit::text(&*strings, name, text)),
    );
    edits
}

/// Install sections that a device leads to.
fn used(package: &Package) -> impl Iterator<Item = &Install> {
    let named = |install: &&Install| {
        let mut devices = package.devices.iter();
        devices.any(|device| device.install.eq_ignore_ascii_case(&install.name))
    };
    package.installs.iter().filter(named)
}

/// The package's own values.
fn head(windows: &WindowsFacts, new: &New<'_>, top: &str) -> Vec<Edit> {
    let package = &new.pick.package;
    let (signer, score) = signer(new.pick);
    let mut edits = vec![
        Edit::text(top, "", &new.name.inf),
        Edit::raw(
            top,
            "Version",
            ValueType::BINARY,
            package.version_blob().to_vec(),
        ),
        Edit::text(top, "Provider", &package.provider.text),
        Edit::text(top, "InfName", &package.inf_name()),
        Edit::dword(top, "SignerScore", score),
        Edit::dword(top, "StatusFlags", STATUS),
        // When it was imported: the driver's own date, so that nothing changes a second time.
        Edit::raw(
            top,
            "ImportDate",
            ValueType::BINARY,
            package.version.filetime().to_le_bytes().to_vec(),
        ),
    ];
    if let Some(catalogue) = &package.catalog_name {
        edits.push(Edit::text(top, "Catalog", &catalogue.to_lowercase()));
    }
    if let Some(signer) = signer {
        edits.push(Edit::text(top, "SignerName", signer));
    }
    if let Some(drive) = &windows.system_drive {
        let folder = windows
            .system_root
            .trim_start_matches('/')
            .replace('/', "\\");
        let drive = drive.trim_end_matches('\\');
        let path = format!(
            "{drive}\\{folder}\\{}",
            super::staging::FOLDER.replace('/', "\\")
        );
        edits.push(Edit::text(top, "OemPath", &path));
    }
    edits
}

/// Who signed the package, and what Windows thinks of that.
fn signer(pick: &Pick) -> (Option<&str>, u32) {
    let vouches = pick.package.files.iter().map(|file| &file.vouch);
    let signature = vouches
        .filter(|vouch| vouch.is_vouched())
        .find_map(Vouch::signature);
    match signature {
        Some(signature) if signature.signer == WHQL => (Some(&signature.signer), SCORE_WHQL),
        Some(signature) => (Some(&signature.signer), SCORE_AUTHENTICODE),
        None => (None, SCORE_NONE),
    }
}

/// What a device gets whose driver this section installs.
fn configuration(top: &str, install: &Install) -> Vec<Edit> {
    let key = format!("{top}\\Configurations\\{}", install.section);
    let mut edits = vec![
        Edit::dword(&*key, "ConfigFlags", 0),
        // The section has a device's, a driver's and a service's part.
        Edit::dword(&*key, "ConfigScope", 7),
    ];
    if let Some(service) = install.function_service() {
        edits.push(Edit::text(&*key, "Service", &service.name));
    }
    if !install.includes.is_empty() {
        edits.push(Edit::texts(&*key, "IncludedInfs", &install.includes));
    }
    let hardware: Vec<&RegEntry> = install.hardware.iter().collect();
    edits.extend(recorded(&format!("{key}\\Device"), &hardware));
    let software: Vec<&RegEntry> = install.software.iter().collect();
    edits.extend(recorded(&format!("{key}\\Driver"), &software));
    for service in &install.services {
        let key = format!("{key}\\Services\\{}", service.name);
        let entries: Vec<&RegEntry> = service.registry.iter().collect();
        edits.push(Edit::create(&*key));
        edits.extend(recorded(&key, &entries));
    }
    edits
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "driver-packages",
    what: "the boot disk's driver packages are whole: their files lie where the registry says",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let Some(windows) = facts
        .windows
        .as_ref()
        .filter(|windows| windows.has_driver_database())
    else {
        return Finding::skip("Windows up to 7 and 2008 R2 has no driver database");
    };
    let Some(set) = windows.control_set_keys().next() else {
        return Finding::fail("no control set may be booted");
    };
    let mut seen = Vec::new();
    for role in ROLES {
        let [modern, _] = storage::ids(role);
        let Ok(found) = storage::associated(facts, windows, &set, modern) else {
            continue;
        };
        let key = format!("{TOP}\\DriverInfFiles\\{}", found.by);
        let store = facts
            .sources
            .registry
            .text(SYSTEM, &key, "Active")
            .unwrap_or_default();
        let inf = windows.in_system_root(&format!("{}/{}", naming::INF, found.by.to_lowercase()));
        let folder = windows.in_system_root(&format!("{}/{store}", naming::STORE));
        if !facts.sources.digests.contains_key(&inf) && naming::number(&found.by).is_some() {
            return Finding::fail(format!("{inf} is missing"));
        }
        if facts.sources.dir(&folder).is_empty() {
            return Finding::fail(format!("{folder} is missing or empty"));
        }
        seen.push(format!("{} in {store}", found.by));
    }
    match seen.is_empty() {
        true => Finding::fail("neither virtio-blk nor virtio-scsi has a driver package"),
        false => Finding::pass(seen.join(", ")),
    }
}

/// Reads what is registered for the boot disk's controllers, and which names are taken.
///
/// # Errors
/// As those of [`Gatherer`].
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    naming::gather(gather)?;
    let ids = ROLES.iter().flat_map(|role| storage::ids(*role)).flatten();
    let mut infs = Vec::new();
    for id in ids {
        let key = format!("{TOP}\\DeviceIds\\PCI\\{id}");
        let key = gather.recorded(SYSTEM, &key);
        let names = key.map(|key| key.values.values().map(|value| value.name.clone()));
        infs.extend(names.into_iter().flatten());
    }
    infs.sort_unstable();
    infs.dedup();
    for inf in infs {
        let key = format!("{TOP}\\DriverInfFiles\\{inf}");
        let active = gather
            .recorded(SYSTEM, &key)
            .and_then(|key| key.value("Active")?.text());
        let Some(store) = active else { continue };
        gather.subtree(SYSTEM, &format!("{TOP}\\DriverPackages\\{store}"), 8)?;
        let folder = gather.in_system_root(&format!("{}/{store}", naming::STORE));
        for name in gather.dir(&folder)? {
            gather.digest(&format!("{folder}/{}", name.to_lowercase()))?;
        }
        let catalogue = inf.to_lowercase().replace(".inf", ".cat");
        gather.digest(&gather.in_system_root(&format!("{}/{catalogue}", naming::CATALOGUES)))?;
    }
    Ok(())
}
