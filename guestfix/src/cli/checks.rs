// SPDX-License-Identifier: Apache-2.0
//! `guestfix checks`.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output::Output;
use crate::error::Result;
use crate::pipeline::FAMILIES;
use crate::verify::Severity;

/// The document `guestfix.io/checks/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct ChecksDocument {
    /// Always `guestfix.io/checks/v1`.
    pub schema: String,
    /// Every check.
    pub checks: Vec<CheckEntry>,
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct CheckEntry {
    /// Which guests it applies to.
    pub family: String,
    /// Stable name.
    pub name: String,
    /// What its failure means.
    pub severity: Severity,
    /// What it asserts.
    pub what: String,
}

/// Every check of every family.
pub(super) fn document() -> ChecksDocument {
    let checks = FAMILIES
        .iter()
        .flat_map(|family| {
            (family.checks)().into_iter().map(|check| CheckEntry {
                family: family.recognise.family().to_owned(),
                name: check.name.to_owned(),
                severity: check.severity,
                what: check.what.to_owned(),
            })
        })
        .collect();
    ChecksDocument {
        schema: "guestfix.io/checks/v1".to_owned(),
        checks,
    }
}

pub(super) fn run(output: &Output) -> Result<u8> {
    output.result(&document(), |document| {
        let mut out = String::new();
        for check in &document.checks {
            let severity = format!("{:?}", check.severity).to_lowercase();
            let _ = writeln!(out, "{:30} {severity:9} {}", check.name, check.what);
        }
        out
    });
    Ok(0)
}
