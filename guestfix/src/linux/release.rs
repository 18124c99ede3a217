// SPDX-License-Identifier: Apache-2.0
//! Which Linux this is: os-release, the architecture of a system binary, the host name.

use std::io::Read as _;

use super::gather::Gatherer;
use super::{shell, text};
use crate::error::Result;
use crate::fs::Tree;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Guest, Sources};
use crate::plan::{Policy, Proposal, Target};
use crate::verify::Check;

/// Where os-release(5) may lie, the first that exists wins.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
const HOSTNAME: &str = "/etc/hostname";
const SYSCONFIG_NETWORK: &str = "/etc/sysconfig/network";
const DEBIAN_VERSION: &str = "/etc/debian_version";
const REDHAT_RELEASE: &str = "/etc/redhat-release";

/// Programs that every Linux has one of; their ELF header tells the architecture.
const BINARIES: [&str; 5] = [
    "/bin/sh",
    "/bin/bash",
    "/sbin/init",
    "/usr/bin/env",
    "/bin/ls",
];

/// Families whose files this room understands: os-release `ID` and `ID_LIKE` words.
const KNOWN: [&str; 2] = ["debian", "ubuntu"];

/// What os-release says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// `ID`.
    pub id: String,
    /// `ID_LIKE`, split.
    pub like: Vec<String>,
    /// `PRETTY_NAME`, or `NAME`.
    pub pretty_name: String,
    /// `VERSION_ID`.
    pub version: String,
}

/// Reads os-release(5).
pub fn parse(bytes: &[u8]) -> Release {
    let all = shell::assignments(bytes);
    let get = |name| shell::value(&all, name).unwrap_or_default().to_owned();
    let id = get("ID");
    let pretty_name = [get("PRETTY_NAME"), get("NAME"), id.clone()]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
    Release {
        like: get("ID_LIKE")
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        version: get("VERSION_ID"),
        pretty_name,
        id,
    }
}

/// Nothing is changed about the release.
pub fn propose(_: &Facts, _: &Target, _: &Policy) -> Proposal {
    Proposal::default()
}

/// Nothing is asserted about the release.
pub const CHECKS: &[Check] = &[];

/// Fills in `facts.guest`.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>, facts: &mut Facts) -> Result<()> {
    for path in OS_RELEASE {
        gather.file(path)?;
    }
    for path in [HOSTNAME, SYSCONFIG_NETWORK, DEBIAN_VERSION, REDHAT_RELEASE] {
        gather.file(path)?;
    }
    let release = of(&gather.sources);
    facts.guest = Guest {
        family: "linux".to_owned(),
        distro: (!release.id.is_empty()).then(|| release.id.clone()),
        pretty_name: release.pretty_name.clone(),
        version: release.version.clone(),
        arch: arch(gather.tree())?,
        hostname: hostname(&gather.sources),
        ..Guest::default()
    };
    let known = |id: &String| KNOWN.contains(&id.as_str());
    if !known(&release.id) && !release.like.iter().any(known) {
        let name = &release.pretty_name;
        gather.concerns.push(Concern::warning(
            "unknown-distro",
            format!("{name} is not a distribution guestfix was made for; what is common to all Linux guests is converted"),
        ));
    }
    Ok(())
}

/// What to call the guest whose root this is.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn title(tree: &Tree) -> Result<String> {
    let mut gather = Gatherer::new(tree);
    for path in OS_RELEASE.iter().chain(&[DEBIAN_VERSION, REDHAT_RELEASE]) {
        gather.file(path)?;
    }
    Ok(of(&gather.sources).pretty_name)
}

/// The release as the gathered files tell it, older files serving where os-release is missing.
pub fn of(sources: &Sources) -> Release {
    if let Some(bytes) = OS_RELEASE.iter().find_map(|path| sources.bytes(path)) {
        return parse(bytes);
    }
    if let Some(line) = first_line(sources, REDHAT_RELEASE) {
        let id = if line.starts_with("CentOS") {
            "centos"
        } else {
            "rhel"
        };
        return older(
            id,
            &line,
            line.split_once(" release ").map_or("", |(_, v)| v),
        );
    }
    match first_line(sources, DEBIAN_VERSION) {
        Some(line) => older("debian", &format!("Debian GNU/Linux {line}"), &line),
        None => Release {
            pretty_name: "Linux".to_owned(),
            ..Release::default()
        },
    }
}

