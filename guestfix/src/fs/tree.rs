// SPDX-License-Identifier: Apache-2.0
//! A guest's whole tree: its root filesystem and what is mounted below it, walked as the guest
//! itself would walk it and never beyond its root.

use std::io::Read;

use super::{FileType, GuestFs, GuestPath, Metadata, ReadSeek, Space};
use crate::error::{Error, Result};

/// As many symlinks as the kernel follows in one walk (path_resolution(7)).
const MAX_SYMLINKS: u32 = 40;

/// A file larger than this is no configuration file and is not read whole.
pub const MAX_TEXT: u64 = 4 << 20;

/// Filesystems joined at their mount points.
pub struct Tree {
    mounts: Vec<(GuestPath, Box<dyn GuestFs>)>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.mounts.iter().map(|(at, _)| at))
            .finish()
    }
}

impl Tree {
    /// A tree of one filesystem.
    pub fn new(root: Box<dyn GuestFs>) -> Self {
        Self {
            mounts: vec![(GuestPath::root(), root)],
        }
    }

    /// Mounts a further filesystem.
    pub fn mount(&mut self, at: GuestPath, fs: Box<dyn GuestFs>) {
        self.mounts.push((at, fs));
        self.mounts
            .sort_by_key(|(at, _)| std::cmp::Reverse(at.as_bytes().len()));
    }

    /// The mount points with their filesystems, the root's last.
    pub fn mounts(&self) -> impl Iterator<Item = (&GuestPath, &dyn GuestFs)> {
        self.mounts.iter().map(|(at, fs)| (at, fs.as_ref()))
    }

