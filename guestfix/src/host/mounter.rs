// SPDX-License-Identifier: Apache-2.0
//! The mounter: the process that mounts a guest's filesystems, changes files on them and runs the
//! guest's programs, by a closed list of requests.

use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::fanotify::{Touched, Watch};
use super::files::{self, NewFile};
use super::fsck::Opinion;
use super::label::{self, Made, Register};
use super::mount::Mounts;
use super::sandbox::{self, Exit, Program};
use super::scratch::{Scratch, ScratchFile};
use super::{Channel, namespace, replace};
use crate::error::{Error, Result};
use crate::fs::{GuestPath, Metadata, Space, Subvolume};

/// What the supervisor may ask for. Paths are the guest's; symlinks on the way are followed as
/// the guest would follow them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountRequest {
    /// First of all: covers `dir`, an existing directory of the machine, with a private
    /// filesystem that only the mounter sees.
    Begin {
        /// The directory.
        dir: PathBuf,
    },
    /// Attaches the exported volumes. Carries one descriptor: [`super::fuse::Connection::mount`].
    Export,
    /// Mounts an exported volume.
    Mount {
        /// The file's name in the export.
        volume: String,
        /// What it holds, as [`crate::volume::Content::kind`] names it.
        fstype: String,
        /// Where in the guest's tree; `/` first, and parents before children.
        at: GuestPath,
        /// Which directory of the filesystem goes there: of btrfs, a subvolume.
        from: GuestPath,
        /// Nothing shall be written, except for the replay of a dirty log.
        read_only: bool,
    },
    /// Mounts an exported volume at `/<volume>` for reading only, while no root is mounted. A
    /// second look is none. A btrfs shows its top level, with every subvolume below it.
    Look {
        /// The file's name in the export.
        volume: String,
        /// What it holds, as [`crate::volume::Content::kind`] names it.
        fstype: String,
    },
    /// The subvolumes of a btrfs that is looked at.
    Subvolumes {
        /// The volume.
        volume: String,
    },
    /// Asks the node's own checker about an exported volume that is not mounted.
    Check {
        /// The volume.
        volume: String,
        /// What it holds.
        fstype: String,
        /// Seconds until it is given up.
        timeout_s: u32,
    },
    /// Sets a file's whole content in place: inode, owner, mode, xattrs and hard links stay.
    /// A missing file is made, and missing directories with mode 0755.
    Write {
        /// The file; a symlink is followed.
        path: GuestPath,
        /// SHA-256 in hex of the content that it must have now; `None`: it must not exist.
        before: Option<String>,
        /// The new content.
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
        /// Permission bits of a new file.
        mode: u32,
        /// Owner of a new file.
        uid: u32,
        /// Group of a new file.
        gid: u32,
    },
    /// Appends to a file, after zeros up to a multiple of `align` bytes.
    Append {
        /// The file; a symlink is followed.
        path: GuestPath,
        /// What to append.
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
        /// 1 to 65536.
        align: u64,
    },
    /// Overwrites parts of a file in place, and then sets its length.
    Patch {
        /// The file; a symlink is followed.
        path: GuestPath,
        /// Bytes that it has afterwards.
        len: u64,
        /// Where, and with what.
        parts: Vec<(u64, ByteBuf)>,
    },
    /// Removes a file or symlink, not a directory.
    Remove {
        /// The file; a symlink itself is removed.
        path: GuestPath,
    },
    /// Removes a directory; one with something in it stays.
    RemoveDir {
        /// The directory; no symlink.
        path: GuestPath,
    },
    /// Makes a symlink, replacing a symlink or nothing.
    Symlink {
        /// Where.
        path: GuestPath,
        /// The target as written.
        target: String,
    },
    /// What was made or changed since the guest was mounted, as far as it may want a label.
    Made,
    /// Sets an SELinux label and reads it back.
    Label {
        /// The path, no symlink in it followed.
        path: GuestPath,
        /// The label.
        label: String,
        /// Not where there is one already, unless the node may have given it.
        only_missing: bool,
    },
    /// Attributes of a path, a final symlink not followed.
    Lstat {
        /// The path.
        path: GuestPath,
    },
    /// The target of a symlink.
    ReadLink {
        /// The symlink.
        path: GuestPath,
    },
    /// The names in a directory, sorted.
    List {
        /// The directory.
        path: GuestPath,
    },
    /// A part of a regular file.
    Read {
        /// The file; a symlink is followed.
        path: GuestPath,
        /// Start, bytes.
        offset: u64,
        /// Length, bytes; at most 16 MiB come back, fewer only at the end.
        len: u64,
    },
    /// The room on the filesystem that holds a path.
    Space {
        /// The path.
        path: GuestPath,
    },
    /// Runs a program of the guest in the sandbox, with the guest's root as `/`.
    Run {
        /// Program (absolute) and arguments.
        argv: Vec<String>,
        /// Seconds until it is killed.
        timeout_s: u32,
        /// Files that it finds in `/tmp/guestfix`.
        scratch: Vec<ScratchFile>,
        /// What it makes, to be put in a file's place when it ends well.
        product: Option<Product>,
    },
    /// Writes everything back, checked.
    Sync,
    /// Syncs, unmounts everything and waits until every write has reached the exported files.
    /// Afterwards volumes may be mounted again.
    Unmount,
    /// Ends the mounter.
    Quit,
}

