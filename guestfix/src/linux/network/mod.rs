// SPDX-License-Identifier: Apache-2.0
//! Network cards keep the names that the guest's configuration uses. On KubeVirt a card sits in
//! another slot behind another driver, so `ens192` would become `enp1s0` and stay without address.

use std::collections::{BTreeMap, BTreeSet};

use super::gather::Gatherer;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, NicFacts, SourceFile, Sources};
use crate::vm::mac;

mod address;
mod cards;
mod changes;
pub mod cloud_init;
pub mod ifcfg;
pub mod ifupdown;
pub mod keyfile;
mod moved;
mod naming;
pub mod netifrc;
pub mod netplan;
pub mod others;
mod patterns;
mod pin;
pub mod rules;
pub mod system;
pub mod systemd;
pub mod wicked;

pub use changes::propose;
pub use pin::CHECKS;
use system::System;

/// Links that, pointing to /dev/null, leave the kernel's names alone.
const NAMING_MASKS: [&str; 3] = [
    "/etc/systemd/network/99-default.link",
    "/etc/udev/rules.d/80-net-setup-link.rules",
    "/etc/udev/rules.d/80-net-name-slot.rules",
];
const UDEV_DIRS: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];
/// What belongs to SUSE's configuration beside the interfaces' own files.
const SUSE_CONFIG: &str = "/etc/sysconfig/network/config";
/// SUSE's routes of all interfaces.
const SUSE_ROUTES: &str = "/etc/sysconfig/network/routes";

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
    /// Every hardware address that a configuration asks its card for.
    pub by_mac: BTreeSet<String>,
}

/// Everything the gathered files say.
pub fn parse(sources: &Sources) -> Config {
    let mut all = Config::default();
    // Rules outlive their cards: what a configuration itself asks for counts more.
    let remembers = |system| matches!(system, System::Rules | System::Table);
    let (memory, own): (Vec<_>, Vec<_>) =
        files(sources).partition(|(_, system, _)| remembers(*system));
    for (path, _, file) in own {
        all.merge(parse_file(path, &file.content).unwrap_or_default());
    }
    for (path, _, file) in memory {
        let macs = parse_file(path, &file.content).unwrap_or_default().macs;
        for (name, mac) in macs {
            all.macs.entry(name).or_insert(mac);
        }
    }
    all
}

/// One file, by the program that reads it; `None` when it is not understood.
fn parse_file(path: &str, bytes: &[u8]) -> Option<Config> {
    Some(match system::of(path)? {
        System::Networkd | System::Link => systemd::parse(bytes, path),
        System::Keyfile => keyfile::parse(bytes, path),
        System::Netplan => return netplan::parse(bytes, path),
        System::Ifupdown => ifupdown::parse(bytes, path),
        kind @ (System::RedHat | System::Suse) => ifcfg::parse(bytes, path, kind),
        System::Wicked => return wicked::parse(bytes, path),
        System::CloudInit => return cloud_init::parse(bytes, path),
        System::Netifrc => netifrc::parse(bytes, path),
        System::Etcnet => others::etcnet(bytes, path),
        System::Netctl => others::netctl(bytes, path),
        System::Dhcpcd => others::dhcpcd(bytes, path),
        System::Table => others::table(bytes),
        System::Rules => {
            let named = rules::parse(bytes).into_iter();
            Config {
                macs: named
                    .filter_map(|rule| Some((rule.name, rule.mac?)))
                    .collect(),
                ..Config::default()
            }
        }
    })
}

/// The gathered files that are about the network.
fn files(sources: &Sources) -> impl Iterator<Item = (&str, System, &SourceFile)> {
    let all = sources.files.iter();
    all.filter_map(|(path, file)| Some((path.as_str(), system::of(path)?, file)))
}

/// Reads the network's files and fills in `facts.network`.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>, facts: &mut Facts) -> Result<()> {
    ifupdown::gather(gather)?;
    for dir in [
        system::SYSTEMD,
        system::KEYFILES,
        system::VENDOR_KEYFILES,
        system::NETPLAN,
        system::RED_HAT,
        system::SUSE,
        system::WICKED,
        system::CLOUD,
        system::NETCTL,
        system::RULES,
    ] {
        let wanted = |name: &str| {
            let path = format!("{dir}/{name}");
            !name.starts_with('.') && (system::of(&path).is_some() || name.starts_with("ifroute-"))
        };
        gather.files_in(dir, wanted)?;
    }
    for file in [
        system::CLOUD_MAIN,
        system::NETIFRC,
        SUSE_CONFIG,
        SUSE_ROUTES,
        system::DHCPCD,
    ] {
        gather.file(file)?;
    }
    for file in system::TABLES {
        gather.file(file)?;
    }
    for name in gather.dir(system::ETCNET)? {
        gather.file(&format!("{}/{name}/options", system::ETCNET))?;
    }
    gather.presence("/etc/cloud/cloud-init.disabled")?;
    for mask in NAMING_MASKS {
        gather.link(mask)?;
    }
    for dir in UDEV_DIRS {
        gather.dir(dir)?;
    }
    note_unread(gather);
    facts.network = parse(&gather.sources).nics;
    Ok(())
}

fn note_unread(gather: &mut Gatherer<'_>) {
    let unread: Vec<String> = files(&gather.sources)
        .filter(|(path, _, file)| parse_file(path, &file.content).is_none())
        .map(|(path, ..)| path.to_owned())
        .collect();
    for path in unread {
        gather.concerns.push(Concern::warning(
            "network-unread",
            format!("{path} is written in a way guestfix does not read; where it names a card (ens192), give that name with --nic NAME=MAC"),
        ));
    }
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
        for address in nic.addresses {
            if !known.addresses.contains(&address) {
                known.addresses.push(address);
            }
        }
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
        self.by_mac.extend(other.by_mac);
    }

    /// Names of the machine's own cards that the configuration relies on, sorted.
    pub fn card_names(&self) -> Vec<String> {
        let named = self.nics.iter().map(|nic| nic.name.as_str());
        let names: BTreeSet<String> = named
            .chain(self.lower.iter().map(String::as_str))
            .filter(|name| name.contains('.') || !self.software.contains(*name))
            // ens192.100 is a VLAN on ens192, ens192:1 another address of it.
            .map(|name| name.split(['.', ':']).next().unwrap_or(name).to_owned())
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
    let software = software.iter().any(|prefix| {
        let rest = name.strip_prefix(prefix);
        // "local" and "lobby" are names like any other.
        rest.is_some_and(|rest| *prefix != "lo" || rest.is_empty())
    });
    is_valid_name(name) && !software
}

/// An interface name that the kernel takes and that is safe in a file name (`dev_valid_name`).
fn is_valid_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=15).contains(&name.len()) && name.bytes().all(good)
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

#[cfg(test)]
mod golden_tests;
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
    fn names_that_could_leave_a_directory_are_no_cards() {
        for name in ["../../x", "en*", "a b", "sixteen-letters-x", "br-lan", ""] {
            assert!(!is_card(name), "{name}");
        }
        assert!(is_card("ens192") && is_card("eth0") && is_card("lan_1"));
    }
}
