// SPDX-License-Identifier: Apache-2.0
//! What a conversion demands before it may be given to a node.

use super::observed::{Claim, ClaimSeen, Observed, Source};
use super::stand::{Stand, passed};
use crate::api::GuestConversion;
use crate::api::conversion::Mode;

/// How long claims may be missing without anything that announces them, seconds: what makes
/// claims and a conversion together makes them in any order.
const GRACE_S: u32 = 30;

/// How the demands are met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// All are.
    Met,
    /// Not yet: reason and message.
    Wait(&'static str, String),
    /// They will not be: reason and message.
    Refuse(&'static str, String),
}

/// Whether the conversion can be worked on.
pub fn met(conversion: &GuestConversion, seen: &Observed) -> Demand {
    let spec = &conversion.spec;
    if seen.profile.is_none() {
        let name = &spec.profile_ref.name;
        let text = format!("there is no GuestConversionProfile {name}");
        return Demand::Refuse("ProfileNotFound", text);
    }
    if let Some(refused) = source(conversion, seen) {
        return refused;
    }
    if let Some(refused) = machine(conversion, seen) {
        return refused;
    }
    if let Some(twice) = twice(&seen.claims) {
        let text = format!("claim {twice} stands twice among the disks");
        return Demand::Refuse("SameClaimTwice", text);
    }
    if seen.claims.is_empty() && seen.awaited == 0 {
        let text = "the guest has no disk on a PersistentVolumeClaim".to_owned();
        return Demand::Refuse("NoDisks", text);
    }
    if !seen.users.is_empty() {
        let text = format!("the disks are used by {}", seen.users.join(", "));
        return Demand::Refuse("DisksInUse", text);
    }
    if let Some(rival) = &seen.rival {
        let text = format!("GuestConversion {rival} stands on one of the disks");
        return Demand::Wait("AnotherConversion", text);
    }
    let boot = spec.options.as_ref().and_then(|o| o.boot_disk.as_ref());
    if let Some(boot) = boot.filter(|boot| !seen.claims.iter().any(|c| c.name == **boot)) {
        let text = format!("bootDisk {boot} is not one of the disks");
        return Demand::Refuse("NoSuchDisk", text);
    }
    claims(conversion, seen)
}

fn source(conversion: &GuestConversion, seen: &Observed) -> Option<Demand> {
    let name = conversion.spec.undo_of.as_deref().unwrap_or_default();
    match seen.source {
        Source::NotAsked | Source::Found => None,
        Source::Missing => Some(Demand::Refuse(
            "UndoOfNotFound",
            format!("there is no GuestConversion {name} to undo"),
        )),
        Source::Unfinished => Some(Demand::Wait(
            "UndoOfUnfinished",
            format!("GuestConversion {name} has not ended"),
        )),
    }
}

fn machine(conversion: &GuestConversion, seen: &Observed) -> Option<Demand> {
    let name = &conversion.spec.virtual_machine_ref.as_ref()?.name;
    match &seen.vm {
        Some(vm) if vm.running => Some(Demand::Refuse(
            "VMRunning",
            format!("VirtualMachine {name} runs: stop it first"),
        )),
        // Where the disks are named the machine may be made later.
        None if names_no_disks(conversion) => Some(Demand::Refuse(
            "VirtualMachineNotFound",
            format!("there is no VirtualMachine {name} in this namespace"),
        )),
        _ => None,
    }
}

fn names_no_disks(conversion: &GuestConversion) -> bool {
    conversion.spec.disks.is_none() && conversion.spec.annotated_disks.is_none()
}

fn twice(claims: &[Claim]) -> Option<&str> {
    claims.iter().enumerate().find_map(|(index, claim)| {
        let again = claims.iter().skip(index.saturating_add(1));
        again
            .into_iter()
            .any(|c| c.name == claim.name)
            .then_some(claim.name.as_str())
    })
}

fn claims(conversion: &GuestConversion, seen: &Observed) -> Demand {
    let missing = |c: &&Claim| matches!(c.seen, ClaimSeen::Missing);
    if let Some(claim) = seen.claims.iter().find(missing) {
        let text = format!(
            "there is no PersistentVolumeClaim {} in this namespace",
            claim.name
        );
        return if passed(conversion.made_at(), GRACE_S, seen.now) {
            Demand::Refuse("ClaimNotFound", text)
        } else {
            Demand::Wait("ClaimNotFound", text)
        };
    }
    if let Some(claim) = seen.claims.iter().find(|c| c.seen == ClaimSeen::Going) {
        let text = format!("PersistentVolumeClaim {} is being deleted", claim.name);
        return Demand::Refuse("ClaimDeleted", text);
    }
    let whole = seen.claims.iter().filter(|c| c.bound().is_some()).count();
    let all = seen.claims.len();
    let importing = seen.claims.iter().find_map(|claim| match &claim.seen {
        ClaimSeen::Importing(how) => Some(format!("{whole}/{all} disks: {}: {how}", claim.name)),
        _ => None,
    });
    if let Some(text) = importing {
        return Demand::Wait("WaitingForDisks", text);
    }
    if seen.awaited > 0 {
        let text = format!(
            "{all} of {} disks are annotated",
            all.saturating_add(seen.awaited)
        );
        return Demand::Wait("WaitingForDisks", text);
    }
    if let Some(claim) = seen.claims.iter().find(|c| c.seen == ClaimSeen::Unbound) {
        let text = format!(
            "{whole}/{all} disks: {} is not bound to a volume",
            claim.name
        );
        return Demand::Wait("ClaimNotBound", text);
    }
    let undo = conversion.spec.mode == Mode::Undo;
    if undo && seen.state.as_ref().and_then(Claim::bound).is_none() {
        let text = "the claim with the guest's undo record is gone".to_owned();
        return Demand::Refuse("NoUndoRecord", text);
    }
    Demand::Met
}
