// SPDX-License-Identifier: Apache-2.0
//! ext2, ext3 and ext4, read with the `ext4-view` crate.
//!
//! The crate is shown a recovered volume (by `jbd2`) whose superblock was checked, because a
//! hostile one makes it allocate gigabytes. Where a damaged filesystem makes it panic (a directory
//! index with too large a count, reading on after an error), the panic is caught and reported as
//! damage. Known limit: preallocated, never written extents inside a file's length are not read as
//! zeros; configuration files, kernels and initramfs images have none.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ext4_view::Ext4Error;

use super::block::{BlockReader, seek_target};
use super::ext_super::Super;
use super::jbd2::Replayed;
use super::{FileType, GuestFs, GuestPath, Metadata, ReadSeek, Space};
use crate::disk::Storage;
use crate::error::{Error, Result};

/// A directory larger than this is taken for damage.
const MAX_DIRECTORY: u64 = 256 << 20;
/// Names listed at most, for the same reason.
const MAX_NAMES: usize = 1 << 20;
/// PATH_MAX: no path is longer, and no symlink.
const MAX_PATH: usize = 4096;
/// Directories remembered as walkable.
const MAX_WALKED: usize = 4096;

/// An ext2, ext3 or ext4 filesystem, as it is after its journal's recovery.
pub struct Ext4 {
    inner: ext4_view::Ext4,
    volume: Arc<dyn Storage>,
    superblock: Super,
    /// Directories known to be no symlink and of sane size.
    walked: RefCell<BTreeSet<GuestPath>>,
}

impl fmt::Debug for Ext4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ext4")
            .field("superblock", &self.superblock.features)
            .finish_non_exhaustive()
    }
}

impl Ext4 {
    /// Loads a filesystem; nothing is written. A dirty one is read as its journal leaves it.
    ///
    /// # Errors
    /// `Unsupported`/`ext4-feature` when it uses features that no reader in this process knows (a
    /// mount may); `Corrupt`/`ext4-superblock`, `ext4-journal` or `ext4` when it is damaged.
    pub fn load(volume: Arc<dyn Storage>) -> Result<Self> {
        let superblock = Super::read(volume.as_ref())?;
        let volume = Replayed::over(volume, &superblock)?;
        let reader = Box::new(BlockReader::new(Arc::clone(&volume)));
        let inner = contain(|| ext4_view::Ext4::load(reader))?;
        Ok(Self {
            inner,
            // What recovery changed in the superblock counts.
            superblock: Super::read(volume.as_ref())?,
            volume,
            walked: RefCell::new(BTreeSet::from([GuestPath::root()])),
        })
    }

    /// True when every directory above the path may be searched: the crate would follow a symlink
    /// among them, and would search a directory of any size.
    fn walkable(&self, path: &GuestPath) -> Result<bool> {
        if path.as_bytes().len() > MAX_PATH {
            return Ok(false);
        }
        let above = std::iter::successors(path.parent(), GuestPath::parent);
        let unknown: Vec<GuestPath> = above
            .take_while(|dir| !self.walked.borrow().contains(dir))
            .collect();
        for dir in unknown.into_iter().rev() {
            let meta = self.attributes(&dir)?;
            if meta.is_none_or(|meta| meta.file_type != FileType::Dir) {
                return Ok(false);
            }
            let mut walked = self.walked.borrow_mut();
            if walked.len() >= MAX_WALKED {
                walked.clear();
            }
            walked.insert(dir);
        }
        Ok(true)
    }

    /// Attributes of a path whose directories are walkable.
    fn attributes(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        let found = contain_raw(|| self.inner.symlink_metadata(path.as_bytes()))?;
        let meta = match found {
            Ok(meta) => metadata(&meta),
            Err(
                Ext4Error::NotFound
                | Ext4Error::NotADirectory
                | Ext4Error::MalformedPath
                | Ext4Error::PathTooLong,
            ) => return Ok(None),
            Err(error) => return Err(explain(&error)),
        };
        if meta.file_type == FileType::Dir && meta.len > MAX_DIRECTORY {
            return Err(damaged(&format!("directory {path} is {} bytes", meta.len)));
        }
        Ok(Some(meta))
    }

    /// Attributes of a path that must be of one type.
    fn expect(&self, path: &GuestPath, want: FileType, what: &str) -> Result<Metadata> {
        match self.lstat(path)? {
            Some(meta) if meta.file_type == want => Ok(meta),
            _ => Err(super::not_a(what, path)),
        }
    }
}

