// SPDX-License-Identifier: Apache-2.0
//! Network cards keep their addresses. On the new machine every card is a new one to Windows, with
//! a GUID of its own that nobody can know beforehand: its settings are read here, by GUID, and given
//! to the new card at the first boot, by its hardware address. The old card's are taken away, since
//! Windows asks about an address that an absent card has.

use super::entries::SYSTEM;
use super::firstboot;
use super::gather::Gatherer;
use crate::error::Result;
use crate::hive::script::Edit;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, NicFacts};
use crate::inspect::windows::WindowsFacts;
use crate::plan::addressing::Addressing;
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};
use crate::vm::Format;

mod cards;
mod ipv6;
mod script;

use cards::{Address, Card, Settings};
use script::Assignment;

pub(super) const TOPIC: &str = "network";

fn current(windows: &WindowsFacts) -> Option<String> {
    windows.control_set_keys().next()
}

/// The cards as the public facts have them.
pub fn parse(facts: &Facts) -> Vec<NicFacts> {
    let set = facts.windows.as_ref().and_then(current);
    let Some(set) = set else {
        return Vec::new();
    };
    let cards = cards::all(facts, &set).into_iter();
    cards
        .filter(|card| !card.ghost)
        .map(|card| card.facts(&set))
        .collect()
}

/// Writes what the first boot does, and takes the addresses from the old cards.
pub fn propose(facts: &Facts, _: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some((windows, set)) = facts.windows.as_ref().and_then(|w| Some((w, current(w)?))) else {
        return out;
    };
    let cards: Vec<Card> = cards::all(facts, &set)
        .into_iter()
        .filter(|card| !card.ghost)
        .collect();
    let (assignments, placed) = assignments(&cards, policy, &mut out.concerns);
    out.concerns.extend(cards.iter().filter_map(unread));
    if assignments.is_empty() {
        return out;
    }
    let path = firstboot::in_folder(windows, firstboot::NETWORK);
    let text = script::text(&assignments);
    let old = facts.sources.bytes(&path);
    if old.is_some_and(|old| old != text.as_bytes()) {
        // The old cards of an earlier conversion have lost what that file gives to the new ones.
        out.concerns.push(Concern::warning(
            "network-script-kept",
            format!("{path} of an earlier conversion stays as it is: undo that one first, or set the other cards after the first boot"),
        ));
        return out;
    }
    let why = "the new cards get the addresses that the old ones had";
    out.changes
        .extend(Change::edit(TOPIC, why, &facts.sources, &path, text));
    let mut edits = Vec::new();
    for set in windows.control_set_keys() {
        edits.extend(placed.iter().flat_map(|card| neutral(facts, &set, card)));
    }
    let why = "Windows asks about an address that a card has which is not there";
    out.changes.extend(Change::hive(
        TOPIC,
        why,
        &facts.sources.registry,
        SYSTEM,
        edits,
    ));
    out
}

/// Which card gets what; and the old cards whose settings went to a new one.
fn assignments<'c>(
    cards: &'c [Card],
    policy: &Policy,
    concerns: &mut Vec<Concern>,
) -> (Vec<Assignment>, Vec<&'c Card>) {
    let (mut out, mut placed) = (Vec::new(), Vec::new());
    let mut unknown = Vec::new();
    for card in cards {
        let Some(mac) = new_mac(card, cards, policy) else {
            if card.settings.is_static() {
                unknown.push(card);
            }
            continue;
        };
        let asked = policy
            .ips
            .iter()
            .find(|choice| choice.mac == mac || Some(&choice.mac) == card.mac.as_ref());
        let settings = match asked.map(|choice| &choice.address) {
            Some(Addressing::Dhcp) => {
                placed.push(card);
                continue;
            }
            Some(Addressing::Static(fixed)) => given(fixed, &card.settings),
            None => card.settings.clone(),
        };
        if settings.is_static() {
            placed.push(card);
            out.push(Assignment {
                name: card.name.clone(),
                mac,
                settings,
            });
        }
    }
    // A card that the guest never had.
    for choice in &policy.ips {
        let known = out.iter().any(|have| have.mac == choice.mac)
            || cards.iter().any(|card| {
                card.mac.as_ref() == Some(&choice.mac)
                    || new_mac(card, cards, policy).as_ref() == Some(&choice.mac)
            });
        if let (Addressing::Static(fixed), false) = (&choice.address, known) {
            let settings = given(fixed, &Settings::default());
            out.push(Assignment {
                name: choice.mac.clone(),
                mac: choice.mac.clone(),
                settings,
            });
        }
    }
    concerns.extend(nameless(&unknown, policy));
    (out, placed)
}

