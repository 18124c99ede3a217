// SPDX-License-Identifier: Apache-2.0
//! Reading the guest's registry and files into [`Sources`]. One hive is open at a time, because
//! hives have tens of MiB: every topic is asked once for each, and what it wants of another one is
//! answered from what was recorded by then. Beside it each large one is walked from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::fs::{FileType, GuestPath, Tree};
use crate::hive::{Dirty, Hive, Key, Recovery, typed};
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::inspect::gather as files;
use crate::inspect::registry::{HiveFacts, KeyFacts, Registry, ValueFacts};

/// The hives that are read, in this order, by the name under which Windows mounts them, which is
/// that of their file in `System32\config`.
pub const HIVES: &[&str] = &["SYSTEM", "SOFTWARE", "DRIVERS", "DEFAULT"];

/// A hive larger than this is not read: the registry's own quota is below.
const MAX_HIVE: u64 = 512 << 20;
/// Keys recorded at most, and bytes of their values.
const MAX_KEYS: usize = 200_000;
const MAX_BYTES: usize = 48 << 20;
/// No key takes less of its hive's file (an `nk` record with its list entry).
const BYTES_OF_KEY: usize = 80;

struct Open {
    name: String,
    hive: Arc<Hive>,
    keys: BTreeMap<String, KeyFacts>,
    facts: HiveFacts,
}

/// Collects sources from a tree.
pub struct Gatherer<'a> {
    files: files::Gatherer<'a>,
    facts: &'a Facts,
    system_root: String,
    present: BTreeSet<String>,
    control_sets: Vec<String>,
    registry: Registry,
    open: Option<Open>,
    /// Walks through large hives, which go on while these and the next ones are read.
    checks: Vec<JoinHandle<Result<()>>>,
    keys_left: usize,
    bytes_left: usize,
}

impl std::fmt::Debug for Gatherer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatherer")
            .field("system_root", &self.system_root)
            .field("control_sets", &self.control_sets)
            .finish_non_exhaustive()
    }
}

/// What a gatherer collected.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) sources: Sources,
    pub(super) concerns: Vec<Concern>,
    pub(super) system_root: String,
}

impl<'a> Gatherer<'a> {
    /// Nothing collected yet.
    pub(super) fn new(tree: &'a Tree, facts: &'a Facts) -> Result<Self> {
        let system_root = super::release::system_root(tree)?
            .ok_or_else(|| Error::internal("gathering where there is no Windows"))?;
        let mut present = BTreeSet::new();
        for hive in HIVES {
            if is_file(tree, &path_of(&system_root, hive))? {
                present.insert((*hive).to_owned());
            }
        }
        Ok(Self {
            files: files::Gatherer::new(tree),
            facts,
            system_root,
            present,
            control_sets: Vec::new(),
            registry: Registry::default(),
            open: None,
            checks: Vec::new(),
            keys_left: MAX_KEYS,
            bytes_left: MAX_BYTES,
        })
    }

    /// Opens the next hive and lets the last one go.
    ///
    /// # Errors
    /// `hive-dirty`, `hive-damaged`, `no-hive` for a hive that Windows does not start without.
    pub(super) fn open(&mut self, name: &str) -> Result<()> {
        self.shut();
        if !self.present.contains(name) {
            return Ok(());
        }
        match load(self.files.tree(), &self.system_root, name) {
            Ok(open) => {
                if is_needed(name) {
                    let (hive, path) = (Arc::clone(&open.hive), open.facts.path.clone());
                    let check = std::thread::spawn(move || checked(&hive, &path));
                    self.checks.push(check);
                }
                if name == "SYSTEM" {
                    self.control_sets = control_sets(&open.hive)?;
                }
                self.open = Some(open);
                Ok(())
            }
            Err(error) if is_needed(name) => Err(error),
            Err(error) => {
                self.present.remove(name);
                self.concern(Concern::warning(
                    "hive-unreadable",
                    format!("the registry hive {name} is left alone: {error}"),
                ));
                Ok(())
            }
        }
    }

