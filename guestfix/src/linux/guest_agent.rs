// SPDX-License-Identifier: Apache-2.0
//! The QEMU guest agent, through which KubeVirt learns addresses and freezes filesystems.

use super::gather::Gatherer;
use super::ini;
use super::init::{self, Init};
use super::packages::{self, Format};
use super::release::{self, Family};
use crate::error::Result;
use crate::fs::GuestPath;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Guest, Sources};
use crate::plan::policy::AgentPackages;
use crate::plan::{Action, Change, Policy, Proposal, SCRATCH, Target};
use crate::verify::{Check, Finding, Severity};

mod choose;

const TOPIC: &str = "guest-agent";
const UNIT: &str = "qemu-guest-agent.service";
const MASK: &str = "/etc/systemd/system/qemu-guest-agent.service";
const UNIT_FILES: [&str; 2] = [
    "/usr/lib/systemd/system/qemu-guest-agent.service",
    "/lib/systemd/system/qemu-guest-agent.service",
];
/// Debian's rule starts the agent when its port appears.
const RULES: [&str; 4] = [
    "/usr/lib/udev/rules.d/60-qemu-guest-agent.rules",
    "/lib/udev/rules.d/60-qemu-guest-agent.rules",
    "/usr/lib/udev/rules.d/99-qemu-guest-agent.rules",
    "/lib/udev/rules.d/99-qemu-guest-agent.rules",
];
/// The agent's scripts of init: Red Hat's, and Debian's and Alpine's.
const SCRIPTS: [&str; 2] = ["qemu-ga", "qemu-guest-agent"];
/// Seconds; 2 are usual.
const TIMEOUT: u32 = 120;
const PROGRAMS: [&str; 2] = ["/usr/sbin/qemu-ga", "/usr/bin/qemu-ga"];

/// How a unit is enabled: the directories of links that its `[Install]` section names.
pub fn parse(unit: &[u8]) -> Vec<String> {
    let all = ini::settings(unit);
    let of = |key: &str, end: &str| -> Vec<String> {
        ini::values(&all, "Install", key)
            .iter()
            .flat_map(|value| value.split_whitespace())
            .filter(|name| !name.contains('/'))
            .map(|name| format!("/etc/systemd/system/{name}.{end}"))
            .collect()
    };
    let mut dirs = of("WantedBy", "wants");
    dirs.extend(of("RequiredBy", "requires"));
    dirs
}

/// An installed agent is enabled; a missing one is installed from the operator's packages, or
/// reported, since it cannot be made up.
pub fn propose(facts: &Facts, _: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    if !is_installed(facts) {
        return missing(facts, policy);
    }
    let mut push =
        |why: &str, action: Action| out.changes.push(Change::new(TOPIC, why, action, None));
    if is_masked(facts) {
        let action = Action::RemoveFile { path: MASK.into() };
        push("the agent is installed but masked", action);
    }
    let why = "the agent is installed but not enabled";
    match init::of(facts) {
        Init::OpenRc | Init::SysV => {
            for link in missing_links(facts) {
                push(why, link);
            }
        }
        Init::Systemd | Init::Unknown => {
            if let Some((unit, dir)) = missing_link(facts) {
                let action = Action::Symlink {
                    path: GuestPath::new(format!("{dir}/{UNIT}")),
                    target: unit.to_owned(),
                };
                push(why, action);
            }
        }
    }
    out
}

/// Installs the agent where a package for this guest was given, else says how to.
fn missing(facts: &Facts, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let mut why = String::new();
    if let Some(packages) = &policy.guest_agent_packages {
        match package(facts, packages, policy.no_guest_code) {
            Ok(changes) => {
                out.changes = changes;
                return out;
            }
            Err(not) => why = format!(" and was not installed: {not}"),
        }
    }
    out.concerns.push(Concern::warning(
        "guest-agent-missing",
        format!("the QEMU guest agent is not installed{why}; KubeVirt shows no addresses and cannot freeze filesystems until you run in the guest: {}", install_command(facts)),
    ));
    out
}

