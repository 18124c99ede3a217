// SPDX-License-Identifier: Apache-2.0
//! Files that hold a disk in another format: named, so that the operator knows what to do.

use super::field::{has, read_head};
use crate::disk::Storage;
use crate::error::{Error, Result};

/// Magic numbers and where they stand: qcow2 (QEMU docs/interop/qcow2.txt), VMDK (VMware Virtual
/// Disk Format 1.1), VDI (VirtualBox, VDICore.h), VHDX (MS-VHDX 2.2.1), gzip (RFC 1952), xz (xz
/// file format 1.1), zip (APPNOTE 4.3.7), zstd (RFC 8878), tar (POSIX.1 ustar).
const FORMATS: [(usize, &[u8], &str, &str); 10] = [
    (0, b"QFI\xfb", "a qcow2 image", CONVERT),
    (0, b"KDMV", "a VMDK image", CONVERT),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor", DESCRIPTOR),
    (64, b"\x7f\x10\xda\xbe", "a VirtualBox VDI image", CONVERT),
    (0, b"vhdxfile", "a Hyper-V VHDX image", CONVERT),
    (
        0,
        b"\x1f\x8b",
        "gzip-compressed",
        "decompress it first: gunzip FILE",
    ),
    (
        0,
        b"\xfd7zXZ\0",
        "xz-compressed",
        "decompress it first: xz -d FILE",
    ),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "zstd-compressed",
        "decompress it first: zstd -d FILE",
    ),
    (
        0,
        b"PK\x03\x04",
        "a zip archive",
        "unpack it first: unzip FILE",
    ),
    (
        257,
        b"ustar",
        "a tar archive, perhaps an OVA",
        "unpack it first: tar -xf FILE; then give the disks in it, converted with qemu-img",
    ),
];

const CONVERT: &str = "convert it first: qemu-img convert -O raw FILE disk.raw";
const DESCRIPTOR: &str = "give the descriptor with its extents beside it to \
                          qemu-img convert -O raw FILE.vmdk disk.raw";

/// The error for a disk on which nothing is recognised.
///
/// # Errors
/// `Host`/`io` when reading fails.
pub(crate) fn not_a_disk(disk: &dyn Storage) -> Result<Error> {
    let head = read_head(disk, 512)?;
    let found = FORMATS
        .iter()
        .find(|(at, magic, ..)| has(&head, *at, magic));
    Ok(match found {
        Some((_, _, what, hint)) => Error::unsupported(
            "not-a-disk",
            format!("this is {what}, not the bytes of a disk"),
        )
        .hint(*hint),
        None => Error::unsupported(
            "not-a-disk",
            "no partition table and no filesystem: is this a disk image?",
        )
        .hint("give the whole disk of a guest, raw, qcow2 or VMDK"),
    })
}
