// SPDX-License-Identifier: Apache-2.0
//! The subvolumes of a mounted btrfs, asked of the kernel: `BTRFS_IOC_TREE_SEARCH` and
//! `BTRFS_IOC_INO_LOOKUP` (include/uapi/linux/btrfs.h, btrfs_tree.h).
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Error, Result};
use crate::fs::{GuestPath, Subvolume};

/// The size of both arguments, bytes.
const ARGUMENT: usize = 4096;
/// The size of `struct btrfs_ioctl_search_key`; items follow it.
const KEY: usize = 104;
/// The size of `struct btrfs_ioctl_search_header`, which stands before each item.
const HEADER: usize = 32;
/// The tree of tree roots; its directory of names, where "default" is; the top level's tree.
const ROOT_TREE: u64 = 1;
const ROOT_TREE_DIR: u64 = 6;
const TOP_LEVEL: u64 = 5;
/// Types of items.
const DIR_ITEM: u32 = 84;
const ROOT_BACKREF: u32 = 144;
/// Subvolumes looked at; a system with more has them from containers and snapshots.
const MAX_SUBVOLUMES: usize = 4096;
/// Subvolumes within subvolumes.
const MAX_DEPTH: u32 = 64;

/// An item that a search found.
struct Item {
    objectid: u64,
    offset: u64,
    data: Vec<u8>,
}

/// Where a subvolume is entered in its parent.
struct Entry {
    parent: u64,
    dir: u64,
    name: Vec<u8>,
}

/// Every subvolume of the btrfs that `root` lies on, the top level first.
///
/// # Errors
/// `Host`/`io` when the kernel refuses.
pub(super) fn list(root: BorrowedFd<'_>) -> Result<Vec<Subvolume>> {
    let mut entries = BTreeMap::new();
    for item in search(root, (0, u64::MAX), ROOT_BACKREF)? {
        // struct btrfs_root_ref: the directory's inode, a sequence number, the name's length.
        let dir = le64(&item.data, 0).unwrap_or_default();
        let len = usize::from(le16(&item.data, 16).unwrap_or_default());
        let name = item.data.get(18..).and_then(|name| name.get(..len));
        let entry = Entry {
            parent: item.offset,
            dir,
            name: name.unwrap_or_default().to_vec(),
        };
        entries.insert(item.objectid, entry);
        if entries.len() >= MAX_SUBVOLUMES {
            tracing::warn!("more than {MAX_SUBVOLUMES} subvolumes: the rest is not looked at");
            break;
        }
    }
    let default = default_subvolume(root)?;
    let mut found = vec![Subvolume {
        id: TOP_LEVEL,
        path: GuestPath::root(),
        default: default == TOP_LEVEL,
    }];
    for id in entries.keys() {
        // One that was deleted and not yet cleaned up has no place any more.
        if let Some(path) = place(root, &entries, *id)? {
            found.push(Subvolume {
                id: *id,
                path,
                default: *id == default,
            });
        }
    }
    Ok(found)
}

/// What `btrfs subvolume set-default` chose: the directory item "default" names it.
fn default_subvolume(root: BorrowedFd<'_>) -> Result<u64> {
    let items = search(root, (ROOT_TREE_DIR, ROOT_TREE_DIR), DIR_ITEM)?;
    // struct btrfs_dir_item: the key that it leads to (17 bytes), ..., the name's length at 27,
    // the name at 30.
    let named = items.iter().find(|item| {
        le16(&item.data, 27) == Some(7) && item.data.get(30..37) == Some(b"default".as_slice())
    });
    Ok(named
        .and_then(|item| le64(&item.data, 0))
        .unwrap_or(TOP_LEVEL))
}

/// The path of a subvolume below the top level.
fn place(
    root: BorrowedFd<'_>,
    entries: &BTreeMap<u64, Entry>,
    id: u64,
) -> Result<Option<GuestPath>> {
    let mut parts = Vec::new();
    let mut at = id;
    for _ in 0..MAX_DEPTH {
        if at == TOP_LEVEL {
            let path = parts
                .into_iter()
                .rev()
                .collect::<Vec<Vec<u8>>>()
                .join(&b'/');
            return Ok(Some(GuestPath::root().join(path)));
        }
        let Some(entry) = entries.get(&at) else {
            return Ok(None);
        };
        let Some(dir) = directory(root, entry)? else {
            return Ok(None);
        };
        parts.push([dir, entry.name.clone()].concat());
        at = entry.parent;
    }
    Ok(None)
}

