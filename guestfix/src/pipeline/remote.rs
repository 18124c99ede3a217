// SPDX-License-Identifier: Apache-2.0
//! Filesystems as the worker opens them: by its own reader, or, where that refuses a feature, by
//! asking the mounter through the supervisor.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::Arc;

use serde_bytes::ByteBuf;

use super::protocol::{Answer, Ask, Order, Told};
use crate::error::{Error, Result};
use crate::fs::ext4::Ext4;
use crate::fs::fat::Fat;
use crate::fs::ntfs::Ntfs;
use crate::fs::{FileType, GuestFs, GuestPath, Metadata, ReadSeek, Space, Subvolume};
use crate::host::channel::Channel;
use crate::host::fuse::file_name;
use crate::host::mounter::{MountReply, MountRequest};
use crate::inspect::{Concern, Opener};
use crate::volume::Volume;

/// How much one read request brings, bytes: at first, and at most when a file is read on and on.
/// Who reads here and there, as in a database, pays for what he reads. At most less than what glibc
/// maps afresh for each buffer.
const READ_FIRST: u64 = 32 << 10;
const READ_AHEAD: u64 = 192 << 10;

/// Opens volumes for inspection.
pub(super) struct Remote {
    mounts: bool,
    line: Line,
    /// What was asked before, by volume.
    subvolumes: RefCell<BTreeMap<String, Vec<Subvolume>>>,
    replayed: RefCell<BTreeSet<String>>,
}

impl Remote {
    /// `mounts`: the mounter stands by.
    pub(super) fn new(channel: Rc<Channel>, mounts: bool) -> Self {
        Self {
            mounts,
            line: Line { channel },
            subvolumes: RefCell::default(),
            replayed: RefCell::default(),
        }
    }
}

impl Opener for Remote {
    fn open(&self, volume: &Volume, from: &GuestPath) -> Result<Option<Box<dyn GuestFs>>> {
        match volume.content.kind.as_str() {
            "ext2" | "ext3" | "ext4" => match Ext4::load(Arc::clone(&volume.storage)) {
                Ok(fs) => Ok(Some(Box::new(fs))),
                Err(error) if error.code == "ext4-feature" => {
                    self.mounted(volume, from, Some(error)).map(Some)
                }
                Err(error) => Err(error),
            },
            "ntfs" => Ok(Some(Box::new(Ntfs::load(Arc::clone(&volume.storage))?))),
            "vfat" => Ok(Some(Box::new(Fat::load(Arc::clone(&volume.storage))?))),
            "xfs" | "btrfs" => self.mounted(volume, from, None).map(Some),
            _ => Ok(None),
        }
    }

    fn subvolumes(&self, volume: &Volume) -> Result<Vec<Subvolume>> {
        if volume.content.kind != "btrfs" {
            return Ok(Vec::new());
        }
        if let Some(known) = self.subvolumes.borrow().get(&volume.name) {
            return Ok(known.clone());
        }
        let name = volume.name.clone();
        self.look(volume, None)?;
        match self.line.read(MountRequest::Subvolumes { volume: name })? {
            MountReply::Subvolumes(found) => {
                let mut known = self.subvolumes.borrow_mut();
                known.insert(volume.name.clone(), found.clone());
                Ok(found)
            }
            other => Err(surprise(&other)),
        }
    }
}