    /// The name of the root's reader.
    pub fn reader(&self) -> &'static str {
        self.mounts.last().map_or("none", |(_, fs)| fs.reader())
    }

    /// Room on the filesystem that holds a path.
    ///
    /// # Errors
    /// `Corrupt` when its superblock is damaged.
    pub fn space(&self, path: &GuestPath) -> Result<Space> {
        self.fs_of(path)?.0.space()
    }

    fn fs_of(&self, path: &GuestPath) -> Result<(&dyn GuestFs, GuestPath)> {
        self.mounts
            .iter()
            .find_map(|(at, fs)| path.below(at).map(|rest| (fs.as_ref(), rest)))
            .ok_or_else(|| Error::internal(format!("no filesystem holds {path}")))
    }

    /// Follows every symlink; `None` when the path leads nowhere.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged or symlinks loop.
    pub fn resolve(&self, path: &GuestPath) -> Result<Option<GuestPath>> {
        self.walk(path, true)
    }

    /// Follows symlinks in all components but the last.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged or symlinks loop.
    pub fn resolve_parent(&self, path: &GuestPath) -> Result<Option<GuestPath>> {
        self.walk(path, false)
    }

    fn walk(&self, path: &GuestPath, follow_last: bool) -> Result<Option<GuestPath>> {
        let mut links = 0_u32;
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut at = GuestPath::root();
        while let Some(name) = todo.pop() {
            if name == b".." {
                at = at.parent().unwrap_or_else(GuestPath::root);
                continue;
            }
            let next = at.join(&name);
            let (fs, inner) = self.fs_of(&next)?;
            let Some(meta) = fs.lstat(&inner)? else {
                return Ok(None);
            };
            let last = todo.is_empty();
            if meta.file_type != FileType::Symlink || (last && !follow_last) {
                if !last && meta.file_type != FileType::Dir {
                    return Ok(None);
                }
                // The root of a mount is a name of the filesystem around it.
                let stored = match inner == GuestPath::root() {
                    true => None,
                    false => fs.stored_name(&inner)?,
                };
                at = stored.map_or(next, |stored| at.join(&stored));
                continue;
            }
            links = links.saturating_add(1);
            if links > MAX_SYMLINKS {
                return Err(Error::corrupt(
                    "symlink-loop",
                    format!("symlinks loop at {next}"),
                ));
            }
            let target = fs.read_link(&inner)?;
            if target.starts_with(b"/") {
                at = GuestPath::root();
            }
            let parts = target.split(|byte| *byte == b'/');
            todo.extend(
                parts
                    .rev()
                    .filter(|p| !p.is_empty() && *p != b".")
                    .map(<[u8]>::to_vec),
            );
        }
        Ok(Some(at))
    }

    /// Attributes of what the path finally names.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged or symlinks loop.
    pub fn stat(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        match self.resolve(path)? {
            Some(real) => {
                let (fs, inner) = self.fs_of(&real)?;
                fs.lstat(&inner)
            }
            None => Ok(None),
        }
    }

    /// Attributes of the path itself, a final symlink not followed.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged or symlinks loop.
    pub fn lstat(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        match self.resolve_parent(path)? {
            Some(real) => {
                let (fs, inner) = self.fs_of(&real)?;
                fs.lstat(&inner)
            }
            None => Ok(None),
        }
    }

    /// The target of a final symlink; `None` when the path is no symlink.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged or symlinks loop.
    pub fn read_link(&self, path: &GuestPath) -> Result<Option<Vec<u8>>> {
        let Some(real) = self.resolve_parent(path)? else {
            return Ok(None);
        };
        let (fs, inner) = self.fs_of(&real)?;
        match fs.lstat(&inner)? {
            Some(meta) if meta.file_type == FileType::Symlink => fs.read_link(&inner).map(Some),
            _ => Ok(None),
        }
    }

    /// True when the path finally names something.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged or symlinks loop.
    pub fn exists(&self, path: &GuestPath) -> Result<bool> {
        Ok(self.stat(path)?.is_some())
    }

    /// The names in a directory, sorted; empty when there is no such directory.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged or symlinks loop.
    pub fn list(&self, path: &GuestPath) -> Result<Vec<Vec<u8>>> {
        let Some(real) = self.resolve(path)? else {
            return Ok(Vec::new());
        };
        let (fs, inner) = self.fs_of(&real)?;
        match fs.lstat(&inner)? {
            Some(meta) if meta.file_type == FileType::Dir => fs.list(&inner),
            _ => Ok(Vec::new()),
        }
    }

    /// Opens a regular file; `None` when there is none.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged or symlinks loop.
    pub fn open(&self, path: &GuestPath) -> Result<Option<Box<dyn ReadSeek + '_>>> {
        let Some(real) = self.resolve(path)? else {
            return Ok(None);
        };
        let (fs, inner) = self.fs_of(&real)?;
        match fs.lstat(&inner)? {
            Some(meta) if meta.file_type == FileType::File => fs.open(&inner).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads a configuration file whole; `None` when there is no such regular file.
    ///
    /// # Errors
    /// `Corrupt` when a filesystem is damaged; `Unsupported`/`file-too-large` above [`MAX_TEXT`].
    pub fn read(&self, path: &GuestPath) -> Result<Option<Vec<u8>>> {
        self.read_up_to(path, MAX_TEXT)
    }

    /// Reads a file whole, up to `limit` bytes.
    ///
    /// # Errors
    /// As [`Tree::read`].
    pub fn read_up_to(&self, path: &GuestPath, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|e| Error::corrupt("unreadable", format!("reading {path}")).because(e))?;
        if content.len() as u64 > limit {
            return Err(Error::unsupported(
                "file-too-large",
                format!("{path} is larger than {limit} bytes"),
            ));
        }
        Ok(Some(content))
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryFs;
    use super::*;

    #[test]
    fn symlinks_stay_inside_and_cross_mounts() {
        let root = MemoryFs::new()
            .symlink("/etc/fstab", "../../../../real/fstab")
            .file("/real/fstab", "here")
            .symlink("/vmlinuz", "boot/vmlinuz-1")
            .symlink("/loop", "/loop")
            .dir("/boot");
        let mut tree = Tree::new(Box::new(root));
        tree.mount(
            "/boot".into(),
            Box::new(MemoryFs::new().file("/vmlinuz-1", "kernel")),
        );
        assert_eq!(tree.read(&"/etc/fstab".into()).unwrap().unwrap(), b"here");
        assert_eq!(tree.read(&"/vmlinuz".into()).unwrap().unwrap(), b"kernel");
        assert_eq!(tree.read(&"/absent/x".into()).unwrap(), None);
        assert_eq!(
            tree.resolve(&"/loop".into()).unwrap_err().code,
            "symlink-loop"
        );
    }
}
