// SPDX-License-Identifier: Apache-2.0
//! NTFS, read without a mount. Names are found without regard to case, by the volume's own $UpCase,
//! and by their short forms; compressed files, those that Windows keeps in the form of its imaging
//! format (CompactOS) included, read as what they hold.
//!
//! Own code instead of the `ntfs` crate, which this room is tested against: that one (0.4) reads no
//! further than the first piece of data that begins in a file's base record and goes on elsewhere,
//! gives what lies on disk for what was never written, knows no $MFT in pieces and no compression,
//! and follows an index that leads into itself for ever.
//!
//! Format facts: the linux-ntfs documentation, <https://flatcap.github.io/linux-ntfs/ntfs/>, and
//! `fs/ntfs3/ntfs.h` of Linux.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Read};
use std::rc::Rc;
use std::sync::Arc;

use super::block::BlockReader;
use super::{FileType, GuestFs, GuestPath, Metadata, ReadSeek, Space};
use crate::disk::Storage;
use crate::error::{Error, Result};
use crate::volume::probe::Ntfs as Boot;

mod attributes;
mod bits;
mod directory;
mod lznt1;
mod lzx;
mod record;
mod reparse;
mod runs;
mod stream;
mod wof;
mod xpress;

use attributes::{Attribute, Value};
use directory::{Directory, Entry};
use reparse::Reparse;
use runs::Run;
use stream::Stream;

/// Directories remembered, with their names.
const MAX_DIRECTORIES: usize = 48;
/// File records with fixed numbers; none of them is a file of the guest.
const FIRST_USER_RECORD: u64 = 24;
const ROOT: u64 = 5;
const BITMAP: u64 = 6;
const UPCASE: u64 = 10;
/// $UpCase has one UTF-16 unit for each there is.
const UPCASE_BYTES: u64 = 128 << 10;
/// The most of a $Bitmap that is looked at: that of 16 TiB in clusters of 4 KiB.
const MAX_BITMAP: u64 = 512 << 20;

/// An NTFS filesystem.
pub struct Ntfs {
    volume: RefCell<BlockReader>,
    len: u64,
    cluster: u64,
    record: usize,
    mft: Vec<Run>,
    mft_len: u64,
    upcase: Vec<u16>,
    directories: RefCell<BTreeMap<u64, Rc<Directory>>>,
}

impl fmt::Debug for Ntfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ntfs")
            .field("cluster", &self.cluster)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

impl Ntfs {
    /// Loads a filesystem; nothing is written. One whose log is to be replayed is read as it lies
    /// there.
    ///
    /// # Errors
    /// `Corrupt`/`ntfs` when it is damaged.
    pub fn load(volume: Arc<dyn Storage>) -> Result<Self> {
        let len = volume.len();
        let mut reader = BlockReader::new(volume);
        let mut boot = [0; 512];
        reader.read_exact_at(&mut boot, 0)?;
        let boot = Boot::parse(&boot)
            .filter(|boot| (256..=2 << 20).contains(&boot.cluster) && boot.mft < len)
            .ok_or_else(|| damaged("its boot sector makes no sense"))?;
        let mut fs = Self {
            volume: RefCell::new(reader),
            len,
            cluster: boot.cluster,
            record: usize::try_from(boot.record).unwrap_or(1024),
            // Until its own record is read: where the first records lie.
            mft: vec![Run {
                vcn: 0,
                len: (64_u64 << 10).div_ceil(boot.cluster),
                lcn: boot.mft.checked_div(boot.cluster),
            }],
            mft_len: 64 << 10,
            upcase: Vec::new(),
            directories: RefCell::default(),
        };
        fs.learn_mft()?;
        fs.upcase = fs.read_upcase()?;
        Ok(fs)
    }

    /// The $MFT's own record says where the rest of it lies; where that needs an attribute list,
    /// the first piece of it holds what the list leads to.
    fn learn_mft(&mut self) -> Result<()> {
        let base = self.record(0)?;
        let first = base
            .attributes()
            .find(|a| a.kind == attributes::DATA && a.name.is_empty());
        if let Some(part) = first.and_then(|a| a.run_list()) {
            self.mft = runs::decode(part.runs, part.lowest)
                .ok_or_else(|| damaged("the $MFT's run list makes no sense"))?;
            self.mft_len = part.size;
        }
        let whole = attributes::of(self, 0)?;
        match attributes::find(&whole, attributes::DATA, &[]).map(|a| &a.value) {
            Some(Value::Runs(data)) => {
                self.mft = data.runs.clone();
                self.mft_len = data.size;
                Ok(())
            }
            _ => Err(damaged("the $MFT has no data")),
        }
    }

