// SPDX-License-Identifier: Apache-2.0
//! What other volumes are made of: LUKS, LVM2 physical volumes, md array members.

use super::{Probe, content};
use crate::error::Result;
use crate::volume::Content;
use crate::volume::field::{array, be16, has, label, le32, le64, uuid};

/// LUKS 1 and 2: magic at 0, version at 6 (big-endian), UUID as text at 168; LUKS 2 has a label
/// at 24 (LUKS1 and LUKS2 On-Disk Format Specifications, section 2).
pub(super) fn luks(probe: &Probe<'_>) -> Result<Option<Content>> {
    let head = &probe.head;
    if !has(head, 0, b"LUKS\xba\xbe") {
        return Ok(None);
    }
    let name = label(head, 24, 48).filter(|_| be16(head, 6) == Some(2));
    Ok(Some(content("luks", label(head, 168, 40), name)))
}

/// LVM2: `LABELONE` at the start of one of the first four sectors, type `LVM2 001` at 24 of it,
/// and the physical volume's 32-character id where the label's offset field at 20 points
/// (lvm2 source, lib/label/label.h and lib/format_text/layout.h).
pub(super) fn lvm(probe: &Probe<'_>) -> Result<Option<Content>> {
    let label = [0_usize, 512, 1024, 1536].into_iter().find_map(|at| {
        probe
            .head
            .get(at..at.checked_add(512)?)
            .filter(|sector| has(sector, 0, b"LABELONE") && has(sector, 24, b"LVM2 001"))
    });
    let Some(label) = label else {
        return Ok(None);
    };
    let id = le32(label, 20)
        .and_then(|at| array::<32>(label, usize::try_from(at).ok()?))
        .filter(|id| id.is_ascii())
        .map(|id| lvm_id(&id));
    Ok(Some(content("lvm2-pv", id, None)))
}

/// LVM's notation: groups of 6-4-4-4-4-4-6.
fn lvm_id(id: &[u8; 32]) -> String {
    let mut out = String::with_capacity(38);
    for (index, byte) in id.iter().enumerate() {
        if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
            out.push('-');
        }
        out.push(char::from(*byte));
    }
    out
}

/// Magic of md superblocks (kernel, include/uapi/linux/raid/md_p.h).
const MD: u32 = 0xa92b_4efc;

/// Where the four versions of the md superblock stand on a volume of `len` bytes, in the order
/// they are looked for: 1.1 at the start, 1.2 at 4 KiB, 1.0 in the last 8 to 12 KiB, 0.90 in the
/// last 64 to 128 KiB.
pub(crate) fn md_places(len: u64) -> [u64; 4] {
    let v1_0 = (len / 512).saturating_sub(16) & !7;
    let v0_90 = (len & !0xffff).saturating_sub(0x1_0000);
    [0, 4096, v1_0.saturating_mul(512), v0_90]
}

/// md: version 1 has its set UUID at 16, its name at 32 and its own sector at 144; 0.90 has the
/// UUID's four words at 20, 52, 56 and 60, of which mdadm and blkid print the values.
pub(super) fn md(probe: &Probe<'_>) -> Result<Option<Content>> {
    for (index, place) in md_places(probe.storage.len()).into_iter().enumerate() {
        let Some(sb) = probe.read(place, 256)? else {
            continue;
        };
        if le32(&sb, 0) != Some(MD) {
            continue;
        }
        let version = le32(&sb, 4);
        if index < 3 && version == Some(1) && le64(&sb, 144) == Some(place / 512) {
            return Ok(Some(content(
                "md-member",
                uuid(&sb, 16),
                label(&sb, 32, 32),
            )));
        }
        if index == 3 && version == Some(0) {
            let mut id = [0; 16];
            for (word, at) in id.chunks_exact_mut(4).zip([20, 52, 56, 60]) {
                let value = le32(&sb, at).unwrap_or(0);
                word.copy_from_slice(&value.to_be_bytes());
            }
            return Ok(Some(content("md-member", uuid(&id, 0), None)));
        }
    }
    Ok(None)
}