/// The path, with a slash at its end, of the directory in its subvolume; empty for its root.
fn directory(root: BorrowedFd<'_>, entry: &Entry) -> Result<Option<Vec<u8>>> {
    let mut argument = [0_u8; ARGUMENT];
    put(&mut argument, 0, entry.parent);
    put(&mut argument, 8, entry.dir);
    match control(root, 18, &mut argument) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        Err(error) => return Err(Error::io("asking for a subvolume's place", error)),
    }
    let name = argument.get(16..).unwrap_or_default();
    Ok(name.split(|byte| *byte == 0).next().map(<[u8]>::to_vec))
}

/// All items of one type in the tree of tree roots, by a range of object ids.
fn search(root: BorrowedFd<'_>, (first, last): (u64, u64), kind: u32) -> Result<Vec<Item>> {
    let mut found = Vec::new();
    let (mut objectid, mut from, mut offset) = (first, kind, 0_u64);
    while found.len() < MAX_SUBVOLUMES {
        let mut argument = [0_u8; ARGUMENT];
        for (index, word) in [ROOT_TREE, objectid, last, offset, u64::MAX, 0, u64::MAX]
            .into_iter()
            .enumerate()
        {
            put(&mut argument, index.saturating_mul(8), word);
        }
        put(&mut argument, 56, u64::from(from) | u64::from(kind) << 32);
        put(&mut argument, 64, 4096);
        control(root, 17, &mut argument).map_err(|e| Error::io("listing subvolumes", e))?;
        let count = le32(&argument, 64).unwrap_or_default();
        // The range is one of whole keys, so it goes on behind the last one of any type.
        match items(&argument, count, kind, &mut found) {
            Some((id, last, at)) => {
                offset = at.wrapping_add(1);
                from = last.saturating_add(u32::from(offset == 0));
                objectid = id;
            }
            None => break,
        }
    }
    Ok(found)
}

/// Takes the items out of a search's result; object id, type and offset of the last one.
fn items(argument: &[u8], count: u32, kind: u32, found: &mut Vec<Item>) -> Option<(u64, u32, u64)> {
    let mut rest = argument.get(KEY..)?;
    let mut last = None;
    for _ in 0..count {
        let (header, behind) = rest.split_at_checked(HEADER)?;
        let len = usize::try_from(le32(header, 28)?).ok()?;
        let (data, behind) = behind.split_at_checked(len)?;
        let (objectid, offset, of) = (le64(header, 8)?, le64(header, 16)?, le32(header, 24)?);
        if of == kind {
            found.push(Item {
                objectid,
                offset,
                data: data.to_vec(),
            });
        }
        last = Some((objectid, of, offset));
        rest = behind;
    }
    last
}

fn put(argument: &mut [u8; ARGUMENT], at: usize, word: u64) {
    if let Some(place) = argument.get_mut(at..at.saturating_add(8)) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

fn le16(from: &[u8], at: usize) -> Option<u16> {
    bytes(from, at).map(u16::from_le_bytes)
}

fn le32(from: &[u8], at: usize) -> Option<u32> {
    bytes(from, at).map(u32::from_le_bytes)
}

fn le64(from: &[u8], at: usize) -> Option<u64> {
    bytes(from, at).map(u64::from_le_bytes)
}

/// `_IOWR(0x94, number, ARGUMENT)`.
fn control(
    root: BorrowedFd<'_>,
    number: u64,
    argument: &mut [u8; ARGUMENT],
) -> std::io::Result<()> {
    let request = 3 << 30 | (ARGUMENT as u64) << 16 | 0x94 << 8 | number;
    // SAFETY: both requests read and write one structure of ARGUMENT bytes, which outlives the call.
    let rc = unsafe {
        libc::ioctl(
            root.as_raw_fd(),
            request as libc::Ioctl,
            argument.as_mut_ptr(),
        )
    };
    if rc == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_taken_apart_and_a_cut_one_ends_the_list() {
        let mut argument = vec![0_u8; KEY];
        for (objectid, kind, data) in [(256_u64, ROOT_BACKREF, b"abc"), (257, DIR_ITEM, b"def")] {
            argument.extend(0_u64.to_le_bytes());
            argument.extend(objectid.to_le_bytes());
            argument.extend(5_u64.to_le_bytes());
            argument.extend(kind.to_le_bytes());
            argument.extend(3_u32.to_le_bytes());
            argument.extend(data);
        }
        let mut found = Vec::new();
        assert_eq!(
            items(&argument, 2, ROOT_BACKREF, &mut found),
            Some((257, DIR_ITEM, 5))
        );
        assert_eq!(found.len(), 1, "the other type is left out");
        assert_eq!(
            (found[0].objectid, found[0].data.as_slice()),
            (256, &b"abc"[..])
        );
        assert_eq!(items(&argument, 3, ROOT_BACKREF, &mut Vec::new()), None);
    }
}
