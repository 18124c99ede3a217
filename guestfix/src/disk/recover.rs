// SPDX-License-Identifier: Apache-2.0
//! Finishing or dropping an interrupted commit.

use std::fs::File;

use serde::{Deserialize, Serialize};

use super::commit::{OpenDisk, finish};
use super::home::{DiskIdentity, Home, JOURNAL};
use super::record::{Header, Reader, RecordKind, Summary};
use super::settle::Settlement;
use super::{Overlay, Storage, fault};
use crate::error::{Error, Kind, Result};

/// How an interrupted commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovered {
    /// Its journal was complete: the disks now hold the new content.
    RolledForward,
    /// It was never complete: the disks hold the old content.
    Dropped,
    /// There was none.
    Nothing,
}

/// Finishes an interrupted commit or undo, or drops it when it never reached its point of no
/// return. May be interrupted and run again.
///
/// # Errors
/// `Refused`/`disk-replaced` with disk and offset when a sector holds neither old nor new content:
/// nothing is written and the journal is kept. `Host`/`commit-incomplete` when writing fails.
/// `Corrupt`/`record` when the journal is damaged and cannot be rolled back either.
pub fn recover(home: &Home, disks: &[OpenDisk]) -> Result<Recovered> {
    home.require_exclusive()?;
    let Some(journal) = home.open_file(JOURNAL)? else {
        return drop_unfinished(home);
    };
    let settlement = match Settlement::new(journal, disks) {
        Err(damage) if damage.kind == Kind::Corrupt => return roll_back(home, disks, damage),
        other => other?,
    };
    settlement.check()?;
    tracing::debug!(
        bytes = settlement.summary.bytes,
        "rolling the journal forward"
    );
    settlement.apply()?;
    finish(home, settlement.header.undo)?;
    Ok(Recovered::RolledForward)
}

fn drop_unfinished(home: &Home) -> Result<Recovered> {
    let names = home.unfinished()?;
    for name in &names {
        home.remove(name)?;
    }
    Ok(if names.is_empty() {
        Recovered::Nothing
    } else {
        Recovered::Dropped
    })
}

/// The journal was whole when it got its name, so the medium has damaged it and the disks may be
/// half-written. The undo record that was made with it can still bring everything back.
fn roll_back(home: &Home, disks: &[OpenDisk], damage: Error) -> Result<Recovered> {
    let damage = damage.hint(
        "the disks may be half-written: do not start the guest. Restore a backup; \
         `guestfix state prune` never removes this journal",
    );
    let mut names = home.unfinished()?;
    names.retain(|name| name.starts_with("undo-"));
    let [undo] = names.as_slice() else {
        return Err(damage);
    };
    let Some(record) = home.open_file(undo)? else {
        return Err(damage);
    };
    let settlement = match Settlement::new(record, disks) {
        Err(e) if e.kind == Kind::Corrupt => return Err(damage.because(e)),
        other => other?,
    };
    settlement.check()?;
    settlement.apply()?;
    home.remove(JOURNAL)?;
    fault::point("recover.journal-removed", 0)?;
    drop_unfinished(home)
}

/// A journal that waits for [`recover`].
#[derive(Debug)]
pub struct PendingJournal {
    /// Of a conversion (redo) or of an undo.
    pub kind: RecordKind,
    /// What it says of itself.
    pub header: Header,
    /// How much it writes.
    pub summary: Summary,
    file: File,
}

/// The journal that waits in this home, if any.
///
/// # Errors
/// `Corrupt`/`record` when it is damaged: the disks cannot be trusted then.
pub fn pending(home: &Home) -> Result<Option<PendingJournal>> {
    let Some(file) = home.open_file(JOURNAL)? else {
        return Ok(None);
    };
    let copy = file
        .try_clone()
        .map_err(|e| Error::io("cannot read the journal", e))?;
    let (reader, summary) = Reader::new(copy)?.validate()?;
    let (kind, header) = (reader.kind(), reader.header().clone());
    Ok(Some(PendingJournal {
        kind,
        header,
        summary,
        file,
    }))
}

impl PendingJournal {
    /// Writes what the journal holds for `disk` into its overlay, so that readers see the disk as
    /// it will be.
    ///
    /// # Errors
    /// `Refused`/`disk-replaced` when the journal does not know the disk; the overlay's own.
    pub fn lay(&self, disk: &DiskIdentity, overlay: &Overlay) -> Result<()> {
        let known = self
            .header
            .disks
            .iter()
            .position(|known| known.identity.key() == disk.key());
        let index = known.ok_or_else(|| {
            Error::refused(
                "disk-replaced",
                "the pending journal does not know this disk",
            )
            .on(&disk.path)
        })?;
        let copy = self
            .file
            .try_clone()
            .map_err(|e| Error::io("cannot read the journal", e))?;
        let mut reader = Reader::new(copy)?;
        while let Some(entry) = reader.next_entry()? {
            let inside =
                usize::try_from(overlay.len().saturating_sub(entry.offset)).unwrap_or(usize::MAX);
            let data = entry.data.get(..inside).unwrap_or(&entry.data);
            if entry.disk == index && !data.is_empty() {
                overlay.write_at(data, entry.offset)?;
            }
        }
        Ok(())
    }
}
