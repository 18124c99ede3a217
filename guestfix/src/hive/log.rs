// SPDX-License-Identifier: Apache-2.0
//! Opening: replay of transaction logs (`HvLE` entries, Windows 8.1 and later).

use serde::{Deserialize, Serialize};

use super::base::{BaseBlock, put, seal};
use super::cell::{BASE, Bins, le32, le64, place};
use super::{Hive, marvin, old_log};
use crate::error::{Error, Result};

/// What to do with a dirty hive that its logs cannot make whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dirty {
    /// Fail: the last writes would be lost.
    Refuse,
    /// Take the hive as it is; [`Recovery::Unrecovered`] says so.
    Accept,
}

/// How a hive was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Recovery {
    /// Both sequence numbers agree.
    Clean,
    /// It was dirty, and the logs made it whole.
    Replayed {
        /// Log entries applied (1 for a log of the old format).
        entries: u32,
        /// The base block was unusable and came from a log.
        base_block: bool,
    },
    /// It is dirty, and was opened without its last writes.
    Unrecovered {
        /// Why the logs did not help.
        why: String,
    },
}

/// The file type of a log with `HvLE` entries.
const NEW_LOG: u32 = 6;
const ENTRY_HEADER: usize = 40;

/// One entry whose hashes are right.
#[derive(Debug, Clone)]
struct Entry<'l> {
    sequence: u32,
    size: u32,
    pages: Vec<(u32, &'l [u8])>,
}

/// A log whose base block is right, with its entries up to the first bad one.
#[derive(Debug)]
struct Log<'l> {
    bytes: &'l [u8],
    entries: Vec<Entry<'l>>,
}

pub(super) fn open(bytes: Vec<u8>, logs: &[&[u8]], dirty: Dirty) -> Result<Hive> {
    let base = BaseBlock::read(&bytes);
    let Some(base) = base else {
        // Without even a signature only a log can tell that this is a hive.
        if bytes.len() <= BASE || bytes.get(BASE..BASE.saturating_add(4)) != Some(b"hbin") {
            return Hive::parse(bytes);
        }
        return recover(bytes, None, logs, dirty);
    };
    if base.is_clean() {
        return Hive::parse(bytes);
    }
    recover(bytes, Some(base).filter(|b| b.checksum_ok), logs, dirty)
}

fn recover(bytes: Vec<u8>, base: Option<BaseBlock>, logs: &[&[u8]], dirty: Dirty) -> Result<Hive> {
    let replayed = match replay(&bytes, base, logs) {
        Ok(Some(done)) => Hive::parse(done.bytes).and_then(|mut hive| {
            hive.check()?;
            hive.recovery = Recovery::Replayed {
                entries: done.entries,
                base_block: base.is_none(),
            };
            Ok(hive)
        }),
        Ok(None) => Err(Error::corrupt("hive-log", "no log belongs to the hive")),
        Err(error) => Err(error),
    };
    let error = match replayed {
        Ok(hive) => return Ok(hive),
        Err(error) => error,
    };
    match dirty {
        Dirty::Refuse => Err(Error::refused(
            "hive-dirty",
            "the hive was not closed cleanly and its logs cannot make it whole",
        )
        .because(error)
        .hint(
            "start the guest and shut it down cleanly, so that Windows recovers the hive itself",
        )),
        Dirty::Accept => as_it_is(bytes, base, error.to_string()),
    }
}

/// Opens without the last writes. Where the base block's checksum is wrong its size may lie, so
/// the bins themselves say how long the hive is.
fn as_it_is(mut bytes: Vec<u8>, base: Option<BaseBlock>, why: String) -> Result<Hive> {
    if base.is_none() && BaseBlock::read(&bytes).is_some() {
        let size = Bins::effective_size(&bytes);
        let claimed = le32(&bytes, 40).unwrap_or(0);
        if size > claimed {
            put(&mut bytes, 40, &size.to_le_bytes())?;
        }
    }
    let mut hive = Hive::parse(bytes)?;
    hive.recovery = Recovery::Unrecovered { why };
    Ok(hive)
}

/// What replay made.
pub(super) struct Replayed {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: u32,
}

