// SPDX-License-Identifier: Apache-2.0
//! SELinux labels of what a conversion makes: which files those are, and setting them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{OFlags, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::fanotify::{How, Touched};
use super::files;
use super::mounter::Outcome;
use crate::error::{Error, Result};
use crate::fs::{FileType, GuestPath};

/// Where SELinux keeps a label (`XATTR_NAME_SELINUX` of the kernel's `include/uapi/linux/xattr.h`).
const NAME: &str = "security.selinux";
/// A node that labels what is made on it has this file.
const NODE: &str = "/sys/fs/selinux/enforce";
/// More than any conversion makes.
const MAX_MADE: usize = 100_000;

/// A file that may want a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Where it really lies.
    pub path: GuestPath,
    /// What it is.
    pub file_type: FileType,
    /// It did not exist before; else a program changed it, or put another in its place.
    pub new: bool,
}

/// What was made so far.
#[derive(Debug, Default)]
pub(super) struct Register(BTreeMap<GuestPath, bool>);

impl Register {
    /// Remembers a path; once new, always new.
    pub(super) fn note(&mut self, path: GuestPath, new: bool) {
        if self.0.len() < MAX_MADE {
            let known = self.0.entry(path).or_insert(new);
            *known |= new;
        }
    }

    /// Remembers what a program did.
    pub(super) fn note_touched(&mut self, touched: &Touched) {
        for touch in &touched.paths {
            if touch.how != How::Removed {
                self.note(touch.path.clone(), touch.how == How::Created);
            }
        }
    }

    /// Remembers what is made by making `path`: itself, and directories on the way.
    pub(super) fn missing(tree: BorrowedFd<'_>, path: &GuestPath) -> Vec<GuestPath> {
        let mut out = Vec::new();
        let mut at = Some(path.clone());
        while let Some(path) = at.filter(|path| matches!(files::lstat(tree, path), Ok(None))) {
            at = path.parent();
            out.push(path);
        }
        out
    }

    /// Takes out all that is still there.
    pub(super) fn take(&mut self, tree: BorrowedFd<'_>) -> Vec<Made> {
        let all = std::mem::take(&mut self.0);
        let made = all.into_iter().filter_map(|(path, new)| {
            let path = real(tree, &path).unwrap_or(path);
            let meta = files::lstat(tree, &path).ok().flatten()?;
            Some(Made {
                path,
                file_type: meta.file_type,
                new,
            })
        });
        made.collect()
    }
}

/// The path with every link on the way resolved.
fn real(tree: BorrowedFd<'_>, path: &GuestPath) -> Option<GuestPath> {
    let host = |fd: BorrowedFd<'_>| {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        std::fs::read_link(link)
            .ok()
            .map(|path| path.into_os_string().into_vec())
    };
    let dir = files::open(tree, &path.parent()?, OFlags::PATH).ok()?;
    let (top, dir) = (host(tree)?, host(dir.as_fd())?);
    let below = dir.strip_prefix(top.as_slice())?;
    (below.is_empty() || below.starts_with(b"/"))
        .then(|| Some(GuestPath::new(below).join(path.file_name()?)))?
}

/// Sets a label, and reads it back. `only_missing`: not where one is already, unless it may be the
/// node's own.
///
/// # Errors
/// `Host`/`label-refused` where the filesystem or the node does not let it be set.
pub(super) fn set(
    tree: BorrowedFd<'_>,
    path: &GuestPath,
    label: &str,
    only_missing: bool,
) -> Result<Outcome> {
    let refused =
        |e: Errno| Error::host("label-refused", format!("labelling {path} as {label}")).because(e);
    let file = files::open(tree, path, OFlags::PATH | OFlags::NOFOLLOW).map_err(refused)?;
    // What a descriptor opened so leads to is labelled itself, a symlink too.
    let at = format!("/proc/self/fd/{}", file.as_raw_fd());
    let now = read(&at).map_err(refused)?;
    let keep = only_missing && now.is_some() && !std::path::Path::new(NODE).exists();
    if keep || now.as_deref() == Some(label.as_bytes()) {
        return Ok(Outcome::AlreadySo);
    }
    let value = [label.as_bytes(), b"\0"].concat();
    let set = || rustix::fs::setxattr(at.as_str(), NAME, &value, XattrFlags::empty());
    match set() {
        Err(Errno::PERM) => {
            // Perhaps it is immutable. What cannot be opened cannot be that either.
            let readable = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let opened = files::open(tree, path, readable).map_err(refused)?;
            let thawed = files::Thawed::new(opened.as_fd(), path)?;
            set().map_err(refused)?;
            drop(thawed);
        }
        other => other.map_err(refused)?,
    }
    match read(&at).map_err(refused)? {
        Some(read) if read == label.as_bytes() => Ok(Outcome::Changed),
        _ => Err(refused(Errno::IO)),
    }
}

fn read(at: &str) -> rustix::io::Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; 4096];
    match rustix::fs::getxattr(at, NAME, &mut value) {
        Ok(len) => {
            value.truncate(len);
            while value.last() == Some(&0) {
                value.pop();
            }
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    const LABEL: &str = "system_u:object_r:etc_t:s0";

    fn tree(dir: &std::path::Path) -> OwnedFd {
        std::fs::File::open(dir).unwrap().into()
    }

    #[test]
    fn what_is_made_is_known_by_its_real_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        let tree = tree(dir.path());
        let missing = Register::missing(tree.as_fd(), &"/lib/a/b".into());
        assert_eq!(missing, [GuestPath::new("/lib/a/b"), "/lib/a".into()]);
        std::fs::create_dir(dir.path().join("usr/lib/a")).unwrap();
        std::fs::write(dir.path().join("usr/lib/a/b"), "").unwrap();
        let mut register = Register::default();
        for path in missing {
            register.note(path, true);
        }
        register.note("/gone".into(), true);
        register.note("/lib/a".into(), false);
        let made = register.take(tree.as_fd());
        let seen: Vec<_> = made
            .iter()
            .map(|m| (m.path.display(), m.file_type, m.new))
            .collect();
        assert_eq!(
            seen,
            [
                ("/usr/lib/a".to_owned(), FileType::Dir, true),
                ("/usr/lib/a/b".to_owned(), FileType::File, true)
            ]
        );
        assert!(register.take(tree.as_fd()).is_empty());
    }

    #[test]
    fn files_directories_and_links_are_labelled_and_kept_where_asked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let tree = tree(dir.path());
        match set(tree.as_fd(), &"/file".into(), LABEL, false) {
            // No root, or a filesystem without labels: that is what the error is for.
            Err(error) => {
                assert_eq!(error.code, "label-refused");
                return;
            }
            Ok(outcome) => assert_eq!(outcome, Outcome::Changed),
        }
        for path in ["/link", "/"] {
            let first = set(tree.as_fd(), &path.into(), LABEL, true).unwrap();
            assert_eq!(first, Outcome::Changed, "{path}");
        }
        let again = set(tree.as_fd(), &"/file".into(), LABEL, false).unwrap();
        assert_eq!(again, Outcome::AlreadySo);
        if !std::path::Path::new(NODE).exists() {
            let other = set(tree.as_fd(), &"/file".into(), "a:b:c", true).unwrap();
            assert_eq!(other, Outcome::AlreadySo);
        }
        let gone = set(tree.as_fd(), &"/gone".into(), LABEL, false).unwrap_err();
        assert_eq!(gone.code, "label-refused");
    }
}
