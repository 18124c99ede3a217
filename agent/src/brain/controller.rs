// SPDX-License-Identifier: Apache-2.0
//! The controller's brain: the one thing to do next for a conversion.

use k8s_openapi::jiff::Timestamp;

use super::demand::{self, Demand};
use super::observed::{Claim, Holder, Observed};
use super::publication::Publication;
use super::stand::{Stand, left, passed};
use crate::api::condition::{Is, Kind};
use crate::api::conversion::{Gate, Mode, VmPatch};
use crate::api::status::{GuestConversionStatus, Phase};
use crate::api::{GuestConversion, condition, names};

/// How long a node may be silent after it was given a conversion, seconds, until it counts as
/// lost: its agent may be starting.
const SILENT_S: u32 = 60;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing until something changes.
    Wait,
    /// Nothing until so many seconds have passed.
    WaitFor(u64),
    /// Put our finalizer on.
    Hold,
    /// Take it off: the object may go.
    LetGo,
    /// Write the controller's part of the status; with an event where a reason is given.
    Publish(Box<GuestConversionStatus>),
    /// Set the VM's runStrategy to Halted and write down what it was.
    HaltVm,
    /// Make the state claim.
    MakeState,
    /// Make the holder pod.
    MakeHolder,
    /// Delete the holder pod; our finalizer keeps the object.
    DeleteHolder,
    /// Take our finalizer off the holder pod and delete it.
    ReleaseHolder,
    /// Put the report into its ConfigMap and take it off the status.
    StoreReport,
    /// The guest is ready: mark the VM, give its runStrategy back, and write the target to it
    /// where that was asked for.
    FinishVm {
        /// Also write the target.
        apply: bool,
    },
    /// Mark what triggered the conversion, so that it does not again, and delete the conversion.
    Retire,
}

/// Decides.
pub fn next(conversion: &GuestConversion, seen: &Observed) -> Action {
    if conversion.deleting() {
        return letting_go(conversion, seen);
    }
    if conversion.finished() {
        return after_the_end(conversion, seen);
    }
    if !conversion.holds() {
        return Action::Hold;
    }
    match conversion.node() {
        Some(node) => assigned(conversion, seen, node),
        None => unassigned(conversion, seen),
    }
}

fn publish(publication: Publication) -> Action {
    match publication.wanted() {
        Some(_) => Action::Publish(Box::new(publication.into_status())),
        None => Action::Wait,
    }
}

/// Nothing works on it yet.
fn unassigned(conversion: &GuestConversion, seen: &Observed) -> Action {
    let mut wish = Publication::standing(conversion, seen.now);
    // A commit that stands must be finished, whatever else is wished.
    let must = conversion.commit().is_some();
    if conversion.spec.cancel && !must {
        if seen.holder.stands() {
            return Action::ReleaseHolder;
        }
        wish.end(
            Phase::Cancelled,
            ("Cancelled", "cancelled before a node began"),
        );
        return publish(wish);
    }
    wish.claims(seen);
    let demand = match demand::met(conversion, seen) {
        Demand::Refuse(_, text) if must => Demand::Wait("CommitStands", text),
        other => other,
    };
    match demand {
        Demand::Met => wish.set(
            Kind::DisksReady,
            Is::True,
            ("AllDisks", "every disk is there"),
        ),
        Demand::Wait(reason, text) => {
            wish.set(Kind::DisksReady, Is::False, (reason, &text));
            return match publish(wish) {
                Action::Wait => Action::WaitFor(30),
                action => action,
            };
        }
        Demand::Refuse(reason, text) => {
            if seen.holder.stands() {
                return Action::ReleaseHolder;
            }
            wish.set(Kind::DisksReady, Is::False, (reason, &text));
            wish.end(Phase::Failed, (reason, &text));
            return publish(wish);
        }
    }
    place(conversion, seen, wish)
}

