// SPDX-License-Identifier: Apache-2.0
//! The filesystems that make up a mounted guest, as [`super::fanotify`] needs them: each once, with
//! all the places where the guest has it.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Error, Result};
use crate::fs::GuestPath;

/// One filesystem of the guest.
#[derive(Debug)]
pub(super) struct Filesystem {
    /// Its driver.
    pub(super) kind: String,
    /// Where the guest has it, or the first place of several.
    pub(super) at: GuestPath,
    /// Its identity in events.
    pub(super) id: [u8; 8],
    /// Its topmost directory.
    pub(super) whole: OwnedFd,
    /// The places.
    pub(super) mounts: Vec<Mount>,
}

/// One place where a filesystem, or a part of it, is mounted.
#[derive(Debug)]
pub(super) struct Mount {
    /// The place, as the guest names it.
    pub(super) at: GuestPath,
    /// The same, as this process names it.
    pub(super) host_path: Vec<u8>,
    /// The directory there.
    pub(super) root: OwnedFd,
}

/// A line of `/proc/self/mountinfo`: device number, mount point, driver, source.
type Line = (String, Vec<u8>, String, Vec<u8>);

/// Every filesystem that is mounted at `tree` or below.
pub(super) fn filesystems(tree: BorrowedFd<'_>) -> Result<Vec<Filesystem>> {
    let io = |e| Error::io("looking at the guest's mounts", e);
    let top = std::fs::read_link(format!("/proc/self/fd/{}", tree.as_raw_fd())).map_err(io)?;
    let top = top.into_os_string().into_vec();
    let text = std::fs::read("/proc/self/mountinfo").map_err(io)?;
    let mut found: Vec<(String, Filesystem)> = Vec::new();
    for (device, host_path, kind, source) in text.split(|b| *b == b'\n').filter_map(parse) {
        let Some(below) = host_path.strip_prefix(top.as_slice()) else {
            continue;
        };
        if !below.is_empty() && !below.starts_with(b"/") {
            continue;
        }
        let at = GuestPath::new([b"/", below].concat());
        let root = open(&host_path).map_err(|e| io(e.into()))?;
        let mount = Mount {
            at: at.clone(),
            root,
            host_path,
        };
        if let Some((_, same)) = found.iter_mut().find(|(of, _)| *of == device) {
            same.mounts.push(mount);
            continue;
        }
        let whole = whole(&kind, &source, &mount.root).map_err(|e| io(e.into()))?;
        let filesystem = Filesystem {
            kind,
            at,
            id: id(whole.as_fd()).map_err(io)?,
            whole,
            mounts: vec![mount],
        };
        found.push((device, filesystem));
    }
    Ok(found
        .into_iter()
        .map(|(_, filesystem)| filesystem)
        .collect())
}

fn parse(line: &[u8]) -> Option<Line> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let device = text(fields.next()?);
    let point = unescape(fields.nth(1)?);
    let mut fs = fields.skip_while(|field| *field != b"-").skip(1);
    Some((device, point, text(fs.next()?), unescape(fs.next()?)))
}

/// Blanks are written in octal, as `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    out
}

fn open(path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(
        Path::new(std::ffi::OsStr::from_bytes(path)),
        flags,
        Mode::empty(),
    )
}

/// A btrfs can only be watched as a whole through its topmost subvolume, which the guest need not
/// have mounted: it is mounted here once more, in no place.
fn whole(kind: &str, source: &[u8], root: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    if kind != "btrfs" {
        return rustix::io::fcntl_dupfd_cloexec(root, 0);
    }
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let source = Path::new(std::ffi::OsStr::from_bytes(source));
    rustix::mount::fsconfig_set_string(context.as_fd(), "source", source)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "subvolid", "5")?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn id(root: BorrowedFd<'_>) -> std::io::Result<[u8; 8]> {
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the kernel fills in the structure, of which every bit pattern is a value; the
    // identity in it is two 32-bit numbers.
    unsafe {
        if libc::fstatfs(root.as_raw_fd(), stat.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok((&raw const (*stat.as_ptr()).f_fsid)
            .cast::<[u8; 8]>()
            .read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read_with_its_blanks() {
        let line =
            br"36 35 0:98 /@ /a\040b/tree rw,noatime master:1 - btrfs /d\134x/loop0 rw,subvol=/@";
        let (device, point, kind, source) = parse(line).unwrap();
        assert_eq!((device.as_str(), kind.as_str()), ("0:98", "btrfs"));
        assert_eq!(point, b"/a b/tree");
        assert_eq!(source, br"/d\x/loop0");
        assert!(parse(b"").is_none());
        assert!(parse(b"36 35 0:98 /@ /a rw").is_none());
    }
}
