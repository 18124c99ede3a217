// SPDX-License-Identifier: Apache-2.0
//! A guest's home in the state directory: its identity, lock, journal and undo records.
//!
//! `<state-dir>/guests/<digest of the identities of all its disks>/`. Directories have mode 0700
//! and files 0600: undo records hold the guest's secrets.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation};
use serde::{Deserialize, Serialize};

use super::raw::write_error;
use crate::error::{Error, Result};

mod state;

pub use state::{StateEntry, list, prune};

pub(crate) const JOURNAL: &str = "journal";
pub(crate) const JOURNAL_NEW: &str = "journal.new";
const IDENTITY: &str = "identity.json";
const LOCK: &str = "lock";
/// `list` holds each lock for an instant: whoever finds it taken asks again a few times.
const RETRY: std::time::Duration = std::time::Duration::from_millis(20);

/// Which disk it is: a path on this host, or a claim of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DiskIdentity {
    /// Canonical path, symlinks resolved.
    pub path: String,
    /// UID of the PersistentVolumeClaim; when set, the path does not count.
    pub claim_uid: Option<String>,
    /// Bytes when it was first seen; does not count, since container files grow.
    pub size: u64,
}

impl DiskIdentity {
    /// The identity of the disk at `path`.
    ///
    /// # Errors
    /// `Host`/`cannot-open` when the path cannot be resolved; `Usage`/`path-not-text` when it is
    /// not UTF-8.
    pub fn of_path(path: &Path, size: u64) -> Result<Self> {
        let name = path.display().to_string();
        let canonical = std::fs::canonicalize(path).map_err(|e| {
            Error::host("cannot-open", "cannot find the disk")
                .because(e)
                .on(&name)
        })?;
        let path = std::str::from_utf8(canonical.as_os_str().as_bytes()).map_err(|_| {
            Error::new(
                crate::error::Kind::Usage,
                "path-not-text",
                "the disk's path is not UTF-8",
            )
            .on(&name)
        })?;
        Ok(Self {
            path: path.to_owned(),
            claim_uid: None,
            size,
        })
    }

    /// What tells this disk from others.
    pub fn key(&self) -> String {
        match &self.claim_uid {
            Some(uid) => format!("claim:{uid}"),
            None => format!("path:{}", self.path),
        }
    }
}

/// What `identity.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    created: u64,
    disks: Vec<DiskIdentity>,
}

/// A guest's directory, locked while this value lives.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    disks: Vec<DiskIdentity>,
    exclusive: bool,
    limit: Option<u64>,
    _lock: File,
}

impl Home {
    /// Opens the home of the guest that has these disks, in any order; makes it if need be. Nobody
    /// else can open or look at it meanwhile.
    ///
    /// # Errors
    /// `Refused`/`busy` naming the process that works on this guest; `Refused`/`pending-journal`
    /// when one of the disks waits for `recover` together with others; `Usage`/`same-disk-twice`;
    /// `Host`/`state-dir` when the state directory cannot be written.
    pub fn open(state_dir: &Path, disks: &[DiskIdentity]) -> Result<Self> {
        let id = guest_id(disks)?;
        let dir = state_dir.join("guests").join(&id);
        make_dir(&dir)?;
        let mut lock = lock(&dir, true)?;
        let pid = std::process::id();
        lock.set_len(0)
            .and_then(|()| write!(lock, "{pid}"))
            .map_err(|e| state_dir_error(&dir, &e))?;
        let home = Self {
            dir,
            disks: disks.to_vec(),
            exclusive: true,
            limit: None,
            _lock: lock,
        };
        if !home.dir.join(IDENTITY).exists() {
            home.write_identity()?;
        }
        state::refuse_pending_elsewhere(state_dir, &id, disks)?;
        Ok(home)
    }

    /// Looks at a guest's home without changing anything; `None` when it has none.
    ///
    /// # Errors
    /// `Refused`/`busy` while somebody changes it; `Host`/`state-dir` when it cannot be read.
    pub fn look(state_dir: &Path, disks: &[DiskIdentity]) -> Result<Option<Self>> {
        let dir = state_dir.join("guests").join(guest_id(disks)?);
        match std::fs::metadata(dir.join(LOCK)) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(state_dir_error(&dir, &e)),
        }
        let lock = lock(&dir, false)?;
        Ok(Some(Self {
            dir,
            disks: disks.to_vec(),
            exclusive: false,
            limit: None,
            _lock: lock,
        }))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The guest's disks, in the order given when it was opened.
    pub fn disks(&self) -> &[DiskIdentity] {
        &self.disks
    }

    /// Sets how many bytes a commit's journal and undo record may take together.
    #[must_use]
    pub fn limit(mut self, bytes: u64) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// A nameless file in the home, for an overlay's delta: gone when it is closed.
    ///
    /// # Errors
    /// `Host`/`state-dir`.
    pub fn scratch(&self) -> Result<File> {
        tempfile::tempfile_in(&self.dir).map_err(|e| state_dir_error(&self.dir, &e))
    }

    /// Numbers of the undo records, oldest first.
    ///
    /// # Errors
    /// `Host`/`state-dir`.
    pub fn undo_records(&self) -> Result<Vec<u32>> {
        state::undo_numbers(&self.dir)
    }

    /// True when a commit was interrupted after its point of no return.
    pub fn has_journal(&self) -> bool {
        self.dir.join(JOURNAL).exists()
    }

    pub(crate) fn require_exclusive(&self) -> Result<()> {
        if self.exclusive {
            return Ok(());
        }
        Err(Error::internal("the guest's home is open for looking only"))
    }

