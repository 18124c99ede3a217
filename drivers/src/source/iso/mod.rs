// SPDX-License-Identifier: Apache-2.0
//! ISO 9660 images, read without mounting: plain, with Joliet's or Rock Ridge's names.
//!
//! ECMA-119: <https://ecma-international.org/publications-and-standards/standards/ecma-119/>. The
//! names are taken from Rock Ridge where it is, else from Joliet, else from ISO 9660 itself.

mod descriptor;
mod image;
mod record;
mod susp;

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;

use super::{MAX_DEPTH, MAX_FILES, Source, SourceFile, too_many};
use crate::error::{Error, Kind, Result};

use descriptor::{Names, Volume};
use image::{Image, ReadAt};
use record::Record;
use susp::Susp;

/// A folder longer than this holds no drivers, in bytes; nor do all of them together.
const MAX_FOLDER: u64 = 4 << 20;
const MAX_FOLDERS: u64 = 64 << 20;

/// A stretch of the image: first byte and length.
type Extent = (u64, u64);

/// An open image.
#[derive(Debug)]
pub(crate) struct Iso<R = File> {
    image: Image<R>,
    files: Vec<SourceFile>,
    /// For each file, where its bytes lie.
    extents: Vec<Vec<Extent>>,
}

impl Iso<File> {
    /// Opens an image file.
    ///
    /// # Errors
    /// `Host`/`io`, and see [`Iso::read_from`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::io(format!("opening {}", path.display()), &e);
        let file = File::open(path).map_err(failed)?;
        let len = image::length(&file).map_err(failed)?;
        Self::read_from(file, len).map_err(|e| e.within(&path.display().to_string()))
    }
}

impl<R: ReadAt> Iso<R> {
    /// Lists the image.
    ///
    /// # Errors
    /// `Unsupported`/`no-bundle` for what is no ISO 9660 image; `Corrupt`/`iso-cut-short` where
    /// folders or files lie behind its end; `Corrupt`/`iso-damaged` for folders in circles and
    /// records that cannot be.
    pub(crate) fn read_from(reader: R, len: u64) -> Result<Self> {
        let image = Image::new(reader, len);
        let volume = Volume::find(&image)?;
        let mut walk = Walk {
            image: &image,
            volume: &volume,
            susp: None,
            seen: HashSet::new(),
            listed: 0,
            found: Vec::new(),
        };
        if volume.names == Names::Iso {
            walk.susp = Susp::detect(&image, volume.root)?;
        }
        walk.folder(volume.root, "", 0)?;
        let mut found = walk.found;
        found.sort_by(|a, b| a.0.path.cmp(&b.0.path));
        let (files, extents) = found.into_iter().unzip();
        Ok(Self {
            image,
            files,
            extents,
        })
    }
}

impl<R: ReadAt> Source for Iso<R> {
    fn files(&self) -> &[SourceFile] {
        &self.files
    }

    fn read(&self, at: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for (start, len) in self.extents.get(at).into_iter().flatten() {
            self.image.append(*start, *len, &mut out)?;
        }
        Ok(out)
    }
}

struct Walk<'a, R> {
    image: &'a Image<R>,
    volume: &'a Volume,
    susp: Option<Susp>,
    /// Folders by their first byte: one that comes again lies in itself, or twice.
    seen: HashSet<u64>,
    /// The length of all folders so far, in bytes.
    listed: u64,
    found: Vec<(SourceFile, Vec<Extent>)>,
}

/// A file whose last extent is yet to come.
struct Open {
    name: String,
    extents: Vec<Extent>,
}