/// The answer to a [`MountRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountReply {
    /// Done, with nothing to tell: Begin, Export, Mount, Sync, Unmount, Quit.
    Done,
    /// To Write, Patch, Remove, RemoveDir, Symlink and Label.
    Outcome(Outcome),
    /// To Made.
    Made(Vec<Made>),
    /// To Append: the file's new length, bytes.
    Appended {
        /// Bytes.
        len: u64,
    },
    /// To Lstat; `None` when nothing is there.
    Metadata(Option<Metadata>),
    /// To `ReadLink` and `Read`.
    Bytes(ByteBuf),
    /// To List.
    Names(Vec<ByteBuf>),
    /// To Space.
    Space(Space),
    /// To Look.
    Looked {
        /// Its log had to be replayed into the exported file.
        replayed: bool,
    },
    /// To Subvolumes.
    Subvolumes(Vec<Subvolume>),
    /// To Check.
    Checked(Opinion),
    /// To Run.
    Ran {
        /// How the program ended.
        exit: Exit,
        /// What it did to the guest.
        touched: Touched,
    },
    /// It could not be done.
    Failed(Error),
}

/// What a program makes in the sandbox's `/tmp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Where the program leaves it, below `/tmp`.
    pub from: String,
    /// The guest's file whose whole content it becomes; owner, mode and the rest stay.
    pub to: GuestPath,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The file already was as asked.
    AlreadySo,
    /// The file was changed.
    Changed,
}

/// How often a caller of [`call`] gets to look around.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// Sends a request to the mounter and waits for its answer.
///
/// While it waits it calls `check` now and then: whether the user cancelled, whether the worker
/// still lives. Without a worker no request may ever end.
///
/// # Errors
/// The mounter's own error; `Host`/`peer-gone` when it has died ([`super::Child::obituary`]
/// knows why); the error of `check`, after which the mounter must be ended.
pub fn call(
    channel: &Channel,
    request: &MountRequest,
    fds: &[BorrowedFd<'_>],
    mut check: impl FnMut() -> Result<()>,
) -> Result<MountReply> {
    channel.send(request, fds)?;
    while !channel.wait(LOOK_AROUND)? {
        check()?;
    }
    match channel.recv()? {
        Some((MountReply::Failed(error), _)) => Err(error),
        Some((reply, _)) => Ok(reply),
        None => Err(Error::host("peer-gone", "the mounter has ended")),
    }
}

/// The mounter's whole life: moves into its own mount and PID namespaces and serves requests
/// until [`MountRequest::Quit`] or the end of the channel. All that it mounted ends with it.
///
/// To be called first thing by the process, before any other thread exists.
///
/// # Errors
/// `Host`/`io` when the namespaces cannot be made; whatever the channel fails with.
pub fn mounter_main(channel: Channel) -> Result<()> {
    namespace::own_namespaces(move |alive| {
        watch_parent(alive)?;
        serve(&channel)
    })
}

/// As process 1 of its namespace this process cannot see its parent's id: a pipe tells whether it
/// died before its death signal was asked for.
fn watch_parent(mut alive: File) -> Result<()> {
    rustix::io::ioctl_fionbio(&alive, true).map_err(|e| Error::io("watching the parent", e))?;
    match alive.read(&mut [0]) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(Error::host("peer-gone", "the supervisor has died")),
    }
}

fn serve(channel: &Channel) -> Result<()> {
    // Modes are exactly those asked for.
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut mounter = Mounter {
        mounts: None,
        made: Register::default(),
    };
    while let Some((request, fds)) = channel.recv()? {
        let quit = request == MountRequest::Quit;
        let reply = mounter
            .answer(request, fds)
            .unwrap_or_else(MountReply::Failed);
        channel.send(&reply, &[])?;
        if quit {
            break;
        }
    }
    Ok(())
}

fn not_begun() -> Error {
    Error::internal("the mounter was asked before it began")
}

/// The path that a request may make.
fn makes(request: &MountRequest) -> Option<&GuestPath> {
    match request {
        MountRequest::Write { path, .. } | MountRequest::Symlink { path, .. } => Some(path),
        _ => None,
    }
}

struct Mounter {
    mounts: Option<Mounts>,
    made: Register,
}

impl Mounter {
    fn mounts(&mut self) -> Result<&mut Mounts> {
        self.mounts.as_mut().ok_or_else(not_begun)
    }

