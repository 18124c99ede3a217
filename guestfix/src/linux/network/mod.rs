// SPDX-License-Identifier: Apache-2.0
//! Network cards keep the names that the guest's configuration uses. On KubeVirt a card sits in
//! another slot behind another driver, so `ens192` would become `enp1s0` and stay without address.

use std::collections::{BTreeMap, BTreeSet};

use super::bootloader;
use super::gather::Gatherer;
use super::packages;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, NicFacts, Sources};

pub mod ifupdown;
pub mod netplan;
mod pin;
pub mod rules;
pub mod systemd;

pub use pin::{CHECKS, propose};

/// Links that, pointing to /dev/null, leave the kernel's names alone.
const NAMING_MASKS: [&str; 3] = [
    "/etc/systemd/network/99-default.link",
    "/etc/udev/rules.d/80-net-setup-link.rules",
    "/etc/udev/rules.d/80-net-name-slot.rules",
];
const UDEV_DIRS: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];

/// What the guest's files say about its interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Configured interfaces, `lo` left out, each name once.
    pub nics: Vec<NicFacts>,
    /// Interfaces that software makes: bonds, bridges, VLANs, tunnels.
    pub software: BTreeSet<String>,
    /// Interfaces that others stand on.
    pub lower: BTreeSet<String>,
    /// The card's own address, by name, where a file matches on it.
    pub macs: BTreeMap<String, String>,
}

/// Everything the gathered files say.
pub fn parse(sources: &Sources) -> Config {
    let mut all = Config::default();
    for (path, file) in &sources.files {
        if path.starts_with("/etc/network/") {
            all.merge(ifupdown::parse(&file.content, path));
        } else if path.starts_with(systemd::DIR) || path.starts_with(systemd::KEYFILES) {
            all.merge(systemd::parse(&file.content, path));
        } else if path.starts_with(netplan::DIR) {
            all.merge(netplan::parse(&file.content, path).unwrap_or_default());
        } else if path == rules::PATH {
            for rule in rules::parse(&file.content) {
                all.macs.extend(rule.mac.map(|mac| (rule.name, mac)));
            }
        }
    }
    all
}

/// Reads the network's files and fills in `facts.network`.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>, facts: &mut Facts) -> Result<()> {
    ifupdown::gather(gather)?;
    let wanted = |name: &str| {
        [".network", ".netdev", ".link"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    gather.files_in(systemd::DIR, wanted)?;
    gather.files_in(systemd::KEYFILES, |name| !name.starts_with('.'))?;
    gather.file(rules::PATH)?;
    for mask in NAMING_MASKS {
        gather.link(mask)?;
    }
    for dir in UDEV_DIRS {
        gather.dir(dir)?;
    }
    for path in gather.files_in(netplan::DIR, |name| name.ends_with(".yaml"))? {
        let bytes = gather.sources.bytes(&path).unwrap_or_default();
        if netplan::parse(bytes, &path).is_none() {
            gather.concerns.push(Concern::warning(
                "netplan-unread",
                format!("{path} is written in a way guestfix does not read; where it names a card (ens192), give that name with --nic NAME=MAC"),
            ));
        }
    }
    facts.network = parse(&gather.sources).nics;
    Ok(())
}

impl Config {
    /// Adds an interface, or further addresses to one that is known.
    fn add(&mut self, nic: NicFacts) {
        if matches!(nic.name.as_str(), "" | "lo") || nic.name.contains('/') {
            return;
        }
        let Some(known) = self.nics.iter_mut().find(|known| known.name == nic.name) else {
            self.nics.push(nic);
            return;
        };
        if known.method == "manual" {
            known.method = nic.method;
        }
        known.mac = known.mac.take().or(nic.mac);
        known.addresses.extend(nic.addresses);
    }

    fn note_software(&mut self, name: &str, software: bool, lower: Vec<String>) {
        if software {
            self.software.insert(name.to_owned());
        }
        self.lower.extend(lower);
    }

    fn merge(&mut self, other: Self) {
        for nic in other.nics {
            self.add(nic);
        }
        self.software.extend(other.software);
        self.lower.extend(other.lower);
        self.macs.extend(other.macs);
    }

    /// Names of the machine's own cards that the configuration relies on, sorted.
    pub fn card_names(&self) -> Vec<String> {
        let named = self.nics.iter().map(|nic| nic.name.as_str());
        let names: BTreeSet<String> = named
            .chain(self.lower.iter().map(String::as_str))
            .filter(|name| !self.software.contains(*name))
            // ens192.100 is a VLAN on ens192.
            .map(|name| name.split('.').next().unwrap_or(name).to_owned())
            .filter(|name| is_card(name) && !self.software.contains(name))
            .collect();
        names.into_iter().collect()
    }
}

/// False for patterns and for names that only software uses.
fn is_card(name: &str) -> bool {
    let software = [
        "bond", "team", "br-", "docker", "veth", "virbr", "vlan", "tun", "tap", "wg", "dummy",
        "ppp", "sit", "wl", "lo",
    ];
    is_valid_name(name) && !software.iter().any(|prefix| name.starts_with(prefix))
}

/// An interface name that the kernel takes and that is safe in a file name (`dev_valid_name`).
fn is_valid_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=15).contains(&name.len()) && name.bytes().all(good)
}

