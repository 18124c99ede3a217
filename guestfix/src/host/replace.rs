// SPDX-License-Identifier: Apache-2.0
//! Putting a whole new content, already made elsewhere, in the place of a guest's file.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::OFlags;

use super::files::{self, Thawed};
use crate::error::{Error, Result};
use crate::fs::GuestPath;

/// Left free on the filesystem, bytes: its own bookkeeping needs room too.
const RESERVE: u64 = 1 << 20;

/// Replaces the content of `path`, in place: inode, owner, mode, xattrs and hard links stay, and
/// of all ways this one needs the least room, none but what the new content is longer.
///
/// The file is not whole while this runs; what makes it safe is that the guest is written through
/// an overlay, which an error throws away.
///
/// # Errors
/// `Refused`/`boot-full` when the room does not suffice, before anything is written; as
/// [`files::write`] otherwise.
pub(super) fn replace(tree: BorrowedFd<'_>, path: &GuestPath, content: &mut File) -> Result<()> {
    let gone = || files::changed(path, "it is gone");
    let old = files::regular(tree, path, OFlags::RDONLY)?.ok_or_else(gone)?;
    let len = |file: &File| file.metadata().map(|meta| meta.len());
    let (new_len, old_len) = len(content)
        .and_then(|new| len(&old).map(|old| (new, old)))
        .map_err(files::failed_io("measuring", path))?;
    let needed = new_len.saturating_sub(old_len).saturating_add(RESERVE);
    let free = files::space(tree, path)?.free_bytes;
    if needed > free {
        return Err(boot_full(path, new_len, needed, free));
    }
    let thawed = Thawed::new(old.as_fd(), path)?;
    let mut file = files::regular(tree, path, OFlags::WRONLY | OFlags::TRUNC)?.ok_or_else(gone)?;
    std::io::copy(content, &mut file).map_err(files::failed_io("writing", path))?;
    // A full filesystem often says so only now.
    file.sync_all()
        .map_err(files::failed_io("writing back", path))?;
    drop(thawed);
    Ok(())
}

fn boot_full(path: &GuestPath, new: u64, needed: u64, free: u64) -> Error {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    Error::refused(
        "boot-full",
        format!(
            "the new {path} has {} KiB: {} KiB more are needed on its filesystem, which has {} KiB free",
            kib(new),
            kib(needed),
            kib(free)
        ),
    )
    .hint("remove an old kernel in the guest first, or use --initramfs splice, which needs less")
}
