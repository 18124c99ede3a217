// SPDX-License-Identifier: Apache-2.0
//! Undo: every byte back, unless the guest has run.
//!
//! An undo record already is the journal of its undo: it holds what to write and the digest of what
//! that replaces. So undo needs no space and one rename is its point of no return.

use super::commit::{OpenDisk, finish};
use super::home::{Home, JOURNAL};
use super::prepare::undo_name;
use super::settle::Settlement;
use super::{fault, recover};
use crate::error::{Error, Result};

/// What was undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// Numbers of the undo records used up, newest first.
    pub records: Vec<u32>,
    /// Bytes written.
    pub bytes: u64,
    /// Conversions that can still be undone.
    pub left: usize,
}

/// Takes back the last conversion, or all of them, newest first. A pending journal is rolled
/// forward before; an interrupted undo is finished by [`recover()`].
///
/// # Errors
/// `Refused`/`no-undo-record`; `Refused`/`has-run-since` naming what differs, with nothing of that
/// conversion written (newer ones stay undone); `Refused`/`disk-replaced`; `Corrupt`/`record`;
/// `Host`/`commit-incomplete`.
pub fn undo(home: &Home, disks: &[OpenDisk], all: bool) -> Result<Undone> {
    recover(home, disks)?;
    let mut numbers = home.undo_records()?;
    if numbers.is_empty() {
        return Err(Error::refused(
            "no-undo-record",
            "there is no conversion of these disks to undo",
        )
        .hint("give all disks of the guest, as for convert, and the same --state-dir"));
    }
    let mut done = Undone::default();
    while let Some(number) = numbers.pop() {
        done.bytes = done.bytes.saturating_add(undo_one(home, disks, number)?);
        done.records.push(number);
        if !all {
            break;
        }
    }
    done.left = numbers.len();
    Ok(done)
}

fn undo_one(home: &Home, disks: &[OpenDisk], number: u32) -> Result<u64> {
    let name = undo_name(number);
    let record = home.open_file(&name)?;
    let record = record.ok_or_else(|| Error::internal("an undo record is gone"))?;
    let settlement = Settlement::new(record, disks)?;
    settlement.check_untouched()?;
    fault::point("undo.checked", u64::from(number))?;
    home.rename(&name, JOURNAL)?;
    fault::point("undo.journaled", u64::from(number))?;
    tracing::debug!(number, bytes = settlement.summary.bytes, "undoing");
    settlement.apply()?;
    finish(home, number)?;
    Ok(settlement.summary.bytes)
}
