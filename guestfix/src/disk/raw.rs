// SPDX-License-Identifier: Apache-2.0
//! Raw files and block devices.

use std::fs::{File, OpenOptions};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Advice, OFlags};

use super::{Durable, SECTOR, Storage, check_range};
use crate::error::{Error, Result};

/// What a direct read is aligned to, in offset, length and memory: the largest logical sector in
/// use. See open(2), `O_DIRECT`.
const DIRECT_ALIGN: usize = 4096;

/// A raw file or a block device.
#[derive(Debug)]
pub struct Raw {
    file: File,
    name: String,
    writable: bool,
    device: bool,
    len: AtomicU64,
    sector: u32,
}

impl Raw {
    /// Takes an open raw disk; `name` is what errors call it.
    ///
    /// # Errors
    /// `Usage`/`not-a-disk` for anything but a regular file or block device, an empty one, or a
    /// length that is no multiple of 512 bytes; `Host`/`io`.
    pub fn from_file(file: File, name: &str, writable: bool) -> Result<Self> {
        let raw = Self::container_from_file(file, name, writable)?;
        if !raw.len().is_multiple_of(SECTOR as u64) {
            let len = raw.len();
            return Err(not_a_disk(
                name,
                &format!("its length of {len} bytes is no multiple of 512"),
            )
            .hint("was the copy cut short? Compare its length with the source's"));
        }
        Ok(raw)
    }

    /// Takes an open image file of another format: any length but none.
    ///
    /// # Errors
    /// As [`Raw::from_file`].
    pub fn container_from_file(file: File, name: &str, writable: bool) -> Result<Self> {
        let meta = file
            .metadata()
            .map_err(|e| Error::io("cannot stat the disk", e).on(name))?;
        let kind = meta.file_type();
        let device = kind.is_block_device();
        if !device && !kind.is_file() {
            return Err(not_a_disk(
                name,
                "it is neither a regular file nor a block device",
            ));
        }
        let len = if device {
            rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))
                .map_err(|e| Error::io("cannot tell the device's size", e).on(name))?
        } else {
            meta.len()
        };
        if len == 0 {
            return Err(not_a_disk(name, "it is empty"));
        }
        let sector = if device {
            rustix::fs::ioctl_blksszget(&file).unwrap_or(512)
        } else {
            512
        };
        let name = name.to_owned();
        Ok(Self {
            file,
            name,
            writable,
            device,
            len: AtomicU64::new(len),
            sector,
        })
    }

    /// Opens a raw disk by path, following symlinks. The descriptor is not inherited by children.
    ///
    /// # Errors
    /// `Host`/`cannot-open`; else as [`Raw::from_file`].
    pub fn open(path: &Path, writable: bool) -> Result<Self> {
        let name = path.display().to_string();
        Self::from_file(open_disk(path, writable)?, &name, writable)
    }

    /// The name that errors use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True for a block device.
    pub fn is_device(&self) -> bool {
        self.device
    }

    /// Bytes of a logical sector: 512 for files, what the kernel says for devices.
    pub fn logical_sector(&self) -> u32 {
        self.sector
    }

    fn read_direct(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        // Another open file description: setting O_DIRECT on ours would change it for every
        // process that shares it.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?);
        let align = DIRECT_ALIGN as u64;
        let skip = usize::try_from(offset % align).unwrap_or(0);
        let want = skip.saturating_add(buf.len());
        let span = want.next_multiple_of(DIRECT_ALIGN);
        let mut memory = vec![0; span.saturating_add(DIRECT_ALIGN)];
        let pad = memory.as_ptr().align_offset(DIRECT_ALIGN);
        let short = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let aligned = memory
            .get_mut(pad..)
            .and_then(|m| m.get_mut(..span))
            .ok_or_else(short)?;
        let start = offset.saturating_sub(offset % align);
        let mut done: usize = 0;
        while done < want {
            let rest = aligned.get_mut(done..).ok_or_else(short)?;
            match file.read_at(rest, start.saturating_add(done as u64))? {
                0 => return Err(short()),
                n => done = done.saturating_add(n),
            }
        }
        buf.copy_from_slice(aligned.get(skip..want).ok_or_else(short)?);
        Ok(())
    }
}

/// Opens a disk's file: close-on-exec, symlinks followed.
///
/// # Errors
/// `Usage`/`not-a-disk` for a directory or a character device; `Host`/`cannot-open`.
pub fn open_disk(path: &Path, writable: bool) -> Result<File> {
    let name = path.display().to_string();
    let cannot = |e: std::io::Error| {
        Error::host("cannot-open", "cannot open the disk")
            .because(e)
            .on(name.clone())
    };
    // Asked before opening: opening a FIFO blocks, opening a tape rewinds it.
    let kind = std::fs::metadata(path).map_err(cannot)?.file_type();
    if kind.is_dir() {
        return Err(not_a_disk(&name, "it is a directory"));
    }
    if !kind.is_file() && !kind.is_block_device() {
        return Err(not_a_disk(
            &name,
            "it is neither a regular file nor a block device",
        ));
    }
    OpenOptions::new()
        .read(true)
        .write(writable)
        .open(path)
        .map_err(cannot)
}

