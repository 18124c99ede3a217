// SPDX-License-Identifier: Apache-2.0
//! FAT12, FAT16 and FAT32, read and written with the `fatfs` crate: EFI system partitions.
//!
//! The crate follows whatever chain of clusters a disk gives, so every operation has an allowance of
//! bytes that it may move, and a panic on a hostile disk is caught and reported as damage. Names are
//! compared without regard to case, as firmware does.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::block::{BlockReader, seek_target};
use super::{FileType, GuestFs, GuestPath, Metadata, ReadSeek, Space};
use crate::disk::Storage;
use crate::error::{Error, Result};

/// What one operation may move beside the file's own content, bytes: a FAT of 32 MiB twice over.
const ALLOWANCE: u64 = 64 << 20;
/// Names in one directory (Microsoft FAT Specification, section 6: 2^16 entries of 32 bytes).
const MAX_NAMES: usize = 65_536;

type Disk = fatfs::FileSystem<Medium>;
type Dir<'a> = fatfs::Dir<'a, Medium>;
type Entry<'a> = fatfs::DirEntry<'a, Medium>;

/// A FAT filesystem.
pub struct Fat {
    inner: Disk,
    reader: Rc<RefCell<BlockReader>>,
    allowance: Rc<Cell<u64>>,
    /// Where the entry `.` was written last.
    dots: Rc<Cell<Option<u64>>>,
}

impl fmt::Debug for Fat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fat").finish_non_exhaustive()
    }
}

impl Fat {
    /// Opens a filesystem. Nothing is written before [`Fat::write`] and its like are called.
    ///
    /// # Errors
    /// `Corrupt`/`fat` when it is damaged.
    pub fn load(volume: Arc<dyn Storage>) -> Result<Self> {
        let allowance = Rc::new(Cell::new(ALLOWANCE));
        let dots = Rc::new(Cell::new(None));
        let reader = BlockReader::new(Arc::clone(&volume));
        let reader = Rc::new(RefCell::new(reader));
        let medium = Medium {
            reader: Rc::clone(&reader),
            volume: Arc::clone(&volume),
            at: 0,
            allowance: Rc::clone(&allowance),
            dots: Rc::clone(&dots),
        };
        let options = fatfs::FsOptions::new()
            .update_accessed_date(false)
            .time_provider(&NOW);
        let inner = contain(|| fatfs::FileSystem::new(medium, options))?;
        Ok(Self {
            inner,
            reader,
            allowance,
            dots,
        })
    }

    /// Runs one operation with a fresh allowance, `len` bytes of content included.
    fn operate<T>(&self, len: u64, work: impl FnOnce() -> io::Result<T>) -> Result<T> {
        self.allowance.set(ALLOWANCE.saturating_add(len));
        contain(work)
    }

