// SPDX-License-Identifier: Apache-2.0
//! Deciding how each card gets its old name. Nothing is guessed between several cards.

use std::collections::BTreeMap;

use super::{Naming, is_card, is_valid_name, keeps_kernel_names, naming, rules, systemd};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

const TOPIC: &str = "network";
const WHY: &str =
    "the guest's network configuration uses this name, and the new card would get another";

/// A card and how it is told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Card {
    name: String,
    mac: Option<String>,
}

/// Link files or rules for the cards that would be renamed.
pub fn propose(facts: &Facts, target: &Target, policy: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let cards = cards(facts, policy);
    let sources = &facts.sources;
    let naming = naming(sources);
    let several = cards.len() > 1;
    let pinned = |card: &&Card| {
        needs_pin(sources, card, several) && !(several && is_ambiguous(card, naming))
    };
    let pins: Vec<&Card> = cards.iter().filter(pinned).collect();
    out.concerns.extend(concerns(&cards, sources, naming));
    match naming {
        Naming::Rules => out.changes.extend(rules_change(sources, &pins, target)),
        Naming::Links | Naming::PermanentLinks => {
            for card in pins {
                let path = format!("{}/10-guestfix-{}.link", systemd::DIR, card.name);
                let text = link_text(card, naming, target);
                out.changes
                    .extend(Change::edit(TOPIC, WHY, sources, &path, text));
            }
            out.changes.extend(rivals_change(sources, &cards));
        }
    }
    out
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
    let cards = cards(facts, &Policy::default());
    if cards.is_empty() {
        return Finding::skip("no configuration names a card");
    }
    let several = cards.len() > 1;
    let lost: Vec<_> = cards
        .iter()
        .filter(|card| !is_pinned(sources, &card.name) && needs_pin(sources, card, several))
        .map(|card| card.name.as_str())
        .collect();
    if lost.is_empty() {
        let names: Vec<_> = cards.iter().map(|card| card.name.as_str()).collect();
        return Finding::pass(names.join(", "));
    }
    Finding::fail(format!(
        "nothing gives the new card the name {}",
        lost.join(", ")
    ))
}

/// The cards that the guest or the operator names; the operator's addresses win.
fn cards(facts: &Facts, policy: &Policy) -> Vec<Card> {
    let config = super::parse(&facts.sources);
    let given = policy.nics.iter().filter(|nic| is_valid_name(&nic.name));
    let mut cards: BTreeMap<String, Option<String>> = config
        .card_names()
        .into_iter()
        .filter(|name| is_card(name))
        .map(|name| (name.clone(), config.macs.get(&name).cloned()))
        .collect();
    cards.extend(given.map(|nic| (nic.name.clone(), super::mac(&nic.mac))));
    let card = |(name, mac)| Card { name, mac };
    cards.into_iter().map(card).collect()
}

