// SPDX-License-Identifier: Apache-2.0
//! Filesystems, read from inside our own process: a trait, its readers, and the walk that never
//! leaves the guest's root.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use serde::{Deserialize, Serialize};

use crate::error::Result;

pub mod block;
pub mod ext4;
mod ext_super;
pub mod fat;
pub mod features;
pub mod health;
mod jbd2;
pub mod ntfs;
mod ntfs_log;
pub mod path;
pub mod tree;
mod xfs_log;

pub use path::GuestPath;
pub use tree::Tree;

/// What kind of file a path names, a symlink itself not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Special,
}

/// Attributes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// What it is.
    pub file_type: FileType,
    /// Length in bytes.
    pub len: u64,
    /// Permission bits, 0..=0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Room on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Bytes that root may still write.
    pub free_bytes: u64,
    /// Inodes still free.
    pub free_inodes: u64,
}

/// A subvolume of a btrfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subvolume {
    /// Its number; 5 is the top level.
    pub id: u64,
    /// Where it lies below the top level, `/` for the top level itself.
    pub path: GuestPath,
    /// It is what a mount shows that names no subvolume.
    pub default: bool,
}

/// A readable, seekable file of the guest.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// One filesystem, read without a mount. Paths are absolute within it and hold no symlink in any
/// component but the last, which is never followed: [`Tree`] resolves them.
pub trait GuestFs {
    /// The reader's name for verdicts, for example `ext4-view`.
    fn reader(&self) -> &'static str;

    /// Attributes; `None` when nothing is there.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn lstat(&self, path: &GuestPath) -> Result<Option<Metadata>>;

    /// The last component of a path that exists as it is stored, where lookups do not tell names
    /// apart that the filesystem could store in another spelling: case, short names.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    fn stored_name(&self, _path: &GuestPath) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// A symlink's target bytes.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged or it is no symlink.
    fn read_link(&self, path: &GuestPath) -> Result<Vec<u8>>;

    /// The names in a directory, without `.` and `..`, sorted.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged or it is no directory.
    fn list(&self, path: &GuestPath) -> Result<Vec<Vec<u8>>>;

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged or it is no regular file.
    fn open(&self, path: &GuestPath) -> Result<Box<dyn ReadSeek + '_>>;

    /// Room left.
    ///
    /// # Errors
    /// `Corrupt` when the superblock is damaged.
    fn space(&self) -> Result<Space>;
}

/// A whole guest as a name-to-bytes map; for unit tests of everything that reads a [`Tree`].
#[derive(Debug, Default, Clone)]
pub struct MemoryFs {
    entries: BTreeMap<GuestPath, MemoryEntry>,
    ignores_case: bool,
}

#[derive(Debug, Clone)]
enum MemoryEntry {
    Dir,
    File { content: Vec<u8>, mode: u32 },
    Symlink(Vec<u8>),
}

impl MemoryFs {
    /// An empty filesystem.
    pub fn new() -> Self {
        let mut fs = Self::default();
        fs.entries.insert(GuestPath::root(), MemoryEntry::Dir);
        fs
    }

    /// Names that differ in case only are the same, as on NTFS.
    #[must_use]
    pub fn ignoring_case(mut self) -> Self {
        self.ignores_case = true;
        self
    }

    fn entry(&self, path: &GuestPath) -> Option<(&GuestPath, &MemoryEntry)> {
        if !self.ignores_case {
            return self.entries.get_key_value(path);
        }
        let mut entries = self.entries.iter();
        entries.find(|(have, _)| have.as_bytes().eq_ignore_ascii_case(path.as_bytes()))
    }

    fn parents(&mut self, path: &GuestPath) {
        let mut at = path.parent();
        while let Some(dir) = at {
            self.entries.entry(dir.clone()).or_insert(MemoryEntry::Dir);
            at = dir.parent();
        }
    }

    /// Adds a file (mode 0644) and its parent directories.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let path = GuestPath::new(path);
        self.parents(&path);
        self.entries.insert(
            path,
            MemoryEntry::File {
                content: content.into(),
                mode: 0o644,
            },
        );
        self
    }

    /// Adds a directory and its parents.
    #[must_use]
    pub fn dir(mut self, path: &str) -> Self {
        let path = GuestPath::new(path);
        self.parents(&path);
        self.entries.insert(path, MemoryEntry::Dir);
        self
    }

    /// Adds a symlink and its parent directories.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        let path = GuestPath::new(path);
        self.parents(&path);
        self.entries
            .insert(path, MemoryEntry::Symlink(target.as_bytes().to_vec()));
        self
    }
}

impl GuestFs for MemoryFs {
    fn reader(&self) -> &'static str {
        "memory"
    }

    fn lstat(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        Ok(self.entry(path).map(|(_, entry)| {
            let (file_type, len, mode) = match entry {
                MemoryEntry::Dir => (FileType::Dir, 4096, 0o755),
                MemoryEntry::File { content, mode } => {
                    (FileType::File, content.len() as u64, *mode)
                }
                MemoryEntry::Symlink(target) => (FileType::Symlink, target.len() as u64, 0o777),
            };
            Metadata {
                file_type,
                len,
                mode,
                uid: 0,
                gid: 0,
            }
        }))
    }

    fn stored_name(&self, path: &GuestPath) -> Result<Option<Vec<u8>>> {
        let stored = self.entry(path).filter(|_| self.ignores_case);
        Ok(stored.and_then(|(stored, _)| stored.file_name().map(<[u8]>::to_vec)))
    }

    fn read_link(&self, path: &GuestPath) -> Result<Vec<u8>> {
        match self.entry(path).map(|(_, entry)| entry) {
            Some(MemoryEntry::Symlink(target)) => Ok(target.clone()),
            _ => Err(not_a("symlink", path)),
        }
    }

    fn list(&self, path: &GuestPath) -> Result<Vec<Vec<u8>>> {
        let Some((path, MemoryEntry::Dir)) = self.entry(path) else {
            return Err(not_a("directory", path));
        };
        Ok(self
            .entries
            .keys()
            .filter(|entry| entry.parent().as_ref() == Some(path))
            .filter_map(|entry| entry.file_name().map(<[u8]>::to_vec))
            .collect())
    }

    fn open(&self, path: &GuestPath) -> Result<Box<dyn ReadSeek + '_>> {
        match self.entry(path).map(|(_, entry)| entry) {
            Some(MemoryEntry::File { content, .. }) => {
                Ok(Box::new(std::io::Cursor::new(content.as_slice())))
            }
            _ => Err(not_a("regular file", path)),
        }
    }

    fn space(&self) -> Result<Space> {
        Ok(Space {
            free_bytes: 1 << 30,
            free_inodes: 1 << 20,
        })
    }
}

fn not_a(what: &str, path: &GuestPath) -> crate::error::Error {
    crate::error::Error::corrupt("wrong-file-type", format!("{path} is not a {what}"))
}
