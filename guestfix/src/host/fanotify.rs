// SPDX-License-Identifier: Apache-2.0
//! What a guest's program touched: the kernel tells of every name that is made, changed, moved or
//! removed on the guest's filesystems while the program runs (fanotify(7), with directory handles
//! and names, Linux 5.9).
//!
//! A write through a memory mapping is not told by the kernel.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::files;
use super::watched::{self, Filesystem};
use crate::error::{Error, Result};
use crate::fs::GuestPath;

/// Paths that are told.
const MAX_TOLD: usize = 2000;
/// Paths that are remembered while the program runs, the short-lived among them.
const MAX_KEPT: usize = 50_000;
/// Reads of 64 KiB at a time: more than the kernel's queue of 16384 events.
const ROUNDS: usize = 64;
/// Bytes of a file handle: `MAX_HANDLE_SZ`.
const MAX_HANDLE: usize = 128;

/// What a guest's program touched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// By path; the first 2000.
    pub paths: Vec<Touch>,
    /// Paths that were touched beyond these.
    pub more: u64,
    /// Why the list may be incomplete, one clause each.
    pub unseen: Vec<String>,
}

/// One touched path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The path.
    pub path: GuestPath,
    /// What became of it.
    pub how: How,
}

/// What became of a path, from before the program to after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is new.
    Created,
    /// Its content, its attributes or what it is.
    Changed,
    /// It is gone.
    Removed,
}

/// A watch over all filesystems of a guest.
#[derive(Debug)]
pub(super) struct Watch {
    group: Option<OwnedFd>,
    filesystems: Vec<Filesystem>,
    /// True for a path whose first event was that it came to be.
    seen: BTreeMap<GuestPath, bool>,
    lost: u64,
    unseen: Vec<String>,
    buffer: Vec<u8>,
}

impl Watch {
    /// Begins. Where the kernel cannot watch, that is said in the end; it is no error.
    pub(super) fn start(tree: BorrowedFd<'_>) -> Result<Self> {
        let mut watch = Self {
            group: None,
            filesystems: Vec::new(),
            seen: BTreeMap::new(),
            lost: 0,
            unseen: Vec::new(),
            buffer: vec![0; 64 << 10],
        };
        let flags = libc::FAN_CLASS_NOTIF
            | libc::FAN_REPORT_DFID_NAME
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK;
        // SAFETY: takes two numbers and returns a descriptor that is ours.
        let group = unsafe { libc::fanotify_init(flags, libc::O_RDONLY.cast_unsigned()) };
        if group < 0 {
            let why = std::io::Error::last_os_error();
            watch
                .unseen
                .push(format!("the kernel has no fanotify for it: {why}"));
            return Ok(watch);
        }
        // SAFETY: just returned as a new descriptor.
        let group = unsafe { OwnedFd::from_raw_fd(group) };
        for filesystem in watched::filesystems(tree)? {
            match mark(&group, filesystem.whole.as_fd()) {
                Ok(()) => watch.filesystems.push(filesystem),
                Err(why) => watch.unseen.push(format!(
                    "the {} at {} cannot be watched: {why}",
                    filesystem.kind, filesystem.at
                )),
            }
        }
        watch.group = Some(group);
        Ok(watch)
    }

