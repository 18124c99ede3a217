// SPDX-License-Identifier: Apache-2.0
//! Arrays with parity: raid4, raid5 and raid6 (Linux, drivers/md/raid5.c and lib/raid6; the algebra:
//! H. P. Anvin, "The mathematics of RAID-6").

use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Below, Storage, check_range};
use crate::error::{Error, Result};

/// Where the parity of a stripe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::volume) enum Turn {
    LeftAsymmetric,
    RightAsymmetric,
    LeftSymmetric,
    RightSymmetric,
    First,
    Last,
    /// Three of other makers (`ALGORITHM_ROTATING_...`).
    ZeroRestart,
    NRestart,
    NContinue,
}

/// Where the second parity goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::volume) enum Second {
    None,
    /// Behind the first.
    Behind,
    /// Before the first.
    Before,
    /// On the last member, the others as in a raid5.
    OnLast,
}

/// How parity lies, by the numbers that superblocks write (drivers/md/raid5.h).
pub(in crate::volume) fn layout(level: u32, layout: u32) -> Option<(Turn, Second)> {
    let five = |layout| {
        Some(match layout {
            0 => Turn::LeftAsymmetric,
            1 => Turn::RightAsymmetric,
            2 => Turn::LeftSymmetric,
            3 => Turn::RightSymmetric,
            4 => Turn::First,
            5 => Turn::Last,
            _ => return None,
        })
    };
    Some(match (level, layout) {
        (4, _) => (Turn::Last, Second::None),
        (5, layout) => (five(layout)?, Second::None),
        (6, 8) => (Turn::ZeroRestart, Second::Behind),
        (6, 9) => (Turn::NRestart, Second::Behind),
        (6, 10) => (Turn::NContinue, Second::Before),
        (6, 16..=20) => (five(layout.saturating_sub(16))?, Second::OnLast),
        (6, 4) => return None,
        (6, layout) => (five(layout)?, Second::Behind),
        _ => return None,
    })
}

/// An array with one or two parities, all its members there and in agreement.
pub(in crate::volume) struct Parity {
    name: String,
    members: Vec<Arc<dyn Storage>>,
    /// Where data begins on each member.
    starts: Vec<u64>,
    chunk: u64,
    turn: Turn,
    second: Second,
    len: u64,
    /// Data and parity change together.
    change: Mutex<()>,
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
    /// An array of `used` bytes on each member; `None` when the numbers make no sense.
    pub(in crate::volume) fn new(
        name: String,
        members: Vec<Arc<dyn Storage>>,
        starts: Vec<u64>,
        (chunk, used): (u64, u64),
        (turn, second): (Turn, Second),
    ) -> Option<Self> {
        let parities = if second == Second::None { 1 } else { 2 };
        let width = members.len().checked_sub(parities)?;
        let rows = used.checked_div(chunk).filter(|_| width > 0)?;
        Some(Self {
            name,
            members,
            starts,
            chunk,
            turn,
            second,
            len: rows.checked_mul(chunk)?.checked_mul(width as u64)?,
            change: Mutex::new(()),
        })
    }

    fn place(&self, offset: u64) -> Option<Place> {
        let all = self.members.len();
        let parities = if self.second == Second::None { 1 } else { 2 };
        let width = all.checked_sub(parities)?;
        let number = offset.checked_div(self.chunk)?;
        let inside = offset.checked_rem(self.chunk)?;
        let row = number.checked_div(width as u64)?;
        let column = usize::try_from(number.checked_rem(width as u64)?).ok()?;
        // Those among which data and the first parity go round.
        let ring = match self.second {
            Second::OnLast => all.checked_sub(1)?,
            _ => all,
        };
        let turned = match self.turn {
            Turn::NRestart => row.checked_add(1)?,
            _ => row,
        };
        let turn = usize::try_from(turned.checked_rem(ring as u64)?).ok()?;
        let p = match self.turn {
            Turn::LeftAsymmetric | Turn::LeftSymmetric | Turn::NRestart | Turn::NContinue => {
                ring.checked_sub(1)?.checked_sub(turn)?
            }
            Turn::RightAsymmetric | Turn::RightSymmetric | Turn::ZeroRestart => turn,
            Turn::First => 0,
            Turn::Last => width,
        };
        let q = match self.second {
            Second::None => None,
            Second::Behind => Some(p.checked_add(1)?.checked_rem(all)?),
            Second::Before => Some(p.checked_add(all)?.checked_sub(1)?.checked_rem(all)?),
            Second::OnLast => Some(ring),
        };
        // Parities that stand together in the way of the data.
        let wide = match self.second {
            Second::Behind => 2,
            _ => 1,
        };
        let data = match self.turn {
            Turn::LeftSymmetric | Turn::RightSymmetric | Turn::NContinue => p
                .checked_add(wide)?
                .checked_add(column)?
                .checked_rem(ring)?,
            // The second parity wrapped round to the front.
            _ if q == Some(0) => column.checked_add(1)?,
            _ if column >= p => column.checked_add(wide)?,
            _ => column,
        };
        Some(Place {
            data,
            p,
            q,
            slot: self.slot(data, p, q)?,
            at: row.checked_mul(self.chunk)?.checked_add(inside)?,
            left: self.chunk.checked_sub(inside)?,
        })
    }

    /// The power of the generator for a member's data.
    fn slot(&self, data: usize, p: usize, q: Option<usize>) -> Option<usize> {
        // Other makers count every member, those with parity as zeros.
        if matches!(
            self.turn,
            Turn::ZeroRestart | Turn::NRestart | Turn::NContinue
        ) {
            return Some(data);
        }
        let all = self.members.len();
        // Counted from behind the second parity, the parities left out.
        let first = q.map_or(0, |q| {
            q.checked_add(1).filter(|next| *next < all).unwrap_or(0)
        });
        (0..all)
            .filter_map(|step| first.checked_add(step)?.checked_rem(all))
            .filter(|member| *member != p && Some(*member) != q)
            .position(|member| member == data)
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
