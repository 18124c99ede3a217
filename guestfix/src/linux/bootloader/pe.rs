// SPDX-License-Identifier: Apache-2.0
//! What an EFI program calls itself, and the sections of a unified kernel image (SBAT.md of
//! <https://github.com/rhboot/shim>;
//! <https://uapi-group.org/specifications/specs/unified_kernel_image/>).

use crate::fs::ReadSeek;
use crate::inspect::program;

/// Bytes of `.sbat` looked at.
const SBAT: u64 = 4096;
/// Bytes of a section of text looked at.
const MAX_SECTION_TEXT: u64 = 64 << 10;

/// What the head says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// As `uname -m` names it.
    pub(super) arch: Option<&'static str>,
    /// There is a certificate table.
    pub(super) signed: bool,
    /// The components that `.sbat` lists, the format's own line left out.
    pub(super) components: Vec<String>,
    /// Sections: name, offset in the file, and bytes.
    pub(super) sections: Vec<(String, u64, u64)>,
}

impl Program {
    /// A kernel with its initramfs and arguments in one program.
    pub(super) fn is_unified_kernel(&self) -> bool {
        self.section(".linux").is_some()
    }

    /// Offset and bytes of a section.
    pub(super) fn section(&self, name: &str) -> Option<(u64, u64)> {
        let mut sections = self.sections.iter();
        let (_, at, len) = sections.find(|(have, ..)| have == name)?;
        Some((*at, *len))
    }
}

/// A section of text (`.cmdline`, `.uname`, `.osrel`), zeros and blanks at its end cut off.
pub(super) fn text(file: &mut dyn ReadSeek, program: &Program, name: &str) -> Option<String> {
    let (at, len) = program.section(name)?;
    let bytes = program::part(file, at, len.min(MAX_SECTION_TEXT))?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(text).trim_end().to_owned())
}

/// Reads a program's head; `None` when it is none, or cannot be read.
pub(super) fn parse(file: &mut dyn ReadSeek) -> Option<Program> {
    let head = program::parse(file)?;
    let mut program = Program {
        arch: head.arch,
        signed: head.signed,
        components: Vec::new(),
        sections: head.sections,
    };
    if let Some((place, len)) = program.section(".sbat") {
        let text = program::part(file, place, len.min(SBAT));
        program.components = components(&text.unwrap_or_default());
    }
    Some(program)
}

/// Lines of comma-separated values, the component's name first.
fn components(text: &[u8]) -> Vec<String> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let lines = String::from_utf8_lossy(text);
    let names = lines.lines().filter_map(|line| line.split(',').next());
    names
        .filter(|name| !name.is_empty() && *name != "sbat")
        .map(str::to_owned)
        .collect()
}

/// A program of no code, for tests of everything that looks at loaders.
#[cfg(test)]
pub(crate) fn sample(machine: u16, signed: bool, sbat: &str) -> Vec<u8> {
    let mut out = vec![0_u8; 0x400];
    let mut put = |at: usize, bytes: &[u8]| out[at..][..bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x80_u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &machine.to_le_bytes());
    put(0x86, &1_u16.to_le_bytes());
    put(0x94, &240_u16.to_le_bytes());
    put(0x98, &0x20b_u16.to_le_bytes());
    put(0x98 + 112 + 36, &u32::from(signed).to_le_bytes());
    put(0x98 + 240, b".sbat\0");
    put(
        0x98 + 240 + 8,
        &u32::try_from(sbat.len()).unwrap().to_le_bytes(),
    );
    put(0x98 + 240 + 20, &0x300_u32.to_le_bytes());
    put(0x300, sbat.as_bytes());
    out
}

/// A unified kernel image of these sections.
#[cfg(test)]
pub(crate) fn unified(machine: u16, signed: bool, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = sample(machine, signed, "");
    out[0x86] = u8::try_from(sections.len()).unwrap();
    for (index, (name, body)) in sections.iter().enumerate() {
        let (place, len) = (
            u32::try_from(out.len()).unwrap(),
            u32::try_from(body.len()).unwrap(),
        );
        let header = out[0x98 + 240..].chunks_exact_mut(40).nth(index).unwrap();
        header.fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[8..12].copy_from_slice(&len.to_le_bytes());
        header[16..20].copy_from_slice(&len.next_multiple_of(512).to_le_bytes());
        header[20..24].copy_from_slice(&place.to_le_bytes());
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_unified_kernel_says_what_it_is_made_of() {
        let parts: [(&str, &[u8]); 3] = [
            (".linux", b"kernel"),
            (".cmdline", b"root=/dev/sda1 quiet\n\0"),
            (".uname", b"6.1.0-1"),
        ];
        let mut file = Cursor::new(unified(0x8664, true, &parts));
        let program = parse(&mut file).unwrap();
        assert!(program.is_unified_kernel() && program.signed);
        let say = |name: &str, file: &mut Cursor<Vec<u8>>| text(file, &program, name);
        assert_eq!(say(".cmdline", &mut file).unwrap(), "root=/dev/sda1 quiet");
        assert_eq!(say(".uname", &mut file).unwrap(), "6.1.0-1");
        assert_eq!(say(".osrel", &mut file), None);
    }

    const SHIM: &str = "sbat,1,SBAT Version,sbat,1,https://example.org\nshim,4,UEFI shim,shim,1,x\nshim.debian,1,Debian,shim,15.8,y\n";

    #[test]
    fn machine_signature_and_components_are_read() {
        let bytes = sample(0x8664, true, SHIM);
        let program = parse(&mut Cursor::new(bytes)).unwrap();
        assert_eq!(program.arch, Some("x86_64"));
        assert!(program.signed);
        assert_eq!(program.components, ["shim", "shim.debian"]);
        let bytes = sample(0xaa64, false, "");
        let program = parse(&mut Cursor::new(bytes)).unwrap();
        assert_eq!((program.arch, program.signed), (Some("aarch64"), false));
    }

    #[test]
    fn what_is_cut_short_anywhere_is_no_program_and_no_panic() {
        let bytes = sample(0x8664, true, SHIM);
        for len in 0..bytes.len() {
            let _ = parse(&mut Cursor::new(&bytes[..len]));
        }
        assert_eq!(parse(&mut Cursor::new(b"#!/bin/sh".as_slice())), None);
        for at in 0..0x200 {
            let mut hurt = bytes.clone();
            hurt[at] = 0xff;
            let _ = parse(&mut Cursor::new(hurt));
        }
    }
}