fn older(id: &str, name: &str, version: &str) -> Release {
    Release {
        id: id.to_owned(),
        pretty_name: name.to_owned(),
        version: version
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
        like: Vec::new(),
    }
}

fn first_line(sources: &Sources, path: &str) -> Option<String> {
    text::lines(sources.bytes(path)?)
        .into_iter()
        .map(|line| line.text().trim().to_owned())
        .find(|line| !line.is_empty() && !line.starts_with('#'))
}

fn hostname(sources: &Sources) -> Option<String> {
    first_line(sources, HOSTNAME).or_else(|| {
        let all = shell::assignments(sources.bytes(SYSCONFIG_NETWORK)?);
        shell::value(&all, "HOSTNAME").map(str::to_owned)
    })
}

/// The machine of the first system binary that is an ELF file; empty when there is none.
fn arch(tree: &Tree) -> Result<String> {
    for path in BINARIES {
        let Some(file) = tree.open(&path.into())? else {
            continue;
        };
        let mut head = Vec::with_capacity(20);
        if file.take(20).read_to_end(&mut head).is_ok()
            && let Some(arch) = elf_machine(&head)
        {
            return Ok(arch.to_owned());
        }
    }
    Ok(String::new())
}

/// `e_machine` of an ELF header (System V gABI, chapter 4), in the words of `uname -m`.
fn elf_machine(head: &[u8]) -> Option<&'static str> {
    head.strip_prefix(b"\x7fELF")?;
    let pair: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    let little = *head.get(5)? == 1;
    let machine = if little {
        u16::from_le_bytes(pair)
    } else {
        u16::from_be_bytes(pair)
    };
    match (machine, little) {
        (62, _) => Some("x86_64"),
        (3, _) => Some("i386"),
        (183, _) => Some("aarch64"),
        (40, _) => Some("arm"),
        (21, true) => Some("ppc64le"),
        (21, false) => Some("ppc64"),
        (22, _) => Some("s390x"),
        (243, _) => Some("riscv64"),
        _ => Some("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;

    const BOOKWORM: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";

    fn elf(machine: u8) -> Vec<u8> {
        let mut head = b"\x7fELF\x02\x01\x01".to_vec();
        head.resize(18, 0);
        head.extend([machine, 0, 1, 0]);
        head
    }

    #[test]
    fn debian_is_recognised() {
        let fs = MemoryFs::new()
            .symlink("/etc/os-release", "../usr/lib/os-release")
            .file("/usr/lib/os-release", BOOKWORM)
            .file("/etc/hostname", "# mine\nweb1\n")
            .symlink("/bin/sh", "dash")
            .file("/bin/dash", elf(62));
        let guest = fixture::gathered(fs).guest;
        assert_eq!(guest.distro.as_deref(), Some("debian"));
        assert_eq!(guest.pretty_name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(
            (guest.version.as_str(), guest.arch.as_str()),
            ("12", "x86_64")
        );
        assert_eq!(guest.hostname.as_deref(), Some("web1"));
    }

    #[test]
    fn an_unknown_distro_is_a_warning_and_no_error() {
        let fs = MemoryFs::new().file(
            "/etc/os-release",
            "ID='frob linux'\r\nBROKEN=\"\nVERSION_ID=7",
        );
        let facts = fixture::gathered(fs);
        assert_eq!(facts.guest.distro.as_deref(), Some("frob linux"));
        assert_eq!(facts.guest.version, "7");
        assert!(facts.concerns.iter().any(|c| c.id == "unknown-distro"));
    }

    #[test]
    fn old_releases_without_os_release_are_named() {
        let fs = MemoryFs::new().file("/etc/redhat-release", "CentOS release 6.10 (Final)\n");
        let guest = fixture::gathered(fs).guest;
        assert_eq!(
            (guest.distro.as_deref(), guest.version.as_str()),
            (Some("centos"), "6.10")
        );
    }

    #[test]
    fn a_short_or_foreign_binary_tells_nothing() {
        assert_eq!(elf_machine(b"\x7fELF\x02\x01"), None);
        assert_eq!(elf_machine(b"#!/bin/sh\nexit 0\n#####"), None);
        assert_eq!(elf_machine(&elf(183)), Some("aarch64"));
    }
}
