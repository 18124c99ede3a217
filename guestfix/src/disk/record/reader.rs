// SPDX-License-Identifier: Apache-2.0
//! Reading a record back. Nothing in it is believed: lengths are bounded before they are used, and
//! [`Reader::validate`] has read all of it before anything acts on any of it.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use sha2::{Digest, Sha256};

use super::{
    CHUNK, Check, ENTRY, ENTRY_HEAD, Entry, HEAD, Header, MAGIC, MAX_CHECKS, MAX_HEADER,
    RecordKind, SECTOR, TAIL, TRAILER, VERSION,
};
use crate::error::{Error, Result};

/// A record that is read entry by entry.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    hash: Sha256,
    at: u64,
    kind: RecordKind,
    header: Header,
    seen: Summary,
    /// Disk and end of the last entry.
    last: (usize, u64),
}

/// What a record holds in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of data.
    pub bytes: u64,
}

impl Reader {
    /// Reads head and header.
    ///
    /// # Errors
    /// `Corrupt`/`record` with the offset; `Unsupported`/`record-version`; `Host`/`io`.
    pub fn new(mut file: File) -> Result<Self> {
        file.rewind()
            .map_err(|e| Error::io("cannot read a record", e))?;
        let mut file = BufReader::with_capacity(CHUNK, file);
        let (mut hash, mut at) = (Sha256::new(), 0);
        let head = take(&mut file, &mut hash, &mut at, HEAD)?;
        let mut fields = Fields(&head);
        if fields.bytes()? != *MAGIC {
            return Err(bad(0, "it does not start with guestfix's magic"));
        }
        let (version, kind, len) = (fields.u32()?, fields.u32()?, fields.u32()?);
        if version != VERSION {
            return Err(Error::unsupported(
                "record-version",
                format!("a record of version {version} needs another guestfix"),
            ));
        }
        let kind = RecordKind::from_code(kind).ok_or_else(|| bad(12, "its kind is unknown"))?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > MAX_HEADER {
            return Err(bad(16, "its header is too long"));
        }
        let json = take(&mut file, &mut hash, &mut at, len)?;
        let header = serde_json::from_slice(&json)
            .map_err(|e| bad(HEAD as u64, "its header is unreadable").because(e))?;
        Ok(Self {
            file,
            hash,
            at,
            kind,
            header,
            seen: Summary::default(),
            last: (0, 0),
        })
    }

    /// Redo or undo.
    pub fn kind(&self) -> RecordKind {
        self.kind
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads everything to the end, then starts over: afterwards the record is known to be whole.
    ///
    /// # Errors
    /// As [`Reader::new`].
    pub fn validate(self) -> Result<(Self, Summary)> {
        let mut reader = self;
        while reader.next_entry()?.is_some() {}
        let summary = reader.seen;
        let again = Self::new(reader.file.into_inner())?;
        Ok((again, summary))
    }

    /// The next entry; `None` after the last, when the trailer agreed with all that was read.
    ///
    /// # Errors
    /// `Corrupt`/`record` with the offset; `Host`/`io`.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let start = self.at;
        let tag = self.take(4)?;
        if tag == TAIL {
            self.trailer(start)?;
            return Ok(None);
        }
        if tag != ENTRY {
            return Err(bad(start, "an entry does not start with its tag"));
        }
        let head = self.take(ENTRY_HEAD.saturating_sub(4))?;
        let mut fields = Fields(&head);
        let disk = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
        let offset = fields.u64()?;
        let len = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
        self.check_place(start, disk, offset, len)?;
        let count = len.div_ceil(SECTOR).min(MAX_CHECKS);
        let raw = self.take(count.saturating_mul(size_of::<Check>()))?;
        let checks = raw.as_chunks().0.to_vec();
        let data = self.take(len)?;
        self.seen.entries = self.seen.entries.saturating_add(1);
        self.seen.bytes = self.seen.bytes.saturating_add(len as u64);
        Ok(Some(Entry {
            disk,
            offset,
            data,
            checks,
        }))
    }

    fn check_place(&mut self, start: u64, disk: usize, offset: u64, len: usize) -> Result<()> {
        let known = self
            .header
            .disks
            .get(disk)
            .ok_or_else(|| bad(start, "an entry names a disk that is not there"))?;
        if len == 0 || len > CHUNK || !offset.is_multiple_of(SECTOR as u64) {
            return Err(bad(start, "an entry's length or offset is impossible"));
        }
        let end = offset
            .checked_add(len as u64)
            .filter(|end| *end <= known.len_before.max(known.len_after));
        let end = end.ok_or_else(|| bad(start, "an entry lies beyond its disk"))?;
        if disk < self.last.0 || (disk == self.last.0 && offset < self.last.1) {
            return Err(bad(start, "an entry is out of order"));
        }
        self.last = (disk, end);
        Ok(())
    }

    fn trailer(&mut self, start: u64) -> Result<()> {
        let rest = self.take(20)?;
        let mut fields = Fields(&rest);
        let (_, entries, bytes) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let expected = self.hash.finalize_reset();
        let digest = self.take(TRAILER.saturating_sub(24))?;
        if digest != expected.as_slice() {
            return Err(bad(start, "its checksum does not match"));
        }
        if (Summary { entries, bytes }) != self.seen {
            return Err(bad(start, "its trailer counts other entries"));
        }
        let mut more = [0];
        match self.file.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(bad(self.at, "something follows its end")),
            Err(e) => Err(Error::io("cannot read a record", e)),
        }
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>> {
        take(&mut self.file, &mut self.hash, &mut self.at, len)
    }
}

/// Reads exactly `len` bytes; memory grows with what is there, not with what is claimed.
fn take(file: &mut impl Read, hash: &mut Sha256, at: &mut u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let got = file
        .take(len as u64)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("cannot read a record", e).at(*at))?;
    if got != len {
        return Err(bad(at.saturating_add(got as u64), "it is cut short"));
    }
    hash.update(&bytes);
    *at = at.saturating_add(got as u64);
    Ok(bytes)
}

fn bad(at: u64, why: &str) -> Error {
    Error::corrupt(
        "record",
        format!("the record in the state directory is damaged: {why}"),
    )
    .at(at)
}

/// Little-endian fields in order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (now, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| bad(0, "it is cut short"))?;
        self.0 = rest;
        Ok(*now)
    }

    fn u32(&mut self) -> Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }
}