fn package(
    facts: &Facts,
    packages: &AgentPackages,
    no_guest_code: bool,
) -> Result<Vec<Change>, String> {
    if no_guest_code {
        return Err("that takes a program of the guest".to_owned());
    }
    let dir = packages.dir.display();
    let (family, sources) = (release::family(facts), &facts.sources);
    let format = format_of(family, sources).ok_or("the guest has no package tool that is known")?;
    let tool = packages::program(sources, format).ok_or("the guest's package tool is missing")?;
    let choose = |names| choose::choose((&packages.files, names), format, family, &facts.guest);
    let agent = choose(choose::AGENT).ok_or_else(|| {
        let Guest {
            pretty_name, arch, ..
        } = &facts.guest;
        format!("no package in {dir} is for {pretty_name} on {arch}")
    })?;
    let options: &[&str] = match format {
        Format::Dpkg => &["--install"],
        Format::Rpm => &["-U"],
        Format::Apk => &["--no-network", "add"],
        _ => &["-U", "--noconfirm"],
    };
    let files: Vec<String> = std::iter::once(agent)
        .chain(lacking(sources).filter_map(choose))
        .map(str::to_owned)
        .collect();
    let run = |options: &[&str], last: Vec<String>| -> Vec<String> {
        let quiet: &[&str] = match format {
            Format::Rpm => &packages::RPM_QUIET,
            _ => &[],
        };
        let options = quiet.iter().chain(options).copied();
        let argv = std::iter::once(tool).chain(options);
        argv.map(str::to_owned).chain(last).collect()
    };
    let laid = files.iter().map(|file| format!("{SCRATCH}/{file}"));
    let action = Action::InstallPackage {
        argv: run(options, laid.collect()),
        files,
        timeout_s: TIMEOUT,
    };
    let why =
        format!("KubeVirt asks the agent for addresses and to freeze filesystems; from {dir}");
    let mut changes = vec![Change::new(TOPIC, why, action, None).optional()];
    if format == Format::Dpkg {
        // It unpacks before it sees what is missing; the other tools look first.
        let action = Action::RunGuest {
            argv: run(&["--purge"], vec!["qemu-guest-agent".to_owned()]),
            timeout_s: TIMEOUT,
        };
        let why = "takes back what could not be installed whole";
        changes.push(Change::new(TOPIC, why, action, None).optional().fallback());
    }
    Ok(changes)
}

/// The names of each library that the guest has not.
fn lacking(sources: &Sources) -> impl Iterator<Item = &'static [&'static str]> {
    let installed = packages::of(sources);
    choose::LIBRARIES.into_iter().filter(move |names| {
        let mut installed = installed.iter();
        !installed.any(|package| package.installed && names.contains(&package.name.as_str()))
    })
}

fn format_of(family: Family, sources: &Sources) -> Option<Format> {
    let by_family = match family {
        Family::Debian => Format::Dpkg,
        Family::RedHat | Family::Suse | Family::Photon | Family::Alt => Format::Rpm,
        Family::Alpine => Format::Apk,
        Family::Arch => Format::Pacman,
        Family::Gentoo | Family::Flatcar => return None,
        Family::Unknown => {
            let has = |format: &Format| packages::program(sources, *format).is_some();
            return [Format::Dpkg, Format::Rpm, Format::Apk, Format::Pacman]
                .into_iter()
                .find(|format| has(format));
        }
    };
    Some(by_family)
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "guest-agent",
    what: "the QEMU guest agent is installed and starts",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    if !is_installed(facts) {
        Finding::fail(format!("not installed: {}", install_command(facts)))
    } else if is_masked(facts) {
        Finding::fail(format!("{UNIT} is masked"))
    } else if !starts(facts) {
        Finding::fail("it is installed and not enabled")
    } else {
        Finding::pass("installed")
    }
}

/// Reads what decides about the agent.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for path in UNIT_FILES.into_iter().chain(RULES) {
        gather.file(path)?;
    }
    for path in PROGRAMS {
        gather.presence(path)?;
    }
    gather.link(MASK)?;
    let unit = UNIT_FILES
        .iter()
        .find_map(|path| gather.sources.bytes(path));
    for dir in parse(unit.unwrap_or_default()) {
        gather.link(&format!("{dir}/{UNIT}"))?;
    }
    let mut found = false;
    for name in SCRIPTS {
        found |= gather.file(&format!("/etc/init.d/{name}"))?;
    }
    if found {
        for above in ["/etc/rc.d", "/etc", "/etc/init.d"] {
            for level in 2..=5 {
                gather.dir(&format!("{above}/rc{level}.d"))?;
            }
        }
        gather.dir(&format!("{}/default", init::RUNLEVELS))?;
    }
    Ok(())
}

