// SPDX-License-Identifier: Apache-2.0
//! Copies of whole disks into new files: what is zeros takes no room there.
#![deny(clippy::arithmetic_side_effects)]

mod qcow2;

use std::fs::File;
use std::os::unix::fs::FileExt;

pub use qcow2::NewQcow2;

use super::raw::write_error;
use super::{CHUNK, Storage};
use crate::error::{Error, Result};

/// Bytes between two calls of the listener, most: of what is read, and of holes that are skipped.
const STRIDE: u64 = 64 << 20;

/// A new image that is filled from its start to its end.
pub trait Sink {
    /// The unit in which zeros are left out, bytes; a divisor of [`CHUNK`].
    fn granule(&self) -> usize;

    /// Takes what lies at a place behind every earlier one.
    ///
    /// # Errors
    /// `Host`/`no-space`, `Host`/`io`.
    fn put(&mut self, data: &[u8], offset: u64) -> Result<()>;

    /// Completes the image and makes it survive a power cut. Until then it is none.
    ///
    /// # Errors
    /// As [`Sink::put`].
    fn finish(&mut self) -> Result<()>;
}

/// Copies all of `from`, and says how many bytes were written. `heard` learns how far it is, and may
/// stop it.
///
/// # Errors
/// What reading, writing and `heard` fail with.
pub fn copy(
    from: &dyn Storage,
    to: &mut dyn Sink,
    heard: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let len = from.len();
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut written, mut told) = (0_u64, 0_u64, 0_u64);
    while at < len {
        if at.saturating_sub(told) >= STRIDE {
            heard(at)?;
            told = at;
        }
        // Whole chunks of it, so that every chunk begins where a granule does.
        let hole = from.zeros(at)?.min(len.saturating_sub(at));
        let chunks = hole.checked_div(CHUNK as u64).unwrap_or(0);
        let hole = chunks.saturating_mul(CHUNK as u64);
        if hole > 0 {
            at = at.saturating_add(hole);
            continue;
        }
        let left = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
        let part = chunk.get_mut(..left.min(CHUNK)).unwrap_or_default();
        from.read_at(part, at)?;
        written = written.saturating_add(put_runs(part, at, to)?);
        at = at.saturating_add(part.len() as u64);
    }
    to.finish()?;
    heard(len)?;
    Ok(written)
}

/// Hands over the runs of a chunk that are not zeros.
fn put_runs(part: &[u8], at: u64, to: &mut dyn Sink) -> Result<u64> {
    let granule = to.granule();
    let mut run: Option<(usize, usize)> = None;
    let mut written = 0_u64;
    let mut put = |(start, end): (usize, usize)| {
        let data = part.get(start..end).unwrap_or_default();
        written = written.saturating_add(data.len() as u64);
        to.put(data, at.saturating_add(start as u64))
    };
    for (index, piece) in part.chunks(granule).enumerate() {
        let start = index.saturating_mul(granule);
        let end = start.saturating_add(piece.len());
        run = match (run, is_zeros(piece)) {
            (None, true) => None,
            (None, false) => Some((start, end)),
            (Some((start, _)), false) => Some((start, end)),
            (Some(run), true) => {
                put(run)?;
                None
            }
        };
    }
    if let Some(run) = run {
        put(run)?;
    }
    Ok(written)
}

fn is_zeros(bytes: &[u8]) -> bool {
    let words = bytes.chunks_exact(16);
    words.remainder().iter().all(|byte| *byte == 0)
        && words.into_iter().all(|word| *word == [0; 16])
}

/// A new raw image.
#[derive(Debug)]
pub struct NewRaw(File);

impl NewRaw {
    /// Takes an empty file for a disk of `len` bytes.
    ///
    /// # Errors
    /// `Host`/`no-space`, `Host`/`io`.
    pub fn new(file: File, len: u64) -> Result<Self> {
        file.set_len(len)
            .map_err(|e| write_error(&e, "cannot make the new image"))?;
        Ok(Self(file))
    }
}

impl Sink for NewRaw {
    fn granule(&self) -> usize {
        4096
    }

    fn put(&mut self, data: &[u8], offset: u64) -> Result<()> {
        put_at(&self.0, data, offset)
    }

    fn finish(&mut self) -> Result<()> {
        sync(&self.0)
    }
}

fn put_at(file: &File, data: &[u8], offset: u64) -> Result<()> {
    file.write_all_at(data, offset)
        .map_err(|e| write_error(&e, "cannot write the new image").at(offset))
}

fn sync(file: &File) -> Result<()> {
    file.sync_all()
        .map_err(|e| Error::io("cannot sync the new image", e))
}

#[cfg(test)]
mod tests;