impl GuestFs for Ext4 {
    fn reader(&self) -> &'static str {
        "ext4-view"
    }

    fn lstat(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        match self.walkable(path)? {
            true => self.attributes(path),
            false => Ok(None),
        }
    }

    fn read_link(&self, path: &GuestPath) -> Result<Vec<u8>> {
        let meta = self.expect(path, FileType::Symlink, "symlink")?;
        if meta.len > MAX_PATH as u64 {
            return Err(damaged(&format!("symlink {path} is {} bytes", meta.len)));
        }
        let target = contain(|| self.inner.read_link(path.as_bytes()))?;
        Ok(target.as_ref().to_vec())
    }

    fn list(&self, path: &GuestPath) -> Result<Vec<Vec<u8>>> {
        self.expect(path, FileType::Dir, "directory")?;
        let mut names = contain(|| {
            let mut names = Vec::new();
            for entry in self.inner.read_dir(path.as_bytes())?.take(MAX_NAMES) {
                let entry = entry?;
                let name = entry.file_name();
                if !matches!(name.as_ref(), b"." | b"..") {
                    names.push(name.as_ref().to_vec());
                }
            }
            Ok(names)
        })?;
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &GuestPath) -> Result<Box<dyn ReadSeek + '_>> {
        let meta = self.expect(path, FileType::File, "regular file")?;
        let file = contain(|| self.inner.open(path.as_bytes()))?;
        Ok(Box::new(File {
            inner: file,
            len: meta.len,
            at: 0,
            failed: None,
        }))
    }

    /// Root may use reserved blocks, so all free blocks count that the kernel does not keep. They are summed over the group
    /// descriptors, for the superblock's counter is stale on a dirty filesystem.
    fn space(&self) -> Result<Space> {
        let (free_bytes, free_inodes) = self.superblock.free(self.volume.as_ref())?;
        Ok(Space {
            free_bytes,
            free_inodes,
        })
    }
}

fn metadata(meta: &ext4_view::Metadata) -> Metadata {
    let kind = meta.file_type();
    let file_type = if kind.is_regular_file() {
        FileType::File
    } else if kind.is_dir() {
        FileType::Dir
    } else if kind.is_symlink() {
        FileType::Symlink
    } else {
        FileType::Special
    };
    Metadata {
        file_type,
        len: meta.len(),
        mode: u32::from(meta.mode()),
        uid: meta.uid(),
        gid: meta.gid(),
    }
}

/// An open file. Seeking costs nothing until the next read.
struct File {
    inner: ext4_view::File,
    len: u64,
    at: u64,
    /// The crate must not be asked again after an error: it would panic.
    failed: Option<Error>,
}

impl File {
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize> {
        if self.inner.position() != self.at {
            contain(|| self.inner.seek_to(self.at))?;
        }
        let mut done = 0;
        // The crate gives one block at a time.
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match contain(|| self.inner.read_bytes(rest))? {
                0 => break,
                count => done = done.saturating_add(count),
            }
        }
        Ok(done)
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(io::Error::other(error.clone()));
        }
        if self.at >= self.len {
            return Ok(0);
        }
        match self.fill(buf) {
            Ok(count) => {
                self.at = self.at.saturating_add(count as u64);
                Ok(count)
            }
            Err(error) => {
                self.failed = Some(error.clone());
                Err(io::Error::other(error))
            }
        }
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = seek_target(to, self.at, self.len)?;
        Ok(self.at)
    }
}

/// Runs the crate, and turns its panic into an error.
fn contain_raw<T>(
    work: impl FnOnce() -> std::result::Result<T, Ext4Error>,
) -> Result<std::result::Result<T, Ext4Error>> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| damaged("a structure on it cannot be; the reader gave up"))
}

/// Runs the crate, with its errors and panics in our words.
fn contain<T>(work: impl FnOnce() -> std::result::Result<T, Ext4Error>) -> Result<T> {
    contain_raw(work)?.map_err(|error| explain(&error))
}

fn damaged(why: &str) -> Error {
    Error::corrupt("ext4", format!("the ext4 filesystem is damaged: {why}"))
        .hint("run e2fsck on a copy, or in the guest, before converting it")
}

fn explain(error: &Ext4Error) -> Error {
    let below = error
        .as_io()
        .and_then(|error| error.downcast_ref::<Error>());
    match (error, below) {
        (_, Some(below)) => below.clone(),
        (Ext4Error::Incompatible(_) | Ext4Error::Encrypted, _) => Error::unsupported(
            "ext4-feature",
            format!("this ext4 cannot be read without a mount: {error}"),
        ),
        _ => damaged(&error.to_string()),
    }
}

#[cfg(test)]
mod tests;