fn is_kernel_name(name: &str) -> bool {
    let digits = name.strip_prefix("eth").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// False when the kernel's own name for the card will be right.
fn needs_pin(sources: &Sources, card: &Card, several: bool) -> bool {
    !(is_kernel_name(&card.name) && keeps_kernel_names(sources))
        || (several && naming(sources) == Naming::Rules)
        || (!several && card.name != "eth0")
}

/// Between several cards only an address tells, and a link file cannot swap the kernel's names.
fn is_ambiguous(card: &Card, naming: Naming) -> bool {
    card.mac.is_none() || (is_kernel_name(&card.name) && naming != Naming::Rules)
}

/// True when a link file or rule, that can still hold, gives the name.
fn is_pinned(sources: &Sources, name: &str) -> bool {
    let by_link = sources
        .files
        .iter()
        .filter(|(path, _)| path.starts_with(systemd::DIR) && path.ends_with(".link"))
        .filter_map(|(_, file)| systemd::link(&file.content))
        .any(|link| link.name == name && !link.old_machine);
    by_link
        || rules::parse(sources.bytes(rules::PATH).unwrap_or_default())
            .iter()
            .any(|rule| rule.name == name)
}

fn concerns(cards: &[Card], sources: &Sources, naming: Naming) -> Vec<Concern> {
    if cards.len() < 2 {
        return Vec::new();
    }
    let names = |wanted: &dyn Fn(&&Card) -> bool| {
        let names: Vec<_> = cards
            .iter()
            .filter(wanted)
            .map(|card| card.name.as_str())
            .collect();
        names.join(", ")
    };
    let links = naming != Naming::Rules;
    let ordered = names(&|card| is_kernel_name(&card.name) && (links || card.mac.is_none()));
    let unknown = names(&|card| {
        !is_kernel_name(&card.name) && card.mac.is_none() && !is_pinned(sources, &card.name)
    });
    let mut out = Vec::new();
    if !ordered.is_empty() {
        out.push(Concern::warning(
            "nic-order",
            format!("the names {ordered} follow the order of the cards; give the VM its cards in the order they had on VMware"),
        ));
    }
    if !unknown.is_empty() {
        out.push(Concern::warning(
            "nic-name-unknown",
            format!("with several cards nothing tells which is {unknown}; say so with --nic NAME=MAC for each"),
        ));
    }
    out
}

fn link_text(card: &Card, naming: Naming, target: &Target) -> String {
    let driver = driver(&target.nic_model);
    let matching = match (&card.mac, naming) {
        (Some(mac), Naming::PermanentLinks) => format!("PermanentMACAddress={mac}"),
        // Bonds and VLANs share their card's address but not its driver.
        (Some(mac), _) => format!("MACAddress={mac}\nDriver={driver}"),
        (None, _) => format!("Driver={driver}"),
    };
    format!(
        "# Written by guestfix: the network configuration uses the name {name}.\n[Match]\n{matching}\n\n[Link]\nName={name}\n",
        name = card.name
    )
}

/// The kernel's driver for a NIC model of KubeVirt.
fn driver(model: &str) -> &str {
    match model {
        "virtio" => "virtio_net",
        "rtl8139" => "8139cp",
        "ne2k_pci" => "ne2k-pci",
        other => other,
    }
}

fn rules_change(sources: &Sources, pins: &[&Card], target: &Target) -> Option<Change> {
    let old = sources.bytes(rules::PATH).unwrap_or_default();
    let have = rules::parse(old);
    let missing: Vec<&&Card> = pins
        .iter()
        .filter(|card| {
            !have
                .iter()
                .any(|r| r.name == card.name && (card.mac.is_none() || r.mac == card.mac))
        })
        .collect();
    let add: Vec<String> = missing
        .iter()
        .map(|card| {
            let of = match &card.mac {
                Some(mac) => format!("DRIVERS==\"?*\", ATTR{{address}}==\"{mac}\""),
                None => format!("DRIVERS==\"{}\"", driver(&target.nic_model)),
            };
            format!("SUBSYSTEM==\"net\", ACTION==\"add\", {of}, ATTR{{type}}==\"1\", KERNEL==\"eth*\", NAME=\"{}\"", card.name)
        })
        .collect();
    let pins: Vec<Card> = pins.iter().map(|card| (*card).clone()).collect();
    let new = rules::edit(old, &rivals(&have, &pins), &add);
    let nothing = new.is_empty();
    (!nothing).then(|| Change::edit(TOPIC, WHY, sources, rules::PATH, new))?
}

/// Rules that a link file could not overrule: they act first.
fn rivals_change(sources: &Sources, cards: &[Card]) -> Option<Change> {
    let old = sources.bytes(rules::PATH)?;
    let rivals = rivals(&rules::parse(old), cards);
    let why = "this rule would give a name to another card than the one it belongs to";
    Change::edit(
        TOPIC,
        why,
        sources,
        rules::PATH,
        rules::edit(old, &rivals, &[]),
    )
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
