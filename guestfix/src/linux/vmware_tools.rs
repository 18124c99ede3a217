// SPDX-License-Identifier: Apache-2.0
//! VMware Tools: packages removed by the guest's own package manager, VMware's own installation by
//! its own database, and everything that would start them disabled besides, so that nothing depends
//! on a guest program's success.

use super::console;
use super::gather::Gatherer;
use super::packages::{self, Format, Package};
use super::release::{self, Family};
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, VmwareFacts};
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

mod cloud_init;
mod config;
mod startup;
mod tarball;
#[cfg(test)]
mod tests;

const TOPIC: &str = "vmware-tools";
/// Seconds; 0.2 are usual.
const TIMEOUT: u32 = 120;

/// The packages of VMware Tools among a guest's packages.
pub fn parse(packages: &[Package]) -> Vec<String> {
    let mut names: Vec<String> = tools(packages)
        .map(|package| package.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Purge, disable, and take the tools out of what configures the guest.
pub fn propose(facts: &Facts, _: &Target, policy: &Policy) -> Proposal {
    let mut out = packages_removed(facts, policy);
    let by_program = !out.changes.is_empty();
    out.changes.extend(tarball_removed(facts));
    let systemd = console::has_systemd(facts);
    for found in &facts.vmware.units {
        for action in startup::disable(&facts.sources, found, systemd) {
            let why = "there is no VMware hypervisor for it to talk to";
            let change = Change::new(TOPIC, why, action, None).optional();
            // A purge takes the units along: a mask left behind would disable a later installation.
            out.changes.push(match by_program {
                true => change.fallback(),
                false => change,
            });
        }
    }
    out.extend(config::propose(&facts.sources));
    out.changes.extend(cloud_init::propose(&facts.sources));
    out
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "vmware-tools-gone",
    what: "no package of VMware Tools is installed and none of their units starts",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let VmwareFacts {
        packages,
        units,
        tarball,
    } = &facts.vmware;
    let mut left: Vec<String> = packages
        .iter()
        .map(|name| format!("package {name}"))
        .collect();
    left.extend(units.iter().map(|name| match name.starts_with('/') {
        true => name.clone(),
        false => format!("unit {name}"),
    }));
    left.extend(tarball.then(|| format!("{} of VMware's installer", tarball::DATABASE)));
    if left.is_empty() {
        return Finding::pass("nothing of them is left");
    }
    Finding::fail(left.join(", "))
}

/// Fills in `facts.vmware`.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>, facts: &mut Facts) -> Result<()> {
    let packages = packages::of(&gather.sources);
    facts.vmware.packages = parse(&packages);
    facts.vmware.tarball = tarball::gather(gather)?;
    let theirs: Vec<Package> = tools(&packages).cloned().collect();
    facts.vmware.units = startup::gather(gather, &theirs)?;
    config::gather(gather)?;
    cloud_init::gather(gather)
}

/// One command for each tool that has such packages.
fn packages_removed(facts: &Facts, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let all = packages::of(&facts.sources);
    for format in [
        Format::Dpkg,
        Format::Rpm,
        Format::Apk,
        Format::Pacman,
        Format::Portage,
    ] {
        let of: Vec<Package> = tools(&all)
            .filter(|p| p.format == format)
            .cloned()
            .collect();
        let names = parse(&of);
        if names.is_empty() {
            continue;
        }
        let command = removal(format, packages::program(&facts.sources, format), &names);
        match command.filter(|_| !policy.no_guest_code) {
            Some(argv) => {
                let action = Action::RunGuest {
                    argv,
                    timeout_s: TIMEOUT,
                };
                let why = "VMware Tools have no use on KubeVirt";
                out.changes
                    .push(Change::new(TOPIC, why, action, None).optional());
            }
            None => {
                let command = family(facts, format).remove(&names, &facts.guest.version);
                out.concerns.push(Concern::warning(
                    "vmware-tools-left",
                    format!(
                        "VMware Tools stay installed but disabled; remove them with: {command}"
                    ),
                ));
            }
        }
    }
    out
}

/// The family, which of an unknown guest its packages tell.
fn family(facts: &Facts, format: Format) -> Family {
    match (release::family(facts), format) {
        (Family::Unknown, Format::Dpkg) => Family::Debian,
        (Family::Unknown, Format::Rpm) => Family::RedHat,
        (Family::Unknown, Format::Apk) => Family::Alpine,
        (Family::Unknown, Format::Pacman) => Family::Arch,
        (Family::Unknown, Format::Portage) => Family::Gentoo,
        (known, _) => known,
    }
}

/// The low tools and not those above them: they are faster, need no network, and refuse where
/// another package depends on the tools.
fn removal(format: Format, program: Option<&str>, names: &[String]) -> Option<Vec<String>> {
    let options: &[&str] = match format {
        Format::Dpkg => &["--purge"],
        // A library may be there for two architectures.
        Format::Rpm => &["-e", "--allmatches"],
        Format::Apk => &["--no-network", "del"],
        Format::Pacman => &["-Rn", "--noconfirm"],
        Format::Portage => return None,
    };
    let program = match format {
        // Known to be there: its database is.
        Format::Dpkg => program.unwrap_or("/usr/bin/dpkg"),
        _ => program?,
    };
    let quiet: &[&str] = match format {
        Format::Rpm => &packages::RPM_QUIET,
        _ => &[],
    };
    let options = quiet.iter().chain(options).copied();
    let argv = std::iter::once(program).chain(options);
    Some(
        argv.map(str::to_owned)
            .chain(names.iter().cloned())
            .collect(),
    )
}

fn tarball_removed(facts: &Facts) -> Option<Change> {
    if !facts.vmware.tarball {
        return None;
    }
    let (files, dirs) = tarball::removable(&facts.sources);
    let action = Action::RemoveFiles {
        path: tarball::DATABASE.into(),
        files,
        dirs,
    };
    let why = "VMware's own installer put these files there, by its own database";
    Some(Change::new(TOPIC, why, action, None).optional())
}

fn tools(packages: &[Package]) -> impl Iterator<Item = &Package> {
    let theirs = |package: &&Package| package.installed && is_tools(&package.name);
    packages.iter().filter(theirs)
}

/// The name of a package that belongs to the tools. The names go to a command line, so anything
/// that is no package name does not.
fn is_tools(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_');
    let lower = name.to_ascii_lowercase();
    let tools = [
        "open-vm-tools",
        "vmware-tools",
        "vmwaretools",
        "open-vm-dkms",
        "open-vm-modules",
        "open-vm-source",
        "vmware-open-vm-tools",
        "kmod-vmware-tools",
        "vmware-guest-kmp",
        "vmware-kmp",
    ];
    let theirs = tools.iter().any(|tool| {
        let rest = lower.strip_prefix(tool);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
    });
    theirs && !name.starts_with('-') && name.bytes().all(good)
}
