// SPDX-License-Identifier: Apache-2.0
//! A part of a disk as a storage of its own.

use std::fmt;
use std::sync::Arc;

use crate::disk::{Below, Storage};
use crate::error::{Error, Result};

/// A sub-range of another storage; what lies outside cannot be reached through it.
#[derive(Clone)]
pub struct Window {
    inner: Arc<dyn Storage>,
    name: String,
    start: u64,
    len: u64,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("name", &self.name)
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Window {
    /// The bytes `start..start + len` of `inner`, under the name that errors will carry.
    ///
    /// # Errors
    /// `Corrupt`/`out-of-range` when the range leaves `inner`.
    pub fn new(
        name: impl Into<String>,
        inner: Arc<dyn Storage>,
        start: u64,
        len: u64,
    ) -> Result<Self> {
        let name = name.into();
        if start.checked_add(len).is_none_or(|end| end > inner.len()) {
            return Err(Error::corrupt(
                "out-of-range",
                format!(
                    "{len} bytes from byte {start} leave the disk of {} bytes",
                    inner.len()
                ),
            )
            .on(name)
            .at(start));
        }
        Ok(Self {
            inner,
            name,
            start,
            len,
        })
    }

    /// Where the range begins in the storage below.
    fn place(&self, offset: u64, len: usize) -> Result<u64> {
        let inside = offset
            .checked_add(len as u64)
            .is_some_and(|end| end <= self.len);
        match self.start.checked_add(offset) {
            Some(place) if inside => Ok(place),
            _ => Err(Error::corrupt(
                "out-of-range",
                format!("{len} bytes leave the volume of {} bytes", self.len),
            )
            .on(self.name.clone())
            .at(offset)),
        }
    }
}

impl Storage for Window {
    fn len(&self) -> u64 {
        self.len
    }

    fn below(&self, offset: u64, len: u64) -> Vec<Below> {
        vec![Below {
            storage: Arc::clone(&self.inner),
            offset: self.start.saturating_add(offset),
            len,
        }]
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read_at(buf, self.place(offset, buf.len())?)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.inner.write_at(buf, self.place(offset, buf.len())?)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::sample::Bytes;

    #[test]
    fn a_window_reads_and_writes_only_its_range() {
        let disk = Arc::new(Bytes::new((0..=255).collect()));
        let window = Window::new("disk0p1", disk.clone(), 16, 4).unwrap();
        let mut buf = [0; 4];
        window.read_at(&mut buf, 0).unwrap();
        assert_eq!(buf, [16, 17, 18, 19]);
        window.write_at(&[9], 3).unwrap();
        assert_eq!(disk.to_vec().get(18..21), Some(&[18, 9, 20][..]));

        let error = window.read_at(&mut buf, 1).unwrap_err();
        assert_eq!(error.code, "out-of-range");
        assert_eq!(
            (error.disk.as_deref(), error.offset),
            (Some("disk0p1"), Some(1))
        );
        assert!(window.write_at(&[0], 4).is_err());
        assert!(window.read_at(&mut buf, u64::MAX).is_err());
    }

    #[test]
    fn a_window_beyond_the_disk_is_refused() {
        let disk: Arc<dyn Storage> = Arc::new(Bytes::new(vec![0; 16]));
        assert!(Window::new("w", disk.clone(), 8, 9).is_err());
        assert!(Window::new("w", disk.clone(), u64::MAX, 2).is_err());
        assert!(Window::new("w", disk, 16, 0).is_ok());
    }
}
