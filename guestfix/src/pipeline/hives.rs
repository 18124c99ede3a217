// SPDX-License-Identifier: Apache-2.0
//! Registry hives, edited by the worker in memory: what travels is which parts of the file differ.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::error::{Error, Kind, Result};
use crate::fs::{GuestPath, Tree};
use crate::hive::script::{self, Edit};
use crate::hive::typed;
use crate::plan::{Action, Plan};
use crate::windows::gather::{LOGS, open_hive};

/// Parts are compared, and written, in pieces of the registry's own unit.
const PAGE: usize = 4096;
/// Pages read at once.
const PART: usize = 64 * PAGE;

/// What becomes of a hive's file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct EditedHive {
    /// For each script: whether anything was not so already.
    pub changed: VecDeque<bool>,
    /// Bytes of the file afterwards.
    pub len: u64,
    /// What differs: where, and the new content. Empty where no script changed anything.
    pub parts: Vec<(u64, ByteBuf)>,
    /// The logs beside it that are to be emptied.
    pub logs: Vec<GuestPath>,
}

/// The scripts of a plan by the hive that they edit, each with the file's SHA-256 that the plan was
/// made from.
pub(super) fn scripts(plan: &Plan) -> BTreeMap<GuestPath, (String, Vec<Vec<Edit>>)> {
    let mut out: BTreeMap<GuestPath, (String, Vec<Vec<Edit>>)> = BTreeMap::new();
    for change in &plan.changes {
        if let Some(Action::EditHive {
            path,
            before,
            edits,
            ..
        }) = &change.action
        {
            let hive = out.entry(path.clone());
            let (_, scripts) = hive.or_insert_with(|| (before.clone(), Vec::new()));
            scripts.push(edits.clone());
        }
    }
    out
}

/// Runs scripts on a hive of the guest, in order. Nothing is written.
///
/// # Errors
/// `changed-underneath`; `hive-damaged`.
pub(super) fn edited(
    tree: &Tree,
    path: &GuestPath,
    before: &str,
    scripts: &[Vec<Edit>],
) -> Result<EditedHive> {
    let (mut hive, now, _) = open_hive(tree, path)?;
    if now != before {
        return Err(Error::new(
            Kind::Internal,
            "changed-underneath",
            format!("{path} is not what the plan was made from"),
        ));
    }
    let named = |error: Error| error.on(path.display());
    let mut out = EditedHive::default();
    let mut editor = hive
        .edit(typed::to_filetime(SystemTime::now()))
        .map_err(named)?;
    for script in scripts {
        out.changed
            .push_back(script::run(&mut editor, script).map_err(named)?);
    }
    let outcome = editor.finish().map_err(named)?;
    if !outcome.edited {
        return Ok(out);
    }
    out.len = hive.bytes().len() as u64;
    out.parts = std::thread::scope(|scope| {
        let check = scope.spawn(|| hive.check().map_err(named));
        let parts = differing(tree, path, hive.bytes())?;
        Error::joined(check.join())?;
        Ok::<_, Error>(parts)
    })?;
    for end in LOGS.iter().filter(|_| outcome.log.is_some()) {
        let log = GuestPath::new([path.as_bytes(), end.as_bytes()].concat());
        if tree.stat(&log)?.is_some_and(|meta| meta.len > 0) {
            out.logs.extend(tree.resolve(&log)?);
        }
    }
    Ok(out)
}

/// The pages that the file does not have so.
fn differing(tree: &Tree, path: &GuestPath, new: &[u8]) -> Result<Vec<(u64, ByteBuf)>> {
    let mut file = tree
        .open(path)?
        .ok_or_else(|| Error::internal(format!("{path} has gone")))?;
    let mut out: Vec<(u64, ByteBuf)> = Vec::new();
    let mut offset = 0_u64;
    for part in new.chunks(PART) {
        let mut old = Vec::with_capacity(part.len());
        file.by_ref()
            .take(part.len() as u64)
            .read_to_end(&mut old)
            .map_err(|e| Error::corrupt("unreadable", format!("reading {path}")).because(e))?;
        for (index, page) in part.chunks(PAGE).enumerate() {
            let at = index.saturating_mul(PAGE);
            let have = old.get(at..).unwrap_or_default();
            if have.get(..page.len()) != Some(page) {
                add(&mut out, offset.saturating_add(at as u64), page);
            }
        }
        offset = offset.saturating_add(part.len() as u64);
    }
    Ok(out)
}

/// Adds a page, to the last part where that ends before it.
fn add(parts: &mut Vec<(u64, ByteBuf)>, offset: u64, page: &[u8]) {
    match parts.last_mut() {
        Some((at, part))
            if at.saturating_add(part.len() as u64) == offset && part.len() < 4 << 20 =>
        {
            part.extend_from_slice(page);
        }
        _ => parts.push((offset, ByteBuf::from(page))),
    }
}