impl Remote {
    /// Has the volume mounted; `refused` says why no reader of ours will do.
    fn look(&self, volume: &Volume, refused: Option<Error>) -> Result<()> {
        if !self.mounts {
            let kind = &volume.content.kind;
            let message = format!("{kind} is read through a private mount");
            let error = Error::host("needs-mount", message).on(&volume.name);
            return Err(match refused {
                Some(refused) => error.because(refused),
                None => error,
            });
        }
        let ask = Ask::Mount {
            volume: volume.name.clone(),
            fstype: volume.content.kind.clone(),
        };
        match self.line.ask(ask)? {
            Told::Mounted { replayed: true } => {
                self.replayed.borrow_mut().insert(volume.name.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What is to be said about the volumes whose logs were replayed in order to be read.
    pub(super) fn concerns(&self) -> Vec<Concern> {
        let replayed = self.replayed.borrow();
        let said = replayed.iter().map(|volume| {
            format!(
                "{volume} was copied from a running or crashed guest: its log is replayed; files \
                 being written at that moment may be incomplete"
            )
        });
        said.map(|message| Concern::warning("filesystem-dirty", message))
            .collect()
    }

    fn mounted(
        &self,
        volume: &Volume,
        from: &GuestPath,
        refused: Option<Error>,
    ) -> Result<Box<dyn GuestFs>> {
        self.look(volume, refused)?;
        Ok(Box::new(Mounted {
            line: self.line.clone(),
            at: GuestPath::root()
                .join(file_name(&volume.name))
                .join(from.as_bytes()),
            seen: RefCell::default(),
        }))
    }
}

/// To the mounter, through the supervisor.
#[derive(Clone)]
struct Line {
    channel: Rc<Channel>,
}

impl Line {
    fn ask(&self, ask: Ask) -> Result<Told> {
        let question: Result<Answer> = Ok(Answer::Ask(ask));
        self.channel.send(&question, &[])?;
        match self.channel.recv::<Order>()? {
            Some((Order::Told(told), _)) => told,
            Some(_) => Err(Error::internal("got an order where an answer was due")),
            None => Err(Error::internal("the supervisor hung up")),
        }
    }

    fn read(&self, request: MountRequest) -> Result<MountReply> {
        match self.ask(Ask::Read(request))? {
            Told::Read(reply) => Ok(reply),
            _ => Err(Error::internal("a read was answered by something else")),
        }
    }
}

/// Attributes remembered of one mount: walks ask for every directory again and again.
const MAX_SEEN: usize = 16_384;

/// A privately mounted volume, or a directory of it, read by requests. It is read-only for as long
/// as this lives, so what was seen stays true.
struct Mounted {
    line: Line,
    at: GuestPath,
    seen: RefCell<BTreeMap<GuestPath, Option<Metadata>>>,
}

impl Mounted {
    fn read(&self, request: MountRequest) -> Result<MountReply> {
        self.line.read(request)
    }

    fn place(&self, path: &GuestPath) -> GuestPath {
        self.at.join(path.as_bytes())
    }
}

fn surprise(reply: &MountReply) -> Error {
    Error::internal(format!("the mounter answered {reply:?}"))
}

impl GuestFs for Mounted {
    fn reader(&self) -> &'static str {
        "private mount"
    }

    fn lstat(&self, path: &GuestPath) -> Result<Option<Metadata>> {
        if let Some(seen) = self.seen.borrow().get(path) {
            return Ok(*seen);
        }
        match self.read(MountRequest::Lstat {
            path: self.place(path),
        })? {
            MountReply::Metadata(meta) => {
                let mut seen = self.seen.borrow_mut();
                if seen.len() >= MAX_SEEN {
                    seen.clear();
                }
                seen.insert(path.clone(), meta);
                Ok(meta)
            }
            other => Err(surprise(&other)),
        }
    }

    fn read_link(&self, path: &GuestPath) -> Result<Vec<u8>> {
        match self.read(MountRequest::ReadLink {
            path: self.place(path),
        })? {
            MountReply::Bytes(target) => Ok(target.into_vec()),
            other => Err(surprise(&other)),
        }
    }

    fn list(&self, path: &GuestPath) -> Result<Vec<Vec<u8>>> {
        match self.read(MountRequest::List {
            path: self.place(path),
        })? {
            MountReply::Names(names) => Ok(names.into_iter().map(ByteBuf::into_vec).collect()),
            other => Err(surprise(&other)),
        }
    }

    fn open(&self, path: &GuestPath) -> Result<Box<dyn ReadSeek + '_>> {
        match self.lstat(path)? {
            Some(meta) if meta.file_type == FileType::File => Ok(Box::new(RemoteFile {
                fs: self,
                path: self.place(path),
                len: meta.len,
                at: 0,
                ahead: Vec::new(),
                ahead_at: 0,
                step: READ_FIRST,
            })),
            _ => Err(Error::corrupt(
                "wrong-file-type",
                format!("{path} is no regular file"),
            )),
        }
    }

    fn space(&self) -> Result<Space> {
        match self.read(MountRequest::Space {
            path: self.at.clone(),
        })? {
            MountReply::Space(space) => Ok(space),
            other => Err(surprise(&other)),
        }
    }
}

struct RemoteFile<'a> {
    fs: &'a Mounted,
    path: GuestPath,
    len: u64,
    at: u64,
    ahead: Vec<u8>,
    ahead_at: u64,
    /// Bytes of the next request.
    step: u64,
}

impl RemoteFile<'_> {
    /// The bytes at the cursor that are already here.
    fn here(&self) -> &[u8] {
        self.at
            .checked_sub(self.ahead_at)
            .and_then(|skip| usize::try_from(skip).ok())
            .and_then(|skip| self.ahead.get(skip..))
            .unwrap_or_default()
    }
}

impl Read for RemoteFile<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.here().is_empty() && self.at < self.len {
            let on = self.ahead_at.saturating_add(self.ahead.len() as u64) == self.at;
            self.step = match on {
                true => self.step.saturating_mul(4).min(READ_AHEAD),
                false => READ_FIRST,
            };
            let request = MountRequest::Read {
                path: self.path.clone(),
                offset: self.at,
                len: self.step,
            };
            match self.fs.read(request).map_err(io::Error::other)? {
                MountReply::Bytes(bytes) => {
                    self.ahead = bytes.into_vec();
                    self.ahead_at = self.at;
                }
                other => return Err(io::Error::other(surprise(&other))),
            }
        }
        let mut here = self.here();
        let count = here.read(buf)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for RemoteFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
