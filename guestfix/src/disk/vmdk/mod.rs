// SPDX-License-Identifier: Apache-2.0
//! VMware's disk images, for reading: in one file or many, sparse, compressed or flat, and chains of
//! snapshots (VMware, "Virtual Disk Format 5.0"; QEMU, block/vmdk.c).
//!
//! A file names other files. Whoever opens one hands over [`Files`], which decides what may be
//! opened: nothing here does.
#![deny(clippy::arithmetic_side_effects)]

mod descriptor;
mod header;
mod sparse;

use std::fmt;
use std::sync::Arc;

use descriptor::{Descriptor, Kind, Line};
use sparse::{Grain, Sparse};

use super::{SECTOR, Storage, check_range, read_padded};
use crate::error::{Error, Result};

/// The longest chain of snapshots: VMware's own limit.
const LONGEST_CHAIN: usize = 32;
const TEXT: &[u8] = b"# Disk DescriptorFile";
const SECTOR_U64: u64 = SECTOR as u64;

/// Opens what a VMDK names: its extents and its parent.
pub trait Files {
    /// The file of that name, as written, beside the one that names it.
    ///
    /// # Errors
    /// `Refused` when it may not be opened, `Host` when it cannot be.
    fn open(&mut self, name: &str) -> Result<Arc<dyn Storage>>;
}

/// True for the head of a file that is one: a descriptor, or a file with grains.
pub fn is_vmdk(head: &[u8]) -> bool {
    let text = head.get(..TEXT.len());
    text.is_some_and(|text| text.eq_ignore_ascii_case(TEXT)) || header::is_sparse(head)
}

/// The bytes of a disk in a VMDK.
pub struct Vmdk {
    extents: Vec<Extent>,
    len: u64,
    parent: Option<Arc<Vmdk>>,
}

impl fmt::Debug for Vmdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vmdk")
            .field("len", &self.len)
            .field("extents", &self.extents.len())
            .field("parent", &self.parent)
            .finish()
    }
}

/// A part of the disk.
struct Extent {
    /// The file's name, for errors.
    name: String,
    /// Where it ends on the disk, bytes, and where it begins.
    end: u64,
    begin: u64,
    holds: Holds,
}

enum Holds {
    Flat(Arc<dyn Storage>, u64),
    Sparse(Box<Sparse>),
    Zero,
}

/// Opens the disk whose first file is `file`, called `name`.
///
/// # Errors
/// `Corrupt`/`vmdk` with file and place when it is damaged or cut short, `Corrupt`/`vmdk-chain`
/// when a snapshot does not belong to its parent, `Unsupported`/`vmdk-unsupported`, and what
/// [`Files`] refuses.
pub fn open(name: &str, file: Arc<dyn Storage>, files: &mut dyn Files) -> Result<Vmdk> {
    Ok(open_one(name, file, files, 0)?.0)
}

/// The disk, and its content id.
fn open_one(
    name: &str,
    file: Arc<dyn Storage>,
    files: &mut dyn Files,
    depth: usize,
) -> Result<(Vmdk, u32)> {
    let on = |error: Error| on_file(error, name);
    if depth >= LONGEST_CHAIN {
        let what = format!("a chain of more than {LONGEST_CHAIN} snapshots, or one that is a loop");
        return Err(on(Error::corrupt("vmdk-chain", what)));
    }
    let mut head = vec![0; SECTOR];
    read_padded(file.as_ref(), &mut head, 0).map_err(on)?;
    let alone = header::is_sparse(&head);
    let first = match alone {
        true => Some(Sparse::open(Arc::clone(&file)).map_err(on)?),
        false => None,
    };
    let descriptor = descriptor_of(file.as_ref(), first.as_ref()).map_err(on)?;
    let extents = match first {
        Some(sparse) => vec![single(name, sparse, &descriptor).map_err(on)?],
        None => several(&descriptor, files).map_err(on)?,
    };
    let len = extents.last().map_or(0, |extent| extent.end);
    if len == 0 {
        return Err(on(header::bad("it holds no bytes", 0)));
    }
    let cid = descriptor.cid;
    let parent = parent(&descriptor, files, depth).map_err(on)?;
    Ok((
        Vmdk {
            extents,
            len,
            parent,
        },
        cid,
    ))
}

