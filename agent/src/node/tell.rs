// SPDX-License-Identifier: Apache-2.0
//! The node's part of a conversion's status, as patches.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::GuestConversion;
use crate::api::condition::{self, Is, Kind};
use crate::api::status::{Commit, GuestConversionStatus, Phase, Progress};
use crate::brain::outcome::Outcome;
use crate::brain::stand::{HOLDER_GONE, Stand};

/// The conditions that only a node writes.
const OURS: [Kind; 4] = [
    Kind::Inspected,
    Kind::Planned,
    Kind::Converted,
    Kind::Verified,
];

/// Work goes on.
pub fn working(conversion: &GuestConversion, progress: &Progress, now: Timestamp) -> Value {
    let mut status = standing(conversion);
    status.phase = Some(Phase::Running);
    status.progress = Some(progress.clone());
    status.conditions = reached(conversion, &progress.stage, now);
    patch(conversion, &status)
}

/// A commit begins.
pub fn commit(
    conversion: &GuestConversion,
    commit: Commit,
    progress: &Progress,
    now: Timestamp,
) -> Value {
    let mut status = standing(conversion);
    status.phase = Some(Phase::Committing);
    status.progress = Some(progress.clone());
    status.commit = Some(commit);
    status.conditions = reached(conversion, "commit", now);
    patch(conversion, &status)
}

/// It has ended; no commit stands any more.
pub fn end(
    conversion: &GuestConversion,
    outcome: &Outcome,
    handover: Option<String>,
    now: Timestamp,
) -> Value {
    let standing = conversion.stands().conditions;
    let status = GuestConversionStatus {
        phase: Some(outcome.phase),
        completion_time: Some(Time(now)),
        guest: outcome.guest.clone(),
        concerns: outcome.concerns.clone(),
        changes: outcome.changes.clone(),
        target: outcome.target.clone(),
        undo: outcome.undo.clone(),
        handover,
        conditions: outcome.conditions(&standing, now),
        ..GuestConversionStatus::default()
    };
    patch(conversion, &status)
}

/// A commit stands and its disks are gone from this node: another may finish it.
pub fn hand_back(conversion: &GuestConversion, now: Timestamp) -> Value {
    let mut status = standing(conversion);
    let stands = conversion.stands().conditions;
    status.phase = Some(Phase::Pending);
    let holder = conversion.stands().holder.unwrap_or_default();
    let text = format!(
        "the disks of holder {} went away before the commit ended",
        holder.uid
    );
    let words = (HOLDER_GONE, text.as_str());
    status
        .conditions
        .retain(|c| c.type_ != Kind::Converted.as_str());
    let handed = condition::make(&stands, Kind::Converted, Is::False, words, now);
    status.conditions.push(handed);
    patch(conversion, &status)
}

/// What the node wrote before: a patch that leaves it out would take it away.
fn standing(conversion: &GuestConversion) -> GuestConversionStatus {
    let status = conversion.stands();
    GuestConversionStatus {
        commit: status.commit,
        conditions: kept(&status.conditions),
        ..GuestConversionStatus::default()
    }
}

fn kept(conditions: &[Condition]) -> Vec<Condition> {
    OURS.iter()
        .filter_map(|kind| condition::find(conditions, *kind).cloned())
        .collect()
}

/// The conditions that a stage tells: what came before it is done.
fn reached(conversion: &GuestConversion, stage: &str, now: Timestamp) -> Vec<Condition> {
    let stages = [
        "inspect",
        "plan",
        "apply",
        "verify",
        "commit-pending",
        "commit",
    ];
    let at = stages.iter().position(|s| *s == stage).unwrap_or(0);
    let stands = conversion.stands().conditions;
    let mut out = kept(&stands);
    for (kind, after) in [(Kind::Inspected, 1), (Kind::Planned, 2)] {
        if at >= after && !condition::is_true(&out, kind) {
            out.retain(|c| c.type_ != kind.as_str());
            out.push(condition::make(&stands, kind, Is::True, ("Done", ""), now));
        }
    }
    // Another node begins anew what one handed back.
    out.retain(|c| c.reason != HOLDER_GONE);
    out
}

/// Decided on this version and on no other.
fn patch(conversion: &GuestConversion, status: &GuestConversionStatus) -> Value {
    json!({
        "apiVersion": "guestfix.io/v1alpha1",
        "kind": "GuestConversion",
        "metadata": {
            "name": conversion.name_any(),
            "resourceVersion": conversion.resource_version(),
        },
        "status": status,
    })
}
