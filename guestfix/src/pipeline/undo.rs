// SPDX-License-Identifier: Apache-2.0
//! Undo and recover: the two verbs that only look at journals and undo records.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Context;
use super::disks::Disks;
use super::hive::expanded;
use crate::error::Result;

/// The document `guestfix.io/undo/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UndoReport {
    /// Always `guestfix.io/undo/v1`.
    pub schema: String,
    /// How many conversions were undone.
    pub undone: u64,
    /// How many can still be undone.
    pub remaining: u64,
}

/// The document `guestfix.io/recover/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoverReport {
    /// Always `guestfix.io/recover/v1`.
    pub schema: String,
    /// `nothing`, `rolled-forward` (the interrupted commit is now complete) or `dropped` (it never
    /// reached the disks).
    pub outcome: String,
}

/// Gives every byte of the last conversion back, or of all. A single hive file brings its logs.
///
/// # Errors
/// `Refused`/`no-undo`, `Refused`/`has-run-since`, `Refused`/`in-use`; `Host` when writing fails.
pub fn undo(context: &Context<'_>, paths: &[PathBuf], all: bool) -> Result<UndoReport> {
    let disks = Disks::open_write(&expanded(paths)?, context.opening)?;
    let mut writable = disks.home(context.state_dir)?;
    let (undone, remaining) = writable.undo(all)?;
    Ok(UndoReport {
        schema: "guestfix.io/undo/v1".to_owned(),
        undone,
        remaining,
    })
}

/// Finishes or drops an interrupted commit.
///
/// # Errors
/// `Refused`/`disk-replaced` when the disk is not the one the journal was written for.
pub fn recover(context: &Context<'_>, paths: &[PathBuf]) -> Result<RecoverReport> {
    let disks = Disks::open_write(&expanded(paths)?, context.opening)?;
    let mut writable = disks.home(context.state_dir)?;
    let outcome = writable.recover()?.to_owned();
    Ok(RecoverReport {
        schema: "guestfix.io/recover/v1".to_owned(),
        outcome,
    })
}
