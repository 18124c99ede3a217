// SPDX-License-Identifier: Apache-2.0
//! The text that describes a VMDK: its kind, its parent and the extents it is made of (VMware,
//! "Virtual Disk Format 5.0", "The Descriptor").

use crate::error::{Error, Result};

/// The longest text that is read, bytes: VMware's own are some hundred bytes, 20 sectors at most
/// when embedded; one line for each 2 GiB of a split disk.
pub(super) const LONGEST: u64 = 1 << 20;
/// Extents, most: 64 TiB in files of 2 GiB.
const MOST_EXTENTS: usize = 32_768;
/// What stands for "no parent".
const NO_PARENT: u32 = u32::MAX;

/// What an extent's line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Sectors.
    pub(super) sectors: u64,
    pub(super) kind: Kind,
    /// As written; empty for [`Kind::Zero`].
    pub(super) file: String,
    /// Where the extent begins in its file, sectors.
    pub(super) offset: u64,
}

/// How an extent's file holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Byte for byte.
    Flat,
    /// In grains, with a header of its own that says how.
    Sparse,
    /// No file: zeros.
    Zero,
}

/// A descriptor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) create_type: String,
    /// Changes with every use of the disk.
    pub(super) cid: u32,
    /// The parent's, when this was made.
    pub(super) parent_cid: Option<u32>,
    pub(super) parent: Option<String>,
    pub(super) extents: Vec<Line>,
}

fn bad(what: impl Into<String>, at: usize) -> Error {
    Error::corrupt("vmdk", format!("the VMDK's descriptor: {}", what.into())).at(at as u64)
}

/// Reads it.
///
/// # Errors
/// `Corrupt`/`vmdk` with the place in the text; `Unsupported`/`vmdk-unsupported` for what lies on
/// devices or is encrypted.
pub(super) fn parse(text: &[u8]) -> Result<Descriptor> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut out = Descriptor::default();
    let mut at = 0_usize;
    for raw in text.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(raw);
        let line = line.trim().trim_start_matches('\u{feff}');
        if !line.is_empty() && !line.starts_with('#') {
            entry(&mut out, line, at)?;
        }
        at = at.saturating_add(raw.len()).saturating_add(1);
    }
    Ok(out)
}

fn entry(out: &mut Descriptor, line: &str, at: usize) -> Result<()> {
    let first = line.split_whitespace().next().unwrap_or_default();
    if matches!(first, "RW" | "RDONLY" | "NOACCESS") {
        if out.extents.len() >= MOST_EXTENTS {
            return Err(bad(format!("it has more than {MOST_EXTENTS} extents"), at));
        }
        out.extents.push(extent(line, at)?);
        return Ok(());
    }
    let Some((key, value)) = line.split_once('=') else {
        return Err(bad("a line is neither a setting nor an extent", at));
    };
    let value = value.trim().trim_matches('"');
    match key.trim().to_ascii_lowercase().as_str() {
        "createtype" => value.clone_into(&mut out.create_type),
        "cid" => out.cid = hex(value, at)?,
        "parentcid" => out.parent_cid = Some(hex(value, at)?).filter(|cid| *cid != NO_PARENT),
        "parentfilenamehint" => out.parent = Some(value.to_owned()),
        "encryptionkeys" | "encryptedchangetracking" if !value.is_empty() => {
            return Err(unsupported("is encrypted").at(at as u64));
        }
        _ => {}
    }
    Ok(())
}

fn hex(text: &str, at: usize) -> Result<u32> {
    u32::from_str_radix(text, 16).map_err(|_| bad("a content id is no number", at))
}

pub(super) fn unsupported(what: &str) -> Error {
    Error::unsupported("vmdk-unsupported", format!("the VMDK {what}")).hint(
        "export the disk as streamOptimized or flat VMDK (ovftool, or a clone in vSphere) and give that",
    )
}