    fn read_upcase(&self) -> Result<Vec<u16>> {
        let mut bytes = Vec::new();
        let file = self.stream_of(UPCASE, &[])?;
        let file = file.ok_or_else(|| damaged("there is no $UpCase"))?;
        file.take(UPCASE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(unwrapped)?;
        let units = bytes.chunks_exact(2);
        Ok(units
            .filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)))
            .collect())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.volume.borrow_mut().read_exact_at(buf, offset)
    }

    /// A file record, its fixups undone.
    fn record(&self, number: u64) -> Result<record::Record> {
        let size = self.record as u64;
        let at = number
            .checked_mul(size)
            .filter(|at| at.saturating_add(size) <= self.mft_len)
            .ok_or_else(|| damaged(&format!("it refers to record {number}, which is not there")))?;
        let mut bytes = vec![0; self.record];
        let map = stream::Map {
            runs: &self.mft,
            cluster: self.cluster,
        };
        map.read(self, &mut bytes, at)?;
        record::Record::parse(bytes)
            .ok_or_else(|| damaged(&format!("record {number} makes no sense")))
    }

    /// The units of a name that all its spellings share.
    fn folded(&self, units: impl Iterator<Item = u16>) -> Vec<u16> {
        units
            .map(|unit| *self.upcase.get(usize::from(unit)).unwrap_or(&unit))
            .collect()
    }

    fn directory(&self, number: u64) -> Result<Rc<Directory>> {
        if let Some(known) = self.directories.borrow().get(&number) {
            return Ok(Rc::clone(known));
        }
        let read = Rc::new(Directory::read(self, number)?);
        let mut known = self.directories.borrow_mut();
        if known.len() >= MAX_DIRECTORIES {
            known.clear();
        }
        known.insert(number, Rc::clone(&read));
        Ok(read)
    }

    /// What a path names: its record, and its entry in the directory above, which the root has not.
    fn find(&self, path: &GuestPath) -> Result<Option<(u64, Option<Entry>)>> {
        let mut at = (ROOT, None);
        for name in path.components() {
            let Ok(name) = std::str::from_utf8(name) else {
                return Ok(None);
            };
            if let (_, Some(entry)) = &at
                && !self.is_walkable(entry)?
            {
                return Ok(None);
            }
            let dir = self.directory(at.0)?;
            let Some(entry) = dir.find(&self.folded(name.encode_utf16())) else {
                return Ok(None);
            };
            at = (entry.number, Some(entry.clone()));
        }
        Ok(Some(at))
    }

    /// A directory that is no link. What a filter of Windows would show in its place
    /// (deduplication, clouds) is not known here, the directory itself is.
    fn is_walkable(&self, entry: &Entry) -> Result<bool> {
        if !entry.is_dir() {
            return Ok(false);
        }
        Ok(!entry.is_reparse() || !self.reparse(entry.number)?.is_some_and(|r| r.is_link()))
    }

    fn reparse(&self, number: u64) -> Result<Option<Reparse>> {
        let all = attributes::of(self, number)?;
        let Some(attribute) = attributes::find(&all, attributes::REPARSE_POINT, &[]) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        self.stream(attribute)
            .take(reparse::LONGEST)
            .read_to_end(&mut bytes)
            .map_err(unwrapped)?;
        Ok(Reparse::parse(&bytes))
    }

    fn stream_of(&self, number: u64, name: &[u16]) -> Result<Option<Box<dyn ReadSeek + '_>>> {
        let all = attributes::of(self, number)?;
        let data = attributes::find(&all, attributes::DATA, name);
        Ok(data.map(|data| self.stream(data)))
    }

    fn stream(&self, attribute: &Attribute) -> Box<dyn ReadSeek + '_> {
        match &attribute.value {
            Value::Resident(bytes) => Box::new(Cursor::new(bytes.clone())),
            Value::Runs(data) => Box::new(Stream::new(self, data.clone())),
        }
    }

    /// What a file holds, however it is stored.
    fn contents(&self, path: &GuestPath, entry: &Entry) -> Result<Box<dyn ReadSeek + '_>> {
        let all = attributes::of(self, entry.number)?;
        let data = attributes::find(&all, attributes::DATA, &[]);
        let data = data.ok_or_else(|| damaged(&format!("{path} has no data")))?;
        if data.is_encrypted() {
            return Err(unreadable(path, "it is encrypted (EFS)"));
        }
        if !entry.is_reparse() {
            return Ok(self.stream(data));
        }
        match self.reparse(entry.number)? {
            Some(Reparse::Wof(form)) => {
                let name: Vec<u16> = wof::STREAM.encode_utf16().collect();
                let packed = attributes::find(&all, attributes::DATA, &name);
                let packed =
                    packed.ok_or_else(|| damaged(&format!("{path} has no compressed content")))?;
                let file = wof::File::new(self.stream(packed), packed.len(), form, data.len());
                Ok(Box::new(file.map_err(|e| e.context(path.display()))?))
            }
            Some(Reparse::Other(tag)) => Err(unreadable(
                path,
                &format!("its content is kept by a filter of Windows (reparse tag {tag:#x})"),
            )),
            _ => Ok(self.stream(data)),
        }
    }

    fn metadata(&self, number: u64, entry: Option<&Entry>) -> Result<Metadata> {
        let meta = |file_type, len| Metadata {
            file_type,
            len,
            mode: if file_type == FileType::File {
                0o644
            } else {
                0o755
            },
            uid: 0,
            gid: 0,
        };
        let Some(entry) = entry else {
            return Ok(meta(FileType::Dir, 0));
        };
        let reparse = match entry.is_reparse() {
            true => self.reparse(number)?,
            false => None,
        };
        Ok(match reparse {
            Some(Reparse::Link(target)) => meta(FileType::Symlink, target.len() as u64),
            _ if entry.is_dir() => meta(FileType::Dir, 0),
            // The length in the directory may be older than the file's own.
            _ => match attributes::find(&attributes::of(self, number)?, attributes::DATA, &[]) {
                Some(data) => meta(FileType::File, data.len()),
                None => meta(FileType::Special, 0),
            },
        })
    }

    fn expect(&self, path: &GuestPath, what: &str) -> Result<(u64, Option<Entry>)> {
        self.find(path)?.ok_or_else(|| super::not_a(what, path))
    }
}

