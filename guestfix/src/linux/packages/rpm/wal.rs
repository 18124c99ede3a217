// SPDX-License-Identifier: Apache-2.0
//! SQLite's write-ahead log (section 4 of <https://www.sqlite.org/fileformat2.html>): pages that were
//! committed and not yet copied into the database, as a guest has them that was copied while its
//! package tool ran.

use std::collections::BTreeMap;

use super::Bytes;
use crate::error::Result;
use crate::volume::field::be32;

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// The lowest bit says that checksums are taken of big-endian words.
const MAGIC: u32 = 0x377f_0682;
/// A log larger than this is read to here: it is emptied at every thousand pages.
const MAX_LOG: u64 = 256 << 20;

/// The committed pages of a log, and where each lies in it.
pub(super) fn pages(log: &mut Bytes<'_>, page: usize) -> Result<BTreeMap<u32, u64>> {
    let mut committed = BTreeMap::new();
    if log.len < HEAD as u64 {
        return Ok(committed);
    }
    let head = log.at(0, HEAD)?;
    let word = |at| be32(&head, at).unwrap_or(0);
    let big_endian = match word(0) {
        MAGIC => false,
        magic if magic == MAGIC | 1 => true,
        _ => return Ok(committed),
    };
    let mut sums = sum((0, 0), head.get(..24).unwrap_or_default(), big_endian);
    let size = u64::from(word(8));
    if size != page as u64 || sums != (word(24), word(28)) {
        return Ok(committed);
    }
    let mut pending = BTreeMap::new();
    let mut at = HEAD as u64;
    let step = (FRAME_HEAD as u64).saturating_add(size);
    while at.saturating_add(step) <= log.len.min(MAX_LOG) {
        let frame = log.at(at, FRAME_HEAD.saturating_add(page))?;
        let of = |at| be32(&frame, at).unwrap_or(0);
        let (head, body) = frame.split_at_checked(FRAME_HEAD).unwrap_or_default();
        sums = sum(sums, head.get(..8).unwrap_or_default(), big_endian);
        sums = sum(sums, body, big_endian);
        // An earlier round of the log, or a frame that was not written to its end.
        if (of(8), of(12)) != (word(16), word(20)) || (of(16), of(20)) != sums {
            break;
        }
        pending.insert(of(0), at.saturating_add(FRAME_HEAD as u64));
        if of(4) != 0 {
            committed.append(&mut pending);
        }
        at = at.saturating_add(step);
    }
    Ok(committed)
}

/// The running checksum, over pairs of words.
fn sum((mut first, mut second): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let word = be32(pair, at).unwrap_or(0);
            if big_endian { word } else { word.swap_bytes() }
        };
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(4)).wrapping_add(first);
    }
    (first, second)
}