    /// A new empty file; one left by an interrupted run is replaced.
    pub(crate) fn create(&self, name: &str) -> Result<File> {
        self.remove(name)?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dir.join(name))
            .map_err(|e| state_dir_error(&self.dir, &e))
    }

    pub(crate) fn open_file(&self, name: &str) -> Result<Option<File>> {
        match File::open(self.dir.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(state_dir_error(&self.dir, &e)),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
            .map_err(|e| state_dir_error(&self.dir, &e))?;
        self.sync_dir()
    }

    /// Removes a file; true when it was there.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        match std::fs::remove_file(self.dir.join(name)) {
            Ok(()) => self.sync_dir().map(|()| true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(state_dir_error(&self.dir, &e)),
        }
    }

    pub(crate) fn sync_dir(&self) -> Result<()> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|e| Error::io(format!("cannot sync {}", self.dir.display()), e))
    }

    /// Files that a commit was still preparing.
    pub(crate) fn unfinished(&self) -> Result<Vec<String>> {
        let mut names = state::names(&self.dir)?;
        names.retain(|name| name.ends_with(".new"));
        Ok(names)
    }

    /// Makes sure that files of these sizes fit.
    pub(crate) fn reserve(&self, files: &[(&File, u64)]) -> Result<()> {
        let needed = files
            .iter()
            .fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        let full = |have: u64| {
            let dir = self.dir.display();
            Error::host(
                "no-space",
                format!("the undo record and journal need {needed} bytes in {dir}, {have} are free"),
            )
            .hint("free some space there, or choose another place by --state-dir; the disks were not changed")
        };
        if let Some(limit) = self.limit.filter(|limit| *limit < needed) {
            return Err(full(limit));
        }
        let stat =
            rustix::fs::statvfs(&self.dir).map_err(|e| state_dir_error(&self.dir, &e.into()))?;
        let have = stat.f_bavail.saturating_mul(stat.f_frsize);
        if have < needed {
            return Err(full(have));
        }
        for (file, size) in files {
            // Other failures: not every filesystem can do it, and statvfs has been asked.
            if let Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) =
                rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, *size)
            {
                return Err(full(have));
            }
        }
        Ok(())
    }

    fn write_identity(&self) -> Result<()> {
        let identity = Identity {
            created: now(),
            disks: self.disks.clone(),
        };
        let json = serde_json::to_vec_pretty(&identity)
            .map_err(|e| Error::internal("cannot write identity.json").because(e))?;
        let mut file = self.create("identity.json.new")?;
        file.write_all(&json)
            .and_then(|()| file.sync_all())
            .map_err(|e| write_error(&e, "cannot write identity.json in the state directory"))?;
        self.rename("identity.json.new", IDENTITY)
    }
}

/// The name of a guest's home: the order of its disks does not matter.
fn guest_id(disks: &[DiskIdentity]) -> Result<String> {
    let mut keys: Vec<String> = disks.iter().map(DiskIdentity::key).collect();
    keys.sort();
    if let Some((key, _)) = keys.iter().zip(keys.iter().skip(1)).find(|(a, b)| a == b) {
        let message = format!("{key} was given twice");
        return Err(Error::new(
            crate::error::Kind::Usage,
            "same-disk-twice",
            message,
        ));
    }
    let json = serde_json::to_vec(&keys)
        .map_err(|e| Error::internal("cannot name the guest").because(e))?;
    let mut id = crate::digest::sha256_hex(&json);
    id.truncate(32);
    Ok(id)
}

fn make_dir(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| state_dir_error(dir, &e))
}

/// Takes the lock of a home that `prune` may be removing at the same time.
fn lock(dir: &Path, exclusive: bool) -> Result<File> {
    let path = dir.join(LOCK);
    let operation = if exclusive {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    let mut taken = None;
    for attempt in 0..8 {
        if attempt > 0 {
            std::thread::sleep(RETRY);
        }
        if exclusive {
            make_dir(dir)?;
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(exclusive)
            .create(exclusive)
            .truncate(false)
            .mode(0o600);
        let file = options.open(&path).map_err(|e| state_dir_error(dir, &e))?;
        match rustix::fs::flock(&file, operation) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                taken = Some(file);
                continue;
            }
            Err(e) => return Err(state_dir_error(dir, &e.into())),
        }
        let ours = file.metadata().map_err(|e| state_dir_error(dir, &e))?.ino();
        if std::fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
            return Ok(file);
        }
    }
    let removed = || Error::refused("busy", "the guest's state directory is being removed");
    Err(taken.map_or_else(removed, busy))
}

fn busy(mut file: File) -> Error {
    let mut pid = String::new();
    let _ = Read::take(&mut file, 32).read_to_string(&mut pid);
    // A mere reader holds the lock too and does not write its number.
    let who = if pid.is_empty() || !Path::new("/proc").join(&pid).exists() {
        "another process".to_owned()
    } else {
        format!("process {pid}")
    };
    Error::refused("busy", format!("{who} works on this guest")).hint(
        "wait for it to end, or end it: an interrupted commit is finished by `guestfix recover`",
    )
}

pub(crate) fn state_dir_error(dir: &Path, error: &std::io::Error) -> Error {
    if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) {
        return write_error(error, &format!("cannot write to {}", dir.display()));
    }
    Error::host(
        "state-dir",
        format!("cannot use the state directory {}", dir.display()),
    )
    .because(error)
    .hint("run as root, or choose a directory of your own by --state-dir")
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests;