    /// Readable when there is something to [`Watch::drain`].
    pub(super) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.group.as_ref().map(AsFd::as_fd)
    }

    /// Takes what the kernel has to tell.
    pub(super) fn drain(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut result = Ok(());
        for _ in 0..ROUNDS {
            match rustix::io::read(&group, &mut buffer) {
                Ok(len) => self.events_in(buffer.get(..len).unwrap_or_default()),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => {
                    result = Err(Error::io("reading what a guest program touched", e));
                    break;
                }
            }
        }
        self.buffer = buffer;
        self.group = Some(group);
        result
    }

    fn events_in(&mut self, mut bytes: &[u8]) {
        let mut last: Option<(Vec<u8>, Option<GuestPath>)> = None;
        while let Some((event, rest)) = Event::parse(bytes) {
            bytes = rest;
            if event.mask & libc::FAN_Q_OVERFLOW != 0 {
                self.missed("more happened at once than the kernel keeps");
            }
            for (fsid, handle, name) in event.names() {
                let known = last.as_ref().filter(|(of, _)| of == handle);
                let dir = match known {
                    Some((_, dir)) => dir.clone(),
                    None => self.resolve(fsid, handle),
                };
                // A directory that is gone already went with all that was in it.
                if let Some(dir) = &dir {
                    self.note(dir, name, event.mask);
                }
                last = Some((handle.to_vec(), dir));
            }
        }
    }

    fn note(&mut self, dir: &GuestPath, name: &[u8], mask: u64) {
        let path = match name {
            b"." | b"" => dir.clone(),
            name => dir.join(name),
        };
        let new = mask & libc::FAN_CREATE != 0;
        if self.seen.contains_key(&path) {
            return;
        }
        if self.seen.len() >= MAX_KEPT {
            self.lost = self.lost.saturating_add(1);
        } else {
            self.seen.insert(path, new);
        }
    }

    fn missed(&mut self, why: &str) {
        if !self.unseen.iter().any(|have| have == why) {
            self.unseen.push(why.to_owned());
        }
    }

    fn resolve(&self, fsid: &[u8], handle: &[u8]) -> Option<GuestPath> {
        let mut filesystems = self.filesystems.iter();
        let filesystem = filesystems.find(|filesystem| filesystem.id == fsid)?;
        let mut mounts = filesystem.mounts.iter();
        mounts.find_map(|mount| {
            let opened = open_handle(mount.root.as_fd(), handle).ok()?;
            let link = format!("/proc/self/fd/{}", opened.as_raw_fd());
            let path = std::fs::read_link(link).ok()?.into_os_string().into_vec();
            let below = path.strip_prefix(mount.host_path.as_slice())?;
            (below.is_empty() || below.starts_with(b"/")).then_some(())?;
            let deleted = rustix::fs::fstat(&opened).ok()?.st_nlink == 0;
            (!deleted).then(|| GuestPath::new([mount.at.as_bytes(), b"/", below].concat()))
        })
    }

    /// Ends: compares what was told with what is there now.
    pub(super) fn finish(mut self, tree: BorrowedFd<'_>) -> Result<Touched> {
        self.drain()?;
        let mut touched = Touched {
            more: self.lost,
            unseen: self.unseen,
            ..Touched::default()
        };
        if self.lost > 0 {
            let why = format!("only {MAX_KEPT} paths were followed");
            touched.unseen.push(why);
        }
        for (path, new) in self.seen {
            let there = files::open(tree, &path, OFlags::PATH | OFlags::NOFOLLOW).is_ok();
            let how = match (new, there) {
                (true, false) => continue,
                (true, true) => How::Created,
                (false, true) => How::Changed,
                (false, false) => How::Removed,
            };
            if touched.paths.len() < MAX_TOLD {
                touched.paths.push(Touch { path, how });
            } else {
                touched.more = touched.more.saturating_add(1);
            }
        }
        Ok(touched)
    }
}