    fn shut(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.facts.keys = open.keys;
            self.registry.hives.insert(open.name, open.facts);
        }
    }

    /// Ends the gathering.
    ///
    /// # Errors
    /// `hive-damaged` for a hive that Windows does not start without.
    pub(super) fn close(mut self) -> Result<Gathered> {
        self.shut();
        for check in self.checks {
            Error::joined(check.join())?;
        }
        self.files.sources.registry = self.registry;
        Ok(Gathered {
            sources: self.files.sources,
            concerns: self.files.concerns,
            system_root: self.system_root,
        })
    }

    /// The tree that is read. Lookups ignore case where the filesystem does.
    pub fn tree(&self) -> &'a Tree {
        self.files.tree()
    }

    /// What was known before: disks, volumes, firmware.
    pub fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// `ControlSet001` of each control set that may be booted, the current one first. Known as soon
    /// as SYSTEM is open.
    pub fn control_sets(&self) -> &[String] {
        &self.control_sets
    }

    /// The system's directory, in the case in which it is stored: `/Windows`.
    pub fn system_root(&self) -> &str {
        &self.system_root
    }

    /// A path below the system's directory.
    pub fn in_system_root(&self, below: &str) -> String {
        format!("{}/{below}", self.system_root)
    }

    /// There is such a hive, and it can be read.
    pub fn has_hive(&self, hive: &str) -> bool {
        self.present.contains(hive)
    }

    /// A key that was recorded, from the hive that is open as well as from those before.
    pub fn recorded(&self, hive: &str, path: &str) -> Option<&KeyFacts> {
        match self.open.as_ref().filter(|open| open.name == hive) {
            Some(open) => open.keys.get(&path.to_lowercase()),
            None => self.registry.key(hive, path),
        }
    }

    /// Records a key: its values and the names of its subkeys. False where it is not there, or not
    /// recorded and its hive is not open.
    ///
    /// # Errors
    /// `hive-damaged`; `registry-too-large` beyond what may be recorded.
    pub fn key(&mut self, hive: &str, path: &str) -> Result<bool> {
        self.subtree(hive, path, 0)
    }

    /// Records a key and those below it, `depth` levels deep.
    ///
    /// # Errors
    /// As [`Gatherer::key`].
    pub fn subtree(&mut self, hive: &str, path: &str, depth: u32) -> Result<bool> {
        let Some(open) = self.open.as_mut().filter(|open| open.name == hive) else {
            return Ok(self.registry.key(hive, path).is_some());
        };
        let mut purse = Purse {
            keys: &mut self.keys_left,
            bytes: &mut self.bytes_left,
            into: &mut open.keys,
        };
        let Some((key, stored)) = find(&open.hive, path)? else {
            return Ok(false);
        };
        let mut todo = vec![(key, stored, depth)];
        while let Some((key, path, depth)) = todo.pop() {
            purse.record(key, &path)?;
            if depth == 0 {
                continue;
            }
            for sub in key.subkeys()? {
                let sub = sub?;
                let below = joined(&path, &sub.name()?);
                todo.push((sub, below, depth.saturating_sub(1)));
            }
            purse.may_hold(todo.len())?;
        }
        Ok(true)
    }

    /// Records a key of every control set that may be booted, with those below it.
    ///
    /// # Errors
    /// As [`Gatherer::key`].
    pub fn in_control_sets(&mut self, path: &str, depth: u32) -> Result<()> {
        for set in self.control_sets.clone() {
            self.subtree("SYSTEM", &joined(&set, path), depth)?;
        }
        Ok(())
    }

    /// Walks the whole hive, where it is open, and records the keys that `wanted` accepts by path
    /// (as stored) and content.
    ///
    /// # Errors
    /// As [`Gatherer::key`]; those of `wanted`.
    pub fn scan(
        &mut self,
        hive: &str,
        wanted: &mut dyn FnMut(&str, &Key<'_>) -> Result<bool>,
    ) -> Result<()> {
        let Some(open) = self.open.as_mut().filter(|open| open.name == hive) else {
            return Ok(());
        };
        let mut purse = Purse {
            keys: &mut self.keys_left,
            bytes: &mut self.bytes_left,
            into: &mut open.keys,
        };
        // A hive whose keys contain one another would have no end.
        let mut budget = open.hive.bytes().len() / BYTES_OF_KEY;
        let mut path = String::new();
        let mut levels = vec![(0, open.hive.root()?.subkeys()?)];
        while let Some((len, subkeys)) = levels.last_mut() {
            path.truncate(*len);
            let Some(key) = subkeys.next().transpose()? else {
                levels.pop();
                continue;
            };
            budget = budget.checked_sub(1).ok_or_else(endless)?;
            if !path.is_empty() {
                path.push('\\');
            }
            path.push_str(&key.name()?);
            if wanted(&path, &key)? {
                purse.record(key, &path)?;
            }
            if key.subkey_count()? != 0 {
                levels.push((path.len(), key.subkeys()?));
            }
        }
        Ok(())
    }

    /// Reads a file of at most 4 MiB; false when there is none.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn file(&mut self, path: &str) -> Result<bool> {
        self.files.file(path)
    }

    /// Lists a directory and returns its names; empty when there is none.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn dir(&mut self, path: &str) -> Result<Vec<String>> {
        self.files.dir(path)
    }

    /// Records that a file is there whose content is of no interest, as an empty listing.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn presence(&mut self, path: &str) -> Result<()> {
        self.files.presence(path)
    }

    /// True when the path leads to something.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn exists(&mut self, path: &str) -> Result<bool> {
        self.files.exists(path)
    }

    /// Records length and SHA-256 of a file, in [`Sources::digests`].
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn digest(&mut self, path: &str) -> Result<()> {
        self.files.digest(path)
    }

    /// Something that an operator should know.
    pub fn concern(&mut self, concern: Concern) {
        if !self.files.concerns.contains(&concern) {
            self.files.concerns.push(concern);
        }
    }
}

