// SPDX-License-Identifier: Apache-2.0
//! One hive file with its logs: read with replay, edited through the commit, journal and undo that
//! disks have.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Context;
use super::disks::Disks;
use super::opening::OpeningChoice;
use crate::disk::{self, DiskIdentity, Home, Overlay, Storage, check_range};
use crate::error::{Error, Result};
use crate::hive::{Dirty, Editor, Hive, Recovery, typed};

/// Logs and hive files beyond this are no registry's: a hive ends below 2 GiB.
const MOST: u64 = 2 << 30;

/// What an edit of a hive file did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiveEdit {
    /// How the hive was found.
    pub recovery: Recovery,
    /// Whether the file was written.
    pub changed: bool,
    /// The name of the undo record, where the file was written.
    pub undo: Option<String>,
}

/// Reads a hive file, replays its logs in memory, and sees it as a pending commit will leave it.
///
/// # Errors
/// `Host` when reading fails; those of [`Hive::open`].
pub fn read_hive(context: &Context<'_>, path: &Path, dirty: Dirty) -> Result<Hive> {
    let paths = with_logs(path)?;
    let mut files = paths.iter().map(|p| read(p)).collect::<Result<Vec<_>>>()?;
    let identities = paths.iter().zip(&files).map(|(path, bytes)| {
        DiskIdentity::of_path(path, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    });
    let identities: Vec<DiskIdentity> = identities.collect::<Result<_>>()?;
    lay_pending(context.state_dir, &identities, &mut files)?;
    open(path, files, dirty)
}

/// Edits a hive file in memory, walks the result, and commits it together with its emptied logs:
/// all or nothing, undone by `guestfix undo FILE`. Writes nothing where the edit changes nothing.
///
/// # Errors
/// As [`read_hive`], those of the edit, and those of a commit.
pub fn edit_hive(
    context: &Context<'_>,
    path: &Path,
    dirty: Dirty,
    edit: impl FnOnce(&mut Editor<'_>) -> Result<()>,
) -> Result<HiveEdit> {
    let disks = Disks::open_write(&with_logs(path)?, &OpeningChoice::default())?;
    let mut writable = disks.home(context.state_dir)?;
    writable.recover()?;
    let files = writable.contents(MOST)?;
    let logs: Vec<usize> = files.iter().skip(1).map(Vec::len).collect();
    let mut hive = open(path, files, dirty)?;
    let recovery = hive.recovery().clone();
    // Only in a hive that is sound everywhere does an edit in one place harm no other.
    hive.check()?;
    let mut editor = hive.edit(typed::to_filetime(SystemTime::now()))?;
    edit(&mut editor)?;
    if !editor.finish()?.edited {
        return Ok(HiveEdit {
            recovery,
            changed: false,
            undo: None,
        });
    }
    hive.check()?;
    // A commit cannot shorten a file, and zeros are no log either.
    let logs = logs.into_iter().map(|len| vec![0; len]);
    let news = [hive.into_bytes()].into_iter().chain(logs);
    let news = news.map(|bytes| Arc::new(Memory(bytes)) as Arc<dyn Storage>);
    writable.commit_whole(news.collect(), "the hive's content")?;
    Ok(HiveEdit {
        recovery,
        changed: true,
        undo: writable.newest_undo()?,
    })
}

/// The paths that undo and recover are about: a hive's logs belong to it.
pub(super) fn expanded(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    match paths {
        [path] if is_hive(path) => with_logs(path),
        _ => Ok(paths.to_vec()),
    }
}

/// Whether a file looks like a hive, if only by its first bin.
fn is_hive(path: &Path) -> bool {
    use std::io::Read;
    let head = || -> std::io::Result<Vec<u8>> {
        let mut head = Vec::new();
        // Opening a FIFO would block.
        if std::fs::metadata(path)?.is_file() {
            std::fs::File::open(path)?
                .take(4100)
                .read_to_end(&mut head)?;
        }
        Ok(head)
    };
    head().is_ok_and(|head| head.starts_with(b"regf") || head.get(4096..) == Some(b"hbin"))
}

/// The hive and the logs beside it that are not empty, whatever the case of their names.
fn with_logs(path: &Path) -> Result<Vec<PathBuf>> {
    let mut out = vec![path.to_owned()];
    let Some(own) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(out);
    };
    let wanted = [".log1", ".log2", ".log"].map(|end| format!("{}{end}", own.to_lowercase()));
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new(".")));
    let mut logs: Vec<PathBuf> = entries
        .map_err(|e| cannot_read(path, &e))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| wanted.contains(&name.to_lowercase()))
                && std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() != 0)
        })
        .collect();
    logs.sort();
    out.extend(logs);
    Ok(out)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Error {
    Error::host("cannot-open", "cannot read the hive")
        .because(error)
        .on(path.display().to_string())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| cannot_read(path, &error);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() || meta.len() > MOST {
        let what = "neither a directory, a device nor a file beyond 2 GiB is a hive";
        return Err(Error::corrupt("no-hive", what).on(path.display().to_string()));
    }
    std::fs::read(path).map_err(failed)
}

fn open(path: &Path, files: Vec<Vec<u8>>, dirty: Dirty) -> Result<Hive> {
    let mut files = files.into_iter();
    let bytes = files.next().unwrap_or_default();
    let logs: Vec<Vec<u8>> = files.collect();
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    let hive = Hive::open(bytes, &logs, dirty).map_err(|e| e.on(path.display().to_string()))?;
    if let Recovery::Unrecovered { why } = hive.recovery() {
        tracing::warn!(why, "the hive is dirty: its last writes are lost");
    }
    Ok(hive)
}

fn lay_pending(state_dir: &Path, identities: &[DiskIdentity], files: &mut [Vec<u8>]) -> Result<()> {
    let home = match Home::look(state_dir, identities) {
        Ok(Some(home)) => home,
        // A state directory of another user's holds no commit that we could see through.
        Err(error) if error.code != "state-dir" => return Err(error),
        _ => return Ok(()),
    };
    let Some(journal) = disk::pending(&home)? else {
        return Ok(());
    };
    tracing::warn!("an edit of this hive was interrupted: reading through its journal");
    for (identity, bytes) in identities.iter().zip(files) {
        let known = journal.header.disks.iter();
        let len = known
            .filter(|disk| disk.identity.key() == identity.key())
            .map(|disk| disk.len_after)
            .next();
        let delta = tempfile::tempfile().map_err(|e| Error::io("making a file", e))?;
        let base: Arc<dyn Storage> = Arc::new(Memory(std::mem::take(bytes)));
        let overlay = Overlay::with_len(base.clone(), len.unwrap_or(base.len()), delta, MOST);
        journal.lay(identity, &overlay)?;
        *bytes = whole(&overlay, MOST)?;
    }
    Ok(())
}

/// Everything that a storage holds.
pub(super) fn whole(storage: &dyn Storage, most: u64) -> Result<Vec<u8>> {
    let len = usize::try_from(storage.len().min(most)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    storage.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Bytes in memory that a commit reads.
struct Memory(Vec<u8>);

impl Storage for Memory {
    fn len(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buf.len());
        if let Some(from) = self.0.get(start..end) {
            buf.copy_from_slice(from);
        }
        Ok(())
    }

    fn write_at(&self, _buf: &[u8], _offset: u64) -> Result<()> {
        Err(Error::internal("what is to be committed is not written"))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
