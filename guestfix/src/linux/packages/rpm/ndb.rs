// SPDX-License-Identifier: Apache-2.0
//! ndb, SUSE's format (`lib/backend/ndb/rpmpkg.c` of rpm): slots of 16 bytes at the file's
//! beginning, each naming a run of 16-byte blocks with one header. Little-endian.

use super::{Bytes, Database, Place, damaged};
use crate::error::Result;
use crate::volume::field::le32;

const PAGE: u64 = 4096;
const SLOT: usize = 16;
const BLOCK: u64 = 16;
/// Slots of the first page that are the file's header.
const FIRST: usize = 2;
/// Bytes before a header: magic, number, generation, length.
const BLOB_HEAD: usize = 16;
/// 4096 pages hold a million slots.
const MAX_PAGES: u64 = 4096;

pub(super) struct Ndb;

impl Database for Ndb {
    fn places(&mut self, bytes: &mut Bytes<'_>, out: &mut Vec<Place>) -> Result<()> {
        let head = bytes.at(0, 32)?;
        let pages = u64::from(le32(&head, 12).unwrap_or(0));
        if pages == 0 || pages > MAX_PAGES {
            return Err(damaged(format!("{pages} pages of slots"), 12));
        }
        for page in 0..pages {
            let at = page.saturating_mul(PAGE);
            let slots = bytes.at(at, 4096)?;
            let skip = if page == 0 { FIRST } else { 0 };
            out.extend(slots.chunks_exact(SLOT).skip(skip).filter_map(place));
        }
        Ok(())
    }

    fn blob(&self, bytes: &mut Bytes<'_>, place: &Place, len: usize) -> Result<Vec<u8>> {
        let head = bytes.at(place.at, BLOB_HEAD)?;
        let has = le32(&head, 12).unwrap_or(0);
        if !head.starts_with(b"BlbS") || u64::from(has) > place.len {
            return Err(damaged("a slot leads to no header", place.at));
        }
        let len = len.min(usize::try_from(has).unwrap_or(0));
        bytes.at(place.at.saturating_add(BLOB_HEAD as u64), len)
    }
}

/// A used slot's run of blocks; its length in bytes is at least that of the header in it.
fn place(slot: &[u8]) -> Option<Place> {
    let used = slot.starts_with(b"Slot") && le32(slot, 4)? != 0;
    let blocks = u64::from(le32(slot, 12)?);
    used.then_some(Place {
        at: u64::from(le32(slot, 8)?).checked_mul(BLOCK)?,
        len: blocks.checked_mul(BLOCK)?,
        ..Place::default()
    })
}
