// SPDX-License-Identifier: Apache-2.0
//! The whole room on a synthetic guest of every release: what is planned, what is true afterwards.
//! The plans are in `snapshots/`; no Windows of any of these releases was booted.

use std::fmt::Write as _;

use super::fixture::release::{RELEASES, Release};
use super::world::{World, check, policy};
use crate::inspect::Category;
use crate::plan::{Bus, Proposal};
use crate::verify::Outcome;

/// Concerns, then changes; of what starts the boot disk every value, of the rest what it is.
fn told(proposal: &Proposal) -> String {
    let mut out = String::new();
    for concern in &proposal.concerns {
        let _ = writeln!(out, "{:?} {}", concern.category, concern.id);
    }
    for change in &proposal.changes {
        let _ = writeln!(out, "{}: {} {}", change.topic, change.kind, change.path);
        let starts = ["boot-drivers", "driver-database"].contains(&change.topic.as_str());
        let shown = starts || change.path.ends_with("network.cmd");
        for line in change
            .diff
            .iter()
            .filter(|_| shown)
            .flat_map(|diff| diff.lines())
        {
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}

fn converted(release: &Release) -> String {
    let (world, policy) = (World::release(release), policy(release.name));
    let proposal = world.propose(&policy);
    let critical = |category: Category| category == Category::Critical;
    let concerns = &proposal.concerns;
    assert!(
        !concerns.iter().any(|c| critical(c.category)),
        "{}: {concerns:?}",
        release.name
    );
    let told = told(&proposal);
    let world = world.apply(&proposal.changes);
    let facts = world.facts();
    for name in [
        "windows-recognised",
        "boot-driver",
        "vmware-services-gone",
        "network-kept",
        "data-disks-online",
        "first-boot",
    ] {
        let (result, detail) = check(&facts, Bus::Virtio, name);
        assert_eq!(result, Outcome::Pass, "{}, {name}: {detail}", release.name);
    }
    let again = world.propose(&policy).changes;
    let again: Vec<_> = again
        .iter()
        .map(|change| (&change.path, &change.diff))
        .collect();
    assert!(again.is_empty(), "{}: {again:#?}", release.name);
    told
}

#[test]
fn every_release_gets_its_plan_and_starts_from_virtio_disks_afterwards() {
    for release in &RELEASES {
        let name = release.name.replace('/', "-");
        insta::assert_snapshot!(name, converted(release));
    }
}

#[test]
fn from_windows_7_on_a_guest_would_start_from_every_bus() {
    for release in RELEASES.iter().filter(|release| release.build >= 6000) {
        let world = World::release(release);
        let changes = world.propose(&policy(release.name)).changes;
        let facts = world.apply(&changes).facts();
        for bus in [Bus::Virtio, Bus::Scsi, Bus::Sata] {
            let (result, detail) = check(&facts, bus, "boot-driver");
            assert_eq!(
                result,
                Outcome::Pass,
                "{} on {bus:?}: {detail}",
                release.name
            );
        }
    }
}

#[test]
fn letters_and_the_page_file_are_not_touched() {
    for release in &RELEASES {
        let world = World::release(release);
        let after = world
            .clone()
            .apply(&world.propose(&policy(release.name)).changes);
        let kept = |world: &World, key: &str| {
            let hive = world.open("SYSTEM");
            let key = hive.key(key).unwrap().unwrap();
            let values = key.values().unwrap().map(|value| {
                let value = value.unwrap();
                (value.name().unwrap(), value.data().unwrap().into_owned())
            });
            values.collect::<Vec<_>>()
        };
        for key in [
            "MountedDevices",
            "ControlSet001\\Control\\Session Manager\\Memory Management",
        ] {
            let before = kept(&world, key);
            assert!(!before.is_empty());
            assert_eq!(kept(&after, key), before, "{}", release.name);
        }
    }
}
