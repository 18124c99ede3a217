// SPDX-License-Identifier: Apache-2.0
//! PE images: what they are for, and the bytes that a signature covers.
//! <https://learn.microsoft.com/windows/win32/debug/pe-format>

mod version;

use crate::bytes::{le_place, le16, le32};
use crate::error::{Error, Result};
use crate::package::Image;
use crate::release::Arch;

/// Positions of two entries of the data directory.
const RESOURCES: usize = 2;
const SECURITY: usize = 4;
/// More sections than the format's own tools make.
const MAX_SECTIONS: usize = 96;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const PKCS_SIGNED_DATA: u16 = 2;
/// Signatures beside each other; one is usual.
const MAX_SIGNATURES: usize = 8;

static ZEROS: [u8; 8] = [0; 8];

/// A PE image's headers.
#[derive(Debug, Clone)]
pub(crate) struct Pe<'a> {
    bytes: &'a [u8],
    machine: u16,
    subsystem: u16,
    /// Where the checksum stands.
    checksum: usize,
    /// Where the data directory begins, and how many entries it has.
    directory: (usize, usize),
    sections: Vec<Section>,
}

/// A section: where it is loaded and where it lies in the file.
#[derive(Debug, Clone, Copy)]
struct Section {
    address: u32,
    len: u32,
    at: u32,
}

/// Whether the bytes say that they are a PE image or a DOS program.
pub(crate) fn is_image(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MZ")
}

impl<'a> Pe<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// `Corrupt`/`pe-damaged`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        Self::headers(bytes).ok_or_else(|| {
            Error::corrupt("pe-damaged", "the image's headers are cut short or damaged")
        })
    }

    fn headers(bytes: &'a [u8]) -> Option<Self> {
        let pe = le_place(bytes, 0x3C).filter(|_| is_image(bytes))?;
        if bytes.get(pe..pe.checked_add(4)?)? != b"PE\0\0" {
            return None;
        }
        let coff = pe.checked_add(4)?;
        let optional = coff.checked_add(20)?;
        let entries = match le16(bytes, optional)? {
            0x10B => optional.checked_add(92)?,
            0x20B => optional.checked_add(108)?,
            _ => return None,
        };
        let optional_len = usize::from(le16(bytes, coff.checked_add(16)?)?);
        let count = usize::from(le16(bytes, coff.checked_add(2)?)?);
        let table = optional.checked_add(optional_len)?;
        let sections = (0..count.min(MAX_SECTIONS))
            .map(|number| section(bytes, table.checked_add(number.checked_mul(40)?)?))
            .collect::<Option<_>>()?;
        Some(Self {
            bytes,
            machine: le16(bytes, coff)?,
            subsystem: le16(bytes, optional.checked_add(68)?)?,
            checksum: optional.checked_add(64)?,
            directory: (entries.checked_add(4)?, le_place(bytes, entries)?),
            sections,
        })
    }

    /// What the headers and the version resource say.
    pub(crate) fn image(&self) -> Image {
        let archs = [Arch::X86, Arch::Amd64, Arch::Arm64];
        Image {
            machine: self.machine,
            arch: archs.into_iter().find(|a| a.machine() == self.machine),
            subsystem: self.subsystem,
            version: self.version(),
        }
    }

    fn version(&self) -> Option<[u16; 4]> {
        let (address, _) = self.entry(RESOURCES)?;
        let at = self.place(address)?;
        let resources = self.bytes.get(at..)?;
        let (address, len) = version::find(resources)?;
        let at = self.place(address)?;
        let end = at.checked_add(usize::try_from(len).ok()?)?;
        version::fixed(self.bytes.get(at..end)?)
    }

    /// Address and length of an entry of the data directory; `None` where it is absent or empty.
    fn entry(&self, number: usize) -> Option<(u32, u32)> {
        let at = self.entry_place(number)?;
        let (address, len) = (le32(self.bytes, at)?, le32(self.bytes, at.checked_add(4)?)?);
        (address != 0 && len != 0).then_some((address, len))
    }

    fn entry_place(&self, number: usize) -> Option<usize> {
        let (start, count) = self.directory;
        (number < count).then_some(start.checked_add(number.checked_mul(8)?)?)
    }

    /// Where an address lies in the file.
    fn place(&self, address: u32) -> Option<usize> {
        let section = self.sections.iter().find(|section| {
            let into = address.checked_sub(section.address);
            into.is_some_and(|into| into < section.len)
        })?;
        let into = address.checked_sub(section.address)?;
        usize::try_from(section.at.checked_add(into)?).ok()
    }

    /// The stretches of the file that Authenticode digests: all but the checksum, the entry that
    /// says where signatures lie, and the signatures, filled up to eight bytes:
    /// <https://learn.microsoft.com/windows-hardware/drivers/install/authenticode>.
    pub(crate) fn signed_parts(&self) -> Vec<&'a [u8]> {
        let end = self.signatures_start().unwrap_or(self.bytes.len());
        let entry = self.entry_place(SECURITY);
        let after_checksum = self.checksum.saturating_add(4);
        let mut parts = vec![(0, self.checksum)];
        match entry {
            Some(entry) => {
                parts.push((after_checksum, entry));
                parts.push((entry.saturating_add(8), end));
            }
            None => parts.push((after_checksum, end)),
        }
        let mut out: Vec<&[u8]> = parts
            .into_iter()
            .filter_map(|(from, to)| self.bytes.get(from..to))
            .collect();
        let over = end.checked_rem(8).unwrap_or(0);
        let missing = 8_usize.saturating_sub(over).checked_rem(8).unwrap_or(0);
        out.push(ZEROS.get(..missing).unwrap_or_default());
        out
    }

    fn signatures_start(&self) -> Option<usize> {
        let (at, _) = self.entry(SECURITY)?;
        usize::try_from(at)
            .ok()
            .filter(|at| *at <= self.bytes.len())
    }

    /// The PKCS #7 signatures inside the image:
    /// <https://learn.microsoft.com/windows/win32/api/wintrust/ns-wintrust-win_certificate>.
    pub(crate) fn signatures(&self) -> Vec<&'a [u8]> {
        let mut out = Vec::new();
        let table = self.entry(SECURITY).and_then(|(at, len)| {
            let at = usize::try_from(at).ok()?;
            self.bytes
                .get(at..at.checked_add(usize::try_from(len).ok()?)?)
        });
        let mut rest = table.unwrap_or_default();
        while let Some((kind, data, behind)) = certificate(rest) {
            if kind == PKCS_SIGNED_DATA {
                out.push(data);
            }
            rest = behind;
            if out.len() >= MAX_SIGNATURES {
                break;
            }
        }
        out
    }
}

fn section(bytes: &[u8], at: usize) -> Option<Section> {
    Some(Section {
        address: le32(bytes, at.checked_add(12)?)?,
        len: le32(bytes, at.checked_add(16)?)?,
        at: le32(bytes, at.checked_add(20)?)?,
    })
}

/// Type and data of the first certificate of a table, and what follows.
fn certificate(table: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = le_place(table, 0)?;
    let data = table.get(8..len)?;
    let next = len.checked_next_multiple_of(8)?;
    Some((le16(table, 6)?, data, table.get(next..).unwrap_or_default()))
}

#[cfg(test)]
pub(crate) mod tests;