fn replay(bytes: &[u8], base: Option<BaseBlock>, logs: &[&[u8]]) -> Result<Option<Replayed>> {
    let mut new: Vec<Log<'_>> = logs.iter().filter_map(|log| read_log(log)).collect();
    new.sort_by_key(|log| log.entries.first().map_or(u32::MAX, |e| e.sequence));
    if base.is_none()
        && let Some(latest) = new.pop()
    {
        // The base block comes from the log with the latest entries, and only it is replayed.
        new = vec![latest];
    }
    let from = base.map_or(0, |b| b.secondary_sequence);
    let mut out = bytes.to_vec();
    if base.is_none()
        && let Some(head) = new.first().and_then(|log| log.bytes.get(..512))
    {
        put(&mut out, 0, head)?;
    }
    let mut last: Option<&Entry<'_>> = None;
    let mut entries = 0_u32;
    for entry in new.iter().flat_map(|log| &log.entries) {
        if entry.sequence < from || last.is_some_and(|l| entry.sequence <= l.sequence) {
            continue;
        }
        // A gap, also one between the hive and its first entry, hides writes that came before.
        let expected = match last {
            Some(last) => last.sequence.checked_add(1),
            None => base.map(|base| base.secondary_sequence),
        };
        if expected.is_some_and(|expected| expected != entry.sequence) {
            break;
        }
        apply(&mut out, entry)?;
        entries = entries.saturating_add(1);
        last = Some(entry);
    }
    if let Some(last) = last {
        let sequence = last.sequence.saturating_add(1);
        seal(&mut out, sequence, None, last.size)?;
        return Ok(Some(Replayed {
            bytes: out,
            entries,
        }));
    }
    old_log::replay(bytes, base, logs)
}

/// Reads a log up to its first torn or foreign entry.
fn read_log(bytes: &[u8]) -> Option<Log<'_>> {
    let base = BaseBlock::read(bytes)?;
    if !base.checksum_ok || base.kind != NEW_LOG || base.primary_sequence != base.secondary_sequence
    {
        return None;
    }
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut at = 512_usize;
    let mut expected = base.primary_sequence;
    while let Some((entry, size)) = bytes.get(at..).and_then(read_entry) {
        if entry.sequence != expected {
            break;
        }
        expected = expected.checked_add(1)?;
        entries.push(entry);
        at = at.checked_add(size)?;
    }
    (!entries.is_empty()).then_some(Log { bytes, entries })
}

/// Reads one entry and checks its hashes: the first covers what follows the header, the second
/// the header before itself.
fn read_entry(rest: &[u8]) -> Option<(Entry<'_>, usize)> {
    let size = usize::try_from(le32(rest, 4)?).ok()?;
    let raw = rest.get(..size)?;
    if !raw.starts_with(b"HvLE") || !size.is_multiple_of(512) {
        return None;
    }
    let body = marvin::hash(raw.get(ENTRY_HEADER..)?);
    let head = marvin::hash(raw.get(..32)?);
    if le64(raw, 24)? != body || le64(raw, 32)? != head {
        return None;
    }
    let count = usize::try_from(le32(raw, 20)?).ok()?;
    let mut data = count.checked_mul(8)?.checked_add(ENTRY_HEADER)?;
    if data > size {
        return None;
    }
    let mut pages = Vec::with_capacity(count);
    for page in raw.get(ENTRY_HEADER..data)?.chunks_exact(8) {
        let end = data.checked_add(usize::try_from(le32(page, 4)?).ok()?)?;
        pages.push((le32(page, 0)?, raw.get(data..end)?));
        data = end;
    }
    let entry = Entry {
        sequence: le32(raw, 12)?,
        size: le32(raw, 16)?,
        pages,
    };
    Some((entry, size))
}

fn apply(out: &mut Vec<u8>, entry: &Entry<'_>) -> Result<()> {
    let end = place(entry.size);
    if entry.size > 0x7FFF_F000 || !entry.size.is_multiple_of(4096) {
        return Err(Error::corrupt(
            "hive-log",
            "a log entry has an impossible hive size",
        ));
    }
    // A log cannot hold more than it grows the hive by, so neither can the hive outgrow it.
    let carried: usize = entry.pages.iter().map(|(_, page)| page.len()).sum();
    if end > out.len().saturating_add(carried).saturating_add(1 << 20) {
        return Err(Error::corrupt(
            "hive-log",
            "a log entry grows the hive without its bytes",
        ));
    }
    if end > out.len() {
        out.resize(end, 0);
    }
    for (offset, page) in &entry.pages {
        if offset
            .checked_add(u32::try_from(page.len()).unwrap_or(u32::MAX))
            .is_none_or(|e| e > entry.size)
        {
            return Err(Error::corrupt(
                "hive-log",
                "a log entry writes outside the hive",
            ));
        }
        put(out, place(*offset), page)?;
    }
    Ok(())
}
