// SPDX-License-Identifier: Apache-2.0
//! VMware Tools, taken out while the guest is off: its own uninstaller refuses to run anywhere but
//! on VMware. Drivers of VMware's disk controllers and network cards stay.

use super::entries::{SOFTWARE, SYSTEM};
use super::gather::Gatherer;
use crate::error::Result;
use crate::fs::GuestPath;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, VmwareFacts};
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

mod files;
mod names;
mod packages;
mod residue;
mod software;
mod system;
mod trace;
mod winsock;

pub(super) const TOPIC: &str = "vmware-tools";

/// What of VMware Tools is in the guest.
pub fn parse(facts: &Facts) -> VmwareFacts {
    let registry = &facts.sources.registry;
    let sets = facts
        .windows
        .iter()
        .flat_map(|windows| windows.control_set_keys());
    let mut units: Vec<String> = sets
        .flat_map(|set| system::services(registry, &set))
        .collect();
    units.sort_unstable();
    units.dedup();
    let products = software::known(registry).products.into_iter();
    VmwareFacts {
        packages: products
            .map(|(code, _)| format!("VMware Tools {code}"))
            .collect(),
        units,
        tarball: false,
    }
}

/// Driver packages that the first boot removes.
pub(super) fn packages_left(facts: &Facts) -> Vec<String> {
    packages::left(facts)
}

/// Takes it out.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(windows) = &facts.windows else {
        return out;
    };
    let registry = &facts.sources.registry;
    for set in windows.control_set_keys() {
        let why = "services and drivers of VMware Tools, and all that would wait for them";
        let edits = system::edits(registry, &set);
        out.changes
            .extend(Change::hive(TOPIC, why, registry, SYSTEM, edits));
    }
    let why = "VMware's drivers would take the new machine's mouse";
    out.changes.extend(Change::hive(
        TOPIC,
        why,
        registry,
        SYSTEM,
        packages::edits(registry),
    ));
    let why = "what Windows knows of VMware Tools as a program: it cannot be uninstalled elsewhere";
    out.changes.extend(Change::hive(
        TOPIC,
        why,
        registry,
        SOFTWARE,
        software::edits(registry),
    ));
    out.changes.extend(remove_files(facts));
    let kept: Vec<&str> = ["pvscsi", "vmxnet3", "vmxnet3ndis6"]
        .into_iter()
        .filter(|name| {
            let mut sets = windows.control_set_keys();
            sets.any(|set| {
                registry
                    .value(SYSTEM, &format!("{set}\\Services\\{name}"), "ImagePath")
                    .is_some()
            })
        })
        .collect();
    if !kept.is_empty() {
        out.concerns.push(Concern::information(
            "vmware-drivers-kept",
            format!("the drivers {} stay: they do nothing without their devices, and the guest could go back", kept.join(", ")),
        ));
    }
    out
}

fn remove_files(facts: &Facts) -> Option<Change> {
    let windows = facts.windows.as_ref()?;
    let sources = &facts.sources;
    let (mut gone, mut dirs) = files::gone(sources, windows);
    let (more, folders) = packages::files(facts);
    gone.extend(more.into_iter().filter(|path| {
        sources.has(path)
            || sources.digests.contains_key(path)
            || path
                .rsplit_once('/')
                .is_some_and(|(dir, _)| folders.iter().any(|folder| folder == dir))
    }));
    dirs.extend(folders);
    for name in software::installers(&sources.registry) {
        let path = windows.in_system_root(&format!("Installer/{name}"));
        match sources
            .dirs
            .get(&path)
            .is_some_and(|names| !names.is_empty())
        {
            true => files::below(sources, &path, &mut gone, &mut dirs),
            false if sources.has(&path) => gone.push(path),
            false => {}
        }
    }
    let tasks = software::task_files(&sources.registry).into_iter();
    gone.extend(tasks.map(|task| windows.in_system_root(&format!("System32/Tasks/{task}"))));
    let first = gone.first()?;
    let paths = |paths: &[String]| paths.iter().map(GuestPath::new).collect();
    let action = Action::RemoveFiles {
        path: GuestPath::new(first),
        files: paths(&gone),
        dirs: paths(&dirs),
    };
    Some(Change::new(
        TOPIC,
        "programs, drivers and libraries of VMware Tools",
        action,
        None,
    ))
}

