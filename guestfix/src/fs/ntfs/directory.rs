// SPDX-License-Identifier: Apache-2.0
//! Directories: B-trees of names in $INDEX_ROOT and $INDEX_ALLOCATION, read whole, because what
//! looks into one usually looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, SeekFrom};

use super::record::{fixed, utf16};
use super::{FIRST_USER_RECORD, Ntfs, attributes, damaged, unwrapped};
use crate::error::Result;
use crate::volume::field::{le16, le32, le64};

/// A directory with more entries is taken for damage.
const MAX_ENTRIES: usize = 1 << 20;
/// An index block has 4 KiB, or one cluster.
const MAX_BLOCK: u32 = 64 << 10;

/// FILE_ATTRIBUTE_REPARSE_POINT and the directory's own bit (`fs/ntfs3/ntfs.h` of Linux).
const REPARSE: u32 = 0x400;
const DIRECTORY: u32 = 0x1000_0000;
/// The namespace of short names that have a long one beside them.
const DOS: u8 = 2;

/// A name in a directory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its record.
    pub(super) number: u64,
    /// The long name.
    pub(super) name: String,
    flags: u32,
}

impl Entry {
    pub(super) fn is_dir(&self) -> bool {
        self.flags & DIRECTORY != 0
    }

    pub(super) fn is_reparse(&self) -> bool {
        self.flags & REPARSE != 0
    }
}

/// All names of a directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// By what all spellings of a name share, short names included.
    entries: BTreeMap<Vec<u16>, Entry>,
}

/// One name as it stands in an index.
struct Name {
    number: u64,
    flags: u32,
    namespace: u8,
    units: Vec<u16>,
}

impl Directory {
    pub(super) fn read(fs: &Ntfs, number: u64) -> Result<Self> {
        let names = names(fs, number)?;
        let mut long: BTreeMap<u64, String> = BTreeMap::new();
        for name in names.iter().filter(|name| name.namespace != DOS) {
            long.entry(name.number)
                .or_insert_with(|| String::from_utf16_lossy(&name.units));
        }
        let mut out = Self::default();
        for name in names {
            let own = String::from_utf16_lossy(&name.units);
            let name_of = match name.namespace {
                DOS => long.get(&name.number).cloned().unwrap_or(own),
                _ => own,
            };
            let entry = Entry {
                number: name.number,
                name: name_of,
                flags: name.flags,
            };
            let key = fs.folded(name.units.iter().copied());
            // Where a name is a short one as well as a long one, it is the long one.
            match name.namespace {
                DOS => drop(out.entries.entry(key).or_insert(entry)),
                _ => drop(out.entries.insert(key, entry)),
            }
        }
        Ok(out)
    }

    pub(super) fn find(&self, folded: &[u16]) -> Option<&Entry> {
        self.entries.get(folded)
    }

    /// The long names, sorted.
    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        let names = self.entries.values().map(|entry| entry.name.as_str());
        let addressable = names.filter(|name| !name.contains('/'));
        let unique: BTreeSet<&str> = addressable.collect();
        let names = unique.into_iter().map(|name| name.as_bytes().to_vec());
        names.collect()
    }
}

/// Every name of a directory, in no order, those of the filesystem's own files left out.
fn names(fs: &Ntfs, number: u64) -> Result<Vec<Name>> {
    let wrong = || damaged(&format!("directory {number} makes no sense"));
    let all = attributes::of(fs, number)?;
    let name = attributes::index_name();
    let root = attributes::find(&all, attributes::INDEX_ROOT, &name).ok_or_else(wrong)?;
    let mut head = Vec::new();
    fs.stream(root)
        .take(u64::from(MAX_BLOCK))
        .read_to_end(&mut head)
        .map_err(unwrapped)?;
    let block = le32(&head, 8).filter(|size| (512..=MAX_BLOCK).contains(size));
    let block = block.ok_or_else(wrong)?;
    let mut out = Vec::new();
    let mut todo = Vec::new();
    node(&head, 16, &mut out, &mut todo).ok_or_else(wrong)?;
    let Some(blocks) = attributes::find(&all, attributes::INDEX_ALLOCATION, &name) else {
        return match todo.is_empty() {
            true => Ok(out),
            false => Err(wrong()),
        };
    };
    let mut stream = fs.stream(blocks);
    // Blocks are counted in clusters, or in 512 bytes where a cluster is larger than a block.
    let unit = match fs.cluster > u64::from(block) {
        true => 512,
        false => fs.cluster,
    };
    let mut seen = BTreeSet::new();
    while let Some(vcn) = todo.pop() {
        let at = vcn.checked_mul(unit).ok_or_else(wrong)?;
        if !seen.insert(vcn) || out.len() > MAX_ENTRIES {
            return Err(wrong());
        }
        let mut bytes = vec![0; usize::try_from(block).unwrap_or(4096)];
        stream.seek(SeekFrom::Start(at)).map_err(unwrapped)?;
        stream.read_exact(&mut bytes).map_err(unwrapped)?;
        let bytes = fixed(bytes, b"INDX").ok_or_else(wrong)?;
        node(&bytes, 24, &mut out, &mut todo).ok_or_else(wrong)?;
    }
    Ok(out)
}

/// Reads the entries of one node, whose header begins at `header`; adds the nodes below.
fn node(bytes: &[u8], header: usize, out: &mut Vec<Name>, below: &mut Vec<u64>) -> Option<()> {
    let first = usize::try_from(le32(bytes, header)?).ok()?;
    let len = usize::try_from(le32(bytes, header.checked_add(4)?)?).ok()?;
    let from = header.checked_add(first)?;
    let mut rest = bytes.get(from..header.checked_add(len)?)?;
    loop {
        let size = usize::from(le16(rest, 8)?);
        let key = usize::from(le16(rest, 10)?);
        let flags = le16(rest, 12)?;
        let entry = rest.get(..size).filter(|entry| entry.len() >= 16)?;
        if flags & 1 != 0 {
            below.push(le64(entry, size.checked_sub(8)?)?);
        }
        if flags & 2 != 0 {
            return Some(());
        }
        let name = name(le64(entry, 0)?, entry.get(16..key.checked_add(16)?)?)?;
        if name.number >= FIRST_USER_RECORD {
            out.push(name);
        }
        rest = rest.get(size..)?;
    }
}

/// $FILE_NAME: flags at 56, length of the name at 64, namespace at 65, the name from 66.
fn name(reference: u64, key: &[u8]) -> Option<Name> {
    let units = usize::from(*key.get(64)?);
    let end = units.checked_mul(2)?.checked_add(66)?;
    Some(Name {
        number: reference & 0xffff_ffff_ffff,
        flags: le32(key, 56)?,
        namespace: *key.get(65)?,
        units: utf16(key.get(66..end)?),
    })
}