    fn find(&self, path: &GuestPath) -> io::Result<Option<Entry<'_>>> {
        let mut dir = self.inner.root_dir();
        let mut found = None;
        for component in path.components() {
            if let Some(entry) = found.take() {
                let entry: Entry<'_> = entry;
                if !entry.is_dir() {
                    return Ok(None);
                }
                dir = entry.to_dir();
            }
            match entry_of(&dir, component)? {
                Some(entry) => found = Some(entry),
                None => return Ok(None),
            }
        }
        Ok(found)
    }

    fn expect(&self, path: &GuestPath, dir: bool, what: &str) -> Result<Entry<'_>> {
        match self.operate(0, || self.find(path))? {
            Some(entry) if entry.is_dir() == dir => Ok(entry),
            _ => Err(super::not_a(what, path)),
        }
    }

    /// Sets a file's whole content; missing directories are made.
    ///
    /// # Errors
    /// `Refused`/`guest-full`; `Refused`/`bad-name` for a name that FAT cannot hold;
    /// `Corrupt`/`fat`; a failure of the storage.
    pub fn write(&self, path: &GuestPath, content: &[u8]) -> Result<()> {
        self.put(path, content, SeekFrom::Start(0))
    }

    /// Makes a directory unless it is there. The crate gives the entries `.` and `..` long names
    /// and, on FAT32, names the root's cluster; the specification (section 6.5) wants neither, and
    /// every checker complains.
    fn make_dir(&self, path: &str) -> io::Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        let in_root = !path.contains('/');
        self.dots.set(None);
        self.inner.root_dir().create_dir(path)?;
        match self.dots.take() {
            Some(place) => self.mend_dots(place, in_root).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    /// Mends the two entries that begin a new directory; `place` is where the first one's short
    /// name stands. Does nothing where they have no long names.
    fn mend_dots(&self, place: u64, in_root: bool) -> Result<()> {
        let Some(start) = place.checked_sub(ENTRY as u64) else {
            return Ok(());
        };
        let mut head = [0_u8; 4 * ENTRY];
        self.reader.borrow_mut().read_exact_at(&mut head, start)?;
        let [long, dot, long_too, dot_dot] = head.as_chunks::<ENTRY>().0 else {
            return Ok(());
        };
        let is_long = |entry: &[u8; ENTRY]| entry.get(11) == Some(&LONG_NAME);
        let named = dot.starts_with(DOT) && dot_dot.starts_with(DOT_DOT);
        if !named || !is_long(long) || !is_long(long_too) {
            return Ok(());
        }
        let mut short = [*dot, *dot_dot, [0; ENTRY], [0; ENTRY]].concat();
        for at in PARENT_CLUSTER.into_iter().filter(|_| in_root) {
            if let Some(byte) = short.get_mut(at) {
                *byte = 0;
            }
        }
        self.reader.borrow_mut().write_at(&short, start)
    }

    /// Appends to a file.
    ///
    /// # Errors
    /// As [`Fat::write`].
    pub fn append(&self, path: &GuestPath, content: &[u8]) -> Result<()> {
        self.expect(path, false, "regular file")?;
        self.put(path, content, SeekFrom::End(0))
    }

    fn put(&self, path: &GuestPath, content: &[u8], from: SeekFrom) -> Result<()> {
        let name = text(path)?;
        self.enough_room(path, content.len() as u64)?;
        self.operate(content.len() as u64, || {
            let mut made = String::new();
            let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
            for part in dir.split('/') {
                made.push_str(part);
                self.make_dir(&made)?;
                made.push('/');
            }
            let mut file = self.inner.root_dir().create_file(&name)?;
            file.seek(from)?;
            file.write_all(content)?;
            file.truncate()?;
            file.flush()
        })
        .map_err(|e| e.context(format!("writing {path}")))
    }

    /// Removes a file; false when there is none.
    ///
    /// # Errors
    /// `Corrupt`/`fat`; a failure of the storage.
    pub fn remove(&self, path: &GuestPath) -> Result<bool> {
        if self.lstat(path)?.is_none() {
            return Ok(false);
        }
        let name = text(path)?;
        self.operate(0, || self.inner.root_dir().remove(&name))?;
        Ok(true)
    }

    /// Ends writing: the free space is noted and the mark of an unclean end is taken off.
    ///
    /// # Errors
    /// A failure of the storage.
    pub fn close(self) -> Result<()> {
        self.allowance.set(ALLOWANCE);
        contain(|| self.inner.unmount())?;
        self.reader.borrow_mut().flush()
    }

    /// A half-written file is worse than none: the room is looked at first.
    fn enough_room(&self, path: &GuestPath, len: u64) -> Result<()> {
        let cluster = u64::from(self.inner.cluster_size()).max(1);
        // Directories on the way may each take a cluster.
        let directories = path.components().count() as u64;
        let wanted = len
            .div_ceil(cluster)
            .saturating_add(directories)
            .saturating_mul(cluster);
        let free = self.space()?.free_bytes;
        if wanted <= free {
            return Ok(());
        }
        Err(Error::refused(
            "guest-full",
            format!(
                "{path} needs {} KiB and the filesystem has {} KiB free",
                wanted >> 10,
                free >> 10
            ),
        )
        .hint("free some space on the EFI system partition in the guest first"))
    }
}