/// The settings asked for with `--ip`; what it does not say stays.
fn given(fixed: &crate::plan::addressing::Static, old: &Settings) -> Settings {
    Settings {
        addresses: vec![Address {
            ip: fixed.address,
            prefix: fixed.prefix,
        }],
        gateways: fixed.gateway.iter().map(|ip| (*ip, 0)).collect(),
        routes: Vec::new(),
        dns: if fixed.dns.is_empty() {
            old.dns.clone()
        } else {
            fixed.dns.clone()
        },
        ..old.clone()
    }
}

/// The hardware address that a card will have: as the operator says, as the description of the new
/// machine says where there is but one card, else the one it had.
fn new_mac(card: &Card, cards: &[Card], policy: &Policy) -> Option<String> {
    let named = policy
        .nics
        .iter()
        .find(|nic| nic.name.eq_ignore_ascii_case(&card.name));
    if let Some(nic) = named {
        return crate::vm::mac(&nic.mac);
    }
    let only = match (&policy.vm, cards) {
        (Some(vm), [_]) => match vm.nics.as_slice() {
            [nic] if vm.format == Format::KubeVirt || card.mac.is_none() => nic.mac.clone(),
            _ => None,
        },
        _ => None,
    };
    only.or_else(|| card.mac.clone())
}

fn nameless(unknown: &[&Card], policy: &Policy) -> Option<Concern> {
    if unknown.is_empty() {
        return None;
    }
    let list: Vec<String> = unknown
        .iter()
        .map(|card| {
            let addresses: Vec<String> = card
                .settings
                .addresses
                .iter()
                .map(|a| a.ip.to_string())
                .collect();
            format!("\"{}\" ({})", card.name, addresses.join(", "))
        })
        .collect();
    let machine: Vec<&str> = policy
        .vm
        .iter()
        .flat_map(|vm| &vm.nics)
        .filter_map(|nic| nic.mac.as_deref())
        .collect();
    let among = match machine.is_empty() {
        true => String::new(),
        false => format!(" (the machine has {})", machine.join(", ")),
    };
    Some(Concern::warning(
        "nic-address-unknown",
        format!(
            "nothing tells the hardware addresses of the cards {}, so their fixed addresses stay behind; say them with --nic NAME=MAC{among}",
            list.join(", ")
        ),
    ))
}

fn unread(card: &Card) -> Option<Concern> {
    let list: Vec<String> = card.unread.iter().map(ToString::to_string).collect();
    let mac = card.mac.as_deref().unwrap_or("MAC");
    (!list.is_empty()).then(|| {
        Concern::warning(
            "ipv6-address-left",
            format!("\"{}\" has the fixed IPv6 addresses {}, kept in a form that no known Windows writes: give them with --ip {mac}=ADDRESS/PREFIX or set them after the first boot", card.name, list.join(", ")),
        )
    })
}

