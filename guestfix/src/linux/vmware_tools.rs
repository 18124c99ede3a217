// SPDX-License-Identifier: Apache-2.0
//! VMware Tools: packages removed by the guest's own package manager, and everything that would
//! start them disabled besides, so that nothing depends on that program's success.

use super::gather::Gatherer;
use super::packages::{self, Package};
use super::text::{self, Edits};
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources, VmwareFacts};
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

const TOPIC: &str = "vmware-tools";
/// Units of open-vm-tools and of VMware's own installer, by any distribution's name.
const UNITS: [&str; 8] = [
    "open-vm-tools.service",
    "vgauth.service",
    "vgauthd.service",
    "vmtoolsd.service",
    "vmware-tools.service",
    "vmware-tools-thinprint.service",
    "run-vmblock\\x2dfuse.mount",
    "vmware-vmblock-fuse.service",
];
const UNIT_DIRS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The database of VMware's tarball installer.
const TARBALL: &str = "/etc/vmware-tools/locations";
const UNINSTALL: &str = "/usr/bin/vmware-uninstall-tools.pl";
const INIT_SCRIPT: &str = "/etc/init.d/vmware-tools";
const MODULES: &str = "/etc/modules";
const MODULES_DIR: &str = "/etc/modules-load.d";
/// Seconds; 0.2 are usual.
const TIMEOUT: u32 = 120;

