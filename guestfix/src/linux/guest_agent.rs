// SPDX-License-Identifier: Apache-2.0
//! The QEMU guest agent, through which KubeVirt learns addresses and freezes filesystems.

use super::gather::Gatherer;
use super::ini;
use super::packages;
use crate::error::Result;
use crate::fs::GuestPath;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::{Action, Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

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

/// An installed agent is enabled; a missing one is reported, since it cannot be made up.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    if !is_installed(facts) {
        out.concerns.push(Concern::warning(
            "guest-agent-missing",
            format!("the QEMU guest agent is not installed; KubeVirt shows no addresses and cannot freeze filesystems until you run in the guest: {}", install_command(facts)),
        ));
        return out;
    }
    if is_masked(facts) {
        let action = Action::RemoveFile { path: MASK.into() };
        let why = "the agent is installed but masked";
        out.changes.push(Change::new(TOPIC, why, action, None));
    }
    if let Some((unit, dir)) = missing_link(facts) {
        let action = Action::Symlink {
            path: GuestPath::new(format!("{dir}/{UNIT}")),
            target: unit.to_owned(),
        };
        let why = "the agent is installed but not enabled";
        out.changes.push(Change::new(TOPIC, why, action, None));
    }
    out
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
    } else if missing_link(facts).is_some() {
        Finding::fail(format!("{UNIT} is not enabled"))
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

fn install_command(facts: &Facts) -> &'static str {
    match facts.guest.distro.as_deref() {
        Some("rhel" | "centos" | "rocky" | "almalinux" | "ol" | "fedora") => {
            "yum install qemu-guest-agent"
        }
        Some("sles" | "opensuse" | "opensuse-leap" | "opensuse-tumbleweed") => {
            "zypper install qemu-guest-agent"
        }
        _ => "apt-get install qemu-guest-agent",
    }
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
                .ends_with("apt-get install qemu-guest-agent")
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
}