/// A name of one of VMware Tools' libraries, under which COM knows it.
fn names_library(name: &str) -> bool {
    [
        "vcbsnapshotprovider.dll",
        "vcbrequestor.dll",
        "vmstatsprovider.dll",
    ]
    .contains(&name.to_lowercase().as_str())
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[
    Check {
        name: "vmware-services-gone",
        what: "no service of VMware Tools is left, and nothing that would wait for one",
        severity: Severity::Advised,
        run: check_services,
    },
    Check {
        name: "vmware-residue",
        what: "the registry names VMware only where there is a reason for it",
        severity: Severity::Advised,
        run: check_residue,
    },
    Check {
        name: "winsock-catalogue",
        what: "Winsock's catalogues are numbered and counted rightly: without them there is no network",
        severity: Severity::Required,
        run: check_winsock,
    },
];

fn check_services(facts: &Facts, _: &Target) -> Finding {
    let Some(windows) = &facts.windows else {
        return Finding::skip("no Windows");
    };
    let registry = &facts.sources.registry;
    for set in windows.control_set_keys() {
        if let Some(name) = system::services(registry, &set).into_iter().next() {
            return Finding::fail(format!("{set} still has {name}"));
        }
        if let Some(key) = filtered(facts, &set) {
            return Finding::fail(format!("{key} has a filter of VMware Tools"));
        }
    }
    Finding::pass("no service, no filter")
}

fn filtered(facts: &Facts, set: &str) -> Option<String> {
    let registry = &facts.sources.registry;
    let places = ["Control\\Class", "Enum", "Control\\CriticalDeviceDatabase"];
    let mut keys = places
        .iter()
        .flat_map(|place| registry.below(SYSTEM, &format!("{set}\\{place}")));
    let key = keys.find(|key| key.values.values().any(system::names_filter))?;
    Some(key.path.clone())
}

fn check_residue(facts: &Facts, _: &Target) -> Finding {
    match residue::remaining(&facts.sources.registry) {
        (left, excused) if left.is_empty() => {
            Finding::pass(format!("{excused} keys, each with a reason"))
        }
        (left, _) => {
            let shown: Vec<&str> = left.iter().take(5).map(String::as_str).collect();
            let more = left.len().saturating_sub(shown.len());
            Finding::fail(format!("{} and {more} more", shown.join(", ")))
        }
    }
}

fn check_winsock(facts: &Facts, _: &Target) -> Finding {
    let Some(windows) = &facts.windows else {
        return Finding::skip("no Windows");
    };
    let mut sets = windows.control_set_keys();
    match sets.find_map(|set| winsock::fault(&facts.sources.registry, &set)) {
        Some(fault) => Finding::fail(fault),
        None => Finding::pass("numbered without a gap"),
    }
}

/// Reads what there is of VMware Tools.
///
/// # Errors
/// As those of [`Gatherer`].
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.in_control_sets("Services", 1)?;
    gather.in_control_sets("Services\\EventLog", 2)?;
    gather.in_control_sets("Services\\VSS\\Providers", 2)?;
    gather.in_control_sets("Services\\W32Time\\TimeProviders", 1)?;
    gather.in_control_sets("Services\\SharedAccess\\Parameters\\FirewallPolicy", 1)?;
    gather.in_control_sets("Control\\NetworkProvider", 1)?;
    gather.in_control_sets("Control\\Print\\Monitors", 1)?;
    let (winsock, depth) = winsock::GATHER;
    gather.in_control_sets(winsock, depth)?;
    let sets: Vec<String> = gather
        .control_sets()
        .iter()
        .map(|set| set.to_lowercase())
        .collect();
    gather.scan(SYSTEM, &mut |path, key| {
        let lower = path.to_lowercase();
        let set = lower.split('\\').next().unwrap_or_default();
        // Control sets that are never booted are nobody's concern.
        if set.starts_with("controlset") && !sets.iter().any(|live| live == set) {
            return Ok(false);
        }
        Ok(has_filter(&lower, key)? || trace::of(path, key)?)
    })?;
    packages::gather(gather)?;
    software::gather(gather)
}

/// The key names filters of VMware Tools, or a device that one of its drivers serves.
fn has_filter(path: &str, key: &crate::hive::Key<'_>) -> Result<bool> {
    let place = [
        "\\control\\class\\",
        "\\enum\\",
        "\\control\\criticaldevicedatabase\\",
    ];
    if !place.iter().any(|place| path.contains(place)) {
        return Ok(false);
    }
    for name in ["UpperFilters", "LowerFilters"] {
        if let Some(value) = key.value(name)? {
            let texts = crate::hive::typed::multi_string(&value).unwrap_or_default();
            if texts.iter().any(|text| names::is_tools(text, false)) {
                return Ok(true);
            }
        }
    }
    if !path.contains("criticaldevicedatabase") {
        return Ok(false);
    }
    let service = key.value("Service")?;
    let service = service.and_then(|value| crate::hive::typed::string(&value).ok());
    Ok(service.is_some_and(|service| names::is_tools(&service, false)))
}

#[cfg(test)]
mod tests;
