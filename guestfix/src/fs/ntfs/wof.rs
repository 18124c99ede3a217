// SPDX-License-Identifier: Apache-2.0
//! Files of CompactOS: the content lies in a stream of its own, in chunks that are compressed each
//! by itself; the data proper is a hole ([MS-FSCC], section 2.1.2.9 for the tag;
//! <https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/ns-ntifs-_file_provider_external_info_v1>).

use std::io::{self, Read, Seek, SeekFrom};

use super::{damaged, lzx, xpress};
use crate::error::Result;
use crate::fs::ReadSeek;
use crate::fs::block::seek_target;
use crate::volume::field::le32;

/// The stream.
pub(super) const STREAM: &str = "WofCompressedData";

/// WOF_PROVIDER_FILE: the file itself keeps the content, not an image elsewhere.
const PROVIDER_FILE: u32 = 2;
/// From this size on the chunks' places are numbers of eight bytes.
const LARGE: u64 = 1 << 32;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// XPRESS with Huffman codes, in chunks of so many bytes.
    Xpress(u64),
    /// LZX, in chunks of 32 KiB.
    Lzx,
}

impl Form {
    /// From the reparse point: version and provider, then version and algorithm.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        if (le32(data, 0)?, le32(data, 4)?, le32(data, 8)?) != (1, PROVIDER_FILE, 1) {
            return None;
        }
        match le32(data, 12)? {
            0 => Some(Self::Xpress(4 << 10)),
            1 => Some(Self::Lzx),
            2 => Some(Self::Xpress(8 << 10)),
            3 => Some(Self::Xpress(16 << 10)),
            _ => None,
        }
    }

    fn chunk(self) -> u64 {
        match self {
            Self::Xpress(bytes) => bytes,
            Self::Lzx => 32 << 10,
        }
    }
}

/// A compressed file as what it holds.
pub(super) struct File<'f> {
    packed: Box<dyn ReadSeek + 'f>,
    packed_len: u64,
    form: Form,
    len: u64,
    at: u64,
    /// The chunk that was read last, by its index.
    chunk: Option<(u64, Vec<u8>)>,
}

impl<'f> File<'f> {
    /// `packed`: the stream and its length; `len`: that of the content.
    pub(super) fn new(
        packed: Box<dyn ReadSeek + 'f>,
        packed_len: u64,
        form: Form,
        len: u64,
    ) -> Result<Self> {
        let file = Self {
            packed,
            packed_len,
            form,
            len,
            at: 0,
            chunk: None,
        };
        match file.table() <= packed_len {
            true => Ok(file),
            false => Err(damaged("the table of a compressed file is cut short")),
        }
    }

    fn chunks(&self) -> u64 {
        self.len.div_ceil(self.form.chunk())
    }

    fn width(&self) -> u64 {
        if self.len < LARGE { 4 } else { 8 }
    }

    /// Bytes of the table, which leaves out the first chunk's place.
    fn table(&self) -> u64 {
        self.chunks().saturating_sub(1).saturating_mul(self.width())
    }

    /// Where a chunk begins, counted from the table's end.
    fn place(&mut self, index: u64) -> Result<u64> {
        if index == 0 {
            return Ok(0);
        }
        if index >= self.chunks() {
            return Ok(self.packed_len.saturating_sub(self.table()));
        }
        let mut number = [0; 8];
        let width = usize::try_from(self.width()).unwrap_or(8);
        let at = index.saturating_sub(1).saturating_mul(self.width());
        let to = number.get_mut(..width).unwrap_or_default();
        self.read_at(to, at)?;
        Ok(u64::from_le_bytes(number))
    }

    fn read_at(&mut self, to: &mut [u8], at: u64) -> Result<()> {
        let mut read = || {
            self.packed.seek(SeekFrom::Start(at))?;
            self.packed.read_exact(to)
        };
        read().map_err(super::unwrapped)
    }

    fn load(&mut self, index: u64) -> Result<Vec<u8>> {
        let chunk = self.form.chunk();
        let begins = index.saturating_mul(chunk);
        let size = self.len.saturating_sub(begins).min(chunk);
        let (from, to) = (self.place(index)?, self.place(index.saturating_add(1))?);
        let wrong = || damaged("a compressed file cannot be unpacked");
        let packed = to.checked_sub(from).filter(|packed| *packed <= size);
        let packed = packed.ok_or_else(wrong)?;
        let mut bytes = vec![0; usize::try_from(packed).unwrap_or(0)];
        self.read_at(&mut bytes, self.table().saturating_add(from))?;
        if packed == size {
            return Ok(bytes);
        }
        let size = usize::try_from(size).unwrap_or(0);
        match self.form {
            Form::Xpress(_) => xpress::unpack(&bytes, size),
            Form::Lzx => lzx::unpack(&bytes, size),
        }
        .ok_or_else(wrong)
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<usize> {
        if self.at >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let size = self.form.chunk();
        let index = self.at.checked_div(size).unwrap_or(0);
        if self.chunk.as_ref().is_none_or(|(have, _)| *have != index) {
            let bytes = self.load(index)?;
            self.chunk = Some((index, bytes));
        }
        let within = usize::try_from(self.at.checked_rem(size).unwrap_or(0)).unwrap_or(0);
        let chunk = self.chunk.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        let mut from = chunk.get(within..).unwrap_or_default();
        from.read(buf).map_err(super::unwrapped)
    }
}

impl Read for File<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.fill(buf).map_err(io::Error::other)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for File<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = seek_target(to, self.at, self.len)?;
        Ok(self.at)
    }
}