/// A hardware address in lower case with colons; `None` when it is none.
fn mac(text: &str) -> Option<String> {
    let text = text
        .trim()
        .trim_matches('"')
        .to_ascii_lowercase()
        .replace('-', ":");
    let good = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    (text.split(':').count() == 6 && text.split(':').all(good)).then_some(text)
}

/// `*` and `?` as the shell matches them, in linear space and without recursion.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (pattern, name);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (p.split_first(), n.split_first()) {
            (Some((b'*', rest)), _) => {
                retry = Some((rest, n));
                p = rest;
            }
            (Some((want, p_rest)), Some((have, n_rest))) if *want == b'?' || want == have => {
                (p, n) = (p_rest, n_rest);
            }
            (None, None) => return true,
            _ => match retry.and_then(|(p, n)| Some((p, n.split_first()?.1))) {
                Some((again, shorter)) => {
                    retry = Some((again, shorter));
                    (p, n) = (again, shorter);
                }
                None => return false,
            },
        }
    }
}

/// How udev names cards in this guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Rules only (before systemd 209).
    Rules,
    /// Link files that know `MACAddress=` and `Driver=`.
    Links,
    /// Link files that also know `PermanentMACAddress=` (systemd 245, NEWS).
    PermanentLinks,
}

fn naming(sources: &Sources) -> Naming {
    match udev_version(sources) {
        Some(version) if version < 209 => Naming::Rules,
        Some(version) if version >= 245 => Naming::PermanentLinks,
        Some(_) => Naming::Links,
        None if has_systemd_udev(sources) => Naming::Links,
        None => Naming::Rules,
    }
}

fn has_systemd_udev(sources: &Sources) -> bool {
    let has = |dir: &&str| sources.dir(dir).iter().any(|name| name == "systemd-udevd");
    UDEV_DIRS.iter().any(has)
}

/// The version of udev: of its package, or of the library beside it.
fn udev_version(sources: &Sources) -> Option<u32> {
    let packages = packages::of(sources);
    let package = ["udev", "systemd"]
        .iter()
        .find_map(|name| packages::version(&packages, name))
        .and_then(|version| {
            let upstream = version
                .split_once(':')
                .map_or(version.as_str(), |(_, v)| v)
                .to_owned();
            leading_number(&upstream)
        });
    package.or_else(|| {
        let names = UDEV_DIRS.iter().flat_map(|dir| sources.dir(dir));
        let mut shared = names.filter_map(|name| name.strip_prefix("libsystemd-shared-"));
        shared.find_map(leading_number)
    })
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text
        .len()
        .checked_sub(text.trim_start_matches(|c: char| c.is_ascii_digit()).len())?;
    text.get(..digits)?.parse().ok()
}

/// True when cards keep the names that the kernel gives them (`eth0`).
fn keeps_kernel_names(sources: &Sources) -> bool {
    let masked = NAMING_MASKS
        .iter()
        .any(|path| sources.links.get(*path).is_some_and(|to| to == "/dev/null"));
    let off = |arg: &str| arg == "net.ifnames=0";
    masked
        || naming(sources) == Naming::Rules
        || bootloader::parse(sources).iter().any(|(_, menu)| {
            let mut kernels = menu
                .linux
                .iter()
                .filter(|linux| linux.is_kernel())
                .peekable();
            kernels.peek().is_some() && kernels.all(|l| l.args.iter().any(|a| off(&a.text)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_the_shell() {
        for (pattern, name, want) in [
            ("*", "x", true),
            ("*.cfg", "50-cloud.cfg", true),
            ("*.cfg", "x.cfg~", false),
            ("a?c*", "abcd", true),
            ("a*b*c", "aXbYbZc", true),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("", "x", false),
        ] {
            assert_eq!(
                glob(pattern.as_bytes(), name.as_bytes()),
                want,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn addresses_are_brought_to_one_spelling() {
        assert_eq!(
            mac("00-50-56-AB-CD-EF").as_deref(),
            Some("00:50:56:ab:cd:ef")
        );
        assert_eq!(mac("random"), None);
        assert_eq!(mac("00:50:56:ab:cd"), None);
    }

    #[test]
    fn udev_is_dated_by_package_or_library() {
        let mut sources = Sources::default();
        assert_eq!(naming(&sources), Naming::Rules);
        sources
            .dirs
            .insert("/lib/systemd".into(), vec!["systemd-udevd".into()]);
        assert_eq!(naming(&sources), Naming::Links);
        sources.dirs.insert(
            "/usr/lib/systemd".into(),
            vec!["libsystemd-shared-252.so".into()],
        );
        assert_eq!(naming(&sources), Naming::PermanentLinks);
    }

    #[test]
    fn names_that_could_leave_a_directory_are_no_cards() {
        for name in ["../../x", "en*", "a b", "sixteen-letters-x", "br-lan", ""] {
            assert!(!is_card(name), "{name}");
        }
        assert!(is_card("ens192") && is_card("eth0") && is_card("lan_1"));
    }
}
