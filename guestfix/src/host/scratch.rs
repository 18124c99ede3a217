// SPDX-License-Identifier: Apache-2.0
//! The sandbox's `/tmp`: a filesystem in memory that goes with the sandbox, so that nothing a
//! guest's program works with reaches the guest's disk. Files for the program are put into it
//! beforehand, and what the program makes is taken out of it afterwards.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::error::{Error, Result};

/// Where the sandbox has it.
pub(super) const AT: &str = "/tmp";
/// The directory in it that is ours.
const OURS: &str = "guestfix";
/// Bytes that it may hold, all in memory: a distribution's largest initramfs unpacked, beside the
/// packed one.
const SIZE: &str = "1280m";
const INODES: &str = "256k";

/// A file laid ready for a guest's program, in `/tmp/guestfix`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScratchFile {
    /// Its name; no slash.
    pub name: String,
    /// Its bytes.
    pub content: ByteBuf,
}

/// The detached filesystem. The sandbox attaches it; this descriptor outlives that mount.
#[derive(Debug)]
pub(super) struct Scratch(OwnedFd);

impl Scratch {
    /// A fresh one: empty, or `with_ours`, and in that directory `files`.
    pub(super) fn new(files: &[ScratchFile], with_ours: bool) -> Result<Self> {
        let scratch = Self(mount().map_err(failed("mounting"))?);
        if !with_ours && files.is_empty() {
            return Ok(scratch);
        }
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&scratch.0, OURS, mode).map_err(failed("making a directory in"))?;
        for file in files {
            scratch.put(file)?;
        }
        Ok(scratch)
    }

    fn put(&self, file: &ScratchFile) -> Result<()> {
        if file.name.contains('/') || file.name.starts_with('.') || file.name.is_empty() {
            return Err(Error::internal("a scratch file's name is not a file name"));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let path = format!("{OURS}/{}", file.name);
        let made = rustix::fs::openat(&self.0, path, flags, Mode::from_raw_mode(0o644))
            .map_err(failed("making a file in"))?;
        File::from(made)
            .write_all(&file.content)
            .map_err(|e| Error::io("writing the sandbox's /tmp", e))
    }

    /// The mount, to be attached by the sandbox.
    pub(super) fn mount(&self) -> &OwnedFd {
        &self.0
    }

    /// Opens what a program left at `path`, a regular file below `/tmp`; `None` when it left none.
    /// No link is followed: the program may have made any.
    pub(super) fn take(&self, path: &str) -> Result<Option<File>> {
        let name = path
            .strip_prefix(AT)
            .and_then(|rest| rest.strip_prefix('/'));
        let name = name.ok_or_else(|| Error::internal("what is taken lies not in /tmp"))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = match rustix::fs::openat2(&self.0, name, flags, Mode::empty(), resolve) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => return Ok(None),
            Err(e) => return Err(failed("opening a file in")(e)),
        };
        let meta = file
            .metadata()
            .map_err(|e| Error::io("looking at a file", e))?;
        Ok((meta.is_file() && meta.len() > 0).then_some(file))
    }
}

fn mount() -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("size", SIZE), ("nr_inodes", INODES), ("mode", "1777")] {
        rustix::mount::fsconfig_set_string(context.as_fd(), key, value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn failed(doing: &'static str) -> impl Fn(Errno) -> Error {
    move |e| Error::io(format!("{doing} the sandbox's /tmp"), e)
}
