// SPDX-License-Identifier: Apache-2.0
//! Deciding: `Facts`, `Target` and `Policy` in, a `Plan` out. Nothing here does any I/O.

pub mod change;
pub mod policy;
pub mod render;
pub mod target;

pub use change::{Action, Attrs, Change, Member, MemberKind};
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

    /// Everything to be changed in this guest, in order.
    fn propose(&self, facts: &Facts, target: &Target, policy: &Policy) -> Proposal;
}
