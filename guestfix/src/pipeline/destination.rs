// SPDX-License-Identifier: Apache-2.0
//! Where `convert --to` puts the new disks: made beside their place under another name, and moved
//! there in one step when they are complete. Nothing with the name asked for is ever half a disk.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags};

use super::Context;
use super::archive::hearing;
use super::process::Process;
use super::progress::Stage;
use super::protocol::{Answer, NewImage, Order};
use super::session::unexpected;
use crate::disk::raw::write_error;
use crate::error::{Error, Result};

/// What `--to` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDisks {
    /// The format.
    pub image: NewImage,
    /// The file for one disk, the directory for several.
    pub path: PathBuf,
}

/// New disks in the making. Dropping it removes them.
pub(super) struct Destination {
    to: NewDisks,
    /// `OUT.partial`: a directory with everything in it.
    dir: PathBuf,
    /// Locked, so that nobody takes it for a leftover.
    _lock: File,
}

impl Destination {
    /// Makes room for new disks.
    ///
    /// # Errors
    /// `Refused`/`out-exists` when there is something already; `Refused`/`in-use` when another
    /// conversion is writing them; `Host`/`io`.
    pub(super) fn new(to: &NewDisks) -> Result<Self> {
        let shown = to.path.display().to_string();
        let Some(name) = to.path.file_name() else {
            let what = format!("--to {shown}: it is not the name of a file");
            return Err(Error::new(crate::error::Kind::Usage, "bad-out", what));
        };
        if fs::symlink_metadata(&to.path).is_ok() {
            return Err(
                Error::refused("out-exists", "there is already something of that name")
                    .on(shown)
                    .hint("give --to a new name, or remove what is there; nothing is overwritten"),
            );
        }
        let mut partial = name.to_owned();
        partial.push(".partial");
        let dir = to.path.with_file_name(partial);
        let lock = claim(&dir).map_err(|e| e.on(&shown))?;
        Ok(Self {
            to: to.clone(),
            dir,
            _lock: lock,
        })
    }

    /// Where a session keeps what it will throw away.
    pub(super) fn scratch(&self) -> &Path {
        &self.dir
    }

    /// The files in the making, in the order of the disks.
    pub(super) fn files(&self, count: usize) -> Vec<PathBuf> {
        let ending = match self.to.image {
            NewImage::Raw => "raw",
            NewImage::Qcow2 => "qcow2",
        };
        let name = |index| self.dir.join("disks").join(format!("disk{index}.{ending}"));
        (0..count).map(name).collect()
    }

    /// Has the worker write every disk: the bytes written.
    pub(super) fn fill(
        &self,
        context: &Context<'_>,
        worker: &mut Process,
        count: usize,
    ) -> Result<u64> {
        let doing = |e: io::Error| write_error(&e, "cannot make the new disks");
        let mut written = 0_u64;
        fs::create_dir(self.dir.join("disks")).map_err(doing)?;
        for (disk, path) in self.files(count).iter().enumerate() {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(path);
            let file = file.map_err(doing)?;
            let order = Order::Copy {
                disk,
                image: self.to.image,
            };
            worker.send(&order, &[file.as_fd()])?;
            let what = format!("writing disk {disk} to {}", self.to.path.display());
            match hearing(worker, |done, total| {
                context.progress.step(Stage::Copy, &what, done, total);
            })? {
                Answer::Copied(bytes) => written = written.saturating_add(bytes),
                _ => return Err(unexpected("copy")),
            }
        }
        Ok(written)
    }

    /// Puts the complete disks in their place: their paths.
    pub(super) fn publish(&self, count: usize) -> Result<Vec<PathBuf>> {
        let made = self.files(count);
        let (from, paths) = match made.as_slice() {
            [one] => (one.clone(), vec![self.to.path.clone()]),
            all => {
                let names = all.iter().filter_map(|file| file.file_name());
                let paths = names.map(|name| self.to.path.join(name)).collect();
                (self.dir.join("disks"), paths)
            }
        };
        let shown = self.to.path.display().to_string();
        let sync = |path: &Path| File::open(path).and_then(|dir| dir.sync_all());
        let cannot = |e| Error::io("putting the new disks in their place", e).on(&shown);
        sync(&self.dir.join("disks")).map_err(cannot)?;
        match rustix::fs::renameat_with(CWD, &from, CWD, &self.to.path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => {
                return Err(
                    Error::refused("out-exists", "something of that name came meanwhile").on(shown),
                );
            }
            Err(e) => return Err(cannot(e.into())),
        }
        let parent = self
            .to
            .path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new("."))).map_err(cannot)?;
        Ok(paths)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(%error, dir = %self.dir.display(), "cannot remove unfinished disks");
        }
    }
}

/// Makes the directory, in place of what a killed conversion left behind.
fn claim(dir: &Path) -> Result<File> {
    let cannot = |e: io::Error| write_error(&e, "cannot make a directory for the new disks");
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            // Only what this made is removed.
            let ours = File::open(dir.join(LOCK)).map_err(|_| {
                let what = format!("{} is in the way", dir.display());
                Error::refused("out-exists", what).hint("remove it, or give --to another name")
            })?;
            locked(&ours)?;
            fs::remove_dir_all(dir).map_err(cannot)?;
            fs::create_dir(dir).map_err(cannot)?;
        }
        Err(e) => return Err(cannot(e)),
    }
    let mut options = File::options();
    let lock = options.write(true).create_new(true).open(dir.join(LOCK));
    let lock = lock.map_err(cannot)?;
    locked(&lock)?;
    Ok(lock)
}

const LOCK: &str = "guestfix.lock";

fn locked(file: &File) -> Result<()> {
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(file, exclusive).map_err(|e| {
        Error::refused("in-use", "another conversion is writing these disks").because(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(path: PathBuf) -> NewDisks {
        NewDisks {
            image: NewImage::Raw,
            path,
        }
    }

    #[test]
    fn one_disk_becomes_a_file_and_several_a_directory_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        for count in [1, 2] {
            let out = dir.path().join(format!("out{count}"));
            let made = Destination::new(&to(out.clone())).unwrap();
            fs::create_dir(made.dir.join("disks")).unwrap();
            for file in made.files(count) {
                fs::write(file, "disk").unwrap();
            }
            let paths = made.publish(count).unwrap();
            assert!(paths.iter().all(|path| fs::read(path).unwrap() == b"disk"));
            assert_eq!((paths.len(), out.is_dir()), (count, count == 2));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn nothing_is_overwritten_and_what_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        drop(Destination::new(&to(out.clone())).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        let first = Destination::new(&to(out.clone())).unwrap();
        let error = Destination::new(&to(out.clone())).err().unwrap();
        assert_eq!(error.code, "in-use");
        // Killed: the lock goes, the directory stays.
        let dir_of_first = first.dir.clone();
        drop(File::open(dir_of_first.join(LOCK)).unwrap());
        std::mem::forget(first);
        fs::write(&out, "mine").unwrap();
        assert_eq!(
            Destination::new(&to(out.clone())).err().unwrap().code,
            "out-exists"
        );
        fs::remove_file(&out).unwrap();
        fs::remove_dir_all(&dir_of_first).unwrap();

        fs::create_dir(&dir_of_first).unwrap();
        let error = Destination::new(&to(out)).err().unwrap();
        assert_eq!(error.code, "out-exists", "a directory of somebody else's");
    }
}
