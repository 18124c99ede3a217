// SPDX-License-Identifier: Apache-2.0
//! A package's header: an index of tags and a store of their values, as "RPM V4 Package format"
//! (<https://rpm-software-management.github.io/rpm/manual/format_v4.html>) describes it, without its
//! magic as databases keep it.

use super::RpmPackage;
use crate::volume::field::be32;

/// `RPMTAG_NAME`.
pub const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCH: u32 = 1022;
const OLD_FILE_NAMES: u32 = 1027;
const REQUIRE_NAME: u32 = 1049;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;

const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// What rpm itself accepts (`HEADER_TAGS_MAX`).
const MAX_TAGS: usize = 65_535;
/// Values of one tag that are looked at: a kernel has 20,000 files.
const MAX_VALUES: usize = 200_000;

/// A header, or the beginning of one: what lies behind its end is not there.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    index: &'a [u8],
    store: &'a [u8],
}

impl<'a> Header<'a> {
    /// Takes a header apart; `None` when its index is not whole.
    pub fn parse(blob: &'a [u8]) -> Option<Self> {
        let tags = usize::try_from(be32(blob, 0)?).ok()?;
        let len = usize::try_from(be32(blob, 4)?).ok()?;
        if tags == 0 || tags > MAX_TAGS {
            return None;
        }
        let body = blob.get(8..)?;
        let (index, store) = body.split_at_checked(tags.checked_mul(16)?)?;
        let store = store.get(..len).unwrap_or(store);
        Some(Self { index, store })
    }

    /// A tag's type, count and values.
    fn find(&self, tag: u32) -> Option<(u32, usize, &'a [u8])> {
        let entry = self
            .index
            .chunks_exact(16)
            .find(|entry| be32(entry, 0) == Some(tag))?;
        let offset = usize::try_from(be32(entry, 8)?).ok()?;
        let count = usize::try_from(be32(entry, 12)?).ok()?;
        Some((be32(entry, 4)?, count, self.store.get(offset..)?))
    }

    /// A tag's first string; `None` where it is not there or has no end.
    pub fn string(&self, tag: u32) -> Option<String> {
        let (kind, _, values) = self.find(tag)?;
        if !matches!(kind, STRING | STRING_ARRAY | I18N_STRING) {
            return None;
        }
        let end = values.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(values.get(..end)?).into_owned())
    }

    /// A tag's strings, as many as are there.
    pub fn strings(&self, tag: u32) -> Vec<String> {
        match self.find(tag) {
            Some((STRING | STRING_ARRAY | I18N_STRING, count, values)) => values
                .split(|byte| *byte == 0)
                .take(count.min(MAX_VALUES))
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A tag's numbers, as many as are there.
    pub fn numbers(&self, tag: u32) -> Vec<u32> {
        match self.find(tag) {
            Some((INT32, count, values)) => values
                .chunks_exact(4)
                .take(count.min(MAX_VALUES))
                .filter_map(|value| be32(value, 0))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Its files, each with its directory.
    pub fn files(&self) -> Vec<String> {
        let names = self.strings(BASE_NAMES);
        if names.is_empty() {
            return self.strings(OLD_FILE_NAMES);
        }
        let dirs = self.strings(DIR_NAMES);
        let places = self.numbers(DIR_INDEXES);
        names
            .iter()
            .zip(places)
            .filter_map(|(name, dir)| {
                let dir = dirs.get(usize::try_from(dir).ok()?)?;
                Some(format!("{dir}{name}"))
            })
            .collect()
    }

    /// The package; `None` when it has no name.
    pub fn package(&self) -> Option<RpmPackage> {
        let text = |tag| self.string(tag).unwrap_or_default();
        let epoch = self.numbers(EPOCH).first().map(|epoch| format!("{epoch}:"));
        Some(RpmPackage {
            name: self.string(NAME).filter(|name| !name.is_empty())?,
            version: format!(
                "{}{}-{}",
                epoch.unwrap_or_default(),
                text(VERSION),
                text(RELEASE)
            ),
            arch: text(ARCH),
            requires: self.strings(REQUIRE_NAME),
            files: self.files(),
        })
    }
}