/// The paths that a plan's changes are about, as the guest's filesystem spells what is there of
/// them: it does not tell spellings apart that the mount does.
pub(super) fn spelled(
    tree: &Tree,
    paths: Vec<GuestPath>,
) -> Result<BTreeMap<GuestPath, GuestPath>> {
    let mut made: BTreeMap<String, GuestPath> = BTreeMap::new();
    let mut out = BTreeMap::new();
    for path in paths {
        let mut at = GuestPath::root();
        for name in path.components() {
            let next = at.join(name);
            at = match tree.resolve(&next)? {
                Some(real) => real,
                // What several changes make gets the spelling of the first.
                None => {
                    let key = next.display().to_lowercase();
                    made.entry(key).or_insert(next).clone()
                }
            };
        }
        out.insert(path, at);
    }
    Ok(out)
}

/// The paths that a plan's changes are about.
pub(super) fn paths(plan: &Plan) -> Vec<GuestPath> {
    let mut out = Vec::new();
    for action in plan
        .changes
        .iter()
        .filter_map(|change| change.action.as_ref())
    {
        match action {
            Action::CopyFile { from, path, .. } => out.extend([from.clone(), path.clone()]),
            Action::RemoveFiles { files, dirs, .. } => {
                out.extend(files.iter().chain(dirs).cloned());
            }
            Action::WriteFile { path, .. }
            | Action::RemoveFile { path }
            | Action::Symlink { path, .. }
            | Action::EditHive { path, .. }
            | Action::PlaceFile { path, .. } => out.push(path.clone()),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256_hex;
    use crate::fs::MemoryFs;
    use crate::hive::{Dirty, Hive};
    use crate::windows::fixture::{hive, software, system, volume};

    const PATH: &str = "/Windows/System32/config/SYSTEM";

    fn tree(fs: MemoryFs) -> Tree {
        Tree::new(Box::new(fs))
    }

    /// Puts the parts where they belong.
    fn patched(old: &[u8], edited: &EditedHive) -> Vec<u8> {
        let mut out = old.to_vec();
        out.resize(usize::try_from(edited.len).unwrap(), 0);
        for (offset, part) in &edited.parts {
            let at = usize::try_from(*offset).unwrap();
            out[at..at + part.len()].copy_from_slice(part);
        }
        out
    }

    #[test]
    fn the_parts_that_differ_make_the_edited_hive() {
        let ballast = Edit::raw(
            "Ballast",
            "x",
            crate::hive::ValueType::BINARY,
            vec![5; 200_000],
        );
        let all = [system(), vec![ballast]].concat();
        let old = hive(&all);
        let fs = volume(&all, &software()).file(&format!("{PATH}.LOG1"), "old log");
        let scripts = [
            vec![Edit::dword("Select", "Current", 1)],
            vec![Edit::raw(
                "Big",
                "x",
                crate::hive::ValueType::BINARY,
                vec![7; 9000],
            )],
        ];
        let got = edited(&tree(fs), &PATH.into(), &sha256_hex(&old), &scripts).unwrap();
        assert_eq!(got.changed, [false, true]);
        let new = Hive::open(patched(&old, &got), &[], Dirty::Refuse).unwrap();
        assert_eq!(new.value("Big", "x").unwrap().unwrap().len().unwrap(), 9000);
        new.check().unwrap();
        assert_eq!(got.logs, [GuestPath::new(format!("{PATH}.LOG1"))]);
        let bytes: usize = got.parts.iter().map(|(_, part)| part.len()).sum();
        assert!(bytes < 60_000, "not the whole file: {bytes}");
    }

    #[test]
    fn scripts_that_change_nothing_write_nothing() {
        let old = hive(&system());
        let fs = volume(&system(), &software());
        let scripts = [vec![Edit::dword("Select", "Current", 1)]];
        let got = edited(&tree(fs.clone()), &PATH.into(), &sha256_hex(&old), &scripts).unwrap();
        assert_eq!(got.changed, [false]);
        assert!(got.parts.is_empty() && got.logs.is_empty());
        let error = edited(&tree(fs), &PATH.into(), &"0".repeat(64), &scripts).unwrap_err();
        assert_eq!(error.code, "changed-underneath");
    }

    #[test]
    fn what_is_there_is_spelled_as_stored_and_what_is_made_as_first_asked() {
        let fs = volume(&system(), &software());
        let path = |text: &str| GuestPath::new(text);
        let asked = vec![
            path("/WINDOWS/system32/Drivers/a.sys"),
            path("/windows/SYSTEM32/drivers/b.sys"),
            path("/windows/System32/CMD.exe"),
        ];
        let got = spelled(&tree(fs), asked.clone()).unwrap();
        let got: Vec<String> = asked.iter().map(|path| got[path].display()).collect();
        assert_eq!(
            got,
            [
                "/Windows/System32/Drivers/a.sys",
                "/Windows/System32/Drivers/b.sys",
                "/Windows/System32/cmd.exe"
            ]
        );
    }
}
