// SPDX-License-Identifier: Apache-2.0
//! One change to a guest: a closed list of actions, each with its reason.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fs::GuestPath;
use crate::hive::script::Edit;

/// A change and why it is made. In JSON the action's own payload is left out; its meaning to a
/// person is `kind`, `path`, `why` and `diff`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The topic that proposed it, for example `fstab`.
    pub topic: String,
    /// The action's kind, for example `write-file`.
    pub kind: String,
    /// The guest path it is about.
    pub path: String,
    /// Why, in one sentence.
    pub why: String,
    /// Unified diff, or a listing for binary content.
    pub diff: Option<String>,
    /// The diff shows nothing that not every user of the guest may read. False where that is not
    /// known.
    #[serde(default)]
    pub world_readable: bool,
    /// True when a guest program decides what it does: the diff is then not complete.
    pub opaque: bool,
    /// A change whose failure is a Warning and not the end of the conversion.
    #[serde(default)]
    pub optional: bool,
    /// Done only where an earlier optional change of the same topic failed.
    #[serde(default)]
    pub fallback: bool,
    /// What to do. Not part of the published document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub action: Option<Action>,
}

/// Owner and mode of a file that does not exist yet. A file that exists keeps its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attrs {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attrs {
    /// Root's, mode 0644.
    pub const FILE: Self = Self {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    /// Root's, mode 0755.
    pub const PROGRAM: Self = Self {
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
}

/// What to do to the guest. Paths are the guest's and are resolved beneath its root when it is
/// done; a symlink on the way is followed as the guest would follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Sets a file's whole content, in place: inode, owner, mode, xattrs and hard links stay. A
    /// missing file is made with `attrs`, missing directories with mode 0755.
    WriteFile {
        /// The file.
        path: GuestPath,
        /// SHA-256 of the content the plan was made from; `None`: it did not exist. Applying
        /// stops when that is no longer so.
        before: Option<String>,
        /// The new content.
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
        /// For a new file.
        attrs: Attrs,
    },
    /// Copies a file of the guest to a place where nothing is yet.
    CopyFile {
        /// The file; a symlink is followed.
        from: GuestPath,
        /// Where the copy goes.
        path: GuestPath,
        /// Bytes, for the reader of a plan.
        len: u64,
    },
    /// Removes a file or symlink; nothing to do when it is absent.
    RemoveFile {
        /// The file.
        path: GuestPath,
    },
    /// Removes many files, and then those of the directories that are empty.
    RemoveFiles {
        /// The file that names them all.
        path: GuestPath,
        /// Files and symlinks, in order; absent ones are nothing to do.
        files: Vec<GuestPath>,
        /// Directories, those inside before those around them.
        dirs: Vec<GuestPath>,
    },
    /// Makes a symlink, replacing a symlink or nothing (never a file or directory).
    Symlink {
        /// Where.
        path: GuestPath,
        /// The target as written.
        target: String,
    },
    /// Appends one cpio archive to an initramfs.
    AppendInitramfs {
        /// The initramfs.
        path: GuestPath,
        /// What the archive holds, parents before children.
        members: Vec<Member>,
    },
    /// Makes an initramfs anew with a program of the guest, in the sandbox, and puts it in the old
    /// one's place: owner, mode and the rest stay.
    RebuildInitramfs {
        /// The initramfs.
        path: GuestPath,
        /// Program (absolute) and arguments.
        argv: Vec<String>,
        /// Files that the program finds in [`SCRATCH`]: name and text.
        scratch: Vec<(String, String)>,
        /// Where the program leaves the image, below the sandbox's `/tmp`.
        product: String,
        /// Seconds until it is ended and counts as failed.
        timeout_s: u32,
    },
    /// Installs packages of the operator's with the guest's own package tool, in the sandbox.
    InstallPackage {
        /// The packages' file names, what it is about first; the program finds them in [`SCRATCH`].
        files: Vec<String>,
        /// Program (absolute) and arguments.
        argv: Vec<String>,
        /// Seconds until it is ended and counts as failed.
        timeout_s: u32,
    },
    /// Edits a registry hive. The edits of all changes of one hive are made in order and the file
    /// is written once, after the last of them; its logs are emptied.
    EditHive {
        /// The hive's file.
        path: GuestPath,
        /// Its name: `SYSTEM`.
        hive: String,
        /// SHA-256 of the file that the plan was made from. Applying stops when that is no longer
        /// so.
        before: String,
        /// What is to be so.
        edits: Vec<Edit>,
    },
    /// Places a file of the driver bundle.
    PlaceFile {
        /// Where it goes; missing directories are made.
        path: GuestPath,
        /// Its path in the bundle.
        member: String,
        /// SHA-256 of its bytes, in hex.
        sha256: String,
        /// Bytes.
        len: u64,
    },
    /// Runs a program of the guest in the sandbox, with the guest's root as `/`.
    RunGuest {
        /// Program (absolute) and arguments.
        argv: Vec<String>,
        /// Seconds until it is ended and counts as failed.
        timeout_s: u32,
    },
}

