// SPDX-License-Identifier: Apache-2.0
//! The version resource: <https://learn.microsoft.com/windows/win32/menurc/vs-versioninfo>.

use crate::bytes::{le_place, le16, le32};

/// `RT_VERSION`.
const VERSION: u32 = 16;
/// Where an offset leads to another table.
const TABLE: u32 = 0x8000_0000;
/// `VS_FIXEDFILEINFO.dwSignature`.
const SIGNATURE: u32 = 0xFEEF_04BD;

/// Address and length of the first version resource in the resource section.
pub(super) fn find(resources: &[u8]) -> Option<(u32, u32)> {
    let versions = table(resources, 0, Some(VERSION))?;
    let languages = table(resources, versions, None)?;
    let at = usize::try_from(first(resources, languages, None)?).ok()?;
    Some((le32(resources, at)?, le32(resources, at.checked_add(4)?)?))
}

/// The table below an entry of a table.
fn table(resources: &[u8], at: usize, id: Option<u32>) -> Option<usize> {
    let offset = first(resources, at, id)?;
    usize::try_from(offset.checked_sub(TABLE)?).ok()
}

/// The offset of the entry with that id, or of the first.
fn first(resources: &[u8], at: usize, id: Option<u32>) -> Option<u32> {
    let named = usize::from(le16(resources, at.checked_add(12)?)?);
    let numbered = usize::from(le16(resources, at.checked_add(14)?)?);
    let count = named.checked_add(numbered)?;
    (0..count).find_map(|number| {
        let entry = at.checked_add(16)?.checked_add(number.checked_mul(8)?)?;
        let own = le32(resources, entry)?;
        let fits = id.is_none_or(|id| id == own);
        fits.then_some(le32(resources, entry.checked_add(4)?)?)
    })
}

/// `FileVersion` of the fixed part.
pub(super) fn fixed(info: &[u8]) -> Option<[u16; 4]> {
    // Length, length of the value, type, the key "VS_VERSION_INFO", and zeros up to four bytes.
    let at = (0..64_usize)
        .step_by(4)
        .find(|at| le32(info, *at) == Some(SIGNATURE))?;
    let word = |offset: usize| Some(le_place(info, at.checked_add(offset)?)?.to_le_bytes());
    let [a, b, c, d, ..] = word(8)?;
    let [e, f, g, h, ..] = word(12)?;
    let pair = |low, high| u16::from_le_bytes([low, high]);
    Some([pair(c, d), pair(a, b), pair(g, h), pair(e, f)])
}
