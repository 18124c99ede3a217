// SPDX-License-Identifier: Apache-2.0
//! Looks at a disk before QEMU opens it.

use std::io::Read;
use std::path::PathBuf;

use super::machine::{Drive, Format};
use crate::error::{Error, Result};

/// The disk's absolute path, after looking whether QEMU may open it.
pub(super) fn usable(disk: &Drive) -> Result<PathBuf> {
    let name = disk.path.display().to_string();
    let path = disk
        .path
        .canonicalize()
        .map_err(|e| Error::io("cannot open the disk", e).on(&name))?;
    if disk.format == Format::Qcow2 {
        let mut head = [0_u8; 80];
        std::fs::File::open(&path)
            .and_then(|mut file| file.read_exact(&mut head))
            .map_err(|e| Error::io("cannot read the image's header", e).on(&name))?;
        check_qcow2(&head).map_err(|e| e.on(&name))?;
    }
    Ok(path)
}

/// Refuses a qcow2 image that refers to other files: whoever made the image would choose which
/// file of this host the guest reads. Fields as in QEMU's docs/interop/qcow2.txt.
fn check_qcow2(head: &[u8; 80]) -> Result<()> {
    let be = |at: usize| {
        let bytes = head.get(at..at.saturating_add(8)).unwrap_or_default();
        bytes
            .iter()
            .fold(0_u64, |n, &byte| n << 8 | u64::from(byte))
    };
    if be(0) >> 32 != 0x5146_49fb {
        return Err(Error::corrupt("qcow2-magic", "the image is not qcow2").at(0));
    }
    let version = be(0) & 0xffff_ffff;
    let external_data = version >= 3 && be(72) & 4 != 0;
    if be(8) != 0 || external_data {
        return Err(Error::refused(
            "qcow2-refers-to-files",
            "the qcow2 image has a backing file or an external data file",
        )
        .hint("flatten it first: qemu-img convert -O qcow2 OLD NEW"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, backing: u8, features: u8) -> [u8; 80] {
        let mut head = [0; 80];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[7] = version;
        head[15] = backing;
        head[79] = features;
        head
    }

    #[test]
    fn an_image_that_names_other_files_is_refused() {
        assert!(check_qcow2(&header(3, 0, 0)).is_ok());
        assert!(
            check_qcow2(&header(2, 0, 4)).is_ok(),
            "version 2 has no features"
        );
        let code = |head| check_qcow2(&head).unwrap_err().code;
        assert_eq!(code(header(3, 1, 0)), "qcow2-refers-to-files");
        assert_eq!(code(header(3, 0, 4)), "qcow2-refers-to-files");
        assert_eq!(code([0; 80]), "qcow2-magic");
    }
}
