// SPDX-License-Identifier: Apache-2.0
//! Directory records: ECMA-119 section 9.1.

use super::Extent;

/// The fixed part, before the name.
const HEAD: usize = 33;

const FLAG_FOLDER: u8 = 0x02;
const FLAG_ASSOCIATED: u8 = 0x04;
const FLAG_GOES_ON: u8 = 0x80;

/// A record in a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    extended: u8,
    block: u32,
    len: u32,
    flags: u8,
    name: &'a [u8],
    /// What follows the name: Rock Ridge's room.
    pub system_use: &'a [u8],
}

impl Record<'_> {
    /// First byte and length of what it names.
    pub(super) fn extent(&self, block: u64) -> Extent {
        let first = u64::from(self.block).saturating_add(u64::from(self.extended));
        (first.saturating_mul(block), u64::from(self.len))
    }

    /// Whether it names the folder itself or the one above.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.name, [0 | 1])
    }

    /// Whether it names a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.flags & FLAG_FOLDER != 0
    }

    /// Whether it is a file of another system's that belongs to the next one.
    pub(super) fn is_hidden_twin(&self) -> bool {
        self.flags & FLAG_ASSOCIATED != 0
    }

    /// Whether the next record holds more of the same file.
    pub(super) fn goes_on(&self) -> bool {
        self.flags & FLAG_GOES_ON != 0
    }

    /// The name without its version and without a dot at its end.
    pub(super) fn plain_name(&self) -> String {
        let text: String = self.name.iter().map(|byte| char::from(*byte)).collect();
        unversioned(&text)
    }

    /// The same of a name in UTF-16.
    pub(super) fn joliet_name(&self) -> String {
        let (pairs, _) = self.name.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
        unversioned(&String::from_utf16_lossy(&units))
    }
}

/// `NAME.TXT;1` is `NAME.TXT`, `NAME.;1` is `NAME`.
fn unversioned(name: &str) -> String {
    let name = match name.rsplit_once(';') {
        Some((name, version)) if version.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => name,
    };
    name.strip_suffix('.').unwrap_or(name).to_owned()
}

/// The records of a folder. A record never crosses a block; a length of zero ends the block.
pub(super) fn records(
    bytes: &[u8],
    block: u64,
) -> impl Iterator<Item = Result<Record<'_>, String>> {
    let block = usize::try_from(block).unwrap_or(2048).max(1);
    bytes.chunks(block).flat_map(|block| {
        let mut rest = block;
        std::iter::from_fn(move || {
            let len = usize::from(*rest.first().filter(|len| **len != 0)?);
            let (own, behind) = match rest.split_at_checked(len) {
                Some(parts) => parts,
                None => {
                    rest = &[];
                    return Some(Err(format!("a record of {len} bytes crosses its block")));
                }
            };
            rest = behind;
            Some(one(own).ok_or_else(|| format!("a record of {len} bytes is too short")))
        })
    })
}

fn one(bytes: &[u8]) -> Option<Record<'_>> {
    let word = |at: usize| {
        let part = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(part.try_into().ok()?))
    };
    let name_len = usize::from(*bytes.get(32)?);
    let name_end = HEAD.checked_add(name_len)?;
    // A name of even length is followed by one byte.
    let padded = name_end.checked_add(usize::from(name_len.is_multiple_of(2)))?;
    Some(Record {
        extended: *bytes.get(1)?,
        block: word(2)?,
        len: word(10)?,
        flags: *bytes.get(25)?,
        name: bytes.get(HEAD..name_end)?,
        system_use: bytes.get(padded..).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_lone_dots_go() {
        assert_eq!(unversioned("VIOSTOR.SYS;1"), "VIOSTOR.SYS");
        assert_eq!(unversioned("README.;1"), "README");
        assert_eq!(unversioned("a;b"), "a;b");
    }
}
