// SPDX-License-Identifier: Apache-2.0
//! The image's bytes, by place.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::cut_short;
use crate::error::{Error, Result};

/// Something that can be read at any place.
pub(crate) trait ReadAt: Debug + Send + Sync {
    /// Fills the buffer from that byte on.
    ///
    /// # Errors
    /// Those of the system.
    fn read_exact_at(&self, out: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, at)
    }
}

/// The length of a file or a block device, in bytes.
pub(super) fn length(file: &File) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let mut file = file;
    file.seek(SeekFrom::End(0))
}

/// An image and its length in bytes.
#[derive(Debug)]
pub(super) struct Image<R> {
    reader: R,
    len: u64,
}

impl<R: ReadAt> Image<R> {
    pub(super) fn new(reader: R, len: u64) -> Self {
        Self { reader, len }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes from a place.
    ///
    /// # Errors
    /// `Corrupt`/`iso-cut-short` behind the end, `Host`/`io`.
    pub(super) fn read(&self, start: u64, len: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.append(start, len, &mut out)?;
        Ok(out)
    }

    /// Bytes from a place, behind what is there. Nothing is allocated for what the image has not.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub(super) fn append(&self, start: u64, len: u64, out: &mut Vec<u8>) -> Result<()> {
        let end = start.saturating_add(len);
        if len > 0 && end > self.len {
            return Err(cut_short("what is read", end, self.len));
        }
        let old = out.len();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        out.resize(old.saturating_add(len), 0);
        let part = out.get_mut(old..).unwrap_or_default();
        self.reader
            .read_exact_at(part, start)
            .map_err(|e| Error::io(format!("reading the ISO image at byte {start}"), &e))
    }
}
