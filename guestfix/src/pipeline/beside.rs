// SPDX-License-Identifier: Apache-2.0
//! Files that an image names: opened by the supervisor, for reading, and only from the directory of
//! the file that was given.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::error::{Error, Result};

/// Opens the file `name`, as an image writes it, beside the image `of`.
///
/// # Errors
/// `Refused`/`file-outside` for a name that leads out of the directory, by itself or through a
/// symlink; `Refused`/`not-a-file`; `Host`/`cannot-open`.
pub(super) fn open(of: &Path, name: &str) -> Result<File> {
    let real = std::fs::canonicalize(of).map_err(|e| cannot(name, e))?;
    let dir = real.parent().unwrap_or(Path::new("/"));
    let dir = File::open(dir).map_err(|e| cannot(name, e))?;
    // Not blocking: the name may be a FIFO's.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened: OwnedFd = match rustix::fs::openat2(&dir, name, flags, Mode::empty(), resolve) {
        Ok(opened) => opened,
        Err(rustix::io::Errno::XDEV) => return Err(outside(name)),
        Err(e) => return Err(cannot(name, e)),
    };
    let file = File::from(opened);
    let kind = file.metadata().map_err(|e| cannot(name, e))?.file_type();
    if !kind.is_file() {
        return Err(Error::refused(
            "not-a-file",
            "the image names something that is no regular file",
        )
        .on(name));
    }
    Ok(file)
}

fn outside(name: &str) -> Error {
    Error::refused(
        "file-outside",
        "the image names a file outside its own directory, which is not opened",
    )
    .on(name)
    .hint("put all files of the disk into one directory, and write their bare names into the image (vmdk: extent lines and parentFileNameHint; qcow2: qemu-img rebase -u)")
}

fn cannot(name: &str, why: impl std::fmt::Display) -> Error {
    Error::host("cannot-open", "cannot open a file that the image names")
        .because(why)
        .on(name)
        .hint("put all files of the disk into one directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_the_same_directory_are_opened() {
        let all = tempfile::tempdir().unwrap();
        let dir = all.path().join("vm");
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        for file in ["vm/a.vmdk", "vm/b", "vm/sub/c", "out"] {
            std::fs::write(all.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("b", dir.join("inside")).unwrap();
        std::os::unix::fs::symlink("../out", dir.join("leads-out")).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", dir.join("far")).unwrap();
        let of = dir.join("a.vmdk");
        for name in ["b", "sub/c", "inside", "./b", "sub/../b"] {
            assert!(open(&of, name).is_ok(), "{name}");
        }
        for (name, code) in [
            ("/etc/shadow", "file-outside"),
            ("../out", "file-outside"),
            ("sub/../../out", "file-outside"),
            ("leads-out", "file-outside"),
            ("far", "file-outside"),
            ("sub", "not-a-file"),
            ("absent", "cannot-open"),
            ("", "cannot-open"),
            ("a\0b", "cannot-open"),
        ] {
            let error = open(&of, name).unwrap_err();
            assert_eq!(
                (error.code.as_str(), error.disk.as_deref()),
                (code, Some(name))
            );
        }
        // A disk that is itself a symlink: its files lie where it points.
        std::os::unix::fs::symlink(&of, all.path().join("link.vmdk")).unwrap();
        assert!(open(&all.path().join("link.vmdk"), "b").is_ok());
    }
}