impl GuestFs for Ntfs {
    fn reader(&self) -> &'static str {
        "ntfs"
    }

    fn lstat(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        match self.find(path)? {
            Some((number, entry)) => self.metadata(number, entry.as_ref()).map(Some),
            None => Ok(None),
        }
    }

    fn stored_name(&self, path: &GuestPath) -> Result<Option<Vec<u8>>> {
        let entry = self.find(path)?.and_then(|(_, entry)| entry);
        Ok(entry.map(|entry| entry.name.into_bytes()))
    }

    fn read_link(&self, path: &GuestPath) -> Result<Vec<u8>> {
        let (number, _) = self.expect(path, "symlink")?;
        match self.reparse(number)? {
            Some(Reparse::Link(target)) => Ok(target.into_bytes()),
            _ => Err(super::not_a("symlink", path)),
        }
    }

    fn list(&self, path: &GuestPath) -> Result<Vec<Vec<u8>>> {
        let (number, entry) = self.expect(path, "directory")?;
        if let Some(entry) = &entry
            && !self.is_walkable(entry)?
        {
            return Err(super::not_a("directory", path));
        }
        Ok(self.directory(number)?.names())
    }

    fn open(&self, path: &GuestPath) -> Result<Box<dyn ReadSeek + '_>> {
        match self.expect(path, "regular file")? {
            (_, Some(entry)) if !entry.is_dir() => self.contents(path, &entry),
            _ => Err(super::not_a("regular file", path)),
        }
    }

    /// Records of the $MFT are made as they are needed.
    fn space(&self) -> Result<Space> {
        let bitmap = self.stream_of(BITMAP, &[])?;
        let mut bitmap = bitmap
            .ok_or_else(|| damaged("there is no $Bitmap"))?
            .take(MAX_BITMAP);
        let mut left = self.len.checked_div(self.cluster).unwrap_or(0);
        let mut free = 0_u64;
        let mut part = vec![0; 64 << 10];
        while left > 0 {
            let count = bitmap.read(&mut part).map_err(unwrapped)?;
            if count == 0 {
                break;
            }
            for byte in part.get(..count).unwrap_or_default() {
                let here = left.min(8);
                let unused = u32::try_from(here).map_or(0, |bits| byte | mask_from(bits));
                free = free.saturating_add(u64::from(unused.count_zeros()));
                left = left.saturating_sub(here);
            }
        }
        let free_bytes = free.saturating_mul(self.cluster);
        Ok(Space {
            free_bytes,
            free_inodes: free_bytes.checked_div(self.record as u64).unwrap_or(0),
        })
    }
}

/// The bits of a byte from `bits` on.
fn mask_from(bits: u32) -> u8 {
    0xff_u8.checked_shl(bits).unwrap_or(0)
}

fn damaged(why: &str) -> Error {
    Error::corrupt("ntfs", format!("the NTFS filesystem is damaged: {why}"))
        .hint("run chkdsk /f in the guest, and shut it down properly, before converting it")
}

fn unreadable(path: &GuestPath, why: &str) -> Error {
    Error::unsupported("ntfs-content", format!("{path} cannot be read: {why}"))
}

/// An error of ours that came back through a reader.
fn unwrapped(error: std::io::Error) -> Error {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        Some(own) => own.clone(),
        None => damaged("a file cannot be read").because(error),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod tests;
