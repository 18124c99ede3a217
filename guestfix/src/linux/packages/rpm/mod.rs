// SPDX-License-Identifier: Apache-2.0
//! rpm's database, read without rpm, in its three formats: SQLite, ndb and Berkeley DB hash. Each
//! keeps one header per package; only headers of packages that are asked about are read whole.
//!
//! Every byte is the guest's: reads are bounded by a budget, chains by a count, and damage ends the
//! reading of what is damaged and nothing else.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::fs::ReadSeek;

mod bdb;
pub mod header;
mod ndb;
mod sqlite;
#[cfg(test)]
mod tests;
mod wal;

use header::Header;

/// Where the database may lie; distributions moved it out of /var so that snapshots hold it.
pub const DIRS: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];
/// Its file by format, the newest first.
pub const FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// A header is some 100 KiB; a kernel's with its thousands of files has 3 MiB.
const MAX_HEADER: u64 = 32 << 20;
/// A server has 2000 packages, a workstation 6000.
const MAX_PACKAGES: usize = 100_000;
/// What of headers lies on pages with other things and is kept meanwhile, bytes.
const MAX_KEPT: usize = 64 << 20;
/// What is read of a header to learn its name, bytes: index and first strings of nearly all.
const HEAD: usize = 4096;

/// A package as its header tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RpmPackage {
    /// Name.
    pub name: String,
    /// `[EPOCH:]VERSION-RELEASE`.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// What it requires, names only.
    pub requires: Vec<String>,
    /// Its files.
    pub files: Vec<String>,
}

/// Packages that were read, and why they may not be all.
#[derive(Debug, Default)]
pub struct Reading {
    /// The packages that were asked about.
    pub packages: Vec<RpmPackage>,
    /// What is damaged, the first of it.
    pub damage: Option<Error>,
}

/// Reads every package whose name `wanted` accepts from a database of any format. `log` is the
/// write-ahead log that lies beside one of SQLite.
pub fn read<'a>(
    file: Box<dyn ReadSeek + 'a>,
    log: Option<Box<dyn ReadSeek + 'a>>,
    wanted: &dyn Fn(&str) -> bool,
) -> Reading {
    let mut reading = Reading::default();
    if let Err(error) = fill((file, log), wanted, &mut reading) {
        reading.damage.get_or_insert(error);
    }
    reading
}

fn fill<'a>(
    (file, log): (Box<dyn ReadSeek + 'a>, Option<Box<dyn ReadSeek + 'a>>),
    wanted: &dyn Fn(&str) -> bool,
    reading: &mut Reading,
) -> Result<()> {
    let mut bytes = Bytes::new(file)?;
    let magic = bytes.at(0, 16)?;
    let mut database: Box<dyn Database> = if magic.starts_with(b"SQLite format 3\0") {
        Box::new(sqlite::Sqlite::open(&mut bytes, log, wanted)?)
    } else if magic.starts_with(b"RpmP") {
        Box::new(ndb::Ndb)
    } else {
        Box::new(bdb::Hash::open(&mut bytes)?)
    };
    let mut places = Vec::new();
    if let Err(error) = database.places(&mut bytes, &mut places) {
        reading.damage = Some(error);
    }
    for place in places.iter().take(MAX_PACKAGES) {
        match package(database.as_ref(), &mut bytes, place, wanted) {
            Ok(found) => reading.packages.extend(found),
            Err(error) => {
                reading.damage.get_or_insert(error);
            }
        }
    }
    Ok(())
}

/// `None` where its name is not asked about.
fn package(
    database: &dyn Database,
    bytes: &mut Bytes<'_>,
    place: &Place,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Option<RpmPackage>> {
    if place.len > MAX_HEADER {
        return Err(damaged(
            format!("a header claims {} bytes", place.len),
            place.at,
        ));
    }
    let whole = usize::try_from(place.len).unwrap_or(usize::MAX);
    let head = database.blob(bytes, place, whole.min(HEAD))?;
    let name = match Header::parse(&head) {
        Some(header) => header.string(header::NAME).filter(|name| !name.is_empty()),
        None => None,
    };
    if name.is_some_and(|name| !wanted(&name)) {
        return Ok(None);
    }
    // Not there yet: the index is longer than usual.
    let blob = database.blob(bytes, place, whole)?;
    let header = Header::parse(&blob)
        .ok_or_else(|| damaged("a header is cut short or no header", place.at))?;
    let package = header
        .package()
        .ok_or_else(|| damaged("a header names no package", place.at))?;
    Ok(wanted(&package.name).then_some(package))
}

/// Where a header lies.
#[derive(Debug, Clone, Default)]
struct Place {
    /// Page number or byte offset, as the format counts.
    at: u64,
    /// Bytes of the header.
    len: u64,
    /// What of it lies here already; the rest begins at `at`.
    here: Vec<u8>,
    /// Bytes before it in the same record, which is counted in `len` no more.
    skip: usize,
}

/// A format.
trait Database {
    /// Finds the headers. What was found before an error counts.
    fn places(&mut self, bytes: &mut Bytes<'_>, out: &mut Vec<Place>) -> Result<()>;

    /// The first `len` bytes of a header, or an error where it has fewer.
    fn blob(&self, bytes: &mut Bytes<'_>, place: &Place, len: usize) -> Result<Vec<u8>>;
}

/// A file with a budget.
struct Bytes<'a> {
    file: Box<dyn ReadSeek + 'a>,
    len: u64,
    budget: u64,
    /// What may still be kept of small things, bytes.
    room: usize,
    /// Pages of SQLite that lie in its log, which is the second.
    logged: Option<(BTreeMap<u32, u64>, Box<Self>)>,
}

impl<'a> Bytes<'a> {
    fn new(mut file: Box<dyn ReadSeek + 'a>) -> Result<Self> {
        let len = file
            .seek(std::io::SeekFrom::End(0))
            .map_err(|e| damaged("the file cannot be measured", 0).because(e))?;
        // Everything twice, which no sound database needs, and never more than 2 GiB.
        let budget = len.saturating_mul(2).saturating_add(1 << 20).min(2 << 30);
        Ok(Self {
            file,
            len,
            budget,
            room: MAX_KEPT,
            logged: None,
        })
    }

    /// Exactly so many bytes.
    fn at(&mut self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(damaged("something lies behind the file's end", offset));
        }
        let left = self.budget.checked_sub(len as u64);
        self.budget = left.unwrap_or(0);
        if left.is_none() {
            return Err(again(offset));
        }
        let mut out = vec![0; len];
        self.file
            .seek(std::io::SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(&mut out))
            .map_err(|e| damaged("the file cannot be read", offset).because(e))?;
        Ok(out)
    }
}

impl Bytes<'_> {
    /// Keeps a copy of what lies on a page beside other things.
    fn keep(&mut self, part: &[u8]) -> Result<Vec<u8>> {
        let left = self.room.checked_sub(part.len());
        self.room = left.ok_or_else(|| again(0))?;
        Ok(part.to_vec())
    }
}

fn again(at: u64) -> Error {
    damaged("the same bytes are named again and again", at)
}

fn damaged(what: impl Into<String>, at: u64) -> Error {
    Error::corrupt("package-database-unreadable", what).at(at)
}
