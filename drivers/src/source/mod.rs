// SPDX-License-Identifier: Apache-2.0
//! Where a bundle's files come from: a directory or an ISO image, behind one trait.

mod directory;
mod iso;

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::Path;

use crate::error::{Error, Kind, Result};

pub(crate) use directory::Directory;
pub(crate) use iso::Iso;

/// Files and folders that a bundle may have; virtio-win has some thousand.
const MAX_FILES: usize = 100_000;
/// Folders within folders; virtio-win has five.
const MAX_DEPTH: usize = 32;
/// The longest file that is read whole, in bytes: the installers of guest agents are the longest
/// that are of use.
pub(crate) const MAX_READ: u64 = 256 << 20;

/// A file in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// Path with `/`, as spelled there.
    pub path: String,
    /// Length in bytes.
    pub len: u64,
}

/// Something that holds files.
pub(crate) trait Source: Debug + Send + Sync {
    /// Every file, sorted by path.
    fn files(&self) -> &[SourceFile];

    /// The bytes of the file at that position of the list.
    fn read(&self, at: usize) -> Result<Vec<u8>>;
}

/// Files that are found by their path in any case.
#[derive(Debug)]
pub(crate) struct Files {
    source: Box<dyn Source>,
    index: HashMap<String, usize>,
}

impl Files {
    /// Opens a directory or an image. A directory without an INF in which an ISO lies stands for
    /// that ISO: so is KubeVirt's container disk made.
    ///
    /// # Errors
    /// See [`crate::Bundle::open`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path);
        let metadata =
            metadata.map_err(|e| Error::io(format!("opening {}", path.display()), &e))?;
        if !metadata.is_dir() {
            return Ok(Self::new(Box::new(Iso::open(path)?)));
        }
        let directory = Directory::open(path)?;
        let has = |end: &str| {
            let files = directory.files().iter();
            files.map(|f| &f.path).find(|p| ends_with(p, end)).cloned()
        };
        match (has(".inf"), has(".iso")) {
            (None, Some(image)) => Ok(Self::new(Box::new(Iso::open(&path.join(image))?))),
            _ => Ok(Self::new(Box::new(directory))),
        }
    }

    pub(crate) fn new(source: Box<dyn Source>) -> Self {
        let mut index = HashMap::new();
        for (at, file) in source.files().iter().enumerate() {
            index.entry(file.path.to_lowercase()).or_insert(at);
        }
        Self { source, index }
    }

    /// Every file, sorted by path.
    pub(crate) fn all(&self) -> &[SourceFile] {
        self.source.files()
    }

    /// The file of that path, in any case.
    pub(crate) fn find(&self, path: &str) -> Option<&SourceFile> {
        let at = self.index.get(&path.to_lowercase())?;
        self.source.files().get(*at)
    }

    /// The bytes of the file of that path, in any case.
    ///
    /// # Errors
    /// `Host`/`io`, `Corrupt`/`iso-*`, `Unsupported`/`bundle-file-too-long` above 256 MiB,
    /// `Unsupported`/`no-such-member`.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let missing = || {
            Error::new(
                Kind::Unsupported,
                "no-such-member",
                format!("the bundle has no file {path}"),
            )
        };
        let at = *self.index.get(&path.to_lowercase()).ok_or_else(missing)?;
        let file = self.source.files().get(at).ok_or_else(missing)?;
        if file.len > MAX_READ {
            return Err(Error::new(
                Kind::Unsupported,
                "bundle-file-too-long",
                format!("{path} has {} bytes, more than a driver has", file.len),
            ));
        }
        self.source.read(at)
    }
}

/// Whether a path ends so, in any case.
pub(crate) fn ends_with(path: &str, end: &str) -> bool {
    let start = path.len().checked_sub(end.len());
    let tail = start.and_then(|start| path.get(start..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// More files than any bundle has.
fn too_many() -> Error {
    Error::corrupt(
        "bundle-too-large",
        format!("the bundle has more than {MAX_FILES} files, or folders deeper than {MAX_DEPTH}"),
    )
    .hint("name the virtio-win folder or ISO itself")
}

/// Files that a test makes.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Memory(Vec<SourceFile>, Vec<Vec<u8>>);

#[cfg(test)]
impl Memory {
    /// Of paths and contents.
    pub(crate) fn files(list: &[(&str, &[u8])]) -> Files {
        let mut list = list.to_vec();
        list.sort_unstable();
        let names = list.iter().map(|(path, bytes)| SourceFile {
            path: (*path).to_owned(),
            len: bytes.len() as u64,
        });
        let contents = list.iter().map(|(_, bytes)| bytes.to_vec()).collect();
        Files::new(Box::new(Self(names.collect(), contents)))
    }
}

#[cfg(test)]
impl Source for Memory {
    fn files(&self) -> &[SourceFile] {
        &self.0
    }

    fn read(&self, at: usize) -> Result<Vec<u8>> {
        Ok(self.1[at].clone())
    }
}
