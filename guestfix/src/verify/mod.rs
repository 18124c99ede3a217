// SPDX-License-Identifier: Apache-2.0
//! Verification: a registry of checks over re-read facts. The same checks explain, on an
//! unconverted guest, why it would not boot (`doctor`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inspect::Facts;
use crate::plan::Target;

/// What a failed check means.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The guest would not boot or not behave: not ready.
    Required,
    /// Ready with a warning.
    Advised,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it must be.
    Pass,
    /// Not as it must be.
    Fail,
    /// Does not apply to this guest; `detail` says why.
    Skip,
}

/// One check of the registry. A plain value, so that `guestfix checks`, `verify`, `doctor` and the
/// docs list the same thing.
#[derive(Clone, Copy)]
pub struct Check {
    /// Stable kebab-case name.
    pub name: &'static str,
    /// What it asserts, one sentence.
    pub what: &'static str,
    /// What its failure means.
    pub severity: Severity,
    /// Looks at re-read facts.
    pub run: fn(&Facts, &Target) -> Finding,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub result: Outcome,
    /// What was seen, for a person.
    pub detail: String,
}

impl Finding {
    /// As it must be.
    pub fn pass(detail: impl Into<String>) -> Self {
        Self {
            result: Outcome::Pass,
            detail: detail.into(),
        }
    }

    /// Not as it must be.
    pub fn fail(detail: impl Into<String>) -> Self {
        Self {
            result: Outcome::Fail,
            detail: detail.into(),
        }
    }

    /// Does not apply.
    pub fn skip(detail: impl Into<String>) -> Self {
        Self {
            result: Outcome::Skip,
            detail: detail.into(),
        }
    }
}

/// A check's published result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The check's name.
    pub check: String,
    /// What its failure means.
    pub severity: Severity,
    /// How it ended.
    pub result: Outcome,
    /// Who read what it looked at, for example `ext4-view`.
    pub reader: String,
    /// What was seen.
    pub detail: String,
}

/// Runs every check on re-read facts.
pub fn run(checks: &[Check], facts: &Facts, target: &Target, reader: &str) -> Vec<Verdict> {
    checks
        .iter()
        .map(|check| {
            let finding = (check.run)(facts, target);
            Verdict {
                check: check.name.to_owned(),
                severity: check.severity,
                result: finding.result,
                reader: reader.to_owned(),
                detail: finding.detail,
            }
        })
        .collect()
}