fn is_installed(facts: &Facts) -> bool {
    let packages = packages::of(&facts.sources);
    packages::version(&packages, "qemu-guest-agent").is_some()
        || PROGRAMS.iter().any(|path| facts.sources.has(path))
}

fn is_masked(facts: &Facts) -> bool {
    let link = facts.sources.links.get(MASK);
    link.is_some_and(|target| target == "/dev/null")
}

/// The unit and the directory in which a link to it is missing; `None` when the agent starts.
fn missing_link(facts: &Facts) -> Option<(&'static str, String)> {
    if RULES.iter().any(|path| facts.sources.has(path)) {
        return None;
    }
    let (unit, bytes) = UNIT_FILES
        .iter()
        .find_map(|path| Some((*path, facts.sources.bytes(path)?)))?;
    let dirs = parse(bytes);
    let linked = |dir: &String| facts.sources.links.contains_key(&format!("{dir}/{UNIT}"));
    let first = dirs.first()?.clone();
    (!dirs.iter().any(linked)).then_some((unit, first))
}

fn starts(facts: &Facts) -> bool {
    match init::of(facts) {
        Init::OpenRc | Init::SysV => missing_links(facts).is_empty(),
        Init::Systemd | Init::Unknown => missing_link(facts).is_none(),
    }
}

/// The agent's script of init, by name.
fn script(sources: &Sources) -> Option<(&'static str, &[u8])> {
    SCRIPTS.iter().find_map(|name| {
        let bytes = sources.bytes(&format!("/etc/init.d/{name}"))?;
        Some((*name, bytes))
    })
}

/// Links of a script that is there and that nothing starts.
fn missing_links(facts: &Facts) -> Vec<Action> {
    let Some((name, bytes)) = script(&facts.sources) else {
        return Vec::new();
    };
    let (levels, place) = init::levels(bytes);
    let dirs = init::link_dirs(facts, &levels);
    let started = dirs.iter().any(|dir| {
        let mut links = facts.sources.dir(dir).iter();
        links.any(|link| link == name || (link.starts_with('S') && link.ends_with(name)))
    });
    match started {
        true => Vec::new(),
        false => init::enable(facts, name, &levels, place),
    }
}

