// SPDX-License-Identifier: Apache-2.0
//! `--ip`: another address for a card, in the file of whichever program configures it. Only what is
//! about addresses of that family changes; where that cannot be done cleanly it is refused.

use super::Config;
use super::cards::{Card, Machine};
use super::changes::Draft;
use super::system::System;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::Policy;
use crate::plan::addressing::{Addressing, IpChoice};

mod ifupdown;
mod netplan;
mod sections;
mod shell;

const WHY: &str = "the operator gave the card another address";

/// The files that one rewrite gives: path and content.
type Written = Vec<(String, Vec<u8>)>;

/// A card whose address is to change.
#[derive(Debug, Clone, Copy)]
struct Wish<'a> {
    /// Its name, where the guest gives it one.
    name: &'a str,
    /// The address that the guest's files know it by.
    mac: &'a str,
    /// The address it will have, which may stand in the draft already.
    new_mac: &'a str,
    to: &'a Addressing,
}

impl Wish<'_> {
    /// True when the new address is IPv6.
    fn is_v6(&self) -> bool {
        matches!(self.to, Addressing::Static(fixed) if fixed.address.is_ipv6())
    }

    /// True for an address or network of the family that changes.
    fn is_mine(&self, address: &str) -> bool {
        address.contains(':') == self.is_v6()
    }
}

/// Sets every address asked for.
pub(super) fn set(
    machine: &Machine,
    policy: &Policy,
    sources: &Sources,
    draft: &mut Draft<'_>,
) -> Vec<Concern> {
    let mut out = Vec::new();
    for ip in &policy.ips {
        match one(machine, ip, sources, draft) {
            Ok(files) => {
                for (path, bytes) in files {
                    draft.set(&path, bytes, WHY);
                }
            }
            Err(why) => out.push(Concern::critical(
                "ip-refused",
                format!("--ip {} cannot be done: {why}", ip.mac),
            )),
        }
    }
    out
}

fn one(
    machine: &Machine,
    ip: &IpChoice,
    sources: &Sources,
    draft: &Draft<'_>,
) -> Result<Written, String> {
    let card = card(machine, &ip.mac);
    if card.is_none() && !machine.asked.contains(&ip.mac) {
        let names: Vec<&str> = machine
            .cards
            .iter()
            .map(|card| card.name.as_str())
            .collect();
        return Err(format!(
            "no card of the guest is known by that address; say which it is with --nic NAME={} (NAME is one of {})",
            ip.mac,
            names.join(", ")
        ));
    }
    let wish = Wish {
        name: card.map_or("", |card| card.name.as_str()),
        mac: card.and_then(|card| card.old.as_deref()).unwrap_or(&ip.mac),
        new_mac: card.and_then(|card| card.mac.as_deref()).unwrap_or(&ip.mac),
        to: &ip.address,
    };
    if super::parse(sources).lower.contains(wish.name) {
        return Err(format!(
            "{} is part of a bond, bridge or VLAN, which carries the address",
            wish.name
        ));
    }
    let files = configured(&wish, sources);
    match files.as_slice() {
        [(path, system)] => rewrite(&wish, path, *system, draft),
        [] => Err(format!(
            "no file that guestfix can edit configures {}",
            shown(&wish)
        )),
        several => {
            let paths: Vec<&str> = several.iter().map(|(path, _)| *path).collect();
            Err(format!(
                "{} is configured in several files: {}",
                shown(&wish),
                paths.join(", ")
            ))
        }
    }
}

fn shown<'a>(wish: &Wish<'a>) -> &'a str {
    if wish.name.is_empty() {
        wish.mac
    } else {
        wish.name
    }
}

/// The card of that address; the only card where nothing says that it has another.
fn card<'a>(machine: &'a Machine, mac: &str) -> Option<&'a Card> {
    let of = |have: &Option<String>| have.as_deref() == Some(mac);
    let known = machine
        .cards
        .iter()
        .find(|card| of(&card.mac) || of(&card.old));
    known.or_else(|| match machine.cards.as_slice() {
        [only] if !machine.several && only.mac.is_none() => Some(only),
        _ => None,
    })
}

/// The files that configure it, without those that only give names.
fn configured<'a>(wish: &Wish<'_>, sources: &'a Sources) -> Vec<(&'a str, System)> {
    let claims = |config: &Config| {
        config.nics.iter().any(|nic| nic.name == wish.name) || config.by_mac.contains(wish.mac)
    };
    super::files(sources)
        .filter(|(_, system, _)| !is_naming(*system))
        .filter(|(path, _, file)| {
            super::parse_file(path, &file.content).is_some_and(|config| claims(&config))
        })
        .map(|(path, system, _)| (path, system))
        .collect()
}

/// Gives names only, or is rendered into another's files.
fn is_naming(system: System) -> bool {
    matches!(
        system,
        System::Link | System::Rules | System::Table | System::CloudInit
    )
}

fn rewrite(
    wish: &Wish<'_>,
    path: &str,
    system: System,
    draft: &Draft<'_>,
) -> Result<Written, String> {
    let bytes = draft.bytes(path);
    if crate::linux::text::is_binary(bytes) || std::str::from_utf8(bytes).is_err() {
        return Err(format!("{path} is no plain text"));
    }
    if is_port(bytes) {
        return Err(format!(
            "{path} makes the card part of a bond or bridge, which carries the address"
        ));
    }
    let one = |bytes: Vec<u8>| Ok(vec![(path.to_owned(), bytes)]);
    match system {
        System::Networkd => one(sections::networkd(bytes, wish)),
        System::Keyfile => one(sections::keyfile(bytes, wish)),
        System::Netplan => one(netplan::set(bytes, wish)?),
        System::Ifupdown => one(ifupdown::set(bytes, wish)?),
        System::RedHat => one(shell::red_hat(bytes, wish)),
        System::Suse => Ok(shell::suse(path, bytes, wish, draft)),
        _ => Err(format!(
            "{path} is of a kind that guestfix reads but does not edit"
        )),
    }
}

/// True when the file puts its card into something else.
fn is_port(bytes: &[u8]) -> bool {
    const KEYS: [&str; 9] = [
        "master",
        "controller",
        "slave",
        "bridge",
        "bond",
        "bond-master",
        "bond_master",
        "team_master",
        "vrf",
    ];
    crate::linux::text::lines(bytes).iter().any(|line| {
        let text = line.text();
        let text = text.trim();
        if text.starts_with(['#', ';']) {
            return false;
        }
        let split = text
            .split_once('=')
            .or_else(|| text.split_once([' ', '\t']));
        split.is_some_and(|(key, value)| {
            let key = key.trim().to_ascii_lowercase();
            let value = value.trim().trim_matches(['"', '\'']);
            KEYS.contains(&key.as_str()) && !matches!(value, "" | "no" | "none")
        })
    })
}

#[cfg(test)]
mod tests;
