// SPDX-License-Identifier: Apache-2.0
//! Arrays with parity: raid4, raid5 and raid6 (Linux, drivers/md/raid5.c and lib/raid6; the algebra:
//! H. P. Anvin, "The mathematics of RAID-6").

use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Below, Storage, check_range};
use crate::error::{Error, Result};

/// Where the parity of a stripe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    LeftAsymmetric,
    RightAsymmetric,
    LeftSymmetric,
    RightSymmetric,
    First,
    Last,
}

impl Turn {
    /// By the number that superblocks write.
    pub(super) fn numbered(layout: u32) -> Option<Self> {
        Some(match layout {
            0 => Self::LeftAsymmetric,
            1 => Self::RightAsymmetric,
            2 => Self::LeftSymmetric,
            3 => Self::RightSymmetric,
            4 => Self::First,
            5 => Self::Last,
            _ => return None,
        })
    }
}

/// An array with one or two parities, all its members there and in agreement.
pub(super) struct Parity {
    pub(super) name: String,
    pub(super) members: Vec<Arc<dyn Storage>>,
    /// Where data begins on each member.
    pub(super) starts: Vec<u64>,
    pub(super) chunk: u64,
    pub(super) turn: Turn,
    /// raid6.
    pub(super) two: bool,
    pub(super) len: u64,
    /// Data and parity change together.
    pub(super) change: Mutex<()>,
}

/// Where a byte of the array lies: members by index, and the place on each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    data: usize,
    p: usize,
    q: Option<usize>,
    /// The power of the generator in the second parity.
    slot: usize,
    /// From the start of the members' data.
    at: u64,
    /// Bytes up to the chunk's end.
    left: u64,
}

impl Parity {
    fn place(&self, offset: u64) -> Option<Place> {
        let all = self.members.len();
        let parities = if self.two { 2 } else { 1 };
        let width = all.checked_sub(parities)?;
        let number = offset.checked_div(self.chunk)?;
        let inside = offset.checked_rem(self.chunk)?;
        let row = number.checked_div(width as u64)?;
        let column = usize::try_from(number.checked_rem(width as u64)?).ok()?;
        let turn = usize::try_from(row.checked_rem(all as u64)?).ok()?;
        let last = all.checked_sub(1)?;
        let p = match self.turn {
            Turn::LeftAsymmetric | Turn::LeftSymmetric => last.checked_sub(turn)?,
            Turn::RightAsymmetric | Turn::RightSymmetric => turn,
            Turn::First => 0,
            Turn::Last => width,
        };
        let q = if self.two {
            Some(p.checked_add(1)?.checked_rem(all)?)
        } else {
            None
        };
        let skip = p.checked_add(parities)?.checked_add(column)?;
        let data = match self.turn {
            Turn::LeftSymmetric | Turn::RightSymmetric => skip.checked_rem(all)?,
            // The second parity wrapped round to the front.
            _ if q == Some(0) => column.checked_add(1)?,
            _ if column >= p => column.checked_add(parities)?,
            _ => column,
        };
        // Counted from behind the second parity, the parities left out.
        let first = q.map_or(0, |q| {
            q.checked_add(1).filter(|next| *next < all).unwrap_or(0)
        });
        let slot = (0..all)
            .filter_map(|step| first.checked_add(step)?.checked_rem(all))
            .filter(|member| *member != p && Some(*member) != q)
            .position(|member| member == data)?;
        Some(Place {
            data,
            p,
            q,
            slot,
            at: row.checked_mul(self.chunk)?.checked_add(inside)?,
            left: self.chunk.checked_sub(inside)?,
        })
    }

    fn walk(
        &self,
        offset: u64,
        len: usize,
        mut each: impl FnMut(Place, usize, usize) -> Result<()>,
    ) -> Result<()> {
        check_range(self.len, offset, len).map_err(|e| e.on(&self.name))?;
        let mut done = 0_usize;
        while done < len {
            let place = self.place(offset.saturating_add(done as u64));
            let place = place.ok_or_else(|| Error::internal("a place behind an array's end"))?;
            let left = len.saturating_sub(done);
            let now = usize::try_from(place.left)
                .map_or(left, |n| n.min(left))
                .max(1);
            each(place, done, now)?;
            done = done.saturating_add(now);
        }
        Ok(())
    }

    fn member(&self, index: usize, at: u64) -> Result<(&Arc<dyn Storage>, u64)> {
        let member = self.members.get(index).zip(self.starts.get(index));
        let (storage, start) = member.ok_or_else(|| Error::internal("no such member"))?;
        Ok((storage, start.saturating_add(at)))
    }

    fn read(&self, index: usize, at: u64, buf: &mut [u8]) -> Result<()> {
        let (storage, at) = self.member(index, at)?;
        storage.read_at(buf, at)
    }

    /// Adds `delta`, times a power of the generator, to what is there.
    fn add(&self, index: usize, at: u64, delta: &[u8], power: usize) -> Result<()> {
        let mut bytes = vec![0; delta.len()];
        self.read(index, at, &mut bytes)?;
        for (to, from) in bytes.iter_mut().zip(delta) {
            *to ^= times(*from, power);
        }
        let (storage, at) = self.member(index, at)?;
        storage.write_at(&bytes, at)
    }
}

/// `byte` times the generator 2 to that power, in the field of 256 elements by 0x11d.
fn times(byte: u8, power: usize) -> u8 {
    (0..power).fold(byte, |byte, _| {
        let carry = if byte & 0x80 == 0 { 0 } else { 0x1d };
        (byte << 1) ^ carry
    })
}

impl Storage for Parity {
    fn len(&self) -> u64 {
        self.len
    }

    fn below(&self, offset: u64, len: u64) -> Vec<Below> {
        let mut out = Vec::new();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let walked = self.walk(offset, len, |place, _, now| {
            let (storage, offset) = self.member(place.data, place.at)?;
            out.push(Below {
                storage: Arc::clone(storage),
                offset,
                len: now as u64,
            });
            Ok(())
        });
        if walked.is_err() { Vec::new() } else { out }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.walk(offset, buf.len(), |place, done, now| {
            let part = buf
                .get_mut(done..done.saturating_add(now))
                .unwrap_or_default();
            self.read(place.data, place.at, part)
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        let _alone = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.walk(offset, buf.len(), |place, done, now| {
            let part = buf.get(done..done.saturating_add(now)).unwrap_or_default();
            let mut delta = vec![0; part.len()];
            self.read(place.data, place.at, &mut delta)?;
            for (to, new) in delta.iter_mut().zip(part) {
                *to ^= new;
            }
            let (storage, at) = self.member(place.data, place.at)?;
            storage.write_at(part, at)?;
            self.add(place.p, place.at, &delta, 0)?;
            match place.q {
                Some(q) => self.add(q, place.at, &delta, place.slot),
                None => Ok(()),
            }
        })
    }

    fn flush(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.flush())
    }
}
