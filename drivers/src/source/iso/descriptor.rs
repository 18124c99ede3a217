// SPDX-License-Identifier: Apache-2.0
//! Volume descriptors: where the root folder lies, and which names the folders hold.
//! ECMA-119 section 8; Joliet: <https://web.archive.org/web/2013/http://bmrc.berkeley.edu/people/chaffee/jolspec.html>.

use super::image::{Image, ReadAt};
use super::record;
use super::susp::Susp;
use super::{Extent, damaged, no_iso};
use crate::error::Result;

/// Descriptors lie in sectors of this length whatever the block's is, from the 16th on.
const SECTOR: u64 = 2048;
const FIRST: u64 = 16;
/// Images have two to five.
const MAX_DESCRIPTORS: u64 = 64;

/// Which names the records of a volume hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Those of ISO 9660, and Rock Ridge's behind them where it is.
    Iso,
    /// UTF-16 with the most significant byte first.
    Joliet,
}

/// The volume that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    /// Which names.
    pub names: Names,
    /// Block length in bytes.
    pub block: u64,
    /// The root folder.
    pub root: Extent,
}

impl Volume {
    /// The volume with the best names.
    ///
    /// # Errors
    /// `Unsupported`/`no-bundle`, `Corrupt`/`iso-damaged`, `Corrupt`/`iso-cut-short`.
    pub(super) fn find<R: ReadAt>(image: &Image<R>) -> Result<Self> {
        let mut primary = None;
        let mut joliet = None;
        for number in 0..MAX_DESCRIPTORS {
            let at = FIRST.saturating_add(number).saturating_mul(SECTOR);
            if at.saturating_add(SECTOR) > image.len() {
                break;
            }
            let bytes = image.read(at, SECTOR)?;
            if bytes.get(1..6) != Some(b"CD001") {
                if number == 0 {
                    return Err(refuse(&bytes));
                }
                break;
            }
            match bytes.first() {
                Some(1) if primary.is_none() => primary = Some(read(&bytes, Names::Iso)?),
                Some(2) if joliet.is_none() && is_joliet(&bytes) => {
                    joliet = Some(read(&bytes, Names::Joliet)?);
                }
                Some(255) => break,
                _ => {}
            }
        }
        match (primary, joliet) {
            (Some(primary), None) => Ok(primary),
            (None, Some(joliet)) => Ok(joliet),
            (Some(primary), Some(joliet)) => {
                let rock_ridge = Susp::detect(image, primary.root)?.is_some();
                Ok(if rock_ridge { primary } else { joliet })
            }
            (None, None) => Err(no_iso("the file is no ISO 9660 image")),
        }
    }
}

fn refuse(bytes: &[u8]) -> crate::error::Error {
    match bytes.get(1..6) {
        Some(b"BEA01" | b"NSR02" | b"NSR03") => no_iso("the image has a UDF filesystem only"),
        _ => no_iso("the file is no ISO 9660 image"),
    }
}

/// One of Joliet's three escape sequences.
fn is_joliet(bytes: &[u8]) -> bool {
    matches!(bytes.get(88..91), Some(b"%/@" | b"%/C" | b"%/E"))
}

fn read(bytes: &[u8], names: Names) -> Result<Volume> {
    let block = bytes.get(128..130).and_then(|b| b.try_into().ok());
    let block = u64::from(block.map_or(0, u16::from_le_bytes));
    if ![512, 1024, 2048].contains(&block) {
        return Err(damaged(&format!("blocks of {block} bytes")));
    }
    let root = bytes.get(156..190).unwrap_or_default();
    let root = record::records(root, block).next().and_then(Result::ok);
    let root = root.ok_or_else(|| damaged("no root folder"))?;
    Ok(Volume {
        names,
        block,
        root: root.extent(block),
    })
}
