// SPDX-License-Identifier: Apache-2.0
//! All other drivers of the bundle, laid out for plug and play: a folder in which Windows looks for
//! drivers of new devices, and from which the first boot imports them.

use std::collections::BTreeMap;

use drivers::{Flag, Member, Package, Pick, Picks};

use super::entries::{SOFTWARE, place};
use super::gather::Gatherer;
use crate::error::Result;
use crate::hive::script::Edit;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::inspect::windows::WindowsFacts;
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

pub(super) const TOPIC: &str = "drivers";
/// Below the system's directory; the folder that other converters use too.
pub(super) const FOLDER: &str = "Drivers/VirtIO";
/// Where Windows looks for drivers:
/// <https://learn.microsoft.com/windows-hardware/drivers/install/device-path-registry-value>.
const KEY: &str = "Microsoft\\Windows\\CurrentVersion";
const VALUE: &str = "DevicePath";
const ENTRY: &str = "%SystemRoot%\\Drivers\\VirtIO";

/// Lays the drivers out.
pub fn propose(facts: &Facts, _: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let (Some(windows), Some(picks)) = (&facts.windows, &policy.drivers) else {
        return out;
    };
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut any = false;
    for package in picks.packages() {
        any = true;
        if let Some(name) = clash(package, &seen) {
            out.concerns.push(Concern::warning(
                "driver-not-staged",
                format!(
                    "{} is left out: another driver has a different {name}",
                    package.inf.path
                ),
            ));
            continue;
        }
        let why = format!(
            "{} for the devices of a virtual machine",
            package.inf_name()
        );
        for member in members(package) {
            seen.insert(member.name().to_lowercase(), &member.sha256);
            let path =
                windows.in_system_root(&format!("{FOLDER}/{}", member.name().to_lowercase()));
            out.changes
                .extend(place(TOPIC, &why, &facts.sources, &path, member));
        }
    }
    if any {
        out.changes.extend(search_path(facts));
    }
    for pick in &picks.picks {
        out.concerns.extend(flagged(pick, policy));
    }
    out.concerns.extend(no_network(windows, picks));
    out
}

/// Every file of a package: INF, catalogue and what they install.
fn members(package: &Package) -> impl Iterator<Item = &Member> {
    let files = package.files.iter().map(|file| &file.member);
    [&package.inf]
        .into_iter()
        .chain(&package.catalog)
        .chain(files)
}

/// A file's name under which another package's lies already, with other content.
fn clash<'p>(package: &'p Package, seen: &BTreeMap<String, &str>) -> Option<&'p str> {
    let other = |member: &&Member| {
        let have = seen.get(&member.name().to_lowercase());
        have.is_some_and(|sha256| *sha256 != member.sha256)
    };
    members(package).find(other).map(Member::name)
}

fn search_path(facts: &Facts) -> Option<Change> {
    let registry = &facts.sources.registry;
    let old = registry.text(SOFTWARE, KEY, VALUE);
    let old = old.unwrap_or_else(|| "%SystemRoot%\\inf".to_owned());
    if old
        .split(';')
        .any(|entry| entry.trim_end_matches('\\').eq_ignore_ascii_case(ENTRY))
    {
        return None;
    }
    let why = "Windows looks for drivers of new devices there too";
    let new = format!("{};{ENTRY}", old.trim_end_matches(';'));
    Change::hive(
        TOPIC,
        why,
        registry,
        SOFTWARE,
        vec![Edit::expand(KEY, VALUE, &new)],
    )
}

/// What an operator should know of a driver.
fn flagged(pick: &Pick, policy: &Policy) -> Vec<Concern> {
    let name = pick.package.inf_name();
    let concern = |flag: &Flag| match flag {
        Flag::Unvouched { file, why } => {
            let message =
                format!("nobody vouches for {file}: {why}; Windows may refuse to load it");
            Some(match policy.allow_unsigned_drivers {
                true => Concern::warning("driver-unsigned", message),
                false => Concern::critical(
                    "driver-unsigned",
                    format!("{message}. Take another bundle, or give --allow-unsigned-drivers"),
                ),
            })
        }
        Flag::NearVersion { folder } => Some(Concern::warning(
            "driver-of-near-release",
            format!(
                "{name} is the one for {}: the bundle has none for this release",
                folder.title()
            ),
        )),
        Flag::Sha256Only => Some(Concern::warning(
            "driver-needs-sha256",
            format!(
                "{name} is signed with SHA-256 only: without the updates KB4474419 and KB3033929 this Windows stops with 0xc0000428"
            ),
        )),
        Flag::Sha1Only => Some(Concern::warning(
            "driver-sha1-only",
            format!("{name} is signed with SHA-1 only, which Secure Boot may refuse"),
        )),
        _ => None,
    };
    pick.flags.iter().filter_map(concern).collect()
}

fn no_network(windows: &WindowsFacts, picks: &Picks) -> Option<Concern> {
    let missing = picks
        .missing
        .iter()
        .find(|missing| missing.role == drivers::Role::Net)?;
    Some(Concern::warning(
        "no-network-driver",
        format!(
            "the bundle has no driver for virtio network cards of Windows {}: {}; give the VM the model e1000e",
            windows.build, missing.why
        ),
    ))
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "drivers-staged",
    what: "Windows finds the drivers of the new machine's devices without a network",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let Some(windows) = &facts.windows else {
        return Finding::skip("no Windows");
    };
    let folder = windows.in_system_root(FOLDER);
    let names = facts.sources.dir(&folder);
    let infs: Vec<&str> = names
        .iter()
        .filter(|name| name.ends_with(".inf"))
        .map(String::as_str)
        .collect();
    let path = facts
        .sources
        .registry
        .text(SOFTWARE, KEY, VALUE)
        .unwrap_or_default();
    if infs.is_empty() {
        return Finding::fail(format!("{folder} holds no driver"));
    }
    if !path.to_lowercase().contains(&ENTRY.to_lowercase()) {
        return Finding::fail(format!("{VALUE} is {path}"));
    }
    Finding::pass(infs.join(", "))
}

/// Reads what lies there.
///
/// # Errors
/// As those of [`Gatherer`].
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.key(SOFTWARE, KEY)?;
    let folder = gather.in_system_root(FOLDER);
    for name in gather.dir(&folder)? {
        gather.digest(&format!("{folder}/{}", name.to_lowercase()))?;
    }
    Ok(())
}
