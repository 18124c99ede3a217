// SPDX-License-Identifier: Apache-2.0
//! A digest of what is on a disk. Holes cost nothing: most of a guest's disk is holes, and every
//! test of undo reads it several times.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};

const PART: u64 = 64 << 10;

/// A digest in hexadecimal, the same for files with the same length and content: the SHA-256 of the
/// length, and of every 64 KiB that are not all zeros with their offset.
pub fn content_digest(path: &Path) -> String {
    let file = File::open(path).unwrap();
    let meta = file.metadata().unwrap();
    let end = lseek(&file, 0, Whence::SeekEnd).unwrap() as u64;
    let mut hasher = Sha256::new();
    hasher.update(end.to_le_bytes());
    let mut part = vec![0; PART as usize];
    let mut at = 0;
    while at < end {
        // A device has no holes that it tells of.
        if !meta.file_type().is_block_device() {
            match lseek(&file, at as i64, Whence::SeekData) {
                Ok(data) => at = data as u64 / PART * PART,
                Err(Errno::ENXIO) => break,
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
        let len = (end - at).min(PART);
        let part = &mut part[..len as usize];
        file.read_exact_at(part, at).unwrap();
        if part.iter().any(|byte| *byte != 0) {
            hasher.update(at.to_le_bytes());
            hasher.update(&*part);
        }
        at += len;
    }
    guestfix::digest::hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_zeros_and_every_byte_and_the_length_count() {
        let dir = tempfile::tempdir().unwrap();
        let digest = |edit: &dyn Fn(&File)| {
            let path = dir.path().join("disk");
            let file = File::create(&path).unwrap();
            file.set_len(1 << 20).unwrap();
            file.write_all_at(b"x", 300_000).unwrap();
            edit(&file);
            content_digest(&path)
        };
        let sparse = digest(&|_| {});
        assert_eq!(
            sparse,
            digest(&|f| f.write_all_at(&[0; 100_000], 0).unwrap())
        );
        for other in [
            digest(&|f| f.write_all_at(b"y", 300_000).unwrap()),
            digest(&|f| f.write_all_at(b"\0x", 300_000).unwrap()),
            digest(&|f| f.write_all_at(b"x", (1 << 20) - 1).unwrap()),
            digest(&|f| f.set_len((1 << 20) + 1).unwrap()),
        ] {
            assert_ne!(sparse, other);
        }
    }
}
