// SPDX-License-Identifier: Apache-2.0
//! A hive file with its logs: opened with replay, replaced all at once, the old kept beside it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::hive::{Dirty, Editor, Hive, typed};

/// A hive file and its logs.
pub(super) struct HiveFile {
    path: PathBuf,
    logs: Vec<PathBuf>,
    pub(super) hive: Hive,
}

impl HiveFile {
    /// Reads and opens.
    pub(super) fn open(path: &Path, dirty: Dirty) -> Result<Self> {
        let bytes = read(path)?;
        let logs = logs(path)?;
        let contents: Vec<Vec<u8>> = logs.iter().map(|log| read(log)).collect::<Result<_>>()?;
        let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let named = |e: Error| e.on(path.display().to_string());
        Ok(Self {
            path: path.to_owned(),
            hive: Hive::open(bytes, &contents, dirty).map_err(named)?,
            logs,
        })
    }

    /// Edits, checks and replaces the file; says where the old one is kept, or `None` where
    /// nothing changed.
    pub(super) fn edit(
        mut self,
        edit: impl FnOnce(&mut Editor<'_>) -> Result<()>,
    ) -> Result<Option<PathBuf>> {
        self.hive.check()?;
        let mut editor = self.hive.edit(typed::to_filetime(SystemTime::now()))?;
        edit(&mut editor)?;
        let outcome = editor.finish()?;
        let Some(log) = outcome.log else {
            return Ok(None);
        };
        self.hive.check()?;
        let undo = self.keep()?;
        replace(&self.path, self.hive.bytes())?;
        // Only now: a crash before leaves a clean hive, for which Windows reads no log.
        for path in &self.logs {
            replace(path, &log)?;
        }
        Ok(Some(undo))
    }

    /// Copies file and logs to the first free number.
    fn keep(&self) -> Result<PathBuf> {
        let name = |path: &Path, number: u32| beside(path, &format!(".guestfix-undo-{number}"));
        let number = (1..u32::MAX)
            .find(|number| !name(&self.path, *number).exists())
            .unwrap_or(u32::MAX);
        for path in self.logs.iter().chain([&self.path]) {
            write_new(&name(path, number), &read(path)?)?;
        }
        Ok(name(&self.path, number))
    }
}

/// The logs beside a hive, whatever the case of their names.
fn logs(path: &Path) -> Result<Vec<PathBuf>> {
    let Some(own) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let wanted = [".log1", ".log2", ".log"].map(|end| format!("{}{end}", own.to_lowercase()));
    let folder = folder(path);
    let entries = std::fs::read_dir(folder).map_err(|e| failed("reading", folder, e))?;
    let mut out: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| wanted.contains(&name.to_lowercase())) && path.is_file()
        })
        .collect();
    out.sort();
    Ok(out)
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| failed("reading", path, e))
}

fn failed(doing: &str, path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("{doing} {}", path.display()), error)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| failed("writing", path, e))
}

/// Writes beside the file, then moves it into place; owner and mode stay.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = folder(path);
    let write = || -> std::io::Result<()> {
        let old = std::fs::metadata(path)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(old.permissions())?;
        use std::os::unix::fs::MetadataExt;
        let _ = std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|e| failed("replacing", path, e))
}
