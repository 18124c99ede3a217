// SPDX-License-Identifier: Apache-2.0
//! Deciding: `Facts`, `Target` and `Policy` in, a `Plan` out. Nothing here does any I/O.

pub mod addressing;
pub mod change;
pub mod policy;
pub mod render;
mod render_hive;
pub mod target;

pub use change::{Action, Attrs, Change, Member, MemberKind, SCRATCH};
pub use policy::{InitramfsMode, Policy};
pub use target::{Bus, Target};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inspect::{Concern, Facts};

/// What will be changed, and why: the document `guestfix.io/plan/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Always `guestfix.io/plan/v1`.
    pub schema: String,
    /// SHA-256 of the facts this plan was made from.
    pub facts_digest: String,
    /// In the order they are applied. Empty: the guest is already so.
    pub changes: Vec<Change>,
    /// What an operator should know.
    pub concerns: Vec<Concern>,
    /// What the KubeVirt VM must offer.
    pub target: Target,
}

/// What one topic proposes.
#[derive(Debug, Clone, Default)]
pub struct Proposal {
    /// Changes in order.
    pub changes: Vec<Change>,
    /// Concerns found while deciding.
    pub concerns: Vec<Concern>,
}

impl Proposal {
    /// Adds another proposal's changes and concerns behind this one's.
    pub fn extend(&mut self, other: Self) {
        self.changes.extend(other.changes);
        self.concerns.extend(other.concerns);
    }
}

/// What an OS room contributes to deciding.
pub trait Propose {
    /// `linux` or `windows`.
    fn family(&self) -> &'static str;

    /// The topics it decides about, in order.
    fn topics(&self) -> &'static [&'static str];

    /// Everything to be changed in this guest, in order.
    fn propose(&self, facts: &Facts, target: &Target, policy: &Policy) -> Proposal;
}

/// The document's schema.
pub const SCHEMA: &str = "guestfix.io/plan/v1";

/// Decides: facts, target and policy in, a plan out.
///
/// # Errors
/// `Internal` when the facts cannot be encoded for their digest.
pub fn plan(
    facts: &Facts,
    target: &Target,
    policy: &Policy,
    room: &dyn Propose,
) -> crate::error::Result<Plan> {
    let proposal = room.propose(facts, target, policy);
    let mut concerns = facts.concerns.clone();
    let described = policy
        .vm
        .iter()
        .flat_map(|vm| crate::vm::concerns(facts, vm));
    for concern in described.chain(proposal.concerns) {
        if !concerns.contains(&concern) {
            concerns.push(concern);
        }
    }
    Ok(Plan {
        schema: SCHEMA.to_owned(),
        facts_digest: facts.digest()?,
        changes: proposal.changes,
        concerns,
        target: target.clone(),
    })
}

impl Plan {
    /// Some concern says that the guest will not work.
    pub fn critical(&self) -> impl Iterator<Item = &Concern> {
        self.concerns
            .iter()
            .filter(|c| c.category == crate::inspect::Category::Critical)
    }

    /// What identifies the plan: same facts and same changes give the same digest.
    ///
    /// # Errors
    /// `Internal` when the plan cannot be encoded.
    pub fn digest(&self) -> crate::error::Result<String> {
        let shown: Vec<_> = self
            .changes
            .iter()
            .map(|c| (&c.kind, &c.path, &c.why, &c.diff))
            .collect();
        let bytes = rmp_serde::to_vec(&(&self.facts_digest, shown))
            .map_err(|e| crate::error::Error::internal("encoding the plan").because(e))?;
        Ok(crate::digest::sha256_hex(&bytes))
    }

    /// The published document: without the actions' payloads.
    #[must_use]
    pub fn document(&self) -> Self {
        let mut out = self.clone();
        for change in &mut out.changes {
            change.action = None;
        }
        out
    }
}
