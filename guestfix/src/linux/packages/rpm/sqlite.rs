// SPDX-License-Identifier: Apache-2.0
//! SQLite, read-only and no more of it than table b-trees with their overflow pages
//! (<https://www.sqlite.org/fileformat2.html>). rpm's table `Packages` holds one header a row, its
//! table `Name` the rows that a name has.

use std::collections::BTreeSet;

use super::{Bytes, Database, MAX_PACKAGES, Place, damaged, wal};
use crate::error::{Error, Result};
use crate::fs::ReadSeek;
use crate::volume::field::{be16, be32};

const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// Where page 1's b-tree begins: behind the file's header.
const FILE_HEAD: usize = 100;
/// No b-tree of SQLite's is deeper.
const MAX_DEPTH: u32 = 20;
/// Bytes of a row that are no header: names and schema texts are shorter.
const MAX_ROW: u64 = 64 << 10;

/// An open database: what is wanted of it.
pub(super) struct Sqlite {
    pager: Pager,
    packages: u32,
    /// The rows that hold a wanted name; `None` where the table of names cannot be relied upon.
    rows: Option<BTreeSet<i64>>,
}

#[derive(Debug, Clone, Copy)]
struct Pager {
    page: usize,
    usable: usize,
}

/// A row: its number and where its record lies.
struct Row {
    id: i64,
    record: Place,
}

/// A value of a record: NULL and others that do not matter here are `Other`.
#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Other,
}

impl Sqlite {
    pub(super) fn open<'a>(
        bytes: &mut Bytes<'a>,
        log: Option<Box<dyn ReadSeek + 'a>>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Self> {
        let head = bytes.at(0, FILE_HEAD)?;
        let page = match be16(&head, 16) {
            Some(1) => 65_536,
            Some(size) => usize::from(size),
            None => 0,
        };
        let usable = page.saturating_sub(usize::from(head.get(20).copied().unwrap_or(0)));
        if page < 512 || !page.is_power_of_two() || usable < 480 {
            return Err(damaged(format!("pages of {page} bytes"), 16));
        }
        let pager = Pager { page, usable };
        if let Some(log) = log {
            let mut log = Bytes::new(log)?;
            bytes.logged = Some((wal::pages(&mut log, page)?, Box::new(log)));
        }
        let mut packages = None;
        let mut names = None;
        pager.walk(bytes, 1, &|_| true, &mut |bytes, row| {
            if let Some((name, root)) = table(&pager.record(bytes, &row.record)?) {
                match name.as_slice() {
                    b"Packages" => packages = Some(root),
                    b"Name" => names = Some(root),
                    _ => {}
                }
            }
            Ok(())
        })?;
        let packages = packages.ok_or_else(|| damaged("there is no table of packages", 0))?;
        let rows = names.and_then(|root| pager.rows(bytes, root, wanted).ok());
        Ok(Self {
            pager,
            packages,
            rows: rows.filter(|(all, _)| *all > 0).map(|(_, rows)| rows),
        })
    }
}

impl Database for Sqlite {
    fn places(&mut self, bytes: &mut Bytes<'_>, out: &mut Vec<Place>) -> Result<()> {
        let (pager, rows) = (self.pager, self.rows.take());
        let inside = |(low, high): (i64, i64)| match &rows {
            Some(rows) => low <= high && rows.range(low..=high).next().is_some(),
            None => true,
        };
        pager.walk(bytes, self.packages, &inside, &mut |bytes, row| {
            let named = rows.as_ref().is_none_or(|rows| rows.contains(&row.id));
            if named && out.len() < MAX_PACKAGES {
                out.extend(pager.header_of(bytes, row.record)?);
            }
            Ok(())
        })
    }

    fn blob(&self, bytes: &mut Bytes<'_>, place: &Place, len: usize) -> Result<Vec<u8>> {
        let record = self
            .pager
            .payload(bytes, place, len.saturating_add(place.skip))?;
        Ok(record.get(place.skip..).unwrap_or_default().to_vec())
    }
}

/// What a walk does with a row.
type Visit<'v> = dyn FnMut(&mut Bytes<'_>, Row) -> Result<()> + 'v;
/// Whether rows between two numbers matter.
type Inside<'v> = dyn Fn((i64, i64)) -> bool + 'v;

impl Pager {
    fn read(self, bytes: &mut Bytes<'_>, number: u32) -> Result<Vec<u8>> {
        let before = number
            .checked_sub(1)
            .ok_or_else(|| damaged("page 0 is named", 0))?;
        if let Some((pages, log)) = &mut bytes.logged
            && let Some(at) = pages.get(&number)
        {
            return log.at(*at, self.page);
        }
        bytes.at(
            u64::from(before).saturating_mul(self.page as u64),
            self.page,
        )
    }

