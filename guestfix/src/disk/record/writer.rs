// SPDX-License-Identifier: Apache-2.0
//! Writing a record: streamed, hashed on the way, durable when [`Writer::finish`] returns.

use std::fs::File;
use std::io::{BufWriter, Write};

use sha2::{Digest, Sha256};

use super::{
    CHUNK, ENTRY, ENTRY_HEAD, Entry, HEAD, Header, MAGIC, MAX_HEADER, RecordKind, TAIL, TRAILER,
    VERSION,
};
use crate::disk::raw::write_error;
use crate::error::{Error, Result};

/// A record being written.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
    hash: Sha256,
    entries: u64,
    bytes: u64,
}

impl Writer {
    /// Starts a record in an empty file.
    ///
    /// # Errors
    /// `Host`/`no-space` or `Host`/`io`.
    pub fn new(file: File, kind: RecordKind, header: &Header) -> Result<Self> {
        let json = header_json(header)?;
        let file = BufWriter::with_capacity(CHUNK, file);
        let mut writer = Self {
            file,
            hash: Sha256::new(),
            entries: 0,
            bytes: 0,
        };
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(MAGIC);
        for word in [VERSION, kind.code(), u32_of(json.len())?, 0] {
            head.extend_from_slice(&word.to_le_bytes());
        }
        writer.put(&head)?;
        writer.put(&json)?;
        Ok(writer)
    }

    /// Adds an entry. Entries come in order of disk and offset and do not overlap.
    ///
    /// # Errors
    /// `Host`/`no-space` or `Host`/`io`.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        let mut head = Vec::with_capacity(ENTRY_HEAD);
        head.extend_from_slice(ENTRY);
        head.extend_from_slice(&u32_of(entry.disk)?.to_le_bytes());
        head.extend_from_slice(&entry.offset.to_le_bytes());
        head.extend_from_slice(&u32_of(entry.data.len())?.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        self.put(&head)?;
        self.put(entry.checks.as_flattened())?;
        self.put(&entry.data)?;
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(entry.data.len() as u64);
        Ok(())
    }

    /// Writes the trailer and makes the whole file durable.
    ///
    /// # Errors
    /// `Host`/`no-space` or `Host`/`io`.
    pub fn finish(mut self) -> Result<()> {
        let mut trailer = Vec::with_capacity(TRAILER);
        trailer.extend_from_slice(TAIL);
        trailer.extend_from_slice(&[0; 4]);
        trailer.extend_from_slice(&self.entries.to_le_bytes());
        trailer.extend_from_slice(&self.bytes.to_le_bytes());
        self.put(&trailer)?;
        let digest = self.hash.finalize_reset();
        self.file
            .write_all(&digest)
            .map_err(|e| write_error(&e, DOING))?;
        let file = self
            .file
            .into_inner()
            .map_err(|e| write_error(e.error(), DOING))?;
        file.sync_all().map_err(|e| write_error(&e, DOING))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|e| write_error(&e, DOING))
    }
}

const DOING: &str = "cannot write a record to the state directory";

/// Bytes that a record takes beside its entries.
///
/// # Errors
/// `Internal` for a header that is too large.
pub(crate) fn frame_size(header: &Header) -> Result<u64> {
    let json = header_json(header)?.len() as u64;
    Ok(json
        .saturating_add(HEAD as u64)
        .saturating_add(TRAILER as u64))
}

fn header_json(header: &Header) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(header)
        .map_err(|e| Error::internal("cannot write a record's header").because(e))?;
    if json.len() > MAX_HEADER {
        return Err(Error::internal("a record's header is too large"));
    }
    Ok(json)
}

fn u32_of(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::internal("a record's field is too large"))
}