/// Takes a card's fixed addresses away; it would ask DHCP, were it there.
fn neutral(facts: &Facts, set: &str, card: &Card) -> Vec<Edit> {
    let registry = &facts.sources.registry;
    let key = format!("{set}\\{}\\{}", cards::TCPIP, card.guid);
    let key6 = format!("{set}\\{}\\{}", cards::TCPIP6, card.guid);
    let mut out = Vec::new();
    if registry.dword(SYSTEM, &key, "EnableDHCP") == Some(0) {
        let values = [
            "IPAddress",
            "SubnetMask",
            "DefaultGateway",
            "DefaultGatewayMetric",
        ];
        let there = values
            .iter()
            .filter(|name| registry.value(SYSTEM, &key, name).is_some());
        out.extend(there.map(|name| Edit::unset(&*key, name)));
        out.push(Edit::dword(&*key, "EnableDHCP", 1));
    }
    out.extend(
        card.number
            .map(|number| ipv6::neutral(registry, set, number))
            .unwrap_or_default(),
    );
    for key in [&key, &key6] {
        let servers = registry.text(SYSTEM, key, "NameServer");
        if servers.is_some_and(|servers| !servers.is_empty()) {
            out.push(Edit::text(&**key, "NameServer", ""));
        }
    }
    out
}

/// There is something for the first boot to give to a card, or there was.
pub(super) fn wants_first_boot(facts: &Facts, policy: &Policy) -> bool {
    let Some((windows, set)) = facts.windows.as_ref().and_then(|w| Some((w, current(w)?))) else {
        return false;
    };
    let cards: Vec<Card> = cards::all(facts, &set)
        .into_iter()
        .filter(|card| !card.ghost)
        .collect();
    let script = firstboot::in_folder(windows, firstboot::NETWORK);
    facts.sources.has(&script) || !assignments(&cards, policy, &mut Vec::new()).0.is_empty()
}

/// Cards of the old machine, by their instances, which the first boot removes where it can.
pub(super) fn ghosts(facts: &Facts) -> Vec<String> {
    let set = facts.windows.as_ref().and_then(current);
    let cards = set.map(|set| cards::all(facts, &set)).unwrap_or_default();
    let old = cards.into_iter().map(|card| card.instance);
    // VMware's own cards, and the makers' cards as VMware imitates them.
    let vmware = |instance: &String| {
        let upper = instance.to_uppercase();
        upper.contains("VEN_15AD&") || upper.contains("15AD&REV_")
    };
    old.filter(vmware).collect()
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "network-kept",
    what: "no fixed address stays behind with a card that will not be there",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let Some((windows, set)) = facts.windows.as_ref().and_then(|w| Some((w, current(w)?))) else {
        return Finding::skip("no Windows");
    };
    let cards = cards::all(facts, &set);
    let fixed: Vec<String> = cards
        .iter()
        .filter(|card| !card.ghost && !card.settings.addresses.is_empty())
        .map(|card| card.name.clone())
        .collect();
    let script = firstboot::in_folder(windows, firstboot::NETWORK);
    match (fixed.is_empty(), facts.sources.has(&script)) {
        (false, _) => Finding::fail(format!(
            "{} have fixed addresses that the new cards will not get",
            fixed.join(", ")
        )),
        (true, true) => Finding::pass(format!("{script} gives them to the new cards")),
        (true, false) => Finding::pass("every card asks DHCP"),
    }
}

/// Reads the cards.
///
/// # Errors
/// As those of [`Gatherer`].
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.in_control_sets(cards::CLASS, 1)?;
    gather.in_control_sets(cards::CONNECTIONS, 2)?;
    gather.in_control_sets(cards::SETUP, 2)?;
    gather.in_control_sets(cards::TCPIP, 1)?;
    gather.in_control_sets(cards::TCPIP6, 1)?;
    gather.in_control_sets(cards::NETBT, 1)?;
    for table in ipv6::TABLES {
        gather.in_control_sets(table, 0)?;
    }
    gather.subtree(super::entries::SOFTWARE, cards::TOOLS, 1)?;
    for set in gather.control_sets().to_vec() {
        let class = format!("{set}\\{}", cards::CLASS);
        let names = gather
            .recorded(SYSTEM, &class)
            .map(|key| key.subkeys.clone());
        for name in names.unwrap_or_default() {
            let key = gather.recorded(SYSTEM, &format!("{class}\\{name}"));
            let instance = key.and_then(|key| key.value("DeviceInstanceID")?.text());
            if let Some(instance) = instance {
                gather.key(
                    SYSTEM,
                    &format!("{set}\\Enum\\{instance}\\Properties\\{}", cards::REMOVED),
                )?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