    fn answer(&mut self, request: MountRequest, fds: Vec<OwnedFd>) -> Result<MountReply> {
        match request {
            MountRequest::Begin { dir } => self.mounts = Some(Mounts::new(&dir)?),
            MountRequest::Export => {
                let mount = fds.first();
                let mount = mount.ok_or_else(|| Error::internal("no mount came with Export"))?;
                self.mounts()?.export(mount)?;
            }
            MountRequest::Mount {
                volume,
                fstype,
                at,
                from,
                read_only,
            } => self
                .mounts()?
                .mount(&volume, &fstype, (&at, &from), read_only)?,
            MountRequest::Look { volume, fstype } => {
                let replayed = self.mounts()?.look(&volume, &fstype)?;
                return Ok(MountReply::Looked { replayed });
            }
            MountRequest::Subvolumes { volume } => {
                return self
                    .mounts()?
                    .subvolumes(&volume)
                    .map(MountReply::Subvolumes);
            }
            MountRequest::Check {
                volume,
                fstype,
                timeout_s,
            } => {
                let timeout = Duration::from_secs(u64::from(timeout_s));
                let opinion = self.mounts()?.check(&volume, &fstype, timeout)?;
                return Ok(MountReply::Checked(opinion));
            }
            MountRequest::Sync => self.mounts()?.sync()?,
            MountRequest::Unmount => self.mounts()?.unmount()?,
            MountRequest::Quit => {}
            MountRequest::Run {
                argv,
                timeout_s,
                scratch,
                product,
            } => {
                let program = Program { argv, timeout_s };
                return self.run(&program, &scratch, product);
            }
            other => return self.file(other),
        }
        Ok(MountReply::Done)
    }

    fn run(
        &mut self,
        program: &Program,
        scratch: &[ScratchFile],
        product: Option<Product>,
    ) -> Result<MountReply> {
        let mounts = self.mounts.as_ref().ok_or_else(not_begun)?;
        let (tree, dir) = (mounts.tree()?, mounts.sandbox_dir());
        let scratch = Scratch::new(scratch, product.is_some())?;
        let mut watch = Watch::start(tree)?;
        let exit = sandbox::run(tree, &dir, program, &scratch, &mut watch)?;
        let touched = watch.finish(tree)?;
        self.made.note_touched(&touched);
        if let Some(product) = product.filter(|_| exit.success()) {
            let made = scratch.take(&product.from)?;
            let mut made = made.ok_or_else(|| {
                Error::unsupported("guest-program-failed", "the guest's program made no file")
            })?;
            replace::replace(tree, &product.to, &mut made)?;
        }
        Ok(MountReply::Ran { exit, touched })
    }

    fn file(&mut self, request: MountRequest) -> Result<MountReply> {
        let made = makes(&request);
        let mounts = self.mounts.as_ref();
        let tree = mounts.ok_or_else(not_begun)?.tree()?;
        let missing = made.map_or_else(Vec::new, |path| Register::missing(tree, path));
        // A symlink that is replaced is another one afterwards.
        let link = match &request {
            MountRequest::Symlink { path, .. } => Some(path.clone()),
            _ => None,
        };
        let inherits = mounts.is_some_and(Mounts::inherits);
        let reply = Self::file_of(tree, &mut self.made, request, inherits)?;
        if reply == MountReply::Outcome(Outcome::Changed) {
            for path in missing.into_iter().chain(link) {
                self.made.note(path, true);
            }
        }
        Ok(reply)
    }

    fn file_of(
        tree: BorrowedFd<'_>,
        made: &mut Register,
        request: MountRequest,
        inherits: bool,
    ) -> Result<MountReply> {
        Ok(match request {
            MountRequest::Write {
                path,
                before,
                content,
                mode,
                uid,
                gid,
            } => {
                let new = (!inherits).then_some(NewFile { mode, uid, gid });
                MountReply::Outcome(files::write(tree, &path, before.as_deref(), &content, new)?)
            }
            MountRequest::Append {
                path,
                content,
                align,
            } => MountReply::Appended {
                len: files::append(tree, &path, &content, align)?,
            },
            MountRequest::Patch { path, len, parts } => {
                MountReply::Outcome(files::patch(tree, &path, len, &parts)?)
            }
            MountRequest::Remove { path } => MountReply::Outcome(files::remove(tree, &path)?),
            MountRequest::RemoveDir { path } => {
                MountReply::Outcome(files::remove_dir(tree, &path)?)
            }
            MountRequest::Symlink { path, target } => {
                MountReply::Outcome(files::symlink(tree, &path, &target)?)
            }
            MountRequest::Lstat { path } => MountReply::Metadata(files::lstat(tree, &path)?),
            MountRequest::ReadLink { path } => {
                MountReply::Bytes(ByteBuf::from(files::read_link(tree, &path)?))
            }
            MountRequest::List { path } => {
                let names = files::list(tree, &path)?;
                MountReply::Names(names.into_iter().map(ByteBuf::from).collect())
            }
            MountRequest::Read { path, offset, len } => {
                MountReply::Bytes(ByteBuf::from(files::read(tree, &path, offset, len)?))
            }
            MountRequest::Space { path } => MountReply::Space(files::space(tree, &path)?),
            MountRequest::Made => MountReply::Made(made.take(tree)),
            MountRequest::Label {
                path,
                label,
                only_missing,
            } => MountReply::Outcome(label::set(tree, &path, &label, only_missing)?),
            _ => return Err(Error::internal("not a request about files")),
        })
    }
}
