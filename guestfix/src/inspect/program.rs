// SPDX-License-Identifier: Apache-2.0
//! The head of a program for Windows or UEFI: which machine it is for, whether it is signed, and its
//! sections (Microsoft PE Format).

use std::io::{Read, SeekFrom};

use crate::fs::ReadSeek;
use crate::volume::field::{le16, le32};

/// Bytes of headers looked at: the section table of every known loader ends well before.
const HEAD: u64 = 4096;
const MAX_SECTIONS: usize = 96;

/// What the head says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// As `uname -m` names it.
    pub(crate) arch: Option<&'static str>,
    /// There is a certificate table: a signature that says nothing of who made it.
    pub(crate) signed: bool,
    /// Sections: name, offset in the file, and bytes.
    pub(crate) sections: Vec<(String, u64, u64)>,
}

/// Reads a program's head; `None` when it is none, or cannot be read.
pub(crate) fn parse(file: &mut dyn ReadSeek) -> Option<Program> {
    let dos = part(file, 0, 64)?;
    if dos.get(..2)? != b"MZ" {
        return None;
    }
    let coff = part(file, u64::from(le32(&dos, 0x3c)?), HEAD)?;
    if coff.get(..4)? != b"PE\0\0" {
        return None;
    }
    let optional = coff.get(24..)?;
    let directories = match le16(optional, 0)? {
        0x10b => 96_usize,
        0x20b => 112,
        _ => return None,
    };
    // The fifth directory is the certificate table: offset and size in the file.
    let certificates = optional.get(directories.checked_add(32)?..)?;
    let sections = optional.get(usize::from(le16(&coff, 20)?)..)?;
    let count = usize::from(le16(&coff, 6)?).min(MAX_SECTIONS);
    let sections = sections.chunks_exact(40).take(count).filter_map(section);
    Some(Program {
        arch: arch(le16(&coff, 4)?),
        signed: le32(certificates, 4)? > 0,
        sections: sections.collect(),
    })
}

/// Name, offset and bytes; the bytes in memory, where the file pads them, and else those in the file.
fn section(header: &[u8]) -> Option<(String, u64, u64)> {
    let name = header.get(..8)?.split(|byte| *byte == 0).next()?;
    let (memory, file) = (le32(header, 8)?, le32(header, 16)?);
    let len = match (memory, file) {
        (0, file) => file,
        (memory, 0) => memory,
        (memory, file) => memory.min(file),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    Some((name, u64::from(le32(header, 20)?), u64::from(len)))
}

/// Bytes of a file, fewer where it ends.
pub(crate) fn part(file: &mut dyn ReadSeek, at: u64, len: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// `None` for a machine of no Windows NT 5 and later, and of no Linux that is converted.
fn arch(machine: u16) -> Option<&'static str> {
    match machine {
        0x14c => Some("i386"),
        0x8664 => Some("x86_64"),
        0xaa64 => Some("aarch64"),
        0x200 => Some("ia64"),
        0x1c4 => Some("armv7l"),
        0x5064 => Some("riscv64"),
        0x6264 => Some("loongarch64"),
        _ => None,
    }
}

/// A program that is nothing but its head, of a 64-bit one for any machine.
#[cfg(test)]
pub(crate) fn sample(machine: u16) -> Vec<u8> {
    let mut out = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| out[at..][..bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[0x80]);
    put(0x80, b"PE\0\0");
    put(0x84, &machine.to_le_bytes());
    put(0x98, &[0x0b, 0x02]);
    out
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::sample as program;

    fn arch(bytes: Vec<u8>) -> Option<&'static str> {
        super::parse(&mut Cursor::new(bytes)).and_then(|program| program.arch)
    }

    #[test]
    fn the_machine_of_a_program_is_read_and_no_other_file_s() {
        for (number, want) in [
            (0x8664, Some("x86_64")),
            (0xaa64, Some("aarch64")),
            (0x14c, Some("i386")),
            (7, None),
        ] {
            assert_eq!(arch(program(number)), want);
        }
        let mut far = program(0x14c);
        far[0x3f] = 0xff;
        assert_eq!(arch(far), None);
        assert_eq!(arch(b"MZ".to_vec()), None);
    }
}
