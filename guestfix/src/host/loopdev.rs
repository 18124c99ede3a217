// SPDX-License-Identifier: Apache-2.0
//! Loop devices: a file seen as a block device.
//!
//! A container's `/dev` is a snapshot of the node's, so the nodes are made here, in a private
//! directory. Constants and structures are those of the kernel's `include/uapi/linux/loop.h`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, makedev};

use crate::error::{Error, Result};

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CLR_FD: libc::Ioctl = 0x4c01;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
const BLKRASET: libc::Ioctl = 0x1262;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// Major number of loop devices; `loop-control` is the misc device 10:237.
const LOOP_MAJOR: u32 = 7;

/// How often another process may take the free device before we do.
const ATTEMPTS: u32 = 100;

/// Read-ahead of a device, in 512-byte sectors.
const READ_AHEAD: libc::c_ulong = 2048;

#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const NO_INFO: LoopInfo = LoopInfo {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// An attached loop device. When it is dropped the kernel detaches it as soon as nothing uses
/// it; [`LoopDevice::detach`] waits for that and tells errors.
#[derive(Debug)]
pub struct LoopDevice {
    file: File,
    node: PathBuf,
    backing: (u64, u64),
}

impl LoopDevice {
    /// Attaches a free loop device to `backing`, with its node in `dir` (a directory on a
    /// filesystem that allows device nodes).
    ///
    /// Direct I/O, so that the file's pages are not cached a second time below the mount's own
    /// and writes reach the file's server in the order in which the filesystem flushes.
    ///
    /// # Errors
    /// `Host`/`no-loop-device` when the machine has none to give.
    pub fn attach(backing: BorrowedFd<'_>, dir: &Path, read_only: bool) -> Result<Self> {
        let stat = rustix::fs::fstat(backing).map_err(|e| Error::io("looking at a volume", e))?;
        let control = node(
            &dir.join("loop-control"),
            FileType::CharacterDevice,
            10,
            237,
        )?;
        let mut flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
        if read_only {
            flags |= LO_FLAGS_READ_ONLY;
        }
        let mut last = io::Error::from_raw_os_error(libc::EBUSY);
        for _ in 0..ATTEMPTS {
            let number = free_number(&control).map_err(|e| no_loop().because(e))?;
            let path = dir.join(format!("loop{number}"));
            let file = node(&path, FileType::BlockDevice, LOOP_MAJOR, number)?;
            match configure(&file, backing, flags) {
                Ok(()) => {
                    let _ = ioctl_value(&file, BLKRASET, READ_AHEAD);
                    return Ok(Self {
                        file,
                        node: path,
                        backing: (stat.st_dev, stat.st_ino),
                    });
                }
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => last = e,
                Err(e) => return Err(no_loop().because(e)),
            }
            sleep(Duration::from_millis(5));
        }
        Err(no_loop().because(last))
    }

    /// The path of the device's node.
    pub fn path(&self) -> &Path {
        &self.node
    }

    /// Waits until no mount uses the device, until its last write has reached the file, and until
    /// the device has let go of the file.
    ///
    /// # Errors
    /// `Host`/`still-busy` when something holds it after `timeout`; `Host`/`io` when a late
    /// write failed.
    pub fn detach(self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let exclusive = || {
            File::options()
                .read(true)
                .custom_flags(libc::O_EXCL | libc::O_CLOEXEC)
                .open(&self.node)
                .is_ok()
        };
        wait_until(deadline, exclusive)?;
        self.file
            .sync_all()
            .map_err(|e| Error::io("writing a volume back", e))?;
        // Fails only when it is detached already.
        let _ = ioctl_value(&self.file, LOOP_CLR_FD, 0);
        let Self {
            file,
            node,
            backing,
        } = self;
        drop(file);
        let gone = || match File::open(&node).and_then(|file| status(&file)) {
            Ok(info) => (info.device, info.inode) != backing,
            Err(_) => true,
        };
        wait_until(deadline, gone)?;
        let _ = std::fs::remove_file(&node);
        Ok(())
    }
}

fn wait_until(deadline: Instant, done: impl Fn() -> bool) -> Result<()> {
    while !done() {
        if Instant::now() >= deadline {
            return Err(Error::host(
                "still-busy",
                "a loop device of a volume is still in use",
            ));
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn no_loop() -> Error {
    Error::host("no-loop-device", "attaching a loop device")
        .hint("run as root, in a container: privileged; `modprobe loop` on the node")
}

/// Makes a device node unless it is there, and opens it.
fn node(path: &Path, kind: FileType, major: u32, minor: u32) -> Result<File> {
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        kind,
        Mode::RUSR | Mode::WUSR,
        makedev(major, minor),
    );
    match made {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(no_loop().because(e)),
    }
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|e| no_loop().because(e))?;
    let is_device = file
        .metadata()
        .is_ok_and(|meta| meta.file_type().is_block_device() || meta.file_type().is_char_device());
    if is_device {
        Ok(file)
    } else {
        Err(Error::internal("a device node is none"))
    }
}

fn free_number(control: &File) -> io::Result<u32> {
    // SAFETY: the request takes no argument and returns a number.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

fn configure(device: &File, backing: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    let config = LoopConfig {
        fd: backing.as_fd().as_raw_fd().cast_unsigned(),
        block_size: 512,
        info: LoopInfo { flags, ..NO_INFO },
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads one loop_config, which lives until the call returns.
    let rc = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    check(rc)
}

fn status(device: &File) -> io::Result<LoopInfo> {
    let mut info = NO_INFO;
    // SAFETY: the kernel fills one loop_info64, for which `info` has the room.
    let rc = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    check(rc).map(|()| info)
}

fn ioctl_value(device: &File, request: libc::Ioctl, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both requests used here take a number, not a pointer.
    check(unsafe { libc::ioctl(device.as_raw_fd(), request, value) })
}

fn check(rc: libc::c_int) -> io::Result<()> {
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_that_the_kernel_checks() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }

    #[test]
    fn an_attached_file_is_a_block_device_until_it_is_detached() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let backing = tempfile::tempfile().unwrap();
        backing.set_len(1 << 20).unwrap();
        let device = LoopDevice::attach(backing.as_fd(), dir.path(), false).unwrap();
        let path = device.path().to_owned();
        std::os::unix::fs::FileExt::write_all_at(
            &File::options().write(true).open(&path).unwrap(),
            &[0x5a; 4096],
            4096,
        )
        .unwrap();
        device.detach(Duration::from_secs(5)).unwrap();
        let mut byte = [0; 1];
        std::os::unix::fs::FileExt::read_exact_at(&backing, &mut byte, 8000).unwrap();
        assert_eq!(byte, [0x5a]);
        assert!(!path.exists());
    }
}