impl<R: ReadAt> Walk<'_, R> {
    fn folder(&mut self, (start, len): Extent, prefix: &str, depth: usize) -> Result<()> {
        let damaged = |what: &str| damaged(&format!("folder /{prefix}: {what}")).at(start);
        if depth > MAX_DEPTH || self.seen.len() > MAX_FILES {
            return Err(too_many());
        }
        if !self.seen.insert(start) {
            return Err(damaged("it is listed twice, or lies in itself"));
        }
        self.listed = self.listed.saturating_add(len);
        if len > MAX_FOLDER || self.listed > MAX_FOLDERS {
            return Err(damaged("its list is longer than any"));
        }
        let bytes = self.image.read(start, len)?;
        let mut open: Option<Open> = None;
        for record in record::records(&bytes, self.volume.block) {
            let record = record.map_err(|what| damaged(&what))?;
            if record.is_own() || record.is_hidden_twin() {
                continue;
            }
            let Some((name, extent)) = self.resolve(&record)? else {
                continue;
            };
            if record.is_folder() || extent.folder {
                self.folder(
                    extent.at,
                    &format!("{prefix}{name}/"),
                    depth.saturating_add(1),
                )?;
                continue;
            }
            let mut file = match open.take() {
                Some(open) if open.name == name => open,
                Some(_) => return Err(damaged("a file of several parts does not end")),
                None => Open {
                    name,
                    extents: Vec::new(),
                },
            };
            file.extents.push(extent.at);
            if record.goes_on() {
                open = Some(file);
            } else {
                self.add(prefix, file)?;
            }
        }
        match open {
            Some(_) => Err(damaged("its last file does not end")),
            None => Ok(()),
        }
    }

    /// The name and place of a record; `None` for what is neither file nor folder.
    fn resolve(&self, record: &Record<'_>) -> Result<Option<(String, Place)>> {
        let block = self.volume.block;
        let mut place = Place {
            at: record.extent(block),
            folder: false,
        };
        let mut name = match self.volume.names {
            Names::Iso => record.plain_name(),
            Names::Joliet => record.joliet_name(),
        };
        if let Some(susp) = &self.susp {
            let entry = susp.read(self.image, record.system_use, block)?;
            if entry.skip {
                return Ok(None);
            }
            if let Some(own) = entry.name {
                name = own;
            }
            if let Some(moved) = entry.moved_to {
                let start = moved.saturating_mul(block);
                place.at = (start, self.own_length(start)?);
                place.folder = true;
            }
        }
        let bad = name.is_empty() || matches!(name.as_str(), "." | "..");
        if bad || name.contains(['/', '\\', '\0']) {
            return Err(damaged(&format!("a name that no file can have: {name:?}")));
        }
        Ok(Some((name, place)))
    }

    /// The length of a folder by its own first record.
    fn own_length(&self, start: u64) -> Result<u64> {
        let bytes = self.image.read(start, self.volume.block)?;
        let first = record::records(&bytes, self.volume.block).next();
        let first = first.and_then(Result::ok);
        let first =
            first.ok_or_else(|| damaged("a folder that was moved is no folder").at(start))?;
        Ok(first.extent(self.volume.block).1)
    }

    fn add(&mut self, prefix: &str, file: Open) -> Result<()> {
        let path = format!("{prefix}{}", file.name);
        let mut len = 0_u64;
        for (start, part) in &file.extents {
            let end = start.saturating_add(*part);
            if *part > 0 && end > self.image.len() {
                return Err(cut_short(&path, end, self.image.len()));
            }
            len = len.saturating_add(*part);
        }
        if self.found.len() >= MAX_FILES {
            return Err(too_many());
        }
        self.found.push((SourceFile { path, len }, file.extents));
        Ok(())
    }
}

struct Place {
    at: Extent,
    /// Whether it is a folder although the record does not say so.
    folder: bool,
}

fn damaged(what: &str) -> Error {
    Error::corrupt("iso-damaged", format!("the ISO image is damaged: {what}"))
        .hint("download the image again and compare its checksum with the publisher's")
}

fn cut_short(what: &str, end: u64, len: u64) -> Error {
    Error::corrupt(
        "iso-cut-short",
        format!("the ISO image is cut short: {what} ends at byte {end}, the image at byte {len}"),
    )
    .hint("download the image again and compare its checksum with the publisher's")
}

fn no_iso(what: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        "no-bundle",
        format!("not a driver bundle: {what}"),
    )
    .hint("name a virtio-win ISO image, or a directory with its files")
}

#[cfg(test)]
mod tests;
