// SPDX-License-Identifier: Apache-2.0
//! The machine's cards: what the guest's files, the operator and the description of the machine
//! say together. Nothing is guessed between several.

use std::collections::{BTreeMap, BTreeSet};

use super::naming::{Naming, keeps_kernel_names};
use super::{Config, is_valid_name};
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::Policy;
use crate::vm::{Format, Vm};

/// A card and how it is told from others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) name: String,
    /// The address it will have.
    pub(super) mac: Option<String>,
    /// The address that the guest's files know it by.
    pub(super) old: Option<String>,
    /// The operator says so, or a description of the new machine.
    pub(super) given: bool,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    pub(super) cards: Vec<Card>,
    /// There is more than one card, configured or not.
    pub(super) several: bool,
    /// Addresses of the description that belong to no card yet.
    pub(super) free: Vec<String>,
    /// Addresses that configurations ask for.
    pub(super) asked: BTreeSet<String>,
}

/// The cards that the guest or the operator names; the operator's addresses win.
pub(super) fn machine(facts: &Facts, policy: &Policy) -> Machine {
    let config = super::parse(&facts.sources);
    let names = possible(
        config.card_names(),
        &config,
        keeps_kernel_names(&facts.sources),
    );
    let mut cards: BTreeMap<String, Card> = BTreeMap::new();
    for name in names {
        let old = config.macs.get(&name).cloned();
        let card = Card {
            mac: old.clone(),
            old,
            given: false,
            name: name.clone(),
        };
        cards.insert(name, card);
    }
    for nic in policy.nics.iter().filter(|nic| is_valid_name(&nic.name)) {
        let card = cards.entry(nic.name.clone()).or_default();
        card.name.clone_from(&nic.name);
        card.mac = super::mac(&nic.mac);
        card.given = true;
    }
    let mut machine = Machine {
        several: cards.len() > 1,
        cards: cards.into_values().collect(),
        asked: config.by_mac,
        free: Vec::new(),
    };
    if let Some(vm) = &policy.vm {
        machine.join(vm);
    }
    machine.old_of_the_only_one();
    machine
}

/// `eth0` and `ens192` cannot both be names of cards: the kernel's names were kept or they were
/// not. What remains of the other kind is a leftover (cloud images, templates).
fn possible(names: Vec<String>, config: &Config, kernel: bool) -> Vec<String> {
    let known = |name: &String| config.macs.contains_key(name) || config.lower.contains(name);
    let fits = |name: &String| known(name) || is_kernel_name(name) == kernel;
    match names.iter().any(fits) {
        true => names.into_iter().filter(fits).collect(),
        false => names,
    }
}

impl Machine {
    fn join(&mut self, vm: &Vm) {
        self.several |= vm.nics.len() > 1;
        let new_machine = vm.format == Format::KubeVirt;
        for nic in &vm.nics {
            let (Some(slot), Some(mac)) = (nic.slot, &nic.mac) else {
                continue;
            };
            // systemd.net-naming-scheme(7): the number of the slot, as VMware's firmware says it.
            let name = format!("ens{slot}");
            let card = self.cards.iter_mut().find(|card| card.name == name);
            if let Some(card) = card.filter(|card| card.mac.is_none()) {
                card.mac = Some(mac.clone());
            }
        }
        self.free = vm.nics.iter().filter_map(|nic| nic.mac.clone()).collect();
        let taken: Vec<String> = self
            .cards
            .iter()
            .filter_map(|card| card.mac.clone())
            .collect();
        self.free.retain(|mac| !taken.contains(mac));
        // What is left over on both sides belongs together.
        let all = vm.nics.len() == self.cards.len();
        let left = |card: &&mut Card| {
            card.mac.is_none()
                || (new_machine && !card.given && !vm.nics.iter().any(|n| n.mac == card.mac))
        };
        let mut open: Vec<&mut Card> = self.cards.iter_mut().filter(left).collect();
        if let ([card], [mac], true) = (open.as_mut_slice(), self.free.as_slice(), all) {
            card.mac = Some(mac.clone());
            card.given = new_machine;
            self.free.clear();
        }
    }

