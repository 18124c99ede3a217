// SPDX-License-Identifier: Apache-2.0
//! What stands in the way of a conversion, or of the first start after it: hibernation, policies
//! that forbid new devices, and foreign drivers that take part in starting.

use super::gather::Gatherer;
use crate::error::Result;
use crate::fs::GuestPath;
use std::io::Read;

use crate::hive::typed;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::{Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

/// The image of a suspended system.
const IMAGE: &str = "/hiberfil.sys";
/// Group Policy's "Device Installation Restrictions".
const RESTRICTIONS: &str = "Policies\\Microsoft\\Windows\\DeviceInstall\\Restrictions";
/// Groups of boot drivers that look at every file or decide which drivers start
/// (<https://learn.microsoft.com/windows-hardware/drivers/ifs/load-order-groups-and-altitudes-for-minifilter-drivers>).
const GUARDS: [&str; 2] = ["FSFilter Anti-Virus", "Early-Launch"];
/// Windows' own of these groups.
const OWN_GUARDS: [&str; 3] = ["WdBoot", "WdFilter", "MpFilter"];
/// Device classes whose filters every disk passes through, with the filters that Windows has there.
const CLASSES: [(&str, &str, &[&str]); 4] = [
    (
        "disk",
        "{4d36e967-e325-11ce-bfc1-08002be10318}",
        &["partmgr", "ehstorclass"],
    ),
    (
        "volume",
        "{71a27cdd-812a-11d0-bec7-08002be2092f}",
        &["volsnap", "fvevol", "iorate", "rdyboost", "spldr"],
    ),
    (
        "storage controller",
        "{4d36e97b-e325-11ce-bfc1-08002be10318}",
        &[],
    ),
    (
        "disk controller",
        "{4d36e96a-e325-11ce-bfc1-08002be10318}",
        &[],
    ),
];

/// The checks of this topic.
pub const CHECKS: &[Check] = &[
    Check {
        name: "not-hibernated",
        what: "no image of a suspended Windows waits to be resumed",
        severity: Severity::Required,
        run: check,
    },
    Check {
        name: "registry-sound",
        what: "the registry's hives are there, and every key of them can be read",
        severity: Severity::Required,
        run: check_registry,
    },
];

/// Reads the head of the hibernation image, and what policies and filters say.
///
/// # Errors
/// Those of reading the registry and the filesystem.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    if let Some(state) = image(gather)? {
        gather.concern(Concern::critical(
            "hibernated",
            format!(
                "Windows is suspended ({IMAGE} begins with {state}: hibernated, or shut down for a \
                 fast start): going on would undo the conversion and damage files. Start the guest \
                 once and shut it down properly (shutdown /s /t 0)"
            ),
        ));
    }
    gather.subtree("SOFTWARE", RESTRICTIONS, 1)?;
    for (_, class, _) in CLASSES {
        gather.in_control_sets(&format!("Control\\Class\\{class}"), 0)?;
    }
    let sets: Vec<String> = gather.control_sets().to_vec();
    for set in sets {
        let services = format!("{set}\\Services\\").to_lowercase();
        gather.scan("SYSTEM", &mut |path, key| {
            let path = path.to_lowercase();
            let name = path
                .strip_prefix(&services)
                .filter(|name| !name.contains('\\'));
            let group = match name {
                Some(_) => key.value("Group")?,
                None => None,
            };
            Ok(group.is_some_and(|group| {
                typed::string(&group).is_ok_and(|group| GUARDS.contains(&group.as_str()))
            }))
        })?;
    }
    Ok(())
}

/// How a hibernation image begins that Windows would go on from: `HIBR` of one that is whole, `RSTR`
/// of one that is being resumed from; `WAKE` and zeros are used up.
fn image(gather: &Gatherer<'_>) -> Result<Option<String>> {
    let Some(mut file) = gather.tree().open(&GuestPath::new(IMAGE))? else {
        return Ok(None);
    };
    let mut head = [0; 4];
    if file.read_exact(&mut head).is_err() {
        return Ok(None);
    }
    let head = String::from_utf8_lossy(&head).to_uppercase();
    Ok(matches!(head.as_str(), "HIBR" | "RSTR").then_some(head))
}

/// Changes nothing; says what the operator should know.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    out.concerns.extend(restrictions(facts));
    out.concerns.extend(guards(facts));
    out.concerns.extend(filters(facts));
    out
}

fn restrictions(facts: &Facts) -> Option<Concern> {
    let registry = &facts.sources.registry;
    let key = registry.key("SOFTWARE", RESTRICTIONS)?;
    let on = |value: &str| registry.dword("SOFTWARE", RESTRICTIONS, value).unwrap_or(0) != 0;
    let which = [
        "DenyUnspecified",
        "DenyDeviceIDs",
        "DenyDeviceClasses",
        "DenyInstanceIDs",
    ];
    let which: Vec<&str> = which.into_iter().filter(|value| on(value)).collect();
    (!which.is_empty()).then(|| {
        Concern::warning(
            "device-install-restricted",
            format!(
                "Group Policy forbids installing devices ({}): the boot disk will be found, but \
                 Windows may refuse the new machine's network card and other devices. Allow them \
                 (1AF4 devices) before the first start; the policy is in {}",
                which.join(", "),
                key.path
            ),
        )
    })
}

