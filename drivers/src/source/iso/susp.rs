// SPDX-License-Identifier: Apache-2.0
//! Rock Ridge: real names, and folders that were moved because ISO 9660 allows eight levels only.
//! SUSP and RRIP, IEEE P1281 and P1282: <https://en.wikipedia.org/wiki/Rock_Ridge>.

use super::image::{Image, ReadAt};
use super::record;
use super::{Extent, damaged};
use crate::error::Result;

/// Continuations of one record; more are a circle.
const MAX_CONTINUATIONS: usize = 16;
/// The longest continuation, in bytes: a block.
const MAX_AREA: u64 = 2048;
/// `S_IFMT` and `S_IFLNK` of POSIX modes.
const MODE_TYPE: u32 = 0o170_000;
const MODE_LINK: u32 = 0o120_000;

/// An image with Rock Ridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Susp {
    /// Bytes to skip in every room for system use but the root's own.
    skip: usize,
}

/// What Rock Ridge says of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// `NM`.
    pub name: Option<String>,
    /// `CL`: the block of the folder that the record stands for.
    pub moved_to: Option<u64>,
    /// `RE`, or a symbolic link: not to be listed.
    pub skip: bool,
}

impl Susp {
    /// Whether the root folder's first record says that SUSP is in use.
    ///
    /// # Errors
    /// When the root cannot be read.
    pub(super) fn detect<R: ReadAt>(image: &Image<R>, root: Extent) -> Result<Option<Self>> {
        let bytes = image.read(root.0, root.1.min(MAX_AREA))?;
        let first = record::records(&bytes, MAX_AREA)
            .next()
            .and_then(Result::ok);
        let Some(first) = first else { return Ok(None) };
        let found = match first.system_use {
            [b'S', b'P', 7, 1, 0xBE, 0xEF, skip, ..] => Some(Self {
                skip: usize::from(*skip),
            }),
            _ => None,
        };
        Ok(found)
    }

    /// Reads the entries behind a record's name.
    ///
    /// # Errors
    /// `Corrupt`/`iso-damaged` for continuations in circles, and those of reading.
    pub(super) fn read<R: ReadAt>(
        self,
        image: &Image<R>,
        system_use: &[u8],
        block: u64,
    ) -> Result<Entry> {
        let mut out = Entry::default();
        let mut area = system_use.get(self.skip..).unwrap_or_default().to_vec();
        for _ in 0..MAX_CONTINUATIONS {
            let Some((start, len)) = out.take(&area, block) else {
                return Ok(out);
            };
            area = image.read(start, len.min(MAX_AREA))?;
        }
        Err(damaged("a record of Rock Ridge goes on without end"))
    }
}

impl Entry {
    /// Takes what an area says; the place of the next area, where there is one.
    fn take(&mut self, mut area: &[u8], block: u64) -> Option<Extent> {
        let mut next = None;
        while let [a, b, len, _, ..] = area {
            let (own, rest) = area.split_at_checked(usize::from(*len).max(4))?;
            let data = own.get(4..).unwrap_or_default();
            match [*a, *b] {
                [b'C', b'E'] => {
                    let start = word(data, 0)?.saturating_mul(block);
                    next = Some((start.saturating_add(word(data, 8)?), word(data, 16)?));
                }
                [b'N', b'M'] => self.name(data),
                [b'C', b'L'] => self.moved_to = word(data, 0),
                [b'R', b'E'] => self.skip = true,
                [b'P', b'X'] => {
                    let mode = word(data, 0).and_then(|mode| u32::try_from(mode).ok());
                    self.skip |= mode.is_some_and(|mode| mode & MODE_TYPE == MODE_LINK);
                }
                [b'S', b'T'] => break,
                _ => {}
            }
            area = rest;
        }
        next
    }

    /// A part of the name; bits 1 and 2 of the flags stand for `.` and `..`.
    fn name(&mut self, data: &[u8]) {
        if let Some((flags, text)) = data.split_first()
            && flags & 0x06 == 0
        {
            let name = self.name.get_or_insert_default();
            name.push_str(&String::from_utf8_lossy(text));
        }
    }
}

/// The little-endian half of a number that is written both ways.
fn word(data: &[u8], at: usize) -> Option<u64> {
    let part = data.get(at..at.checked_add(4)?)?;
    Some(u64::from(u32::from_le_bytes(part.try_into().ok()?)))
}