/// Every disk is there: a node is to be found.
fn place(conversion: &GuestConversion, seen: &Observed, mut wish: Publication) -> Action {
    // The claims are shut before anything else is done: they stand in the spec, or in the status.
    if conversion.spec.disks.is_none() && conversion.stands().claims.is_empty() {
        return publish(wish);
    }
    if must_halt(conversion, seen) {
        return Action::HaltVm;
    }
    if conversion.needs_state() && seen.state.is_none() {
        return Action::MakeState;
    }
    match &seen.holder {
        Holder::Absent => match publish_first(conversion, &wish) {
            Some(action) => action,
            None => Action::MakeHolder,
        },
        // What takes a moment is not worth telling.
        Holder::Waiting { .. } if !passed(ready_since(conversion), 10, seen.now) => {
            Action::WaitFor(10)
        }
        Holder::Waiting { why, .. } => {
            wish.set(Kind::NodeAssigned, Is::False, ("HolderPending", why));
            publish(wish)
        }
        Holder::Running { uid, node } => {
            if !ready_state(conversion, seen.state.as_ref()) {
                return Action::WaitFor(5);
            }
            wish.assign(names::holder(name(conversion)), uid, node);
            publish(wish)
        }
        Holder::Ended { .. }
        | Holder::Going {
            gone: true,
            held: true,
            ..
        } => Action::ReleaseHolder,
        Holder::Going { .. } => Action::WaitFor(10),
    }
}

/// What must be known to everybody before the holder is made: that the disks are ready. Where they
/// were so from the first, that is said together with the node.
fn publish_first(conversion: &GuestConversion, wish: &Publication) -> Option<Action> {
    let conditions = conversion.stands().conditions;
    if conditions.is_empty() || condition::is_true(&conditions, Kind::DisksReady) {
        return None;
    }
    wish.wanted()
        .map(|status| Action::Publish(Box::new(status.clone())))
}

fn name(conversion: &GuestConversion) -> &str {
    conversion.metadata.name.as_deref().unwrap_or_default()
}

fn ready_since(conversion: &GuestConversion) -> Option<Timestamp> {
    let conditions = conversion.stands().conditions;
    let since = |kind| condition::find(&conditions, kind).map(|c| c.last_transition_time.0);
    // A second holder takes its moment, too.
    let since = since(Kind::DisksReady).max(since(Kind::NodeAssigned));
    since.or_else(|| conversion.made_at())
}

/// The state claim has a volume: a node needs its name.
fn ready_state(conversion: &GuestConversion, state: Option<&Claim>) -> bool {
    !conversion.needs_state() || state.and_then(Claim::bound).is_some()
}

fn must_halt(conversion: &GuestConversion, seen: &Observed) -> bool {
    conversion.spec.gate == Gate::Enforce
        && conversion.spec.mode == Mode::Convert
        && seen
            .vm
            .as_ref()
            .is_some_and(|vm| vm.run_strategy != "Halted" && !vm.running)
}

/// A node has it.
fn assigned(conversion: &GuestConversion, seen: &Observed, node: &str) -> Action {
    // Made or told to start meanwhile: refused for now, it would start after the end, ready or not.
    if must_halt(conversion, seen) && !conversion.deleting() {
        return Action::HaltVm;
    }
    let silent = passed(conversion.assigned_at(), SILENT_S, seen.now);
    let lost = !seen.node.alive && (silent || conversion.commit().is_some());
    let hands_back = conversion.handed_back();
    match (&seen.holder, conversion.commit()) {
        // Nothing is being written and nothing will be: this publication and the node's record of
        // a commit both name the version they were decided on.
        (holder, None) if !runs(holder, conversion) => {
            take_back(conversion, seen, ("HolderGone", "the holder pod is gone"))
        }
        (holder, Some(_)) if holder.gone() && (hands_back || lost) => {
            take_over(conversion, seen, node, hands_back)
        }
        (Holder::Ended { .. }, Some(_)) if hands_back || lost => Action::DeleteHolder,
        (Holder::Running { .. } | Holder::Waiting { .. }, _) if lost => Action::DeleteHolder,
        _ => Action::WaitFor(SILENT_S.into()),
    }
}

