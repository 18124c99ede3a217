// SPDX-License-Identifier: Apache-2.0
//! Reparse points: links, and files whose content a filter of Windows keeps ([MS-FSCC], section
//! 2.1.2, <https://learn.microsoft.com/openspecs/windows_protocols/ms-fscc/>).

use super::record::utf16;
use super::wof;
use crate::volume::field::{le16, le32};

/// MAXIMUM_REPARSE_DATA_BUFFER_SIZE.
pub(super) const LONGEST: u64 = 16 << 10;

const MOUNT_POINT: u32 = 0xa000_0003;
const SYMLINK: u32 = 0xa000_000c;
const WOF: u32 = 0x8000_0017;
/// What a program starts, an empty file (Windows Store), and sockets of WSL have no content.
const APP_EXEC_LINK: u32 = 0x8000_001b;
const AF_UNIX: u32 = 0x8000_0023;

/// The letter under which Windows sees the volume that it starts from, as far as a volume alone
/// can tell: another one is only given where several systems share a machine.
const OWN_DRIVE: char = 'c';

/// A reparse point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reparse {
    /// A symlink or junction: its target as [`crate::fs::Tree`] takes it. One that leads to
    /// another volume is a name that nothing has.
    Link(String),
    /// A compressed file of CompactOS.
    Wof(wof::Form),
    /// Nothing that changes what the file holds.
    Plain,
    /// Content that is kept elsewhere, by the tag.
    Other(u32),
}

impl Reparse {
    pub(super) fn is_link(&self) -> bool {
        matches!(self, Self::Link(_))
    }

    /// `None` when it makes no sense.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let tag = le32(bytes, 0)?;
        let data = bytes.get(8..usize::from(le16(bytes, 4)?).checked_add(8)?)?;
        match tag {
            MOUNT_POINT => Some(Self::Link(target(&text(data, 8)?))),
            SYMLINK => Some(Self::Link(target(&text(data, 12)?))),
            WOF => wof::Form::parse(data).map(Self::Wof),
            APP_EXEC_LINK | AF_UNIX => Some(Self::Plain),
            other => Some(Self::Other(other)),
        }
    }
}

/// The substitute name: offset and length at 0 and 2, counted from the buffer.
fn text(data: &[u8], buffer: usize) -> Option<String> {
    let from = usize::from(le16(data, 0)?).checked_add(buffer)?;
    let end = from.checked_add(usize::from(le16(data, 2)?))?;
    Some(String::from_utf16_lossy(&utf16(data.get(from..end)?)))
}

/// A target in our notation.
fn target(windows: &str) -> String {
    let slashed = |path: &str| path.replace('\\', "/");
    let Some(object) = windows.strip_prefix("\\??\\") else {
        return slashed(windows);
    };
    let mut letters = object.chars();
    let drive = letters.next().map(|letter| letter.to_ascii_lowercase());
    match letters.as_str().strip_prefix(':') {
        Some(path) if drive == Some(OWN_DRIVE) => format!("/{}", slashed(path)),
        // No name of NTFS holds a NUL, so it leads nowhere.
        _ => format!("\0{}", object.replace(['\\', '/'], "|")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    fn junction(name: &str) -> Vec<u8> {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let len = u16::try_from(name.len()).unwrap();
        let mut out = MOUNT_POINT.to_le_bytes().to_vec();
        out.extend((len + 12).to_le_bytes());
        out.extend([0; 4]);
        out.extend(len.to_le_bytes());
        out.extend((len + 2).to_le_bytes());
        out.extend([0; 2]);
        out.extend(name);
        out.extend([0; 4]);
        out
    }

    #[test]
    fn links_on_the_own_drive_stay_and_others_lead_nowhere() {
        let link = |name: &str| match Reparse::parse(&junction(name)) {
            Some(Reparse::Link(target)) => target,
            other => panic!("{other:?}"),
        };
        assert_eq!(link("\\??\\C:\\Users"), "//Users");
        assert_eq!(link("\\??\\c:\\"), "//");
        assert!(link("\\??\\D:\\Data").starts_with('\0'));
        assert!(link("\\??\\Volume{1}\\").starts_with('\0'));
        assert_eq!(target("..\\x\\y"), "../x/y");
        assert_eq!(target("\\x"), "/x");
    }

    #[test]
    fn points_that_are_cut_short_are_none() {
        let whole = junction("\\??\\C:\\Users");
        for len in 0..whole.len() {
            assert_eq!(Reparse::parse(&whole[..len]), None, "{len}");
        }
        let tag = 0x8000_0013_u32.to_le_bytes();
        let dedup = [&tag[..], &[0; 4]].concat();
        assert_eq!(Reparse::parse(&dedup), Some(Reparse::Other(0x8000_0013)));
    }
}