/// The innermost file counts.
fn on_file(error: Error, name: &str) -> Error {
    match error.disk {
        Some(_) => error,
        None => error.on(name),
    }
}

fn descriptor_of(file: &dyn Storage, sparse: Option<&Sparse>) -> Result<Descriptor> {
    let (at, len) = match sparse.map(|sparse| sparse.header().descriptor) {
        None => (0, file.len()),
        Some(Some((at, len))) => (
            at.saturating_mul(SECTOR_U64),
            len.saturating_mul(SECTOR_U64),
        ),
        // A part of a split disk that was given alone, or a child of an ESX server.
        Some(None) => return Ok(Descriptor::default()),
    };
    let fits = at.checked_add(len).is_some_and(|end| end <= file.len());
    if len > descriptor::LONGEST || !fits {
        return Err(header::bad(
            "its descriptor is too long or leaves the file",
            at,
        ));
    }
    let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_at(&mut text, at)?;
    descriptor::parse(&text).map_err(|e| {
        let place = e.offset.unwrap_or(0).saturating_add(at);
        e.at(place)
    })
}

/// A disk whose only file was given; the name in its descriptor is the one it had once.
fn single(name: &str, sparse: Sparse, descriptor: &Descriptor) -> Result<Extent> {
    let Some(header) = sparse.header().descriptor.map(|_| sparse.header()) else {
        return Err(Error::unsupported(
            "vmdk-unsupported",
            "this is a part of a VMDK and not its descriptor",
        )
        .hint("give the small text file with the name of the disk: it names the parts"));
    };
    let len = header.capacity.saturating_mul(SECTOR_U64);
    match descriptor.extents.as_slice() {
        [line] if line.kind == Kind::Sparse => {}
        _ => {
            return Err(header::bad(
                "its descriptor names other extents than its own",
                0,
            ));
        }
    }
    Ok(Extent {
        name: name.to_owned(),
        end: len,
        begin: 0,
        holds: Holds::Sparse(Box::new(sparse)),
    })
}

fn several(descriptor: &Descriptor, files: &mut dyn Files) -> Result<Vec<Extent>> {
    let kind = descriptor.create_type.as_str();
    if matches!(
        kind,
        "fullDevice"
            | "partitionedDevice"
            | "vmfsRaw"
            | "vmfsRawDeviceMap"
            | "vmfsPassthroughRawDeviceMap"
    ) {
        return Err(descriptor::unsupported(&format!("is a device's ({kind})")));
    }
    let mut out: Vec<Extent> = Vec::new();
    let mut begin = 0_u64;
    for line in &descriptor.extents {
        let len = line.sectors.checked_mul(SECTOR_U64).filter(|len| *len > 0);
        let end = len.and_then(|len| begin.checked_add(len));
        let end = end.filter(|end| *end <= 64 << 40);
        let end = end.ok_or_else(|| header::bad("the length of an extent makes no sense", 0))?;
        let holds = holds(line, files).map_err(|e| on_file(e, &line.file))?;
        out.push(Extent {
            name: line.file.clone(),
            end,
            begin,
            holds,
        });
        begin = end;
    }
    Ok(out)
}

fn holds(line: &Line, files: &mut dyn Files) -> Result<Holds> {
    let len = line.sectors.saturating_mul(SECTOR_U64);
    Ok(match line.kind {
        Kind::Zero => Holds::Zero,
        Kind::Flat => {
            let file = files.open(&line.file)?;
            let start = line.offset.checked_mul(SECTOR_U64);
            let end = start.and_then(|start| start.checked_add(len));
            if end.is_none_or(|end| end > file.len()) {
                let what = format!(
                    "its descriptor wants {len} bytes from sector {} on: it may be cut short",
                    line.offset
                );
                return Err(header::bad(&what, file.len()));
            }
            Holds::Flat(file, start.unwrap_or(0))
        }
        Kind::Sparse => {
            let sparse = Sparse::open(files.open(&line.file)?)?;
            if sparse.len() < len {
                return Err(header::bad("it is shorter than its descriptor says", 0));
            }
            Holds::Sparse(Box::new(sparse))
        }
    })
}

