// SPDX-License-Identifier: Apache-2.0
//! Windows guests. One topic per file, each with the same public functions in the same order:
//! `gather` (which keys of the registry and which files it decides upon), `propose` (facts to
//! changes), `check` (re-read facts to a finding).
#![deny(clippy::arithmetic_side_effects)]

use crate::error::Result;
use crate::fs::Tree;
use crate::inspect::{Facts, Recognise, TableEntry};
use crate::plan::{Policy, Proposal, Propose, Target};
use crate::verify::Check;

pub mod boot_drivers;
pub mod driver_database;
pub mod efi;
mod entries;
pub mod firstboot;
#[cfg(test)]
pub(crate) mod fixture;
pub mod gather;
#[cfg(test)]
mod golden_tests;
pub mod health;
mod naming;
pub mod network;
pub mod release;
pub mod san_policy;
pub mod shadow_copies;
pub mod staging;
mod storage;
#[cfg(test)]
mod storage_tests;
pub mod time_zone;
pub mod vmware_tools;
#[cfg(test)]
#[allow(unreachable_pub)]
#[path = "../../../tests/support/wine.rs"]
mod wine;
#[cfg(test)]
mod world;

use gather::{Gatherer, HIVES};

/// Where the EFI system partition stands in the tree; Windows itself gives it no letter.
pub const ESP_AT: &str = "/$ESP";

/// What is decided about, in the order in which it is.
const TOPICS: &[&str] = &[
    efi::TOPIC,
    boot_drivers::TOPIC,
    driver_database::TOPIC,
    staging::TOPIC,
    vmware_tools::TOPIC,
    network::TOPIC,
    san_policy::TOPIC,
    firstboot::TOPIC,
];

/// What each topic reads. Called once for every hive, in the order of [`HIVES`].
const GATHER: &[fn(&mut Gatherer<'_>) -> Result<()>] = &[
    release::gather,
    health::gather,
    boot_drivers::gather,
    driver_database::gather,
    staging::gather,
    vmware_tools::gather,
    network::gather,
    san_policy::gather,
    shadow_copies::gather,
    time_zone::gather,
    firstboot::gather,
];

/// What each topic proposes, in the order in which it is done.
const PROPOSE: &[fn(&Facts, &Target, &Policy) -> Proposal] = &[
    release::propose,
    health::propose,
    efi::propose,
    boot_drivers::propose,
    driver_database::propose,
    staging::propose,
    vmware_tools::propose,
    network::propose,
    san_policy::propose,
    shadow_copies::propose,
    time_zone::propose,
    firstboot::propose,
];

/// What each topic checks.
const CHECKS: &[&[Check]] = &[
    release::CHECKS,
    health::CHECKS,
    efi::CHECKS,
    boot_drivers::CHECKS,
    driver_database::CHECKS,
    staging::CHECKS,
    vmware_tools::CHECKS,
    network::CHECKS,
    san_policy::CHECKS,
    shadow_copies::CHECKS,
    time_zone::CHECKS,
    firstboot::CHECKS,
];

/// The Windows family.
#[derive(Debug, Clone, Copy, Default)]
pub struct Windows;

impl Recognise for Windows {
    fn family(&self) -> &'static str {
        "windows"
    }

    fn recognise(&self, tree: &Tree) -> Result<bool> {
        Ok(release::system_root(tree)?.is_some())
    }

    fn title(&self, tree: &Tree) -> Result<String> {
        release::title(tree)
    }

    fn mount_table(&self, _: &Tree) -> Result<Vec<TableEntry>> {
        Ok(Vec::new())
    }

    fn esp_at(&self) -> &'static str {
        ESP_AT
    }

    fn gather(&self, tree: &Tree, facts: &mut Facts) -> Result<()> {
        let mut gather = Gatherer::new(tree, facts)?;
        let read = HIVES.iter().try_for_each(|hive| {
            gather.open(hive)?;
            GATHER.iter().try_for_each(|topic| topic(&mut gather))
        });
        // Of a damaged hive its walk tells first: by the hive's name.
        let gathered = gather.close()?;
        read?;
        facts.concerns.extend(gathered.concerns);
        facts.sources = gathered.sources;
        release::fill(tree, &gathered.system_root, facts)?;
        facts.efi = efi::facts(tree, facts)?;
        facts.vmware = vmware_tools::parse(facts);
        facts.network = network::parse(facts);
        facts.concerns.extend(firstboot::told(facts));
        Ok(())
    }
}

impl Propose for Windows {
    fn family(&self) -> &'static str {
        "windows"
    }

    fn topics(&self) -> &'static [&'static str] {
        TOPICS
    }

    fn propose(&self, facts: &Facts, target: &Target, policy: &Policy) -> Proposal {
        let mut out = Proposal::default();
        for propose in PROPOSE {
            out.extend(propose(facts, target, policy));
        }
        out
    }
}

/// Every check of this family.
pub fn checks() -> Vec<Check> {
    CHECKS.concat()
}
