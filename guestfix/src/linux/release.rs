// SPDX-License-Identifier: Apache-2.0
//! Which Linux this is: os-release and its elders, the architecture of a system binary, the host
//! name.

use std::io::Read as _;

use super::gather::Gatherer;
use super::shell;
use crate::error::Result;
use crate::fs::Tree;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Guest, Sources};
use crate::plan::{Policy, Proposal, Target};
use crate::verify::Check;

mod family;
pub(super) mod image;
mod older;
#[cfg(test)]
mod tests;

pub use family::{Family, major};

/// Where os-release(5) may lie, the first that exists wins.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
const HOSTNAME: &str = "/etc/hostname";
const SYSCONFIG_NETWORK: &str = "/etc/sysconfig/network";

/// Programs that every Linux has one of; their ELF header tells the architecture.
const BINARIES: [&str; 5] = [
    "/bin/sh",
    "/bin/bash",
    "/sbin/init",
    "/usr/bin/env",
    "/bin/ls",
];

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
    files(gather)?;
    for path in [HOSTNAME, SYSCONFIG_NETWORK] {
        gather.file(path)?;
    }
    let mut release = of(&gather.sources);
    if release.id.is_empty() && image::is_flatcar(facts) {
        release = Release {
            id: "flatcar".to_owned(),
            pretty_name: "Flatcar".to_owned(),
            ..Release::default()
        };
    }
    facts.guest = Guest {
        family: "linux".to_owned(),
        distro: (!release.id.is_empty()).then(|| release.id.clone()),
        pretty_name: release.pretty_name.clone(),
        version: release.version.clone(),
        arch: arch(gather.tree())?,
        hostname: hostname(&gather.sources),
        ..Guest::default()
    };
    if let Some(concern) = image::concern(gather, &release, facts)? {
        gather.concerns.push(concern);
    } else if Family::of(&release) == Family::Unknown {
        let name = &release.pretty_name;
        gather.concerns.push(Concern::warning(
            "unknown-distro",
            format!("{name} is not a distribution guestfix was made for; what is common to all Linux guests is converted"),
        ));
    }
    Ok(())
}

/// Reads what names the release; the older files only where os-release does not.
fn files(gather: &mut Gatherer<'_>) -> Result<()> {
    for path in OS_RELEASE {
        gather.file(path)?;
    }
    if current(&gather.sources).is_none() {
        image::gather(gather)?;
    }
    if current(&gather.sources).is_none() {
        for path in older::FILES {
            gather.file(path)?;
        }
    }
    Ok(())
}

/// What to call the guest whose root this is.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn title(tree: &Tree) -> Result<String> {
    let mut gather = Gatherer::new(tree);
    files(&mut gather)?;
    Ok(of(&gather.sources).pretty_name)
}

/// The release as the gathered files tell it, older files serving where os-release is missing or
/// empty.
pub fn of(sources: &Sources) -> Release {
    current(sources)
        .or_else(|| older::of(sources))
        .unwrap_or_else(|| Release {
            pretty_name: "Linux".to_owned(),
            ..Release::default()
        })
}

/// The family of a gathered guest.
pub fn family(facts: &Facts) -> Family {
    match facts.guest.distro.as_deref() {
        Some("flatcar") => Family::Flatcar,
        _ => Family::of(&of(&facts.sources)),
    }
}

fn current(sources: &Sources) -> Option<Release> {
    let mut found = OS_RELEASE.iter().filter_map(|path| sources.bytes(path));
    found.find_map(|bytes| Some(parse(bytes)).filter(|release| !release.id.is_empty()))
}

fn hostname(sources: &Sources) -> Option<String> {
    let first = sources.bytes(HOSTNAME).and_then(older::first_line);
    first.or_else(|| {
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
