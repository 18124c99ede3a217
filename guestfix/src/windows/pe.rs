// SPDX-License-Identifier: Apache-2.0
//! Which machine a program is for, and whether it is signed: the headers behind `PE\0\0` (Microsoft
//! PE Format).

use std::io::{Read, SeekFrom};

use crate::fs::ReadSeek;
use crate::volume::field::{le16, le32};

/// The COFF header with the optional one: `PE\0\0` and what follows.
fn head(file: &mut dyn ReadSeek) -> Option<Vec<u8>> {
    let dos = part(file, 0, 64)?;
    if dos.get(..2)? != b"MZ" {
        return None;
    }
    let head = part(file, u64::from(le32(&dos, 0x3c)?), 264)?;
    (head.get(..4)? == b"PE\0\0").then_some(head)
}

/// It has a certificate table, the fifth of the data directories: a signature that says nothing of
/// who made it.
pub(super) fn is_signed(file: &mut dyn ReadSeek) -> bool {
    let signed = |head: Vec<u8>| {
        let optional = head.get(24..)?;
        let directories = match le16(optional, 0)? {
            0x10b => 96_usize,
            0x20b => 112,
            _ => return None,
        };
        le32(optional, directories.checked_add(36)?).map(|size| size > 0)
    };
    head(file).and_then(signed).unwrap_or(false)
}

/// As `uname -m` names it; `None` for what is no program, or for no machine of Windows NT 5 and
/// later.
pub(super) fn machine(file: &mut dyn ReadSeek) -> Option<&'static str> {
    match le16(&head(file)?, 4)? {
        0x14c => Some("i386"),
        0x8664 => Some("x86_64"),
        0xaa64 => Some("aarch64"),
        0x200 => Some("ia64"),
        0x1c4 => Some("armv7l"),
        _ => None,
    }
}

fn part(file: &mut dyn ReadSeek, at: u64, len: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    fn program(machine: u16) -> Vec<u8> {
        let mut out = vec![0; 0x80];
        out[..2].copy_from_slice(b"MZ");
        out[0x3c] = 0x80;
        out.extend(b"PE\0\0");
        out.extend(machine.to_le_bytes());
        out
    }

    #[test]
    fn the_machine_of_a_program_is_read_and_no_other_file_s() {
        for (number, want) in [
            (0x8664, Some("x86_64")),
            (0xaa64, Some("aarch64")),
            (0x14c, Some("i386")),
            (7, None),
        ] {
            assert_eq!(super::machine(&mut Cursor::new(program(number))), want);
        }
        let mut far = program(0x14c);
        far[0x3f] = 0xff;
        assert_eq!(super::machine(&mut Cursor::new(far)), None);
        assert_eq!(super::machine(&mut Cursor::new(b"MZ".to_vec())), None);
    }
}
