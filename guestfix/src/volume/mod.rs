// SPDX-License-Identifier: Apache-2.0
//! Volumes: what a guest's disks hold, assembled in user space. Nothing is ever activated in the
//! host's kernel.
#![deny(clippy::arithmetic_side_effects)]

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::disk::Storage;

mod assemble;
mod btrfs;
pub(crate) mod field;
mod gpt;
mod inner;
mod layout;
mod luks;
mod lvm;
mod mapped;
mod mbr;
mod md;
pub(crate) mod probe;
#[cfg(test)]
pub(crate) mod sample;
mod table;
mod window;
mod wrapped;

pub use assemble::{Assembled, Key, Opening, Unopened, assemble, on_disks};
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
    /// `ext2`, `ext3`, `ext4`, `xfs`, `btrfs`, `btrfs-device` (another device of one), `vfat`, `ntfs`, `swap`, `lvm2-pv`, `md-member`,
    /// `luks`, `bitlocker`, `iso9660`, `squashfs`, `zeros` or `unknown`.
    pub kind: String,
    /// Filesystem UUID in the notation of /dev/disk/by-uuid.
    pub uuid: Option<String>,
    /// Filesystem label.
    pub label: Option<String>,
}

/// How an assembled volume came to be; empty for a partition or a whole disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stack {
    /// What assembled it: `lvm2 linear`, `md raid1`, `luks2`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// The volumes it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made_of: Vec<String>,
    /// The names that Linux gives it: `/dev/mapper/vg-root`, `/dev/md0`, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
}

impl Stack {
    /// True for a volume that lies on its disk as it is.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A volume: a stable name and the bytes.
#[derive(Clone)]
pub struct Volume {
    /// Stable name: `disk0` for a whole disk, `disk0p1` for its partition number 1 as the kernel
    /// numbers it (logical partitions of an MBR from 5), `vg/lv` for a logical volume, `md0` or
    /// `md-NAME` for an array, `luks-UUID` for an opened LUKS volume, and `p1` behind one of these
    /// for a partition in it.
    pub name: String,
    /// Index of the disk that holds it, or the first part of what it is made of.
    pub disk: usize,
    /// Start on that disk, bytes; 0 for an assembled volume, which [`crate::disk::Storage::below`]
    /// places.
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
    /// How it was assembled.
    pub stack: Stack,
    /// The bytes.
    pub storage: Arc<dyn Storage>,
}

impl Volume {
    /// What was assembled from other volumes, which begin on `disk`.
    ///
    /// # Errors
    /// When its head cannot be read.
    pub(crate) fn assembled(
        name: String,
        disk: usize,
        storage: Arc<dyn Storage>,
        stack: Stack,
    ) -> crate::error::Result<Self> {
        Ok(Self {
            name,
            disk,
            offset: 0,
            len: storage.len(),
            part_uuid: None,
            part_type: None,
            part_label: None,
            bootable: false,
            content: probe::probe(storage.as_ref())?,
            stack,
            storage,
        })
    }

    /// True for what other volumes are made of, which nobody mounts.
    pub fn is_container(&self) -> bool {
        matches!(self.content.kind.as_str(), "lvm2-pv" | "md-member" | "luks")
    }
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
