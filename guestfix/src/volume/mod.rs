// SPDX-License-Identifier: Apache-2.0
//! Volumes: what a guest's disks hold, assembled in user space. Nothing is ever activated in the
//! host's kernel.
#![deny(clippy::arithmetic_side_effects)]

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::disk::Storage;

pub(crate) mod field;
mod gpt;
mod layout;
mod mbr;
pub(crate) mod probe;
#[cfg(test)]
pub(crate) mod sample;
mod table;
mod window;
mod wrapped;

pub use layout::read_layout;
pub use probe::probe;
pub use window::Window;

/// A partition table's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// GUID partition table.
    Gpt,
    /// Master boot record, with logical partitions in extended ones.
    Mbr,
    /// No table: the disk is one volume.
    None,
}

/// What stands at the head of a volume, told by its magic numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Content {
    /// `ext2`, `ext3`, `ext4`, `xfs`, `btrfs`, `vfat`, `ntfs`, `swap`, `lvm2-pv`, `md-member`,
    /// `luks`, `bitlocker`, `iso9660`, `squashfs`, `zeros` or `unknown`.
    pub kind: String,
    /// Filesystem UUID in the notation of /dev/disk/by-uuid.
    pub uuid: Option<String>,
    /// Filesystem label.
    pub label: Option<String>,
}

/// A volume: a stable name and the bytes.
#[derive(Clone)]
pub struct Volume {
    /// Stable name: `disk0` for a whole disk, `disk0p1` for its partition number 1 as the kernel
    /// numbers it (logical partitions of an MBR from 5).
    pub name: String,
    /// Index of the disk that holds it.
    pub disk: usize,
    /// Start on that disk, bytes.
    pub offset: u64,
    /// Length, bytes.
    pub len: u64,
    /// Partition UUID as /dev/disk/by-partuuid shows it (`xxxxxxxx-nn` for MBR).
    pub part_uuid: Option<String>,
    /// GPT type GUID (lower case) or MBR type byte as `0x83`.
    pub part_type: Option<String>,
    /// GPT partition name.
    pub part_label: Option<String>,
    /// MBR active flag or GPT legacy-BIOS-bootable attribute.
    pub bootable: bool,
    /// What its head says it holds.
    pub content: Content,
    /// The bytes.
    pub storage: Arc<dyn Storage>,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("name", &self.name)
            .field("offset", &self.offset)
            .field("len", &self.len)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

/// A disk seen as volumes.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The kind of partition table.
    pub table: TableKind,
    /// MBR disk signature (8 hex digits) or GPT disk GUID.
    pub id: Option<String>,
    /// The volumes in table order. Extended containers are left out.
    pub volumes: Vec<Volume>,
    /// Damage that reading could work around, one sentence each (a bad backup header, say).
    pub damage: Vec<String>,
}
