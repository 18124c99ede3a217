// SPDX-License-Identifier: Apache-2.0
//! In which format a file holds a disk, told by its first bytes.

use serde::{Deserialize, Serialize};

use super::{Raw, SECTOR, Storage, qcow2, read_padded, vmdk};

/// A format that disks are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's; written too.
    Qcow2,
    /// VMware's; only read.
    Vmdk,
}

impl Format {
    /// A block device is never taken for an image: KubeVirt shows a guest its bytes as they are, and
    /// what a guest wrote there must not be read as anything else.
    pub fn of(raw: &Raw) -> Self {
        if raw.is_device() {
            return Self::Raw;
        }
        Self::of_head(raw, 0)
    }

    /// The format of what begins at a byte of a file.
    pub fn of_head(file: &dyn Storage, offset: u64) -> Self {
        let mut head = [0; SECTOR];
        match read_padded(file, &mut head, offset) {
            Ok(()) if head.starts_with(&qcow2::MAGIC) => Self::Qcow2,
            Ok(()) if vmdk::is_vmdk(&head) => Self::Vmdk,
            _ => Self::Raw,
        }
    }
}
