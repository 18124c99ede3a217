// SPDX-License-Identifier: Apache-2.0
//! Image locks as QEMU takes them, so that a running virtual machine and guestfix see each other.
//!
//! QEMU (block/file-posix.c, `RAW_LOCK_PERM_BASE`) holds a shared OFD lock on byte `100 + i` for
//! every permission `i` it uses and on `200 + i` for every permission it does not let others use.
//! Whoever wants to know whether somebody minds tests these bytes for a conflict with an exclusive
//! lock. Locks of one open file description never conflict with each other.
//! <https://gitlab.com/qemu-project/qemu/-/blob/master/block/file-posix.c>

use std::fs::File;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::error::{Error, Result};

const USED_BASE: i64 = 100;
const UNSHARED_BASE: i64 = 200;

/// Permission bits, by their number in QEMU's `BLK_PERM_*`.
const CONSISTENT_READ: u8 = 0;
const WRITE: u8 = 1;
const RESIZE: u8 = 3;

/// Locks on a disk's file, held until this is dropped (or the last descriptor of the open file
/// description it was taken on is closed). Take one at a time on an open file description: dropping
/// one releases the bytes of all.
#[derive(Debug)]
pub struct ImageLock {
    file: File,
}

impl ImageLock {
    /// For verbs that only read: refuses while somebody may write, keeps others from writing and
    /// nobody from reading.
    ///
    /// # Errors
    /// `Refused`/`in-use`; `Host`/`io` where the filesystem has no locks.
    pub fn shared_read(file: &File) -> Result<Self> {
        Self::take(file, &[CONSISTENT_READ], &[WRITE, RESIZE])
    }

    /// For convert, undo and recover: refuses while a virtual machine or a qemu tool has the disk
    /// open; one that comes meanwhile fails with `Failed to get "consistent read" lock`.
    ///
    /// Readers are kept out too: QEMU lets a reader of a raw disk share it with writers, and a copy
    /// made during a commit would be half old and half new.
    ///
    /// # Errors
    /// `Refused`/`in-use`; `Host`/`io` where the filesystem has no locks.
    pub fn exclusive(file: &File) -> Result<Self> {
        let all = [CONSISTENT_READ, WRITE, RESIZE];
        Self::take(file, &all, &all)
    }

    fn take(file: &File, used: &[u8], unshared: &[u8]) -> Result<Self> {
        let file = file
            .try_clone()
            .map_err(|e| Error::io("cannot lock the disk", e))?;
        let lock = Self { file };
        // First taken, then tested, as QEMU does: of two that come at once at least one refuses.
        for &bit in used {
            lock.set(USED_BASE + i64::from(bit), libc::F_RDLCK)?;
        }
        for &bit in unshared {
            lock.set(UNSHARED_BASE + i64::from(bit), libc::F_RDLCK)?;
        }
        for &bit in used {
            lock.test(UNSHARED_BASE + i64::from(bit), "does not share it")?;
        }
        for &bit in unshared {
            lock.test(USED_BASE + i64::from(bit), "uses it")?;
        }
        Ok(lock)
    }

    fn set(&self, byte: i64, kind: i32) -> Result<()> {
        match fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLK(&range(byte, kind))) {
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN | Errno::EACCES) => Err(in_use("holds it exclusively")),
            Err(e) => Err(Error::io("cannot lock the disk", e)),
        }
    }

    fn test(&self, byte: i64, why: &str) -> Result<()> {
        let mut found = range(byte, libc::F_WRLCK);
        fcntl(self.file.as_fd(), FcntlArg::F_OFD_GETLK(&mut found))
            .map_err(|e| Error::io("cannot ask for locks on the disk", e))?;
        if i32::from(found.l_type) == libc::F_UNLCK {
            Ok(())
        } else {
            Err(in_use(why))
        }
    }
}

impl Drop for ImageLock {
    fn drop(&mut self) {
        for base in [USED_BASE, UNSHARED_BASE] {
            for bit in [CONSISTENT_READ, WRITE, RESIZE] {
                let _ = self.set(base + i64::from(bit), libc::F_UNLCK);
            }
        }
    }
}

