// SPDX-License-Identifier: Apache-2.0
//! Files of the mounted guest, reached as the guest would reach them and never from outside its
//! root: the kernel resolves every path with the guest's root as `/`.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Gid, IFlags, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use super::mounter::Outcome;
use crate::digest::{sha256_hex, sha256_of};
use crate::error::{Error, Result};
use crate::fs::{FileType, GuestPath, Metadata, Space};

/// Bytes that one read may ask for.
pub(super) const MAX_READ: u64 = 16 << 20;

/// Flags of a file that forbid writing it.
const FROZEN: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// Owner and mode of a file that does not exist yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewFile {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Opens a path of the guest. Symlinks on the way are followed as the guest follows them.
pub(super) fn open(
    tree: BorrowedFd<'_>,
    path: &GuestPath,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 0_u32;
    loop {
        let opened = rustix::fs::openat2(
            tree,
            path.as_bytes(),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        );
        attempts = attempts.saturating_add(1);
        match opened {
            // A rename somewhere on the machine raced with `..`.
            Err(Errno::AGAIN) if attempts < 100 => {}
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn failed(doing: &str, path: &GuestPath) -> impl Fn(Errno) -> Error {
    let doing = format!("{doing} {path}");
    move |e| match e {
        Errno::NOSPC | Errno::DQUOT => Error::refused("guest-full", doing.clone())
            .because(e)
            .hint("the guest's filesystem is full: free some space in the guest first"),
        Errno::UCLEAN | Errno::BADMSG => Error::corrupt("unreadable", doing.clone()).because(e),
        _ => Error::io(doing.clone(), e),
    }
}

pub(super) fn failed_io(doing: &str, path: &GuestPath) -> impl Fn(std::io::Error) -> Error {
    let failed = failed(doing, path);
    move |e| failed(Errno::from_io_error(&e).unwrap_or(Errno::IO))
}

pub(super) fn changed(path: &GuestPath, how: &str) -> Error {
    Error::new(
        crate::error::Kind::Internal,
        "changed-underneath",
        format!("{path} is not what the plan was made from: {how}"),
    )
}

/// Opens a regular file for reading; `None` when nothing is there.
pub(super) fn regular(
    tree: BorrowedFd<'_>,
    path: &GuestPath,
    flags: OFlags,
) -> Result<Option<File>> {
    let file = match open(tree, path, flags | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(Errno::NXIO | Errno::ISDIR | Errno::ACCESS | Errno::NODEV) => {
            return Err(not_a_file(path));
        }
        Err(e) => return Err(failed("opening", path)(e)),
    };
    let stat = rustix::fs::fstat(&file).map_err(failed("looking at", path))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        Ok(Some(file.into()))
    } else {
        Err(not_a_file(path))
    }
}

fn not_a_file(path: &GuestPath) -> Error {
    Error::unsupported("not-a-file", format!("{path} is not a regular file"))
}

/// Takes the immutable and append-only flags off an inode and gives them back when dropped.
pub(super) struct Thawed<'a> {
    inode: BorrowedFd<'a>,
    flags: IFlags,
}

impl<'a> Thawed<'a> {
    pub(super) fn new(inode: BorrowedFd<'a>, path: &GuestPath) -> Result<Self> {
        // A filesystem without such flags cannot freeze a file.
        let flags = rustix::fs::ioctl_getflags(inode).unwrap_or(IFlags::empty());
        if flags.intersects(FROZEN) {
            rustix::fs::ioctl_setflags(inode, flags.difference(FROZEN))
                .map_err(failed("thawing", path))?;
        }
        Ok(Self { inode, flags })
    }
}

impl Drop for Thawed<'_> {
    fn drop(&mut self) {
        if self.flags.intersects(FROZEN) {
            let _ = rustix::fs::ioctl_setflags(self.inode, self.flags);
        }
    }
}

fn digest(file: &mut File) -> std::io::Result<String> {
    file.rewind()?;
    sha256_of(file).map(|(digest, _)| digest)
}

/// Sets a file's whole content in place; see [`super::mounter::MountRequest::Write`].
pub(super) fn write(
    tree: BorrowedFd<'_>,
    path: &GuestPath,
    before: Option<&str>,
    content: &[u8],
    new: Option<NewFile>,
) -> Result<Outcome> {
    let Some(mut old) = regular(tree, path, OFlags::RDONLY)? else {
        return match before {
            None => create(tree, path, content, new),
            Some(_) => Err(changed(path, "it is gone")),
        };
    };
    let now = digest(&mut old).map_err(failed_io("reading", path))?;
    if now == sha256_hex(content) {
        return Ok(Outcome::AlreadySo);
    }
    match before {
        Some(before) if before.eq_ignore_ascii_case(&now) => {}
        Some(_) => return Err(changed(path, "its content differs")),
        None => return Err(changed(path, "it exists already")),
    }
    let thawed = Thawed::new(old.as_fd(), path)?;
    let mut file = regular(tree, path, OFlags::WRONLY | OFlags::TRUNC)?
        .ok_or_else(|| changed(path, "it is gone"))?;
    file.write_all(content)
        .map_err(failed_io("writing", path))?;
    drop(thawed);
    Ok(Outcome::Changed)
}

