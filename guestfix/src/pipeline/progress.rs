// SPDX-License-Identifier: Apache-2.0
//! What the pipeline tells while it works.

use serde::{Deserialize, Serialize};

/// The stages of a conversion, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reading the guest.
    Inspect,
    /// Deciding.
    Plan,
    /// Comparing an OVA with its manifest.
    Check,
    /// Writing to the overlay.
    Apply,
    /// Re-reading and checking.
    Verify,
    /// Waiting for leave to write to the disks (`convert --ask-before-commit`).
    #[serde(rename = "commit-pending")]
    CommitPending,
    /// Writing to the disks.
    Commit,
    /// Writing new disks.
    Copy,
    /// Booting the proof.
    Boot,
}

/// One progress line: the document `guestfix.io/progress/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProgressLine {
    /// Always `guestfix.io/progress/v1`.
    pub schema: String,
    /// The stage.
    pub stage: Stage,
    /// What is being done.
    pub detail: String,
    /// Steps done in this stage.
    pub done: u64,
    /// Steps in this stage; 0 when unknown.
    pub total: u64,
}

/// Who hears of it.
pub trait Progress {
    /// A step begins.
    fn step(&self, stage: Stage, detail: &str, done: u64, total: u64);
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: Stage, _: &str, _: u64, _: u64) {}
}
