// SPDX-License-Identifier: Apache-2.0
//! The bytes of a disk in a qcow2 image, by the `imago` crate over a storage of ours. It stands in
//! this room because imago's storage interface consists of unsafe functions.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2 as Image;
use imago::raw::Raw as Plain;
use imago::storage::drivers::CommonStorageHelper;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Mapping};

use crate::disk::{Below, Format, Storage, check_range};
use crate::error::{Error, Kind, Result};

/// A disk in a qcow2 image.
pub struct Qcow2 {
    image: FormatAccess<Container>,
    container: Arc<dyn Storage>,
    len: u64,
}

impl fmt::Debug for Qcow2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Qcow2 {
    /// Opens the image in `container`, of which `size` bytes are there and the rest is room to
    /// grow. Nothing that the image refers to is opened: what it is backed by, the nearest first,
    /// comes with it and is not written.
    ///
    /// # Errors
    /// `Corrupt`/`qcow2`.
    pub fn open(container: Arc<dyn Storage>, size: u64, backings: &[Backing]) -> Result<Self> {
        let mut below = None;
        for backing in backings.iter().rev() {
            below = Some(backing.open(below)?);
        }
        let image = image(Arc::clone(&container), size, true, below)?;
        let len = image.size();
        Ok(Self {
            image,
            container,
            len,
        })
    }
}

/// What an image reads where it holds nothing itself.
#[derive(Clone)]
pub struct Backing {
    /// The file.
    pub storage: Arc<dyn Storage>,
    /// Raw or qcow2.
    pub format: Format,
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backing")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Backing {
    fn open(&self, below: Option<Layer>) -> Result<Layer> {
        let (storage, size) = (Arc::clone(&self.storage), self.storage.len());
        match self.format {
            Format::Qcow2 => image(storage, size, false, below),
            _ => Plain::builder(Container::new(storage, size))
                .write(false)
                .open(DenyImplicitOpenGate::default())
                .map(FormatAccess::new)
                .map_err(unopened),
        }
    }
}

type Layer = FormatAccess<Container>;

fn image(
    storage: Arc<dyn Storage>,
    size: u64,
    writable: bool,
    below: Option<Layer>,
) -> Result<Layer> {
    Image::<Container>::builder(Container::new(storage, size))
        .write(writable)
        .backing(below)
        .open(DenyImplicitOpenGate::default())
        .map(FormatAccess::new)
        .map_err(unopened)
}

fn unopened(error: io::Error) -> Error {
    Error::corrupt("qcow2", "the qcow2 image cannot be opened").because(error)
}

fn failed(doing: &str, error: io::Error) -> Error {
    // An error of ours went through imago as the cause.
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(inner) => inner.clone(),
        None => Error::new(Kind::Corrupt, "qcow2", doing).because(error),
    }
}

impl Storage for Qcow2 {
    fn len(&self) -> u64 {
        self.len
    }

    fn below(&self, offset: u64, len: u64) -> Vec<Below> {
        let mut out = Vec::new();
        let end = offset.saturating_add(len).min(self.len);
        let mut at = offset;
        while at < end {
            let Ok((mapping, len)) = self.image.get_mapping(at, end.saturating_sub(at)) else {
                break;
            };
            // Where a backing file holds it, it lies on no disk that is written.
            if let Mapping::Raw {
                offset, storage, ..
            } = mapping
                && Arc::ptr_eq(&storage.storage, &self.container)
            {
                out.push(Below {
                    storage: Arc::clone(&self.container),
                    offset,
                    len,
                });
            }
            at = at.saturating_add(len.max(1));
        }
        out
    }

    fn zeros(&self, offset: u64) -> Result<u64> {
        let left = self.len.saturating_sub(offset);
        match self.image.get_mapping(offset, left) {
            Ok((Mapping::Zero { .. }, len)) => Ok(len.min(left)),
            _ => Ok(0),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        self.image
            .read(buf, offset)
            .map_err(|e| failed("reading the qcow2 image", e).at(offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        self.image
            .write(buf, offset)
            .map_err(|e| failed("writing the qcow2 image", e).at(offset))
    }

    fn flush(&self) -> Result<()> {
        self.image
            .flush()
            .map_err(|e| failed("writing the qcow2 image", e))?;
        self.container.flush()
    }
}

/// Our storage as imago sees one: a file that grows where it is written.
struct Container {
    storage: Arc<dyn Storage>,
    size: AtomicU64,
    helper: CommonStorageHelper,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the overlay")
    }
}

impl Container {
    fn new(storage: Arc<dyn Storage>, size: u64) -> Self {
        Self {
            storage,
            size: AtomicU64::new(size),
            helper: CommonStorageHelper::default(),
        }
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let inside = self.storage.len().saturating_sub(offset);
        let inside = usize::try_from(inside).unwrap_or(usize::MAX).min(buf.len());
        let (have, beyond) = buf.split_at_mut(inside);
        beyond.fill(0);
        self.storage.read_at(have, offset).map_err(io::Error::other)
    }

    fn write(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        if end > self.storage.len() {
            let full = Error::host(
                "no-space",
                "the qcow2 image grows beyond what a conversion may write",
            );
            return Err(io::Error::other(full));
        }
        self.storage
            .write_at(buf, offset)
            .map_err(io::Error::other)?;
        self.size.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }
}

#[allow(unsafe_code)]
impl imago::Storage for Container {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size.load(Ordering::Acquire))
    }

    // SAFETY: nothing here is unsafe; the function is marked so for the alignment that other
    // storages ask of their callers, and ours asks for none.
    unsafe fn pure_readv(&self, bufv: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        let mut at = offset;
        for mut slice in bufv.into_inner() {
            self.read(&mut slice, at)?;
            at = at.saturating_add(slice.len() as u64);
        }
        Ok(())
    }

    // SAFETY: as above.
    unsafe fn pure_writev(&self, bufv: IoVector<'_>, offset: u64) -> io::Result<()> {
        let mut at = offset;
        for slice in bufv.into_inner() {
            self.write(&slice, at)?;
            at = at.saturating_add(slice.len() as u64);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.storage.flush().map_err(io::Error::other)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    // SAFETY: nothing is cached here.
    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }

    fn resize(&self, size: u64, _: imago::storage::PreallocateMode) -> io::Result<()> {
        self.size.store(size, Ordering::Release);
        Ok(())
    }
}