fn create(
    tree: BorrowedFd<'_>,
    path: &GuestPath,
    content: &[u8],
    new: Option<NewFile>,
) -> Result<Outcome> {
    let (dir, name) = parent(tree, path, true)?;
    let thawed = Thawed::new(dir.as_fd(), path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(not_made("making", path))?;
    if let Some(new) = new {
        let (uid, gid) = (Uid::from_raw(new.uid), Gid::from_raw(new.gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(failed("giving away", path))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(new.mode & 0o7777))
            .map_err(failed("setting the mode of", path))?;
    }
    File::from(file)
        .write_all(content)
        .map_err(failed_io("writing", path))?;
    drop(thawed);
    Ok(Outcome::Changed)
}

/// Overwrites parts of a file in place, and sets its length; see
/// [`super::mounter::MountRequest::Patch`].
pub(super) fn patch(
    tree: BorrowedFd<'_>,
    path: &GuestPath,
    len: u64,
    parts: &[(u64, serde_bytes::ByteBuf)],
) -> Result<Outcome> {
    let file = regular(tree, path, OFlags::WRONLY)?.ok_or_else(|| changed(path, "it is gone"))?;
    for (offset, part) in parts {
        file.write_all_at(part, *offset)
            .map_err(failed_io("writing", path))?;
    }
    let stat = rustix::fs::fstat(&file).map_err(failed("looking at", path))?;
    let resized = u64::try_from(stat.st_size) != Ok(len);
    if resized {
        rustix::fs::ftruncate(&file, len).map_err(failed("setting the length of", path))?;
    }
    Ok(match resized || !parts.is_empty() {
        true => Outcome::Changed,
        false => Outcome::AlreadySo,
    })
}

/// The directory that holds `path`, opened for reading, and the last component.
fn parent<'p>(
    tree: BorrowedFd<'_>,
    path: &'p GuestPath,
    make: bool,
) -> Result<(OwnedFd, &'p [u8])> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(not_a_file(path));
    };
    let opened = directory(tree, &above, make);
    let dir = opened.map_err(not_made("opening the directory of", path))?;
    Ok((dir, name))
}

/// Where nothing was to be found and yet something is, there is a symlink that leads to nothing in
/// the guest. What it may lead to elsewhere is no business of ours.
fn not_made(doing: &str, path: &GuestPath) -> impl Fn(Errno) -> Error {
    let failed = failed(doing, path);
    let dangling = format!("{path} is, or lies behind, a symlink that leads nowhere in the guest");
    move |e| match e {
        Errno::EXIST | Errno::LOOP => Error::unsupported("dangling-symlink", dangling.clone())
            .because(e)
            .hint("remove the symlink in the guest, or make what it leads to"),
        _ => failed(e),
    }
}

fn directory(tree: BorrowedFd<'_>, path: &GuestPath, make: bool) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    match (open(tree, path, flags), path.parent(), path.file_name()) {
        (Err(Errno::NOENT), Some(above), Some(name)) if make => {
            let above = directory(tree, &above, true)?;
            rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
            open(tree, path, flags)
        }
        (opened, _, _) => opened,
    }
}

/// Appends to a file after padding it with zeros; the new length in bytes.
pub(super) fn append(
    tree: BorrowedFd<'_>,
    path: &GuestPath,
    content: &[u8],
    align: u64,
) -> Result<u64> {
    let missing = || changed(path, "it is gone");
    let old = regular(tree, path, OFlags::RDONLY)?.ok_or_else(missing)?;
    let thawed = Thawed::new(old.as_fd(), path)?;
    let mut file = regular(tree, path, OFlags::WRONLY)?.ok_or_else(missing)?;
    let len = file
        .seek(SeekFrom::End(0))
        .map_err(failed_io("measuring", path))?;
    let padded = len
        .checked_next_multiple_of(align)
        .filter(|padded| padded - len <= 1 << 16)
        .ok_or_else(|| Error::internal("appending with a bad alignment"))?;
    let padding = vec![0; usize::try_from(padded - len).unwrap_or(0)];
    file.write_all(&padding)
        .and_then(|()| file.write_all(content))
        .map_err(failed_io("appending to", path))?;
    drop(thawed);
    Ok(padded.saturating_add(content.len() as u64))
}

/// Removes a file or symlink.
pub(super) fn remove(tree: BorrowedFd<'_>, path: &GuestPath) -> Result<Outcome> {
    match lstat(tree, path)? {
        None => return Ok(Outcome::AlreadySo),
        Some(meta) if meta.file_type == FileType::Dir => return Err(not_a_file(path)),
        Some(_) => {}
    }
    let (dir, name) = parent(tree, path, false)?;
    let thawed_dir = Thawed::new(dir.as_fd(), path)?;
    // What cannot be opened so, a symlink or a device, cannot be frozen either.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let itself = open(dir.as_fd(), &GuestPath::new(name), flags).ok();
    let thawed = itself.as_ref().map(|file| Thawed::new(file.as_fd(), path));
    let thawed = thawed.transpose()?;
    rustix::fs::unlinkat(&dir, name, AtFlags::empty()).map_err(failed("removing", path))?;
    drop((thawed, thawed_dir));
    Ok(Outcome::Changed)
}

