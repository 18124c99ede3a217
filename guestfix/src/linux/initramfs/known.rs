// SPDX-License-Identifier: Apache-2.0
//! Reading an initramfs image that begins with one that was read before, as a spliced one does:
//! where the bytes are the same, so is what they hold, and only the rest is unpacked.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use super::ahead::read_on_ahead;
use super::read::{Initramfs, SoFar};

/// Images that are remembered; what one holds takes some megabytes.
const MOST: usize = 8;

/// An image that was read to its end.
struct Known {
    path: String,
    version: String,
    len: u64,
    digest: [u8; 32],
    so_far: SoFar,
}

thread_local! {
    /// Nothing else than the bytes decides what is found here.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// As [`super::read::read_initramfs`] of the image at `path`, which is only a hint.
pub fn read_initramfs_known(image: impl Read + Seek, path: &str, version: &str) -> Initramfs {
    let mut image = Hashing {
        inner: image,
        hash: Sha256::new(),
        len: 0,
    };
    let so_far = image.begins_with_known(path, version).unwrap_or_default();
    let (read, so_far) = read_on_ahead(so_far, image.len, &mut image, version);
    if read.facts.damage.is_none() {
        let known = Known {
            path: path.to_owned(),
            version: version.to_owned(),
            len: image.len,
            digest: image.hash.finalize().into(),
            so_far,
        };
        KNOWN.with_borrow_mut(|all| {
            all.truncate(MOST.saturating_sub(1));
            all.insert(0, known);
        });
    }
    read
}

/// Hashes what is read.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    len: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.hash.update(buf.get(..count).unwrap_or_default());
        self.len = self.len.saturating_add(count as u64);
        Ok(count)
    }
}

impl<R: Read + Seek> Hashing<R> {
    /// Reads as much as the image that was there before had. What that held where it is the same;
    /// otherwise, and where reading fails, the image stands at its start again.
    fn begins_with_known(&mut self, path: &str, version: &str) -> Option<SoFar> {
        let known = KNOWN.with_borrow_mut(|all| {
            let same = |known: &Known| known.path == path && known.version == version;
            all.iter().position(same).map(|at| all.remove(at))
        })?;
        let read = io::copy(&mut self.by_ref().take(known.len), &mut io::sink());
        let same = self.hash.clone().finalize().as_slice() == known.digest;
        if same && read.is_ok_and(|len| len == known.len) {
            return Some(known.so_far);
        }
        // A seek that fails is told by the reads that follow it.
        let _ = self.inner.seek(SeekFrom::Start(0));
        (self.hash, self.len) = (Sha256::new(), 0);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::cpio::Writer;
    use super::super::read::read_initramfs;
    use super::*;

    const V: &str = "6.1.0-1";

    fn archive(module: &str) -> Vec<u8> {
        let mut writer = Writer::new();
        for name in ["lib", "lib/modules", &format!("lib/modules/{V}")] {
            writer.dir(name);
        }
        writer.file(&format!("lib/modules/{V}/{module}.ko"), b"elf");
        writer.finish(4)
    }

    fn modules(image: &[u8]) -> Vec<String> {
        let read = read_initramfs_known(Cursor::new(image), "/boot/initrd", V);
        let whole = read_initramfs(image, V);
        assert_eq!(read.facts, whole.facts);
        read.facts.modules.into_iter().collect()
    }

    #[test]
    fn what_is_appended_is_found_beside_what_was_known() {
        let mut image = archive("vmw_pvscsi");
        assert_eq!(modules(&image), ["vmw_pvscsi"]);
        assert_eq!(modules(&image), ["vmw_pvscsi"]);
        image.resize(image.len().next_multiple_of(512), 0);
        image.extend(archive("virtio_blk"));
        assert_eq!(modules(&image), ["virtio_blk", "vmw_pvscsi"]);
        assert_eq!(modules(&image), ["virtio_blk", "vmw_pvscsi"]);
    }

    #[test]
    fn another_image_in_its_place_and_a_shorter_one_are_read_anew() {
        let mut image = archive("vmw_pvscsi");
        image.extend(archive("virtio_blk"));
        assert_eq!(modules(&image), ["virtio_blk", "vmw_pvscsi"]);
        assert_eq!(modules(&archive("vmw_pvscsi")), ["vmw_pvscsi"]);
        assert_eq!(modules(&archive("virtio_blk")), ["virtio_blk"]);
    }

    #[test]
    fn damage_behind_what_was_known_is_told() {
        let mut image = archive("vmw_pvscsi");
        modules(&image);
        image.extend(b"!!!!rubbish");
        let read = read_initramfs_known(Cursor::new(&image), "/boot/initrd", V);
        assert_eq!(
            read.facts.damage,
            read_initramfs(image.as_slice(), V).facts.damage
        );
        assert!(read.facts.damage.is_some());
    }
}
