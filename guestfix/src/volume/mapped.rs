// SPDX-License-Identifier: Apache-2.0
//! A storage made of parts of others: every range lies somewhere below, perhaps more than once.

use std::sync::Arc;

use crate::disk::{Below, Storage, check_range};
use crate::error::{Error, Result};

/// Where a range lies, as far as it lies together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Every copy; the first is read, all are written. None: it was never written.
    pub(crate) legs: Vec<Leg>,
    /// Bytes, at least one.
    pub(crate) len: u64,
}

/// A place in one of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leg {
    /// Index of the part.
    pub(crate) member: usize,
    /// Bytes from its start.
    pub(crate) offset: u64,
}

/// How the bytes of a volume lie on its parts.
pub(crate) trait Geometry: Send + Sync {
    /// Length, bytes.
    fn len(&self) -> u64;

    /// Where the bytes from `offset` on lie; `offset` is below the length.
    ///
    /// # Errors
    /// `Corrupt` when the metadata that says so is damaged.
    fn piece(&self, offset: u64) -> Result<Piece>;
}

/// The storage that a geometry makes of its parts.
pub(crate) struct Mapped<G> {
    pub(crate) name: String,
    pub(crate) members: Vec<Arc<dyn Storage>>,
    pub(crate) geometry: G,
}

impl<G: Geometry> Mapped<G> {
    /// Calls `each` with every piece of a range: where it lies, its place in the range, and its
    /// length.
    fn walk(
        &self,
        offset: u64,
        len: usize,
        mut each: impl FnMut(&Piece, usize, usize) -> Result<()>,
    ) -> Result<()> {
        check_range(self.geometry.len(), offset, len).map_err(|e| e.on(&self.name))?;
        let mut done = 0_usize;
        while done < len {
            let at = offset.saturating_add(done as u64);
            let piece = self.geometry.piece(at)?;
            let left = len.saturating_sub(done);
            let now = usize::try_from(piece.len).map_or(left, |n| n.min(left));
            if now == 0 {
                return Err(Error::internal("an empty piece of a volume").on(&self.name));
            }
            each(&piece, done, now)?;
            done = done.saturating_add(now);
        }
        Ok(())
    }

    fn member(&self, index: usize) -> Result<&Arc<dyn Storage>> {
        self.members
            .get(index)
            .ok_or_else(|| Error::internal("a volume names no such part").on(&self.name))
    }
}

impl<G: Geometry> Storage for Mapped<G> {
    fn len(&self) -> u64 {
        self.geometry.len()
    }

    fn below(&self, offset: u64, len: u64) -> Vec<Below> {
        let mut out = Vec::new();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let walked = self.walk(offset, len, |piece, _, now| {
            for leg in &piece.legs {
                out.push(Below {
                    storage: Arc::clone(self.member(leg.member)?),
                    offset: leg.offset,
                    len: now as u64,
                });
            }
            Ok(())
        });
        if walked.is_err() { Vec::new() } else { out }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.walk(offset, buf.len(), |piece, done, now| {
            let part = buf
                .get_mut(done..done.saturating_add(now))
                .unwrap_or_default();
            match piece.legs.first() {
                Some(leg) => self.member(leg.member)?.read_at(part, leg.offset),
                None => {
                    part.fill(0);
                    Ok(())
                }
            }
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.walk(offset, buf.len(), |piece, done, now| {
            let part = buf.get(done..done.saturating_add(now)).unwrap_or_default();
            if piece.legs.is_empty() {
                return Err(Error::unsupported(
                    "unallocated-block",
                    "a block that was never written cannot be allocated",
                )
                .on(&self.name)
                .at(offset.saturating_add(done as u64))
                .hint("convert the volume to a plain logical volume in the guest, or free no space in it"));
            }
            for leg in &piece.legs {
                self.member(leg.member)?.write_at(part, leg.offset)?;
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.flush())
    }
}

/// Parts one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Linear {
    /// Where each part ends in the volume, and where in which member it begins; in order.
    parts: Vec<(u64, Leg, u64)>,
}

impl Linear {
    /// Adds `len` bytes from `leg` on at the end; nothing for no bytes.
    pub(crate) fn push(&mut self, leg: Leg, len: u64) {
        if len == 0 {
            return;
        }
        let start = self.len();
        self.parts.push((start.saturating_add(len), leg, start));
    }
}

impl Geometry for Linear {
    fn len(&self) -> u64 {
        self.parts.last().map_or(0, |(end, ..)| *end)
    }

    fn piece(&self, offset: u64) -> Result<Piece> {
        let index = self.parts.partition_point(|(end, ..)| *end <= offset);
        let (end, leg, start) = self
            .parts
            .get(index)
            .ok_or_else(|| Error::internal("a place behind a volume's end"))?;
        let inside = offset.saturating_sub(*start);
        Ok(Piece {
            legs: vec![Leg {
                member: leg.member,
                offset: leg.offset.saturating_add(inside),
            }],
            len: end.saturating_sub(offset),
        })
    }
}

/// Chunks that go round all parts.
#[derive(Debug)]
pub(crate) struct Striped {
    /// Where the volume begins on each part, bytes.
    pub(crate) starts: Vec<Leg>,
    /// Bytes of a chunk, not zero.
    pub(crate) chunk: u64,
    /// Bytes in all.
    pub(crate) len: u64,
}

impl Geometry for Striped {
    fn len(&self) -> u64 {
        self.len
    }

    fn piece(&self, offset: u64) -> Result<Piece> {
        let zero = || Error::internal("a stripe without parts");
        let width = self.starts.len() as u64;
        let number = offset.checked_div(self.chunk).ok_or_else(zero)?;
        let inside = offset.checked_rem(self.chunk).ok_or_else(zero)?;
        let row = number.checked_div(width).ok_or_else(zero)?;
        let column = number.checked_rem(width).ok_or_else(zero)?;
        let start = usize::try_from(column)
            .ok()
            .and_then(|column| self.starts.get(column))
            .ok_or_else(zero)?;
        let place = row.saturating_mul(self.chunk).saturating_add(inside);
        Ok(Piece {
            legs: vec![Leg {
                member: start.member,
                offset: start.offset.saturating_add(place),
            }],
            len: self
                .chunk
                .saturating_sub(inside)
                .min(self.len.saturating_sub(offset)),
        })
    }
}

/// The same bytes on every part.
#[derive(Debug)]
pub(crate) struct Mirrored {
    /// Where the volume begins on each part; the first one is read.
    pub(crate) starts: Vec<Leg>,
    /// Bytes.
    pub(crate) len: u64,
}

impl Geometry for Mirrored {
    fn len(&self) -> u64 {
        self.len
    }

    fn piece(&self, offset: u64) -> Result<Piece> {
        let place = |start: &Leg| Leg {
            member: start.member,
            offset: start.offset.saturating_add(offset),
        };
        Ok(Piece {
            legs: self.starts.iter().map(place).collect(),
            len: self.len.saturating_sub(offset),
        })
    }
}