/// A driver that starts with Windows, of a group that may stop others.
fn guards(facts: &Facts) -> Option<Concern> {
    let registry = &facts.sources.registry;
    let set = facts.windows.as_ref()?.control_set_keys().next()?;
    let mut found: Vec<&str> = registry
        .below("SYSTEM", &format!("{set}\\Services"))
        .filter(|key| {
            let group = key.value("Group").and_then(|group| group.text());
            let start = key.value("Start").and_then(|start| start.dword());
            group.is_some_and(|group| GUARDS.contains(&group.as_str()))
                && start.is_some_and(|start| start <= 1)
        })
        .map(|key| key.name())
        .filter(|name| !OWN_GUARDS.iter().any(|own| own.eq_ignore_ascii_case(name)))
        .collect();
    found.sort_unstable();
    found.dedup();
    (!found.is_empty()).then(|| {
        Concern::warning(
            "antivirus-at-boot",
            format!(
                "a virus scanner's drivers start with Windows ({}): should the guest not start, \
                 its product must be told to let new storage drivers pass, or be removed first",
                found.join(", ")
            ),
        )
    })
}

/// Filters of others between Windows and its disks.
fn filters(facts: &Facts) -> Vec<Concern> {
    let registry = &facts.sources.registry;
    let set = facts
        .windows
        .as_ref()
        .and_then(|w| w.control_set_keys().next());
    let Some(set) = set else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for (what, class, own) in CLASSES {
        let key = format!("{set}\\Control\\Class\\{class}");
        let foreign: Vec<String> = ["UpperFilters", "LowerFilters"]
            .iter()
            .filter_map(|value| registry.texts("SYSTEM", &key, value))
            .flatten()
            .filter(|name| !own.contains(&name.to_lowercase().as_str()))
            .collect();
        if !foreign.is_empty() {
            out.push(Concern::warning(
                "storage-filter",
                format!(
                    "drivers of others filter every {what} ({}): one that does not know virtio \
                     disks, or that is gone, keeps Windows from starting",
                    foreign.join(", ")
                ),
            ));
        }
    }
    out
}

/// A hive that is not sound is not among the facts: it ends inspection, or is left out.
fn check_registry(facts: &Facts, _: &Target) -> Finding {
    let hives = &facts.sources.registry.hives;
    let missing: Vec<&str> = ["SYSTEM", "SOFTWARE"]
        .into_iter()
        .filter(|name| !hives.contains_key(*name))
        .collect();
    if !missing.is_empty() {
        return Finding::fail(format!("there is no {}", missing.join(" and no ")));
    }
    let seen = hives.iter().map(|(name, hive)| {
        let replayed = if hive.replayed {
            ", its logs replayed"
        } else {
            ""
        };
        format!("{name}: {} KiB{replayed}", hive.size >> 10)
    });
    Finding::pass(seen.collect::<Vec<_>>().join("; "))
}

fn check(facts: &Facts, _: &Target) -> Finding {
    match facts
        .concerns
        .iter()
        .find(|concern| concern.id == "hibernated")
    {
        Some(concern) => Finding::fail(&concern.message),
        None => Finding::pass("no image of a suspended system"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{gathered, software, system, volume};
    use super::*;
    use crate::hive::script::Edit;
    use crate::plan::Bus;

    fn concerns(facts: &Facts) -> Vec<String> {
        let target = Target::recommend(facts, Bus::Virtio);
        let concerns = propose(facts, &target, &Policy::default()).concerns;
        concerns.into_iter().map(|concern| concern.id).collect()
    }

    #[test]
    fn only_an_image_that_would_be_resumed_from_counts() {
        for (head, suspended) in [
            (&b"HIBRxxxx"[..], true),
            (b"hibr", true),
            (b"RSTR", true),
            (b"WAKE", false),
            (&[0; 8], false),
            (b"HI", false),
        ] {
            let volume = volume(&system(), &software()).file(IMAGE, head);
            let facts = gathered(volume);
            let target = Target::recommend(&facts, Bus::Virtio);
            let failed = check(&facts, &target).result == crate::verify::Outcome::Fail;
            assert_eq!(failed, suspended, "{head:?}");
        }
    }

    #[test]
    fn policies_scanners_and_filters_of_others_are_named() {
        let service = "ControlSet001\\Services\\mfehidk";
        let class = "ControlSet001\\Control\\Class\\{4D36E967-E325-11CE-BFC1-08002BE10318}";
        let more = vec![
            Edit::text(service, "Group", "FSFilter Anti-Virus"),
            Edit::dword(service, "Start", 0),
            Edit::texts(class, "UpperFilters", &["PartMgr", "sfilter"]),
        ];
        let policy = vec![Edit::dword(RESTRICTIONS, "DenyUnspecified", 1)];
        let volume = volume(&[system(), more].concat(), &[software(), policy].concat());
        let facts = gathered(volume);
        assert_eq!(
            concerns(&facts),
            [
                "device-install-restricted",
                "antivirus-at-boot",
                "storage-filter"
            ]
        );
        assert_eq!(
            concerns(&gathered(super::super::fixture::volume(
                &system(),
                &software()
            ))),
            [""; 0]
        );
    }
}
