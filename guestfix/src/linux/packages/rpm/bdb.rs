// SPDX-License-Identifier: Apache-2.0
//! Berkeley DB's hash access method, as far as `Packages` goes: buckets of key and data pairs whose
//! large data lie on chains of overflow pages. The layout is that of `src/dbinc/db_page.h` of
//! Berkeley DB; the byte order is that of the machine that wrote it.

use super::{Bytes, Database, Place, damaged};
use crate::error::{Error, Result};
use crate::volume::field::array;

const MAGIC: u32 = 0x0006_1561;
const META_LEN: usize = 224;
const PAGE_HEAD: usize = 26;
const HASH_META: u8 = 8;
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const OVERFLOW: u8 = 7;
const KEY_DATA: u8 = 1;
const OFF_PAGE: u8 = 3;
/// Pages of one bucket; a sound bucket has two or three.
const MAX_CHAIN: usize = 10_000;

/// An open database.
pub(super) struct Hash {
    big_endian: bool,
    page: usize,
    max_bucket: u32,
    spares: Vec<u32>,
}

impl Hash {
    pub(super) fn open(bytes: &mut Bytes<'_>) -> Result<Self> {
        let meta = bytes.at(0, META_LEN)?;
        let no = || damaged("no format of rpm's database that is known", 0);
        let magic = array(&meta, 12).ok_or_else(no)?;
        let big_endian = u32::from_be_bytes(magic) == MAGIC;
        if (!big_endian && u32::from_le_bytes(magic) != MAGIC) || meta.get(25) != Some(&HASH_META) {
            return Err(no());
        }
        let mut hash = Self {
            big_endian,
            page: 0,
            max_bucket: 0,
            spares: Vec::new(),
        };
        let page = hash.u32(&meta, 20)?;
        if !(512..=65_536).contains(&page) || !page.is_power_of_two() {
            return Err(damaged(format!("pages of {page} bytes"), 20));
        }
        if meta.get(24) != Some(&0) {
            return Err(damaged("the database is encrypted", 24));
        }
        hash.page = usize::try_from(page).unwrap_or(4096);
        hash.max_bucket = hash.u32(&meta, 72)?;
        hash.spares = (96..META_LEN)
            .step_by(4)
            .map(|at| hash.u32(&meta, at))
            .collect::<Result<_>>()?;
        Ok(hash)
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Result<u32> {
        let found = array(bytes, at).map(if self.big_endian {
            u32::from_be_bytes
        } else {
            u32::from_le_bytes
        });
        found.ok_or_else(cut)
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Result<usize> {
        let found = array(bytes, at).map(if self.big_endian {
            u16::from_be_bytes
        } else {
            u16::from_le_bytes
        });
        found.map(usize::from).ok_or_else(cut)
    }

    fn page(&self, bytes: &mut Bytes<'_>, number: u32) -> Result<Vec<u8>> {
        bytes.at(
            u64::from(number).saturating_mul(self.page as u64),
            self.page,
        )
    }

    /// The first page of a bucket: buckets of one doubling lie together (`BUCKET_TO_PAGE`).
    fn first_page(&self, bucket: u32) -> Result<u32> {
        let doubling = bucket
            .checked_add(1)
            .and_then(u32::checked_next_power_of_two)
            .map_or(31, u32::trailing_zeros);
        let doubling = usize::try_from(doubling).unwrap_or(31);
        let spare = self.spares.get(doubling).copied().ok_or_else(cut)?;
        bucket
            .checked_add(spare)
            .ok_or_else(|| damaged("a bucket lies nowhere", u64::from(bucket)))
    }

    /// The data of every pair on a page.
    fn pairs(
        &self,
        bytes: &mut Bytes<'_>,
        (page, number): (&[u8], u32),
        out: &mut Vec<Place>,
    ) -> Result<()> {
        let entries = self.u16(page, 20)?;
        let mut before = self.page;
        for index in 0..entries {
            let slot = index.saturating_mul(2).saturating_add(PAGE_HEAD);
            let at = self.u16(page, slot)?;
            if at < PAGE_HEAD || at > before {
                return Err(damaged("items of a page overlap", u64::from(number)));
            }
            let item = page.get(at..before).ok_or_else(cut)?;
            before = at;
            // Keys stand at even places.
            if index % 2 == 1 {
                out.extend(self.data(bytes, item)?);
            }
        }
        Ok(())
    }

    /// Where a pair's data lie. The pair with key 0 counts packages; its data are four bytes.
    fn data(&self, bytes: &mut Bytes<'_>, item: &[u8]) -> Result<Option<Place>> {
        match item.split_first() {
            Some((&KEY_DATA, data)) if data.len() > 16 => Ok(Some(Place {
                at: 0,
                len: data.len() as u64,
                here: bytes.keep(data)?,
                skip: 0,
            })),
            Some((&OFF_PAGE, _)) => Ok(Some(Place {
                at: u64::from(self.u32(item, 4)?),
                len: u64::from(self.u32(item, 8)?),
                ..Place::default()
            })),
            _ => Ok(None),
        }
    }
}

fn cut() -> Error {
    damaged("a page is cut short", 0)
}

impl Database for Hash {
    fn places(&mut self, bytes: &mut Bytes<'_>, out: &mut Vec<Place>) -> Result<()> {
        let mut result = Ok(());
        for bucket in 0..=self.max_bucket {
            let mut number = self.first_page(bucket)?;
            if u64::from(number).saturating_mul(self.page as u64) >= bytes.len {
                return Err(damaged("a bucket lies behind the file's end", 72));
            }
            for _ in 0..MAX_CHAIN {
                let page = self.page(bytes, number)?;
                match page.get(25) {
                    Some(&(HASH | HASH_UNSORTED)) => {
                        if let Err(error) = self.pairs(bytes, (&page, number), out) {
                            result = Err(error);
                        }
                    }
                    // A bucket of a doubling that nothing was put into yet.
                    Some(0) => {}
                    _ => result = Err(damaged("a bucket's page is none", u64::from(number))),
                }
                number = self.u32(&page, 16)?;
                if number == 0 {
                    break;
                }
            }
        }
        result
    }

    fn blob(&self, bytes: &mut Bytes<'_>, place: &Place, len: usize) -> Result<Vec<u8>> {
        if !place.here.is_empty() {
            let here = place.here.get(..len.min(place.here.len()));
            return Ok(here.unwrap_or_default().to_vec());
        }
        let mut out = Vec::new();
        let mut number = u32::try_from(place.at).unwrap_or(u32::MAX);
        while out.len() < len {
            let page = self.page(bytes, number)?;
            let here = self.u16(&page, 22)?;
            let end = PAGE_HEAD.saturating_add(here);
            let data = page.get(PAGE_HEAD..end).filter(|data| !data.is_empty());
            match (page.get(25), data) {
                (Some(&OVERFLOW), Some(data)) => out.extend_from_slice(data),
                _ => return Err(damaged("a header's chain is broken", u64::from(number))),
            }
            number = self.u32(&page, 16)?;
            if number == 0 {
                break;
            }
        }
        if out.len() < len {
            return Err(damaged("a header is cut short", place.at));
        }
        out.truncate(len);
        Ok(out)
    }
}
