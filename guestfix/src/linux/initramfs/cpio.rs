// SPDX-License-Identifier: Apache-2.0
//! The cpio format of an initramfs: "newc" (`070701`) and "newc with checksum" (`070702`).
//!
//! Format: <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.

use std::fmt;
use std::io::{self, BufRead, Read};

/// Bytes of a member header.
const HEADER: usize = 110;
/// The kernel skips members with longer names (`PATH_MAX`).
pub const MAX_NAME: u32 = 4096;
/// Mask of a mode's file type.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_DIR: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;
/// The name that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Why an archive cannot be read on.
#[derive(Debug)]
pub enum Damage {
    /// The input ended inside a member or before the trailer.
    Truncated,
    /// A header that the kernel would refuse, with what is wrong.
    Malformed(&'static str),
    /// Reading failed.
    Io(io::Error),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the archive ends before its trailer"),
            Self::Malformed(what) => f.write_str(what),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Io(error),
        }
    }
}

/// A member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name as stored, up to its NUL.
    pub name: Vec<u8>,
    /// Type and permission bits.
    pub mode: u32,
    /// Body length, bytes.
    pub size: u32,
    /// Hard links to it; all but the last of them come without a body.
    pub nlink: u32,
}

impl Entry {
    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.mode & TYPE_MASK == TYPE_DIR
    }

    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.mode & TYPE_MASK == TYPE_FILE
    }

    /// A symbolic link; the body is its target.
    pub fn is_link(&self) -> bool {
        self.mode & TYPE_MASK == TYPE_LINK
    }
}

/// Reads one stream that may hold several archives, member by member.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Bytes of the current body still unread.
    body: u32,
    /// Bytes read since the start, for alignment.
    at: u64,
}

impl<R: BufRead> Reader<R> {
    /// Starts at a place that counts as aligned.
    pub fn new(input: R) -> Self {
        Self {
            input,
            body: 0,
            at: 0,
        }
    }

    /// The input, for what follows the archive.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// Bytes read since the start.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next member; `None` at the trailer. A body not read is skipped.
    ///
    /// # Errors
    /// [`Damage`] where the kernel would stop too.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Damage> {
        loop {
            self.finish_body()?;
            let mut raw = [0_u8; HEADER];
            self.read_exact(&mut raw)?;
            let (entry, name_size) = parse_header(&raw)?;
            self.body = entry.size;
            if name_size == 0 || name_size > MAX_NAME {
                self.skip(u64::from(name_size))?;
                self.align()?;
                continue;
            }
            let mut name = Vec::with_capacity(64);
            let got = (&mut self.input)
                .take(u64::from(name_size))
                .read_to_end(&mut name)?;
            self.at = self.at.saturating_add(got as u64);
            if got as u64 != u64::from(name_size) {
                return Err(Damage::Truncated);
            }
            name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
            self.align()?;
            if name == TRAILER {
                self.finish_body()?;
                return Ok(None);
            }
            return Ok(Some(Entry { name, ..entry }));
        }
    }

    /// Skips zero bytes after a trailer. True when another archive of the same stream follows,
    /// false at the end of the stream.
    ///
    /// # Errors
    /// [`Damage::Malformed`] when something else follows.
    pub fn next_archive(&mut self) -> Result<bool, Damage> {
        self.skip_zeros()?;
        match self.input.fill_buf()?.first() {
            None => Ok(false),
            Some(b'0') if self.at.is_multiple_of(4) => Ok(true),
            Some(_) => Err(Damage::Malformed("junk after an archive's trailer")),
        }
    }

    fn skip_zeros(&mut self) -> Result<(), Damage> {
        loop {
            let buffer = self.input.fill_buf()?;
            let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                return Ok(());
            }
            self.input.consume(zeros);
            self.at = self.at.saturating_add(zeros as u64);
        }
    }

    /// Reads the current body whole, up to `limit` bytes; `None` when it is longer.
    ///
    /// # Errors
    /// [`Damage`] when the input ends first.
    pub fn body(&mut self, limit: u32) -> Result<Option<Vec<u8>>, Damage> {
        if self.body > limit {
            return Ok(None);
        }
        let mut out = Vec::new();
        let want = u64::from(self.body);
        let got = (&mut self.input).take(want).read_to_end(&mut out)? as u64;
        self.at = self.at.saturating_add(got);
        self.body = 0;
        if got != want {
            return Err(Damage::Truncated);
        }
        self.align()?;
        Ok(Some(out))
    }

    fn finish_body(&mut self) -> Result<(), Damage> {
        self.skip(u64::from(self.body))?;
        self.body = 0;
        self.align()
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), Damage> {
        self.input.read_exact(buffer)?;
        self.at = self.at.saturating_add(buffer.len() as u64);
        Ok(())
    }

    fn align(&mut self) -> Result<(), Damage> {
        self.skip(self.at.wrapping_neg() & 3)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Damage> {
        let mut left = bytes;
        while left > 0 {
            let have = self.input.fill_buf()?.len();
            if have == 0 {
                return Err(Damage::Truncated);
            }
            let step = usize::try_from(left).map_or(have, |left| left.min(have));
            self.input.consume(step);
            left = left.saturating_sub(step as u64);
        }
        self.at = self.at.saturating_add(bytes);
        Ok(())
    }
}