/// Where keys go, and how many more may.
struct Purse<'g> {
    keys: &'g mut usize,
    bytes: &'g mut usize,
    into: &'g mut BTreeMap<String, KeyFacts>,
}

impl Purse<'_> {
    fn may_hold(&self, keys: usize) -> Result<()> {
        match keys > *self.keys {
            true => Err(too_large()),
            false => Ok(()),
        }
    }

    fn record(&mut self, key: Key<'_>, path: &str) -> Result<()> {
        let at = path.to_lowercase();
        if self.into.contains_key(&at) {
            return Ok(());
        }
        *self.keys = self.keys.checked_sub(1).ok_or_else(too_large)?;
        let facts = key_facts(key, path)?;
        let names = facts.subkeys.iter().map(String::len);
        let data = facts.values.values().map(|value| value.data.len());
        let bytes = names.chain(data).fold(path.len(), usize::saturating_add);
        *self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_large)?;
        self.into.insert(at, facts);
        Ok(())
    }
}

fn too_large() -> Error {
    Error::unsupported(
        "registry-too-large",
        "the guest's registry holds more of what is to be read than any Windows writes",
    )
}

fn endless() -> Error {
    Error::corrupt("hive-damaged", "keys of the hive contain one another")
}

fn key_facts(key: Key<'_>, path: &str) -> Result<KeyFacts> {
    let subkeys = key.subkeys()?.map(|sub| sub?.name());
    let mut facts = KeyFacts {
        path: path.to_owned(),
        subkeys: subkeys.collect::<Result<_>>()?,
        values: BTreeMap::new(),
    };
    for value in key.values()? {
        let value = value?;
        let name = value.name()?;
        let data = ValueFacts {
            kind: value.kind()?.0,
            data: value.data()?.into_owned(),
            name: name.clone(),
        };
        facts.values.insert(name.to_lowercase(), data);
    }
    Ok(facts)
}

fn joined(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}\\{name}"),
    }
}

/// A key with its path as stored.
fn find<'h>(hive: &'h Hive, path: &str) -> Result<Option<(Key<'h>, String)>> {
    let mut key = hive.root()?;
    let mut stored = String::new();
    for name in path.split('\\').filter(|name| !name.is_empty()) {
        match key.subkey(name)? {
            Some(next) => key = next,
            None => return Ok(None),
        }
        stored = joined(&stored, &key.name()?);
    }
    Ok(Some((key, stored)))
}

