// SPDX-License-Identifier: Apache-2.0
//! Logs of the old format (up to Windows 8): a bitmap of dirty sectors and their contents.

use super::base::{BaseBlock, put, seal};
use super::cell::place;
use super::log::Replayed;
use crate::error::{Error, Result};

const SECTOR: usize = 512;

/// Replays the log that belongs to the hive; of two, the one written later.
pub(super) fn replay(
    bytes: &[u8],
    base: Option<BaseBlock>,
    logs: &[&[u8]],
) -> Result<Option<Replayed>> {
    let usable = logs.iter().filter_map(|log| {
        let head = BaseBlock::read(log)?;
        belongs(&head, base).then_some((head, *log))
    });
    let Some((head, log)) = usable.max_by_key(|(head, _)| (head.primary_sequence, head.timestamp))
    else {
        return Ok(None);
    };
    let mut out = bytes.to_vec();
    if base.is_none() {
        put(&mut out, 0, log.get(..SECTOR).unwrap_or_default())?;
    }
    apply(&mut out, &head, log)?;
    seal(
        &mut out,
        head.primary_sequence.saturating_add(1),
        None,
        head.size,
    )?;
    Ok(Some(Replayed {
        bytes: out,
        entries: 1,
    }))
}

/// Whether a log is whole and was written for this state of the hive.
fn belongs(log: &BaseBlock, base: Option<BaseBlock>) -> bool {
    let whole = log.checksum_ok
        && matches!(log.kind, 1 | 2)
        && log.primary_sequence == log.secondary_sequence;
    whole
        && base.is_none_or(|base| {
            log.primary_sequence == base.primary_sequence && log.timestamp == base.timestamp
        })
}

fn apply(out: &mut Vec<u8>, head: &BaseBlock, log: &[u8]) -> Result<()> {
    let torn = |what: &str| Error::corrupt("hive-log", what);
    head.supported()?;
    let size = usize::try_from(head.size).unwrap_or(usize::MAX);
    let end = SECTOR.saturating_add(4).saturating_add(size / SECTOR / 8);
    let bitmap = log
        .get(SECTOR..end)
        .ok_or_else(|| torn("the log is cut short"))?;
    let Some(bitmap) = bitmap.strip_prefix(b"DIRT") else {
        return Err(torn("the log has no map of dirty sectors"));
    };
    let dirty = bitmap.iter().map(|b| b.count_ones()).sum::<u32>();
    let mut from = end.next_multiple_of(SECTOR);
    let carried = usize::try_from(dirty).unwrap_or(0).saturating_mul(SECTOR);
    if log.len() < from.saturating_add(carried) {
        return Err(torn("the log is cut short"));
    }
    if place(head.size) > out.len() {
        // Grown parts must come from the log.
        if place(head.size).saturating_sub(out.len()) > carried {
            return Err(torn("the log grows the hive without its bytes"));
        }
        out.resize(place(head.size), 0);
    }
    for sector in 0..bitmap.len().saturating_mul(8) {
        let bits = bitmap.get(sector / 8).copied().unwrap_or(0);
        if bits
            .checked_shr(u32::try_from(sector % 8).unwrap_or(0))
            .unwrap_or(0)
            & 1
            == 0
        {
            continue;
        }
        let next = from.saturating_add(SECTOR);
        let data = log.get(from..next).unwrap_or_default();
        let to = place(u32::try_from(sector.saturating_mul(SECTOR)).unwrap_or(u32::MAX));
        put(out, to, data)?;
        from = next;
    }
    Ok(())
}
