// SPDX-License-Identifier: Apache-2.0
//! The controller's part of a conversion's status: what stands, and what is wished for instead.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::observed::{Claim as SeenClaim, Observed};
use super::stand::Stand;
use crate::api::GuestConversion;
use crate::api::condition::{self, Is, Kind};
use crate::api::status::{Claim, GuestConversionStatus, Holder, Phase};

/// The conditions that the controller writes. A node writes the last two as well, later.
const OURS: [Kind; 4] = [
    Kind::DisksReady,
    Kind::NodeAssigned,
    Kind::Finished,
    Kind::Ready,
];

/// The controller's part of a status, being changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    before: GuestConversionStatus,
    after: GuestConversionStatus,
    now: Timestamp,
}

impl Publication {
    /// What stands. What a node wrote is repeated as it is: the patch carries the version it was
    /// read at.
    pub fn standing(conversion: &GuestConversion, now: Timestamp) -> Self {
        let status = conversion.stands();
        let before = GuestConversionStatus {
            observed_generation: status.observed_generation,
            phase: status.phase,
            node_name: status.node_name,
            holder: status.holder,
            claims: status.claims,
            state_claim: status.state_claim,
            attempts: status.attempts,
            start_time: status.start_time,
            completion_time: status.completion_time,
            conditions: OURS
                .iter()
                .filter_map(|kind| condition::find(&status.conditions, *kind).cloned())
                .collect(),
            ..GuestConversionStatus::default()
        };
        let mut after = before.clone();
        after.observed_generation = conversion.metadata.generation;
        let mut new = Self { before, after, now };
        if new.is(Kind::Ready).is_none() {
            new.after.phase = Some(Phase::Pending);
            let waits = (
                "NotVerified",
                "the guest has not been converted and verified yet",
            );
            new.set(Kind::Ready, Is::Unknown, waits);
            new.set(
                Kind::Finished,
                Is::False,
                ("Standing", "the run has not ended"),
            );
        }
        new
    }

    /// What is to be written, when anything is.
    pub fn wanted(&self) -> Option<&GuestConversionStatus> {
        let mut seen = self.before.clone();
        // A generation alone is not worth a call.
        seen.observed_generation = self.after.observed_generation;
        (seen != self.after).then_some(&self.after)
    }

    /// What is to be written.
    pub fn into_status(self) -> GuestConversionStatus {
        self.after
    }

    fn is(&self, kind: Kind) -> Option<&str> {
        condition::find(&self.after.conditions, kind).map(|c| c.status.as_str())
    }

    /// Sets a condition.
    pub fn set(&mut self, kind: Kind, is: Is, words: (&str, &str)) {
        let made = condition::make(&self.before.conditions, kind, is, words, self.now);
        self.after.conditions.retain(|c| c.type_ != made.type_);
        self.after.conditions.push(made);
        self.after
            .conditions
            .sort_by_key(|c| OURS.iter().position(|kind| kind.as_str() == c.type_));
    }

    /// Writes the claims down, as far as they are known.
    pub fn claims(&mut self, observed: &Observed) {
        if !observed.claims.is_empty() {
            self.after.claims = observed.claims.iter().map(written).collect();
        }
        if let Some(state) = &observed.state {
            self.after.state_claim = Some(written(state));
        }
    }

    /// Gives the conversion to the node where its holder runs.
    pub fn assign(&mut self, name: String, uid: &str, node: &str) {
        self.after.phase = Some(Phase::Scheduled);
        self.after.node_name = Some(node.to_owned());
        self.after.holder = Some(Holder {
            name,
            uid: uid.to_owned(),
        });
        self.after.attempts = Some(self.after.attempts.unwrap_or(0).saturating_add(1));
        let first = Time(self.now);
        self.after.start_time.get_or_insert(first);
        let message = format!("the disks are mounted on {node}");
        self.set(Kind::NodeAssigned, Is::True, ("HolderRunning", &message));
    }

    /// Takes the conversion from its node.
    pub fn unassign(&mut self, words: (&str, &str)) {
        self.after.phase = Some(Phase::Pending);
        self.after.node_name = None;
        self.after.holder = None;
        self.set(Kind::NodeAssigned, Is::False, words);
    }

    /// Ends the run, not ready.
    pub fn end(&mut self, phase: Phase, words: (&str, &str)) {
        self.after.phase = Some(phase);
        self.after.completion_time = Some(Time(self.now));
        self.set(Kind::Finished, Is::True, words);
        self.set(Kind::Ready, Is::False, words);
    }
}

fn written(claim: &SeenClaim) -> Claim {
    let bound = claim.bound();
    Claim {
        claim_name: claim.name.clone(),
        uid: bound.map(|b| b.uid.clone()),
        volume_name: bound.map(|b| b.volume.clone()),
        volume_mode: bound.map(|b| if b.block { "Block" } else { "Filesystem" }.to_owned()),
    }
}