/// Removes a directory, unless something is in it.
pub(super) fn remove_dir(tree: BorrowedFd<'_>, path: &GuestPath) -> Result<Outcome> {
    match lstat(tree, path)? {
        None => return Ok(Outcome::AlreadySo),
        Some(meta) if meta.file_type != FileType::Dir => return Err(not_a_file(path)),
        Some(_) => {}
    }
    let (dir, name) = parent(tree, path, false)?;
    match rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(Outcome::Changed),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Outcome::AlreadySo),
        Err(e) => Err(failed("removing", path)(e)),
    }
}

/// Makes a symlink, replacing a symlink or nothing.
pub(super) fn symlink(tree: BorrowedFd<'_>, path: &GuestPath, target: &str) -> Result<Outcome> {
    let (dir, name) = parent(tree, path, true)?;
    match rustix::fs::readlinkat(&dir, name, Vec::new()) {
        Ok(old) if old.as_bytes() == target.as_bytes() => return Ok(Outcome::AlreadySo),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(Errno::INVAL) => return Err(changed(path, "it is not a symlink")),
        Err(e) => return Err(failed("looking at", path)(e)),
    }
    let _thawed = Thawed::new(dir.as_fd(), path)?;
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(failed("replacing", path)(e)),
    }
    rustix::fs::symlinkat(target, &dir, name).map_err(failed("making", path))?;
    Ok(Outcome::Changed)
}

/// Attributes, a final symlink not followed; `None` when nothing is there.
pub(super) fn lstat(tree: BorrowedFd<'_>, path: &GuestPath) -> Result<Option<Metadata>> {
    match open(tree, path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file).map_err(failed("looking at", path))?;
            Ok(Some(metadata(&stat)))
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(failed("looking at", path)(e)),
    }
}

fn metadata(stat: &Stat) -> Metadata {
    use rustix::fs::FileType as Raw;
    Metadata {
        file_type: match Raw::from_raw_mode(stat.st_mode) {
            Raw::RegularFile => FileType::File,
            Raw::Directory => FileType::Dir,
            Raw::Symlink => FileType::Symlink,
            _ => FileType::Special,
        },
        len: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}

/// A symlink's target.
pub(super) fn read_link(tree: BorrowedFd<'_>, path: &GuestPath) -> Result<Vec<u8>> {
    open(tree, path, OFlags::PATH | OFlags::NOFOLLOW)
        .and_then(|link| rustix::fs::readlinkat(&link, c"", Vec::new()))
        .map(|target| target.into_bytes())
        .map_err(failed("reading the symlink", path))
}

/// Names in a directory, sorted.
pub(super) fn list(tree: BorrowedFd<'_>, path: &GuestPath) -> Result<Vec<Vec<u8>>> {
    let dir = directory(tree, path, false).map_err(failed("listing", path))?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(dir).map_err(failed("listing", path))? {
        let entry = entry.map_err(failed("listing", path))?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(name.to_vec()),
        }
    }
    names.sort();
    Ok(names)
}

/// Up to `len` bytes of a regular file; fewer only at its end.
pub(super) fn read(
    tree: BorrowedFd<'_>,
    path: &GuestPath,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>> {
    let file = regular(tree, path, OFlags::RDONLY)?
        .ok_or_else(|| failed("opening", path)(Errno::NOENT))?;
    let mut content = vec![0; usize::try_from(len.min(MAX_READ)).unwrap_or(0)];
    let mut done = 0_usize;
    while let Some(rest) = content.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(done as u64);
        match file.read_at(rest, at).map_err(failed_io("reading", path))? {
            0 => break,
            got => done = done.saturating_add(got),
        }
    }
    content.truncate(done);
    Ok(content)
}

/// Of an ext4, the kernel keeps a fiftieth and at most so many blocks to itself, from root too
/// (`ext4_calculate_resv_clusters` of its `fs/ext4/super.c`).
const EXT4_KEPT: u64 = 4096;
/// What statfs(2) calls ext4, and its elders.
const EXT4: u64 = 0xef53;

/// Room on the filesystem that holds `path`.
pub(super) fn space(tree: BorrowedFd<'_>, path: &GuestPath) -> Result<Space> {
    let stat = open(tree, path, OFlags::PATH)
        .and_then(|file| Ok((rustix::fs::fstatvfs(&file)?, rustix::fs::fstatfs(&file)?)));
    let (stat, kind) = stat.map_err(failed("measuring the space of", path))?;
    let kept = match u64::try_from(kind.f_type) {
        Ok(EXT4) => stat.f_blocks.div_ceil(50).min(EXT4_KEPT),
        _ => 0,
    };
    Ok(Space {
        free_bytes: stat
            .f_bfree
            .saturating_sub(kept)
            .saturating_mul(stat.f_frsize),
        free_inodes: stat.f_ffree,
    })
}
