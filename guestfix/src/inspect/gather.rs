// SPDX-License-Identifier: Apache-2.0
//! Reading the guest's files into [`Sources`]. The topics of the OS rooms name what they need; a file
//! that cannot be read as text becomes a concern, so that one odd file never ends a conversion.

use std::collections::BTreeMap;
use std::io::Read;

use super::facts::{Concern, FileDigest, SourceFile, Sources};
use crate::error::{Error, Result};
use crate::fs::{GuestPath, Tree};

/// A directory that lists more names than this is no configuration directory.
const MAX_NAMES: usize = 10_000;

/// A driver or loader larger than this is none.
const MAX_DIGESTED: u64 = 64 << 20;

/// Collects sources from a tree.
#[derive(Debug)]
pub struct Gatherer<'a> {
    tree: &'a Tree,
    /// Directories by whether every user may go into them.
    open: BTreeMap<GuestPath, bool>,
    /// What was collected so far.
    pub sources: Sources,
    /// What could not be.
    pub concerns: Vec<Concern>,
}

impl<'a> Gatherer<'a> {
    /// Nothing collected yet.
    pub fn new(tree: &'a Tree) -> Self {
        Self {
            tree,
            open: BTreeMap::new(),
            sources: Sources::default(),
            concerns: Vec::new(),
        }
    }

    /// The tree that is read.
    pub fn tree(&self) -> &'a Tree {
        self.tree
    }

    /// Reads a file; false when there is none.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn file(&mut self, path: &str) -> Result<bool> {
        if self.sources.files.contains_key(path) {
            return Ok(true);
        }
        match self.read(path) {
            Ok(Some(file)) => {
                self.sources.files.insert(path.to_owned(), file);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) => self.tolerate(path, error).map(|()| false),
        }
    }

    fn read(&mut self, path: &str) -> Result<Option<SourceFile>> {
        let Some(real) = self.tree.resolve(&path.into())? else {
            return Ok(None);
        };
        let (Some(meta), Some(content)) = (self.tree.lstat(&real)?, self.tree.read(&real)?) else {
            return Ok(None);
        };
        Ok(Some(SourceFile {
            world_readable: meta.mode & 0o004 != 0 && self.is_open(real.parent())?,
            real,
            meta,
            content,
        }))
    }

    /// Whether every user may go into a directory, and into those above.
    fn is_open(&mut self, dir: Option<GuestPath>) -> Result<bool> {
        let Some(dir) = dir else { return Ok(true) };
        if let Some(open) = self.open.get(&dir) {
            return Ok(*open);
        }
        let meta = self.tree.lstat(&dir)?;
        let open = meta.is_some_and(|meta| meta.mode & 0o001 != 0) && self.is_open(dir.parent())?;
        self.open.insert(dir, open);
        Ok(open)
    }

    /// Some errors are about one file only and are told as a concern.
    fn tolerate(&mut self, path: &str, error: Error) -> Result<()> {
        if !matches!(error.code.as_str(), "symlink-loop" | "file-too-large") {
            return Err(error);
        }
        self.concerns.push(Concern::warning(
            "unreadable-file",
            format!("{path} was left alone: {error}"),
        ));
        Ok(())
    }

    /// Lists a directory and returns its names; empty when there is none.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn dir(&mut self, path: &str) -> Result<Vec<String>> {
        let names = match self.tree.list(&path.into()) {
            Ok(names) => names,
            Err(error) => {
                self.tolerate(path, error)?;
                return Ok(Vec::new());
            }
        };
        let names: Vec<String> = names
            .into_iter()
            .take(MAX_NAMES)
            .filter_map(|name| String::from_utf8(name).ok())
            .collect();
        if !names.is_empty() {
            self.sources.dirs.insert(path.to_owned(), names.clone());
        }
        Ok(names)
    }

    /// Reads every file of a directory whose name `wanted` accepts.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn files_in(&mut self, dir: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for name in self.dir(dir)? {
            let path = format!("{}/{name}", dir.trim_end_matches('/'));
            if wanted(&name) && self.file(&path)? {
                out.push(path);
            }
        }
        Ok(out)
    }

    /// Records a symlink's target; `None` when it is no symlink.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn link(&mut self, path: &str) -> Result<Option<String>> {
        let target = match self.tree.read_link(&path.into()) {
            Ok(target) => target,
            Err(error) => {
                self.tolerate(path, error)?;
                None
            }
        };
        let Some(target) = target else {
            return Ok(None);
        };
        let target = String::from_utf8_lossy(&target).into_owned();
        self.sources.links.insert(path.to_owned(), target.clone());
        Ok(Some(target))
    }

    /// Records that a file is there whose content is of no interest, as an empty listing.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn presence(&mut self, path: &str) -> Result<()> {
        if self.exists(path)? {
            // What was listed before stays.
            self.sources.dirs.entry(path.to_owned()).or_default();
        }
        Ok(())
    }

    /// Records length and SHA-256 of a file whose content is of no further interest.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn digest(&mut self, path: &str) -> Result<()> {
        if self.sources.digests.contains_key(path) {
            return Ok(());
        }
        match self.digested(path) {
            Ok(Some(digest)) => {
                self.sources.digests.insert(path.to_owned(), digest);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => self.tolerate(path, error),
        }
    }

    fn digested(&self, path: &str) -> Result<Option<FileDigest>> {
        let Some(real) = self.tree.resolve(&path.into())? else {
            return Ok(None);
        };
        let Some(file) = self.tree.open(&real)? else {
            return Ok(None);
        };
        let (sha256, len) =
            crate::digest::sha256_of(&mut file.take(MAX_DIGESTED.saturating_add(1)))
                .map_err(|e| Error::corrupt("unreadable", format!("reading {path}")).because(e))?;
        if len > MAX_DIGESTED {
            return Err(Error::unsupported(
                "file-too-large",
                format!("{path} is larger than {MAX_DIGESTED} bytes"),
            ));
        }
        Ok(Some(FileDigest { real, sha256, len }))
    }

    /// True when the path leads to something.
    ///
    /// # Errors
    /// `Corrupt` when the filesystem is damaged.
    pub fn exists(&mut self, path: &str) -> Result<bool> {
        match self.tree.exists(&GuestPath::new(path)) {
            Ok(there) => Ok(there),
            Err(error) => self.tolerate(path, error).map(|()| false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemoryFs;

    #[test]
    fn a_file_is_recorded_under_the_path_asked_for_with_its_real_place() {
        let fs = MemoryFs::new()
            .symlink("/etc/os-release", "../usr/lib/os-release")
            .file("/usr/lib/os-release", "ID=debian\n");
        let tree = Tree::new(Box::new(fs));
        let mut gather = Gatherer::new(&tree);
        assert!(gather.file("/etc/os-release").unwrap());
        let file = gather.sources.files.get("/etc/os-release").unwrap();
        assert_eq!(file.real, GuestPath::new("/usr/lib/os-release"));
        assert_eq!(
            gather.link("/etc/os-release").unwrap().as_deref(),
            Some("../usr/lib/os-release")
        );
    }

    #[test]
    fn one_odd_file_is_a_concern_and_not_the_end() {
        let fs = MemoryFs::new()
            .symlink("/etc/fstab", "fstab")
            .file("/etc/big", vec![b'x'; 5 << 20]);
        let tree = Tree::new(Box::new(fs));
        let mut gather = Gatherer::new(&tree);
        assert!(!gather.file("/etc/fstab").unwrap());
        assert!(!gather.file("/etc/big").unwrap());
        assert_eq!(gather.concerns.len(), 2);
        assert_eq!(gather.concerns[0].id, "unreadable-file");
    }
}
