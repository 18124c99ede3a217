// SPDX-License-Identifier: Apache-2.0
//! What the state directory holds for all guests.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DiskIdentity, IDENTITY, Identity, JOURNAL, LOCK, lock, state_dir_error};
use crate::error::{Error, Result};

/// A guest in the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StateEntry {
    /// Name of its directory.
    pub id: String,
    /// Its disks; empty when the identity cannot be read.
    pub disks: Vec<DiskIdentity>,
    /// When guestfix first saw it, seconds since 1970.
    pub created: u64,
    /// When anything was last written, seconds since 1970.
    pub modified: u64,
    /// Bytes on the state directory's filesystem.
    pub bytes: u64,
    /// Number of conversions that can be undone.
    pub undo_depth: usize,
    /// An interrupted commit waits for `recover`.
    pub pending: bool,
    /// A process works on it.
    pub busy: bool,
}

/// Every guest that the state directory knows, sorted by id. None when there is no directory.
///
/// # Errors
/// `Host`/`state-dir` when it cannot be read.
pub fn list(state_dir: &Path) -> Result<Vec<StateEntry>> {
    let guests = state_dir.join("guests");
    if !guests.exists() {
        return Ok(Vec::new());
    }
    let mut ids = names(&guests)?;
    ids.sort();
    ids.into_iter()
        .map(|id| entry(guests.join(&id), id))
        .collect()
}

/// Removes the guests that `choose` picks, with all their undo records: what was converted stays
/// converted for good. One with a pending journal or in use is never removed. Returns what was.
///
/// # Errors
/// `Host`/`state-dir` when something cannot be removed.
pub fn prune(state_dir: &Path, choose: impl Fn(&StateEntry) -> bool) -> Result<Vec<StateEntry>> {
    let mut removed = Vec::new();
    for entry in list(state_dir)? {
        if entry.pending || entry.busy || !choose(&entry) {
            continue;
        }
        let dir = state_dir.join("guests").join(&entry.id);
        let Ok(_lock) = lock(&dir, true) else {
            continue;
        };
        // Asked again now that nobody can begin a commit.
        if dir.join(JOURNAL).exists() {
            continue;
        }
        std::fs::remove_dir_all(&dir).map_err(|e| state_dir_error(&dir, &e))?;
        removed.push(entry);
    }
    Ok(removed)
}

/// A disk may be given alone that was being converted together with others.
pub(super) fn refuse_pending_elsewhere(
    state_dir: &Path,
    id: &str,
    disks: &[DiskIdentity],
) -> Result<()> {
    let keys: Vec<String> = disks.iter().map(DiskIdentity::key).collect();
    let guests = state_dir.join("guests");
    for other in names(&guests)?.iter().filter(|other| *other != id) {
        // No lock is taken: a look at others must not make them seem busy.
        let dir = guests.join(other);
        if !dir.join(JOURNAL).exists() {
            continue;
        }
        let Some(other) = read_identity(&dir) else {
            continue;
        };
        if let Some(shared) = other.disks.iter().find(|disk| keys.contains(&disk.key())) {
            let all: Vec<&str> = other.disks.iter().map(|disk| disk.path.as_str()).collect();
            return Err(Error::refused(
                "pending-journal",
                "an interrupted commit of this disk and others waits",
            )
            .on(&shared.path)
            .hint(format!("run `guestfix recover {}` first", all.join(" "))));
        }
    }
    Ok(())
}

pub(super) fn undo_numbers(dir: &Path) -> Result<Vec<u32>> {
    let mut numbers: Vec<u32> = names(dir)?
        .iter()
        .filter_map(|name| name.strip_prefix("undo-")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for item in std::fs::read_dir(dir).map_err(|e| state_dir_error(dir, &e))? {
        let item = item.map_err(|e| state_dir_error(dir, &e))?;
        // All our names are ASCII; what is not is not ours.
        names.extend(item.file_name().into_string().ok());
    }
    Ok(names)
}

fn entry(dir: PathBuf, id: String) -> Result<StateEntry> {
    let identity = read_identity(&dir);
    let names = names(&dir)?;
    let (mut bytes, mut modified) = (0_u64, 0);
    for name in &names {
        match std::fs::symlink_metadata(dir.join(name)) {
            Ok(meta) => {
                use std::os::unix::fs::MetadataExt;
                bytes = bytes.saturating_add(meta.blocks().saturating_mul(512));
                modified = modified.max(u64::try_from(meta.mtime()).unwrap_or(0));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(state_dir_error(&dir, &e)),
        }
    }
    let busy = dir.join(LOCK).exists() && lock(&dir, false).is_err_and(|e| e.code == "busy");
    Ok(StateEntry {
        disks: identity
            .as_ref()
            .map_or(Vec::new(), |identity| identity.disks.clone()),
        created: identity.map_or(0, |identity| identity.created),
        modified,
        bytes,
        undo_depth: undo_numbers(&dir)?.len(),
        pending: names.iter().any(|name| name == JOURNAL),
        busy,
        id,
    })
}

fn read_identity(dir: &Path) -> Option<Identity> {
    let mut json = Vec::new();
    let file = File::open(dir.join(IDENTITY)).ok()?;
    file.take(1 << 20).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}
