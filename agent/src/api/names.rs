// SPDX-License-Identifier: Apache-2.0
//! Every name that others may rely on: annotations, labels, finalizers, field managers, objects.

use sha2::{Digest, Sha256};

/// Annotation `true` on a DataVolume, a PersistentVolumeClaim or a halted VirtualMachine: convert
/// the guest.
pub const CONVERT: &str = "guestfix.io/convert";
/// Annotation on a DataVolume or PersistentVolumeClaim: the VirtualMachine, which need not exist
/// yet, or any other word that its disks share.
pub const GUEST: &str = "guestfix.io/guest";
/// Annotation on a DataVolume or PersistentVolumeClaim: how many disks the guest has.
pub const DISK_COUNT: &str = "guestfix.io/disk-count";
/// Annotation on a DataVolume or PersistentVolumeClaim: its place among the guest's disks, from 0.
pub const DISK_INDEX: &str = "guestfix.io/disk-index";
/// Annotation on what triggers a conversion: the profile to use.
pub const PROFILE: &str = "guestfix.io/profile";
/// Annotation on a VirtualMachine: the runStrategy it gets when Ready.
pub const RESTORE_RUN_STRATEGY: &str = "guestfix.io/restore-run-strategy";
/// Annotation on what was converted, and on holder pods: the GuestConversion.
pub const CONVERSION: &str = "guestfix.io/conversion";
/// Annotation `true` on a GuestConversion: its finalizer is let go whatever stands.
pub const FORCE_RELEASE: &str = "guestfix.io/force-release";
/// Annotation on a GuestConversion: the operator vouches that this node no longer writes.
pub const CONFIRM_NODE_LOST: &str = "guestfix.io/confirm-node-lost";
/// Annotation on a node agent's Lease: the filesystems that its node can mount.
pub const FILESYSTEMS: &str = "guestfix.io/filesystems";

/// Label `true` on holder pods.
pub const HOLDER: &str = "guestfix.io/holder";
/// Label on holder pods, state claims and reports: the GuestConversion's uid.
pub const CONVERSION_UID: &str = "guestfix.io/conversion-uid";
/// Label of a node, one per filesystem it can mount: `fs.guestfix.io/xfs=true`.
pub const NODE_FILESYSTEM: &str = "fs.guestfix.io/";
/// Label that Forklift reads and writes on VirtualMachines.
pub const GUEST_CONVERTED: &str = "guestConverted";

/// Finalizer on GuestConversions: rolls forward or back before it lets go.
pub const FINALIZER: &str = "guestfix.io/release-disks";
/// Finalizer on holder pods.
pub const HOLD: &str = "guestfix.io/hold";

/// Field manager of the controller.
pub const CONTROLLER: &str = "guestfix-controller";
/// Field manager of the controller where it begins and ends a conversion by itself.
pub const CONTROLLER_END: &str = "guestfix-controller-end";
/// Field manager of node agents.
pub const NODE: &str = "guestfix-node";

/// The namespace of guestfix itself.
pub const NAMESPACE: &str = "guestfix-system";
/// The controllers' Lease.
pub const CONTROLLER_LEASE: &str = "guestfix-controller";
/// The PodDisruptionBudget of every namespace with holder pods.
pub const BUDGET: &str = "guestfix-holders";
/// The entry of a report's ConfigMap.
pub const REPORT_KEY: &str = "report.json.gz";

/// A node agent's Lease.
pub fn node_lease(node: &str) -> String {
    joined("guestfix-node-", node, "", 253)
}

/// A conversion's holder pod.
pub fn holder(conversion: &str) -> String {
    joined("guestfix-hold-", conversion, "", 63)
}

/// A conversion's report.
pub fn report(conversion: &str) -> String {
    joined("", conversion, "-report", 253)
}

/// The state claim of a guest, by the uid of its first claim: later runs find it again.
pub fn state_claim(first_claim_uid: &str) -> String {
    joined("guestfix-state-", first_claim_uid, "", 63)
}

/// The conversion that a trigger makes, by what triggered it: the same trigger makes the same.
pub fn triggered(guest: &str, trigger_uid: &str) -> String {
    let tag = tag(trigger_uid);
    joined("", guest, &format!("-{tag}"), 63)
}

/// A name of at most so many letters: the long middle gives way to its digest.
fn joined(before: &str, middle: &str, after: &str, most: usize) -> String {
    let room = most
        .saturating_sub(before.len())
        .saturating_sub(after.len());
    if middle.len() <= room {
        return format!("{before}{middle}{after}");
    }
    let kept = middle.get(..room.saturating_sub(9)).unwrap_or_default();
    let kept = kept.trim_end_matches(['-', '.']);
    format!("{before}{kept}-{}{after}", tag(middle))
}

fn tag(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let a = holder(&"a".repeat(80));
        let b = holder(&format!("{}b", "a".repeat(79)));
        assert_eq!((a.len(), b.len()), (63, 63));
        assert_ne!(a, b);
        assert_eq!(holder("web01"), "guestfix-hold-web01");
    }

    #[test]
    fn a_trigger_always_makes_the_same_name() {
        assert_eq!(triggered("web01", "u-1"), triggered("web01", "u-1"));
        assert_ne!(triggered("web01", "u-1"), triggered("web01", "u-2"));
    }
}
