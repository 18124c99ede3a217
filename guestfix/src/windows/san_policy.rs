// SPDX-License-Identifier: Apache-2.0
//! Data disks come online: editions for data centres leave disks offline that they take for shared
//! ones, and on another bus every disk is a new one. The old policy is not restored: the disks are
//! the guest's own for good, and a disk that a policy would hide later is one that somebody added.

use super::entries::SYSTEM;
use super::gather::Gatherer;
use crate::error::Result;
use crate::hive::script::Edit;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

pub(super) const TOPIC: &str = "san-policy";
const KEY: &str = "Services\\partmgr\\Parameters";
const VALUE: &str = "SanPolicy";
/// `VDS_SP_ONLINE`; 2 leaves shared disks offline, 3 all, 4 internal ones:
/// <https://learn.microsoft.com/windows/win32/api/vds/ne-vds-vds_san_policy>.
const ONLINE: u32 = 1;

/// Asks for every disk to come online.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let Some(windows) = &facts.windows else {
        return out;
    };
    let registry = &facts.sources.registry;
    let keys: Vec<String> = windows
        .control_set_keys()
        .map(|set| format!("{set}\\{KEY}"))
        .collect();
    let other = keys
        .iter()
        .filter_map(|key| registry.dword(SYSTEM, key, VALUE))
        .find(|old| *old != ONLINE);
    let edits = keys
        .iter()
        .map(|key| Edit::dword(&**key, VALUE, ONLINE))
        .collect();
    let why = "disks that Windows never saw come online, as those of the new machine are";
    let change = Change::hive(TOPIC, why, registry, SYSTEM, edits);
    if let (Some(old), Some(_)) = (other, &change) {
        out.concerns.push(Concern::information(
            "san-policy-changed",
            format!("the SAN policy was {old} and is 1 (all online) now; to have it back: diskpart, san policy=..."),
        ));
    }
    out.changes.extend(change);
    out
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[Check {
    name: "data-disks-online",
    what: "Windows brings disks online that it never saw",
    severity: Severity::Advised,
    run: check,
}];

fn check(facts: &Facts, _: &Target) -> Finding {
    let Some(windows) = &facts.windows else {
        return Finding::skip("no Windows");
    };
    let registry = &facts.sources.registry;
    for set in windows.control_set_keys() {
        // Clients without the value bring every disk online.
        match registry.dword(SYSTEM, &format!("{set}\\{KEY}"), VALUE) {
            Some(ONLINE) => {}
            None if windows.product_type == "WinNT" => {}
            other => return Finding::fail(format!("{VALUE} of {set} is {other:?}")),
        }
    }
    Finding::pass("all online")
}

/// Reads the policy.
///
/// # Errors
/// As those of [`Gatherer`].
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    gather.in_control_sets(KEY, 0)
}

#[cfg(test)]
mod tests {
    use super::super::world::{World, check, target};
    use super::*;
    use crate::plan::Bus;
    use crate::verify::Outcome;

    #[test]
    fn a_server_for_data_centres_brings_its_disks_online() {
        let mut system = super::super::fixture::system();
        system.push(Edit::dword(format!("ControlSet001\\{KEY}"), VALUE, 2));
        let world = World::made(&system, &super::super::fixture::software());
        assert_eq!(
            check(&world.facts(), Bus::Virtio, "data-disks-online").0,
            Outcome::Fail
        );
        let out = propose(&world.facts(), &target(Bus::Virtio), &Policy::default());
        assert_eq!(out.concerns[0].id, "san-policy-changed");
        let after = world.apply(&out.changes).facts();
        assert_eq!(
            check(&after, Bus::Virtio, "data-disks-online").0,
            Outcome::Pass
        );
        assert!(
            propose(&after, &target(Bus::Virtio), &Policy::default())
                .changes
                .is_empty()
        );
    }
}