/// The directory in the sandbox where a program finds the files that come with it. It is in memory
/// and goes with the sandbox.
pub const SCRATCH: &str = "/tmp/guestfix";

/// One member of a cpio archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Path in the archive, without a leading slash.
    pub name: String,
    /// What it is.
    pub what: MemberKind,
}

/// What a cpio member is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberKind {
    /// A directory, mode 0755.
    Dir,
    /// A file with these bytes, mode 0644.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A file with these bytes, mode 0755: a script in the place of an older one.
    Program(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A copy of a guest file, mode 0644.
    Copy(GuestPath),
    /// A copy of a compressed kernel module of the guest, unpacked, mode 0644.
    Unpack(GuestPath),
}

impl Action {
    /// The word for it in JSON and text.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WriteFile { .. } => "write-file",
            Self::CopyFile { .. } => "copy-file",
            Self::RemoveFile { .. } => "remove-file",
            Self::RemoveFiles { .. } => "remove-files",
            Self::Symlink { .. } => "symlink",
            Self::AppendInitramfs { .. } => "append-initramfs",
            Self::RebuildInitramfs { .. } => "rebuild-initramfs",
            Self::InstallPackage { .. } => "install-package",
            Self::EditHive { .. } => "edit-hive",
            Self::PlaceFile { .. } => "place-file",
            Self::RunGuest { .. } => "run-guest-program",
        }
    }

    /// The guest path it is about.
    pub fn path(&self) -> String {
        match self {
            Self::WriteFile { path, .. }
            | Self::CopyFile { path, .. }
            | Self::RemoveFile { path }
            | Self::RemoveFiles { path, .. }
            | Self::Symlink { path, .. }
            | Self::AppendInitramfs { path, .. }
            | Self::RebuildInitramfs { path, .. }
            | Self::EditHive { path, .. }
            | Self::PlaceFile { path, .. } => path.display(),
            Self::InstallPackage { files, .. } => files.first().cloned().unwrap_or_default(),
            Self::RunGuest { argv, .. } => argv.first().cloned().unwrap_or_default(),
        }
    }
}

impl Change {
    /// A change by `topic`, with the diff of `before` and what the action writes.
    pub fn new(topic: &str, why: impl Into<String>, action: Action, before: Option<&[u8]>) -> Self {
        Self {
            topic: topic.to_owned(),
            kind: action.kind().to_owned(),
            path: action.path(),
            why: why.into(),
            diff: super::render::diff(&action, before),
            world_readable: false,
            opaque: matches!(
                action,
                Action::RunGuest { .. }
                    | Action::RebuildInitramfs { .. }
                    | Action::InstallPackage { .. }
            ),
            optional: false,
            fallback: false,
            action: Some(action),
        }
    }

    /// Its failure is a Warning only.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Done only where an earlier optional change of the same topic failed.
    #[must_use]
    pub fn fallback(mut self) -> Self {
        self.fallback = true;
        self
    }

    /// Edits a hive that was read, less what is known to be so already; `None` where nothing is
    /// left, or where the guest has no such hive.
    pub fn hive(
        topic: &str,
        why: impl Into<String>,
        registry: &crate::inspect::registry::Registry,
        hive: &str,
        edits: Vec<Edit>,
    ) -> Option<Self> {
        let facts = registry.hives.get(hive)?;
        let wanted = edits.into_iter();
        let edits: Vec<_> = wanted.filter(|edit| !facts.is_so(edit)).collect();
        if edits.is_empty() {
            return None;
        }
        let action = Action::EditHive {
            path: facts.path.clone(),
            hive: hive.to_owned(),
            before: facts.sha256.clone(),
            edits,
        };
        Some(Self::new(topic, why, action, None))
    }

    /// Sets a gathered file's content (or makes the file), unless it already is so.
    pub fn edit(
        topic: &str,
        why: impl Into<String>,
        sources: &crate::inspect::facts::Sources,
        path: &str,
        content: impl Into<Vec<u8>>,
    ) -> Option<Self> {
        let content = content.into();
        let old = sources.files.get(path);
        if old.is_some_and(|file| file.content == content) {
            return None;
        }
        let action = Action::WriteFile {
            path: old.map_or_else(|| GuestPath::new(path), |file| file.real.clone()),
            before: old.map(|file| crate::digest::sha256_hex(&file.content)),
            content,
            attrs: Attrs::FILE,
        };
        let before = old.map(|file| file.content.as_slice());
        // NTFS has lists of who may, which are not read.
        let modes_count = sources.registry.is_empty();
        Some(Self {
            world_readable: modes_count && old.is_none_or(|file| file.world_readable),
            ..Self::new(topic, why, action, before)
        })
    }
}
