// SPDX-License-Identifier: Apache-2.0
//! Lines of an INF's `AddReg` sections as edits of a hive, and files of the bundle as changes.

use drivers::{Member, RegData, RegEntry};

use crate::fs::GuestPath;
use crate::hive::ValueType;
use crate::hive::script::Edit;
use crate::hive::typed::{multi_string_data, string_data};
use crate::inspect::facts::Sources;
use crate::inspect::registry::Registry;
use crate::plan::{Action, Change};

/// The hive of control sets, services and drivers.
pub(super) const SYSTEM: &str = "SYSTEM";
/// The hive of installed programs.
pub(super) const SOFTWARE: &str = "SOFTWARE";

/// Flags of an INF in the upper half of a value's type, as `DriverDatabase` keeps them: seen in
/// installations for values that the INF does not force (`FLG_ADDREG_NOCLOBBER`) and for those that
/// it appends.
const KEEPS: u32 = 0x2_0000;
const APPENDS: u32 = 0x4_0000;

/// Type and bytes of a value.
fn stored(data: &RegData) -> (ValueType, Vec<u8>) {
    match data {
        RegData::Sz(text) => (ValueType::SZ, string_data(text)),
        RegData::ExpandSz(text) => (ValueType::EXPAND_SZ, string_data(text)),
        RegData::MultiSz(texts) => (ValueType::MULTI_SZ, multi_string_data(texts)),
        RegData::Dword(number) => (ValueType::DWORD, number.to_le_bytes().to_vec()),
        RegData::Qword(number) => (ValueType::QWORD, number.to_le_bytes().to_vec()),
        RegData::Binary(bytes) => (ValueType::BINARY, bytes.clone()),
        RegData::None(bytes) => (ValueType::NONE, bytes.clone()),
        RegData::Other(kind, bytes) => (ValueType(*kind), bytes.clone()),
    }
}

fn below(top: &str, key: &str) -> String {
    match key.is_empty() {
        true => top.to_owned(),
        false => format!("{top}\\{key}"),
    }
}

/// What Windows does with the entries when it installs them below `top`: entries that keep what is
/// there, that delete and that append included.
pub(super) fn installed(registry: &Registry, top: &str, entries: &[RegEntry]) -> Vec<Edit> {
    let edit = |entry: &RegEntry| {
        let key = below(top, &entry.key);
        let Some((name, data)) = entry.name.as_ref().zip(entry.data.as_ref()) else {
            return Some(Edit::create(key));
        };
        let there = registry.value(SYSTEM, &key, name);
        if entry.deletes() {
            return there.map(|_| Edit::unset(key, name));
        }
        if entry.keeps() && there.is_some() {
            return None;
        }
        if let (true, RegData::MultiSz(more)) = (entry.appends(), data) {
            let mut texts = there.and_then(|value| value.texts()).unwrap_or_default();
            texts.extend(
                more.iter()
                    .filter(|text| !texts.contains(text))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            return Some(Edit::texts(key, name, &texts));
        }
        let (kind, data) = stored(data);
        Some(Edit::raw(key, name, kind, data))
    };
    entries.iter().filter_map(edit).collect()
}

/// The entries as `DriverDatabase` keeps them for the day when a device comes.
pub(super) fn recorded(top: &str, entries: &[&RegEntry]) -> Vec<Edit> {
    let edit = |entry: &&RegEntry| {
        let key = below(top, &entry.key);
        let Some((name, data)) = entry.name.as_ref().zip(entry.data.as_ref()) else {
            return Edit::create(key);
        };
        let (kind, data) = stored(data);
        let keeps = if entry.keeps() { KEEPS } else { 0 };
        let appends = if entry.appends() { APPENDS } else { 0 };
        Edit::raw(key, name, ValueType(kind.0 | keeps | appends), data)
    };
    let kept = entries.iter().filter(|entry| !entry.deletes());
    kept.map(edit).collect()
}

/// Places a file of the bundle, unless it lies there already.
pub(super) fn place(
    topic: &str,
    why: &str,
    sources: &Sources,
    path: &str,
    member: &Member,
) -> Option<Change> {
    if sources
        .digests
        .get(path)
        .is_some_and(|old| old.sha256 == member.sha256)
    {
        return None;
    }
    let action = Action::PlaceFile {
        path: GuestPath::new(path),
        member: member.path.clone(),
        sha256: member.sha256.clone(),
        len: member.len,
    };
    Some(Change::new(topic, why, action, None))
}