/// The holder that the conversion was assigned with still runs.
fn runs(holder: &Holder, conversion: &GuestConversion) -> bool {
    let wanted = conversion.status.as_ref().and_then(|s| s.holder.as_ref());
    match holder {
        Holder::Running { uid, .. } | Holder::Waiting { uid, .. } => {
            wanted.is_some_and(|wanted| wanted.uid == *uid)
        }
        _ => false,
    }
}

fn take_back(conversion: &GuestConversion, seen: &Observed, words: (&str, &str)) -> Action {
    let mut wish = Publication::standing(conversion, seen.now);
    wish.unassign(words);
    publish(wish)
}

/// A commit stands, no kubelet runs the holder any more, and its node is lost or has let go.
fn take_over(
    conversion: &GuestConversion,
    seen: &Observed,
    node: &str,
    hands_back: bool,
) -> Action {
    let shared = seen
        .claims
        .iter()
        .filter_map(Claim::bound)
        .any(|bound| bound.shared);
    let sure = hands_back || seen.node.out_of_service || conversion.vouched(node);
    if shared && !sure {
        let text = format!(
            "{node} was lost while it wrote to disks that it can still reach: taint it \
             node.kubernetes.io/out-of-service, or annotate {}={node}",
            names::CONFIRM_NODE_LOST
        );
        let mut wish = Publication::standing(conversion, seen.now);
        // The node stays assigned: nobody else may act.
        wish.set(Kind::Ready, Is::Unknown, ("NodeLost", &text));
        return publish(wish);
    }
    let text = format!("{node} was lost while it wrote: another node rolls forward");
    take_back(conversion, seen, ("NodeLost", &text))
}

/// It has ended: what is left to tidy up.
fn after_the_end(conversion: &GuestConversion, seen: &Observed) -> Action {
    let status = conversion.stands();
    if status.handover.is_some() {
        return Action::StoreReport;
    }
    if seen.holder.stands() {
        return Action::ReleaseHolder;
    }
    if let Some(action) = finish_vm(conversion, seen) {
        return action;
    }
    let ttl = conversion
        .spec
        .ttl_seconds_after_finished
        .or_else(|| seen.profile.as_ref()?.ttl_seconds_after_finished);
    match ttl {
        None => Action::Wait,
        Some(ttl) => match left(status.completion_time.map(|t| t.0), ttl, seen.now) {
            0 => Action::Retire,
            seconds => Action::WaitFor(seconds),
        },
    }
}

fn finish_vm(conversion: &GuestConversion, seen: &Observed) -> Option<Action> {
    let vm = seen.vm.as_ref()?;
    let ready = conversion.ready() && conversion.spec.mode == Mode::Convert;
    let marked = vm.conversion.as_deref() == Some(name(conversion));
    (ready && !marked).then(|| Action::FinishVm {
        apply: conversion.spec.vm_patch == VmPatch::Apply && !vm.running,
    })
}

/// It is being deleted: what stands is finished first.
fn letting_go(conversion: &GuestConversion, seen: &Observed) -> Action {
    if !conversion.holds() {
        return Action::Wait;
    }
    let released = conversion.forced() || conversion.finished();
    if released || (conversion.node().is_none() && conversion.commit().is_none()) {
        return if seen.holder.stands() {
            Action::ReleaseHolder
        } else {
            Action::LetGo
        };
    }
    match (conversion.node(), conversion.commit()) {
        (Some(_), None) => take_back(conversion, seen, ("Deleted", "the conversion is deleted")),
        (Some(node), Some(_)) => assigned(conversion, seen, node),
        (None, _) => unassigned(conversion, seen),
    }
}
