// SPDX-License-Identifier: Apache-2.0
//! How arrays without parity lie on their members (Linux, drivers/md/raid0.c and raid10.c).

use crate::error::{Error, Result};
use crate::volume::mapped::{Geometry, Leg, Piece};

/// A zone of a raid0: the members that reach that far.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Zone {
    /// Where it ends in the array.
    end: u64,
    /// Where it begins in the array.
    begin: u64,
    /// Where it begins on each of its members, from the start of their data.
    on_member: u64,
    members: Vec<usize>,
}

/// A raid0 of members of any sizes.
#[derive(Debug)]
pub(super) struct Zoned {
    zones: Vec<Zone>,
    /// Where data begins on each member.
    starts: Vec<u64>,
    chunk: u64,
    /// The first layout: the turn of a chunk counts from the array's start, not from its zone's.
    original: bool,
}

impl Zoned {
    /// `sizes` of the members' data; `None` when they make no sense.
    pub(super) fn new(starts: Vec<u64>, sizes: &[u64], chunk: u64, original: bool) -> Option<Self> {
        let whole: Vec<u64> = sizes
            .iter()
            .map(|size| size.checked_div(chunk)?.checked_mul(chunk))
            .collect::<Option<_>>()?;
        let mut zones: Vec<Zone> = Vec::new();
        let (mut at, mut begin) = (0, 0_u64);
        loop {
            let members: Vec<usize> = (0..whole.len())
                .filter(|member| whole.get(*member).is_some_and(|size| *size > at))
                .collect();
            let sizes = members
                .iter()
                .filter_map(|member| whole.get(*member).copied());
            let Some(next) = sizes.min() else { break };
            let bytes = next.checked_sub(at)?.checked_mul(members.len() as u64)?;
            let end = begin.checked_add(bytes)?;
            zones.push(Zone {
                end,
                begin,
                on_member: at,
                members,
            });
            (at, begin) = (next, end);
        }
        Some(Self {
            zones,
            starts,
            chunk,
            original,
        })
    }

    /// True when both layouts mean the same.
    pub(super) fn is_even(&self) -> bool {
        self.zones.len() <= 1
    }
}

impl Geometry for Zoned {
    fn len(&self) -> u64 {
        self.zones.last().map_or(0, |zone| zone.end)
    }

    fn piece(&self, offset: u64) -> Result<Piece> {
        let beyond = || Error::internal("a place behind an array's end");
        let index = self.zones.partition_point(|zone| zone.end <= offset);
        let zone = self.zones.get(index).ok_or_else(beyond)?;
        let inside = offset.saturating_sub(zone.begin);
        let width = zone.members.len() as u64;
        let turn = if self.original { offset } else { inside };
        let turn = turn
            .checked_div(self.chunk)
            .and_then(|n| n.checked_rem(width));
        let row = self
            .chunk
            .checked_mul(width)
            .and_then(|n| inside.checked_div(n));
        let (turn, row) = turn.zip(row).ok_or_else(beyond)?;
        let in_chunk = offset.checked_rem(self.chunk).ok_or_else(beyond)?;
        let turn = usize::try_from(turn).map_err(|_| beyond())?;
        let member = *zone.members.get(turn).ok_or_else(beyond)?;
        let start = self.starts.get(member).ok_or_else(beyond)?;
        Ok(Piece {
            legs: vec![Leg {
                member,
                offset: start
                    .saturating_add(zone.on_member)
                    .saturating_add(row.saturating_mul(self.chunk))
                    .saturating_add(in_chunk),
            }],
            len: self
                .chunk
                .saturating_sub(in_chunk)
                .min(zone.end.saturating_sub(offset)),
        })
    }
}

/// A raid10: every chunk on several members, near or far or both.
#[derive(Debug)]
pub(in crate::volume) struct Ten {
    starts: Vec<u64>,
    /// Members to be used.
    usable: Vec<bool>,
    near: u64,
    far: u64,
    /// Far copies follow at once (`offset` layout).
    follow: bool,
    chunk: u64,
    /// From one far copy to the next, bytes.
    stride: u64,
    len: u64,
}

impl Ten {
    /// `None` when the numbers make no sense.
    pub(in crate::volume) fn new(
        starts: Vec<u64>,
        usable: Vec<bool>,
        layout: u32,
        chunk: u64,
        used: u64,
    ) -> Option<Self> {
        let (near, far) = (u64::from(layout & 0xff), u64::from(layout >> 8 & 0xff));
        let members = starts.len() as u64;
        let follow = layout & 0x1_0000 != 0;
        let copies = near.checked_mul(far)?;
        if copies == 0 || copies > members || layout >> 17 != 0 {
            return None;
        }
        let each = used.checked_div(chunk)?.checked_div(far)?;
        let chunks = each.checked_mul(members)?.checked_div(near)?;
        let per_member = chunks.checked_mul(copies)?.div_ceil(members);
        let stride = if follow {
            1
        } else {
            per_member.checked_div(far)?
        };
        Some(Self {
            starts,
            usable,
            near,
            far,
            follow,
            chunk,
            stride: stride.checked_mul(chunk)?,
            len: chunks.checked_mul(chunk)?,
        })
    }

    fn leg(&self, member: u64, place: u64) -> Option<Leg> {
        let member = usize::try_from(member).ok()?;
        let start = self.starts.get(member)?;
        let usable = *self.usable.get(member)?;
        usable.then(|| Leg {
            member,
            offset: start.saturating_add(place),
        })
    }
}

impl Geometry for Ten {
    fn len(&self) -> u64 {
        self.len
    }

    fn piece(&self, offset: u64) -> Result<Piece> {
        let wrong = || Error::internal("a place behind an array's end");
        let members = self.starts.len() as u64;
        let number = offset.checked_div(self.chunk).ok_or_else(wrong)?;
        let inside = offset.checked_rem(self.chunk).ok_or_else(wrong)?;
        let number = number.saturating_mul(self.near);
        let mut stripe = number.checked_div(members).ok_or_else(wrong)?;
        let mut member = number.checked_rem(members).ok_or_else(wrong)?;
        if self.follow {
            stripe = stripe.saturating_mul(self.far);
        }
        let mut place = stripe.saturating_mul(self.chunk).saturating_add(inside);
        let mut legs = Vec::new();
        for _ in 0..self.near {
            let (mut far_member, mut far_place) = (member, place);
            legs.extend(self.leg(far_member, far_place));
            for _ in 1..self.far {
                let next = far_member.saturating_add(self.near);
                far_member = next.checked_rem(members).ok_or_else(wrong)?;
                far_place = far_place.saturating_add(self.stride);
                legs.extend(self.leg(far_member, far_place));
            }
            member = member.saturating_add(1);
            if member >= members {
                member = 0;
                place = place.saturating_add(self.chunk);
            }
        }
        if legs.is_empty() {
            return Err(
                Error::corrupt("raid-degraded", "no member holds this part of the array")
                    .at(offset),
            );
        }
        Ok(Piece {
            legs,
            len: self.chunk.saturating_sub(inside),
        })
    }
}
