// SPDX-License-Identifier: Apache-2.0
//! The commit: what an overlay holds goes to all disks of a guest, or to none.

use std::fmt;
use std::sync::Arc;

use super::home::{DiskIdentity, Home, JOURNAL};
use super::overlay::Extent;
use super::settle::Settlement;
use super::{Durable, Storage, fault, prepare};
use crate::error::{Error, Result};

/// A disk that a commit, recovery or undo writes.
pub struct OpenDisk {
    /// Which disk.
    pub identity: DiskIdentity,
    /// Open for writing.
    pub disk: Box<dyn Durable>,
}

impl fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenDisk")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What a commit makes of one disk.
pub struct CommitDisk {
    /// The content it gets, of the length it gets: not shorter than the disk.
    pub new: Arc<dyn Storage>,
    /// Where `new` may differ from the disk, sorted; offsets are multiples of 512 bytes.
    pub changed: Vec<Extent>,
}

impl fmt::Debug for CommitDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitDisk")
            .field("changed", &self.changed.len())
            .finish_non_exhaustive()
    }
}

/// A range whose content tells whether the guest has run: a superblock, say. Hashed on the new
/// content and kept in the undo record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Index of the disk.
    pub disk: usize,
    /// What it is, for example `disk0p2 superblock`.
    pub name: String,
    /// Start, bytes.
    pub offset: u64,
    /// Length, bytes.
    pub len: u64,
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Bytes that differed and were written.
    pub bytes: u64,
    /// Number of the undo record; none when nothing differed.
    pub undo: Option<u32>,
}

/// One commit: `disks` and `news` have the same order.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The guest's home, opened for writing.
    pub home: &'a Home,
    /// The disks.
    pub disks: &'a [OpenDisk],
    /// What each gets.
    pub news: &'a [CommitDisk],
    /// What tells later whether the guest has run.
    pub fingerprints: &'a [Fingerprint],
}

impl Commit<'_> {
    /// Runs the commit. When it returns `Ok`, every byte was read back from the medium.
    ///
    /// # Errors
    /// `Host`/`commit-incomplete`: the journal is complete and [`super::recover()`] finishes it.
    /// After every other error the disks are exactly as they were: `Host`/`no-space`,
    /// `Refused`/`pending-journal`, `Refused`/`disk-replaced` when a disk changed meanwhile.
    pub fn run(&self) -> Result<Committed> {
        self.home.require_exclusive()?;
        if self.home.has_journal() {
            return Err(Error::refused(
                "pending-journal",
                "an interrupted commit of this guest waits",
            )
            .hint("run `guestfix recover` with the same disks first"));
        }
        for name in self.home.unfinished()? {
            self.home.remove(&name)?;
        }
        let changes = prepare::differences(self)?;
        if changes.is_empty() {
            return Ok(Committed {
                bytes: 0,
                undo: None,
            });
        }
        let prepared = prepare::write(self, &changes).and_then(|()| {
            let journal = self.home.open_file(JOURNAL)?;
            let journal = journal.ok_or_else(|| Error::internal("the journal is gone"))?;
            let settlement = Settlement::new(journal, self.disks)?;
            settlement.check().map(|()| settlement)
        });
        let settlement = prepared.inspect_err(|_| self.abandon())?;
        tracing::debug!(
            bytes = settlement.summary.bytes,
            "journal complete, applying"
        );
        settlement.apply()?;
        let undo = settlement.header.undo;
        finish(self.home, undo)?;
        Ok(Committed {
            bytes: settlement.summary.bytes,
            undo: Some(undo),
        })
    }

    /// Gives the commit up while the disks are untouched. What cannot be removed is dropped or
    /// completed by `recover`; either is right, so long as the journal goes first.
    fn abandon(&self) {
        if !fault::alive() || self.home.remove(JOURNAL).is_err() {
            return;
        }
        for name in self.home.unfinished().unwrap_or_default() {
            let _ = self.home.remove(&name);
        }
    }
}

/// The disks are written and read back: the undo record becomes valid and the journal goes.
pub(crate) fn finish(home: &Home, undo: u32) -> Result<()> {
    let new = prepare::undo_new(undo);
    if home.unfinished()?.contains(&new) {
        home.rename(&new, &prepare::undo_name(undo))?;
    }
    fault::point("commit.undo-kept", 0)?;
    home.remove(JOURNAL)?;
    fault::point("commit.done", 0)
}
