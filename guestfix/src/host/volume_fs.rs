// SPDX-License-Identifier: Apache-2.0
//! The exported filesystem: one directory, one file of fixed size per volume.
//!
//! Data passes through the page cache of these files only for readers that use it (`ntfs-3g`);
//! loop devices go past it by direct I/O. Writes are never kept back in the kernel: the
//! write-back cache stays off, so what the storage refuses the writer learns.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::disk::Storage;
use crate::error::{Error, Result};

/// Nothing here ever changes its attributes.
const FOREVER: Duration = Duration::from_secs(1 << 20);

/// Bytes of the largest request, and of read-ahead.
const REQUEST: u32 = 1 << 20;

/// Inode number of the first volume; the root is 1.
const FIRST: u64 = 2;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct VolumeFs {
    volumes: Vec<(String, Arc<dyn Storage>)>,
    first_error: Arc<OnceLock<Error>>,
}

impl VolumeFs {
    pub(super) fn new(
        volumes: Vec<(String, Arc<dyn Storage>)>,
        first_error: Arc<OnceLock<Error>>,
    ) -> Self {
        Self {
            volumes,
            first_error,
        }
    }

    fn storage(&self, ino: INodeNo) -> Option<&dyn Storage> {
        let index = usize::try_from(ino.0.checked_sub(FIRST)?).ok()?;
        self.volumes.get(index).map(|(_, storage)| storage.as_ref())
    }

    fn attr(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = if ino == INodeNo::ROOT {
            (FileType::Directory, 0o500, 0)
        } else {
            (FileType::RegularFile, 0o600, self.storage(ino)?.len())
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// Names of the directory with their inodes, `.` and `..` first.
    fn entries(&self) -> impl Iterator<Item = (INodeNo, FileType, &str)> {
        let dots = [".", ".."].map(|name| (INodeNo::ROOT, FileType::Directory, name));
        let files = (FIRST..)
            .zip(&self.volumes)
            .map(|(ino, (name, _))| (INodeNo(ino), FileType::RegularFile, name.as_str()));
        dots.into_iter().chain(files)
    }

    /// Remembers a storage's error, and tells the kernel as much of it as an errno can.
    fn latch<T>(&self, result: Result<T>) -> std::result::Result<T, Errno> {
        result.map_err(|error| {
            let errno = match error.code.as_str() {
                "no-space" => Errno::ENOSPC,
                "read-only" => Errno::EROFS,
                _ => Errno::EIO,
            };
            if self.first_error.set(error.clone()).is_ok() {
                tracing::warn!(%error, "a volume failed");
            }
            errno
        })
    }
}

/// Bytes of a request of `size` at `offset` that lie within `len`.
fn clamp(len: u64, offset: u64, size: u64) -> usize {
    usize::try_from(len.saturating_sub(offset).min(size)).unwrap_or(0)
}

fn done(result: std::result::Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for VolumeFs {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let _ = config.set_max_write(REQUEST);
        if let Err(most) = config.set_max_readahead(REQUEST) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_background(64);
        // Direct requests of a loop device are answered in any order, several at once.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self
            .entries()
            .skip(2)
            .find(|entry| parent == INodeNo::ROOT && OsStr::new(entry.2) == name)
            .and_then(|(ino, _, _)| self.attr(ino));
        match found {
            Some(attr) => reply.entry(&FOREVER, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Some(attr) => reply.attr(&FOREVER, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.attr(ino) {
            Some(attr) if size.is_none_or(|size| size == attr.size) => reply.attr(&FOREVER, &attr),
            Some(_) => reply.error(Errno::EPERM),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.storage(ino) {
            Some(_) => reply.opened(FileHandle(0), FopenFlags::empty()),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(storage) = self.storage(ino) else {
            return reply.error(Errno::ENOENT);
        };
        let len = clamp(storage.len(), offset, u64::from(size));
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < len {
                buffer.resize(len, 0);
            }
            let part = buffer.get_mut(..len).unwrap_or_default();
            match self.latch(storage.read_at(part, offset)) {
                Ok(()) => reply.data(part),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let Some(storage) = self.storage(ino) else {
            return reply.error(Errno::ENOENT);
        };
        let len = clamp(storage.len(), offset, data.len() as u64);
        if len < data.len() {
            return reply.error(Errno::EFBIG);
        }
        match self.latch(storage.write_at(data, offset)) {
            Ok(()) => reply.written(u32::try_from(len).unwrap_or(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let flushed = self.storage(ino).map_or(Ok(()), |storage| storage.flush());
        done(self.latch(flushed), reply);
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let flushed = self.storage(ino).map_or(Ok(()), |storage| storage.flush());
        done(self.latch(flushed), reply);
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn readdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (next, (ino, kind, name)) in (1_u64..)
            .zip(self.entries())
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            if reply.add(ino, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, self.volumes.len() as u64, 0, 4096, 255, 4096);
    }
}

#[cfg(test)]
mod tests {
    use super::clamp;

    #[test]
    fn requests_end_at_the_end_of_the_volume() {
        assert_eq!(clamp(100, 90, 20), 10);
        assert_eq!(clamp(100, 100, 1), 0);
        assert_eq!(clamp(100, u64::MAX, u64::MAX), 0);
        assert_eq!(clamp(100, 0, 100), 100);
    }
}
