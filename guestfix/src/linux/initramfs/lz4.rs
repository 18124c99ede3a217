// SPDX-License-Identifier: Apache-2.0
//! lz4's legacy frame, the only one the kernel's initramfs code reads: a magic number, then blocks
//! of up to 8 MiB, each behind its compressed length.
//!
//! Format: the "Legacy frame" section of
//! <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>.

use std::io::{self, BufRead, Read};

/// First word of a frame.
pub const MAGIC: u32 = 0x184C_2102;
/// Most bytes a block unpacks to.
const BLOCK: usize = 8 << 20;
/// Most bytes a block may take in the file: incompressible data grows by 1/255.
pub const MAX_PACKED: u32 = (8 << 20) + (8 << 20) / 255 + 16;

/// Decodes a chain of legacy frames to the end of the input or to a zero word, as the kernel does.
#[derive(Debug)]
pub struct Lz4Legacy<R> {
    input: R,
    started: bool,
    finished: bool,
    packed: Vec<u8>,
    block: Vec<u8>,
    at: usize,
    len: usize,
}

impl<R: BufRead> Lz4Legacy<R> {
    /// Starts at the frame's magic number.
    pub fn new(input: R) -> Self {
        Self {
            input,
            started: false,
            finished: false,
            packed: Vec::new(),
            block: Vec::new(),
            at: 0,
            len: 0,
        }
    }

    /// The next word; `None` when fewer than four bytes are left.
    fn word(&mut self) -> io::Result<Option<u32>> {
        let mut raw = Vec::with_capacity(4);
        self.input.by_ref().take(4).read_to_end(&mut raw)?;
        match <[u8; 4]>::try_from(raw.as_slice()) {
            Ok(raw) => Ok(Some(u32::from_le_bytes(raw))),
            Err(_) if raw.iter().all(|byte| *byte == 0) => Ok(None),
            Err(_) => Err(damaged("a block length is cut off")),
        }
    }

    fn next_block(&mut self) -> io::Result<bool> {
        let size = loop {
            match self.word()? {
                Some(MAGIC) => self.started = true,
                None | Some(0) => return Ok(false),
                Some(_) if !self.started => return Err(damaged("no lz4 legacy magic")),
                Some(size) if size > MAX_PACKED => {
                    return Err(damaged("a block is longer than a block can be"));
                }
                Some(size) => break size,
            }
        };
        self.packed.clear();
        let got = self
            .input
            .by_ref()
            .take(u64::from(size))
            .read_to_end(&mut self.packed)?;
        if got as u64 != u64::from(size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(BLOCK, 0);
        self.len = lz4_flex::block::decompress_into(&self.packed, &mut self.block)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        self.at = 0;
        Ok(true)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("lz4: {what}"))
}

impl<R: BufRead> Read for Lz4Legacy<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.len && !self.finished {
            self.finished = !self.next_block()?;
        }
        if self.finished {
            return Ok(0);
        }
        let count = self
            .block
            .get(self.at..self.len)
            .unwrap_or_default()
            .read(out)?;
        self.at = self.at.saturating_add(count);
        Ok(count)
    }
}

/// Packs bytes as one legacy frame.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_le_bytes().to_vec();
    for block in bytes.chunks(BLOCK) {
        let packed = lz4_flex::block::compress(block);
        let size = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&packed);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Lz4Legacy::new(bytes).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn frames_chain_and_more_than_one_block_is_kept() {
        let big: Vec<u8> = (0..9_000_000_u32).map(|n| (n / 1000) as u8).collect();
        let mut file = pack(&big);
        file.extend(pack(b"second"));
        file.extend([0; 5]);
        let out = unpack(&file).unwrap();
        assert!(out.starts_with(&big) && out.ends_with(b"second"));
    }

    #[test]
    fn an_archive_right_behind_a_frame_is_what_breaks_the_kernel() {
        let mut file = pack(b"first");
        file.extend(b"070701");
        let error = unpack(&file).unwrap_err().to_string();
        assert!(error.contains("longer than a block"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = MAGIC.to_le_bytes().to_vec();
            file.extend(&bytes);
            let _ = unpack(&file);
        }
    }
}
