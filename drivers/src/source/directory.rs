// SPDX-License-Identifier: Apache-2.0
//! A directory with drivers.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{MAX_DEPTH, MAX_FILES, MAX_READ, Source, SourceFile, too_many};
use crate::error::{Error, Result};

/// A directory, listed once. Links are followed, but never into a folder that they lie in.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    files: Vec<SourceFile>,
}

impl Directory {
    /// Lists a directory.
    ///
    /// # Errors
    /// `Host`/`io`, `Corrupt`/`bundle-too-large`.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let mut walk = Walk {
            above: Vec::new(),
            files: Vec::new(),
        };
        walk.folder(root, "")?;
        walk.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self {
            root: root.to_owned(),
            files: walk.files,
        })
    }
}

impl Source for Directory {
    fn files(&self) -> &[SourceFile] {
        &self.files
    }

    fn read(&self, at: usize) -> Result<Vec<u8>> {
        let path = self.files.get(at).map(|file| self.root.join(&file.path));
        let path = path.unwrap_or_default();
        let failed = |e| Error::io(format!("reading {}", path.display()), &e);
        let file = std::fs::File::open(&path).map_err(failed)?;
        let mut out = Vec::new();
        file.take(MAX_READ).read_to_end(&mut out).map_err(failed)?;
        Ok(out)
    }
}

struct Walk {
    /// Folders that the present one lies in, without links.
    above: Vec<PathBuf>,
    files: Vec<SourceFile>,
}

impl Walk {
    fn folder(&mut self, dir: &Path, prefix: &str) -> Result<()> {
        let failed = |e| Error::io(format!("listing {}", dir.display()), &e);
        let real = dir.canonicalize().map_err(failed)?;
        if self.above.contains(&real) {
            return Ok(());
        }
        if self.above.len() >= MAX_DEPTH {
            return Err(too_many());
        }
        self.above.push(real);
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no text is nothing that an INF can name.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("{prefix}{name}");
            // A link to nothing is no file.
            let Ok(metadata) = std::fs::metadata(entry.path()) else {
                continue;
            };
            if metadata.is_dir() {
                self.folder(&entry.path(), &format!("{path}/"))?;
            } else if metadata.is_file() {
                self.files.push(SourceFile {
                    path,
                    len: metadata.len(),
                });
            }
            if self.files.len() > MAX_FILES {
                return Err(too_many());
            }
        }
        self.above.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Files;
    use super::*;

    #[test]
    fn files_are_found_in_any_case_and_links_in_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("viostor/w10/AMD64");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("Viostor.INF"), b"x").unwrap();
        std::os::unix::fs::symlink("../..", deep.join("up")).unwrap();
        std::os::unix::fs::symlink("nowhere", deep.join("gone")).unwrap();
        let files = Files::open(dir.path()).unwrap();
        let paths: Vec<&str> = files.all().iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["viostor/w10/AMD64/Viostor.INF"]);
        assert_eq!(files.read("VIOSTOR/W10/amd64/viostor.inf").unwrap(), b"x");
        assert_eq!(files.read("none").unwrap_err().code, "no-such-member");
    }

    #[test]
    fn a_path_that_is_not_there_is_the_hosts_error() {
        let error = Files::open(Path::new("/nonexistent/bundle")).unwrap_err();
        assert_eq!(error.code, "io");
        assert!(error.message.contains("/nonexistent/bundle"));
    }
}