fn mark(group: &OwnedFd, root: BorrowedFd<'_>) -> std::io::Result<()> {
    let mask = libc::FAN_CREATE
        | libc::FAN_DELETE
        | libc::FAN_MOVED_FROM
        | libc::FAN_MOVED_TO
        | libc::FAN_MODIFY
        | libc::FAN_ATTRIB
        | libc::FAN_ONDIR;
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    let path = CString::from(c".");
    // SAFETY: the kernel reads a C string that outlives the call.
    let rc = unsafe {
        libc::fanotify_mark(
            group.as_raw_fd(),
            flags,
            mask,
            root.as_raw_fd(),
            path.as_ptr(),
        )
    };
    match rc {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Opens what a file handle means; `handle` is a `struct file_handle`.
fn open_handle(mount: BorrowedFd<'_>, handle: &[u8]) -> std::io::Result<OwnedFd> {
    let mut aligned = [0_u64; (8 + MAX_HANDLE) / 8];
    let words = handle.chunks(8);
    if handle.len() > size_of_val(&aligned) {
        return Err(Errno::INVAL.into());
    }
    for (slot, word) in aligned.iter_mut().zip(words) {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(word) {
            *to = *from;
        }
        *slot = u64::from_ne_bytes(bytes);
    }
    // SAFETY: the kernel reads a file_handle whose `handle_bytes` were checked against the bytes
    // that follow it, and returns a descriptor that is ours.
    unsafe {
        let at = aligned.as_mut_ptr().cast::<libc::file_handle>();
        let flags = libc::O_PATH | libc::O_CLOEXEC;
        match libc::open_by_handle_at(mount.as_raw_fd(), at, flags) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

/// One event as the kernel writes it: `struct fanotify_event_metadata` and its records.
#[derive(Debug, PartialEq, Eq)]
struct Event<'a> {
    mask: u64,
    records: &'a [u8],
}

impl<'a> Event<'a> {
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let len = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let header = usize::from(u16_at(bytes, 6)?);
        let mask = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
        let records = bytes.get(header..len)?;
        Some((Self { mask, records }, bytes.get(len..)?))
    }

    /// Filesystem, directory handle and name of every record that has them.
    fn names(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8], &'a [u8])> + use<'a> {
        let mut left = self.records;
        std::iter::from_fn(move || {
            loop {
                let kind = *left.first()?;
                let len = usize::from(u16_at(left, 2)?).max(4);
                let record = left.get(..len)?;
                left = left.get(len..)?;
                if kind == libc::FAN_EVENT_INFO_TYPE_DFID_NAME
                    && let Some(found) = name_record(record)
                {
                    return Some(found);
                }
            }
        })
    }
}

/// `struct fanotify_event_info_fid`: header, filesystem, handle, and behind it the name.
fn name_record(record: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let fsid = record.get(4..12)?;
    let handle_len = usize::try_from(u32_at(record, 12)?).ok()?.checked_add(8)?;
    let (handle, name) = record.get(12..)?.split_at_checked(handle_len)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some((fsid, handle, name))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.get(..2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.get(..4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(mask: u64, records: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((24 + u32::try_from(records.len()).unwrap()).to_ne_bytes());
        out.extend([3, 0]);
        out.extend(24_u16.to_ne_bytes());
        out.extend(mask.to_ne_bytes());
        out.extend([0xff; 8]);
        out.extend(records);
        out
    }

    fn record(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, 0];
        out.extend([7; 8]);
        out.extend(u32::try_from(handle.len()).unwrap().to_ne_bytes());
        out.extend(1_i32.to_ne_bytes());
        out.extend(handle);
        out.extend(name);
        out.push(0);
        let len = u16::try_from(out.len()).unwrap().to_ne_bytes();
        out[2..4].copy_from_slice(&len);
        out
    }

    #[test]
    fn names_are_read_from_the_records_that_have_them() {
        let records = [record(1, b"file", b""), record(2, b"dir1dir2", b"motd")].concat();
        let bytes = [
            event(libc::FAN_CREATE, &records),
            event(libc::FAN_Q_OVERFLOW, b""),
        ]
        .concat();
        let (first, rest) = Event::parse(&bytes).unwrap();
        let names: Vec<_> = first.names().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(names[0].0, [7; 8]);
        assert!(names[0].1.ends_with(b"dir1dir2"));
        assert_eq!(names[0].2, b"motd");
        let (second, rest) = Event::parse(rest).unwrap();
        assert_eq!(second.mask, libc::FAN_Q_OVERFLOW);
        assert!(Event::parse(rest).is_none());
    }

    #[test]
    fn cut_events_end_the_reading() {
        let bytes = event(libc::FAN_CREATE, &record(2, b"dir1dir2", b"motd"));
        for len in 0..bytes.len() {
            if let Some((event, _)) = Event::parse(&bytes[..len]) {
                assert_eq!(event.names().count(), 0, "{len}");
            }
        }
        for len in 0..20 {
            assert_eq!(name_record(&record(2, b"dir1dir2", b"")[..len]), None);
        }
    }
}