fn parent(
    descriptor: &Descriptor,
    files: &mut dyn Files,
    depth: usize,
) -> Result<Option<Arc<Vmdk>>> {
    let Some(cid) = descriptor.parent_cid else {
        return Ok(None);
    };
    let Some(name) = &descriptor.parent else {
        return Err(Error::corrupt("vmdk-chain", "it names no parent's file"));
    };
    let file = files.open(name).map_err(|e| on_file(e, name))?;
    let (parent, have) = open_one(name, file, files, depth.saturating_add(1))?;
    if have != cid {
        let what = format!("its content id is {have:08x}, and the snapshot was made of {cid:08x}");
        return Err(Error::corrupt("vmdk-chain", what).on(name).hint(
            "the parent was used after the snapshot was made, or is another disk's: copy the whole chain again",
        ));
    }
    Ok(Some(Arc::new(parent)))
}

impl Vmdk {
    /// The extent that holds a place, and where the place is in it.
    fn extent(&self, offset: u64) -> Option<(&Extent, u64)> {
        let index = self.extents.partition_point(|extent| extent.end <= offset);
        let extent = self.extents.get(index)?;
        Some((extent, offset.saturating_sub(extent.begin)))
    }

    /// What the parent holds; zeros beyond its end, or without one.
    fn inherited(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        match &self.parent {
            None => {
                buf.fill(0);
                Ok(())
            }
            Some(parent) => read_padded(parent.as_ref(), buf, offset),
        }
    }

    /// Reads what lies together from `offset` on: bytes of `buf` that were filled.
    fn step(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let beyond = || Error::internal("a place behind a VMDK's end");
        let (extent, inside) = self.extent(offset).ok_or_else(beyond)?;
        let left = extent.end.saturating_sub(offset);
        let (from, left) = match &extent.holds {
            Holds::Sparse(sparse) => {
                let (from, alike) = sparse.find(inside).map_err(|e| on_file(e, &extent.name))?;
                (from, left.min(alike))
            }
            Holds::Flat(_, start) => (Grain::At(start.saturating_add(inside)), left),
            Holds::Zero => (Grain::Zero, left),
        };
        let now = usize::try_from(left).map_or(buf.len(), |n| n.min(buf.len()));
        let buf = buf.get_mut(..now).unwrap_or_default();
        match (from, &extent.holds) {
            (Grain::At(place), Holds::Flat(file, _)) => file.read_at(buf, place),
            (Grain::At(place), Holds::Sparse(sparse)) => sparse.read(buf, inside, place),
            (Grain::Absent, _) => return self.inherited(buf, offset).map(|()| now.max(1)),
            _ => {
                buf.fill(0);
                Ok(())
            }
        }
        .map_err(|e| on_file(e, &extent.name))?;
        Ok(now.max(1))
    }
}

impl Storage for Vmdk {
    fn len(&self) -> u64 {
        self.len
    }

    fn zeros(&self, offset: u64) -> Result<u64> {
        let Some((extent, inside)) = self.extent(offset) else {
            return Ok(0);
        };
        let left = extent.end.saturating_sub(offset);
        match &extent.holds {
            Holds::Zero => Ok(left),
            Holds::Flat(file, start) => Ok(file.zeros(start.saturating_add(inside))?.min(left)),
            Holds::Sparse(sparse) => {
                let found = sparse.find(inside).map_err(|e| on_file(e, &extent.name))?;
                match (found, &self.parent) {
                    ((Grain::Zero, alike), _) | ((Grain::Absent, alike), None) => {
                        Ok(alike.min(left))
                    }
                    ((Grain::Absent, alike), Some(parent)) if offset < parent.len => {
                        Ok(parent.zeros(offset)?.min(alike).min(left))
                    }
                    ((Grain::Absent, alike), Some(_)) => Ok(alike.min(left)),
                    ((Grain::At(_), _), _) => Ok(0),
                }
            }
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        let mut done = 0_usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let now = self.step(rest, offset.saturating_add(done as u64))?;
            done = done.saturating_add(now);
        }
        Ok(())
    }

    fn write_at(&self, _: &[u8], offset: u64) -> Result<()> {
        Err(Error::refused("read-only", "a VMDK is read only").at(offset))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