/// `RW 4192256 SPARSE "x-s001.vmdk" 0`.
fn extent(line: &str, at: usize) -> Result<Line> {
    let (head, file, tail) = match line.split_once('"') {
        Some((head, rest)) => {
            let (file, tail) = rest
                .split_once('"')
                .ok_or_else(|| bad("the name of an extent's file does not end", at))?;
            (head, file, tail)
        }
        None => (line, "", ""),
    };
    let words: Vec<&str> = head.split_whitespace().collect();
    let [access, sectors, kind, ..] = words.as_slice() else {
        return Err(bad("an extent's line is cut short", at));
    };
    if *access == "NOACCESS" {
        return Err(unsupported("has an extent without access").at(at as u64));
    }
    let number = |text: &str| text.parse().map_err(|_| bad("an extent's number", at));
    let kind = match kind.to_ascii_uppercase().as_str() {
        "FLAT" | "VMFS" => Kind::Flat,
        "SPARSE" | "VMFSSPARSE" | "SESPARSE" => Kind::Sparse,
        "ZERO" => Kind::Zero,
        other => return Err(unsupported(&format!("has an extent of type {other}")).at(at as u64)),
    };
    if file.is_empty() != (kind == Kind::Zero) {
        return Err(bad("an extent without a file, or a file without need", at));
    }
    Ok(Line {
        sectors: number(sectors)?,
        kind,
        file: file.to_owned(),
        offset: match tail.split_whitespace().next() {
            Some(text) => number(text)?,
            None => 0,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Disk DescriptorFile\r\nversion=1\r\nencoding=\"UTF-8\"\r\nCID=fffffffe\r\nparentCID=1234abcd\r\nparentFileNameHint=\"base.vmdk\"\r\ncreateType=\"twoGbMaxExtentSparse\"\r\n\r\n# Extent description\r\nRW 4192256 SPARSE \"a b-s001.vmdk\"\r\nRDONLY 63 FLAT \"x-flat.vmdk\" 128\r\nRW 10 ZERO\r\n\r\n# The Disk Data Base\r\nddb.adapterType = \"lsilogic\"\r\n\0\0junk";

    #[test]
    fn kind_parent_and_extents_are_read() {
        let read = parse(TEXT.as_bytes()).unwrap();
        assert_eq!(read.create_type, "twoGbMaxExtentSparse");
        assert_eq!(
            (read.cid, read.parent_cid),
            (0xffff_fffe, Some(0x1234_abcd))
        );
        assert_eq!(read.parent.as_deref(), Some("base.vmdk"));
        let lines: Vec<_> = read
            .extents
            .iter()
            .map(|e| (e.sectors, e.kind, e.file.as_str(), e.offset))
            .collect();
        assert_eq!(
            lines,
            [
                (4_192_256, Kind::Sparse, "a b-s001.vmdk", 0),
                (63, Kind::Flat, "x-flat.vmdk", 128),
                (10, Kind::Zero, "", 0)
            ]
        );
        assert_eq!(parse(b"parentCID=ffffffff").unwrap().parent_cid, None);
    }

    #[test]
    fn damage_and_what_is_not_supported_are_named_with_their_place() {
        for (text, code) in [
            ("CID=zz", "vmdk"),
            ("nonsense", "vmdk"),
            ("RW x FLAT \"a\"", "vmdk"),
            ("RW 1 FLAT \"a", "vmdk"),
            ("RW 1 FLAT", "vmdk"),
            ("RW 1", "vmdk"),
            ("RW 1 ZERO \"a\"", "vmdk"),
            ("RW 18446744073709551616 FLAT \"a\"", "vmdk"),
            ("RW 1 VMFSRDM \"a\"", "vmdk-unsupported"),
            ("NOACCESS 1 FLAT \"a\"", "vmdk-unsupported"),
            ("encryptionKeys = \"vmware:key\"", "vmdk-unsupported"),
        ] {
            let error = parse(format!("CID=1\n{text}").as_bytes()).unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.offset),
                (code, Some(6)),
                "{text}"
            );
        }
        let many = "RW 1 ZERO\n".repeat(MOST_EXTENTS + 1);
        assert_eq!(parse(many.as_bytes()).unwrap_err().code, "vmdk");
    }
}
