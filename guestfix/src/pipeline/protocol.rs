// SPDX-License-Identifier: Apache-2.0
//! What the supervisor asks of the worker, and what it gets back: a closed list of serde values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hives::EditedHive;
use crate::disk::Format;
use crate::error::Error;
use crate::fs::{FileType, GuestPath};
use crate::hive::script::Edit;
use crate::host::mounter::{MountReply, MountRequest};
use crate::inspect::Facts;
use crate::linux::selinux::contexts::Label;
use crate::plan::{Bus, Member, Plan, Policy};
use crate::verify::Verdict;
use crate::vm::ova::{Algorithm, Ova, Part};

/// A disk handed to the worker. Two descriptors travel with each: the disk, open for reading, and
/// an empty file for the overlay's delta.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DiskSpec {
    /// `disk0`, ...
    pub name: String,
    /// As given on the command line.
    pub path: String,
    /// Logical sector size, bytes.
    pub sector_size: u32,
    /// How much the overlay may hold, bytes.
    pub overlay_limit: u64,
    /// How the file holds the disk. The overlay lies below a qcow2 image and above a VMDK.
    pub format: Format,
    /// Only this part of the file: its start and length, bytes.
    pub part: Option<(u64, u64)>,
}

/// How a new image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum NewImage {
    /// Byte for byte, holes where there are zeros.
    Raw,
    /// qcow2, version 3.
    Qcow2,
}

/// A part of a file, and how it shall be summed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Summed {
    pub part: Part,
    pub algorithm: Algorithm,
}

/// A run of bytes of a disk, by the disk's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// Index of the disk.
    pub disk: usize,
    /// Where on the disk, bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Where in the disk's delta file the new content lies.
    pub delta: u64,
}

/// Bytes whose change tells that the guest has run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Index of the disk.
    pub disk: usize,
    /// What lies there, for example `disk0p1 superblock`.
    pub name: String,
    /// Where on the disk, bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// From the supervisor to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Takes the disks.
    Open(Vec<DiskSpec>),
    /// How volumes are opened.
    Opening {
        /// Keys: a volume's name or UUID, or `all`, and the key.
        keys: Vec<(String, serde_bytes::ByteBuf)>,
        /// `--allow-degraded`.
        allow_degraded: bool,
        /// `--boot-disk` was given: that one is the first.
        boot_disk_first: bool,
    },
    /// Lays bytes of a pending journal into the overlay.
    Lay {
        /// Index of the disk.
        disk: usize,
        /// Where on the disk, bytes.
        offset: u64,
        /// The content.
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
    },
    /// Finds the root and gathers the facts.
    Inspect {
        /// `--root`.
        root: Option<String>,
        /// The mounter stands by: filesystems without a reader of ours may be asked for.
        mounts: bool,
    },
    /// Decides.
    Plan {
        /// What the operator chose.
        policy: Box<Policy>,
        /// Which bus the VM will have.
        bus: Bus,
    },
    /// Builds a cpio archive from bytes and guest files.
    Archive {
        /// The initramfs it is for.
        path: GuestPath,
        /// What it holds.
        members: Vec<Member>,
    },
    /// Edits a hive in memory.
    Hive {
        /// The hive's file.
        path: GuestPath,
        /// SHA-256 that it must have.
        before: String,
        /// What is to become of it, in order.
        scripts: Vec<Vec<Edit>>,
    },
    /// Says how the guest's filesystems spell paths.
    Spell(Vec<GuestPath>),
    /// Says which SELinux labels paths get, by the facts of the guest as it was.
    Labels(Vec<(GuestPath, FileType)>),
    /// Changes a file of a FAT volume; paths are the volume's own.
    Fat {
        /// The volume.
        volume: String,
        /// What to do.
        change: FatChange,
    },
    /// Reads a file of a FAT volume whole.
    FatRead {
        /// The volume.
        volume: String,
        /// The file.
        path: GuestPath,
    },
    /// Serves all volumes on the FUSE descriptor that comes along.
    Serve,
    /// Ends the overlay's writes: says what changed, or the error that was latched.
    Seal,
    /// Re-reads the overlay and runs every check.
    Verify {
        /// The root that was chosen.
        root: String,
        /// Which bus the VM will have.
        bus: Bus,
        /// The mounter stands by.
        mounts: bool,
    },
    /// Writes a disk, as the overlay leaves it, into the empty file that comes along.
    Copy {
        /// Index of the disk.
        disk: usize,
        /// How.
        image: NewImage,
    },
    /// Reads the list of the OVA that comes along; its path for errors.
    Ova(String),
    /// Sums a part of the file that comes along.
    Sum(Summed),
    /// The answer to [`Answer::Ask`].
    Told(Result<Told, Error>),
}

/// A change to a file of a FAT volume, which no mount is needed for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FatChange {
    /// Sets a file's whole content.
    Write {
        /// The file.
        path: GuestPath,
        /// SHA-256 in hex of what it must hold now; `None`: it must not exist.
        before: Option<String>,
        /// The new content.
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
    },
    /// Appends to a file.
    Append {
        /// The file.
        path: GuestPath,
        /// What to append.
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
    },
    /// Removes a file.
    Remove {
        /// The file.
        path: GuestPath,
    },
}

/// What the worker needs of the mounter, through the supervisor: for filesystems that it cannot
/// read itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Mount this volume privately over the overlay.
    Mount {
        /// The volume.
        volume: String,
        /// Its filesystem.
        fstype: String,
    },
    /// A read request for a mounted volume.
    Read(MountRequest),
    /// A file that the image being opened names.
    File {
        /// As the image writes it.
        name: String,
    },
    /// Nothing: this is how far the order is.
    Heard {
        /// Bytes.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// What the mounter said.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// Mounted.
    Mounted {
        /// Its log had to be replayed into the overlay.
        replayed: bool,
    },
    /// The reply to a read.
    Read(MountReply),
    /// The file comes along.
    File,
    /// Go on.
    Heard,
}

/// From the worker to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Done.
    Done,
    /// The facts.
    Facts(Box<Facts>),
    /// The plan.
    Plan(Box<Plan>),
    /// The archive's bytes.
    Archive(#[serde(with = "serde_bytes")] Vec<u8>),
    /// What becomes of a hive.
    Hive(EditedHive),
    /// Each path as it is spelled.
    Spelled(BTreeMap<GuestPath, GuestPath>),
    /// The labels, in the order asked.
    Labels(Vec<Label>),
    /// Whether a FAT volume was changed.
    Changed(bool),
    /// A file of a FAT volume; `None` when there is none.
    Content(Option<serde_bytes::ByteBuf>),
    /// What the overlay holds.
    Sealed(Vec<Run>),
    /// What was seen after the conversion.
    Verified {
        /// Re-read facts.
        facts: Box<Facts>,
        /// Every check's result.
        verdicts: Vec<Verdict>,
        /// What to watch for an undo.
        marks: Vec<Mark>,
    },
    /// Bytes that were written into a new image.
    Copied(u64),
    /// The list of an OVA.
    Ova(Box<Ova>),
    /// A sum in hex.
    Sum(String),
    /// The worker needs something before it can answer.
    Ask(Ask),
}
