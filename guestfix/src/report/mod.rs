// SPDX-License-Identifier: Apache-2.0
//! The end of the street: what was done, what was seen afterwards, and whether the guest is ready.

mod readiness;
pub mod text;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use readiness::{Readiness, judge};

use crate::apply::ChangeReport;
use crate::inspect::Concern;
use crate::plan::Target;
use crate::verify::Verdict;

/// The document's schema.
pub const SCHEMA: &str = "guestfix.io/report/v1";

/// Whether there is a way back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoInfo {
    /// `guestfix undo` can give every byte back.
    pub available: bool,
    /// The newest undo record.
    pub id: Option<String>,
}

/// How long each stage took, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// Reading the guest.
    pub inspect: u64,
    /// Deciding.
    pub plan: u64,
    /// Writing to the overlay, mount to unmount.
    pub apply: u64,
    /// Re-reading the overlay and running the checks.
    pub verify: u64,
    /// Undo record, journal, disk, and the re-read past the page cache.
    pub commit: u64,
    /// From start to report.
    pub total: u64,
}

/// The document `guestfix.io/report/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `guestfix.io/report/v1`.
    pub schema: String,
    /// `convert`, `verify`, `doctor`, `undo` or `recover`.
    pub verb: String,
    /// The judgement.
    pub readiness: Readiness,
    /// What to call the guest.
    pub guest: String,
    /// Every check's result.
    pub verdicts: Vec<Verdict>,
    /// Every change and what became of it.
    pub changes: Vec<ChangeReport>,
    /// What an operator should know.
    pub concerns: Vec<Concern>,
    /// What the KubeVirt VM must offer.
    pub target: Option<Target>,
    /// The disks were written.
    pub committed: bool,
    /// Bytes of the disks that changed; of new disks those that were written.
    pub committed_bytes: u64,
    /// The new disks, in the guest's order, where `--to` made some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// Whether there is a way back.
    pub undo: UndoInfo,
    /// Durations.
    pub timings_ms: Timings,
    /// Highest resident memory of all three processes together, bytes. Guest programs not counted.
    pub peak_rss_bytes: u64,
}
