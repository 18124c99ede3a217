// SPDX-License-Identifier: Apache-2.0
//! The first half of a commit: finding what differs and writing it down. Touches no disk.

use std::panic::resume_unwind;

use super::commit::{Commit, OpenDisk};
use super::home::{JOURNAL, JOURNAL_NEW, now};
use super::record::{
    Entry, Fingerprinted, Header, RecordDisk, RecordKind, Writer, checks_of, entry_size, frame_size,
};
use super::{CHUNK, CommitDisk, SECTOR, Storage, fault, overlay::CLUSTER, read_padded};
use crate::error::{Error, Result};

/// From so many bytes on a thread costs less than it saves.
const WORTH_A_THREAD: usize = 256 << 10;

/// A run of at most [`CHUNK`] bytes that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Difference {
    disk: usize,
    offset: u64,
    len: usize,
}

pub(crate) fn undo_name(number: u32) -> String {
    format!("undo-{number:04}")
}

pub(crate) fn undo_new(number: u32) -> String {
    format!("{}.new", undo_name(number))
}

/// Compares old and new content, so that a second conversion writes nothing.
pub(crate) fn differences(commit: &Commit<'_>) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    for (disk, old, new) in pairs(commit) {
        if new.new.len() < old.disk.len() {
            return Err(Error::internal("a commit cannot make a disk shorter"));
        }
        let mut end = 0;
        for extent in &new.changed {
            if extent.offset < end || !extent.offset.is_multiple_of(SECTOR as u64) {
                return Err(Error::internal(
                    "a commit's extents are not sorted or not aligned",
                ));
            }
            end = extent.offset.saturating_add(extent.len);
            compare(
                disk,
                old.disk.as_ref(),
                new.new.as_ref(),
                extent.offset..end,
                &mut found,
            )?;
        }
    }
    Ok(found)
}

fn compare(
    disk: usize,
    old: &dyn Storage,
    new: &dyn Storage,
    range: std::ops::Range<u64>,
    found: &mut Vec<Difference>,
) -> Result<()> {
    let (mut was, mut is) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end.saturating_sub(at)).unwrap_or(CHUNK);
        let (was, _) = was.split_at_mut(left.min(CHUNK));
        let (is, _) = is.split_at_mut(left.min(CHUNK));
        read_padded(old, was, at)?;
        new.read_at(is, at)?;
        for (was, is) in was.chunks(CLUSTER).zip(is.chunks(CLUSTER)) {
            if was != is {
                push(
                    found,
                    Difference {
                        disk,
                        offset: at,
                        len: is.len(),
                    },
                );
            }
            at = at.saturating_add(is.len() as u64);
        }
    }
    Ok(())
}

/// Joins a difference to its neighbour where both still fit one entry.
fn push(found: &mut Vec<Difference>, next: Difference) {
    if let Some(last) = found.last_mut()
        && last.disk == next.disk
        && last.offset.saturating_add(last.len as u64) == next.offset
        && last.len.saturating_add(next.len) <= CHUNK
    {
        last.len = last.len.saturating_add(next.len);
    } else {
        found.push(next);
    }
}

/// Writes undo record and journal; when it returns, the journal has its name and the commit will
/// happen whatever comes.
pub(crate) fn write(commit: &Commit<'_>, changes: &[Difference]) -> Result<()> {
    let home = commit.home;
    let last = home.undo_records()?.last().copied().unwrap_or(0);
    let redo_header = header(commit, last.saturating_add(1));
    let undo_header = reversed(&redo_header, fingerprints(commit)?);
    let undo_file = home.create(&undo_new(redo_header.undo))?;
    let redo_file = home.create(JOURNAL_NEW)?;
    let data = changes.iter().fold(0_u64, |sum, change| {
        sum.saturating_add(entry_size(change.len as u64))
    });
    let size = |header| frame_size(header).map(|frame| data.saturating_add(frame));
    home.reserve(&[
        (&undo_file, size(&undo_header)?),
        (&redo_file, size(&redo_header)?),
    ])?;
    fault::point("commit.reserved", 0)?;

    let mut undo = Writer::new(undo_file, RecordKind::Undo, &undo_header)?;
    let mut redo = Writer::new(redo_file, RecordKind::Redo, &redo_header)?;
    for (n, change) in (0..).zip(changes) {
        let (old, new) = contents(commit, change)?;
        let large = change.len >= WORTH_A_THREAD;
        let (old_checks, new_checks) = both(large, || checks_of(&old), || checks_of(&new));
        let entry = |data, checks| Entry {
            disk: change.disk,
            offset: change.offset,
            data,
            checks,
        };
        let (old, new) = (entry(old, new_checks), entry(new, old_checks));
        let (undone, redone) = both(large, || undo.push(&old), || redo.push(&new));
        undone.and(redone)?;
        fault::point("commit.record", n)?;
    }
    let (undone, redone) = both(true, || undo.finish(), || redo.finish());
    undone?;
    fault::point("commit.undo-synced", 0)?;
    redone?;
    home.sync_dir()?;
    fault::point("commit.journal-synced", 0)?;
    home.rename(JOURNAL_NEW, JOURNAL)?;
    fault::point("commit.journaled", 0)
}

/// Does two things, where they are `large` beside each other: hashing takes as long as writing.
fn both<A: Send, B>(
    large: bool,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B,
) -> (A, B) {
    if !large {
        return (one(), other());
    }
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        let one = one.join();
        (one.unwrap_or_else(|panic| resume_unwind(panic)), other)
    })
}

fn contents(commit: &Commit<'_>, change: &Difference) -> Result<(Vec<u8>, Vec<u8>)> {
    let (_, old, new) = pairs(commit)
        .find(|(disk, ..)| *disk == change.disk)
        .ok_or_else(|| Error::internal("a change names no disk"))?;
    let (mut was, mut is) = (vec![0; change.len], vec![0; change.len]);
    read_padded(old.disk.as_ref(), &mut was, change.offset)?;
    new.new.read_at(&mut is, change.offset)?;
    Ok((was, is))
}

fn pairs<'a>(commit: &Commit<'a>) -> impl Iterator<Item = (usize, &'a OpenDisk, &'a CommitDisk)> {
    commit
        .disks
        .iter()
        .zip(commit.news)
        .enumerate()
        .map(|(n, (old, new))| (n, old, new))
}

fn header(commit: &Commit<'_>, undo: u32) -> Header {
    let disks = pairs(commit).map(|(_, old, new)| RecordDisk {
        identity: old.identity.clone(),
        len_before: old.disk.len(),
        len_after: new.new.len(),
    });
    Header {
        created: now(),
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        disks: disks.collect(),
        undo,
        fingerprints: Vec::new(),
    }
}

fn reversed(header: &Header, fingerprints: Vec<Fingerprinted>) -> Header {
    let mut undo = Header {
        fingerprints,
        ..header.clone()
    };
    for disk in &mut undo.disks {
        std::mem::swap(&mut disk.len_before, &mut disk.len_after);
    }
    undo
}

fn fingerprints(commit: &Commit<'_>) -> Result<Vec<Fingerprinted>> {
    let of = |print: &super::Fingerprint| {
        let new = commit.news.get(print.disk);
        let new = new.ok_or_else(|| Error::internal("a fingerprint names no disk"))?;
        Fingerprinted::of(print, new.new.as_ref())
    };
    commit.fingerprints.iter().map(of).collect()
}
