// SPDX-License-Identifier: Apache-2.0
//! The attributes of a file, put together from all its records.

use std::collections::BTreeMap;
use std::io::Read;

use super::record::{Raw, Record, utf16};
use super::runs::{self, Run};
use super::stream::Stream;
use super::{Ntfs, damaged, unwrapped};
use crate::error::Result;
use crate::volume::field::{le16, le32, le64};

pub(super) const ATTRIBUTE_LIST: u32 = 0x20;
pub(super) const DATA: u32 = 0x80;
pub(super) const INDEX_ROOT: u32 = 0x90;
pub(super) const INDEX_ALLOCATION: u32 = 0xa0;
pub(super) const REPARSE_POINT: u32 = 0xc0;

/// The low byte of an attribute's flags tells how it is compressed; 1 is LZNT1.
const COMPRESSED: u16 = 0xff;
const ENCRYPTED: u16 = 0x4000;
/// Windows allows a list of 256 KiB.
const MAX_LIST: u64 = 256 << 10;
/// The list's entries have 26 bytes and more.
const MAX_RECORDS: usize = 8192;

/// One attribute.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) kind: u32,
    pub(super) name: Vec<u16>,
    flags: u16,
    pub(super) value: Value,
}

/// Its value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Resident(Vec<u8>),
    Runs(Data),
}

/// A value that lies outside of the file's records.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// From its first cluster to its last, without a gap.
    pub(super) runs: Vec<Run>,
    /// Bytes.
    pub(super) size: u64,
    /// Bytes that were ever written.
    pub(super) written: u64,
    /// Clusters of a compression unit, where it is compressed.
    pub(super) unit: Option<u64>,
}

impl Attribute {
    /// Bytes of the value.
    pub(super) fn len(&self) -> u64 {
        match &self.value {
            Value::Resident(bytes) => bytes.len() as u64,
            Value::Runs(data) => data.size,
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & ENCRYPTED != 0
    }
}

/// The attribute of that type and name.
pub(super) fn find<'a>(all: &'a [Attribute], kind: u32, name: &[u16]) -> Option<&'a Attribute> {
    all.iter().find(|a| a.kind == kind && a.name == name)
}

/// All attributes of a file, the list that leads to them left out.
pub(super) fn of(fs: &Ntfs, number: u64) -> Result<Vec<Attribute>> {
    let base = fs.record(number)?;
    if !base.is_in_use() {
        return Err(damaged(&format!("record {number} is in use and is free")));
    }
    let mut parts = Parts::default();
    let list = base.attributes().find(|a| a.kind == ATTRIBUTE_LIST);
    let Some(list) = list else {
        for attribute in base.attributes() {
            parts.add(&attribute)?;
        }
        return Ok(parts.done());
    };
    let mut records: BTreeMap<u64, Record> = BTreeMap::new();
    for entry in entries(&bytes_of(fs, &list)?) {
        if entry.record != number && !records.contains_key(&entry.record) {
            if records.len() >= MAX_RECORDS {
                return Err(damaged(&format!("record {number} has too many parts")));
            }
            records.insert(entry.record, fs.record(entry.record)?);
        }
        let record = records.get(&entry.record).unwrap_or(&base);
        let found = record
            .attributes()
            .find(|a| a.kind == entry.kind && a.instance == entry.instance);
        match found {
            Some(found) => parts.add(&found)?,
            None => {
                return Err(damaged(&format!(
                    "a part of record {number} is not in record {}",
                    entry.record
                )));
            }
        }
    }
    Ok(parts.done())
}

fn bytes_of(fs: &Ntfs, list: &Raw<'_>) -> Result<Vec<u8>> {
    if let Some(bytes) = list.resident() {
        return Ok(bytes.to_vec());
    }
    let mut parts = Parts::default();
    parts.add(list)?;
    let mut bytes = Vec::new();
    if let Some(Attribute {
        value: Value::Runs(data),
        ..
    }) = parts.done().pop()
    {
        Stream::new(fs, data)
            .take(MAX_LIST)
            .read_to_end(&mut bytes)
            .map_err(unwrapped)?;
    }
    Ok(bytes)
}

/// Where a part of an attribute is.
struct Place {
    kind: u32,
    record: u64,
    instance: u16,
}

fn entries(list: &[u8]) -> Vec<Place> {
    let mut out = Vec::new();
    let mut rest = list;
    while let (Some(kind), Some(len)) = (le32(rest, 0), le16(rest, 4)) {
        let len = usize::from(len);
        let (Some(reference), Some(instance)) = (le64(rest, 16), le16(rest, 24)) else {
            break;
        };
        if len < 26 {
            break;
        }
        out.push(Place {
            kind,
            // The upper 16 bits tell how often the record was used before.
            record: reference & 0xffff_ffff_ffff,
            instance,
        });
        rest = rest.get(len..).unwrap_or_default();
    }
    out
}

/// Attributes on their way to be whole.
#[derive(Default)]
struct Parts {
    whole: Vec<Attribute>,
}

impl Parts {
    fn add(&mut self, part: &Raw<'_>) -> Result<()> {
        if let Some(bytes) = part.resident() {
            self.whole.push(Attribute {
                kind: part.kind,
                name: part.name.clone(),
                flags: part.flags,
                value: Value::Resident(bytes.to_vec()),
            });
            return Ok(());
        }
        let wrong = || damaged("an attribute's runs make no sense");
        let list = part.run_list().ok_or_else(wrong)?;
        let runs = runs::decode(list.runs, list.lowest).ok_or_else(wrong)?;
        if list.lowest == 0 {
            let unit = (part.flags & COMPRESSED != 0 && list.unit != 0)
                .then(|| 1_u64.checked_shl(u32::from(list.unit)).unwrap_or(0))
                .map(|unit| unit.clamp(1, 64));
            self.whole.push(Attribute {
                kind: part.kind,
                name: part.name.clone(),
                flags: part.flags,
                value: Value::Runs(Data {
                    runs,
                    size: list.size,
                    written: list.written.min(list.size),
                    unit,
                }),
            });
            return Ok(());
        }
        // Lists are in order, so the part before this one has been seen.
        let same = |a: &&mut Attribute| a.kind == part.kind && a.name == part.name;
        match self.whole.iter_mut().rev().find(same).map(|a| &mut a.value) {
            Some(Value::Runs(data)) if data.runs.last().map(Run::end) == Some(list.lowest) => {
                data.runs.extend(runs);
                Ok(())
            }
            _ => Err(wrong()),
        }
    }

    fn done(self) -> Vec<Attribute> {
        self.whole
    }
}

/// The `$I30` of a directory's index.
pub(super) fn index_name() -> Vec<u16> {
    utf16(b"$\0I\x003\x000\0")
}
