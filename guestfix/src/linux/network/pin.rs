// SPDX-License-Identifier: Apache-2.0
//! How each card gets its old name: by a link file, or by a rule where udev is older than those.

use super::cards::{self, Card, Machine, is_kernel_name};
use super::changes::Draft;
use super::naming::{Naming, keeps_kernel_names, naming};
use super::system::{self, System};
use super::{rules, systemd};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::{Policy, Target};
use crate::verify::{Check, Finding, Severity};

const WHY: &str =
    "the guest's network configuration uses this name, and the new card would get another";

/// Link files or rules for the cards that would be renamed.
pub(super) fn pin(
    machine: &Machine,
    sources: &Sources,
    target: &Target,
    policy: &Policy,
    draft: &mut Draft<'_>,
) -> Vec<Concern> {
    let naming = naming(sources);
    let kernel = keeps_kernel_names(sources);
    let pinned = |card: &&Card| {
        needs_pin(sources, card, machine.several)
            && !(machine.several && is_ambiguous(card, naming, kernel))
    };
    let pins: Vec<&Card> = machine.cards.iter().filter(pinned).collect();
    match naming {
        Naming::Rules => add_rules(&pins, machine, target, draft),
        Naming::Links | Naming::PermanentLinks => {
            for card in pins {
                let path = format!("{}/10-guestfix-{}.link", systemd::DIR, card.name);
                draft.set(&path, link_text(card, machine, naming, target).into(), WHY);
            }
        }
    }
    silence_rivals(machine, draft);
    cards::concerns(machine, policy, naming, |name| is_pinned(sources, name))
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "nic-names-kept",
    what: "every network card that the guest's configuration names will have that name",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let sources = &facts.sources;
    let machine = cards::machine(facts, &Policy::default());
    if machine.cards.is_empty() {
        return Finding::skip("no configuration names a card");
    }
    let lost: Vec<_> = machine
        .cards
        .iter()
        .filter(|card| !is_pinned(sources, &card.name) && needs_pin(sources, card, machine.several))
        .map(|card| card.name.as_str())
        .collect();
    if lost.is_empty() {
        let names: Vec<_> = machine
            .cards
            .iter()
            .map(|card| card.name.as_str())
            .collect();
        return Finding::pass(names.join(", "));
    }
    Finding::fail(format!(
        "nothing gives the new card the name {}",
        lost.join(", ")
    ))
}

/// False when the kernel's own name for the card will be right.
fn needs_pin(sources: &Sources, card: &Card, several: bool) -> bool {
    let kept = is_kernel_name(&card.name) && keeps_kernel_names(sources);
    !kept
        || (naming(sources) == Naming::Rules && (several || is_counted(sources)))
        || (!several && card.name != "eth0")
}

/// udev's generator gives a card with a new address the next number that its file does not have.
fn is_counted(sources: &Sources) -> bool {
    !rules::parse(sources.bytes(rules::PATH).unwrap_or_default()).is_empty()
}

/// Between several cards only an address tells, and a link file cannot swap the kernel's names.
fn is_ambiguous(card: &Card, naming: Naming, kernel: bool) -> bool {
    card.mac.is_none() || (is_kernel_name(&card.name) && kernel && naming != Naming::Rules)
}

/// True when a link file or rule, that can still hold, gives the name.
fn is_pinned(sources: &Sources, name: &str) -> bool {
    super::files(sources).any(|(_, system, file)| match system {
        System::Link => {
            let link = systemd::link(&file.content);
            link.is_some_and(|link| link.name == name && !link.old_machine)
        }
        System::Rules => {
            let rules = rules::parse(&file.content);
            rules
                .iter()
                .any(|rule| rule.name == name && !rule.old_machine)
        }
        _ => false,
    })
}

/// The address by which a card is matched: an only card is matched by its driver, whatever
/// address it gets, unless the operator says which.
fn match_mac<'a>(card: &'a Card, machine: &Machine) -> Option<&'a String> {
    card.mac.as_ref().filter(|_| machine.several || card.given)
}

fn link_text(card: &Card, machine: &Machine, naming: Naming, target: &Target) -> String {
    let driver = driver(&target.nic_model);
    let matching = match (match_mac(card, machine), naming) {
        (Some(mac), Naming::PermanentLinks) => format!("PermanentMACAddress={mac}"),
        // Bonds and VLANs share their card's address but neither its driver nor its type.
        (Some(mac), _) => format!("MACAddress={mac}\nDriver={driver}\nType=ether"),
        (None, _) => format!("Driver={driver}"),
    };
    format!(
        "# Written by guestfix: the network configuration uses the name {name}.\n[Match]\n{matching}\n\n[Link]\nName={name}\n",
        name = card.name
    )
}

/// The kernel's driver for a NIC model of KubeVirt.
pub(super) fn driver(model: &str) -> &str {
    match model {
        "virtio" => "virtio_net",
        "rtl8139" => "8139cp",
        "ne2k_pci" => "ne2k-pci",
        other => other,
    }
}

fn add_rules(pins: &[&Card], machine: &Machine, target: &Target, draft: &mut Draft<'_>) {
    let old = draft.bytes(rules::PATH).to_vec();
    let have = rules::parse(&old);
    let mut add = Vec::new();
    for card in pins {
        let mac = match_mac(card, machine);
        let driver = driver(&target.nic_model);
        let of = match mac {
            Some(mac) => format!("DRIVERS==\"?*\", ATTR{{address}}==\"{mac}\""),
            None => format!("DRIVERS==\"{driver}\""),
        };
        let rule = format!(
            "SUBSYSTEM==\"net\", ACTION==\"add\", {of}, ATTR{{type}}==\"1\", KERNEL==\"eth*\", NAME=\"{}\"",
            card.name
        );
        let done = have
            .iter()
            .any(|r| r.name == card.name && mac.is_some() && r.mac.as_ref() == mac)
            || old
                .windows(rule.len())
                .any(|window| window == rule.as_bytes());
        if !done {
            add.push(rule);
        }
    }
    if !add.is_empty() {
        draft.set(rules::PATH, rules::edit(&old, &[], &add), WHY);
    }
}

/// Rules act before link files, and the first of several wins.
fn silence_rivals(machine: &Machine, draft: &mut Draft<'_>) {
    for path in draft.paths(system::of, System::Rules) {
        let old = draft.bytes(&path).to_vec();
        let rivals = rivals(&rules::parse(&old), &machine.cards);
        if !rivals.is_empty() {
            let why = "this rule would give a name to another card than the one it belongs to";
            draft.set(&path, rules::edit(&old, &rivals, &[]), why);
        }
    }
}

/// Rules that give a card's name to another address, or a card's address another name.
fn rivals(have: &[rules::Rule], cards: &[Card]) -> Vec<usize> {
    let fights = |rule: &rules::Rule| {
        cards.iter().any(|card| {
            let (name, mac) = (rule.name == card.name, rule.mac == card.mac);
            rule.mac.is_some() && card.mac.is_some() && name != mac
        })
    };
    have.iter()
        .filter(|rule| fights(rule))
        .map(|rule| rule.at)
        .collect()
}

#[cfg(test)]
#[path = "pin_tests.rs"]
mod tests;
