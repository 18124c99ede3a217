// SPDX-License-Identifier: Apache-2.0
//! The document `guestfix.io/boot/v1`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::accel::Accel;
use super::evidence::Reason;
use super::machine::Machine;

/// Name and version of the document.
pub const SCHEMA: &str = "guestfix.io/boot/v1";

/// How a boot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootResult {
    /// Evidence says that the guest is up.
    Booted,
    /// Evidence says that it will not come up.
    Failed,
    /// No evidence of either in time.
    Inconclusive,
}

/// What was seen when the guest was started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BootReport {
    /// Always `guestfix.io/boot/v1`.
    pub schema: String,
    /// How it ended.
    pub result: BootResult,
    /// Why it did not boot, or why that is not known; absent when it booted.
    pub reason: Option<Reason>,
    /// The console line, or the event, that says so. For an inconclusive boot: what came closest.
    pub evidence: Option<String>,
    /// Seconds from the start of QEMU to the conclusion.
    pub seconds: f64,
    /// The last 40 lines of the console, oldest first.
    pub console_tail: Vec<String>,
    /// What executed the guest.
    pub accel: Accel,
    /// What it was started in.
    pub machine: Machine,
}

impl BootReport {
    /// The exit code of `guestfix boot`: 0 booted, 1 failed, 7 inconclusive.
    pub fn exit_code(&self) -> u8 {
        match self.result {
            BootResult::Booted => 0,
            BootResult::Failed => 1,
            BootResult::Inconclusive => 7,
        }
    }
}