/// The packages of VMware Tools among a guest's packages.
pub fn parse(packages: &[Package]) -> Vec<String> {
    let mut names: Vec<String> = packages
        .iter()
        .filter(|package| package.installed && is_tools(&package.name))
        .map(|package| package.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Purge, mask, and take the modules out of the lists.
pub fn propose(facts: &Facts, _: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let packages = &facts.vmware.packages;
    if !packages.is_empty() {
        if policy.no_guest_code {
            out.concerns.push(Concern::warning(
                "vmware-tools-left",
                format!(
                    "VMware Tools stay installed but disabled; remove them with: apt-get purge {}",
                    packages.join(" ")
                ),
            ));
        } else {
            out.changes.push(purge(packages));
        }
    }
    let mut masks = Vec::new();
    for unit in &facts.vmware.units {
        let action = Action::Symlink {
            path: format!("/etc/systemd/system/{unit}").as_str().into(),
            target: "/dev/null".to_owned(),
        };
        let why = "there is no VMware hypervisor for it to talk to";
        let mask = Change::new(TOPIC, why, action, None).optional();
        // A purge takes the units along: a mask left behind would disable a later installation.
        let mask = if out.changes.is_empty() {
            mask
        } else {
            mask.fallback()
        };
        masks.push(mask);
    }
    out.changes.extend(masks);
    for path in modules_files(&facts.sources) {
        let bytes = facts.sources.bytes(path).unwrap_or_default();
        let why = "these modules drive devices that only VMware has";
        out.changes.extend(Change::edit(
            TOPIC,
            why,
            &facts.sources,
            path,
            without_modules(bytes),
        ));
    }
    if facts.vmware.tarball {
        out.concerns.push(Concern::warning(
            "vmware-tools-tarball",
            format!("VMware Tools were installed by VMware's own installer and are only disabled; remove them in the guest with: {UNINSTALL}"),
        ));
    }
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
    left.extend(units.iter().map(|name| format!("unit {name}")));
    left.extend(tarball.then(|| format!("{TARBALL} of VMware's installer")));
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
    facts.vmware.packages = parse(&packages::of(&gather.sources));
    facts.vmware.tarball = gather.exists(TARBALL)?;
    let init_script = gather.exists(INIT_SCRIPT)?;
    gather.file(MODULES)?;
    gather.files_in(MODULES_DIR, |name| name.ends_with(".conf"))?;
    facts.vmware.units = Vec::new();
    for unit in UNITS {
        let mut there = unit == "vmware-tools.service" && init_script;
        for dir in UNIT_DIRS {
            there |= gather.exists(&format!("{dir}/{unit}"))?;
        }
        let mask = gather.link(&format!("/etc/systemd/system/{unit}"))?;
        if there && mask.as_deref() != Some("/dev/null") {
            facts.vmware.units.push(unit.to_owned());
        }
    }
    // vmtoolsd.service is Debian's alias: a link in /etc to a unit that is masked by its own name.
    let alias = |unit: &String| {
        let link = gather
            .sources
            .links
            .get(&format!("/etc/systemd/system/{unit}"));
        link.is_some_and(|to| {
            UNITS
                .iter()
                .any(|other| to.ends_with(&format!("/{other}")) && unit != other)
        })
    };
    facts.vmware.units.retain(|unit| !alias(unit));
    Ok(())
}

/// dpkg and not apt: it is faster, it needs no network and it refuses where another package depends
/// on the tools.
fn purge(packages: &[String]) -> Change {
    let mut argv: Vec<String> = ["/usr/bin/dpkg", "--purge"].map(str::to_owned).to_vec();
    argv.extend(packages.iter().cloned());
    let action = Action::RunGuest {
        argv,
        timeout_s: TIMEOUT,
    };
    Change::new(TOPIC, "VMware Tools have no use on KubeVirt", action, None).optional()
}

/// A Debian package name that belongs to the tools. The names go to a command line, so anything
/// that is no package name (deb-control(5), `Package`) does not.
fn is_tools(name: &str) -> bool {
    let good =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    let tools = name == "open-vm-tools"
        || name.starts_with("open-vm-tools-")
        || name.starts_with("vmware-tools-")
        || name == "open-vm-dkms"
        || name == "vmware-tools";
    tools && name.bytes().all(good)
}

fn modules_files(sources: &Sources) -> impl Iterator<Item = &str> {
    sources
        .files
        .keys()
        .map(String::as_str)
        .filter(|path| *path == MODULES || path.starts_with(MODULES_DIR))
}

fn without_modules(bytes: &[u8]) -> Vec<u8> {
    let mut edits = Edits::new();
    for line in text::lines(bytes) {
        let text = line.text();
        let module = text
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .replace('-', "_");
        if module.starts_with("vmw_")
            || matches!(
                module.as_str(),
                "vmwgfx"
                    | "vmxnet"
                    | "vmxnet3"
                    | "vmhgfs"
                    | "vmblock"
                    | "vmci"
                    | "vmsync"
                    | "vmmemctl"
            )
        {
            edits.insert(line.start, "#guestfix: ");
        }
    }
    edits.apply(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;
    use crate::verify::Outcome;

    fn debian() -> MemoryFs {
        MemoryFs::new()
            .file("/var/lib/dpkg/status", "Package: open-vm-tools\nStatus: install ok installed\n\nPackage: open-vm-tools-desktop\nStatus: install ok installed\n")
            .file("/lib/systemd/system/open-vm-tools.service", "")
            .file("/lib/systemd/system/vgauth.service", "")
            .symlink("/etc/systemd/system/vmtoolsd.service", "/lib/systemd/system/open-vm-tools.service")
            .file("/etc/modules", "# list\r\nloop\r\nvmw_pvscsi\r\nvmwgfx x=1")
    }

    fn run(fs: MemoryFs, no_guest_code: bool) -> Proposal {
        let policy = Policy {
            no_guest_code,
            ..Policy::default()
        };
        propose(&fixture::gathered(fs), &fixture::target(), &policy)
    }

    #[test]
    fn packages_are_purged_and_units_masked_where_that_fails() {
        let out = run(debian(), false);
        let what: Vec<_> = out
            .changes
            .iter()
            .map(|c| (c.kind.as_str(), c.path.as_str(), c.optional, c.fallback))
            .collect();
        assert_eq!(
            what,
            [
                ("run-guest-program", "/usr/bin/dpkg", true, false),
                (
                    "symlink",
                    "/etc/systemd/system/open-vm-tools.service",
                    true,
                    true
                ),
                ("symlink", "/etc/systemd/system/vgauth.service", true, true),
                ("write-file", "/etc/modules", false, false),
            ]
        );
        assert_eq!(
            out.changes[0].diff.as_deref(),
            Some("$ /usr/bin/dpkg --purge open-vm-tools open-vm-tools-desktop\n")
        );
        assert_eq!(
            fixture::written(&out.changes, "/etc/modules").unwrap(),
            "# list\r\nloop\r\n#guestfix: vmw_pvscsi\r\n#guestfix: vmwgfx x=1"
        );
    }

    #[test]
    fn without_guest_code_they_are_disabled_and_the_command_is_told() {
        let out = run(debian(), true);
        assert!(out.changes.iter().all(|c| c.kind != "run-guest-program"));
        assert!(
            out.concerns[0]
                .message
                .ends_with("apt-get purge open-vm-tools open-vm-tools-desktop")
        );
        let after = fixture::applied(debian(), &out.changes);
        assert!(run(after, true).changes.is_empty());
    }

    #[test]
    fn the_check_sees_what_is_left() {
        let facts = fixture::gathered(debian());
        assert_eq!(check(&facts, &fixture::target()).result, Outcome::Fail);
        let clean = fixture::gathered(MemoryFs::new());
        assert_eq!(check(&clean, &fixture::target()).result, Outcome::Pass);
    }

    #[test]
    fn a_tarball_installation_is_disabled_and_told() {
        let out = run(
            MemoryFs::new()
                .file(TARBALL, "x")
                .file(INIT_SCRIPT, "#!/bin/sh\n"),
            false,
        );
        assert_eq!(out.changes.len(), 1);
        assert_eq!(
            out.changes[0].path,
            "/etc/systemd/system/vmware-tools.service"
        );
        assert_eq!(out.concerns[0].id, "vmware-tools-tarball");
    }

    #[test]
    fn a_hostile_package_name_reaches_no_command_line() {
        assert!(!is_tools("open-vm-tools-$(reboot)"));
        assert!(!is_tools("open-vm-tools --root=/"));
    }
}
