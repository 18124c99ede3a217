// SPDX-License-Identifier: Apache-2.0
//! What a member of an array says of itself and the array (Linux, include/uapi/linux/raid/md_p.h).

use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::field::{array, label, le16, le32, le64, read, uuid};
use crate::volume::probe::md_places;

const MAGIC: u32 = 0xa92b_4efc;
const SECTOR: u64 = 512;
/// More members than this are no array's.
const MOST_MEMBERS: u32 = 384;

/// Bits of `feature_map` that are not told otherwise.
const RECOVERING: u32 = 2;
const RESHAPING: u32 = 4;
const BAD_BLOCKS: u32 = 8;
const REPLACEMENT: u32 = 16;
const JOURNAL: u32 = 512;
const RAID0_LAYOUT: u32 = 4096;

/// A member's superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Super {
    /// The array's id, as 16 bytes in text order.
    pub(super) array: String,
    /// The array's name as `host:name`; `None` for version 0.90.
    pub(super) name: Option<String>,
    /// The number in `/dev/mdN` (0.90).
    pub(super) minor: Option<u32>,
    pub(super) level: i32,
    pub(super) layout: u32,
    /// The layout of a raid0 of several zones was recorded.
    pub(super) layout_known: bool,
    /// Bytes of a chunk.
    pub(super) chunk: u64,
    pub(super) members: usize,
    /// Bytes of each member that the array uses; 0 where each counts for itself.
    pub(super) used: u64,
    /// Where data begins on this member, and how many bytes there are.
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) events: u64,
    /// The array was stopped and nothing remained to be synchronised.
    pub(super) clean: bool,
    /// This member's place; `None` for a spare or a failed one.
    pub(super) role: Option<usize>,
    /// It holds everything it should.
    pub(super) whole: bool,
    /// What makes the array one that is not assembled here.
    pub(super) unsupported: Option<&'static str>,
}

/// Reads a member's superblock.
///
/// # Errors
/// `Corrupt`/`md-superblock`; `Host`/`io`.
pub(super) fn read_super(storage: &dyn Storage) -> Result<Super> {
    let places = md_places(storage.len());
    for (index, place) in places.into_iter().enumerate() {
        let Some(sb) = read(storage, place, 4096)? else {
            continue;
        };
        if le32(&sb, 0) != Some(MAGIC) {
            continue;
        }
        let on_place = le64(&sb, 144) == Some(place / SECTOR);
        let found = match (le32(&sb, 4), index) {
            (Some(1), 0..3) if on_place => version_1(&sb, storage.len()),
            (Some(0), 3) => version_0(&sb, place),
            _ => continue,
        };
        return found
            .ok_or_else(|| bad("it makes no sense").at(place))?
            .map_err(|e| e.at(place));
    }
    Err(bad("it is gone"))
}

fn bad(what: &str) -> Error {
    Error::corrupt(
        "md-superblock",
        format!("the superblock of an array's member is damaged: {what}"),
    )
}

/// The sum of 32-bit words, folded once, with the word at `skip` taken as zero.
fn sum(bytes: &[u8], skip: usize) -> u32 {
    let words = bytes.chunks(4).enumerate().map(|(index, word)| {
        let value = match word.len() {
            4 => le32(word, 0).unwrap_or(0),
            _ => u32::from(le16(word, 0).unwrap_or(0)),
        };
        if index == skip / 4 {
            0
        } else {
            u64::from(value)
        }
    });
    let sum: u64 = words.fold(0, u64::wrapping_add);
    let folded = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    u32::try_from(folded & 0xffff_ffff).unwrap_or(0)
}

fn version_1(sb: &[u8], volume: u64) -> Option<Result<Super>> {
    let most = usize::try_from(le32(sb, 220)?).ok()?;
    let end = most.checked_mul(2)?.checked_add(256)?;
    if le32(sb, 216)? != sum(sb.get(..end)?, 216) {
        return Some(Err(bad("its checksum is wrong")));
    }
    let features = le32(sb, 8)?;
    let bytes = |at| le64(sb, at)?.checked_mul(SECTOR);
    let (start, len) = (bytes(128)?, bytes(136)?);
    if start.checked_add(len)? > volume {
        let what = "the data leaves the volume: is the disk cut short?";
        return Some(Err(bad(what)));
    }
    let number = usize::try_from(le32(sb, 160)?).ok()?;
    let role = le16(sb, number.checked_mul(2)?.checked_add(256)?).filter(|_| number < most);
    let members = le32(sb, 92)?;
    let set = |bit: u32| features & bit != 0;
    let found = Super {
        array: uuid(sb, 16)?,
        name: label(sb, 32, 32),
        minor: None,
        level: i32::from_le_bytes(array(sb, 72)?),
        layout: le32(sb, 76)?,
        layout_known: set(RAID0_LAYOUT),
        chunk: u64::from(le32(sb, 88)?).checked_mul(SECTOR)?,
        members: usize::try_from(members)
            .ok()
            .filter(|_| members <= MOST_MEMBERS)?,
        used: bytes(80)?,
        start,
        len,
        events: le64(sb, 200)?,
        clean: le64(sb, 208)? == u64::MAX,
        role: role
            .map(usize::from)
            .filter(|role| *role < members as usize),
        whole: !set(RECOVERING | BAD_BLOCKS | REPLACEMENT),
        unsupported: match () {
            () if set(RESHAPING) => Some("is being reshaped"),
            () if set(JOURNAL) => Some("has a journal on a device of its own"),
            () => None,
        },
    };
    Some(Ok(found))
}

fn version_0(sb: &[u8], place: u64) -> Option<Result<Super>> {
    let word = |index: usize| le32(sb, index.checked_mul(4)?);
    if word(38)? != sum(sb, 38 * 4) {
        return Some(Err(bad("its checksum is wrong")));
    }
    let mut id = [0; 16];
    for (to, at) in id.chunks_exact_mut(4).zip([5, 13, 14, 15]) {
        to.copy_from_slice(&word(at)?.to_be_bytes());
    }
    let level = i32::from_le_bytes(array(sb, 28)?);
    let members = word(10)?;
    // State of this member: bit 0 faulty, 1 active, 2 in sync.
    let (role, state) = (word(995)?, word(996)?);
    let whole = state & 7 == 6;
    let found = Super {
        array: uuid(&id, 0)?,
        name: None,
        minor: Some(word(11)?),
        level,
        layout: word(64)?,
        layout_known: false,
        chunk: u64::from(word(65)?),
        members: usize::try_from(members)
            .ok()
            .filter(|_| members <= MOST_MEMBERS)?,
        used: u64::from(word(8)?).checked_mul(1024)?.min(place),
        start: 0,
        len: place,
        events: u64::from(word(40)?) << 32 | u64::from(word(39)?),
        clean: word(33)? & 1 != 0,
        role: Some(role as usize).filter(|_| role < members && state & 1 == 0),
        whole,
        unsupported: (word(2)? > 90).then_some("is being reshaped"),
    };
    Some(Ok(found))
}