fn not_a_disk(name: &str, why: &str) -> Error {
    Error::new(
        crate::error::Kind::Usage,
        "not-a-disk",
        format!("this is not a disk: {why}"),
    )
    .on(name)
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Storage for Raw {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn zeros(&self, offset: u64) -> Result<u64> {
        use rustix::fs::SeekFrom;
        if self.device || offset >= self.len() {
            return Ok(0);
        }
        // The position is nobody's: every read and write names its own.
        let next = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(next) => next.min(self.len()),
            Err(rustix::io::Errno::NXIO) => self.len(),
            // A filesystem that does not know.
            Err(_) => return Ok(0),
        };
        Ok(next.saturating_sub(offset))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len(), offset, buf.len()).map_err(|e| e.on(&self.name))?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|e| Error::io("cannot read", e).on(&self.name).at(offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        if !self.writable {
            return Err(
                Error::refused("read-only", "the disk is open for reading only").on(&self.name),
            );
        }
        check_range(self.len(), offset, buf.len()).map_err(|e| e.on(&self.name))?;
        self.file
            .write_all_at(buf, offset)
            .map_err(|e| write_error(&e, "cannot write").on(&self.name).at(offset))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl Durable for Raw {
    fn sync(&self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|e| Error::io("cannot sync the disk", e).on(&self.name))
    }

    fn reread(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len(), offset, buf.len()).map_err(|e| e.on(&self.name))?;
        match self.read_direct(buf, offset) {
            Ok(()) => Ok(()),
            // A medium error must not be hidden by a cached page.
            Err(e) if e.raw_os_error() == Some(libc::EIO) => {
                Err(Error::io("cannot read back", e).on(&self.name).at(offset))
            }
            Err(_) => {
                self.sync()?;
                let len = NonZeroU64::new(buf.len() as u64);
                let _ = rustix::fs::fadvise(&self.file, offset, len, Advice::DontNeed);
                self.read_at(buf, offset)
            }
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        if len == self.len() {
            return Ok(());
        }
        if self.device {
            return Err(Error::internal("a block device cannot change its length").on(&self.name));
        }
        self.file
            .set_len(len)
            .map_err(|e| write_error(&e, "cannot change the length").on(&self.name))?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }
}

/// Tells a full filesystem or quota from other failures.
pub(crate) fn write_error(error: &std::io::Error, doing: &str) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Error::host("no-space", doing).because(error),
        _ => Error::io(doing, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(len: usize) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..len).map(|i| (i / 512) as u8).collect();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn directories_devices_empty_and_odd_files_are_no_disks() {
        for path in [Path::new("/"), Path::new("/dev/null")] {
            assert_eq!(Raw::open(path, false).unwrap_err().code, "not-a-disk");
        }
        for len in [0, 511, 513] {
            let file = disk(len);
            let error = Raw::open(file.path(), false).unwrap_err();
            assert_eq!(error.code, "not-a-disk");
            assert_eq!(error.disk.as_deref(), file.path().to_str());
        }
        assert_eq!(
            Raw::open(Path::new("/absent"), false).unwrap_err().code,
            "cannot-open"
        );
    }

    #[test]
    fn reads_and_writes_stay_inside() {
        let file = disk(4096);
        let raw = Raw::open(file.path(), true).unwrap();
        let mut buf = [0; 1024];
        raw.read_at(&mut buf, 3072).unwrap();
        assert_eq!((buf[0], buf[1023]), (6, 7));
        for offset in [3073, 4096, u64::MAX] {
            assert_eq!(
                raw.read_at(&mut buf, offset).unwrap_err().code,
                "out-of-range"
            );
            assert_eq!(raw.write_at(&buf, offset).unwrap_err().code, "out-of-range");
        }
        assert_eq!(file.as_file().metadata().unwrap().len(), 4096);
    }

    #[test]
    fn a_disk_opened_for_reading_refuses_writes() {
        let file = disk(512);
        let raw = Raw::open(file.path(), false).unwrap();
        assert_eq!(raw.write_at(&[1], 0).unwrap_err().code, "read-only");
    }

    #[test]
    fn rereading_sees_what_was_written_at_any_alignment() {
        let file = disk(512 * 21);
        let raw = Raw::open(file.path(), true).unwrap();
        raw.write_at(&[0xee; 700], 5000).unwrap();
        raw.sync().unwrap();
        for (offset, len) in [(4999, 702), (0, 512 * 21), (512 * 20, 512), (5120, 1)] {
            let (mut direct, mut cached) = (vec![1; len], vec![2; len]);
            raw.reread(&mut direct, offset).unwrap();
            raw.read_at(&mut cached, offset).unwrap();
            assert_eq!(direct, cached, "{offset}+{len}");
        }
    }
}