/// Current, Default and LastKnownGood of `Select`, those that exist, each once.
fn control_sets(hive: &Hive) -> Result<Vec<String>> {
    let select = typed::select(hive)?;
    let mut out = Vec::new();
    for number in [select.current, select.default, select.last_known_good] {
        let name = typed::control_set_name(number);
        if number != 0 && !out.contains(&name) && hive.key(&name)?.is_some() {
            out.push(name);
        }
    }
    Ok(out)
}

fn path_of(system_root: &str, hive: &str) -> String {
    format!("{system_root}/System32/config/{hive}")
}

fn is_file(tree: &Tree, path: &str) -> Result<bool> {
    let meta = tree.stat(&GuestPath::new(path))?;
    Ok(meta.is_some_and(|meta| meta.file_type == FileType::File))
}

fn load(tree: &Tree, system_root: &str, name: &str) -> Result<Open> {
    let path = path_of(system_root, name);
    let real = tree.resolve(&GuestPath::new(&path))?;
    let real = real.ok_or_else(|| Error::internal(format!("{path} has gone")))?;
    let (hive, sha256, size) = open_hive(tree, &real)?;
    // What must not end the conversion is known to be sound before it is read.
    if !is_needed(name) {
        checked(&hive, &real)?;
    }
    Ok(Open {
        name: name.to_owned(),
        keys: BTreeMap::new(),
        facts: HiveFacts {
            path: real,
            sha256,
            size,
            minor_version: hive.minor_version(),
            replayed: matches!(hive.recovery(), Recovery::Replayed { .. }),
            keys: BTreeMap::new(),
        },
        hive: Arc::new(hive),
    })
}

/// A walk of every key and value: only in a hive that is sound everywhere does an edit in one place
/// harm no other, and what was edited is walked when it is read again.
fn checked(hive: &Hive, path: &GuestPath) -> Result<()> {
    match hive.check() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.on(path.display())),
    }
}

/// Windows does not start without this hive.
fn is_needed(name: &str) -> bool {
    matches!(name, "SYSTEM" | "SOFTWARE")
}

/// The endings of a hive's logs, beside its file.
pub(crate) const LOGS: &[&str] = &[".LOG1", ".LOG2", ".LOG"];

/// Opens a hive of the guest with its logs: also the SHA-256 of the file as it lies there, and its
/// length in bytes.
///
/// # Errors
/// `hive-dirty`, `hive-damaged`, `no-hive`, `hive-version`; `Unsupported`/`file-too-large`.
pub(crate) fn open_hive(tree: &Tree, path: &GuestPath) -> Result<(Hive, String, u64)> {
    let bytes = whole(tree, path)?.unwrap_or_default();
    let (sha256, size) = (sha256_hex(&bytes), bytes.len() as u64);
    let mut logs = Vec::new();
    let clean = Hive::is_clean(&bytes);
    for end in LOGS.iter().filter(|_| !clean) {
        let log = GuestPath::new([path.as_bytes(), end.as_bytes()].concat());
        logs.extend(whole(tree, &log)?.filter(|log| !log.is_empty()));
    }
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    let hive = Hive::open(bytes, &logs, Dirty::Refuse).map_err(|e| e.on(path.display()))?;
    Ok((hive, sha256, size))
}

/// A file of at most [`MAX_HIVE`] bytes; `None` when there is none. Its memory is its own size: a
/// vector that grows would take up to twice that.
fn whole(tree: &Tree, path: &GuestPath) -> Result<Option<Vec<u8>>> {
    let len = tree.stat(path)?.map_or(0, |meta| meta.len);
    if len > MAX_HIVE {
        return Err(Error::unsupported(
            "file-too-large",
            format!("{path} is larger than {MAX_HIVE} bytes"),
        ));
    }
    let Some(mut file) = tree.open(path)? else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact(&mut bytes)
        .map_err(|e| Error::corrupt("unreadable", format!("reading {path}")).because(e))?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