    fn walk(
        self,
        bytes: &mut Bytes<'_>,
        root: u32,
        inside: &Inside<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let all = (i64::MIN, i64::MAX);
        self.descend(bytes, (root, all, 0), inside, visit)
    }

    /// A damaged page ends neither its siblings nor what was found before.
    fn descend(
        self,
        bytes: &mut Bytes<'_>,
        (number, (low, high), depth): (u32, (i64, i64), u32),
        inside: &Inside<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let bad = |what| damaged(what, u64::from(number));
        if depth > MAX_DEPTH {
            return Err(bad("a tree is deeper than any"));
        }
        let page = self.read(bytes, number)?;
        let start = if number == 1 { FILE_HEAD } else { 0 };
        let body = page.get(start..).unwrap_or_default();
        let kind = body.first().copied().unwrap_or(0);
        let first = match kind {
            LEAF => 8_usize,
            INTERIOR => 12,
            _ => return Err(bad("a page of a table is none")),
        };
        let count = be16(body, 3).unwrap_or(0);
        let mut result = Ok(());
        let mut low = low;
        for index in 0..usize::from(count) {
            let slot = index.saturating_mul(2).saturating_add(first);
            let at = be16(body, slot).map_or(usize::MAX, usize::from);
            let Some(cell) = page.get(at..) else {
                result = Err(bad("a cell lies behind its page"));
                continue;
            };
            let done = if kind == LEAF {
                self.leaf(bytes, cell).and_then(|row| visit(bytes, row))
            } else {
                let (Some(child), Some((key, _))) =
                    (be32(cell, 0), varint(cell.get(4..).unwrap_or_default()))
                else {
                    result = Err(bad("a cell is cut short"));
                    continue;
                };
                let range = (low, key);
                low = key.saturating_add(1);
                match inside(range) {
                    true => self.descend(
                        bytes,
                        (child, range, depth.saturating_add(1)),
                        inside,
                        visit,
                    ),
                    false => Ok(()),
                }
            };
            // Out of budget: whatever follows would fail too.
            if bytes.budget == 0 {
                return done;
            }
            result = result.and(done);
        }
        if kind == INTERIOR && inside((low, high)) {
            let last = be32(body, 8).unwrap_or(0);
            let done = self.descend(
                bytes,
                (last, (low, high), depth.saturating_add(1)),
                inside,
                visit,
            );
            result = result.and(done);
        }
        result
    }

    fn leaf(self, bytes: &mut Bytes<'_>, cell: &[u8]) -> Result<Row> {
        let cut = || damaged("a cell is cut short", 0);
        let (len, used) = varint(cell).ok_or_else(cut)?;
        let rest = cell.get(used..).ok_or_else(cut)?;
        let (id, used) = varint(rest).ok_or_else(cut)?;
        let rest = rest.get(used..).ok_or_else(cut)?;
        let len = u64::try_from(len).map_err(|_| cut())?;
        let local = self.local(len);
        let here = bytes.keep(rest.get(..local).ok_or_else(cut)?)?;
        let at = match local as u64 == len {
            true => 0,
            false => be32(rest, local).ok_or_else(cut)?,
        };
        Ok(Row {
            id,
            record: Place {
                at: u64::from(at),
                len,
                here,
                skip: 0,
            },
        })
    }

    /// How much of a record of `len` bytes lies in its cell (section 1.6 of the format).
    fn local(self, len: u64) -> usize {
        let most = self.usable.saturating_sub(35);
        if len <= most as u64 {
            return usize::try_from(len).unwrap_or(most);
        }
        let twelve = self.usable.saturating_sub(12);
        let least = (twelve.saturating_mul(32) / 255).saturating_sub(23);
        let chunk = (self.usable.saturating_sub(4) as u64).max(1);
        let over = len.saturating_sub(least as u64).checked_rem(chunk);
        let fit = least.saturating_add(usize::try_from(over.unwrap_or(0)).unwrap_or(0));
        if fit <= most { fit } else { least }
    }

    /// The first `len` bytes of a record.
    fn payload(self, bytes: &mut Bytes<'_>, place: &Place, len: usize) -> Result<Vec<u8>> {
        let mut out = place.here.clone();
        let mut next = u32::try_from(place.at).unwrap_or(0);
        while out.len() < len && next != 0 {
            let page = self.read(bytes, next)?;
            out.extend_from_slice(page.get(4..self.usable).unwrap_or_default());
            next = be32(&page, 0).unwrap_or(0);
        }
        if out.len() < len {
            return Err(damaged("a row is cut short", place.at));
        }
        out.truncate(len);
        Ok(out)
    }