fn install_command(facts: &Facts) -> String {
    release::family(facts).install("qemu-guest-agent", &facts.guest.version)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;
    use crate::verify::Outcome;

    const RHEL_UNIT: &str = "[Unit]\nDescription=QEMU Guest Agent\n[Install]\nWantedBy=dev-virtio\\x2dports-org.qemu.guest_agent.0.device\n";

    fn run(fs: &MemoryFs) -> (Proposal, Outcome) {
        let facts = fixture::gathered(fs.clone());
        let out = propose(&facts, &fixture::target(), &Policy::default());
        (out, check(&facts, &fixture::target()).result)
    }

    fn debian() -> MemoryFs {
        MemoryFs::new()
            .file("/usr/sbin/qemu-ga", "")
            .file(
                "/lib/systemd/system/qemu-guest-agent.service",
                "[Install]\n",
            )
            .file("/lib/udev/rules.d/60-qemu-guest-agent.rules", "x\n")
    }

    #[test]
    fn a_missing_agent_is_told_with_the_command() {
        let (out, result) = run(&MemoryFs::new());
        assert!(out.changes.is_empty());
        assert!(
            out.concerns[0]
                .message
                .ends_with("the guest's own way to install qemu-guest-agent")
        );
        assert_eq!(result, Outcome::Fail);
    }

    #[test]
    fn debian_starts_it_by_a_rule_unless_it_is_masked() {
        let (out, result) = run(&debian());
        assert!(out.changes.is_empty());
        assert_eq!(result, Outcome::Pass);
        let (out, result) = run(&debian().symlink(MASK, "/dev/null"));
        assert_eq!(out.changes[0].kind, "remove-file");
        assert_eq!(result, Outcome::Fail);
    }

    #[test]
    fn where_no_rule_starts_it_the_unit_is_enabled() {
        let fs = MemoryFs::new().file("/usr/bin/qemu-ga", "").file(
            "/usr/lib/systemd/system/qemu-guest-agent.service",
            RHEL_UNIT,
        );
        let (out, result) = run(&fs);
        assert_eq!(
            out.changes[0].path,
            "/etc/systemd/system/dev-virtio\\x2dports-org.qemu.guest_agent.0.device.wants/qemu-guest-agent.service"
        );
        assert_eq!(result, Outcome::Fail);
        assert_eq!(run(&fixture::applied(fs, &out.changes)).1, Outcome::Pass);
    }

    #[test]
    fn scripts_of_init_are_linked_as_they_ask() {
        let script = "#!/bin/sh\n# chkconfig: 345 12 88\n";
        let fs = MemoryFs::new()
            .file("/usr/bin/qemu-ga", "")
            .file("/etc/init.d/qemu-ga", script)
            .dir("/etc/rc.d/rc3.d");
        let (out, result) = run(&fs);
        let paths: Vec<_> = out.changes.iter().map(|c| c.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/etc/rc.d/rc3.d/S12qemu-ga",
                "/etc/rc.d/rc4.d/S12qemu-ga",
                "/etc/rc.d/rc5.d/S12qemu-ga"
            ]
        );
        assert_eq!(result, Outcome::Fail);
        let (out, result) = run(&fixture::applied(fs, &out.changes));
        assert!(out.changes.is_empty());
        assert_eq!(result, Outcome::Pass);
        let alpine = MemoryFs::new()
            .file("/usr/bin/qemu-ga", "")
            .file("/etc/init.d/qemu-guest-agent", "#!/sbin/openrc-run\n")
            .file("/etc/runlevels/default/sshd", "");
        let (out, _) = run(&alpine);
        assert_eq!(
            out.changes[0].path,
            "/etc/runlevels/default/qemu-guest-agent"
        );
        assert_eq!(
            run(&fixture::applied(alpine, &out.changes)).1,
            Outcome::Pass
        );
    }

    #[test]
    fn a_missing_agent_is_installed_from_the_packages_given() {
        let fs = MemoryFs::new()
            .file(
                "/etc/os-release",
                "ID=debian\nVERSION_ID=12\nPRETTY_NAME=Debian\n",
            )
            .file("/usr/bin/dpkg", "");
        let mut facts = fixture::gathered(fs);
        facts.guest.arch = "x86_64".to_owned();
        let with = |file: &str, no_guest_code| Policy {
            guest_agent_packages: Some(AgentPackages {
                dir: "/srv/agents".into(),
                files: vec![file.to_owned()],
            }),
            no_guest_code,
            ..Policy::default()
        };
        let file = "qemu-guest-agent_7.2+dfsg-7+deb12u12_amd64.deb";
        let out = propose(&facts, &fixture::target(), &with(file, false));
        assert_eq!(
            out.changes[0].diff.as_deref(),
            Some(
                "$ /usr/bin/dpkg --install /tmp/guestfix/qemu-guest-agent_7.2+dfsg-7+deb12u12_amd64.deb\n"
            )
        );
        assert!(out.changes[0].opaque && out.changes[0].optional && out.changes[1].fallback);
        assert!(out.concerns.is_empty());
        let mut both = with(file, false);
        let library = "liburing2_2.3-3_amd64.deb".to_owned();
        both.guest_agent_packages
            .as_mut()
            .unwrap()
            .files
            .push(library);
        let out = propose(&facts, &fixture::target(), &both);
        let said = out.changes[0].diff.clone().unwrap();
        assert!(
            said.ends_with("deb12u12_amd64.deb /tmp/guestfix/liburing2_2.3-3_amd64.deb\n"),
            "{said}"
        );
        for policy in [with(file, true), with("x.deb", false)] {
            let out = propose(&facts, &fixture::target(), &policy);
            assert!(out.changes.is_empty());
            let said = &out.concerns[0].message;
            assert!(
                said.contains("was not installed")
                    && said.ends_with("apt-get install qemu-guest-agent"),
                "{said}"
            );
        }
    }
}