fn parse_header(raw: &[u8; HEADER]) -> Result<(Entry, u32), Damage> {
    match raw.get(..6) {
        Some(b"070701" | b"070702") => {}
        Some(b"070707") => return Err(Damage::Malformed("an archive of the old cpio format")),
        _ => return Err(Damage::Malformed("no cpio magic where a member must begin")),
    }
    let field = |index: usize| -> Result<u32, Damage> {
        let start = index.saturating_mul(8).saturating_add(6);
        raw.get(start..start.saturating_add(8))
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or(Damage::Malformed("a cpio header field is not hexadecimal"))
    };
    let entry = Entry {
        name: Vec::new(),
        mode: field(1)?,
        nlink: field(4)?,
        size: field(6)?,
    };
    Ok((entry, field(11)?))
}

/// Writes one archive: the same input gives the same bytes (owner root, time 0, inodes counted).
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    inode: u32,
}

impl Writer {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True before the first member.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Adds a directory, mode 0755.
    pub fn dir(&mut self, name: &str) {
        self.member(name.as_bytes(), TYPE_DIR | 0o755, 2, &[]);
    }

    /// Adds a file, mode 0644. Bodies must be shorter than 4 GiB; a longer one is cut in the
    /// header and so in what the kernel sees.
    pub fn file(&mut self, name: &str, body: &[u8]) {
        self.member(name.as_bytes(), TYPE_FILE | 0o644, 1, body);
    }

    /// Adds a program, mode 0755.
    pub fn program(&mut self, name: &str, body: &[u8]) {
        self.member(name.as_bytes(), TYPE_FILE | 0o755, 1, body);
    }

    /// Adds a symlink.
    pub fn symlink(&mut self, name: &str, target: &str) {
        self.member(name.as_bytes(), TYPE_LINK | 0o777, 1, target.as_bytes());
    }

    fn member(&mut self, name: &[u8], mode: u32, nlink: u32, body: &[u8]) {
        self.inode = self.inode.wrapping_add(1);
        let inode = self.inode;
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        // inode, mode, uid, gid, nlink, mtime, size, device (2), rdev (2), name size, checksum
        let fields = [inode, mode, 0, 0, nlink, 0, size, 0, 0, 0, 0, name_size, 0];
        self.out.extend_from_slice(b"070701");
        for field in fields {
            self.out
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.out.extend_from_slice(name);
        self.out.push(0);
        self.pad(4);
        self.out.extend_from_slice(body);
        self.pad(4);
    }

    fn pad(&mut self, to: usize) {
        let len = self.out.len().next_multiple_of(to.max(1));
        self.out.resize(len, 0);
    }

    /// Ends the archive with its trailer and zeros up to a multiple of `block` bytes.
    pub fn finish(mut self, block: usize) -> Vec<u8> {
        self.inode = u32::MAX; // the trailer's inode is 0
        self.member(TRAILER, 0, 1, &[]);
        self.pad(block);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, Damage> {
        let mut reader = Reader::new(bytes);
        let mut out = Vec::new();
        loop {
            while let Some(entry) = reader.next_entry()? {
                let body = reader.body(u32::MAX)?.unwrap();
                out.push((entry, body));
            }
            if !reader.next_archive()? {
                return Ok(out);
            }
        }
    }

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.dir("lib");
        writer.file("lib/odd", b"12345");
        writer.symlink("bin", "usr/bin");
        writer.finish(512)
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = sample();
        assert_eq!(bytes.len() % 512, 0);
        let members = names(&bytes).unwrap();
        assert!(members[0].0.is_dir());
        assert_eq!(members[1].0.name, b"lib/odd");
        assert_eq!(members[1].1, b"12345");
        assert!(members[2].0.is_link());
        assert_eq!(members[2].1, b"usr/bin");
        assert_eq!(bytes, sample(), "the same input gives the same bytes");
    }

    #[test]
    fn a_cut_archive_is_damaged_at_every_length() {
        let bytes = sample();
        let end = bytes.iter().rposition(|b| *b == b'!').unwrap() + 1;
        for cut in 0..end {
            let read = names(&bytes[..cut]);
            assert!(matches!(read, Err(Damage::Truncated)), "{cut}: {read:?}");
        }
    }

    #[test]
    fn overlong_names_are_skipped_as_the_kernel_does() {
        let mut writer = Writer::new();
        writer.file(&"x".repeat(5000), b"body");
        writer.file("after", b"");
        let members = names(&writer.finish(4)).unwrap();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].0.name, b"after");
    }

    #[test]
    fn the_old_format_and_bad_digits_are_named() {
        let mut bytes = sample();
        bytes[5] = b'7';
        assert!(names(&bytes).unwrap_err().to_string().contains("old cpio"));
        let mut bytes = sample();
        bytes[20] = b'+';
        let error = names(&bytes).unwrap_err().to_string();
        assert!(error.contains("hexadecimal"), "{error}");
    }

    #[test]
    fn a_claimed_size_costs_no_memory() {
        let mut bytes = sample();
        bytes[54..62].copy_from_slice(b"FFFFFFFF");
        assert!(matches!(names(&bytes), Err(Damage::Truncated)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = names(&bytes);
        }

        #[test]
        fn no_changed_byte_makes_the_reader_panic(at in 0_usize..400, byte in any::<u8>()) {
            let mut bytes = sample();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = names(&bytes);
        }
    }
}