    /// A short row whole.
    fn record(self, bytes: &mut Bytes<'_>, place: &Place) -> Result<Vec<u8>> {
        let len = usize::try_from(place.len.min(MAX_ROW)).unwrap_or(0);
        self.payload(bytes, place, len)
    }

    /// Where the header in a row of `Packages` lies: the row's second column.
    fn header_of(self, bytes: &mut Bytes<'_>, mut place: Place) -> Result<Option<Place>> {
        let len = usize::try_from(place.len.min(64)).unwrap_or(0);
        let head = self.payload(bytes, &place, len)?;
        let bad = || damaged("a row holds no header", place.at);
        let (head_len, used) = varint(&head).ok_or_else(bad)?;
        let (_, more) = varint(head.get(used..).unwrap_or_default()).ok_or_else(bad)?;
        let kind = head.get(used.saturating_add(more)..).unwrap_or_default();
        let (kind, _) = varint(kind).ok_or_else(bad)?;
        if kind < 12 || kind % 2 != 0 {
            return Ok(None);
        }
        let skip = usize::try_from(head_len).map_err(|_| bad())?;
        let blob = u64::try_from(kind.saturating_sub(12) / 2).unwrap_or(0);
        if blob.saturating_add(skip as u64) > place.len {
            return Err(bad());
        }
        place.skip = skip;
        place.len = blob;
        Ok(Some(place))
    }

    /// How many names there are, and the rows of the wanted ones.
    fn rows(
        self,
        bytes: &mut Bytes<'_>,
        root: u32,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(usize, BTreeSet<i64>)> {
        let mut all = 0_usize;
        let mut rows = BTreeSet::new();
        self.walk(bytes, root, &|_| true, &mut |bytes, row| {
            let record = self.record(bytes, &row.record)?;
            if let [Value::Bytes(name), Value::Integer(row), ..] = values(&record)?.as_slice() {
                all = all.saturating_add(1);
                if wanted(&String::from_utf8_lossy(name)) {
                    rows.insert(*row);
                }
            }
            Ok(())
        })?;
        Ok((all, rows))
    }
}

/// The name and first page of a table, from a row of the schema.
fn table(record: &[u8]) -> Option<(Vec<u8>, u32)> {
    match values(record).ok()?.as_slice() {
        [
            Value::Bytes(b"table"),
            Value::Bytes(name),
            _,
            Value::Integer(root),
            ..,
        ] => Some((name.to_vec(), u32::try_from(*root).ok()?)),
        _ => None,
    }
}

/// The columns of a record, in order; of a record that is cut short those that are there.
fn values(record: &[u8]) -> Result<Vec<Value<'_>>> {
    let bad = || -> Error { damaged("a row is no record", 0) };
    let (head_len, mut at) = varint(record).ok_or_else(bad)?;
    let head_len = usize::try_from(head_len).map_err(|_| bad())?;
    let head = record.get(..head_len).ok_or_else(bad)?;
    let mut body = record.get(head_len..).unwrap_or_default();
    let mut out = Vec::new();
    while let Some((kind, used)) = varint(head.get(at..).unwrap_or_default()) {
        at = at.saturating_add(used);
        let Some((value, rest)) = value(kind, body) else {
            break;
        };
        out.push(value);
        body = rest;
    }
    Ok(out)
}

fn value(kind: i64, body: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let len = match kind {
        0 | 8 | 9 => 0,
        1..=4 => kind,
        5 => 6,
        6 | 7 => 8,
        12.. => kind.checked_sub(12)? / 2,
        _ => return None,
    };
    let (bytes, rest) = body.split_at_checked(usize::try_from(len).ok()?)?;
    let value = match kind {
        8 | 9 => Value::Integer(kind.saturating_sub(8)),
        1..=6 => Value::Integer(integer(bytes)),
        12.. => Value::Bytes(bytes),
        _ => Value::Other,
    };
    Some((value, rest))
}

/// A big-endian number with a sign.
fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    let free = wide.len().saturating_sub(bytes.len());
    for (to, from) in wide.iter_mut().skip(free).zip(bytes) {
        *to = *from;
    }
    i64::from_be_bytes(wide)
}

/// A number of one to nine bytes, seven bits each but in the ninth, and how many bytes it has.
fn varint(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0_u64;
    for index in 0..9_usize {
        let byte = *bytes.get(index)?;
        let used = index.saturating_add(1);
        if used == 9 {
            value = (value << 8) | u64::from(byte);
            return Some((value.cast_signed(), used));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value.cast_signed(), used));
        }
    }
    None
}
