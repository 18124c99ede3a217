// SPDX-License-Identifier: Apache-2.0
//! The state of the images of a raid volume, as the kernel's dm-raid keeps it in each image's
//! metadata volume (Linux, drivers/md/dm-raid.c, `struct dm_raid_superblock`).

use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::field::{has, le32, le64};

/// What one image's superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    events: u64,
    /// Bit per image that has failed.
    failed: u64,
    /// It holds everything.
    whole: bool,
    /// Its place among the images.
    position: u64,
    /// The images agree: what parity says of them is true.
    pub(super) synced: bool,
    /// As the kernel's md driver numbers them.
    level: u32,
    layout: u32,
    /// Bytes.
    chunk: u64,
    /// Its shape is being changed, or was: data begins elsewhere.
    reshaped: bool,
}

impl Head {
    /// Level and layout of a volume in chunks of so many bytes; `None` when they are not to be
    /// relied on.
    pub(super) fn layout(&self, chunk: u64) -> Option<(u32, u32)> {
        let sound = !self.reshaped && self.chunk == chunk && chunk > 0;
        sound.then_some((self.level, self.layout))
    }
}

/// Reads an image's superblock; `None` when it was never written.
pub(super) fn read_head(bytes: &[u8]) -> Option<Head> {
    if !has(bytes, 0, b"DmRd") {
        return None;
    }
    Some(Head {
        position: u64::from(le32(bytes, 12)?),
        events: le64(bytes, 16)?,
        failed: le64(bytes, 24)?,
        whole: le64(bytes, 32)? == u64::MAX,
        synced: le64(bytes, 40)? == u64::MAX,
        level: le32(bytes, 48)?,
        layout: le32(bytes, 52)?,
        chunk: u64::from(le32(bytes, 56)?).saturating_mul(512),
        // Fields of version 1.9 count where its bit says so: flags, and where data begins.
        reshaped: le32(bytes, 4)? & 1 != 0 && (le32(bytes, 60)? & 1 != 0 || le64(bytes, 96)? != 0),
    })
}

/// Reads an image's superblock from its metadata volume.
pub(super) fn read(meta: &dyn Storage) -> Result<Option<Head>> {
    Ok(read_sector(meta)?.as_deref().and_then(read_head))
}

fn read_sector(meta: &dyn Storage) -> Result<Option<Vec<u8>>> {
    crate::volume::field::read(meta, 0, 512)
}

/// The images to use, those that may be read first.
///
/// # Errors
/// `Refused`/`raid-degraded` unless degraded volumes are allowed.
pub(super) fn usable(
    name: &str,
    count: usize,
    heads: &[Option<Head>],
    allow_degraded: bool,
) -> Result<Vec<usize>> {
    let all: Vec<usize> = (0..count).collect();
    if heads.is_empty() {
        return Ok(all);
    }
    let newest = heads.iter().flatten().map(|head| head.events).max();
    let failed = heads
        .iter()
        .flatten()
        .filter(|head| Some(head.events) == newest)
        .fold(0, |failed, head| failed | head.failed);
    let good = |index: &usize| {
        let head = heads.get(*index).and_then(Option::as_ref);
        let bit = u32::try_from(*index)
            .ok()
            .and_then(|index| 1_u64.checked_shl(index));
        head.is_some_and(|head| {
            head.whole
                && Some(head.events) == newest
                && head.position == *index as u64
                && bit.is_some_and(|bit| failed & bit == 0)
        })
    };
    let (good, bad): (Vec<usize>, Vec<usize>) = all.into_iter().partition(good);
    if bad.is_empty() {
        return Ok(good);
    }
    if good.is_empty() || !allow_degraded {
        return Err(Error::refused(
            "raid-degraded",
            format!(
                "{} of {count} images are failed, old or being rebuilt",
                bad.len()
            ),
        )
        .on(name)
        .hint("let it recover in the guest; --allow-degraded converts it as it is"));
    }
    Ok(good)
}