impl GuestFs for Fat {
    fn reader(&self) -> &'static str {
        "fatfs"
    }

    fn lstat(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        let meta = |file_type, len| Metadata {
            file_type,
            len,
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        if *path == GuestPath::root() {
            return Ok(Some(meta(FileType::Dir, 0)));
        }
        let found = self.operate(0, || self.find(path))?;
        Ok(found.map(|entry| match entry.is_dir() {
            true => meta(FileType::Dir, 0),
            false => meta(FileType::File, entry.len()),
        }))
    }

    fn read_link(&self, path: &GuestPath) -> Result<Vec<u8>> {
        Err(super::not_a("symlink", path))
    }

    fn list(&self, path: &GuestPath) -> Result<Vec<Vec<u8>>> {
        let dir = match *path == GuestPath::root() {
            true => self.inner.root_dir(),
            false => self.expect(path, true, "directory")?.to_dir(),
        };
        let mut names = self.operate(0, || names_of(&dir))?;
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &GuestPath) -> Result<Box<dyn ReadSeek + '_>> {
        let entry = self.expect(path, false, "regular file")?;
        let len = entry.len();
        Ok(Box::new(FatFile {
            fs: self,
            file: entry.to_file(),
            len,
        }))
    }

    fn space(&self) -> Result<Space> {
        let stats = self.operate(0, || self.inner.stats())?;
        Ok(Space {
            free_bytes: u64::from(stats.free_clusters())
                .saturating_mul(u64::from(stats.cluster_size())),
            // Directories grow like files.
            free_inodes: u64::from(stats.free_clusters()),
        })
    }
}

fn entry_of<'a>(dir: &Dir<'a>, name: &[u8]) -> io::Result<Option<Entry<'a>>> {
    let Ok(name) = std::str::from_utf8(name) else {
        return Ok(None);
    };
    for entry in dir.iter().take(MAX_NAMES) {
        let entry = entry?;
        let long = entry.file_name();
        if same(&long, name) || same(&entry.short_file_name(), name) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn same(have: &str, want: &str) -> bool {
    have.chars()
        .flat_map(char::to_uppercase)
        .eq(want.chars().flat_map(char::to_uppercase))
}

fn names_of(dir: &Dir<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in dir.iter().take(MAX_NAMES) {
        let name = entry?.file_name();
        if name != "." && name != ".." {
            names.push(name.into_bytes());
        }
    }
    Ok(names)
}

fn text(path: &GuestPath) -> Result<String> {
    let bad = || Error::refused("bad-name", format!("FAT cannot hold a file named {path}"));
    let name = std::str::from_utf8(path.as_bytes()).map_err(|_| bad())?;
    let name = name.trim_matches('/');
    match name.split('/').all(is_name) {
        true => Ok(name.to_owned()),
        false => Err(bad()),
    }
}

/// What a long name may hold (Microsoft FAT Specification, section 7.2).
fn is_name(name: &str) -> bool {
    let forbidden = |c: char| c < ' ' || "\"*:<>?\\|".contains(c);
    !name.is_empty()
        && name.encode_utf16().count() <= 255
        && !name.ends_with(['.', ' '])
        && !name.contains(forbidden)
}

/// Runs the crate and turns a panic, or an error of its own, into a damaged filesystem.
fn contain<T>(work: impl FnOnce() -> io::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(explain(error)),
        Err(_) => Err(damaged("it contradicts itself")),
    }
}

fn explain(error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(error) => damaged(&error.to_string()),
    }
}

fn damaged(how: &str) -> Error {
    Error::corrupt("fat", format!("the FAT filesystem is damaged: {how}"))
        .hint("fsck.vfat in the guest may repair it")
}

struct FatFile<'a> {
    fs: &'a Fat,
    file: fatfs::File<'a, Medium>,
    len: u64,
}

impl Read for FatFile<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (fs, file) = (self.fs, &mut self.file);
        fs.operate(buf.len() as u64, || file.read(buf))
            .map_err(io::Error::other)
    }
}