fn range(byte: i64, kind: i32) -> libc::flock {
    libc::flock {
        // F_RDLCK, F_WRLCK and F_UNLCK are 0, 1 and 2.
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: 0,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

fn in_use(why: &str) -> Error {
    Error::refused(
        "in-use",
        format!("the disk is in use: another process {why}"),
    )
    .hint("shut the virtual machine down (or end the other guestfix or qemu tool), then try again")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn image() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        file
    }

    fn open(image: &tempfile::NamedTempFile) -> File {
        File::open(image.path()).unwrap()
    }

    #[test]
    fn readers_share_a_disk_and_a_writer_shares_with_nobody() {
        let image = image();
        let (one, two, three) = (open(&image), open(&image), open(&image));
        let first = ImageLock::shared_read(&one).unwrap();
        let second = ImageLock::shared_read(&two).unwrap();
        assert_eq!(ImageLock::exclusive(&three).unwrap_err().code, "in-use");
        drop((first, second));
        let writer = ImageLock::exclusive(&three).unwrap();
        assert_eq!(ImageLock::shared_read(&one).unwrap_err().code, "in-use");
        assert_eq!(ImageLock::exclusive(&two).unwrap_err().code, "in-use");
        drop(writer);
        ImageLock::exclusive(&one).unwrap();
    }

    #[test]
    fn a_refused_lock_leaves_nothing_behind() {
        let image = image();
        let (one, two, three) = (open(&image), open(&image), open(&image));
        let reader = ImageLock::shared_read(&one).unwrap();
        assert!(ImageLock::exclusive(&two).is_err());
        ImageLock::shared_read(&three).unwrap();
        drop(reader);
        ImageLock::exclusive(&three).unwrap();
    }

    fn qemu_io(image: &tempfile::NamedTempFile, args: &[&str]) -> (bool, String) {
        let out = Command::new("qemu-io")
            .args(args)
            .arg(image.path())
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        (
            out.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    #[test]
    fn qemu_cannot_open_what_is_locked_for_a_conversion() {
        let image = image();
        let file = open(&image);
        let lock = ImageLock::exclusive(&file).unwrap();
        let (ok, text) = qemu_io(&image, &["-f", "raw", "-c", "read 0 512"]);
        assert!(
            !ok && text.contains("Failed to get \"consistent read\" lock"),
            "{text}"
        );
        let (ok, _) = qemu_io(&image, &["-r", "-f", "raw", "-c", "read 0 512"]);
        assert!(!ok, "a reader must not see a half-written disk");
        drop(lock);
        let (ok, text) = qemu_io(&image, &["-f", "raw", "-c", "read 0 512"]);
        assert!(ok, "{text}");
    }

    #[test]
    fn qemu_may_read_but_not_write_beside_a_reader() {
        let image = image();
        let file = open(&image);
        let _lock = ImageLock::shared_read(&file).unwrap();
        let (ok, text) = qemu_io(&image, &["-r", "-f", "raw", "-c", "read 0 512"]);
        assert!(ok, "{text}");
        let (ok, text) = qemu_io(&image, &["-f", "raw", "-c", "write 0 512"]);
        assert!(!ok && text.contains("lock"), "{text}");
    }

    /// A qemu-io that has opened the image and waits; it ends when its input is closed.
    fn waiting_qemu_io(image: &tempfile::NamedTempFile, args: &[&str]) -> Child {
        let mut child = Command::new("qemu-io")
            .args(args)
            .arg(image.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"length\n")
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        child
    }

    #[test]
    fn a_disk_that_qemu_writes_to_is_refused() {
        let image = image();
        let file = open(&image);
        let mut writer = waiting_qemu_io(&image, &["-f", "raw"]);
        let codes = [ImageLock::shared_read(&file), ImageLock::exclusive(&file)]
            .map(|lock| lock.map_err(|e| e.code).err());
        drop(writer.stdin.take());
        writer.wait().unwrap();
        assert_eq!(
            codes,
            [Some("in-use".to_owned()), Some("in-use".to_owned())]
        );

        let mut reader = waiting_qemu_io(&image, &["-r", "-f", "raw"]);
        let shared = ImageLock::shared_read(&file).is_ok();
        let exclusive = ImageLock::exclusive(&file).is_ok();
        drop(reader.stdin.take());
        reader.wait().unwrap();
        assert_eq!((shared, exclusive), (true, false));
        ImageLock::exclusive(&file).unwrap();
    }
}