    /// A configuration may know the only card by its address alone.
    fn old_of_the_only_one(&mut self) {
        let asked: Vec<&String> = self.asked.iter().collect();
        if let ([card], [only], false) = (self.cards.as_mut_slice(), asked.as_slice(), self.several)
        {
            card.old = card.old.take().or_else(|| Some((*only).clone()));
        }
    }

    /// Addresses that configurations ask for and that no change takes away.
    fn kept(&self) -> Vec<&String> {
        let moved = |mac: &String| {
            let mut cards = self.cards.iter().filter(|card| card.given);
            cards.any(|card| card.old.as_ref() == Some(mac) && card.mac.as_ref() != Some(mac))
        };
        self.asked.iter().filter(|mac| !moved(mac)).collect()
    }
}

/// `eth0` and its like.
pub(super) fn is_kernel_name(name: &str) -> bool {
    let digits = name.strip_prefix("eth").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// What an operator should know about them. `pinned` tells what some file of the guest names.
pub(super) fn concerns(
    machine: &Machine,
    policy: &Policy,
    naming: Naming,
    pinned: impl Fn(&str) -> bool,
) -> Vec<Concern> {
    let mut out = Vec::new();
    let names = |wanted: &dyn Fn(&&Card) -> bool| {
        let cards = machine.cards.iter().filter(wanted);
        cards.map(|card| card.name.as_str()).collect::<Vec<_>>()
    };
    if machine.several {
        let links = naming != Naming::Rules;
        let ordered = names(&|card| is_kernel_name(&card.name) && (links || card.mac.is_none()));
        if ordered.len() > 1 {
            out.push(Concern::warning(
                "nic-order",
                format!("the names {} follow the order of the cards; give the VM its cards in the order they had on VMware", ordered.join(", ")),
            ));
        }
        let unknown =
            names(&|card| !is_kernel_name(&card.name) && card.mac.is_none() && !pinned(&card.name));
        if !unknown.is_empty() {
            out.push(unknown_names(machine, &unknown));
        }
    }
    out.extend(kept_addresses(machine, policy));
    out
}

fn unknown_names(machine: &Machine, unknown: &[&str]) -> Concern {
    let pass: Vec<String> = unknown
        .iter()
        .map(|name| format!("--nic {name}=MAC"))
        .collect();
    let among = match machine.free.is_empty() {
        true => String::new(),
        false => format!(" (the machine has {})", machine.free.join(", ")),
    };
    Concern::warning(
        "nic-name-unknown",
        format!(
            "with several cards nothing tells which is {}; say so with {}{among}",
            unknown.join(", "),
            pass.join(" "),
        ),
    )
}

/// Configurations that match a card by its address work only as long as it keeps it.
fn kept_addresses(machine: &Machine, policy: &Policy) -> Option<Concern> {
    let kept = machine.kept();
    if kept.is_empty() {
        return None;
    }
    let list = |macs: &[&String]| {
        let macs: Vec<&str> = macs.iter().map(|mac| mac.as_str()).collect();
        macs.join(", ")
    };
    let new = policy
        .vm
        .as_ref()
        .filter(|vm| vm.format == Format::KubeVirt);
    let Some(vm) = new else {
        return Some(Concern::information(
            "nic-address-kept",
            format!(
                "the network configuration knows its cards by their addresses ({}): give the VM's cards the same, or say the new ones with --nic NAME=MAC",
                list(&kept)
            ),
        ));
    };
    let has = |mac: &String| vm.nics.iter().any(|nic| nic.mac.as_ref() == Some(mac));
    let gone: Vec<&String> = kept.into_iter().filter(|mac| !has(mac)).collect();
    (!gone.is_empty()).then(|| {
        Concern::warning(
            "nic-address-gone",
            format!("the network configuration asks for cards with the addresses {}, which {} does not have; give them there, or say the new ones with --nic NAME=MAC", list(&gone), vm.file),
        )
    })
}