impl Seek for FatFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (fs, file) = (self.fs, &mut self.file);
        fs.operate(self.len, || file.seek(to))
            .map_err(io::Error::other)
    }
}

/// The name of a directory's entry for itself, and of the one for its parent.
const DOT: &[u8] = b".          ";
const DOT_DOT: &[u8] = b"..         ";
/// Bytes of a directory entry, and its attribute of being part of a long name.
const ENTRY: usize = 32;
const LONG_NAME: u8 = 0x0f;
/// The bytes of the parent's cluster number, high half and low half, in the second entry.
const PARENT_CLUSTER: [usize; 4] = [ENTRY + 20, ENTRY + 21, ENTRY + 26, ENTRY + 27];

/// The volume as the crate wants it: a stream that counts what it moves.
struct Medium {
    volume: Arc<dyn Storage>,
    reader: Rc<RefCell<BlockReader>>,
    at: u64,
    allowance: Rc<Cell<u64>>,
    dots: Rc<Cell<Option<u64>>>,
}

impl Medium {
    /// Small moves count more than they are: a loop of them must end as well.
    fn spend(&self, len: usize) -> io::Result<()> {
        let left = self.allowance.get().checked_sub((len as u64).max(32));
        let left = left.ok_or_else(|| io::Error::other("its chains of clusters have no end"))?;
        self.allowance.set(left);
        Ok(())
    }
}

impl Read for Medium {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.volume.len().saturating_sub(self.at);
        let count = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let part = buf.get_mut(..count).unwrap_or_default();
        self.spend(count)?;
        if count > 0 {
            self.reader
                .borrow_mut()
                .read_exact_at(part, self.at)
                .map_err(io::Error::other)?;
        }
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Write for Medium {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.spend(buf.len())?;
        self.reader
            .borrow_mut()
            .write_at(buf, self.at)
            .map_err(io::Error::other)?;
        if buf == DOT {
            self.dots.set(Some(self.at));
        }
        self.at = self.at.saturating_add(buf.len() as u64);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.reader
            .borrow_mut()
            .flush()
            .and_then(|()| self.volume.flush())
            .map_err(io::Error::other)
    }
}

impl Seek for Medium {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = seek_target(to, self.at, self.volume.len())?;
        Ok(self.at)
    }
}

/// Files are dated in UTC: where the guest is on earth is not known here.
#[derive(Debug)]
struct Clock;

static NOW: Clock = Clock;

impl fatfs::TimeProvider for Clock {
    fn get_current_date(&self) -> fatfs::Date {
        self.get_current_date_time().date
    }

    fn get_current_date_time(&self) -> fatfs::DateTime {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let (year, month, day) = civil(seconds / 86_400);
        let second = seconds % 86_400;
        let small = |n: u64| u16::try_from(n).unwrap_or(0);
        fatfs::DateTime {
            date: fatfs::Date { year, month, day },
            time: fatfs::Time {
                hour: small(second / 3600),
                min: small(second / 60 % 60),
                sec: small(second % 60),
                millis: 0,
            },
        }
    }
}

/// Year, month and day of a day since 1970 (proleptic Gregorian calendar; years begin in March
/// here, so that the leap day is a year's last). FAT counts years from 1980 to 2107.
fn civil(day: u64) -> (u16, u16, u16) {
    // Day 0 of this count is 0000-03-01.
    let day = day.saturating_add(719_468);
    let (era, of_era) = (day / 146_097, day % 146_097);
    let leaps = of_era / 1460 + of_era / 146_096;
    let years = (of_era + of_era / 36_524).saturating_sub(leaps) / 365;
    let of_year = of_era.saturating_sub(365 * years + years / 4 - years / 100);
    let march = (5 * of_year + 2) / 153;
    let dom = of_year.saturating_sub((153 * march + 2) / 5) + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = (era * 400 + years + u64::from(month <= 2)).clamp(1980, 2107);
    let small = |n: u64| u16::try_from(n).unwrap_or(1);
    (small(year), small(month), small(dom))
}

#[cfg(test)]
mod tests;
